"""Jumps of size, growth, and when the disk is full: arithmetic without files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

_SIDE = 3
"""Neighbours on each side."""
_FEWEST = 3
FLOOR_BYTES = 64 * 1024
"""A jump between sizes below this is none: one more answer would make it."""
_WEEK = 7


class Jump(NamedTuple):
    """A size that is far from the median of its neighbours."""

    at: int
    size: int
    usual: float


def _jumps(sizes: Sequence[tuple[int, int]], factor: float, *, small: bool) -> list[Jump]:
    out = []
    for index, (at, size) in enumerate(sizes):
        around = [each for _, each in (*sizes[max(0, index - _SIDE) : index], *sizes[index + 1 : index + 1 + _SIDE])]
        if len(around) < _FEWEST:
            continue
        usual = median(around)
        if max(size, usual) >= FLOOR_BYTES and usual and (size > usual * factor or (small and size * factor < usual)):
            out.append(Jump(at, size, usual))
    return out


def day_jumps(days: Mapping[int, int], factor: float) -> list[Jump]:
    """Return the days (since 1970) whose bytes jump, up or down.

    The first and the last day are not whole, and neither judged nor compared with. One or two days without anything are
    days of 0 bytes; more are a pause.
    """
    filled: list[tuple[int, int]] = []
    for day in sorted(days)[1:-1]:
        if filled and 1 < day - filled[-1][0] <= 3:
            filled += [(between, 0) for between in range(filled[-1][0] + 1, day)]
        filled.append((day, days[day]))
    return _jumps(filled, factor, small=True)


def file_jumps(sizes: Sequence[int], factor: float) -> list[Jump]:
    """Return the files, by position, that are much larger than their neighbours; a small one is what a restart leaves."""
    return _jumps(list(enumerate(sizes)), factor, small=False)


def growth(days: Mapping[int, int], today: int) -> float:
    """Return bytes a day over the last week of whole days before today; 0 where nothing came since the day before yesterday.

    A tree that is younger is measured over the days that it has.
    """
    newest = max(days, default=0)
    if newest < today - 2:
        return 0.0
    last = [day for day in days if today - _WEEK <= day < today]
    if not last:
        return float(days[newest])
    return sum(days[day] for day in last) / (today - min(last))
