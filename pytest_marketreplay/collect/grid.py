"""A grid that keeps time: points at fixed distances on the monotonic clock, each of them met or counted as missed.

A point is `start + number * interval`, never "the last one plus an interval", so that nothing drifts over months. The wall
clock has no part in it: it may jump, and no point is doubled or lost by that.
"""

from __future__ import annotations

from typing import NamedTuple

from pytest_marketreplay.sinks.items import Gap

JUMP_MS = 1000
"""How far wall clock and monotonic clock may part between two looks before it counts as a jump."""


class Tick(NamedTuple):
    """A point of the grid that has come."""

    number: int
    """Counts the points of this grid from 0."""
    missed: int
    """How many points were passed over, up to this one."""
    missed_s: float
    """How long ago the first of these points was, missed or due."""
    is_due: bool
    """Whether this point can still be met; one that came more than half an interval ago is among the missed."""


class Grid:
    """The points of one pair. Times are seconds of one monotonic clock, that of the event loop."""

    def __init__(self, interval_s: float, start_s: float) -> None:
        self.interval_s = interval_s
        self._start_s = start_s
        self._next = 0

    @property
    def next_s(self) -> float:
        """When the next point is."""
        return self._start_s + self._next * self.interval_s

    def take(self, now_s: float) -> Tick | None:
        """Return the newest point that has come, and how many nobody took; None where none has come."""
        if now_s < self.next_s:
            return None
        first = self._next
        number = max(first, int((now_s - self._start_s) / self.interval_s))
        self._next = number + 1
        is_due = now_s - (self._start_s + number * self.interval_s) < self.interval_s / 2
        missed = number - first + (not is_due)
        return Tick(number, missed, now_s - (self._start_s + first * self.interval_s), is_due)

    def change(self, interval_s: float, now_s: float) -> Tick | None:
        """Go on with another distance, from now on; returns what came before and was not taken.

        A point of the old distance that could still be met is met by the first of the new one, and counts no more.
        """
        last = self.take(now_s)
        self._start_s, self._next, self.interval_s = now_s, 0, interval_s
        return last


class ClockWatch:
    """Notices that the wall clock was set: it moved otherwise than the monotonic clock did."""

    def __init__(self, wall_ns: int, counter_ns: int) -> None:
        self._wall_ns, self._counter_ns = wall_ns, counter_ns

    def look(self, wall_ns: int, counter_ns: int) -> Gap | None:
        """Compare both clocks since the last look; gives a `clock_jump` from where the wall clock should be to where it is."""
        expected_ns = self._wall_ns + counter_ns - self._counter_ns
        self._wall_ns, self._counter_ns = wall_ns, counter_ns
        moved_ms = (wall_ns - expected_ns) // 1_000_000
        if abs(moved_ms) < JUMP_MS:
            return None
        return Gap(
            "clock_jump",
            expected_ns // 1_000_000,
            wall_ns // 1_000_000,
            0,
            f"the wall clock moved by {moved_ms / 1000:+.3f} s",
        )


class OpenGap:
    """Points without a snapshot, told as one gap once they end, and at the latest after a while."""

    LONGEST_MS = 60_000
    """A gap that lasts is told in parts: a killed process must not leave more than this undeclared."""

    def __init__(self) -> None:
        self._gap: Gap | None = None

    def add(self, kind: str, from_ms: int, to_ms: int, count: int, reason: str) -> list[Gap]:
        """Note points; returns the gaps that are complete by this: another kind or reason, or a long one."""
        out: list[Gap] = []
        gap = self._gap
        if gap is not None and (gap.kind, gap.reason) == (kind, reason):
            self._gap = gap = Gap(kind, min(gap.from_ms, from_ms), max(gap.to_ms, to_ms), gap.count + count, reason)
        else:
            out += self.end()
            self._gap = gap = Gap(kind, from_ms, max(from_ms, to_ms), count, reason)
        if gap.to_ms - gap.from_ms >= self.LONGEST_MS:
            out += self.end()
        return out

    def end(self) -> list[Gap]:
        """Return the gap that is open, if there is one."""
        gap, self._gap = self._gap, None
        return [gap] if gap is not None else []
