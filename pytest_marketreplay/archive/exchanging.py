"""Renames of folders that either happen whole or not at all: onto a name that is free, and of two for each other."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_AT_FDCWD = -100
_NOREPLACE = 1
_EXCHANGE = 2
_UNKNOWN = frozenset((errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP))


def rename_new(source: Path, target: Path) -> None:
    """Rename a folder to a name that is free. Raises FileExistsError, and OSError."""
    if not _renameat2(source, target, _NOREPLACE):
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        os.rename(
            source, target
        )  # a folder that appears now is replaced where it is empty, and refused where it is not


def exchange(one: Path, other: Path) -> bool:
    """Give each of two folders the name of the other, in one step; False where the file system cannot. Raises OSError."""
    return _renameat2(one, other, _EXCHANGE)


def _renameat2(source: Path, target: Path, flags: int) -> bool:
    """Call Linux's renameat2(2), which Python has not; False where the kernel, the C library or the file system has not."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    if function(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return False
    raise OSError(number, os.strerror(number), str(source), None, str(target))
