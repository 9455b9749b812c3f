"""Who writes a tree: told by the locks that collectors hold, and held ourselves for the moment of a repair."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from pytest_marketreplay.errors import Busy

_ABOVE = 3
"""Folders above the one that was named: a collector locks the tree's, and a venue's or a symbol's may have been named."""


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the locks of a folder and of all above it that could be its tree's. Raises Busy where another has one.

    For moments only: a collector that starts meanwhile waits. A folder that cannot be opened, or locked at all, is Busy
    too, where it is the tree's own.
    """
    with contextlib.ExitStack() as stack:
        for folder in (path, *list(path.parents)[:_ABOVE]):
            try:
                fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, fd)
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(f"a collector or a restore holds {folder}") from None
            except OSError as error:
                if folder == path:
                    raise Busy(f"{folder} cannot be locked: {error}") from None
        yield


def is_written(path: Path) -> bool:
    """Tell whether somebody holds the lock of a folder, or of one above it that could be its tree's."""
    try:
        with held(path):
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
