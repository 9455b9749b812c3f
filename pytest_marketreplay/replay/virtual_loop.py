"""An event loop whose time is the market clock's: where it would block, the clock moves and the next thing happens.

What is replaced are attributes of this one loop: `time`, `run_in_executor`, and `select` of its selector.
"""

from __future__ import annotations

import asyncio
import functools
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.errors import ClockStuck
from pytest_marketreplay.replay.current import current
from pytest_marketreplay.replay.turns import GRACE_S, Waiter

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from pytest_marketreplay.replay.marketclock import MarketClock

STUCK_S = 0.5
"""Real time in which an unknown thread may still wake a loop that has nothing more to wait for."""
_SLICE_S = 0.02
"""Real waits are cut in slices: what is played may change without waking the loop."""
_SPINS = 5_000
"""Turns without a wait after which a loop counts as waiting: `while not done: await sleep(0)`."""
_IDLE_JUMPS, _IDLE_S = 5_000, 1.0
"""Timers that fire so often and for so long in real time, with nothing played: a client waits for what never comes, and
only its keepalive goes on."""
_LONG_UPTIME_S = 2_000_000
"""Above it a float of seconds does not tell single nanoseconds apart."""

_real_time = time.perf_counter


def can_be_driven(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether a loop blocks in a selector of Python's."""
    return isinstance(loop, asyncio.BaseEventLoop) and hasattr(getattr(loop, "_selector", None), "get_map")


class _Jobs:
    """The jobs of one executor."""

    def __init__(self) -> None:
        self.workers: int | None = None
        self.given = self.running = self.sleeping = 0

    def work(self) -> bool:
        """Tell whether a job works, or is about to; jobs that wait for a worker that sleeps do not."""
        waiting = self.given > self.running and (self.workers is None or self.running < self.workers)
        return self.running > self.sleeping or waiting


class VirtualLoop:
    """One loop, from its first run under a clock until that clock stops."""

    def __init__(self, clock: MarketClock, loop: Any) -> None:
        self.clock = clock
        self._loop = loop
        # whole seconds: sums of floats come out the same in every run
        self._base = float(math.ceil(loop.time()))
        self._base_ns = clock.now_ns
        self._quantum = 1 if self._base < _LONG_UPTIME_S else 100
        self._selector: Any = self._loop._selector
        self._poll: Callable[[float | None], list[Any]] = self._selector.select
        self._wrapped: Any = None
        self.is_inside = False
        """Whether the loop runs, driven by the clock."""
        self.is_awaited = True
        """Whether someone waits for the loop to get done; else it may rest for ever."""
        self.holds = 0
        """What goes on outside of the clock: an executor that is being shut down."""
        self._jobs: dict[int, _Jobs] = {}
        self._jobs_lock = threading.Lock()
        self._waiter = Waiter(self._loop._write_to_self, loop)
        self._spins = self._jumps = 0
        self._seen, self._seen_ns, self._seen_real = -1, 0, 0.0
        jump = self._base - loop.time()
        for handle in self._loop._scheduled:
            handle._when += jump  # what was set before keeps its distance
        self._loop.time = self._time
        self._resolution = self._loop._clock_resolution
        self._loop._clock_resolution = max(self._resolution, 2 * self._quantum * 1e-9)

    # ---------------------------------------------------------------- its time

    def _time(self) -> float:
        return self._base + (self.clock.now_ns - self._base_ns) / 1e9

    def loop_time(self, time_ns: int) -> float:
        """Return a moment, Unix epoch in nanoseconds, as this loop's time."""
        return self._base + (time_ns - self._base_ns) / 1e9

    def _timer_ns(self) -> int | None:
        """Return when the loop's next timer is due."""
        scheduled = self._loop._scheduled
        if not scheduled:
            return None
        since = round((scheduled[0]._when - self._base) * 1e9 / self._quantum) * self._quantum
        return self._base_ns + int(since)

    # ---------------------------------------------------------------- in and out

    @contextmanager
    def running(self, *, awaited: bool) -> Iterator[None]:
        """Drive the loop while it runs in this thread."""
        before, self.is_awaited = self.is_awaited, awaited
        self.enter()
        try:
            yield
        finally:
            self.is_awaited = before
            self.leave()

    def enter(self) -> None:
        """Drive the loop from here on, in this thread."""
        if not self.is_inside:
            self.is_inside = True
            self._waiter.thread = threading.get_ident()
            self._spins, self._seen = 0, -1
            self.clock.turns.join(self._waiter)
            self._selector.select = self._select
            self._wrapped = self._loop.run_in_executor
            self._loop.run_in_executor = self._run_in_executor

    def leave(self) -> None:
        """Drive it no longer; its time goes on standing still."""
        if self.is_inside:
            self.is_inside = False
            del self._selector.select, self._loop.run_in_executor
            self.clock.turns.run(self._waiter)
            self.clock.turns.leave(self._waiter)

    def release(self) -> None:
        """Give the loop its own time back, which goes on from where it is."""
        self.leave()
        self._loop._write_to_self()  # where it waits just now, it does so in our `select`
        ahead = self._loop.time() - type(self._loop).time(self._loop)
        real = type(self._loop).time
        loop = self._loop
        loop._clock_resolution = self._resolution
        loop.time = lambda: real(loop) + ahead

    # ---------------------------------------------------------------- executors

    def _run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> Any:
        from concurrent.futures import ThreadPoolExecutor

        if executor is None or isinstance(executor, ThreadPoolExecutor):
            jobs = self._jobs.setdefault(id(executor), _Jobs())
            future = self._wrapped(executor, functools.partial(self._job, jobs, func), *args)
            jobs.workers = (executor or self._loop._default_executor)._max_workers
        else:  # other processes, to which nothing of ours can go
            jobs = self._jobs.setdefault(id(executor), _Jobs())
            future = self._wrapped(executor, func, *args)
        with self._jobs_lock:
            jobs.given += 1

        def done(_: object) -> None:
            with self._jobs_lock:
                jobs.given -= 1

        future.add_done_callback(done)
        return future

    def _job(self, jobs: _Jobs, func: Callable[..., Any], *args: Any) -> Any:
        def note_sleep(change: int) -> None:
            with self._jobs_lock:
                jobs.sleeping += change
            if change > 0 and not self._loop.is_closed():
                self._loop._write_to_self()

        with self._jobs_lock:
            jobs.running += 1
        try:
            with self.clock.turns.working(note_sleep):
                return func(*args)
        finally:
            with self._jobs_lock:
                jobs.running -= 1

    def _works(self) -> bool:
        """Tell whether a thread works for a task of this loop."""
        return self.holds > 0 or any(jobs.work() for jobs in list(self._jobs.values()))

    # ---------------------------------------------------------------- where it would block

    def has_sockets(self) -> bool:
        """Tell whether the loop waits for real sockets, pipes or processes."""
        if len(self._selector.get_map()) > self._loop._internal_fds:
            return True
        return any(thread.name.startswith(("asyncio-waitpid-", "waitpid-")) for thread in threading.enumerate())

    def _select(self, timeout: float | None = None) -> list[Any]:
        events = self._poll(0)
        if events or self._loop._stopping:
            return events
        if timeout is not None and timeout <= 0:
            timer = self._timer_ns()
            due = timer is not None and timer <= self.clock.now_ns and not self._loop._ready
            self._spins += 1
            if due or self._spins < _SPINS:
                return events
        self._spins = 0
        try:
            return self._wait()
        finally:
            self.clock.turns.run(self._waiter)

    def _wait(self) -> list[Any]:
        """Let the next thing happen; returns what the selector found where that was a socket or another thread."""
        clock, turns, me = self.clock, self.clock.turns, self._waiter
        held_since = stuck_since = 0.0
        spinning = bool(self._loop._ready)
        while self.is_inside:
            timer_ns = self._timer_ns()
            now = clock.now_ns
            source = clock.earliest(self._loop)
            if (source is not None and source[0] <= now) or (timer_ns is not None and timer_ns <= now):
                if self._works() and not turns.others_rest(me, self._pause, _real_time() + GRACE_S):
                    # a job has moved the clock here: what it brings comes first, in every run
                    return self._poll(0)  # pragma: no cover - only where the job is ready within these 20 ms
                if source is not None and source[0] <= now:
                    return self._play(*source)
                return []
            target = source[0] if source is not None and (timer_ns is None or source[0] <= timer_ns) else timer_ns
            if self._works():
                held_since = held_since or _real_time()
                turns.run(me)
                counted = _real_time() - held_since > GRACE_S
                events = self._real(target, counted=counted)
            elif self.has_sockets():
                turns.rest(me)  # others need not wait for what happens here in real time
                events = self._real(target, counted=target is not None or self.is_awaited)
            elif target is None and spinning:
                return []
            elif target is None:
                turns.rest(me)
                if not turns.others_rest(me, self._pause, _real_time() + GRACE_S):
                    return self._poll(0)
                if turns.someone_moves(me) or not self.is_awaited or clock.ticks:
                    stuck_since = 0.0
                else:
                    stuck_since = stuck_since or _real_time()
                    if _real_time() - stuck_since > STUCK_S:
                        raise self._stuck()
                events = self._poll(_SLICE_S)
            elif clock.ticks:
                events = self._real(target, counted=False)
            elif not turns.take(me, target, self._pause):
                events = self._poll(0)
            elif source is not None and source[0] == target:
                return self._play(*source)
            else:
                self._only_timers()
                return []
            if events or (self._loop._ready and not spinning):
                return events
        return self._poll(0)  # pragma: no cover - another thread has stopped the clock meanwhile

    def _pause(self, seconds: float) -> bool:
        # what is found here is found again by the next poll: selectors are level-triggered
        return bool(self._poll(seconds))

    def _play(self, _: int, source: Any) -> list[Any]:
        self.clock.progress += 1
        source.play()
        return []

    def _real(self, target_ns: int | None, *, counted: bool) -> list[Any]:
        """Wait in real time for a slice, and not beyond a moment; `counted`: the clock moves as much."""
        ticks = self.clock.ticks
        left = math.inf if target_ns is None else max(0.0, (target_ns - self.clock.now_ns) / 1e9)
        started = _real_time()
        events = self._poll(min(left, _SLICE_S) if counted or ticks else _SLICE_S)
        if counted and not ticks:
            self.clock.forward(self.clock.now_ns + int(min(left, _real_time() - started) * 1e9) + 1)
        return events

    def _only_timers(self) -> None:
        """Count moves of the clock by which nothing was played. Raises ClockStuck where they lead nowhere."""
        if self._seen != self.clock.progress:
            self._seen, self._jumps = self.clock.progress, 0
            self._seen_ns, self._seen_real = self.clock.now_ns, _real_time()
        self._jumps += 1
        if self._jumps >= _IDLE_JUMPS and _real_time() - self._seen_real > _IDLE_S:
            raise self._stuck((self.clock.now_ns - self._seen_ns) / 1e9)

    def _stuck(self, seconds: float = 0.0) -> ClockStuck:
        """Return the error; the session remembers it, so that a thread or a test that swallows it fails as well."""
        error = ClockStuck(self._waiting(), seconds)
        session = current()
        if session is not None:  # pragma: no branch - a clock without a session is for tests of the clock
            session.refuse(error)
        return error

    def _waiting(self) -> list[str]:
        """Return each task that waits, and where, in its own words."""
        out = []
        for task in asyncio.all_tasks(self._loop):
            stack = task.get_stack(limit=1)
            at = f"{stack[-1].f_code.co_filename}:{stack[-1].f_lineno}" if stack else "its start"
            out.append(f"{getattr(task.get_coro(), '__qualname__', task.get_name())} at {at}")
        return sorted(out)
