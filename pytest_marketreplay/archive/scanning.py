"""What there is to archive in a tree, and its files as they are read while somebody writes them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pytest_marketreplay.archive.layout import MOST_ENTRIES
from pytest_marketreplay.archive.manifest import MEMBER, Folder
from pytest_marketreplay.archive.paths import Names
from pytest_marketreplay.archive.walking import Walker, split
from pytest_marketreplay.errors import ArchiveError, UsageMistake

BLOCK = 1 << 20
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # not blocking: a FIFO may have come in its place
_KINDS = {stat.S_IFLNK: "a symlink", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}


class Vanished(Exception):
    """A file or folder of a scan is not there any more, or has become something else: scan again."""


class Scan(NamedTuple):
    """A tree, sorted by path."""

    files: list[str]
    folders: list[Folder]
    skipped: list[str]
    """What is told and not archived: `path (a symlink)`."""
    size_bytes: int


def walk(tree: Path) -> Walker:
    """Open a tree. Raises UsageMistake where it is no folder, or not one that can be read."""
    try:
        return Walker(tree, link=True)
    except OSError as error:
        raise UsageMistake(f"there is no tree to archive at {tree}: {error.strerror}") from None


def scan(walker: Walker, tree: Path) -> Scan:
    """List a tree. Names that begin with '.' are passed over. Raises Vanished, and ArchiveError, which names the path."""
    found = Scan([], [], [], 0)
    size = 0
    names = Names()
    pending = [""]
    while pending:
        here = pending.pop()
        with _reading(tree, here), os.scandir(walker.folder(here)) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                path = f"{here}/{entry.name}" if here else entry.name
                status = entry.stat(follow_symlinks=False)
                kind = stat.S_IFMT(status.st_mode)
                if path == MEMBER:  # of an archive that was unpacked by hand
                    found.skipped.append(f"{path} (the manifest of an unpacked archive)")
                    continue
                if kind not in (stat.S_IFREG, stat.S_IFDIR):
                    found.skipped.append(f"{path} ({_KINDS.get(kind, 'a device')})")
                    continue
                if why := names.add(path):
                    raise ArchiveError(f"{tree}: {path!r} cannot be archived: {why}. Rename it")
                if kind == stat.S_IFDIR:
                    found.folders.append(Folder(path, status.st_mode & 0o777))
                    pending.append(path)
                else:
                    found.files.append(path)
                    size += status.st_size
        if len(found.files) + len(found.folders) > MOST_ENTRIES:
            raise ArchiveError(
                f"{tree} has more than {MOST_ENTRIES} files and folders, the most that an archive holds. "
                "Back up its folders one by one, or merge small segments"
            )
    found.files.sort()
    found.folders.sort(key=lambda folder: folder.path)
    found.skipped.sort()
    return found._replace(size_bytes=size)


class Source:
    """A file that is read, up to the size that it had when it was opened."""

    def __init__(self, opened: int, tree: Path, path: str) -> None:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            raise Vanished(path)
        self.size, self.mode = status.st_size, status.st_mode & 0o777
        self._opened, self._tree, self._path, self._status = opened, tree, path, status

    def blocks(self) -> Iterator[bytes]:
        """Yield its bytes, `BLOCK` in each but the last. Raises ArchiveError where it shrank or was changed meanwhile."""
        left = self.size
        while left:
            block = b""
            while len(block) < min(left, BLOCK):
                with _reading(self._tree, self._path):
                    more = os.read(self._opened, min(left, BLOCK) - len(block))
                if not more:
                    raise ArchiveError(self._changed("became shorter"))
                block += more
            left -= len(block)
            yield block
        now = os.fstat(self._opened)
        if now.st_size < self.size:
            raise ArchiveError(self._changed("became shorter"))
        if now.st_size == self.size and now.st_mtime_ns != self._status.st_mtime_ns:
            raise ArchiveError(self._changed("was changed in place"))

    def _changed(self, what: str) -> str:
        return (
            f"{self._tree}: {self._path!r} {what} while it was read. Files of a tree may grow while it is archived; "
            "find out who rewrites this one, and try again"
        )


@contextmanager
def opened(walker: Walker, tree: Path, path: str) -> Iterator[Source]:
    """Open a file of a scan. Raises Vanished where it is not there any more, ArchiveError where it cannot be read."""
    folder, name = split(path)
    with _reading(tree, path):
        descriptor = os.open(name, _READ, dir_fd=walker.folder(folder))
    try:
        yield Source(descriptor, tree, path)
    finally:
        os.close(descriptor)


@contextmanager
def _reading(tree: Path, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _GONE:
            raise Vanished(path) from None
        raise ArchiveError(
            f"{tree}: {path or '.'!r} cannot be read: {error.strerror}. An archive without it would be none: see to it "
            "that it can be read, or move it out of the tree"
        ) from error
