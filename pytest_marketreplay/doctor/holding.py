"""Who writes a tree: told by the locks that collectors hold, and held ourselves for the moment of a repair."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from pytest_marketreplay.errors import Busy


@contextlib.contextmanager
def held(path: Path, root: Path) -> Iterator[None]:
    """Hold the locks of a folder and of those above it up to `root`: one of them is the tree's, which collectors lock.

    For moments only: a collector that starts meanwhile waits. Raises Busy where another has one, or it cannot be had.
    """
    above = [folder for folder in path.parents if folder == root or root in folder.parents]
    with contextlib.ExitStack() as stack:
        for folder in (path, *above):
            try:
                fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, fd)
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(f"a collector or a restore holds {folder}") from None
            except OSError as error:
                raise Busy(f"{folder} cannot be locked: {error}") from None
        yield


def is_written(path: Path, root: Path) -> bool:
    """Tell whether somebody holds the lock of a folder, or of one above it up to `root`."""
    try:
        with held(path, root):
            return False
    except Busy:
        return True


def is_locked(path: Path) -> bool:
    """Tell whether a process holds the lock of a file, as a sink does with a log that it writes. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
