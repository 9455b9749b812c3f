"""Unpacking a checked archive, below a folder that it cannot leave; and reading it through without unpacking."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pytest_marketreplay.archive.checking import Checked
from pytest_marketreplay.archive.inflating import inflate
from pytest_marketreplay.archive.manifest import Member
from pytest_marketreplay.archive.remote import Progress
from pytest_marketreplay.archive.syncing import sync
from pytest_marketreplay.archive.telling import Told
from pytest_marketreplay.archive.walking import Walker, split
from pytest_marketreplay.documents import DATA_MODE, FOLDER_MODE, SECRET_MODE
from pytest_marketreplay.errors import ArchiveError, DamagedArchive

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def verify(file: BinaryIO, checked: Checked, progress: Progress | None = None) -> None:
    """Read every member of an archive, and compare it with the manifest. Raises DamagedArchive."""
    told = Told(progress, checked.manifest.size_bytes)
    for index, member in enumerate(checked.manifest.members):
        _read(file, checked, index, member, lambda data: told.add(len(data)))


def extract(
    file: BinaryIO, checked: Checked, paths: Collection[str] | None, staging: Path, progress: Progress | None = None
) -> None:
    """Unpack an archive, or the files of it that `paths` names, below a folder that is there.

    Without `paths`, its empty folders are made too. Nothing that stands there is written to. Files get mode 640, or 600
    where they were for their owner only; folders that are made 750. All is on the disk in the end. After an error the
    folder holds a part of it. Raises DamagedArchive; ArchiveError where the disk does not take it, or something is in the
    way.
    """
    wanted = _wanted(checked, paths)
    told = Told(progress, sum(checked.manifest.members[index].size for index in wanted))
    with _writing(staging, ""):
        walker = Walker(staging)
    with walker:
        for folder in _folders(checked, paths, wanted):
            with _writing(staging, folder):
                walker.folder(folder, make=FOLDER_MODE)
        for index in wanted:
            _unpack(file, checked, index, walker, staging, told)
        with _writing(staging, ""):
            sync(walker.root)


def _wanted(checked: Checked, paths: Collection[str] | None) -> list[int] | range:
    members = checked.manifest.members
    if paths is None:
        return range(len(members))
    named = set(paths)
    wanted = [index for index, member in enumerate(members) if member.path in named]
    if len(wanted) != len(named):
        missing = sorted(named - {members[index].path for index in wanted})
        raise ArchiveError(f"{checked.name} has no file {missing[0]!r}")
    return wanted


def _folders(checked: Checked, paths: Collection[str] | None, wanted: list[int] | range) -> list[str]:
    """Return the folders that are needed, each after the one it is in."""
    if paths is None:
        return [folder.path for folder in checked.manifest.folders]
    needed = set()
    for index in wanted:
        path = split(checked.manifest.members[index].path)[0]
        while path and path not in needed:
            needed.add(path)
            path = split(path)[0]
    return sorted(needed)


def _unpack(file: BinaryIO, checked: Checked, index: int, walker: Walker, staging: Path, told: Told) -> None:
    member = checked.manifest.members[index]
    folder, name = split(member.path)
    with _writing(staging, member.path):
        descriptor = os.open(name, _NEW, 0o600, dir_fd=walker.folder(folder))

    def write(data: bytes) -> None:
        with _writing(staging, member.path):
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        told.add(len(data))

    try:
        _read(file, checked, index, member, write)
        with _writing(staging, member.path):
            os.fchmod(descriptor, DATA_MODE if member.mode & 0o077 else SECRET_MODE)
    finally:
        os.close(descriptor)


def _read(file: BinaryIO, checked: Checked, index: int, member: Member, use: Callable[[bytes], None]) -> None:
    sha256 = hashlib.sha256()
    for data in inflate(file, member.path, member.size, checked.entries[index], checked.name):
        sha256.update(data)
        use(data)
    if sha256.hexdigest() != member.sha256:
        raise DamagedArchive(checked.name, "its bytes do not have the SHA-256 that the manifest tells", member.path)


@contextmanager
def _writing(staging: Path, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArchiveError(f"{staging}: {path or '.'!r} cannot be unpacked there: {error.strerror}") from error
