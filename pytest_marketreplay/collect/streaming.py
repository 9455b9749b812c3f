"""A feed of one venue's WebSocket streams: frames into the tree, checked books into snapshots, every hole told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

from pytest_marketreplay import clock
from pytest_marketreplay.cassette import names
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.request import WEBSOCKET
from pytest_marketreplay.collect.books import LocalBook
from pytest_marketreplay.collect.connection import Connection, Failure
from pytest_marketreplay.collect.grid import ClockWatch
from pytest_marketreplay.collect.limits import Limits
from pytest_marketreplay.collect.stream_entries import Emit, Target
from pytest_marketreplay.collect.stream_grid import Grid, PairGrid
from pytest_marketreplay.collect.stream_ledger import Ledger
from pytest_marketreplay.collect.stream_repair import Repair
from pytest_marketreplay.collect.stream_states import Backoff, PairStats, Patience, State, StreamStats
from pytest_marketreplay.errors import CollectError, UsageMistake
from pytest_marketreplay.metrics.meter import Meter, NoMetrics
from pytest_marketreplay.sinks.items import Gap, Item, Snapshot
from pytest_marketreplay.venues.profile import Venue
from pytest_marketreplay.venues.streaming import Channel

log = logging.getLogger("pytest_marketreplay.collect")
_LOOK_S = 1.0
"""How often the clock is looked at where there is no grid, or a slow one."""


class StreamFeed:
    """Streams pairs of one venue over one connection, for as long as `run` lasts.

    `emit` is called in the loop's thread with each item: frames, snapshots' answers and gaps with a line; points of the
    grid with a snapshot. `interval_s` None asks for no snapshots. `levels` is how many levels a side the venue is asked
    for, at least; None for the most. `ws_url` and `rest_url` replace the venue's own base URLs. What is captured stands
    under the venue's own paths all the same. Not safe under threads.
    """

    def __init__(
        self,
        venue: Venue,
        pairs: Iterable[str],
        channels: Iterable[Channel] = ("depth", "trades"),
        *,
        emit: Emit,
        ws_url: str | None = None,
        rest_url: str | None = None,
        interval_s: float | None = 1.0,
        levels: int | None = None,
        patience: Patience | None = None,
        meter: Meter | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Raises CollectError where the venue's streams are not described; UsageMistake for too many pairs, no channel."""
        described = venue.streaming()
        if described is None:
            raise CollectError(f"the streams of {venue.name} are not described: its `Venue.streaming` gives none")
        self.venue, self.streaming = venue, described(levels)
        self.channels: tuple[Channel, ...] = tuple(dict.fromkeys(channels))
        if not self.channels or set(self.channels) - {"depth", "trades"}:
            raise UsageMistake(f"a stream has the channels depth and trades, not {', '.join(self.channels) or 'none'}")
        self._emit, self._ledger = emit, Ledger(emit, meter or NoMetrics())
        self._patience = patience or Patience()
        self._rng = rng or random.Random()
        self._ws_url = ws_url or self.streaming.ws
        self._repair = Repair(
            venue,
            self.streaming,
            rest_url or self.streaming.rest or "",
            self._patience,
            emit,
            self._ledger,
            self._rng,
        )
        self._watch = ClockWatch(clock.now_ns(), clock.counter_ns())
        self._grid = Grid(self._books, self._snapshot, self._found_empty, self._look_at_clock)
        self._grids = self._grid.pairs
        self._places: dict[str, Place] = {}
        self._backoff = Backoff(self._patience.backoff_s, self._patience.backoff_cap_s, self._rng)
        self._state, self._since_ns = State.UNSUBSCRIBED, clock.now_ns()
        self._changed = asyncio.Event()
        self._refused_until_s = float("-inf")
        self._current: Connection | None = None
        self._endings: dict[Connection, asyncio.Task[str]] = {}
        self._stopping: asyncio.Future[Any] | None = None
        for pair in pairs:
            self.add(pair)
        self.set_interval(interval_s)

    # ---------------------------------------------------------------- what may be changed while it runs

    @property
    def pairs(self) -> tuple[str, ...]:
        """The pairs that are wanted now."""
        return tuple(self._grids)

    def add(self, pair: str) -> None:
        """Stream one more pair (`BTC-USDT`), from the next moment on. Raises UsageMistake where there are too many."""
        if pair in self._grids:
            return
        if len(self._grids) >= self.streaming.most_pairs:
            raise UsageMistake(
                f"one feed of {self.venue.name} takes {self.streaming.most_pairs} pairs: start another feed for {pair}"
            )
        self._grids[pair] = PairGrid(self.venue.name, pair, lambda gap: self._tell(gap, pair))
        path = self.streaming.path([pair], self.channels)
        target = Target(self.venue, WEBSOCKET, self.streaming.ws.rstrip("/") + path)
        symbol = self.venue.symbol(self.streaming.wire(pair))
        self._places[pair] = target.place._replace(symbol=names.symbol_folder(symbol))
        self._changed.set()

    def remove(self, pair: str) -> None:
        """Stop streaming a pair; one that is not there changes nothing."""
        grid = self._grids.pop(pair, None)
        self._ledger.problems.pop(pair, None)
        if grid is not None:
            grid.flush()
            self._changed.set()

    def set_interval(self, interval: float | None) -> None:
        """Take snapshots that often from now on; None for none. Raises UsageMistake for one that is not above 0."""
        if interval is not None and not interval > 0:
            raise UsageMistake(f"the interval of snapshots must be above 0 s, not {interval}")
        self._grid.set_interval(interval if "depth" in self.channels else None)

    @property
    def limits(self) -> Limits:
        """When the venue may be asked for a snapshot; another feed that was told to wait can tell it here."""
        return self._repair.desk.limits

    def stats(self) -> StreamStats:
        """Return what the feed is doing and has done."""
        books, now_ns, pairs = self._books(), clock.counter_ns(), {}
        counts = Counter(self._ledger.counts)
        for pair, grid in self._grids.items():
            book, age_s = books.get(pair), None
            if book is not None and book.usable and book.updated_ns is not None:
                age_s = (now_ns - book.updated_ns) / 1e9
            problem = self._ledger.problems.get(pair, "")
            pairs[pair] = PairStats(age_s is not None, grid.sequence_number, grid.missed, grid.empty, age_s, problem)
        return StreamStats(self._state, self._since_ns, self._backoff.failures, pairs, counts)

    def _books(self) -> Mapping[str, LocalBook]:
        return self._current.books if self._current is not None else {}

    def _found_empty(self) -> None:
        self._ledger.count("empty")
        self._ledger.meter.checked(names.venue_folder(self.venue.name), "empty_book")

    def _snapshot(self, pair: str, snapshot: Snapshot, now_ns: int) -> None:
        self._ledger.count("snapshots")
        self._emit(Item(self._places[pair], now_ns, snapshot=snapshot))

    # ---------------------------------------------------------------- running

    async def run(self, stop: asyncio.Event) -> None:
        """Stream until `stop` is set; then close, and tell every gap that is still open."""
        stopping = self._stopping = asyncio.ensure_future(stop.wait())
        broken = asyncio.get_running_loop().create_future()
        self._repair.begin(broken)
        work = [asyncio.ensure_future(each) for each in (self._stream(), self._grid.run(), self._keep_looking())]
        try:
            # none but the first ends by itself; another that does has failed, and its error goes up
            await asyncio.wait((*work, broken), return_when=asyncio.FIRST_COMPLETED)
            for task in (*work, broken):
                if task.done():
                    task.result()
        finally:
            others = [*work, stopping, broken, *self._endings.values()]
            for other in others:
                other.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            for connection in list(self._endings):
                await self._drop(connection, politely=True)
            await self._repair.close()
            self._finish()

    async def _keep_looking(self) -> None:
        while True:
            self._look_at_clock()
            self._ledger.tell_in_parts(clock.now_ns())
            await asyncio.sleep(_LOOK_S)

    def _look_at_clock(self) -> None:
        """Tell where the wall clock was set: a gap has its times by one clock, and so have the frames of a connection."""
        jump = self._watch.look(clock.now_ns(), clock.counter_ns())
        if jump is None:
            return
        self._ledger.count("clock_jumps")
        log.warning("%s: %s", self.venue.name, jump.reason)
        target = self._target()
        for grid in self._grids.values():
            grid.flush()
        self._ledger.jumped(target, jump)
        for connection in self._endings:  # the next one has the new time
            connection.farewell.set()

    def _finish(self) -> None:
        self._look_at_clock()
        self._ledger.recovered(clock.now_ns())
        for grid in self._grids.values():
            grid.flush()
        self._current = None
        self._enter(State.UNSUBSCRIBED)

    async def _stream(self) -> None:
        stopping = self._stopping
        assert stopping is not None
        while not stopping.done():
            if not self._grids:
                self._enter(State.UNSUBSCRIBED)
                self._backoff.reset()
                await self._first(self._changed.wait())
                continue
            if (wait_s := self._forbidden_s()) > 0:
                await self._first(asyncio.sleep(wait_s))
                continue
            again = self._state is State.RECONNECTING or self._ledger.is_cut
            self._enter(State.RECONNECTING if again else State.CONNECTING)
            connection, failure = await self._connect()
            if failure is None:
                await self._live(connection, stopping)
                if not self._grids or stopping.done():
                    continue
            self._enter(State.RECONNECTING)
            await self._first(asyncio.sleep(max(self._backoff.next_s(), self._forbidden_s())))

    def _forbidden_s(self) -> float:
        """Return for how long the venue forbids a handshake, by its answer to the last one or by a ban of the address."""
        return max(self._refused_until_s, self.limits.banned_until_s) - asyncio.get_running_loop().time()

    async def _connect(self, *, renewing: bool = False) -> tuple[Connection, Failure | None]:
        """Open a connection for the pairs that are wanted now; where that fails, it is told and gone."""
        self._changed.clear()
        self._look_at_clock()
        connection = Connection(
            self.venue, self.streaming, self._ws_url, self._grids, self.channels, self._patience, self._emit,
            self._ledger, self._repair.wants_book,
        )  # fmt: skip
        failure: Failure | None = Failure("stopped")
        opening = asyncio.ensure_future(connection.open())
        try:
            await self._first(opening)
            if opening.done():
                failure = opening.result()
        finally:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            if failure is not None:
                await connection.abandon()
        if failure is not None:
            self._ledger.count("handshakes_failed")
            if failure.retry_after_s is not None:
                self._refused_until_s = asyncio.get_running_loop().time() + failure.retry_after_s
                if failure.is_ban:
                    self.limits.ban(self._refused_until_s)
            if not renewing:  # else the old one still streams, and there is no hole yet
                self._ledger.lost(connection.tape.target, clock.now_ns(), failure.reason)
            return connection, failure
        if self._ledger.counts["connections"]:
            self._ledger.meter.reconnected(connection.tape.target.place.venue)
        self._ledger.count("connections")
        self._endings[connection] = asyncio.create_task(connection.run())
        self._repair.want_books(connection)
        return connection, None

    async def _live(self, connection: Connection, stopping: asyncio.Future[Any]) -> None:
        """Stay with a connection, and with those that follow it before it is cut, until there is none."""
        self._current = connection
        self._enter(State.CONNECTED)
        loop = asyncio.get_running_loop()
        renew_at = loop.time() + self._renew_s()
        while True:
            ending = self._endings[connection]
            timer = asyncio.sleep(max(0.0, renew_at - loop.time()))
            await self._first(ending, self._changed.wait(), connection.farewell.wait(), timer)
            if stopping.done() or not self._grids:
                await self._drop(connection, politely=True)
                return
            if ending.done():
                await self._lost(connection, ending.result())
                return
            if self._changed.is_set():
                self._changed.clear()
                await self._change(connection)
            if connection.farewell.is_set() or loop.time() >= renew_at:
                follower = await self._renew(connection)
                if follower is None:
                    connection.farewell.clear()
                    renew_at = loop.time() + max(self._backoff.next_s(), self._forbidden_s())
                else:
                    connection, renew_at = follower, loop.time() + self._renew_s()

    def _renew_s(self) -> float:
        lifetime_s = self._patience.lifetime_s or self.streaming.lifetime_s
        if lifetime_s is None:
            return 365 * 86_400.0
        return max(lifetime_s / 2, lifetime_s - self._patience.renew_before_s)

    async def _renew(self, old: Connection) -> Connection | None:
        """Open the next connection while the old one still streams; None where that failed."""
        if self._forbidden_s() > 0:
            return None
        new, failure = await self._connect(renewing=True)
        if failure is not None:
            return None
        self._ledger.count("renewals")
        ending = self._endings[new]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience.overlap_s):
                await self._first(ending, self._endings[old], new.settled())
        if ending.done():
            await self._drop(new, politely=False)
            return None
        self._current = new
        if self._endings[old].done() and new.first_data_at is None:
            await self._lost(old, self._endings[old].result())
        else:
            await self._drop(old, politely=True)
        return new

    async def _change(self, connection: Connection) -> None:
        gone = [pair for pair in connection.pairs if pair not in self._grids]
        new = [pair for pair in self._grids if pair not in connection.pairs]
        for pair in gone:
            self._repair.leave(connection, pair)
        # where nobody is there, the reader ends too, and the next connection has the pairs
        with contextlib.suppress(ConnectionError, RuntimeError):
            await connection.change(new, gone)
        self._repair.want_books(connection)

    async def _lost(self, connection: Connection, reason: str) -> None:
        self._ledger.lost(
            connection.tape.target, self._ledger.by_now(connection.last_frame_ns, connection.moved_ns), reason
        )
        first_at = connection.first_data_at
        if first_at is not None and connection.last_data_at - first_at >= self._patience.proven_s:
            self._backoff.reset()
        await self._drop(connection, politely=False)

    async def _drop(self, connection: Connection, *, politely: bool) -> None:
        self._repair.leave(connection)
        ending = self._endings[connection]
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
        await (connection.close() if politely else connection.abandon())
        self._endings.pop(connection, None)  # last: a drop that is cancelled is done anew as the feed ends
        if self._current is connection:
            self._current = None

    async def _first(self, *waits: Awaitable[Any]) -> None:
        """Wait for the first of these, or the end of all; what was begun for it is cancelled, tasks go on."""
        assert self._stopping is not None
        mine = [asyncio.ensure_future(wait) for wait in waits if not isinstance(wait, asyncio.Future)]
        theirs = [wait for wait in waits if isinstance(wait, asyncio.Future)]
        try:
            await asyncio.wait([self._stopping, *mine, *theirs], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in mine:
                task.cancel()
            await asyncio.gather(*mine, return_exceptions=True)

    def _enter(self, state: State) -> None:
        if state is not self._state:
            self._state, self._since_ns = state, clock.now_ns()

    def _tell(self, gap: Gap, pair: str) -> None:
        self._ledger.count("missed", gap.count)
        self._ledger.gap(self._target(pair), gap, pair)

    def _target(self, pair: str | None = None) -> Target:
        """Return where the lines of now stand; `pair` stands in where no pair is wanted any more."""
        if self._current is not None:
            return self._current.tape.target
        path = self.streaming.path(self.pairs or ((pair,) if pair else ()), self.channels)
        return Target(self.venue, WEBSOCKET, self.streaming.ws.rstrip("/") + path)
