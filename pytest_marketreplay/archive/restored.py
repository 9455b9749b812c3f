"""What a restored tree says of itself, in a hidden document of its root: which snapshot it is, and what was in it then."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from pytest_marketreplay.archive.manifest import Manifest, Member
from pytest_marketreplay.archive.naming import SnapshotName, read_name
from pytest_marketreplay.documents import Document

FILE = ".marketreplay-restore.json"
OWN_NAMES = frozenset((FILE, f"{FILE}.bak"))
KIND = "marketreplay restore"


class RestoreRecord(msgspec.Struct, frozen=True):
    """What was restored, and what the tree held then."""

    snapshot: str
    """The file's name."""
    manifest: str
    """SHA-256 of the snapshot's manifest."""
    contents: str
    """`contents_digest` of the tree, with what was in it before where it was merged."""
    restored_ms: int
    """Unix epoch in milliseconds."""
    venues: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    merged: bool = False

    @property
    def name(self) -> SnapshotName | None:
        """Return the snapshot as its name tells it; None where somebody wrote something else there."""
        return read_name(self.snapshot)


def record_document(tree: Path) -> Document[RestoreRecord]:
    """Return the document of a tree; `load` gives None where it was not restored."""
    return Document(tree / FILE, RestoreRecord, kind=KIND)


def contents_digest(members: Iterable[Member]) -> str:
    """Return a digest of names and bytes alone: caches of CI systems and umasks change permissions, and drop empty folders."""
    return Manifest(tuple(Member(each.path, each.size, each.sha256, 0) for each in members)).digest()
