"""A feed that polls: the whole order book of each pair at each point of the grid, as the venue's own answer.

Each pair has a task and a grid of its own, so that a slow answer of one costs no other a tick; what a venue forbids holds
for all of them. Each tick ends as one of four: stored, skipped (an empty book), failed, missed; the sum is the grid.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from pytest_marketreplay import clock
from pytest_marketreplay.collect.fetching import MOST_CONNECTIONS, Answer, Fetch, HttpFetch, Unanswered
from pytest_marketreplay.collect.grid import ClockWatch, Grid, OpenGap, Tick
from pytest_marketreplay.collect.limits import Limits, asked_to_wait_s, is_refusal
from pytest_marketreplay.collect.poll_checks import Checks, PairChecks
from pytest_marketreplay.collect.stream_entries import Target, gap_item, poll_line
from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.market.decoding import UNREADABLE, Source
from pytest_marketreplay.market.structs import OrderBook
from pytest_marketreplay.metrics import Meter, NoMetrics
from pytest_marketreplay.sinks.items import Gap, Item, Snapshot
from pytest_marketreplay.venues.profile import Venue

LEVELS = 500
"""Levels a side that are asked for at the least: at Binance a weight of 25 of the 6,000 that a minute allows."""
_LAST_ANSWER_S = 2.0
_MOST_UNDER_WAY = MOST_CONNECTIONS
"""Requests to one venue at a time: more pairs than that delay each other where each answer takes long. What waits here is checked against the venue's limits when its turn comes; a
connection pool would send it whatever was said meanwhile."""
_MS = 1_000_000
_LIMIT_WORDS = ("rate limit", "too many", "too much", "throttle", "temporary lockout")


class PollStats(msgspec.Struct, frozen=True):
    """What a feed has done; `ticks` is the sum of `stored`, `empty`, `failed` and `missed`, and of polls under way."""

    ticks: int = 0
    stored: int = 0
    empty: int = 0
    failed: int = 0
    missed: int = 0
    requests: int = 0
    clock_checks: int = 0
    """Books whose own time was out of [now - 5 s, now + 1 s]."""
    backward_ids: int = 0
    crossed: int = 0
    clock_jumps: int = 0
    held: bool = False
    """Whether the venue forbids requests just now."""
    held_s: float = 0.0
    """For how many more seconds it does."""
    used_weight: int = 0
    last_latency_ms: float = 0.0
    """Of the newest book that was stored."""


class _Pair:
    """One pair: its grid, its numbers, its gap."""

    def __init__(self, pair: str, target: Target, path: str, grid: Grid, checks: PairChecks) -> None:
        self.pair, self.target, self.path, self.grid = pair, target, path, grid
        self.checks = checks
        self.gap = OpenGap()
        self.watch = ClockWatch(clock.now_ns(), clock.counter_ns())
        self.wake = asyncio.Event()
        self.left_s: float | None = None
        """When it was told to end, in the loop's time."""

    @property
    def leaving(self) -> bool:
        """Whether it was told to end."""
        return self.left_s is not None

    def leave(self) -> None:
        """Tell it to end; what is under way is still waited for."""
        self.left_s = asyncio.get_running_loop().time()
        self.wake.set()


