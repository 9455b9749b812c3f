"""Order books rebuilt from depth diffs: each stream of each connection has a book of its own, and every diff is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from pytest_marketreplay.data.decoded import Connection, Decoded, Reader
from pytest_marketreplay.data.tape import Recorded
from pytest_marketreplay.errors import BookGap, UsageMistake
from pytest_marketreplay.market.following import Break, Follower
from pytest_marketreplay.market.structs import DepthDiff, OrderBook

_Key = tuple[str, str, Connection, str | None]
"""Venue, symbol, connection, stream."""


class Step(NamedTuple):
    """A book after one more diff."""

    venue: str
    symbol: str
    stream: str | None
    follower: Follower

    def book(self, depth: int | None) -> OrderBook:
        """Return the book as it is now: whole, or its best levels."""
        return self.follower.snapshot(self.venue, self.symbol, depth, self.stream)


class Rebuilder:
    """Follows all streams of depth diffs in some lines."""

    def __init__(self, reader: Reader, gap: Callable[[BookGap], None], symbol: str | None, *, several: bool) -> None:
        """`gap` takes each gap (and may raise it); `several` allows one symbol to be streamed by several endpoints."""
        self._reader = reader
        self._gap = gap
        self._symbol = symbol
        self._several = several
        self._followers: dict[_Key, Follower] = {}
        self._snapshots: dict[tuple[str, str], OrderBook] = {}
        self._endpoints: dict[tuple[str, str], str] = {}
        self._where: dict[int, Recorded] = {}
        reader.ended = self._end

    def steps(self, lines: Iterable[Recorded]) -> Iterator[Step]:
        """Give each book after each diff that it could take. Raises UsageMistake where it is not clear whose book is meant."""
        for decoded in self._reader.read(lines):
            for record in decoded.records:
                if self._symbol is not None and record.symbol != self._symbol:
                    continue
                if type(record) is DepthDiff:
                    step = self._diff(record, decoded)
                    if step is not None:
                        yield step
                elif type(record) is OrderBook and decoded.connection is None:
                    yield from self._seed(record, decoded.recorded)
        for key in list(self._followers):
            self._finish(key)

    def _diff(self, diff: DepthDiff, decoded: Decoded) -> Step | None:
        connection = decoded.connection
        assert connection is not None
        key = diff.venue, diff.symbol, connection, diff.stream
        follower = self._followers.get(key)
        if follower is None:
            follower = self._start(key, diff, decoded)
        problem = follower.apply(diff)
        if problem is not None:
            self._report(problem, diff.venue, diff.symbol, decoded.recorded)
        elif follower.ready:
            return Step(diff.venue, diff.symbol, diff.stream, follower)
        else:
            self._where.setdefault(id(follower), decoded.recorded)
        return None

    def _start(self, key: _Key, diff: DepthDiff, decoded: Decoded) -> Follower:
        mine = diff.venue, diff.symbol
        endpoint = decoded.recorded.endpoint
        known = self._endpoints.setdefault(mine, endpoint)
        if known != endpoint and not self._several:
            raise UsageMistake(
                f"{diff.symbol} at {diff.venue} is streamed by {known} and by {endpoint}, which may be two markets: "
                f"say which one is meant, as in endpoint={known!r}"
            )
        follower = Follower(joins=decoded.decoder.joins, checksum=decoded.decoder.checksum)
        self._followers[key] = follower
        if mine in self._snapshots:
            follower.seed(self._snapshots[mine])
        return follower

    def _seed(self, book: OrderBook, recorded: Recorded) -> Iterator[Step]:
        mine = book.venue, book.symbol
        self._snapshots[mine] = book
        for key, follower in list(self._followers.items()):
            if key[:2] != mine:
                continue
            was_ready = follower.ready
            problem = follower.seed(book)
            if problem is not None:
                self._report(problem, book.venue, book.symbol, recorded)
            elif follower.ready and not was_ready:
                yield Step(book.venue, book.symbol, key[3], follower)

    def _end(self, connection: Connection) -> None:
        for key in [key for key in self._followers if key[2] == connection]:
            self._finish(key)

    def _finish(self, key: _Key) -> None:
        follower = self._followers.pop(key)
        recorded = self._where.pop(id(follower), None)
        if recorded is not None and not follower.started and follower.stale is not None:
            self._report(follower.stale, key[0], key[1], recorded)

    def _report(self, problem: Break, venue: str, symbol: str, recorded: Recorded) -> None:
        self._gap(
            BookGap(
                venue,
                symbol,
                problem.kind,
                problem.expected,
                problem.found,
                path=recorded.path,
                line=recorded.line,
                time_ns=recorded.time_ns,
            )
        )
