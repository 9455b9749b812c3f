"""The engine: feeds run beside each other, each item goes into the queue of every sink, and no failure spreads."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from pytest_marketreplay import clock
from pytest_marketreplay.cassette import names
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.collect.gaps import place_gap_item
from pytest_marketreplay.collect.queueing import OnGap, SinkQueue
from pytest_marketreplay.errors import CollectError
from pytest_marketreplay.sinks.items import Gap, Item

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
GRACE_S = 1.0
"""For the feeds to end by themselves."""
DRAIN_S = 3.0
"""For the sinks to take what waits; with the grace it leaves a second of the five that a stop may take."""
_PROVEN_S = 300.0
"""A feed that ran for so long begins with the shortest pause again."""

_logger = logging.getLogger("pytest_marketreplay.collect")


class Feed(Protocol):
    """What brings items of one venue. `run` may be called again after it raised."""

    async def run(self, stop: asyncio.Event) -> None:
        """Bring items until `stop` is set."""

    def add(self, pair: str) -> None:
        """Capture one more pair."""

    def remove(self, pair: str) -> None:
        """Capture a pair no longer."""

    def set_interval(self, interval: float) -> None:
        """Change the seconds between two snapshots."""

    def stats(self) -> Any:
        """Return the feed's numbers, a mapping or a struct."""


