"""What is played next over all connections of a session, at what pace, and when waiting for it is in vain."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from pytest_marketreplay.replay.stream.blocking import Blocking
from pytest_marketreplay.replay.stream.player import Event, Player
from pytest_marketreplay.replay.stream.pump import Pump

if TYPE_CHECKING:
    import asyncio

    from pytest_marketreplay.errors import StreamError
    from pytest_marketreplay.replay.marketclock import MarketClock
    from pytest_marketreplay.replay.session import Session

_POLL_PATIENCE_S = 0.2
_LATE_PATIENCE_S = 2.0
_LONGEST_POLL_S = 1.0
LONGEST_SLEEP_S = 10.0
"""A sleep that was under way when the recording ended is waited for, up to this long."""


class Timeline:
    """The order and the time in which a session's frames come. Safe under threads."""

    def __init__(self, session: Session) -> None:
        self.session = session
        pace = session.settings.pace
        self.is_stepped = pace == "step"
        self.factor: float | None = 1.0 if pace == "realtime" else None if isinstance(pace, str) else float(pace)
        """How much faster than real time; None: as soon as the client is ready."""
        self.patience = session.settings.patience
        self.end_of_tape = session.settings.end_of_tape
        self.position_ns = 0
        """When what was played last had happened, Unix epoch in nanoseconds."""
        self.progress = 0
        """Counts whatever happens; a verdict needs a time in which nothing does."""
        self.played_frames = 0
        self.asleep_until = 0.0
        """The end of a `time.sleep` that a thread of the test is in, by the monotonic clock."""
        self.verdicts: list[StreamError] = []
        """What clients that waited in vain were told."""
        self.late: list[StreamError] = []
        """Those of them who had everything that the recorded client had."""
        self.threads_before = frozenset(threading.enumerate())
        """Threads that are not of the test, or were there before its first connection."""
        self._vigil: tuple[StreamError, tuple[int, int, int], float] | None = None
        self.changed = threading.Condition()
        self._granted = 0
        self._granted_until_ns = 0
        self._pumps: dict[asyncio.AbstractEventLoop, Pump] = {}
        self._drivers: dict[int, Pump | Blocking] = {}
        self._players: list[Player] = []
        self.is_open = True

    @property
    def clock(self) -> MarketClock | None:
        """The clock of the session, where it tells the recording's time."""
        return self.session.clock

    @property
    def now_ns(self) -> int:
        """The clock's now; without a clock, when what was played last had happened."""
        return self.clock.now_ns if self.clock is not None else self.position_ns

    # ---------------------------------------------------------------- who plays

    def attach(self, player: Player, loop: asyncio.AbstractEventLoop) -> Pump:
        """Have a connection played in an event loop; its `deliver`, `fail` and `is_awaited` are set by now."""
        pump = self._pumps.get(loop)
        if pump is None:
            pump = self._pumps[loop] = Pump(self, loop)
        self._opened(player, pump)
        pump.add(player)
        return pump

    def blocking(self, player: Player) -> Blocking:
        """Have a connection played to a thread that asks for each frame."""
        driver = Blocking(self, player)
        self._opened(player, driver)
        return driver

    def _opened(self, player: Player, driver: Pump | Blocking) -> None:
        with self.changed:
            self._drivers[id(player)] = driver
            self._players.append(player)  # keeps the id its own
            if not self.position_ns:
                self.position_ns = player.opened_ns
            self.progress += 1

    def progressed(self, player: Player | None = None) -> None:
        """Note that a client did something, which may be what a recorded frame waits for."""
        with self.changed:
            self.progress += 1
            self.changed.notify_all()
            driver = self._drivers.get(id(player)) if player is not None else None
        if driver is not None:
            driver.kick()

    # ---------------------------------------------------------------- what may come

    def head(self, player: Player) -> Event | None:
        """Return a connection's next event; after the last, what `end_of_tape` says. Raises DamagedCassette."""
        event = player.head()
        if event is None and player.is_over and not player.is_closed:
            if self.end_of_tape == "loop" and player.again():
                return player.head()
            if self.end_of_tape == "close":
                return player.end()
        return event

    def allows(self, event: Event) -> bool:
        """Tell whether the test has taken the step to this event, where it steps."""
        return not self.is_stepped or self._granted > 0 or event.time_ns <= self._granted_until_ns

    def step(self, count: int = 1) -> Event | None:
        """Let the next frames come; returns the next one, None where there is none at this moment."""
        with self.changed:
            self._granted += count
        return self._kick_all()

    def run_until(self, time_ns: int) -> Event | None:
        """Let all frames up to a moment come; returns the next one, None where there is none at this moment."""
        with self.changed:
            self._granted_until_ns = max(self._granted_until_ns, time_ns)
        return self._kick_all()

    def _kick_all(self) -> Event | None:
        self.progressed()
        for driver in set(self._drivers.values()):
            driver.kick()
        with self.changed:  # a thread that reads looks too
            heads = [event for player in self._players if (event := player.head()) is not None]
        return min(heads, key=lambda event: event.time_ns) if heads else None

    def played(self, event: Event) -> None:
        """Note that an event is given to its client now."""
        with self.changed:
            if self.is_stepped and event.time_ns > self._granted_until_ns:
                self._granted -= 1
            self.progress += 1
            self.played_frames += 1
            if event.time_ns > self.position_ns:
                self.position_ns = event.time_ns

    def close(self) -> None:
        """End every connection that is still played."""
        self.is_open = False
        for player in self._players:
            player.is_closed = True
        for pump in self._pumps.values():
            pump.close()
        with self.changed:
            self.changed.notify_all()
            drivers = list(self._drivers.values())
        for driver in drivers:
            if isinstance(driver, Blocking):  # who waits for it on the recording's clock
                driver.kick()

    # ---------------------------------------------------------------- sleeping

    def judged(self, error: StreamError, *, late: bool) -> None:
        """Note that a client was told that it waits in vain; `late`: only for what the recorded client left unread."""
        with self.changed:
            self.verdicts.append(error)
            if late:
                self.late.append(error)
            patience = _LATE_PATIENCE_S if late else _POLL_PATIENCE_S
            self._vigil = error, self._done(), time.perf_counter() + patience

    def _done(self) -> tuple[int, int, int]:
        """Return what has been played so far: frames, connections, answers."""
        return self.played_frames, len(self._players), self.session.replayed

    def in_vain(self, seconds: float) -> StreamError | None:
        """Return the verdict for a task or thread that begins a sleep, where it does so again and again since.

        A test that looks for a frame between short sleeps would never end. Nothing has happened since the verdict, so
        nothing will. The test fails by it.
        """
        if self._vigil is None or seconds > _LONGEST_POLL_S:
            return None
        error, done, until = self._vigil
        if done != self._done():
            self._vigil = None
            return None
        if time.perf_counter() < until:
            return None
        if error in self.late:
            self.late.remove(error)
            self.session.refuse(error)
        return error

    def sleeping(self, seconds: float) -> None:
        """Note that a thread of the test begins a `time.sleep`: it waits for no frame meanwhile."""
        if 0 < seconds <= LONGEST_SLEEP_S:
            self.asleep_until = max(self.asleep_until, time.monotonic() + seconds)
