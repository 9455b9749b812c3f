"""What a backup and a restore ask of a place for snapshots; `rclone.py` is the one that does it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

Progress = Callable[[int, int], None]
"""Takes how many bytes of how many are done; total 0 where it is not known yet."""


class Listed(NamedTuple):
    """A file on a remote; its time is not here, since no remote's time is to be trusted."""

    name: str
    size_bytes: int


class Remote(Protocol):
    """A folder somewhere. Every method raises RemoteError, with one line that says what to do, and ends in bounded time."""

    name: str
    """As the user gave it, without credentials."""

    def list(self) -> list[Listed]:
        """Return the files of the folder, hidden ones too, none of its folders; `[]` where the folder is not there yet."""

    def stat(self, file: str) -> Listed | None:
        """Return one file; None where it is not there."""

    def upload(self, source: Path, file: str, progress: Progress | None = None) -> None:
        """Upload a file under a name that is not there yet."""

    def download(self, file: str, target: Path, progress: Progress | None = None) -> None:
        """Download a file, to a path that is not there yet."""

    def digest(self, file: str, progress: Progress | None = None) -> str:
        """Read a file back, whole, and return its SHA-256 in hex."""

    def move(self, file: str, to: str) -> None:
        """Rename a file; refused where the new name is taken."""

    def delete(self, file: str) -> None:
        """Delete one file; nothing happens where it is gone."""

    def read(self, file: str, offset: int, count: int) -> bytes:
        """Read a part of a file; shorter than `count` only at the file's end."""
