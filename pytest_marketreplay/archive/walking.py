"""Folders below a root, opened part by part and by descriptor: no symlink is followed, whoever puts it there meanwhile."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Walker:
    """Opens the folders below a root. The descriptors of the last one and its parents stay open."""

    def __init__(self, root: Path, *, link: bool = False) -> None:
        """Open the root; with `link`, it may itself be a symlink. Raises OSError."""
        self.root = os.open(root, _FOLDER | (0 if link else os.O_NOFOLLOW))
        self._open: list[tuple[str, int]] = []

    def __enter__(self) -> Walker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(0)
        os.close(self.root)

    def folder(self, path: str, *, make: int | None = None) -> int:
        """Return the descriptor of a folder, good until the next call; `""` is the root.

        With `make`, the last part is made with that mode, whatever the umask, where it is not there. Raises OSError:
        NotADirectoryError or ELOOP where a part is a symlink or a file.
        """
        parts = path.split("/") if path else []
        kept = 0
        while kept < min(len(parts), len(self._open)) and parts[kept] == self._open[kept][0]:
            kept += 1
        self._leave(kept)
        for index in range(kept, len(parts)):
            parent, part = self._open[-1][1] if self._open else self.root, parts[index]
            made = False
            if make is not None and index == len(parts) - 1:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=parent)
                    made = True
            opened = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
            self._open.append((part, opened))
            if made and make is not None:
                os.fchmod(opened, make)
        return self._open[-1][1] if self._open else self.root

    def _leave(self, kept: int) -> None:
        for _, opened in self._open[kept:]:
            os.close(opened)
        del self._open[kept:]


def split(path: str) -> tuple[str, str]:
    """Return the folder of a path, `""` for the root, and its last part."""
    folder, _, name = path.rpartition("/")
    return folder, name
