"""The places of a capture: their files and gaps, and the interval at which a place was asked."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pytest_marketreplay.cassette import files
from pytest_marketreplay.data.tape import Place
from pytest_marketreplay.report.figures import Histogram
from pytest_marketreplay.report.lines import CaptureLine, GapMeta, read_file, read_gaps

SECOND_MS = 1_000
"""The interval where none is given and none can be estimated; at which the book of a stream is looked at."""
_LOOKED_AT = 2_000
"""From how many answers the interval is estimated."""


class Files(NamedTuple):
    """A place, with what is known of it before its answers are read."""

    place: Place
    paths: list[Path]
    gaps: list[tuple[GapMeta, str]]
    """Each with the pair it is of, in a place of several."""
    size_bytes: int


def open_place(root: Path, found: files.Place) -> Files:
    """Return a place with its files and gaps; reads each file once."""
    place = Place.of(root, found)
    paths = files.files_in(place.folder)
    gaps = [gap for path in paths for gap in read_gaps(path)]
    return Files(place, paths, gaps, sum(path.stat().st_size for path in paths))


def letters(symbol: str) -> str:
    """Return what `BTC-USDT`, as a pair is asked for, and `BTCUSDT`, as a venue says it, have in common."""
    return "".join(char for char in symbol.upper() if char.isalnum())


def _timestamps(paths: list[Path]) -> Iterator[int]:
    for path in paths:
        for item in read_file(path):
            if isinstance(item, CaptureLine) and item.meta.dir is None:
                yield item.timestamp


def estimate_ms(paths: list[Path]) -> int:
    """Return the median step between answers in milliseconds, at least 1; a second where there is none."""
    steps = Histogram()
    before: int | None = None
    for time_ms in islice(_timestamps(paths), _LOOKED_AT):
        if before is not None and time_ms > before:
            steps.add(time_ms - before)
        before = time_ms
    median = steps.percentiles(0.5)[0]
    return SECOND_MS if median is None else max(1, round(median))
