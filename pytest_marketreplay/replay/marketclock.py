"""The clock of the recording: one time for the wall clock, for `time.sleep`, for `time.monotonic` and for event loops.

It stands still while code runs, and moves when everything waits: to the next timer, the end of the next sleep, or the next
event of what is played, whichever is the earliest. What cannot be driven (an event loop in C, one that ran before) makes
the clock fall back to real time, which is warned of.
"""

from __future__ import annotations

import sys
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from pytest_marketreplay.replay.current import SESSION
from pytest_marketreplay.replay.turns import Turns

if TYPE_CHECKING:
    import asyncio

    from pytest_marketreplay.replay.virtual_loop import VirtualLoop

_real_sleep, _real_monotonic_ns = time.sleep, time.monotonic_ns

_STANDSTILL_NS = 10**9
"""Real time without a move of the clock, after which `time.monotonic` goes on by itself: who waits in real time for a
deadline on it (`Event.wait` in a loop) would never meet it."""
_EXACT_NS = 2**51
"""Below it (26 days), a number of nanoseconds survives the way through seconds as a float."""
_TAKEN_S = 0.02
"""Real time in which a thread takes the frame that became due for it, before a sleep goes on."""

_started: list[MarketClock] = []
_warned: set[str] = set()

early_names: Callable[[], AbstractContextManager[object]] | None = None
"""Replaces `sleep` in modules that imported it by name; set by the interception."""


class ClockFallback(UserWarning):
    """Something cannot be driven by the recording's clock, which therefore passes in real time from here on."""


class Source(Protocol):
    """Something that will happen on the clock: recorded frames, verdicts, answers."""

    loop: asyncio.AbstractEventLoop | None
    """The loop it belongs to; None: threads."""

    def next_ns(self) -> int | None:
        """Return when its next event is due, Unix epoch in nanoseconds; None: nothing is due as things are."""

    def play(self) -> None:
        """Make that event happen; called in the loop's thread when the loop would block."""