class _Running:
    """A feed and what is known of it."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.last_ns: dict[Place, int] = {}
        self.restarts = 0
        self.last_error = ""


class Engine:
    """Feeds on one side, queues on the other."""

    def __init__(
        self,
        queues: Sequence[SinkQueue],
        *,
        first_pause: float = FIRST_PAUSE_S,
        longest_pause: float = LONGEST_PAUSE_S,
        grace: float = GRACE_S,
        drain: float = DRAIN_S,
        on_restart: Callable[[str], None] | None = None,
        on_gap: OnGap | None = None,
    ) -> None:
        """Hand items to these queues. Pauses before a broken feed's restart, and patience at the end, are in seconds.

        `on_restart` is told the name of a feed that broke; `on_gap` of the engine's own gaps, as feeds tell theirs themselves.
        """
        self.queues = list(queues)
        self._first_pause, self._longest_pause, self._grace, self._drain = first_pause, longest_pause, grace, drain
        self._on_restart, self._on_gap = on_restart, on_gap
        self._feeds: dict[str, _Running] = {}
        self.items = self.snapshots = 0
        self.gaps: Counter[str] = Counter()
        """How many gaps the feeds and the engine declared, by kind; those of the sinks are in their queues' numbers."""

    # ---------------------------------------------------------------- what it is made of

    def add_feed(self, name: str, make: Callable[[Callable[[Item], None]], Feed]) -> None:
        """Add a feed before the engine runs; `make` gets the function to hand items to."""

        def emit(item: Item) -> None:
            self._emit(running, item)

        running = _Running(make(emit))
        self._feeds[name] = running

    def feed(self, name: str) -> Feed:
        """Return a feed. Raises CollectError for an unknown one."""
        return self._known(name).feed

    def forget(self, name: str) -> None:
        """Forget which places a feed wrote to: after a pair is removed, a restart would declare gaps for it."""
        self._known(name).last_ns.clear()

    @property
    def feeds(self) -> Mapping[str, Feed]:
        """The feeds by name."""
        return {name: running.feed for name, running in self._feeds.items()}

    @property
    def restarts(self) -> int:
        """How often a feed broke and was started again."""
        return sum(running.restarts for running in self._feeds.values())

    @property
    def last_error(self) -> str:
        """The last error of a feed, or of a sink that fails now."""
        errors: Iterable[str] = (
            *(running.last_error for running in self._feeds.values()),
            *(f"sink {each.sink}: {each.last_error}" for each in self.queue_stats() if each.failing),
        )
        return next((error for error in reversed(list(errors)) if error), "")

    def queue_stats(self) -> list[Any]:
        """Return the numbers of each queue."""
        return [queue.stats() for queue in self.queues]

    def _known(self, name: str) -> _Running:
        if name not in self._feeds:
            raise CollectError(f"the session does not capture {name!r}; it captures {', '.join(self._feeds)}")
        return self._feeds[name]

    def _emit(self, running: _Running, item: Item) -> None:
        running.last_ns[item.place] = item.time_ns
        self._queue(item)

    def _queue(self, item: Item) -> None:
        self.items += 1
        self.snapshots += item.snapshot is not None
        if item.gap is not None:
            self.gaps[item.gap.kind] += 1
        for queue in self.queues:
            queue.put(item)

    # ---------------------------------------------------------------- running

    def open(self) -> None:
        """Open the sinks, all or none. Raises SinkError."""
        opened: list[SinkQueue] = []
        try:
            for queue in self.queues:
                queue.start()
                opened.append(queue)
        except BaseException:
            for queue in opened:
                queue.drain(self._drain)
            raise

    async def run(self, stop: asyncio.Event) -> None:
        """Run the feeds until `stop` is set; then give them a moment to end, and cancel those that do not."""
        tasks = [
            asyncio.create_task(self._supervise(name, running, stop), name=f"feed {name}")
            for name, running in self._feeds.items()
        ]
        try:
            await stop.wait()
            _done, late = await asyncio.wait(tasks, timeout=self._grace) if tasks else (set(), set())
            for task in late:
                _logger.warning("%s did not end within %g s, and is cancelled", task.get_name(), self._grace)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def drain(self) -> dict[str, int]:
        """Let the sinks take what waits and close them, side by side; return what could not be written, by sink."""
        if not self.queues:
            return {}
        with ThreadPoolExecutor(len(self.queues)) as pool:
            left = list(pool.map(lambda queue: queue.drain(self._drain), self.queues))
        out: dict[str, int] = {}
        for queue, count in zip(self.queues, left, strict=True):
            if count or not queue.is_closed:
                out[queue.name] = out.get(queue.name, 0) + count
        return out

    async def _supervise(self, name: str, running: _Running, stop: asyncio.Event) -> None:
        """Run one feed, again and again where it breaks; what it raises is a bug, as the network is the feed's own matter."""
        loop = asyncio.get_running_loop()
        pause = self._first_pause
        while not stop.is_set():
            began = loop.time()
            try:
                await running.feed.run(stop)
                error = "" if stop.is_set() else "the feed ended by itself"
            except Exception as problem:
                _logger.exception("feed %s broke, and is started again", name)
                error = f"{type(problem).__name__}: {problem}"
            if not error:
                return
            if loop.time() - began > _PROVEN_S:
                pause = self._first_pause
            running.restarts += 1
            running.last_error = f"feed {name}: {error}"
            _logger.error("feed %s: %s; next try in %g s", name, error, pause)
            if self._on_restart is not None:
                self._on_restart(name)
            try:
                async with asyncio.timeout(pause):
                    await stop.wait()
            except TimeoutError:
                pause = min(self._longest_pause, pause * 2)
            self._declare(running, error)

    @property
    def last_ns(self) -> dict[Place, int]:
        """When the last item of each place came, Unix epoch in nanoseconds."""
        return {place: last_ns for running in self._feeds.values() for place, last_ns in running.last_ns.items()}

    def go_on(self, last_ns: Mapping[Place, int], reason: str) -> None:
        """Declare that nothing came since another process had the last item of these places, in feeds that are here."""
        for name, running in self._feeds.items():
            venue = names.venue_folder(name)
            running.last_ns |= {place: time_ns for place, time_ns in last_ns.items() if place.venue == venue}
            self._declare(running, reason)

    def _declare(self, running: _Running, error: str) -> None:
        """Declare that nothing came since the last item of each place; how much that is nobody knows."""
        now_ns = clock.now_ns()
        for place, last_ns in running.last_ns.items():
            gap = Gap("failed", min(last_ns // 1_000_000 + 1, now_ns // 1_000_000), now_ns // 1_000_000, 0, error)
            if self._on_gap is not None:
                self._on_gap(place, gap)
            self._queue(place_gap_item(place, gap, now_ns))
            running.last_ns[place] = now_ns
