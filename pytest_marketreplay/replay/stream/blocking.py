"""Plays one connection to a client that blocks in a thread: a frame comes when the client asks for it.

With the recording's clock, whoever waits for a frame is one of those that wait on that clock (`replay.turns`): the
earliest moves it, be it a frame, the end of a `time.sleep` in another thread, or a timer of an event loop. Frames that
become due during a sleep in one thread are therefore played to the other threads before that sleep ends.
"""

from __future__ import annotations

from collections import deque
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

from pytest_marketreplay.errors import MarketReplayError
from pytest_marketreplay.replay.stream.player import Event, Player

if TYPE_CHECKING:
    from pytest_marketreplay.replay.marketclock import MarketClock
    from pytest_marketreplay.replay.stream.timeline import Timeline
    from pytest_marketreplay.replay.turns import Waiter

_MOST_BETWEEN_S = 0.1
"""Of the time between two looks of a client that polls, so much counts as waiting."""
_SLACK_NS = 3600 * 10**9
"""Time on the recording's clock in which a client that waits with timeouts may get nothing; it costs no real time."""


class Blocking:
    """One connection, played to whoever calls `next`. Safe under threads: one may send while another waits."""

    def __init__(self, timeline: Timeline, player: Player) -> None:
        self._timeline, self._player = timeline, player
        self._replies: deque[Event] = deque()
        self._damage: MarketReplayError | None = None
        self._waiter: Waiter | None = None
        self._seen = -1
        self._waited = self._looked = 0.0
        self._asleep_until = 0.0
        self._idle_ns = 0
        player.offset_base = perf_counter()

    # ---------------------------------------------------------------- what happens meanwhile

    def kick(self) -> None:
        """Look again: the timeline has woken whoever waits in real time."""
        waiter = self._waiter
        if waiter is not None:
            waiter.wake()

    def reply(self, event: Event) -> None:
        """Let an event come at once that is not of the recording: a pong, the echo of a close frame."""
        with self._timeline.changed:
            self._replies.append(event)
            self._timeline.changed.notify_all()
        self.kick()

    # ---------------------------------------------------------------- without taking anything

    def is_ready(self) -> bool:
        """Tell whether `next` would return or raise at once."""
        return self.ready_in() <= 0

    def ready_in(self) -> float:
        """Return after how many real seconds `next` would return or raise, if nothing happens until then."""
        with self._timeline.changed:
            try:
                if self._replies or self._has_ended():
                    return 0.0
                event = self._due()
            except MarketReplayError:
                return 0.0  # `next` raises it
            if event is not None:
                return 0.0 if self._clock() is not None else self._real_wait(event)
            return self._patience_left(goes_on=True)

    # ---------------------------------------------------------------- taking

    def next(self, timeout: float | None = None) -> Event | None:
        """Wait for the next event and take it; None after `timeout` seconds, or where the connection has ended.

        With the recording's clock, waiting moves that clock and takes no real time. Raises StreamError where it would
        wait in vain, DamagedCassette.
        """
        clock = self._clock()
        return self._next(timeout) if clock is None else self._next_on(clock, timeout)

    def _next(self, timeout: float | None) -> Event | None:
        changed = self._timeline.changed
        ends: float | None = None
        with changed:
            while True:
                if self._replies:
                    return self._replies.popleft()
                if self._has_ended():
                    return None
                event = self._due()
                if event is not None:
                    wait = self._real_wait(event)
                    if wait <= 0:
                        return self._take()
                else:
                    wait = self._patience_left(goes_on=ends is not None)
                    if wait <= 0:
                        raise self._verdict()
                if timeout is None:
                    ends = 0.0
                else:
                    ends = ends or perf_counter() + timeout
                    left = ends - perf_counter()
                    if left <= 0:
                        return None
                    wait = min(wait, left)
                changed.wait(wait)

    def _next_on(self, clock: MarketClock, timeout: float | None) -> Event | None:
        with self._timeline.changed:
            if self._replies:
                return self._replies.popleft()
            if not self._has_ended() and (event := self._due()) is not None and event.time_ns <= clock.now_ns:
                return self._take()
        ends_ns = None if timeout is None else clock.now_ns + int(timeout * 1e9)
        with clock.turns.sleeper() as waiter:
            self._waiter = waiter
            try:
                goes_on = False
                while True:
                    patience = 0.0
                    with self._timeline.changed:
                        if self._replies:
                            return self._replies.popleft()
                        if self._has_ended():
                            return None
                        event = self._due()
                        if event is None:
                            patience = self._patience_left(goes_on=goes_on)
                            if patience <= 0 or clock.now_ns - self._idle_ns > _SLACK_NS:
                                raise self._verdict()
                        elif event.time_ns <= clock.now_ns:
                            return self._take()
                        if ends_ns is not None and ends_ns <= clock.now_ns:
                            return None
                    goes_on = True
                    moments = [at for at in (event and event.time_ns, ends_ns) if at is not None]
                    if moments:
                        clock.turns.take(waiter, min(moments), waiter.pause)
                    else:
                        clock.turns.rest(waiter)
                        waiter.pause(patience)
                        clock.turns.run(waiter)
            finally:
                self._waiter = None

    def _take(self) -> Event:
        taken = self._player.take()
        self._timeline.played(taken)
        clock = self._timeline.clock
        if clock is not None:
            clock.move_to(taken.time_ns)
        return taken

    # ---------------------------------------------------------------- what may come, and when

    def _clock(self) -> MarketClock | None:
        """Return the recording's clock, where it is not in real time."""
        clock = self._timeline.clock
        return None if clock is None or clock.ticks else clock

    def _has_ended(self) -> bool:
        if self._damage is not None:
            raise self._damage
        return self._player.is_closed or not self._timeline.is_open

    def _due(self) -> Event | None:
        """Return the next event that may come now. Raises DamagedCassette, which the test fails by also if swallowed."""
        try:
            event = self._timeline.head(self._player)
        except MarketReplayError as error:
            self._damage, self._player.is_closed = error, True
            self._timeline.session.refusals.append(error)
            raise
        return event if event is not None and self._timeline.allows(event) else None

    def _real_wait(self, event: Event) -> float:
        """Return how many real seconds are left before an event is due."""
        factor = self._timeline.factor
        if factor is None:
            return 0.0
        since_open = (event.time_ns - self._player.opened_ns) / 1e9 / factor
        return max(0.0, self._player.offset_base + since_open - perf_counter())

    # ---------------------------------------------------------------- patience

    def _verdict(self) -> Exception:
        error = self._player.verdict()
        self._player.is_closed = True
        return error

    def _patience_left(self, *, goes_on: bool = False) -> float:
        """Return how long the client is still waited for; `goes_on`: it has waited since the last look.

        One sleep in another thread of the test counts as no waiting: the one that is under way, or begins next. A loop
        of short sleeps does not hold the verdict up.
        """
        timeline, now = self._timeline, perf_counter()
        asleep = timeline.asleep_until
        if self._seen != timeline.progress:
            self._seen = timeline.progress
            self._waited, self._looked, self._asleep_until = 0.0, now, 0.0
            self._idle_ns = timeline.now_ns
        else:
            passed = now - self._looked
            self._waited += passed if goes_on else min(passed, _MOST_BETWEEN_S)
            self._looked = now
        if not self._asleep_until and asleep > monotonic():
            self._asleep_until = asleep
        left = timeline.patience - self._waited
        if self._asleep_until:
            left = max(left, self._asleep_until + timeline.patience - monotonic())
        return left
