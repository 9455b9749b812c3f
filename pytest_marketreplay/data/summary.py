"""What a tape holds: how many entries a place has, and from when to when."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pytest_marketreplay.cassette import files
from pytest_marketreplay.data.tape import Place, Recorded


class PlaceSummary(NamedTuple):
    """One place of a tape."""

    place: Place
    files: int
    size_bytes: int
    """As the files are on the disk, sealed ones packed."""
    entries: int
    first_ns: int | None
    """When the first entry arrived, Unix epoch in nanoseconds; None where there is none."""
    last_ns: int | None


def summarise(place: Place, lines: Iterable[Recorded]) -> PlaceSummary:
    """Count the lines of a place."""
    paths = files.files_in(place.folder)
    first = last = None
    entries = 0
    for recorded in lines:
        entries += 1
        first = recorded.time_ns if first is None else min(first, recorded.time_ns)
        last = recorded.time_ns if last is None else max(last, recorded.time_ns)
    return PlaceSummary(place, len(paths), sum(path.stat().st_size for path in paths), entries, first, last)
