"""How a local book gets its snapshot, at first and after a break: from the REST side, or by a new subscription."""

from __future__ import annotations

import asyncio
import contextlib
import random

from pytest_marketreplay import clock
from pytest_marketreplay.collect.connection import Connection
from pytest_marketreplay.collect.stream_books import SnapshotDesk
from pytest_marketreplay.collect.stream_entries import Emit
from pytest_marketreplay.collect.stream_ledger import Ledger
from pytest_marketreplay.collect.stream_states import Backoff, Patience
from pytest_marketreplay.venues.profile import Venue
from pytest_marketreplay.venues.streaming import Streaming


class Repair:
    """Works for the books of one feed, one task for each that has none."""

    def __init__(
        self,
        venue: Venue,
        streaming: Streaming,
        rest_url: str,
        patience: Patience,
        emit: Emit,
        ledger: Ledger,
        rng: random.Random,
    ) -> None:
        self.desk = SnapshotDesk(venue, rest_url, patience, emit, ledger, rng)
        self._streaming, self._patience, self._ledger, self._rng = streaming, patience, ledger, rng
        self._tasks: dict[tuple[Connection, str], asyncio.Task[None]] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._broken: asyncio.Future[None] | None = None

    def begin(self, broken: asyncio.Future[None]) -> None:
        """Begin; `broken` gets the error of a task, which is nobody else's."""
        self._broken = broken

    def wants_book(self, connection: Connection, pair: str) -> None:
        """Get a snapshot for a pair's book, unless that is under way."""
        key = connection, pair
        if key not in self._tasks:
            work = self._join if connection.books[pair].joins else self._resubscribe
            self._tasks[key] = asyncio.create_task(work(connection, pair))
            self._tasks[key].add_done_callback(lambda done: self._done(key, done))

    def want_books(self, connection: Connection) -> None:
        """Get a snapshot for every book that joins one, and has none."""
        if "depth" in connection.channels:
            for pair, book in connection.books.items():
                if book.wants_snapshot:
                    self.wants_book(connection, pair)

    def leave(self, connection: Connection, pair: str | None = None) -> None:
        """Stop working for a connection, or for one of its pairs."""
        for key in [key for key in self._tasks if key[0] is connection and pair in (None, key[1])]:
            task = self._tasks.pop(key)
            task.cancel()
            self._leaving.add(task)

    async def close(self) -> None:
        """Wait for what was left, and close the connections."""
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await self.desk.close()

    def _done(self, key: tuple[Connection, str], done: asyncio.Task[None]) -> None:
        self._leaving.discard(done)
        if self._tasks.get(key) is done:
            del self._tasks[key]
        if not done.cancelled() and (error := done.exception()) is not None:
            assert self._broken is not None
            if not self._broken.done():  # pragma: no branch - the first error ends the feed
                self._broken.set_exception(error)

    async def _join(self, connection: Connection, pair: str) -> None:
        path = self._streaming.snapshot(pair)
        assert path is not None
        backoff = Backoff(self._patience.book_pause_s, self._patience.backoff_cap_s, self._rng)
        book = connection.books[pair]
        # a snapshot from after the first diff is one that the stream follows; a quiet pair has none for long
        with contextlib.suppress(TimeoutError):
            # not `wait_for`: before Python 3.12 it loses a cancellation that comes as its wait ends
            async with asyncio.timeout(self._patience.book_pause_s):
                await book.heard.wait()
        while book.wants_snapshot:
            snapshot = await self.desk.fetch(pair, self._streaming.rest or "", path, backoff)
            if snapshot is not None:
                book.seed(snapshot, clock.counter_ns())

    async def _resubscribe(self, connection: Connection, pair: str) -> None:
        book, loop = connection.books[pair], asyncio.get_running_loop()
        while not book.follower.ready:
            self._ledger.count("resubscriptions")
            # where nobody is there, the reader ends too, and the next connection begins anew
            with contextlib.suppress(ConnectionError, RuntimeError):
                await connection.renew_book(pair)
            started = loop.time()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience.acknowledgement_s):
                    await book.became_ready.wait()
            await asyncio.sleep(max(0.0, self._patience.book_pause_s - (loop.time() - started)))
