"""Permissions: folders 750, data 640, logs 644, secrets 600; fewer are fine as long as the owner can read."""

from __future__ import annotations

import os
import stat
from contextlib import nullcontext
from pathlib import Path

from pytest_marketreplay.doctor.codes import NOTE, WARNING
from pytest_marketreplay.doctor.health import Notebook
from pytest_marketreplay.doctor.holding import held

FOLDER, DATA, LOG, SECRET = 0o750, 0o640, 0o644, 0o600
_SAID = {FOLDER: "a folder", DATA: "data", LOG: "a log", SECRET: "a secret"}


def in_version_control(path: Path) -> bool:
    """Tell whether a path is in a work tree of Git, which gives files the modes of the umask."""
    return any(os.path.exists(folder / ".git") for folder in (path, *path.parents))


class Modes:
    """Judges permissions below one root."""

    def __init__(self, notebook: Notebook, root: Path, *, locks: bool = True) -> None:
        """`locks`: mend only while nobody holds the tree."""
        self._notebook, self._root, self._locks = notebook, root, locks
        self._is_checkout = in_version_control(root.absolute())

    def check(self, path: Path, allowed: int) -> bool:
        """Note permissions that are wider than allowed, or that keep the owner out; returns whether it is worth reading."""
        try:
            about = path.lstat()
        except FileNotFoundError:
            return False
        except OSError as error:
            self._notebook.add("unreadable", path, str(error), f"give access to {path}")
            return False
        mode = stat.S_IMODE(about.st_mode)
        needed = 0o500 if stat.S_ISDIR(about.st_mode) else 0o400
        wanted = mode & allowed
        command = f"chmod {{:03o}} {path}"
        if mode & needed != needed and about.st_uid == os.geteuid():
            wanted |= allowed & 0o700
            return self._notebook.add(
                "unreadable",
                path,
                f"its permissions are {mode:03o}: its owner cannot read it",
                command.format(wanted),
                mend=lambda: self._change(path, wanted, mode),
            )
        if mode & 0o777 & ~allowed:
            # a checkout has the modes of the umask; that others may write is nobody's wish there either
            is_usual = self._is_checkout and not mode & 0o022
            self._notebook.add(
                "permission",
                path,
                f"its permissions are {mode:03o}, and {_SAID[allowed]} has at most {allowed:03o}",
                command.format(wanted),
                severity=NOTE if is_usual else WARNING,
                mend=lambda: self._change(path, wanted, mode),
            )
        return True

    def _change(self, path: Path, mode: int, before: int) -> str:
        # a folder that keeps its owner out cannot be opened to lock it
        with (
            held(path if path.is_dir() and before & 0o400 else path.parent, self._root)
            if self._locks
            else nullcontext()
        ):
            path.chmod(mode)
        return f"permissions {before:03o} became {mode:03o}"