class PollFeed:
    """Polls the order books of one venue until it is stopped."""

    def __init__(
        self,
        venue: Venue,
        pairs: Sequence[str],
        interval_s: float = 1.0,
        *,
        emit: Callable[[Item], None],
        base_url: str | None = None,
        levels: int = LEVELS,
        timeout_s: float = 10.0,
        meter: Meter | None = None,
        fetch: Fetch | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Poll `pairs` (`BTC-USDT`) every `interval_s`; `base_url` points it at another server than the venue's own.

        `fetch` takes the place of HTTP. Raises UsageMistake for a venue that nobody has described, and for no pairs.
        """
        polling = venue.polling()
        if polling is None:
            raise UsageMistake(f"how order books of {venue.name!r} are polled is not known; Venue.polling can say it")
        self._venue, self._polling, self._emit, self._levels = venue, polling, emit, levels
        self._base = (base_url or polling.rest).rstrip("/")
        self._interval_s = _interval(interval_s)
        self._timeout_s, self._meter = timeout_s, meter or NoMetrics()
        self._fetch = fetch
        self.limits = Limits(rng or random.Random())
        self._names = list(dict.fromkeys(pairs))
        self._pairs: dict[str, _Pair] = {}
        self._numbers: Counter[str] = Counter()  # outlive a pair's task: none is given twice, none left out
        self._slots = asyncio.Semaphore(_MOST_UNDER_WAY)
        self._last_latency_ms = 0.0
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._leavers: set[asyncio.Task[None]] = set()
        self._counts: Counter[str] = Counter()
        self._checks = Checks(venue.name, self._counts, self._meter)
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def stats(self) -> PollStats:
        """Return the feed's numbers."""
        held_s = max(0.0, self.limits.free_s - self._loop.time()) if self._loop is not None else 0.0
        return PollStats(
            **self._counts,
            held=held_s > 0,
            held_s=held_s,
            used_weight=self.limits.used_weight or 0,
            last_latency_ms=self._last_latency_ms,
        )

    def add(self, pair: str) -> None:
        """Poll one more pair, from now on."""
        if pair not in self._names:
            self._names.append(pair)
            if self._loop is not None and self._stop is not None and not self._stop.is_set():
                self._start(pair)

    def remove(self, pair: str) -> None:
        """Poll a pair no longer; an answer under way is still stored."""
        if pair in self._names:
            self._names.remove(pair)
            if state := self._pairs.pop(pair, None):
                state.leave()
                self._leavers.add(self._tasks.pop(pair))

    def set_interval(self, interval: float) -> None:
        """Poll that often from now on, in seconds. Raises UsageMistake."""
        self._interval_s = _interval(interval)
        for state in self._pairs.values():
            old_s = state.grid.interval_s
            last = state.grid.change(self._interval_s, asyncio.get_running_loop().time())
            if last is not None and last.missed:
                self._missed(state, last, last.missed, old_s)
            state.wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Poll until `stop` is set; then wait shortly for the answers under way."""
        self._stop, self._loop = stop, asyncio.get_running_loop()
        own = None
        if self._fetch is None:
            self._fetch = own = HttpFetch(self._timeout_s)
            own.open()
        try:
            self._venue.market(
                self._polling.target("BTC-USDT", self._levels).partition("?")[0]
            )  # its import takes a while
            for pair in self._names:
                self._start(pair)
            stopping = asyncio.ensure_future(stop.wait())
            try:
                while not stopping.done():
                    # a task that ends with an error ends the feed, whose engine starts it anew
                    await asyncio.wait(
                        {stopping, *self._tasks.values(), *self._leavers},
                        return_when=asyncio.FIRST_COMPLETED,
                        timeout=1.0,
                    )
                    for task in [*self._tasks.values(), *self._leavers]:
                        if task.done():
                            self._leavers.discard(task)
                            task.result()
            finally:
                stopping.cancel()
                await self._end()
        finally:
            self._loop = None
            if own is not None:
                await own.close()
                self._fetch = None

    async def _end(self) -> None:
        self._loop = None  # who is added from here on starts with the next run
        for state in self._pairs.values():
            state.leave()
        tasks = {*self._tasks.values(), *self._leavers}
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=_LAST_ANSWER_S)
        finally:  # an engine that waits no longer cancels us here, and what is under way is declared all the same
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            self._pairs.clear()
            self._tasks.clear()
            self._leavers.clear()
        for end in ends:
            if isinstance(end, Exception):
                raise end

    def _start(self, pair: str) -> None:
        path = self._polling.target(pair, self._levels)
        target = Target(self._venue, "GET", self._polling.rest + path)
        grid = Grid(self._interval_s, asyncio.get_running_loop().time())
        state = self._pairs[pair] = _Pair(pair, target, path, grid, PairChecks(self._checks, pair, target.place.venue))
        self._tasks[pair] = asyncio.create_task(self._poll(state), name=f"{self._venue.name} {pair}")

    async def _poll(self, state: _Pair) -> None:
        loop = asyncio.get_running_loop()
        try:
            while not state.leaving:
                tick = state.grid.take(loop.time())
                if tick is not None:
                    await self._tick(state, tick)
                    continue
                state.wake.clear()
                try:
                    async with asyncio.timeout_at(state.grid.next_s):
                        await state.wake.wait()
                except TimeoutError:
                    pass  # the next point has come
        finally:
            end_s = loop.time() if state.left_s is None else state.left_s
            if last := state.grid.take(end_s):  # points that came while the last answer was waited for
                count = last.missed + last.is_due
                self._missed(state, last, count, state.grid.interval_s, loop.time() - end_s)
            self._tell(state, state.gap.end())

    async def _tick(self, state: _Pair, tick: Tick) -> None:
        if jump := state.watch.look(clock.now_ns(), clock.counter_ns()):
            self._counts["clock_jumps"] += 1
            self._checks.warn("clock_jump", f"{self._venue.name} {state.pair}: {jump.reason}")
            self._tell(state, [*state.gap.end(), jump])  # a gap has its times by one clock
        now_ms = clock.now_ns() // _MS
        self._counts["ticks"] += tick.is_due
        if tick.missed:
            self._missed(state, tick, tick.missed, state.grid.interval_s)
        if not tick.is_due:
            return
        finished = False
        try:
            async with self._slots:
                forbidden = None if self.limits.may_ask(asyncio.get_running_loop().time()) else self.limits.reason
                problem = await self._ask(state) if forbidden is None else None
            finished = True
        finally:
            if not finished:  # cancelled, or a mistake of ours: the tick counts all the same
                self._lost(state, "failed", now_ms, "not finished")
        if forbidden is not None:
            self._lost(state, "missed", now_ms, forbidden)
        elif problem is not None:
            self._lost(state, "failed", now_ms, problem)

    def _missed(self, state: _Pair, tick: Tick, count: int, interval_s: float, since_s: float = 0.0) -> None:
        self._counts["ticks"] += count
        self._counts["missed"] += count
        from_ms = (clock.now_ns() - round((tick.missed_s + since_s) * 1e9) + _MS // 2) // _MS  # to the nearest
        to_ms = from_ms + round((count - 1) * interval_s * 1000)
        self._tell(state, state.gap.add("missed", from_ms, to_ms, count, f"{state.pair}: late"))

    def _lost(self, state: _Pair, kind: str, at_ms: int, reason: str) -> None:
        self._counts[kind] += 1
        self._tell(state, state.gap.add(kind, at_ms, at_ms, 1, f"{state.pair}: {reason}"))

    async def _ask(self, state: _Pair) -> str | None:
        """Ask for one book and store it; returns what went wrong."""
        assert self._fetch is not None
        self._counts["requests"] += 1
        place, sent_s = state.target.place, asyncio.get_running_loop().time()
        started_ns, started = clock.now_ns(), clock.counter_ns()
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._fetch(self._base + state.path)
        except TimeoutError:
            self._meter.request(place.venue, place.endpoint, "timeout", (clock.counter_ns() - started) / 1e9)
            return "no answer in time"
        except Unanswered as error:
            self._meter.request(place.venue, place.endpoint, "failed", (clock.counter_ns() - started) / 1e9)
            return str(error)
        took_ns = clock.counter_ns() - started
        self._meter.request(place.venue, place.endpoint, answer.status, took_ns / 1e9)
        return self._take(state, answer, started_ns, took_ns / 1e6, sent_s)

    def _take(self, state: _Pair, answer: Answer, started_ns: int, took_ms: float, sent_s: float) -> str | None:
        target = state.target
        headers = {name.lower(): value for name, value in answer.headers}
        problem, book = self._read(target, answer, started_ns)
        if problem is not None:
            now_s = asyncio.get_running_loop().time()
            wait_s = asked_to_wait_s(answer.headers, clock.now_ns())
            if is_refusal(self._venue.name, answer.status) or any(word in problem.lower() for word in _LIMIT_WORDS):
                self.limits.refused(answer.status, wait_s, now_s, sent_s)
            elif wait_s is not None:  # a 503 may say it too
                self.limits.hold(now_s + wait_s, f"asked to wait ({answer.status})")
            return problem
        assert book is not None
        self.limits.answered(headers.get("x-mbx-used-weight-1m"), sent_s)
        if not book.bids and not book.asks:
            self._tell(state, state.gap.end())  # this point is no part of it
            self._counts["empty"] += 1
            state.checks.found("empty_book", "an empty book")
            return None
        state.checks.look(book)
        self._tell(state, state.gap.end())
        self._numbers[state.pair] += 1
        number = self._numbers[state.pair]
        self._counts["stored"] += 1
        self._last_latency_ms = round(took_ms, 3)
        snapshot = Snapshot(
            self._venue.name,
            state.pair,
            started_ns // _MS,
            book.bids,
            book.asks,
            round(took_ms, 3),
            number,
            book.update_id,
        )
        line = poll_line(target, started_ns, round(took_ms, 3), number, answer)
        self._emit(Item(target.place, started_ns, line, snapshot))
        return None

    def _read(self, target: Target, answer: Answer, started_ns: int) -> tuple[str | None, OrderBook | None]:
        """Return what is wrong with an answer, or its book."""
        try:
            value = msgspec.json.decode(answer.body) if answer.status >= 400 or len(answer.body) < 2000 else None
        except (ValueError, RecursionError):
            value = None
        problem = self._venue.problem(answer.status, value)
        if problem is not None:
            return problem, None
        decoder = self._venue.market(target.asked.path)
        assert decoder is not None, f"{self._venue.name} polls what it cannot read"
        try:
            records = decoder.read(answer.body, Source(started_ns, target.location.symbol, dict(target.asked.params)))
        except UNREADABLE as error:
            return f"the answer is no order book ({type(error).__name__})", None
        book = next((each for each in records if isinstance(each, OrderBook)), None)
        return (None, book) if book is not None else ("no order book in the answer", None)

    def _tell(self, state: _Pair, gaps: list[Gap]) -> None:
        for gap in gaps:
            self._meter.gap(state.target.place.venue, gap.kind, gap.count)
            self._emit(gap_item(state.target, gap, state.pair))


def _interval(interval_s: float) -> float:
    if not 0.01 <= interval_s <= 86_400:
        raise UsageMistake(f"an interval is between 0.01 s and a day, not {interval_s} s")
    return float(interval_s)
