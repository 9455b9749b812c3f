"""One pair's book as its stream has it, and the order of the stream: every gap, duplicate and late message is found.

A follower of the market layer keeps the book. It gives the book up after any break, as the readers of a capture do, so a
fresh snapshot follows each of them in the tape. The order of the ids is checked beside it, also while there is no book.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

from pytest_marketreplay.market.book import Book
from pytest_marketreplay.market.following import Break, Follower
from pytest_marketreplay.market.structs import DepthDiff, OrderBook

_REMEMBERED = 512


class Finding(NamedTuple):
    """What is wrong with a message of a stream."""

    kind: Literal["gap", "duplicate", "reorder", "checksum"]
    """`reorder`: a message that came late; its place showed as a gap before."""
    expected: int | None = None
    found: int | None = None
    missing: int = 0
    """How many ids are missing; 0 where that cannot be known."""


class Order:
    """The ids of one stream. What repeats is known among the last few hundred messages."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._recent: deque[int] = deque(maxlen=_REMEMBERED)

    def begin(self, last_id: int | None) -> None:
        """Start after a snapshot of the stream itself."""
        self._last = last_id
        self._recent.clear()

    def diff(self, diff: DepthDiff, mark: int) -> Finding | None:
        """Check a depth diff by whichever ids it carries; without any, only a repetition can be seen, by its `mark`."""
        last, number = self._last, diff.last_id
        if number is None:
            return self._known(mark)
        if last is None:
            self._went_on(number)
            return None
        if diff.previous_id is not None:
            expected, found, missing = last, diff.previous_id, 0
        elif diff.first_id is not None:
            expected, found, missing = last + 1, diff.first_id, diff.first_id - last - 1
        else:  # an id that only rises
            expected = found = missing = 0
            if number <= last:
                return self._late(number, last + 1)
        if expected == found:
            self._went_on(number)
            return None
        if number <= last:
            return self._late(number, expected)
        self._went_on(number)
        return Finding("gap", expected, found, max(missing, 0))

    def trade(self, trade_id: str | None, mark: int, contiguous: bool | None) -> Finding | None:
        """Check a trade; `contiguous` is None where ids say nothing of the order."""
        if trade_id is None:
            return self._known(mark)
        if contiguous is None or not trade_id.isdigit():
            return self._known(hash(trade_id))
        number, last = int(trade_id), self._last
        if last is not None and number <= last:
            return self._late(number, last + 1)
        self._went_on(number)
        if contiguous and last is not None and number > last + 1:
            return Finding("gap", last + 1, number, number - last - 1)
        return None

    def _went_on(self, number: int) -> None:
        self._last = number
        self._recent.append(number)

    def _late(self, number: int, expected: int) -> Finding:
        if number in self._recent:
            return Finding("duplicate", expected, number)
        self._recent.append(number)
        return Finding("reorder", expected, number)

    def _known(self, number: int) -> Finding | None:
        if number in self._recent:
            return Finding("duplicate")
        self._recent.append(number)
        return None


class LocalBook:
    """One pair's book on one connection."""

    def __init__(self, *, joins: bool, checksum: Callable[[Book], int] | None) -> None:
        """`joins`: diffs join a REST snapshot; else the stream sends its own."""
        self.joins = joins
        self.follower = Follower(joins=joins, checksum=checksum)
        self.became_ready, self.heard = asyncio.Event(), asyncio.Event()
        self.updated_ns: int | None = None
        """When the book last changed, by the monotonic counter."""
        self._order = Order()
        self._whole = False
        self._standing: OrderBook | None = None

    @property
    def usable(self) -> bool:
        """Whether there is a book, and it is checked: by the last diff's id or checksum, or because it is the venue's own
        snapshot and nothing has changed since.
        """
        ready = self.follower.ready and (self.follower.checked or self._whole)
        return ready or self._standing is not None

    @property
    def wants_snapshot(self) -> bool:
        """Whether there has to be a snapshot of another channel, and it is not there yet."""
        return self.joins and not self.follower.ready and self._standing is None

    def read(self, venue: str, symbol: str) -> OrderBook:
        """Return the book as it is now, whole; only where it is usable."""
        return self._standing or self.follower.snapshot(venue, symbol)

    def take(self, diff: DepthDiff, mark: int, counter_ns: int) -> Finding | None:
        """Take the next diff of the stream; after a finding the book waits for a snapshot.

        `mark` is the same for two diffs only where their payloads are.
        """
        self.heard.set()
        finding = None
        if diff.snapshot:
            self._order.begin(diff.last_id)
        else:
            finding = self._order.diff(diff, mark)
        told = self._told(self.follower.apply(diff), counter_ns)
        self._whole = diff.snapshot
        return finding or told

    def seed(self, snapshot: OrderBook, counter_ns: int) -> None:
        """Offer a snapshot of another channel. One that is newer than all diffs is the book until the next of them."""
        problem = self.follower.seed(snapshot)
        assert problem is None or problem.kind != "checksum", "a book that joins by id has no checksum"
        self._told(problem, counter_ns)
        if not self.follower.ready and self.follower.stale is None:
            self._standing, self.updated_ns = snapshot, counter_ns
            self.became_ready.set()

    def _told(self, problem: Break | None, counter_ns: int) -> Finding | None:
        # a diff that the standing snapshot has already leaves the follower with nothing that waits
        if self.follower.ready or self.follower.stale is not None:
            self._standing = None
        if self.follower.ready:
            self.updated_ns = counter_ns
            self.became_ready.set()
        elif self._standing is None:
            self.became_ready.clear()
        # ids that do not follow were found by the order already
        if problem is None or problem.kind != "checksum":
            return None
        return Finding("checksum", problem.expected, problem.found)
