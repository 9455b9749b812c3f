"""Content encodings written by hand, so that every one can be served without a library for it.

Brotli and zstd bodies are valid but stored: frames of literal bytes (RFC 7932 section 9.2, RFC 8878 section 3.1.1).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

_BROTLI_BLOCK = 1 << 16
_ZSTD_BLOCK = 1 << 17


def brotli_stored(data: bytes) -> bytes:
    """Wrap bytes into a Brotli stream of uncompressed meta-blocks."""
    out = bytearray()
    for start in range(0, len(data), _BROTLI_BLOCK):
        block = data[start : start + _BROTLI_BLOCK]
        # Bits from the lowest: [WBITS 0, only once], ISLAST 0, MNIBBLES 00, sixteen of MLEN - 1, ISUNCOMPRESSED 1.
        header = (len(block) - 1) << 3 | 1 << 19
        out += (header << 1 if start == 0 else header).to_bytes(3, "little") + block
    out += b"\x03" if data else b"\x06"  # ISLAST, ISLASTEMPTY, after WBITS when the stream has no block before
    return bytes(out)


def zstd_stored(data: bytes) -> bytes:
    """Wrap bytes into a zstd frame of raw blocks, with its content size."""
    out = bytearray(b"\x28\xb5\x2f\xfd\xa0" + len(data).to_bytes(4, "little"))
    last = max(0, (len(data) - 1) // _ZSTD_BLOCK)
    for index in range(last + 1):
        block = data[index * _ZSTD_BLOCK : (index + 1) * _ZSTD_BLOCK]
        out += (len(block) << 3 | (index == last)).to_bytes(3, "little") + block
    return bytes(out)


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)  # without the time, the same data give the same bytes


def _same(data: bytes) -> bytes:
    return data


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": _gzip,
    "deflate": zlib.compress,
    "br": brotli_stored,
    "zstd": zstd_stored,
    "identity": _same,
}
"""How to write a body in each content encoding."""
