"""The clock of a test that records: the real one, with the methods of the recording's clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from pytest_marketreplay.errors import UsageMistake


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


def moment_ns(moment: datetime | int | str) -> int:
    """Return a moment as Unix epoch in nanoseconds: a datetime (naive: UTC), ISO 8601 text, or epoch milliseconds.

    Raises UsageMistake.
    """
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise UsageMistake(f"{moment!r} is no moment; give ISO 8601 text, as in 2025-10-02T10:00:00.250") from None
    if isinstance(moment, datetime):
        at = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        since = at - datetime(1970, 1, 1, tzinfo=UTC)
        return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000
    if isinstance(moment, bool) or not isinstance(moment, int):
        raise UsageMistake(f"{moment!r} is no moment; give a datetime, ISO 8601 text, or Unix epoch in milliseconds")
    return moment * 1_000_000
