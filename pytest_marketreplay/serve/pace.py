"""The tape's clock: real time times a factor, from the tape's first entry to its last, once or in laps."""

from __future__ import annotations

from pytest_marketreplay import clock

_S = 1_000_000_000
_SHORTEST_LAP_NS = _S // 10
_GAP_NS = 1_000_000


class Pace:
    """What time it is on the tape. It stands still until `begin`.

    Without a speed there is no clock: nothing is waited for, and the time is that of what was served last.
    """

    def __init__(self, start_ns: int, end_ns: int, speed: float | None, *, loop: bool) -> None:
        self.start_ns, self.end_ns = start_ns, max(start_ns, end_ns)
        self.speed = speed or None
        self.loop = loop
        # a tape of one entry must not go round as fast as the processor can
        self.lap_ns = max(self.end_ns - self.start_ns + _GAP_NS, _SHORTEST_LAP_NS)
        self._began: int | None = None
        self._served_ns = start_ns

    @property
    def is_free(self) -> bool:
        """Whether nothing is waited for."""
        return self.speed is None

    def begin(self) -> None:
        """Let the time pass from now on; a second call changes nothing."""
        if self._began is None:
            self._began = clock.counter_ns()

    def _passed_ns(self) -> int:
        """Return how much of the tape's time has passed, all laps together."""
        if self._began is None or self.speed is None:
            return 0
        return int((clock.counter_ns() - self._began) * self.speed)

    def lap(self) -> int:
        """Return how often the tape has started over."""
        return self._passed_ns() // self.lap_ns if self.loop else 0

    def now_ns(self) -> int:
        """Return the time on the tape, Unix epoch in nanoseconds; at the end of the tape it stands still."""
        if self.is_free:
            return self._served_ns
        passed = self._passed_ns()
        return min(self.start_ns + (passed % self.lap_ns if self.loop else passed), self.end_ns)

    def is_over(self) -> bool:
        """Tell whether the tape has ended; one that loops never does."""
        return not self.is_free and not self.loop and self._passed_ns() >= self.end_ns - self.start_ns

    def delay_s(self, lap: int, time_ns: int) -> float:
        """Return real seconds until a moment of a lap; 0 or less where it has passed."""
        if self.speed is None:
            return 0.0
        return (lap * self.lap_ns + time_ns - self.start_ns - self._passed_ns()) / self.speed / _S

    def note(self, time_ns: int) -> None:
        """Note the moment of something that was served without a clock."""
        self._served_ns = max(self._served_ns, time_ns)
