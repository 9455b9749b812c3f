"""Where a tree is restored to: made beside it, and put in its place by one rename, so that a kill leaves all or nothing."""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from types import TracebackType

from pytest_marketreplay.archive import exchanging
from pytest_marketreplay.archive.holding import lock, open_folder
from pytest_marketreplay.documents import FOLDER_MODE, make_folder
from pytest_marketreplay.errors import ArchiveError, Busy, RestoreRefused

log = logging.getLogger("pytest_marketreplay.archive")
_LEFT = "restoring"
_REPLACED = "replaced"


class Standing(Enum):
    """What stands at a target."""

    MISSING = "missing"
    EMPTY = "empty"
    FULL = "full"


def resolve(target: Path) -> Path:
    """Return where a target really is. Raises RestoreRefused where no tree can be put in its place."""
    path = Path(os.path.realpath(target))
    here = Path.cwd()
    if path in (here, *here.parents, Path.home()):
        raise RestoreRefused(path, "it is the current folder, one above it, or your home", "Name a folder of its own")
    if os.path.ismount(path):
        raise RestoreRefused(
            path, "it is a mount point, and cannot be renamed", f"Name a folder in it: --to {path / 'tree'}"
        )
    if path.exists() and not path.is_dir():
        raise RestoreRefused(path, "it is no folder", "Move it away, or name another folder")
    return path


def standing(target: Path) -> Standing:
    """Tell what stands at a target; a hidden file counts. Raises OSError."""
    try:
        with os.scandir(target) as entries:
            return Standing.EMPTY if next(entries, None) is None else Standing.FULL
    except FileNotFoundError:
        return Standing.MISSING


def free_bytes(target: Path) -> int:
    """Return how much can be written where a target is or will be."""
    there = next(folder for folder in target.parents if folder.exists())
    about = os.statvfs(there)
    return about.f_bavail * about.f_frsize


@contextmanager
def untouched(target: Path) -> Iterator[None]:
    """Say of what the operating system refuses that the target is as it was. Raises ArchiveError."""
    try:
        yield
    except OSError as error:
        raise ArchiveError(
            f"nothing is restored to {target}, which is as it was: {error}. Make room or grant access, and restore again"
        ) from error


class Workplace:
    """A hidden folder beside a target, in which its new tree is made; locked, so that no other restore sweeps it away.

    `tree` is the new tree, `archive` the path for a download. At the end all that is in it is removed.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = _beside(target, _LEFT)
        self.tree, self.archive = self.path / "tree", self.path / "archive.zip"
        self.left: Path | None = None
        """What could not be removed at the end."""
        self._lock = -1

    def __enter__(self) -> Workplace:
        """Make the folder. Raises Busy, and OSError."""
        make_folder(self.target.parent)
        os.mkdir(self.path, 0o700)
        try:
            self._lock = open_folder(self.path)
            is_ours = lock(self._lock) and os.fstat(self._lock).st_nlink > 0
        except FileNotFoundError:
            is_ours = False
        if not is_ours:
            self._unlock()
            raise Busy(f"another restore to {self.target} begins in this moment; restore again when it has ended")
        self.empty()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the folder; what cannot be removed is told in the log, and stays in `left`."""
        self.left = _remove(self.path)
        self._unlock()

    def empty(self) -> None:
        """Begin the tree anew. Raises OSError."""
        if self.tree.exists():
            shutil.rmtree(self.tree)
        os.mkdir(self.tree)
        os.chmod(self.tree, FOLDER_MODE)

    def publish(self, found: Standing) -> None:
        """Put the tree where the target is, of which `found` was seen. Raises RestoreRefused, and OSError."""
        sync(self.tree)
        try:
            if found is Standing.FULL:
                self._exchange()
            elif found is Standing.EMPTY:
                os.rename(self.tree, self.target)
            else:
                exchanging.rename_new(self.tree, self.target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            raise RestoreRefused(
                self.target, "somebody else filled it meanwhile", "Look at it, and restore again"
            ) from error
        sync(self.target.parent)

    def _exchange(self) -> None:
        if exchanging.exchange(self.tree, self.target):
            return
        # between these two a kill leaves no target: the next restore takes it back first (`sweep`)
        old = _beside(self.target, _REPLACED)
        os.rename(self.target, old)
        try:
            os.rename(self.tree, self.target)
        except BaseException:
            os.rename(old, self.target)
            raise
        os.rename(old, self.tree)  # to be removed with all else

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def sweep(target: Path) -> None:
    """Undo what a killed restore to a target left half done, and remove what it left behind. Raises OSError."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.({_LEFT}|{_REPLACED})-[0-9a-f]{{16}}", re.ASCII)
    try:
        with os.scandir(target.parent) as entries:
            found = sorted((entry.name, match[1]) for entry in entries if (match := pattern.fullmatch(entry.name)))
    except FileNotFoundError:
        return
    for name, what in found:
        path = target.parent / name
        with suppress(FileNotFoundError, NotADirectoryError), _owned(path) as is_left:
            if not is_left:
                continue
            if what == _REPLACED and not target.exists():
                os.rename(path, target)
                log.warning("%s: a restore was killed while it replaced this tree, which is back now", target)
            else:
                _remove(path)
                log.info("%s was left by a killed restore; removed", path)


def sync(folder: Path) -> None:
    """Have the names in a folder on the disk. Raises OSError."""
    opened = open_folder(folder)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def _owned(path: Path) -> Iterator[bool]:
    """Tell whether no living restore has a folder; none takes it until the block ends."""
    folder = open_folder(path)
    try:
        yield lock(folder)
    finally:
        os.close(folder)


def _beside(target: Path, what: str) -> Path:
    return target.with_name(f".{target.name}.{what}-{secrets.token_hex(8)}")


def _remove(path: Path) -> Path | None:
    """Remove a folder with all that is in it; return it where that does not succeed, which changes nothing of a restore."""
    try:
        shutil.rmtree(path)
    except OSError as error:
        log.warning("%s cannot be removed: %s. Remove it by hand", path, error)
        return path
    return None