class MarketClock:
    """Wall clock and asyncio clock as one. Safe under threads; of several that are started, the innermost rules."""

    def __init__(self, start_ns: int) -> None:
        """`start_ns` is the time of the recording's first entry, Unix epoch in nanoseconds."""
        self._now_ns = start_ns
        self._start_ns = start_ns
        self._lock = threading.RLock()
        self._sources: list[Source] = []
        self.turns = Turns(self)
        """Who may move the clock: one at a time, the earliest first."""
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, VirtualLoop] = WeakKeyDictionary()
        self._ticks_since: int | None = None
        self._monotonic_ns = _real_monotonic_ns()
        self._moved_ns = 0
        self._traveller: Any = None
        self.skew_ns = 0
        """By how much the wall clock that code sees is off; the recording plays by this clock itself."""
        self._stack = ExitStack()
        self.progress = 0
        """Counts what was played; timers that run on without it are going nowhere."""

    # ---------------------------------------------------------------- reading

    @property
    def now_ns(self) -> int:
        """Unix epoch in nanoseconds; never goes back."""
        if self._ticks_since is not None:
            return self._now_ns + _real_monotonic_ns() - self._ticks_since
        return self._now_ns

    def time(self) -> float:
        """Return Unix epoch in seconds."""
        return self.now_ns / 10**9  # two integers: a float of nanoseconds would be rounded twice

    def now(self) -> datetime:
        """Return the date and time, UTC, in microseconds."""
        return datetime.fromtimestamp(self.now_ns // 10**9, UTC).replace(microsecond=self.now_ns % 10**9 // 1000)

    def monotonic_ns(self) -> int:
        """Return what `time.monotonic_ns` becomes: it moves with the clock; after a second of standstill also by itself."""
        with self._lock:
            real = _real_monotonic_ns()
            idle = real - self._moved_ns - _STANDSTILL_NS
            if self._ticks_since is None and idle > 0:
                self._monotonic_ns += idle
                self._moved_ns += idle
            return self._monotonic_ns + self.now_ns - self._start_ns

    @property
    def ticks(self) -> bool:
        """Whether the clock has fallen back to real time."""
        return self._ticks_since is not None

    # ---------------------------------------------------------------- moving

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises ValueError for a negative number."""
        if seconds < 0:
            raise ValueError(f"the market clock never goes back: advance({seconds!r})")
        self.forward(self.now_ns + round(seconds * 1e9))
        self.progress += 1

    def move_to(self, time_ns: int) -> None:
        """Move to a moment, Unix epoch in nanoseconds; one that has passed changes nothing."""
        self.forward(time_ns)
        self.progress += 1

    def forward(self, time_ns: int) -> None:
        """Move to a moment as timers do: it is not counted as something that was played."""
        with self._lock:
            delta = time_ns - self.now_ns
            if delta <= 0:
                return
            self._now_ns += delta
            self._moved_ns = _real_monotonic_ns()
            if _started and _started[-1] is self:
                self._shift(delta)
        self.turns.moved()

    def skew(self, seconds: float) -> None:
        """Let the wall clock that code sees be off by so many seconds: ahead, or behind (below 0). 0 puts it right."""
        with self._lock:
            before, self.skew_ns = self.skew_ns, round(seconds * 1e9)
            if self._traveller is not None:
                self._shift(self.skew_ns - before)

    def _shift(self, delta_ns: int) -> None:
        if abs(delta_ns) >= _EXACT_NS:
            self._traveller.shift(delta_ns // 10**9)
            delta_ns %= 10**9
        self._traveller.shift(delta_ns / 1e9)

    def sleep(self, seconds: float) -> None:
        """Do what `time.sleep` becomes: the clock moves, after what other threads and loops still have to do before.

        Events of threads that become due meanwhile are not played, but their threads are given a moment to take them.
        Raises what `time.sleep` raises for a number that it does not take.
        """
        if not seconds > 0 or self.ticks:
            _real_sleep(seconds)
            return
        target = self.now_ns + round(float(seconds) * 1e9)
        if self._loop_of_this_thread() is not None:
            self.forward(target)  # a loop that is blocked by its own code: nothing else can happen in it
            return
        with self.turns.sleeper() as waiter:
            while self.now_ns < target:
                due = self._due_in_threads(target) if len(threading.enumerate()) > 1 else None
                if self.turns.take(waiter, target if due is None else due[0], waiter.pause) and due is not None:
                    self._hand_out(*due)

    def _due_in_threads(self, until_ns: int) -> tuple[int, Source] | None:
        """Return the earliest event of threads that becomes due before a moment."""
        with self._lock:
            sources = [source for source in self._sources if source.loop is None]
        due = [
            (at, source) for source in sources if (at := source.next_ns()) is not None and self.now_ns < at < until_ns
        ]
        return min(due, key=lambda each: each[0], default=None)

    @staticmethod
    def _hand_out(at_ns: int, source: Source) -> None:
        ends = time.perf_counter() + _TAKEN_S
        while source.next_ns() == at_ns and time.perf_counter() < ends:
            _real_sleep(0.0002)

    async def until(self, time_ns: int) -> None:
        """Wait as a task until a moment, Unix epoch in nanoseconds: the one at which an answer arrived.

        Where the loop is not virtual, or has real sockets to wait for, the clock moves there at once.
        """
        import asyncio

        loop = asyncio.get_running_loop()
        virtual = self._loops.get(loop) if self.is_virtual(loop) else None
        if virtual is not None and time_ns > self.now_ns and not virtual.has_sockets():
            arrived = loop.create_future()
            timer = loop.call_at(virtual.loop_time(time_ns), _arrive, arrived)
            try:
                await arrived
            finally:
                timer.cancel()
        self.move_to(time_ns)

    # ---------------------------------------------------------------- what happens on it

    def add(self, source: Source) -> None:
        """Have a source's events happen; from any thread."""
        with self._lock:
            self._sources.append(source)
        self.progress += 1
        self.turns.changed(source.loop)

    def remove(self, source: Source) -> None:
        """Forget a source, where it is known."""
        with self._lock:
            self._sources = [other for other in self._sources if other is not source]
        self.turns.changed(source.loop)

    def earliest(self, loop: asyncio.AbstractEventLoop) -> tuple[int, Source] | None:
        """Return when a loop's next event is due, and whose it is."""
        with self._lock:
            sources = [source for source in self._sources if source.loop is loop]
        found: tuple[int, Source] | None = None
        for source in sources:
            at = source.next_ns()
            if at is not None and (found is None or at < found[0]):
                found = at, source
        return found

    # ---------------------------------------------------------------- event loops

    def is_virtual(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether the clock drives a loop; where it cannot, the clock falls back to real time and warns."""
        virtual = self._loops.get(loop)
        if virtual is None or not virtual.is_inside:
            self.fall_back(f"{type(loop).__module__}.{type(loop).__qualname__}")
            return False
        return True

    def virtualise(self, loop: asyncio.AbstractEventLoop) -> VirtualLoop | None:
        """Return what drives a loop, made at its first run; None: it cannot be driven, and the clock falls back."""
        from pytest_marketreplay.replay.virtual_loop import VirtualLoop, can_be_driven

        virtual = self._loops.get(loop)
        if virtual is None:
            for other in _started:
                other.release(loop)
            if not can_be_driven(loop):
                self.fall_back(f"{type(loop).__module__}.{type(loop).__qualname__}")
                return None
            virtual = self._loops[loop] = VirtualLoop(self, loop)
        return virtual

    def release(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give a loop its own time back; it goes on from where it is."""
        virtual = self._loops.pop(loop, None)
        if virtual is not None:
            virtual.release()

    def fall_back(self, what: str) -> None:
        """Pass in real time from here on, and say so: the first time in this process that it is for this reason."""
        with self._lock:
            if self._ticks_since is None:
                self._ticks_since = _real_monotonic_ns()
                if self._traveller is not None:
                    self._traveller.move_to((self._now_ns + self.skew_ns) / 1e9, tick=True)
        if what not in _warned:
            _warned.add(what)
            warnings.warn(
                f"the recording's clock cannot drive {what}: it passes in real time from here on, and follows what is "
                "played (docs/explanation/clock.md)",
                ClockFallback,
                stacklevel=3,
            )

    @staticmethod
    def _loop_of_this_thread() -> asyncio.AbstractEventLoop | None:
        asyncio = sys.modules.get("asyncio")
        return asyncio._get_running_loop() if asyncio is not None else None

    # ---------------------------------------------------------------- in play

    def start(self) -> None:
        """Have the wall clock tell this time, from here on; in the thread whose code is to see it."""
        import time_machine

        with self._lock:
            self._moved_ns = _real_monotonic_ns()
            self._monotonic_ns = -(-self._moved_ns // 10**9) * 10**9
            self._start_ns = self.now_ns
            if self._ticks_since is not None:
                self._ticks_since = _real_monotonic_ns()
            travel = time_machine.travel(0, tick=self.ticks)
            self._traveller = travel.start()
            _started.append(self)
            self._shift(self._now_ns + self.skew_ns)
        self._stack.callback(self._end_travel, travel)
        if early_names is not None:
            self._stack.enter_context(early_names())
        self.turns.start()
        loop = self._loop_of_this_thread()
        if loop is not None and (virtual := self.virtualise(loop)) is not None:
            virtual.enter()

    def _end_travel(self, travel: Any) -> None:
        import time_machine

        with self._lock:
            _started.remove(self)
            # clocks of tasks may end in another order than they began: the innermost that is left goes on
            time_machine.traveller_stack.remove(self._traveller)
            time_machine.traveller_stack.append(self._traveller)
            self._traveller = None
            travel.stop()

    def stop(self) -> None:
        """Give the wall clock back, to the machine or to the clock around this one; what loops it drives go on."""
        self._stack.close()
        for driven in list(self._loops):
            self.release(driven)
        loop = self._loop_of_this_thread()
        around = in_play()
        if loop is not None and around is not None and (virtual := around.virtualise(loop)) is not None:
            virtual.enter()


def _arrive(arrived: asyncio.Future[None]) -> None:
    if not arrived.done():  # pragma: no branch - cancelled within the turn in which its timer fired
        arrived.set_result(None)


def in_play() -> MarketClock | None:
    """Return the clock that this thread's code sees: None in a thread that carries no session, and without a clock."""
    if not _started:
        return None
    session = SESSION.get()
    innermost = _started[-1]
    if session is not None and session.is_open:
        own: MarketClock | None = session.clock
        return own if own in _started else innermost
    return innermost if innermost.turns.is_home() else None
