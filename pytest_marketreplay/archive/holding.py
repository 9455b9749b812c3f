"""Locks on folders, as the sink `local` takes them on the tree that it writes: the kernel gives them back with the process."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from pytest_marketreplay.errors import ArchiveError, Busy

log = logging.getLogger("pytest_marketreplay.archive")
_TRIES = 20
_PAUSE_S = 0.025


def open_folder(path: Path) -> int:
    """Open a folder, itself and nothing that it is a link to. Raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def lock(folder: int) -> bool:
    """Lock an open folder for this process alone; False where another has it, True where it has, or where nobody can."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # some network file systems
        log.info("a folder cannot be locked, and is taken to be nobody's: %s", error)
    return True


def hold(tree: Path) -> int | None:
    """Lock a tree; None where it is not there. Closing what this returns gives it back. Raises Busy, and OSError."""
    try:
        folder = open_folder(tree)
    except FileNotFoundError:
        return None
    try:
        if not lock(folder):
            raise _busy(tree)
        try:
            is_same = os.path.samestat(os.fstat(folder), os.stat(tree, follow_symlinks=False))
        except FileNotFoundError:
            is_same = False
        if not is_same:
            raise Busy(f"{tree} was replaced by another restore in this moment; look at it, and restore again")
    except BaseException:
        os.close(folder)
        raise
    return folder


def refuse_written(tree: Path) -> None:
    """Raise Busy where a collector writes a tree above or below one, whose own lock is another matter (`hold`)."""
    for folder in (*tree.parents, *_below(tree)):
        try:
            opened = open_folder(folder)
        except (FileNotFoundError, PermissionError):  # not there yet; or a folder that is not ours to lock
            continue
        try:
            _lock_soon(opened, folder)
        finally:
            os.close(opened)


def _lock_soon(opened: int, folder: Path) -> None:
    """Lock an open folder, though another restore may look at it in the same moment. Raises Busy: a collector stays."""
    for _ in range(_TRIES):
        if lock(opened):
            return
        time.sleep(_PAUSE_S)
    raise _busy(folder)


def _below(tree: Path) -> Iterator[Path]:
    try:
        with os.scandir(tree) as entries:
            folders = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return
    except OSError as error:
        raise ArchiveError(
            f"{tree} cannot be read: {error}. Grant access to it, or restore to another folder"
        ) from error
    for folder in folders:
        yield folder
        yield from _below(folder)


def _busy(folder: Path) -> Busy:
    return Busy(
        f"{folder} is being written, by a collector or another restore. Stop the session (`marketreplay collect list` names "
        "it), or restore to another folder"
    )
