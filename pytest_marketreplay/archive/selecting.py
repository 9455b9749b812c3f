"""Which snapshot is meant, and which of its files: by names alone, so that both are known before anything is downloaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from pytest_marketreplay import clock
from pytest_marketreplay.archive.manifest import Manifest
from pytest_marketreplay.archive.naming import SnapshotName, read_name
from pytest_marketreplay.archive.remote import Listed
from pytest_marketreplay.cassette import names
from pytest_marketreplay.errors import UsageMistake

LATEST = "latest"
AHEAD_S = 300
"""How far a name may be ahead of our clock; what is further is from a clock that is wrong, and no `latest`."""
_PREFIX = re.compile(r"[0-9a-f]{6,64}", re.ASCII)
_SHOWN = 5


class Snapshot(NamedTuple):
    """A snapshot on a remote. Sorts by time."""

    name: SnapshotName
    size_bytes: int


class Parts(NamedTuple):
    """What of a tree is wanted: files whose place is of one of the venues, endpoints and symbols; empty means all."""

    venues: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    """`/api/v3/depth`, or the folder's name `api_v3_depth`."""
    symbols: tuple[str, ...] = ()

    def paths(self, manifest: Manifest) -> list[str] | None:
        """Return the paths that are wanted; None for all. Raises UsageMistake where there is none."""
        if self == Parts():
            return None
        wanted = (
            _folders(self.venues, names.venue_folder),
            _folders(self.endpoints, names.endpoint_folder, _websocket_folder),
            _folders(self.symbols, names.symbol_folder),
        )
        places: dict[tuple[str, str, str], list[str]] = {}
        for member in manifest.members:
            folders = member.path.split("/")[:-1]
            if len(folders) >= 3:  # in a tree of several cassettes, what stands before is the cassette's own folder
                places.setdefault((folders[-3], folders[-2], folders[-1]), []).append(member.path)
        found = [
            path
            for place, paths in places.items()
            if all(not any_of or folder in any_of for folder, any_of in zip(place, wanted, strict=True))
            for path in paths
        ]
        if not found:
            raise UsageMistake(
                f"the snapshot has no file of {self}. It has {_some('/'.join(place) for place in places)}"
            )
        return sorted(found)

    def __str__(self) -> str:
        """Return what is wanted, for people."""
        said = (("venue", self.venues), ("endpoint", self.endpoints), ("symbol", self.symbols))
        return ", ".join(f"{what} {' or '.join(values)}" for what, values in said if values) or "everything"


def snapshots(listed: Iterable[Listed], label: str | None = None) -> list[Snapshot]:
    """Return the snapshots of a listing, oldest first; foreign files and unfinished uploads are none."""
    found = {
        Snapshot(name, each.size_bytes)
        for each in listed
        if (name := read_name(each.name)) is not None and label in (None, name.label)
    }
    return sorted(found)


def is_ahead(name: SnapshotName) -> bool:
    """Tell whether a snapshot says that it will be made later than now."""
    return name.created_s > clock.now_ns() // 1_000_000_000 + AHEAD_S


def is_meant(asked: str, name: SnapshotName) -> bool:
    """Tell whether a snapshot is called by its file name, its short name, or 6 digits or more of one of its digests."""
    if asked in (name.file, name.file.removesuffix(".zip"), name.short):
        return True
    return _PREFIX.fullmatch(asked) is not None and (
        name.archive.startswith(asked) or name.manifest.startswith(asked[:32])
    )


def choose(
    found: Collection[Snapshot], remote: str, *, asked: str = LATEST, at_ns: int | None = None, label: str | None = None
) -> Snapshot:
    """Return the snapshot that is asked for: one that is called by name, or the newest, up to a moment where one is given.

    `found` are the snapshots of `label` where there is one. Raises UsageMistake where none is meant, or more than one.
    """
    whose = f" of {label!r}" if label else ""
    if not found:
        raise UsageMistake(
            f"{remote} has no snapshot{whose}; make one with `marketreplay backup run`, or name another folder"
        )
    if asked != LATEST:
        return _called(found, remote, asked)
    labels = {each.name.label for each in found}
    if len(labels) > 1:
        raise UsageMistake(
            f"{remote} has snapshots of {_some(sorted(labels))}: say of which with --label, or name a snapshot"
        )
    until = [each for each in found if not is_ahead(each.name)]
    if at_ns is not None:
        until = [each for each in until if each.name.created_s * 1_000_000_000 <= at_ns]
    if not until:
        oldest = min(found).name
        why = "that is not from the future" if at_ns is None else "that is as old"
        raise UsageMistake(f"{remote} has no snapshot{whose} {why}; its oldest is {oldest.short}, which can be named")
    return max(until)


def foreign(paths: Iterable[str]) -> list[str]:
    """Return what is no cassette file by its place and name (docs/reference/format.md, "Names"), sorted."""
    return sorted(path for path in paths if path.count("/") < 3 or names.file_order(path.rpartition("/")[2]) is None)


def _called(found: Collection[Snapshot], remote: str, asked: str) -> Snapshot:
    meant = [each for each in found if is_meant(asked, each.name)]
    if not meant:
        newest = _some(each.name.short for each in sorted(found, reverse=True))
        raise UsageMistake(f"{remote} has no snapshot {asked!r}. It has {newest}")
    if len({each.name.manifest for each in meant}) > 1:  # snapshots of equal trees are as good as each other
        raise UsageMistake(
            f"{remote}: {asked!r} can be {_some(each.name.short for each in sorted(meant, reverse=True))}"
        )
    return max(meant)


def _folders(values: Iterable[str], *makers: Callable[[str], str]) -> set[str]:
    return {folder for value in values for folder in (value, *(make(value) for make in makers))}


def _websocket_folder(endpoint: str) -> str:
    return names.endpoint_folder(endpoint, websocket=True)


def _some(texts: Iterable[str]) -> str:
    """Return a few texts in a line, and how many more there are."""
    listed = list(texts)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return (", ".join(listed[:_SHOWN]) or "no place of cassettes") + more
