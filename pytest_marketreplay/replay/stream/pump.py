"""Plays the connections of one event loop.

At virtual pace the next frame comes when the loop has nothing else to do: nothing coalesces, and nothing waits. The
loop tells by its queue of ready callbacks; one that hides it (uvloop) is given a few turns instead. With the clock of
the recording, a frame is an event on that clock like a timer.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sized
from contextvars import copy_context
from time import monotonic
from typing import TYPE_CHECKING

from pytest_marketreplay.errors import MarketReplayError
from pytest_marketreplay.replay.stream.player import Event, Player

if TYPE_CHECKING:
    from pytest_marketreplay.replay.stream.timeline import Timeline

_MOST_BUSY = 1000
"""Turns that a loop which is never idle (it spins on `sleep(0)`) is waited for."""
_HIDDEN_TURNS = 6
_SLACK_NS = 3600 * 10**9
"""Time on the recording's clock before a client that waits in vain is told so; it costs no real time."""
_LONGEST_SLEEP_S = 10.0
_LOOK_S = 0.25


class Pump:
    """The players of one event loop. Only its thread calls it, `kick` apart."""

    def __init__(self, timeline: Timeline, loop: asyncio.AbstractEventLoop) -> None:
        self._timeline = timeline
        self.loop: asyncio.AbstractEventLoop | None = loop
        self._loop = loop
        self._players: list[Player] = []
        self._ready: Sized | None = getattr(loop, "_ready", None)
        self._armed = False
        self._context = copy_context()  # one for all turns: a copy for each costs 0.1 us of a frame's 8
        self._busy = 0
        self._watched: asyncio.TimerHandle | None = None
        self._seen = -1
        self._verdict_ns = 0
        self._verdict_real = 0.0
        self._factor = timeline.factor
        clock = timeline.clock
        self._clock = clock if clock is not None and clock.is_virtual(loop) else None
        if self._clock is not None:
            self._clock.add(self)
        elif clock is not None:
            self._factor = 1.0  # the clock cannot drive this loop: real time, and the clock follows what is played

    def add(self, player: Player) -> None:
        """Play one more connection."""
        self._players.append(player)
        player.offset_base = self._loop.time()
        self._arm()

    def kick(self) -> None:
        """Look again for what may come; from any thread."""
        if self._clock is not None or self._loop.is_closed():
            return
        try:
            mine = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            mine = False
        if mine:
            self._arm()
        else:
            self._loop.call_soon_threadsafe(self._arm)

    def close(self) -> None:
        """Play nothing more; a client that still waits has lost its connection."""
        if not self._loop.is_closed():
            for player in self._players:
                self._loop.call_soon_threadsafe(player.deliver, Event(0, None, b"", "disconnected"))
        self._players.clear()
        if self._clock is not None:
            self._clock.remove(self)

    # ---------------------------------------------------------------- what is next

    def _earliest(self) -> Player | None:
        """Return the player whose next frame is the earliest of all that may come."""
        found: Player | None = None
        found_ns = 0
        for player in list(self._players):
            if player.is_closed:
                self._players.remove(player)
                continue
            if player.is_held:
                continue
            try:
                event = self._timeline.head(player)
            except MarketReplayError as error:  # a damaged line: the test fails, and the client is told
                player.is_closed = True
                self._timeline.session.refusals.append(error)
                player.fail(error)
                continue
            if event is not None and self._timeline.allows(event) and (found is None or event.time_ns < found_ns):
                found, found_ns = player, event.time_ns
        return found

    def _give(self, player: Player) -> None:
        event = player.take()
        self._timeline.played(event)
        player.deliver(event)

    # ---------------------------------------------------------------- without the recording's clock

    def _arm(self) -> None:
        if not self._armed and self._clock is None:
            self._armed = True
            self._loop.call_soon(self._turn, context=self._context)

    def _turn(self) -> None:
        self._armed = False
        hidden = self._ready is None and self._busy < _HIDDEN_TURNS
        if hidden or (self._ready and self._busy < _MOST_BUSY):
            self._busy += 1
            self._arm()
            return
        self._busy = 0
        player = self._earliest()
        if player is None:
            self._watch()
            return
        if self._factor is not None:
            event = player.head()
            assert event is not None
            due = player.offset_base + (event.time_ns - player.opened_ns) / 1e9 / self._factor
            if due > self._loop.time():
                self._armed = True
                self._loop.call_at(due, self._turn)
                return
        if (clock := self._timeline.clock) is not None and (event := player.head()) is not None:
            clock.move_to(event.time_ns)
        try:
            self._give(player)
        finally:
            self._arm()

    def _watch(self) -> None:
        """See to it that nobody waits for ever: look again when the patience is over."""
        if self._watched is None and self._players:
            self._seen = self._timeline.progress
            wait = max(self._timeline.patience, self._sleeping() + 0.05)
            self._watched = self._loop.call_later(wait, self._look)

    def _sleeping(self) -> float:
        """Return how long a task is still in an `asyncio.sleep` that is under way: it waits for no frame meanwhile."""
        now = self._loop.time()
        longest = self._timeline.asleep_until - monotonic()
        for handle in getattr(self._loop, "_scheduled", ()):
            left = handle.when() - now
            if longest < left <= _LONGEST_SLEEP_S and _is_sleep(handle):
                longest = left
        return longest

    def _look(self) -> None:
        self._watched = None
        if self._seen == self._timeline.progress:
            self._judge()
        if self._earliest() is not None:
            self._arm()
        else:
            self._watch()

    def _judge(self) -> None:
        """Tell every client that waits for a frame that it waits in vain."""
        for player in list(self._players):
            if not player.is_closed and player.is_awaited():
                error = player.verdict()
                player.is_closed = True
                player.fail(error)
                if self._clock is None:
                    self._loop.call_later(_LOOK_S, self._end_polling)

    def _end_polling(self, left: int = 60) -> None:
        """End tasks that look for a frame between short sleeps, or wait for ever: after the verdict none will come."""
        for handle in list(getattr(self._loop, "_scheduled", ())):
            if _is_sleep(handle) and (error := self._timeline.in_vain(handle.when() - self._loop.time())) is not None:
                future = handle._args[0]
                if not future.done():
                    future.set_exception(error)
        if self._rests_for_ever() and (error := self._timeline.in_vain(0.0)) is not None:
            for task in asyncio.all_tasks(self._loop):
                waits = task._fut_waiter  # type: ignore[attr-defined]
                if type(waits) is asyncio.Future and not waits.done():
                    waits.set_exception(error)
        if left and self._timeline.is_open:
            self._loop.call_later(_LOOK_S, self._end_polling, left - 1)

    def _rests_for_ever(self) -> bool:
        """Tell whether nothing will wake the loop: a reader has swallowed the verdict, and a queue stays empty.

        A timer that is far off does not count: aiohttp sets one of five minutes for each connection.
        """
        selector = getattr(self._loop, "_selector", None)
        if selector is None or self._ready or len(selector.get_map()) > self._loop._internal_fds:  # type: ignore[attr-defined]
            return False
        soon = self._loop.time() + _LONGEST_SLEEP_S
        timers = getattr(self._loop, "_scheduled", ())
        if any(each is not self._watched and not each.cancelled() and each.when() < soon for each in timers):
            return False
        here = threading.current_thread()
        return all(thread is here or thread in self._timeline.threads_before for thread in threading.enumerate())

    # ---------------------------------------------------------------- an event on the recording's clock

    def next_ns(self) -> int | None:
        """Return when the next event is due, Unix epoch in nanoseconds; None: there is none."""
        player = self._earliest()
        if player is not None:
            event = player.head()
            return event.time_ns if event is not None else None
        if not any(not each.is_closed and each.is_awaited() for each in self._players):
            return None
        now = self._timeline.now_ns
        if self._seen != self._timeline.progress:
            self._seen = self._timeline.progress
            self._verdict_ns = now + _SLACK_NS
            self._verdict_real = monotonic() + self._timeline.patience
        return now if monotonic() > self._verdict_real else self._verdict_ns

    def play(self) -> None:
        """Make the next event happen."""
        player = self._earliest()
        if player is not None:
            self._give(player)
        else:
            self._judge()


def _is_sleep(handle: asyncio.TimerHandle) -> bool:
    """Tell whether a timer is that of a plain `asyncio.sleep`."""
    name = getattr(handle._callback, "__name__", "")  # type: ignore[attr-defined]
    return name == "_set_result_unless_cancelled" and not handle.cancelled()
