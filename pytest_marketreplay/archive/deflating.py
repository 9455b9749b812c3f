"""Packing the bytes of files on several cores: in blocks, so that one large file has them too and memory stays flat.

A block is deflated with the 32 KiB before it as its dictionary, and all but the last end at a whole byte: together they
are one deflate stream, which any reader inflates, and which does not depend on how many threads there are.
"""

from __future__ import annotations

import zlib

from pytest_marketreplay.archive.layout import LARGEST_RATIO

WINDOW = 32 << 10
_PROBE = 64 << 10


def deflate(block: bytes, before: bytes, level: int, last: bool) -> bytes:
    """Return a block of a raw deflate stream; `before` are the last bytes before it, at most `WINDOW`.

    One that would pack better than `LARGEST_RATIO` is put there as it is, so that no archive looks like a bomb.
    """
    packed = _deflate(block, before, level, last)
    if len(packed) * LARGEST_RATIO < len(block):
        return _deflate(block, b"", 0, last)
    return packed


def _deflate(block: bytes, before: bytes, level: int, last: bool) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, before)
    return packer.compress(block) + packer.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)


def packs(block: bytes, level: int) -> bool:
    """Return whether a file that begins so is worth the work: sealed segments and Parquet files are packed already."""
    probe = block[:_PROBE]
    return len(zlib.compress(probe, level)) < 0.95 * len(probe)
