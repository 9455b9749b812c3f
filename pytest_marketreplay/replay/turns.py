"""Whose turn it is to move a clock, where several loops and sleeping threads wait on it: one at a time, the earliest first.

A thread that neither sleeps nor runs a loop is waited for until it rests (`resting`), and for a second at most: then it is
passed over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_marketreplay.replay.resting import REST_S, Standing, look

if TYPE_CHECKING:
    import asyncio

    from pytest_marketreplay.replay.marketclock import MarketClock

GRACE_S = 1.0
"""Real time for which threads that are busy hold the clock."""
_real_time = time.perf_counter


class Waiter:
    """A loop or a sleeping thread, and until when it waits."""

    def __init__(self, wake: Callable[[], None], loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.wake = wake
        self.loop = loop
        self._ready: Sized = getattr(loop, "_ready", ())
        self.thread = threading.get_ident()
        self.is_idle = False
        self.is_passed_over = False
        self.target_ns: int | None = None
        self.changed = threading.Event()

    def has_news(self) -> bool:
        """Tell whether another thread has just given it something to do."""
        return not self.is_idle or len(self._ready) > 0

    def pause(self, seconds: float) -> bool:
        """Wait in real time, up to so many seconds; True: something has changed."""
        changed = self.changed.wait(seconds)
        self.changed.clear()
        return changed


class Turns:
    """All that wait on one clock. Safe under threads."""

    def __init__(self, clock: MarketClock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._waiters: list[Waiter] = []
        self._changes = 0
        """Counts who has joined and left."""
        self._before: frozenset[int] = frozenset()
        self._home = 0
        self._at_rest: dict[int, Standing] = {}
        self._executors: dict[int, Callable[[int], None]] = {}

    def start(self) -> None:
        """Note the threads that are there already: they are nobody's business, this one apart."""
        self._home = threading.get_ident()
        self._before = frozenset(thread.ident or 0 for thread in threading.enumerate()) - {self._home}

    def is_home(self) -> bool:
        """Tell whether this thread is the one that started the clock."""
        return threading.get_ident() == self._home

    # ---------------------------------------------------------------- who waits

    def join(self, waiter: Waiter) -> None:
        """Count one more that waits."""
        with self._lock:
            self._waiters.append(waiter)
            self._changes += 1

    def leave(self, waiter: Waiter) -> None:
        """Count one less."""
        with self._lock:
            self._waiters.remove(waiter)
            self._changes += 1
        self._nudge()

    @contextmanager
    def sleeper(self) -> Iterator[Waiter]:
        """Count this thread as one that sleeps; for an executor, it does not work meanwhile."""
        waiter = Waiter(lambda: waiter.changed.set())
        executor = self._executors.get(waiter.thread)
        self.join(waiter)
        if executor is not None:
            executor(1)
        try:
            yield waiter
        finally:
            if executor is not None:
                executor(-1)
            self.leave(waiter)

    @contextmanager
    def working(self, note_sleep: Callable[[int], None]) -> Iterator[None]:
        """Run an executor's job in this thread: `note_sleep` is told when it begins (1) and ends (-1) to sleep."""
        thread = threading.get_ident()
        self._executors[thread] = note_sleep
        try:
            yield
        finally:
            del self._executors[thread]

    def changed(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Have a loop (None: the threads that sleep) look again: it waits for something else now."""
        with self._lock:
            for waiter in self._waiters:
                if waiter.loop is loop and waiter.is_idle and waiter.thread != threading.get_ident():
                    waiter.is_idle = False
                    waiter.wake()

    def _nudge(self) -> None:
        """Have those look again who wait for their turn."""
        here = threading.get_ident()
        with self._lock:
            for waiter in self._waiters:
                if waiter.target_ns is not None and waiter.thread != here:
                    waiter.wake()

    def moved(self) -> None:
        """Have those look again whose moment has come."""
        now, here = self._clock.now_ns, threading.get_ident()
        with self._lock:
            for waiter in self._waiters:
                if waiter.thread != here and waiter.target_ns is not None and waiter.target_ns <= now:
                    waiter.wake()

    # ---------------------------------------------------------------- moving

    def rest(self, me: Waiter, target_ns: int | None = None) -> None:
        """Wait for nothing that the clock brings, or for what the clock must not be moved to by this one."""
        with self._lock:
            was = me.is_idle, me.target_ns
            me.is_idle, me.is_passed_over, me.target_ns = True, False, target_ns
        if was != (True, target_ns):
            self._nudge()

    def run(self, me: Waiter) -> None:
        """Wait no longer."""
        me.is_idle, me.target_ns = False, None

    def someone_moves(self, me: Waiter) -> bool:
        """Tell whether another one waits for a moment, and will therefore move the clock."""
        with self._lock:
            return any(other is not me and other.is_idle and other.target_ns is not None for other in self._waiters)

    def take(self, me: Waiter, target_ns: int, pause: Callable[[float], object]) -> bool:
        """Move the clock to a moment, when it is this one's turn; False: look again, something has changed.

        `pause` waits in real time and returns true when something has changed.
        """
        ends = _real_time() + GRACE_S
        with self._lock:
            me.is_idle, me.is_passed_over, me.target_ns = True, False, target_ns
            changes = self._changes
        if not self.others_rest(me, pause, ends):
            self.run(me)
            return False
        while True:
            with self._lock:
                before = self._before_me(me, target_ns)
                if before is None:
                    self.run(me)
                    if self._changes != changes:  # one that slept is awake since, and what it does next comes first
                        return False
                    self._clock.forward(target_ns)
                    return True
                before.wake()
            left = ends - _real_time()
            if left <= 0:
                self._pass_over(me)
                ends = _real_time() + GRACE_S
                continue
            if pause(left):
                self.run(me)
                return False

    def _before_me(self, me: Waiter, target_ns: int) -> Waiter | None:
        behind = False
        for other in self._waiters:
            if other is me:
                behind = True
            elif other.has_news():
                if not other.is_passed_over:
                    return other
            elif other.target_ns is not None and (other.target_ns, behind) < (target_ns, True):
                return other  # at the same moment, who has waited longer
        return None

    def _pass_over(self, me: Waiter) -> None:
        with self._lock:
            for other in self._waiters:
                if other is not me and other.has_news():
                    other.is_passed_over = True

    def others_rest(self, me: Waiter, pause: Callable[[float], object], ends: float) -> bool:
        """Wait until all other threads rest, up to a moment of real time; False: something has changed meanwhile."""
        if len(threading.enumerate()) == 1:
            return True
        seen = look(self._others())
        if seen == self._at_rest and not any(each.runs for each in seen.values()):
            return True
        while True:
            if pause(REST_S):
                return False
            again = look(self._others())
            if _real_time() > ends or all(each.rests_since(seen.get(ident)) for ident, each in again.items()):
                self._at_rest = again
                return True
            seen = again

    def _others(self) -> list[threading.Thread]:
        """Return the threads that may yet do something for this clock, and do not wait on it."""
        with self._lock:
            waiting = {waiter.thread for waiter in self._waiters if waiter.is_idle}
        waiting.add(threading.get_ident())
        return [
            thread
            for thread in threading.enumerate()
            if thread.ident is not None and thread.ident not in self._before and thread.ident not in waiting
        ]
