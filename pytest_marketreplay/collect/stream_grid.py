"""The grid of a feed's snapshots: a point each interval, and what was missed of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from pytest_marketreplay import clock
from pytest_marketreplay.collect.books import LocalBook
from pytest_marketreplay.collect.grid import OpenGap
from pytest_marketreplay.sinks.items import Gap, Snapshot


class PairGrid:
    """One pair's snapshots, numbered from 1 without a hole, and its missed ticks, told as one gap each time they end."""

    def __init__(self, exchange: str, pair: str, tell: Callable[[Gap], None]) -> None:
        self._exchange, self.pair, self._tell = exchange, pair, tell
        self.sequence_number = self.missed = self.empty = 0
        self._from_ms = self._to_ms = self._count = 0
        self._reasons: dict[str, None] = {}

    def tick(self, book: LocalBook | None, now_ms: int, counter_ns: int) -> Snapshot | None:
        """Read the book off at a point of the grid; None where that cannot be, which counts as missed."""
        if book is None or not book.usable or book.updated_ns is None:
            self.miss(now_ms, now_ms, 1, "no checked book")
            return None
        said = book.read(self._exchange, self.pair)
        if not said.bids and not said.asks:
            self.empty += 1
            self.miss(now_ms, now_ms, 1, "an empty book")
            return None
        self.flush()
        self.sequence_number += 1
        return Snapshot(
            self._exchange,
            self.pair,
            now_ms,
            said.bids,
            said.asks,
            max(0.0, (counter_ns - book.updated_ns) / 1e6),
            self.sequence_number,
            said.update_id,
        )

    def miss(self, from_ms: int, to_ms: int, count: int, reason: str) -> None:
        """Note points of the grid without a snapshot."""
        if not self._count:
            self._from_ms = from_ms
        self._to_ms = to_ms
        self._count += count
        self._reasons[reason] = None
        self.missed += count
        if self._to_ms - self._from_ms >= OpenGap.LONGEST_MS:
            self.flush()

    def flush(self) -> None:
        """Tell the gap that is open, if there is one."""
        if self._count:
            reason = f"{self.pair}: {', '.join(self._reasons)}"
            self._tell(Gap("missed", self._from_ms, max(self._from_ms, self._to_ms), self._count, reason))
            self._count = 0
            self._reasons.clear()


class Grid:
    """The grid of all pairs of a feed. It does not drift; a point that the process was late for is missed, and told."""

    def __init__(
        self,
        read: Callable[[], Mapping[str, LocalBook]],
        emit: Callable[[str, Snapshot, int], None],
        empty: Callable[[], None],
        look: Callable[[], None],
    ) -> None:
        """`read` gives the books as they are now; `emit` takes a pair, its snapshot, and the time (Unix, nanoseconds);
        `empty` hears of each empty book; `look` is called before each point, to see whether the wall clock was set.
        """
        self._read, self._emit, self._empty, self._look = read, emit, empty, look
        self.pairs: dict[str, PairGrid] = {}
        self._interval_s: float | None = None
        self._changed = asyncio.Event()

    def set_interval(self, interval_s: float | None) -> None:
        """Begin a new grid; None for none."""
        self._interval_s = interval_s
        self._changed.set()

    async def run(self) -> None:
        """Take the snapshots, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            interval_s, started, done = self._interval_s, loop.time(), 0
            if interval_s is None:
                await self._changed.wait()
                continue
            while not self._changed.is_set():
                rest_s = started + (done + 1) * interval_s - loop.time()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, rest_s)):
                        await self._changed.wait()
                    continue
                point = max(done + 1, int((loop.time() - started) / interval_s))
                self._tick(point - done, interval_s)
                done = point

    def _tick(self, points: int, interval_s: float) -> None:
        """Take every pair's snapshot; `points` is how many points of the grid came since the last time."""
        self._look()
        books, now_ns, counter_ns = self._read(), clock.now_ns(), clock.counter_ns()
        now_ms, step_ms = now_ns // 1_000_000, int(interval_s * 1000)
        for pair, grid in self.pairs.items():
            if points > 1:
                grid.miss(now_ms - (points - 1) * step_ms, now_ms - step_ms, points - 1, "the process was late")
            empty = grid.empty
            snapshot = grid.tick(books.get(pair), now_ms, counter_ns)
            if grid.empty > empty:
                self._empty()
            if snapshot is not None:
                self._emit(pair, snapshot, now_ns)
