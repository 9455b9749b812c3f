"""How an archive comes from a remote: in parts where the remote allows that, else whole; proven in both ways."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from pytest_marketreplay.archive.checking import Checked, check, digest
from pytest_marketreplay.archive.extracting import extract, verify
from pytest_marketreplay.archive.layout import local_length
from pytest_marketreplay.archive.manifest import Manifest
from pytest_marketreplay.archive.placing import Workplace
from pytest_marketreplay.archive.ranges import RangedFile, RangesRefused
from pytest_marketreplay.archive.remote import Progress, Remote
from pytest_marketreplay.archive.selecting import Snapshot
from pytest_marketreplay.errors import DamagedArchive


class Obtained(NamedTuple):
    """An archive that is here, whole, and is what its name says."""

    file: BinaryIO
    checked: Checked

    def extract(self, paths: Collection[str] | None, work: Workplace, progress: Progress | None) -> None:
        """Unpack all or some of its files to the new tree."""
        extract(self.file, self.checked, paths, work.tree, progress)


class Source:
    """One snapshot on a remote. Its manifest is read at once where the remote gives parts of a file.

    The name proves the manifest, and the manifest each file, so that a part needs no digest of the whole.
    """

    def __init__(self, remote: Remote, snapshot: Snapshot) -> None:
        """Read the manifest; a damaged or lying part means only that the whole is to be downloaded. Raises RemoteError."""
        self.remote, self.snapshot = remote, snapshot
        self._ranged: tuple[RangedFile, Checked] | None = None
        self._is_whole = False
        try:
            ranged = RangedFile(remote, snapshot.name.file, snapshot.size_bytes)
            self._ranged = ranged, check(cast(BinaryIO, ranged), snapshot.name.file)
        except (RangesRefused, DamagedArchive):
            pass

    @property
    def manifest(self) -> Manifest | None:
        """Return the manifest where it is known before a download."""
        return None if self._ranged is None else self._ranged[1].manifest

    @property
    def fetched_bytes(self) -> int | None:
        """Return how many bytes of the archive were read; None where it was downloaded whole."""
        return None if self._is_whole or self._ranged is None else self._ranged[0].fetched_bytes

    def extract(self, paths: Collection[str], work: Workplace, progress: Progress | None) -> bool:
        """Unpack some files from the parts that hold them; False, and nothing is there, where these are not what they
        should be, so that the whole archive is to tell. Raises RemoteError."""
        assert self._ranged is not None  # the paths are those of its manifest
        file, checked = self._ranged
        wanted = frozenset(paths)
        file.expect(
            (entry.offset, entry.offset + local_length(member.path.encode(), member.size) + entry.packed)
            for member, entry in zip(checked.manifest.members, iter(checked.entries), strict=True)
            if member.path in wanted
        )
        try:
            extract(cast(BinaryIO, file), checked, wanted, work.tree, progress)
        except (RangesRefused, DamagedArchive):
            work.empty()
            return False
        return True

    @contextmanager
    def download(self, work: Workplace, progress: Progress | None) -> Iterator[Obtained]:
        """Download the archive, and give it where it is what its name says. Raises RemoteError, DamagedArchive, OSError."""
        self._is_whole = True
        name = self.snapshot.name
        self.remote.download(name.file, work.archive, progress)
        self._refuse_other(digest(work.archive))
        with work.archive.open("rb") as file:
            yield Obtained(file, check(file, name.file))

    def verify(self, progress: Progress | None) -> Manifest:
        """Read the archive back, whole, and every file in it, and keep nothing. Raises RemoteError, DamagedArchive."""
        name = self.snapshot.name
        if self._ranged is not None:
            self._refuse_other(self.remote.digest(name.file, progress))
            file, checked = self._ranged
            file.expect([(0, self.snapshot.size_bytes)])
            verify(cast(BinaryIO, file), checked, progress)
            return checked.manifest
        with tempfile.TemporaryDirectory(prefix="marketreplay-") as folder:  # a remote that gives no parts
            path = Path(folder) / "archive.zip"
            self.remote.download(name.file, path, progress)
            self._refuse_other(digest(path))
            with path.open("rb") as whole:
                checked = check(whole, name.file)
                verify(whole, checked, progress)
                return checked.manifest

    def _refuse_other(self, found: str) -> None:
        if found != self.snapshot.name.archive:
            raise DamagedArchive(
                self.snapshot.name.file,
                f"its SHA-256 is {found}, and not the one in its name: it was damaged or replaced",
            )
