"""Follow one stream of depth diffs: a book from a snapshot, each diff checked before it counts.

The rules, by what a diff carries:

- `previous_id` (Binance futures `pu`, Deribit `prev_change_id`, OKX `prevSeqId`, Coinbase by its `sequence_num`): equal to
  the id of the diff before;
- `first_id` (Binance `U`, Bybit `u`): one more than the last id of the diff before;
- only `last_id` (Bitstamp `microtimestamp`): later than that of the diff before;
- `checksum` (Kraken, OKX): equal to that of the book after the diff.

Where diffs join a snapshot of another channel (a REST answer), those that the snapshot already has are left out, and the
first one that it has not must follow it without a hole (Binance, "How to manage a local order book correctly").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

from pytest_marketreplay.market.book import Book
from pytest_marketreplay.market.structs import DepthDiff, OrderBook

Kind = Literal["chain", "order", "checksum", "join"]

WAITING = 2_000
"""How many diffs are kept for a snapshot that is yet to come: more than three minutes at one in 100 ms."""


class Break(NamedTuple):
    """Where a stream does not follow from what came before."""

    kind: Kind
    """`chain`: ids; `order`: an id that goes backwards; `checksum`; `join`: no snapshot that the diffs follow."""
    expected: int | None
    found: int | None


class Follower:
    """The book of one stream. After a break it waits for the next snapshot."""

    def __init__(self, *, joins: bool = False, checksum: Callable[[Book], int] | None = None) -> None:
        """Follow a stream; `joins` tells whether its snapshot is the answer of another channel, by update id."""
        self.book = Book()
        self.ready = False
        """Whether the book is one that can be relied on."""
        self.checked = False
        """Whether the last diff was checked by something."""
        self.last_id: int | None = None
        self.time_ns = 0
        self.exchange_ms: int | None = None
        self.levels = 0
        """How many levels were applied, those of snapshots included."""
        self.started = False
        """Whether it ever had a book."""
        self._joins = joins
        self._checksum = checksum
        self._snapshot: OrderBook | None = None
        self._waiting: deque[DepthDiff] = deque(maxlen=WAITING)

    @property
    def stale(self) -> Break | None:
        """Tell why there is no book, where diffs wait for a snapshot that they follow."""
        if self.ready or not self._waiting:
            return None
        return Break("join", None, self._waiting[0].first_id or self._waiting[0].last_id)

    def seed(self, snapshot: OrderBook) -> Break | None:
        """Offer a snapshot of another channel; taken where the stream waits for one and its diffs follow it."""
        if not self._joins or self.ready or snapshot.update_id is None:
            return None
        self._snapshot = snapshot
        return self._join()

    def apply(self, diff: DepthDiff) -> Break | None:
        """Take the next diff; returns what is wrong with it, and then waits for a snapshot."""
        if diff.snapshot:
            self._replace(diff)
            return self._proved(diff, checked=False)
        if not self.ready:
            return self._hold(diff)
        return self._advance(diff)

    def snapshot(self, venue: str, symbol: str, depth: int | None = None, stream: str | None = None) -> OrderBook:
        """Return the book as it is now, whole or its best `depth` levels a side."""
        return OrderBook(
            venue,
            symbol,
            self.time_ns,
            self.book.bids.best(depth),
            self.book.asks.best(depth),
            self.last_id,
            self.exchange_ms,
            self.checked,
            stream,
        )

    def lose(self) -> None:
        """Give the book up, as after a break."""
        self.ready = self.checked = False
        self._snapshot = None
        self._waiting.clear()

    def _replace(self, new: DepthDiff | OrderBook) -> None:
        self.book.replace(new.bids, new.asks)
        self.levels += len(new.bids) + len(new.asks)
        self.last_id = new.last_id if isinstance(new, DepthDiff) else new.update_id
        self.time_ns, self.exchange_ms = new.time_ns, new.exchange_ms
        self.ready = self.started = True
        self._snapshot = None

    def _hold(self, diff: DepthDiff) -> Break | None:
        # without a snapshot to come for it, a diff is only remembered as one that has no book
        if not self._joins:
            self._waiting.clear()
        self._waiting.append(diff)
        return self._join() if self._snapshot is not None else None

    def _join(self) -> Break | None:
        snapshot = self._snapshot
        assert snapshot is not None
        assert snapshot.update_id is not None
        waiting, known = self._waiting, snapshot.update_id
        while waiting and (waiting[0].last_id or 0) <= known:
            waiting.popleft()
        if not waiting:
            return None
        first = waiting[0]
        if first.previous_id is not None:
            follows = first.previous_id <= known
        else:
            follows = first.first_id is None or first.first_id <= known + 1
        if not follows:  # older than what is held: a later snapshot may fit
            self._snapshot = None
            return None
        self._replace(snapshot)
        held = list(waiting)
        waiting.clear()
        self._change(first)
        problem = self._proved(first, checked=True)
        for diff in held[1:]:
            if problem is not None:
                self._waiting.append(diff)
            else:
                problem = self._advance(diff)
        return problem

    def _advance(self, diff: DepthDiff) -> Break | None:
        last, checked = self.last_id, False
        if last is not None:
            if diff.previous_id is not None:
                if diff.previous_id != last:
                    return self._broken("chain", last, diff.previous_id, diff)
                checked = True
            elif diff.first_id is not None:
                if diff.first_id != last + 1:
                    return self._broken("chain", last + 1, diff.first_id, diff)
                checked = True
            elif diff.last_id is not None:
                if diff.last_id <= last:
                    return self._broken("order", last + 1, diff.last_id, diff)
                checked = True
        self._change(diff)
        return self._proved(diff, checked)

    def _change(self, diff: DepthDiff) -> None:
        self.book.apply(diff.bids, diff.asks, diff.depth)
        self.levels += len(diff.bids) + len(diff.asks)
        if diff.last_id is not None:
            self.last_id = diff.last_id
        self.time_ns, self.exchange_ms = diff.time_ns, diff.exchange_ms

    def _proved(self, diff: DepthDiff, checked: bool) -> Break | None:
        if diff.checksum is not None and self._checksum is not None:
            found = self._checksum(self.book)
            if found != diff.checksum:
                return self._broken("checksum", diff.checksum, found, None)
            checked = True
        self.checked = checked
        return None

    def _broken(self, kind: Kind, expected: int | None, found: int | None, diff: DepthDiff | None) -> Break:
        self.lose()
        if diff is not None and self._joins:  # the diff itself is good, and the first that the next snapshot can join
            self._waiting.append(diff)
        return Break(kind, expected, found)
