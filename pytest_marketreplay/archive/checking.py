"""Reading what an archive says that it holds, and believing none of it: only what `pack` can have written is accepted."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pytest_marketreplay.archive import layout
from pytest_marketreplay.archive.inflating import inflate, read_exactly
from pytest_marketreplay.archive.layout import Ends, Entries, Entry
from pytest_marketreplay.archive.manifest import MEMBER, Manifest
from pytest_marketreplay.archive.naming import read_name, read_part
from pytest_marketreplay.archive.parsing import parse
from pytest_marketreplay.errors import ArchiveError, DamagedArchive

_CHUNK = 1 << 20


class Checked(NamedTuple):
    """An archive whose directory and manifest are as they should be; the data of its members has not been read."""

    manifest: Manifest
    entries: Entries
    """One for each of `manifest.members`, in their order."""
    name: str
    """What errors call it."""


def digest(path: Path) -> str:
    """Return the SHA-256 of a whole file, 64 hex digits. Raises ArchiveError where it cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error.strerror}") from None


def check(file: BinaryIO, name: str) -> Checked:
    """Check the directory and the manifest of an archive, reading only its end.

    `name` is the file's: where it is that of a snapshot, or of its unfinished upload, the manifest must have the digest in
    it. The data, and the header before it, is checked by `verify` and `extract`. Raises DamagedArchive.
    """
    ends = _ends(file, name)
    found, entry, size = _manifest_entry(file, ends, name)
    manifest = _manifest(file, size, entry, name)
    if len(manifest.members) + 1 != ends.entries:
        raise DamagedArchive(
            name, f"its manifest tells of {len(manifest.members)} files, and its directory of {ends.entries - 1}"
        )
    entries = _directory(file, ends, manifest, len(found), entry.offset, name)
    return Checked(manifest, entries, name)


def _ends(file: BinaryIO, name: str) -> Ends:
    size = file.seek(0, os.SEEK_END)
    tail = read_exactly(file, max(0, size - layout.END_LENGTH), min(size, layout.END_LENGTH), name)
    ends = layout.read_ends(tail)
    if ends is None:
        raise DamagedArchive(name, "its end is not that of an archive: it is cut off, or something was added")
    left = size - ends.offset - ends.size
    if left <= 0 or ends.entries >= 1 << 63 or tail[-left:] != layout.end_records(ends):
        raise DamagedArchive(name, "its end does not tell where its directory is")
    if not 1 <= ends.entries <= layout.MOST_ENTRIES + 1:
        raise DamagedArchive(name, f"its directory has {ends.entries} entries, and {layout.MOST_ENTRIES} is the most")
    return ends


def _manifest_entry(file: BinaryIO, ends: Ends, name: str) -> tuple[bytes, Entry, int]:
    path = MEMBER.encode()
    for offset in (0, layout.FAR_FROM):  # an entry that is far has a longer header
        length = layout.directory_length(path, 0, offset)
        if length > ends.size:
            break
        found = read_exactly(file, ends.offset + ends.size - length, length, name)
        if not found.startswith(b"PK\1\2"):
            continue
        size = layout.read_size(found)
        entry = layout.read_entry(found, path, 0, offset)
        # it ends where the directory begins, so where it begins follows
        entry = entry._replace(offset=ends.offset - entry.packed - layout.local_length(path, 0))
        if (
            size > layout.LARGEST_MANIFEST
            or entry.packed > layout.LARGEST_MANIFEST
            or entry.offset < 0
            or size > entry.packed * layout.LARGEST_RATIO
        ):
            raise DamagedArchive(name, f"its manifest has {size} bytes, packed {entry.packed}", MEMBER)
        wanted = layout.directory_entry(path, size, layout.MANIFEST_MODE, entry)
        if len(wanted) != length:
            break
        if why := layout.difference(found, wanted):
            raise DamagedArchive(name, why, MEMBER)
        return found, entry, size
    raise DamagedArchive(name, f"its last member is not {MEMBER}")


def _manifest(file: BinaryIO, size: int, entry: Entry, name: str) -> Manifest:
    raw, done = bytearray(size), 0  # joining pieces would take its size twice
    for piece in inflate(file, MEMBER, size, entry, name):
        raw[done : done + len(piece)] = piece
        done += len(piece)
    snapshot = read_name(name) or read_part(name)
    if snapshot is not None and not hashlib.sha256(raw).hexdigest().startswith(snapshot.manifest):
        raise DamagedArchive(name, "it is not the manifest that the name of the archive tells of", MEMBER)
    return parse(raw, name)


def _directory(file: BinaryIO, ends: Ends, manifest: Manifest, skip: int, data_end: int, name: str) -> Entries:
    entries = Entries()
    window = _Window(file, ends.offset, ends.offset + ends.size - skip, name)
    offset = 0
    for member in manifest.members:
        path = member.path.encode()
        found = window.take(layout.directory_length(path, member.size, offset), member.path)
        entry = layout.read_entry(found, path, member.size, offset)
        offset += layout.local_length(path, member.size) + entry.packed
        if offset > data_end:
            raise DamagedArchive(name, "it reaches beyond where the next one begins", member.path)
        if why := layout.difference(found, layout.directory_entry(path, member.size, member.mode, entry)):
            raise DamagedArchive(name, why, member.path)
        if member.size > entry.packed * layout.LARGEST_RATIO or (entry.stored and member.size != entry.packed):
            raise DamagedArchive(
                name, f"{entry.packed} bytes would unpack to {member.size}: nothing that was packed here", member.path
            )
        entries.append(entry)
    if not window.done or offset != data_end:
        raise DamagedArchive(name, "there is something in it that is in no member")
    return entries


class _Window:
    """A part of a file, read from its beginning to its end, a piece of memory at a time."""

    def __init__(self, file: BinaryIO, start: int, end: int, name: str) -> None:
        self._file, self._next, self._end, self._name = file, start, end, name
        self._data, self._at = b"", 0

    @property
    def done(self) -> bool:
        return self._next == self._end and self._at == len(self._data)

    def take(self, count: int, member: str) -> bytes:
        if self._at + count > len(self._data):
            more = min(_CHUNK, self._end - self._next)
            self._data = self._data[self._at :] + read_exactly(self._file, self._next, more, self._name)
            self._next, self._at = self._next + more, 0
            if count > len(self._data):
                raise DamagedArchive(self._name, "the directory ends before it", member)
        self._at += count
        return self._data[self._at - count : self._at]
