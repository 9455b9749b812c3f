"""Writing: append-only files, one `write` a line, each recording into files of its own.

A file is created exclusively (`<start>.jsonl`, then `<start>-1.jsonl`, ...), so two sessions, threads or xdist workers
never share one, and a failed test's recording can be taken back by removing its files. `O_APPEND` and one `os.write` a
line mean that a kill costs at most the last line.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path

from pytest_marketreplay import clock
from pytest_marketreplay.cassette import names
from pytest_marketreplay.cassette.entry import NotAnEntry
from pytest_marketreplay.cassette.files import CHUNK, SEALED, Place
from pytest_marketreplay.cassette.reader import read_line
from pytest_marketreplay.errors import RecordingError

FOLDER_MODE = 0o750
FILE_MODE = 0o640
_MOST_OPEN = 64
_MOST_GONE = 100


def make_folder(folder: Path) -> None:
    """Create a folder and those above it that are missing; `mkdir(parents=True)` gives its mode to the last one only.

    Raises FileExistsError where a file stands in its place, OSError.
    """
    try:
        folder.mkdir(mode=FOLDER_MODE)
    except FileNotFoundError:
        make_folder(folder.parent)
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    except FileExistsError:
        if not folder.is_dir():
            raise


def end_torn_line(path: Path) -> int:
    """Make a file end with a line feed, so that the next append cannot fuse with a torn line.

    A whole entry that only lacks its line feed (a hand-made file) gets it. Torn bytes are kept aside in `<name>.torn`;
    returns how many there were.
    """
    fd = os.open(path, os.O_RDWR)
    try:
        size = end = os.fstat(fd).st_size
        while end > 0:
            start = max(0, end - CHUNK)
            cut = os.pread(fd, end - start, start).rfind(b"\n")
            if cut >= 0:
                end = start + cut + 1
                break
            end = start
        if end == size:
            return 0
        tail = os.pread(fd, size - end, end)
        try:
            read_line(tail)
        except NotAnEntry:
            pass
        else:
            os.pwrite(fd, b"\n", size)
            return 0
        kept = os.open(path.with_name(path.name + ".torn"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, FILE_MODE)
        with open(kept, "ab") as aside:
            aside.write(tail + b"\n")
            aside.flush()
            os.fsync(aside.fileno())
        os.ftruncate(fd, end)
        return size - end
    finally:
        os.close(fd)


class AppendFile:
    """One file that lines are appended to, each with a single `write`."""

    def __init__(self, path: Path, *, fresh: bool = True) -> None:
        """Create a file, or with `fresh=False` go on with one that exists; raises FileExistsError, OSError."""
        self.path = path
        if not fresh:
            end_torn_line(path)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(path, flags | os.O_CREAT | os.O_EXCL if fresh else flags, FILE_MODE)

    def append(self, line: bytes) -> None:
        """Append one line, line feed included.

        Raises RecordingError where it could not be written whole; what was written of it is taken back if that is
        still possible, else it is a torn line, which no later append fuses with.
        """
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            raise RecordingError(f"cannot write to {self.path}: {error}") from error
        if written != len(line):  # a full disk writes a part and says so only at the next call
            try:
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
            except OSError:
                os.close(self._fd)
                self._fd = -1
            raise RecordingError(
                f"cannot write to {self.path}: only {written} of {len(line)} bytes fitted; is the disk full?"
            )

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Recording:
    """The files that one session writes into one cassette. Safe under threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.written: dict[Path, int] = {}
        """Files of this recording and how many entries each has."""
        self._open: OrderedDict[Place, AppendFile] = OrderedDict()
        self._paths: dict[Place, Path] = {}
        self._lock = threading.Lock()
        self._closed = False

    def append(self, place: Place, line: bytes) -> None:
        """Append a line to this recording's file of a place; raises RecordingError."""
        with self._lock:
            if self._closed:
                raise RecordingError(
                    f"an answer for {place.within(self.root)} came after the recording was closed; it is not recorded"
                )
            file = self._open.get(place)
            if file is None:
                file = self._file(place)
            file.append(line)
            self.written[file.path] += 1

    def _file(self, place: Place) -> AppendFile:
        if len(self._open) >= _MOST_OPEN:
            self._open.popitem(last=False)[1].close()
        try:
            if (path := self._paths.get(place)) is not None:
                file = AppendFile(path, fresh=False)
            else:
                file = self._create(place)
                self._paths[place] = file.path
                self.written[file.path] = 0
        except OSError as error:
            raise RecordingError(f"cannot record into {place.within(self.root)}: {error}") from error
        self._open[place] = file
        return file

    def _create(self, place: Place) -> AppendFile:
        folder = place.within(self.root)
        stem = names.file_stem(clock.now_ns())
        number = gone = 0
        while True:
            path = folder / (f"{stem}-{number}.jsonl" if number else f"{stem}.jsonl")
            if any(path.with_name(path.name + end).exists() for end in SEALED):  # a plain twin would hide it
                number += 1
                continue
            try:
                make_folder(folder)
                return AppendFile(path)
            except FileExistsError:
                if not path.exists():  # a file stands where the folder should be
                    raise
                number += 1
            except FileNotFoundError:  # another recording was discarded just now, and its empty folders with it
                gone += 1
                if gone > _MOST_GONE:
                    raise

    def close(self) -> None:
        """Close all files; what is appended later is refused."""
        with self._lock:
            self._closed = True
            while self._open:
                self._open.popitem()[1].close()

    def discard(self) -> int:
        """Remove this recording's files, and folders that it leaves empty; returns how many entries went."""
        self.close()
        count = sum(self.written.values())
        for path in self.written:
            path.unlink(missing_ok=True)
            prune(path.parent, self.root)
        self.written.clear()
        return count


def prune(folder: Path, root: Path) -> None:
    """Remove empty folders from here up to and including the cassette's own."""
    for parent in (folder, *folder.parents):  # pragma: no branch - the folder above the cassette ends it
        if parent != root and root not in parent.parents:
            return
        try:
            parent.rmdir()
        except OSError:  # not empty: something of somebody else's
            return
