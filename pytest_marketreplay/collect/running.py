"""One capture from its settings to its end: sinks, feeds, control socket, heartbeat, signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from pytest_marketreplay import clock
from pytest_marketreplay.cassette import names
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.collect import building, disk
from pytest_marketreplay.collect.control import ControlServer
from pytest_marketreplay.collect.engine import Engine
from pytest_marketreplay.collect.lag import LagSampler
from pytest_marketreplay.collect.sessions import (
    ALIVE,
    HEARTBEAT_S,
    SILENT_S,
    SessionFolder,
    SessionState,
    process_started,
)
from pytest_marketreplay.collect.settings import CollectSettings, split_pairs
from pytest_marketreplay.errors import CollectError, DocumentError, SinkError
from pytest_marketreplay.metrics import Meter, NoMetrics

_logger = logging.getLogger("pytest_marketreplay.collect")

Show = Callable[[SessionState], None]
"""Told the state at each heartbeat, in the loop's thread."""


class Capture:
    """A session that this process runs."""

    def __init__(self, settings: CollectSettings, *, show: Show | None = None, heartbeat: float = HEARTBEAT_S) -> None:
        """Prepare it; `show` is told the state once a `heartbeat` (in seconds), the first time when all runs."""
        self.settings = settings
        self.folder = SessionFolder(Path(settings.state_dir), settings.session_id)
        self._show, self._heartbeat = show, heartbeat
        self._pairs = {venue: list(pairs) for venue, pairs in settings.pairs.items()}
        self._interval_s = settings.interval_s
        self._status, self._error = "starting", ""
        self._started_ms = 0
        self._unwritten: dict[str, int] = {}
        self._is_unsaved = False
        self._engine = Engine(())
        self._lag = LagSampler()
        self._meter: Meter = NoMetrics()
        self._metrics = ""
        self._is_asked = False
        self._wake: Callable[[], object] | None = None
        self._told = self.state()

    def run(self) -> SessionState:
        """Capture until the duration is over, a signal comes or the session is told to stop; return the last state.

        Its `status` is `failed` where something could not be written. Raises CollectError where the capture cannot start,
        UsageMistake where what it is to do is impossible.
        """
        lock = self.folder.lock()
        try:
            with building.logging_to(self.folder.log), self._signals():
                return self._run()
        finally:
            lock.release()

    def _run(self) -> SessionState:
        self._started_ms = clock.now_ns() // 1_000_000
        try:
            killed = self._killed()
            self.folder.document.save(self.state())
            parts = building.build(self.settings, self._health)
            self._engine, self._meter = parts.engine, parts.meter
            with parts.server or contextlib.nullcontext():
                if parts.server is not None:
                    self._metrics = f"http://{parts.server.host}:{parts.server.port}"
                self._engine.open()
                if killed is not None:
                    self._go_on(killed)
                try:
                    asyncio.run(self._main())
                finally:
                    self._unwritten = self._engine.drain()
        except (SinkError, DocumentError) as error:
            self._fail(str(error))
            raise CollectError(str(error)) from error
        except BaseException as error:
            self._fail(f"{type(error).__name__}: {error}")
            raise
        if self._unwritten:
            left = ", ".join(f"{count} items of {name}" for name, count in self._unwritten.items())
            self._error = f"not written: {left}"
            _logger.error("session %s: %s", self.settings.session_id, self._error)
        self._status = "failed" if self._unwritten else "ended"
        last = self.state()
        self._save(last)
        _logger.info("session %s: %s", self.settings.session_id, self._status)
        return last

    def _killed(self) -> SessionState | None:
        """Return the last state of a process that ran this session and did not come to its end."""
        try:
            state = self.folder.document.load()
        except DocumentError as error:
            _logger.warning("the state of the session's last run cannot be read: %s", error)
            return None
        return state if state is not None and state.status in ALIVE else None  # the lock is ours: it does not run

    def _go_on(self, killed: SessionState) -> None:
        """Declare what a killed process left open, for the venues whose pairs are the same as then."""
        same = {names.venue_folder(venue) for venue, pairs in self._pairs.items() if killed.pairs.get(venue) == pairs}
        places = {Place(*name.split("/")): time_ms * 1_000_000 for name, time_ms in killed.places.items()}
        self._engine.go_on(
            {place: time_ns for place, time_ns in places.items() if place.venue in same},
            "the session was killed, and started again",
        )

    def _fail(self, error: str) -> None:
        self._status, self._error = "failed", error
        _logger.error("session %s failed: %s", self.settings.session_id, error)
        self._save(self.state())

    # ---------------------------------------------------------------- its state

    def state(self) -> SessionState:
        """Return the state as of now."""
        engine, now_ms = self._engine, clock.now_ns() // 1_000_000
        queues = engine.queue_stats()
        gaps = dict(engine.gaps)
        if declared := sum(queue.gaps for queue in queues):
            gaps["sink"] = gaps.get("sink", 0) + declared
        counts = {
            "items": engine.items,
            "snapshots": engine.snapshots,
            "written": sum(queue.written for queue in queues),
            "dropped": sum(queue.dropped for queue in queues),
            "feed_restarts": engine.restarts,
            "unwritten": sum(self._unwritten.values()),
        }
        for name, feed in engine.feeds.items():
            counts |= {f"{name}.{key}": value for key, value in building.numbers(feed.stats()).items()}
        return SessionState(
            session_id=self.settings.session_id,
            pid=os.getpid(),
            pid_started=process_started(os.getpid()) or 0,
            started_ms=self._started_ms,
            heartbeat_ms=now_ms,
            status=self._status,
            pairs=self._pairs,
            interval_s=self._interval_s,
            storage=self.settings.storage,
            feed=self.settings.feed,
            log=str(self.folder.log),
            metrics=self._metrics,
            ended_ms=now_ms if self._status in ("ended", "failed") else None,
            counts=counts,
            gaps=gaps,
            places={"/".join(place): time_ns // 1_000_000 for place, time_ns in engine.last_ns.items()},
            queues=queues,
            lag_p99_ms=round(self._lag.percentile_ms(99), 3),
            last_error=self._error or engine.last_error,
        )

    def _save(self, state: SessionState) -> None:
        """Save a heartbeat; a full disk must not end the capture, and is said once."""
        try:
            self.folder.document.save(state)
            self._is_unsaved = False
        except DocumentError as error:
            if not self._is_unsaved:
                _logger.error("the session's state cannot be saved, and is tried again: %s", error)
            self._is_unsaved = True

    def _health(self) -> dict[str, object]:
        """Tell how the session is, by its last heartbeat; called from threads of the metrics' server."""
        return building.health(self._told, round(SILENT_S * 1000), clock.now_ns() // 1_000_000)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT end the capture in order, from here to its very end.

        The loop's own handlers give the signals back when it ends, and a second one would kill us while the sinks drain.
        """

        def ask(number: int, frame: object) -> None:
            self._is_asked = True
            if self._wake is not None:
                self._wake()

        before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # ---------------------------------------------------------------- in the loop

    async def _main(self) -> None:
        stop = asyncio.Event()
        self._saving = asyncio.Lock()
        self._lag = LagSampler(on_sample=self._meter.loop_lag)
        control = ControlServer(self.folder.socket, lambda asked: self._handle(asked, stop))
        loop = asyncio.get_running_loop()
        self._wake = lambda: loop.call_soon_threadsafe(stop.set)
        if self._is_asked:  # while the sinks were opened
            stop.set()
        await control.start()
        tasks = [asyncio.create_task(self._lag.run()), asyncio.create_task(self._beat(stop))]
        if self._metrics:
            tasks.append(asyncio.create_task(self._measure()))
        if self.settings.duration_s is not None:
            loop.call_later(self.settings.duration_s, stop.set)
        try:
            self._status = "running"
            await self._engine.run(stop)
        finally:
            stop.set()
            self._wake, self._status = None, "stopping"
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await control.stop()

    async def _beat(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            state = await self._record("stopping" if stop.is_set() else self._status)
            for queue in state.queues:
                self._meter.queue(queue.sink, queue.items)
            if self._show is not None:
                self._show(state)
            due = max(due + self._heartbeat, loop.time())
            await asyncio.sleep(due - loop.time())

    async def _measure(self) -> None:
        """Look at the disk now and then, in a thread."""
        roots = [Path(to) for name, to in self.settings.to.items() if name in ("local", "parquet") and "://" not in to]
        while True:
            try:
                await asyncio.to_thread(disk.tell_sizes, roots, self._meter)
            except OSError as error:
                _logger.warning("the size of the capture cannot be told: %s", error)
            await asyncio.sleep(disk.EACH_S)

    async def _record(self, status: str) -> SessionState:
        """Save the state without holding up the loop, one after the other: an older one must not win."""
        async with self._saving:
            self._told = state = msgspec.structs.replace(self.state(), status=status)
            await asyncio.to_thread(self._save, state)
        return state

    async def _handle(self, asked: dict[str, Any], stop: asyncio.Event) -> dict[str, Any]:
        """Do what came over the control socket."""
        verb = asked.get("do")
        if verb == "stop":
            _logger.info("session %s: told to stop", self.settings.session_id)
            stop.set()
            return {}  # at once: there may be no later
        elif verb in ("add", "remove"):
            self._change(str(asked.get("venue", "")), str(asked.get("pairs", "")), is_added=verb == "add")
        elif verb == "interval":
            self._set_interval(asked.get("seconds"))
        elif verb == "status":
            return {"state": msgspec.to_builtins(self.state())}
        else:
            raise CollectError(f"{verb!r} is unknown; a session can do add, remove, interval, status, stop")
        return {"state": msgspec.to_builtins(await self._record("stopping" if stop.is_set() else self._status))}

    def _change(self, venue: str, text: str, *, is_added: bool) -> None:
        feed = self._engine.feed(venue)
        now = self._pairs[venue]
        for pair in split_pairs(text):
            if is_added and pair not in now:
                feed.add(pair)
                now.append(pair)
            elif not is_added:
                if pair not in now:
                    raise CollectError(f"{venue} does not capture {pair}; it captures {', '.join(now)}")
                if len(now) == 1:
                    raise CollectError(f"{pair} is the last pair of {venue}; stop the session instead")
                feed.remove(pair)
                now.remove(pair)
                self._engine.forget(venue)
        _logger.info("session %s: %s captures %s", self.settings.session_id, venue, ", ".join(now))

    def _set_interval(self, seconds: object) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
            raise CollectError(f"an interval is a number of seconds above 0, not {seconds!r}")
        for feed in self._engine.feeds.values():
            feed.set_interval(float(seconds))
        self._interval_s = float(seconds)
        _logger.info("session %s: the interval is %g s", self.settings.session_id, seconds)
