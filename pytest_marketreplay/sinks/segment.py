"""A file that batches are appended to, and that gives back a batch which could not be stored whole."""

from __future__ import annotations

import os
from pathlib import Path

from pytest_marketreplay.cassette.writer import FILE_MODE, FOLDER_MODE


def make_folder(folder: Path) -> list[Path]:
    """Create a folder and those above it that are missing, mode 750 whatever the umask.

    Returns those that were created, from the top down. Raises FileExistsError where a file stands in its place, OSError.
    """
    try:
        folder.mkdir(mode=FOLDER_MODE)
    except FileNotFoundError:
        return [*make_folder(folder.parent), *make_folder(folder)]
    except FileExistsError:
        if not folder.is_dir():
            raise
        return []
    folder.chmod(FOLDER_MODE)
    return [folder]


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Segment:
    """One file that is written; `size` and `entries` count what is acknowledged."""

    __slots__ = ("entries", "fd", "path", "size", "started_ns")

    def __init__(self, path: Path, started_ns: int) -> None:
        """Create the file, mode 640 whatever the umask. Raises FileExistsError, OSError."""
        self.path, self.started_ns = path, started_ns
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL, FILE_MODE)
        self.size = self.entries = 0
        os.fchmod(self.fd, FILE_MODE)

    @classmethod
    def of(cls, path: Path) -> Segment:
        """Return a file that is there already, open, with nothing acknowledged. Raises OSError."""
        segment = cls.__new__(cls)
        segment.path, segment.started_ns = path, 0
        segment.size = segment.entries = 0
        segment.fd = -1
        segment.reopen()
        return segment

    def append(self, data: bytes, entries: int) -> None:
        """Append whole lines. Raises OSError; a part of them may be in the file then, see `take_back`."""
        self.reopen()
        view = memoryview(data)
        while view:  # a full disk takes a part and says so at the next call
            view = view[os.write(self.fd, view) :]
        self.size += len(data)
        self.entries += entries

    def take_back(self, size: int, entries: int) -> None:
        """Make the file as long as it was. Raises OSError."""
        self.reopen()
        os.ftruncate(self.fd, size)
        self.size, self.entries = size, entries

    def sync(self) -> None:
        """Bring what was written to the disk. Raises OSError."""
        self.reopen()
        os.fsync(self.fd)

    def reopen(self) -> None:
        """Open the file again where it was closed. Raises OSError."""
        if self.fd < 0:
            self.fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def close(self) -> None:
        """Close the file."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Undo:
    """What a batch changed, so that it can be undone: at once, or else before anything else is done."""

    def __init__(self) -> None:
        self._steps: list[tuple[Segment, int, int]] = []

    def note(self, segment: Segment) -> None:
        """Remember how long a segment is before it is appended to."""
        self._steps.append((segment, segment.size, segment.entries))

    def segments(self) -> list[Segment]:
        """Return the segments that were noted, each once, in order."""
        return list(dict.fromkeys(segment for segment, _, _ in self._steps))

    def keep(self) -> None:
        """Forget the steps: the batch is stored."""
        self._steps.clear()

    def run(self) -> None:
        """Undo what is left, last step first. Raises OSError; what could not be undone stays noted."""
        while self._steps:
            segment, size, entries = self._steps[-1]
            was_open = segment.fd >= 0
            segment.take_back(size, entries)
            if not was_open:
                segment.close()
            self._steps.pop()
