"""A remote in plain Python, for what takes thousands of steps or must fail at one of them: rclone takes 50 ms for each."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pytest_marketreplay import clock
from pytest_marketreplay.archive.naming import read_name
from pytest_marketreplay.archive.remote import Listed, Progress
from pytest_marketreplay.errors import RemoteError

DAY_NS = 24 * 3600 * 10**9


class Killed(BaseException):
    """The process ends here: nothing after it is done."""


class FolderRemote:
    """A folder. `before` and `after` are called around whatever changes or reads it, with its name and the file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = str(folder)
        self.before: Callable[[str, str], None] = lambda operation, file: None
        self.after: Callable[[str, str], None] = lambda operation, file: None
        self.deleted: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)

    def _do(self, operation: str, file: str, work: Callable[[], object]) -> None:
        self.before(operation, file)
        work()
        self.after(operation, file)

    def list(self) -> list[Listed]:
        self.before("list", "")
        return [Listed(path.name, path.stat().st_size) for path in sorted(self.folder.iterdir())]

    def stat(self, file: str) -> Listed | None:
        self.before("stat", file)
        path = self.folder / file
        return Listed(file, path.stat().st_size) if path.exists() else None

    def upload(self, source: Path, file: str, progress: Progress | None = None) -> None:
        def half() -> None:
            (self.folder / file).write_bytes(source.read_bytes()[:100])

        self._do("upload half", file, half)  # WebDAV keeps what came of a cut upload
        self._do("upload", file, lambda: shutil.copyfile(source, self.folder / file))

    def download(self, file: str, target: Path, progress: Progress | None = None) -> None:
        shutil.copyfile(self.folder / file, target)

    def digest(self, file: str, progress: Progress | None = None) -> str:
        self.before("digest", file)
        return hashlib.sha256((self.folder / file).read_bytes()).hexdigest()

    def move(self, file: str, to: str) -> None:
        if (self.folder / to).exists():
            raise RemoteError(self.name, "move", "taken", "it is there", "")
        self._do("move", file, lambda: os.rename(self.folder / file, self.folder / to))

    def delete(self, file: str) -> None:
        self.deleted.append(file)
        self._do("delete", file, lambda: (self.folder / file).unlink(missing_ok=True))

    def read(self, file: str, offset: int, count: int) -> bytes:
        return (self.folder / file).read_bytes()[offset : offset + count]


class Wall:
    """The wall clock and the counter of `pytest_marketreplay.clock`, at a test's command."""

    def __init__(self, monkeypatch: object, start_ns: int = 1_790_000_000 * 10**9) -> None:
        self.ns = start_ns
        monkeypatch.setattr(clock, "now_ns", lambda: self.ns)  # type: ignore[attr-defined]

    def go(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)


def snapshots(folder: Path, label: str | None = None) -> list[str]:
    """Return the files under snapshots' names, oldest first."""
    names = [name for path in folder.iterdir() if (name := read_name(path.name)) is not None]
    return [name.file for name in sorted(names) if label in (None, name.label)]


def assert_whole(folder: Path) -> None:
    """Check that whatever has a snapshot's name has its digest too."""
    for path in folder.iterdir():
        name = read_name(path.name)
        assert name is None or hashlib.sha256(path.read_bytes()).hexdigest() == name.archive, path.name
