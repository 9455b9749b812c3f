"""The clock of a test that records: the real one, with the methods of the recording's clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class LiveClock:
    """Real time, as `market_clock` gives it while a cassette is recorded."""

    ticks = True
    """Whether the clock passes in real time."""

    @property
    def now_ns(self) -> int:
        """Unix epoch in nanoseconds."""
        return time.time_ns()

    def time(self) -> float:
        """Return Unix epoch in seconds."""
        return time.time()

    def now(self) -> datetime:
        """Return the date and time, UTC."""
        return datetime.now(UTC)

    def advance(self, seconds: float) -> None:
        """Wait so many seconds. Raises ValueError for a negative number."""
        time.sleep(seconds)

    def move_to(self, time_ns: int) -> None:
        """Wait until a moment, Unix epoch in nanoseconds; one that has passed changes nothing."""
        time.sleep(max(0, time_ns - time.time_ns()) / 1e9)
