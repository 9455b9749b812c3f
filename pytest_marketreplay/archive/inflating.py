"""The bytes of a member, inflated piece by piece: never more than its manifest says."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from pytest_marketreplay.archive import layout
from pytest_marketreplay.archive.layout import Entry
from pytest_marketreplay.errors import DamagedArchive

_CHUNK = 256 << 10


def read_exactly(file: BinaryIO, offset: int, count: int, archive: str, member: str = "") -> bytes:
    """Read a part of an archive. Raises DamagedArchive where the file ends before."""
    file.seek(offset)
    data = file.read(count)
    while len(data) < count:  # a file over a network may give less at a time
        more = file.read(count - len(data))
        if not more:
            raise DamagedArchive(archive, f"it ends at byte {offset + len(data)}, in the middle of something", member)
        data += more
    return data


def inflate(file: BinaryIO, path: str, size: int, entry: Entry, archive: str) -> Iterator[bytes]:
    """Yield the bytes of a member, whose local header is checked first, and whose size and CRC are in the end.

    Nobody else may move the file's position meanwhile. Raises DamagedArchive, at the latest after the last byte.
    """
    name = path.encode()
    wanted = layout.local_header(name, size, entry)
    found = read_exactly(file, entry.offset, len(wanted), archive, path)
    if why := layout.difference(found, wanted, local=True):
        raise DamagedArchive(archive, why, path)
    crc = done = 0
    start = entry.offset + len(wanted)
    for data in (
        _stored(file, start, entry, archive, path)
        if entry.stored
        else _deflated(file, start, size, entry, archive, path)
    ):
        done += len(data)
        crc = zlib.crc32(data, crc)
        yield data
    if done != size:
        raise DamagedArchive(archive, f"it has {done} bytes and should have {size}", path)
    if crc != entry.crc:
        raise DamagedArchive(archive, "its bytes do not have the CRC that the directory tells", path)


def _stored(file: BinaryIO, start: int, entry: Entry, archive: str, path: str) -> Iterator[bytes]:
    for offset in range(start, start + entry.packed, _CHUNK):
        yield read_exactly(file, offset, min(_CHUNK, start + entry.packed - offset), archive, path)


def _deflated(file: BinaryIO, start: int, size: int, entry: Entry, archive: str, path: str) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-15)
    end, offset, done = start + entry.packed, start, 0
    data = b""
    try:
        while not inflater.eof:
            if not data:
                if offset == end:
                    raise DamagedArchive(archive, "its deflate stream has no end", path)
                data = read_exactly(file, offset, min(_CHUNK, end - offset), archive, path)
                offset += len(data)
            # one byte more than there may be tells that there is more
            out = inflater.decompress(data, min(4 * _CHUNK, size - done + 1))
            data = inflater.unconsumed_tail
            done += len(out)
            if done > size:
                raise DamagedArchive(archive, f"it inflates to more than its {size} bytes", path)
            if out:
                yield out
    except zlib.error as error:
        raise DamagedArchive(archive, f"it cannot be inflated ({error})", path) from None
    if inflater.unused_data or offset != end:
        raise DamagedArchive(archive, "there is something after its deflate stream", path)
