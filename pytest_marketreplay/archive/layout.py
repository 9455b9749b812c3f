"""The bytes of the ZIP structures of an archive, for whoever writes them and for whoever compares (docs/reference/archive.md).

Every structure is a function of what the manifest says and of how the data was packed. A reader therefore takes the few
facts that it cannot know, builds what the writer would have written, and compares: nothing else is accepted.
Source: APPNOTE.TXT 6.3.10, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.14 to 4.3.16 (end), 4.5.3 (zip64).
"""

from __future__ import annotations

import stat
import struct
from array import array
from typing import NamedTuple

MOST_ENTRIES = 150_000
"""Files and folders of an archive together: so many take 105 MiB of memory to pack, and 97 MiB to read."""
LARGEST_MANIFEST = 40 << 20
"""Bytes."""
LARGEST_RATIO = 500
"""How many bytes one packed byte may stand for. The order books of a market that stands still come to 150 or so."""

WIDE_FROM = 0xF000_0000
"""Files from this size on have their sizes in zip64 fields: less than that is not 4 GiB, however badly it packs."""
FAR_FROM = 0xFFFF_FFFF
MANY_FROM = 0xFFFF

MANIFEST_MODE = 0o640

_STORED, _DEFLATED = 0, 8
_UTF8 = 0x0800
_DAY = 0x0021  # the first of January 1980: the archive knows no time
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_ENTRY = struct.Struct("<4s2BHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_WIDE_END = struct.Struct("<4sQ2BHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_ENTRY_FIELDS = (
    "signature", "version", "system", "version needed", "flags", "method", "time", "date", "CRC", "packed size", "size",
    "length of the name", "length of the extra field", "length of the comment", "disk", "internal attributes",
    "external attributes", "offset",
)  # fmt: skip
_LOCAL_FIELDS = (
    "signature", "version needed", "flags", "method", "time", "date", "CRC", "packed size", "size",
    "length of the name", "length of the extra field",
)  # fmt: skip


class Entry(NamedTuple):
    """How one member is packed: what its manifest does not say."""

    offset: int
    """Of its local header, in bytes from the file's beginning."""
    packed: int
    """Bytes of its data."""
    crc: int
    stored: bool
    """Not deflated."""


class Entries:
    """How the members of an archive are packed, in their order; 21 bytes of memory for each."""

    def __init__(self) -> None:
        self._offsets, self._packed, self._crcs = array("Q"), array("Q"), array("I")
        self._stored = bytearray()

    def append(self, entry: Entry) -> None:
        """Add the next one."""
        self._offsets.append(entry.offset)
        self._packed.append(entry.packed)
        self._crcs.append(entry.crc)
        self._stored.append(entry.stored)

    def __getitem__(self, index: int) -> Entry:
        return Entry(self._offsets[index], self._packed[index], self._crcs[index], bool(self._stored[index]))

    def __len__(self) -> int:
        return len(self._offsets)


class Ends(NamedTuple):
    """Where the directory is."""

    entries: int
    """How many, the manifest's too."""
    offset: int
    size: int


def local_header(path: bytes, size: int, entry: Entry) -> bytes:
    """Return what stands before a member's data."""
    wide = size >= WIDE_FROM
    extra = struct.pack("<HHQQ", 1, 16, size, entry.packed) if wide else b""
    packed, size = (0xFFFF_FFFF, 0xFFFF_FFFF) if wide else (entry.packed, size)
    method = _STORED if entry.stored else _DEFLATED
    fixed = _LOCAL.pack(
        b"PK\3\4", 45 if wide else 20, _UTF8, method, 0, _DAY, entry.crc, packed, size, len(path), len(extra)
    )
    return fixed + path + extra


def local_length(path: bytes, size: int) -> int:
    """Return how long `local_header` is."""
    return _LOCAL.size + len(path) + (20 if size >= WIDE_FROM else 0)


def directory_entry(path: bytes, size: int, mode: int, entry: Entry) -> bytes:
    """Return a member's entry in the directory."""
    wide, far = size >= WIDE_FROM, entry.offset >= FAR_FROM
    extra = b""
    packed, offset = entry.packed, entry.offset
    if wide:
        extra += struct.pack("<QQ", size, packed)
        packed = size = 0xFFFF_FFFF
    if far:
        extra += struct.pack("<Q", offset)
        offset = 0xFFFF_FFFF
    if extra:
        extra = struct.pack("<HH", 1, len(extra)) + extra
    need = 45 if extra else 20
    fixed = _ENTRY.pack(
        b"PK\1\2", need, 3, need, _UTF8, _STORED if entry.stored else _DEFLATED, 0, _DAY, entry.crc, packed, size,
        len(path), len(extra), 0, 0, 0, (stat.S_IFREG | mode) << 16, offset,
    )  # fmt: skip
    return fixed + path + extra


def directory_length(path: bytes, size: int, offset: int) -> int:
    """Return how long `directory_entry` is."""
    extra = 16 * (size >= WIDE_FROM) + 8 * (offset >= FAR_FROM)
    return _ENTRY.size + len(path) + (extra + 4 if extra else 0)


def read_entry(found: bytes, path: bytes, size: int, offset: int) -> Entry:
    """Return what an entry of the directory says that cannot be known; `found` is as long as `directory_length` says."""
    fields = _ENTRY.unpack_from(found)
    packed = fields[9]
    if size >= WIDE_FROM:
        packed = int.from_bytes(found[_ENTRY.size + len(path) + 12 :][:8], "little")
    return Entry(offset, packed, fields[8], fields[5] == _STORED)


def read_size(found: bytes) -> int:
    """Return the size that an entry of the directory tells, which has no zip64 field for it."""
    size: int = _ENTRY.unpack_from(found)[10]
    return size


def end_records(ends: Ends) -> bytes:
    """Return what stands after the directory."""
    many, large, far = ends.entries >= MANY_FROM, ends.size >= FAR_FROM, ends.offset >= FAR_FROM
    wide = b""
    if many or large or far:
        wide = _WIDE_END.pack(
            b"PK\6\6", _WIDE_END.size - 12, 45, 3, 45, 0, 0, ends.entries, ends.entries, ends.size, ends.offset
        ) + _LOCATOR.pack(b"PK\6\7", 0, ends.offset + ends.size, 1)
    count = 0xFFFF if many else ends.entries
    size = 0xFFFF_FFFF if large else ends.size
    offset = 0xFFFF_FFFF if far else ends.offset
    return wide + _END.pack(b"PK\5\6", 0, 0, count, count, size, offset, 0)


END_LENGTH = _WIDE_END.size + _LOCATOR.size + _END.size
"""Bytes of `end_records` at most."""


def read_ends(tail: bytes) -> Ends | None:
    """Return where the directory is, as the last bytes of a file tell it; None where they are no end of an archive."""
    if len(tail) < _END.size:
        return None
    signature, _, _, _, count, size, offset, _ = _END.unpack_from(tail, len(tail) - _END.size)
    if signature != b"PK\5\6":
        return None
    if (count >= 0xFFFF or size >= 0xFFFF_FFFF or offset >= 0xFFFF_FFFF) and len(tail) >= END_LENGTH:
        wide = _WIDE_END.unpack_from(tail, len(tail) - END_LENGTH)
        if wide[0] == b"PK\6\6":
            return Ends(wide[8], wide[10], wide[9])
    return Ends(count, offset, size)


def difference(found: bytes, wanted: bytes, *, local: bool = False) -> str:
    """Say how a header differs from what the writer would have written; empty where it does not."""
    if found == wanted:
        return ""
    shape, names = (_LOCAL, _LOCAL_FIELDS) if local else (_ENTRY, _ENTRY_FIELDS)
    where = "local header" if local else "directory entry"
    for name, is_, should in zip(names, shape.unpack_from(found), shape.unpack_from(wanted), strict=True):
        if is_ != should:
            why = ""
            if name == "flags" and is_ & 1:
                why = " (encrypted)"
            elif name == "external attributes" and stat.S_ISLNK(is_ >> 16):
                why = " (a symlink)"
            return f"the {name} in its {where} is {is_}{why} and should be {should}"
    return f"its {where} has another name or extra field"
