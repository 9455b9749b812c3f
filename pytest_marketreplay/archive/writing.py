"""Writing an archive, member by member."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pytest_marketreplay.archive import layout
from pytest_marketreplay.archive.layout import Ends, Entries, Entry
from pytest_marketreplay.archive.manifest import MEMBER, Manifest
from pytest_marketreplay.errors import ArchiveError, UsageMistake

_MODE = 0o600  # an archive holds what is readable for its owner only
_BUFFER = 1 << 20


class Writer:
    """Writes to a file that is not there before, and is not there after an error. Raises ArchiveError where it cannot."""

    def __init__(self, target: Path, file: BinaryIO) -> None:
        self._target, self._file = target, file
        self.restart()

    def restart(self) -> None:
        """Forget what was written."""
        self._entries = Entries()
        self._end = 0
        with self._writing():
            self._file.seek(0)
            self._file.truncate()

    def begin(self, path: str, size: int) -> None:
        """Leave room for the header of a member whose data comes in pieces."""
        self._start = self._end
        self.add(bytes(layout.local_length(path.encode(), size)))

    def add(self, data: bytes) -> None:
        """Write a piece of a member's data."""
        with self._writing():
            self._file.write(data)
        self._end += len(data)

    def end(self, path: str, size: int, crc: int, stored: bool) -> None:
        """End the member that was begun: its header is known now."""
        name = path.encode()
        packed = self._end - self._start - layout.local_length(name, size)
        entry = Entry(self._start, packed, crc, stored)
        self._entries.append(entry)
        with self._writing():
            self._file.seek(self._start)
            self._file.write(layout.local_header(name, size, entry))
            self._file.seek(self._end)

    def member(self, path: str, size: int, crc: int, stored: bool, data: bytes) -> None:
        """Write a whole member."""
        entry = Entry(self._end, len(data), crc, stored)
        self._entries.append(entry)
        self.add(layout.local_header(path.encode(), size, entry) + data)

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest and the directory, and bring all to the disk."""
        raw = manifest.encode()
        if len(raw) > layout.LARGEST_MANIFEST:
            raise ArchiveError(
                f"the names of {len(manifest.members)} files make a manifest of {len(raw)} bytes, and an archive can have "
                f"one of {layout.LARGEST_MANIFEST}. Back up the folders of the tree one by one"
            )
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        self.member(MEMBER, len(raw), zlib.crc32(raw), False, packer.compress(raw) + packer.flush())
        size, directory = len(raw), self._end
        del raw
        for index, member in enumerate(manifest.members):
            self.add(layout.directory_entry(member.path.encode(), member.size, member.mode, self._entries[index]))
        self.add(layout.directory_entry(MEMBER.encode(), size, layout.MANIFEST_MODE, self._entries[-1]))
        self.add(layout.end_records(Ends(len(self._entries), directory, self._end - directory)))
        with self._writing():
            self._file.flush()
            os.fsync(self._file.fileno())

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ArchiveError(
                f"the archive {self._target} cannot be written: {error.strerror}. Make room, and try again"
            ) from error


@contextmanager
def created(target: Path) -> Iterator[Writer]:
    """Make a file for an archive, with mode 600; it is removed where the block raises.

    Raises UsageMistake where there is one, or none can be made.
    """
    try:
        descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    except OSError as error:
        raise UsageMistake(f"no archive can be made at {target}: {error.strerror}") from None
    try:
        file = os.fdopen(descriptor, "w+b", buffering=_BUFFER)
        try:
            yield Writer(target, file)
        finally:
            with suppress(OSError):  # of a buffer that could not be written: told already
                file.close()
    except BaseException:
        with suppress(OSError):
            os.unlink(target)
        raise
