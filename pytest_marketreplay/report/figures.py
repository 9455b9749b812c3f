"""Figures of endless series in bounded memory: percentiles, curves that keep their spikes, and strips of cells."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, Generic, Literal, Protocol, TypeVar

SHARES = (0.5, 0.9, 0.99)


class Histogram:
    """Counts values by their first four digits: a percentile is right to 0.05 %, and a million values cost no more than a
    few ten thousand keys."""

    def __init__(self) -> None:
        self.counts: Counter[float] = Counter()
        self.count = 0
        self.total = 0.0
        self.largest = 0.0

    def add(self, value: float) -> None:
        """Count a finite value that is 0 or more."""
        self.counts[float(f"{value:.3e}")] += 1
        self.count += 1
        self.total += value
        self.largest = max(self.largest, value)

    @property
    def mean(self) -> float | None:
        """The mean of all values, None where there is none."""
        return self.total / self.count if self.count else None

    def percentiles(self, *shares: float) -> list[float | None]:
        """Return the smallest value that this share of all values does not exceed (nearest rank), for each share."""
        if not self.count:
            return [None] * len(shares)
        ordered = sorted(self.counts.items())
        out: list[float | None] = []
        for share in shares:
            rank = max(1, math.ceil(share * self.count - 1e-9))
            seen = accumulate(count for _, count in ordered)
            out.append(next(value for (value, _), upto in zip(ordered, seen, strict=True) if upto >= rank))
        return out

    def bars(self, number: int) -> list[tuple[float, float, int]]:
        """Return at most `number` bars of equal width up to the 99.9th percentile, the last one with all beyond: (from, to,
        count)."""
        top = self.percentiles(0.999)[0]
        if top is None:
            return []
        width = _nice(max(top, 0.001) / number)
        bars: Counter[int] = Counter()
        for value, count in self.counts.items():
            bars[min(int(value / width + 1e-9), number - 1)] += count
        return [(index * width, (index + 1) * width, bars[index]) for index in range(max(bars) + 1)]


def _nice(width: float) -> float:
    """Return the next of 1, 2, 2.5, 5 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(width))
    return next(step * power for step in (1.0, 2.0, 2.5, 5.0, 10.0) if step * power >= width * 0.999999)


class _Cell(Protocol):
    def join(self, other: Any, /) -> None: ...


C = TypeVar("C", bound=_Cell)


class Cells(Generic[C]):
    """Cells of equal width in time, as many as a limit allows: where time goes on, neighbours are joined."""

    def __init__(self, width_ms: int, limit: int) -> None:
        self.width_ms = max(1, width_ms)
        self.cells: dict[int, C] = {}
        self._limit = limit
        self._low = self._high = 0
        self._empty = True

    def fit(self, time_ms: int) -> int:
        """Return the index of the cell at a time, after joining cells until it is one of the limit."""
        index = time_ms // self.width_ms
        if self._empty:
            self._low = self._high = index
            self._empty = False
        while max(self._high, index) - min(self._low, index) >= self._limit:
            self._double()
            index = time_ms // self.width_ms
        self._low, self._high = min(self._low, index), max(self._high, index)
        return index

    def _double(self) -> None:
        self.width_ms *= 2
        self._low, self._high = self._low // 2, self._high // 2
        old, self.cells = self.cells, {}
        for index, cell in sorted(old.items()):
            if index // 2 in self.cells:
                self.cells[index // 2].join(cell)
            else:
                self.cells[index // 2] = cell

    def ordered(self) -> Iterator[tuple[int, C]]:
        """Give the cells in time: (first moment in milliseconds, cell)."""
        for index, cell in sorted(self.cells.items()):
            yield index * self.width_ms, cell


class Extremes:
    """The smallest and the largest value of a stretch of time, and when they were."""

    __slots__ = ("high", "high_ms", "low", "low_ms")

    def __init__(self, time_ms: int, value: float) -> None:
        self.low = self.high = value
        self.low_ms = self.high_ms = time_ms

    def join(self, other: Extremes) -> None:
        """Take another stretch in."""
        if other.low < self.low:
            self.low, self.low_ms = other.low, other.low_ms
        if other.high > self.high:
            self.high, self.high_ms = other.high, other.high_ms


class Curve(Cells[Extremes]):
    """A value over time in at most `limit` points; each stretch keeps its smallest and its largest, so spikes stay."""

    def __init__(self, width_ms: int, limit: int = 600) -> None:
        super().__init__(width_ms, limit // 2)

    def add(self, time_ms: int, value: float) -> None:
        """Take the next value."""
        index = self.fit(time_ms)
        if index in self.cells:
            self.cells[index].join(Extremes(time_ms, value))
        else:
            self.cells[index] = Extremes(time_ms, value)

    def points(self) -> list[tuple[int, float]]:
        """Return the curve: (milliseconds, value)."""
        out: list[tuple[int, float]] = []
        for _, cell in self.ordered():
            pair = sorted({(cell.low_ms, cell.low), (cell.high_ms, cell.high)})
            out += pair
        return out


TickState = Literal["stored", "declared", "undeclared"]


class Ticks:
    """How many ticks of a stretch of time are stored, missing and declared, missing and undeclared."""

    __slots__ = ("declared", "stored", "undeclared")

    def __init__(self) -> None:
        self.stored = self.declared = self.undeclared = 0

    def join(self, other: Ticks) -> None:
        """Take another stretch in."""
        self.stored += other.stored
        self.declared += other.declared
        self.undeclared += other.undeclared


class Strip(Cells[Ticks]):
    """What became of the ticks, over time."""

    def __init__(self, width_ms: int, limit: int = 240) -> None:
        super().__init__(width_ms, limit)

    def add(self, first_ms: int, step_ms: int, count: int, *, state: TickState) -> None:
        """Count ticks, `step_ms` from one to the next."""
        self.fit(first_ms)
        self.fit(first_ms + (count - 1) * step_ms)
        while count > 0:
            index = first_ms // self.width_ms
            here = min(count, ((index + 1) * self.width_ms - 1 - first_ms) // step_ms + 1)
            cell = self.cells.setdefault(index, Ticks())
            setattr(cell, state, getattr(cell, state) + here)
            first_ms += here * step_ms
            count -= here
