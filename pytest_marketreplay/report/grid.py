"""The grid of ticks on which a capture should have an answer each, and what is missing of it."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable

from pytest_marketreplay.report.figures import Strip
from pytest_marketreplay.report.lines import GapMeta
from pytest_marketreplay.report.result import DeclaredGap, Hole

CLOCK_JUMP = "clock_jump"
KEPT_HOLES = 50
"""How many holes are named one by one, the longest ones; all are counted."""


class Declared:
    """What a capture itself says is missing from a series."""

    def __init__(self, gaps: Iterable[GapMeta]) -> None:
        kinds: dict[str, list[int]] = {}
        spans: list[tuple[int, int]] = []
        self.went_back = False
        """Whether the clock was set back: which gaps are before the first tick, or after the last, cannot be told then."""
        for gap in gaps:
            start, end = min(gap.from_ms, gap.to_ms), max(gap.from_ms, gap.to_ms)
            found = kinds.setdefault(gap.kind, [0, 0, 0])
            found[0] += 1
            found[1] += gap.count
            found[2] += end - start
            if gap.kind != CLOCK_JUMP:  # the clock moved: no time passed in which something could be missing
                spans.append((start, end))
            else:
                self.went_back |= gap.to_ms < gap.from_ms
        self.by_kind = tuple(DeclaredGap(kind, *kinds[kind]) for kind in sorted(kinds))
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in sorted(spans):
            if self._ends and start <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

    @property
    def first_ms(self) -> int | None:
        """When the first gap begins."""
        return self._starts[0] if self._starts else None

    @property
    def last_ms(self) -> int | None:
        """When the last gap ends."""
        return self._ends[-1] if self._ends else None

    def ranges(self, anchor: int, step: int, first: int, last: int) -> list[tuple[int, int]]:
        """Return which ticks from `first` to `last` are declared missing, as ranges with both ends; tick k is at anchor + k *
        step, and belongs to a gap that begins or ends less than half a step from it."""
        half = (step - 1) // 2
        out: list[tuple[int, int]] = []
        at = bisect_left(self._ends, anchor + first * step - half)
        free = first
        while free <= last and at < len(self._starts) and self._starts[at] - half <= anchor + last * step:
            begin = max(free, -(-(self._starts[at] - half - anchor) // step))
            end = min(last, (self._ends[at] + half - anchor) // step)
            if begin <= end:  # else it lies between two ticks
                out.append((begin, end))
                free = end + 1
            at += 1
        return out


class Grid:
    """Counts ticks as their times come in.

    With a given interval the grid stands still from the first tick on; a poller that is slower misses ticks. With one that
    was estimated every tick is measured from the one before, since an estimate that is off by a millisecond would drift.
    """

    def __init__(self, interval_ms: int, declared: Declared, *, fixed: bool) -> None:
        self.interval_ms = interval_ms
        self.strip = Strip(interval_ms)
        self.stored = self.declared = self.undeclared = self.doubled = self.segments = 0
        self.hole_count = 0
        self._gaps = declared
        self._fixed = fixed
        self._holes: list[tuple[int, int]] = []
        self._anchor = self._last = self._last_ms = 0
        self._jumped = False

    @property
    def expected(self) -> int:
        """How many ticks there should be."""
        return self.stored + self.declared + self.undeclared

    @property
    def holes(self) -> tuple[Hole, ...]:
        """Return the longest undeclared holes, in order of time."""
        step = self.interval_ms
        return tuple(
            Hole(start, start + (count - 1) * step, count) for start, count in sorted((s, c) for c, s in self._holes)
        )

    def jump(self) -> None:
        """Note that the wall clock moved: unless the next tick is the next one by the clock, the grid starts anew."""
        self._jumped = True

    def shift(self, moved_ms: int) -> None:
        """Go on with the same ticks, by a clock that was moved."""
        self._anchor += moved_ms
        self._last_ms += moved_ms

    def add(self, time_ms: int) -> None:
        """Take the time of an answer."""
        if not self.segments:
            self._start(time_ms, leading=True)
            return
        step = self.interval_ms
        index = (2 * (time_ms - self._anchor) + step) // (2 * step)
        if (self._jumped and index != self._last + 1) or time_ms < self._last_ms - step:
            self._start(time_ms, leading=False)
            return
        self._jumped = False
        if index <= self._last:
            self.doubled += 1
        else:
            self._missing(self._last + 1, index - 1)
            self._store(time_ms, index)

    def add_run(self, first_ms: int, count: int) -> None:
        """Take this many ticks on end, whose times are exact."""
        self.add(first_ms)
        if count > 1:
            self.stored += count - 1
            self.strip.add(first_ms + self.interval_ms, self.interval_ms, count - 1, state="stored")
            self._last += count - 1
            self._last_ms = first_ms + (count - 1) * self.interval_ms

    def miss_until(self, time_ms: int) -> None:
        """Count the ticks up to a moment, after the last one that is there, as missing; there has to be one."""
        last = max(self._last, (time_ms - self._anchor) // self.interval_ms)
        self._missing(self._last + 1, last)
        self._last = last

    def finish(self) -> None:
        """Count the ticks after the last answer that are declared missing; all of them where there is no answer."""
        begin, end = self._gaps.first_ms, self._gaps.last_ms
        if begin is None or end is None:
            return
        if not self.segments:
            self._anchor, self._last = begin, -1
        elif self._gaps.went_back:
            return
        self._declared_from(self._last + 1, (end - self._anchor) // self.interval_ms + 1)

    def _start(self, time_ms: int, *, leading: bool) -> None:
        self.segments += 1
        self._jumped = False
        self._anchor = time_ms
        begin = self._gaps.first_ms
        if leading and begin is not None and not self._gaps.went_back:
            self._declared_from((begin - time_ms) // self.interval_ms, -1)
        self._store(time_ms, 0)

    def _store(self, time_ms: int, index: int) -> None:
        self.stored += 1
        self.strip.add(time_ms, self.interval_ms, 1, state="stored")
        self._last, self._last_ms = index, time_ms
        if not self._fixed:
            self._anchor, self._last = time_ms, 0

    def _declared_from(self, first: int, last: int) -> None:
        for begin, end in self._gaps.ranges(self._anchor, self.interval_ms, first, last):
            self._lost(begin, end, declared=True)

    def _missing(self, first: int, last: int) -> None:
        free = first
        for begin, end in self._gaps.ranges(self._anchor, self.interval_ms, first, last):
            self._lost(free, begin - 1, declared=False)
            self._lost(begin, end, declared=True)
            free = end + 1
        self._lost(free, last, declared=False)

    def _lost(self, first: int, last: int, *, declared: bool) -> None:
        count = last - first + 1
        if count < 1:
            return
        start = self._anchor + first * self.interval_ms
        self.strip.add(start, self.interval_ms, count, state="declared" if declared else "undeclared")
        if declared:
            self.declared += count
            return
        self.undeclared += count
        self.hole_count += 1
        heapq.heappush(self._holes, (count, start))
        if len(self._holes) > KEPT_HOLES:
            heapq.heappop(self._holes)
