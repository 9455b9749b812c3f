"""What the frames of one connection say: diffs into local books, trades by their ids; whatever is wrong is told."""

from __future__ import annotations

from collections.abc import Callable

from pytest_marketreplay import clock
from pytest_marketreplay.collect.books import Finding, LocalBook, Order
from pytest_marketreplay.collect.stream_entries import Target
from pytest_marketreplay.collect.stream_ledger import Ledger
from pytest_marketreplay.market.decoding import UNREADABLE, Source
from pytest_marketreplay.market.structs import DepthDiff, Trade
from pytest_marketreplay.venues.streaming import Channel, Streaming


class Frames:
    """Reads the messages of one connection, in their order."""

    def __init__(self, target: Target, streaming: Streaming, ledger: Ledger, wants_book: Callable[[str], None]) -> None:
        """`wants_book` hears of a pair whose book was lost, and needs a snapshot."""
        decoder = target.venue.market(target.asked.path, websocket=True)
        assert decoder is not None, "a venue that streams has a decoder"
        self._target, self._streaming, self._ledger, self._decoder = target, streaming, ledger, decoder
        self._wants_book = wants_book
        self.books: dict[str, LocalBook] = {}
        self._symbols: dict[str, str] = {}
        self._trades: dict[str, Order] = {}
        self._seen_ns: dict[tuple[str, Channel], int] = {}

    def know(self, pair: str) -> None:
        """Begin to follow a pair."""
        symbol = self._target.venue.symbol(self._streaming.wire(pair)) or pair
        self._symbols[symbol] = pair
        self.books[pair] = LocalBook(joins=self._decoder.joins, checksum=self._decoder.checksum)
        self._trades[pair] = Order()

    def forget(self, pair: str) -> None:
        """Leave a pair."""
        del self.books[pair], self._trades[pair]
        self._symbols = {symbol: known for symbol, known in self._symbols.items() if known != pair}

    def read(self, data: bytes, time_ns: int) -> bool | None:
        """Take a message; tells whether it was market data, None where it cannot be read."""
        try:
            records = self._decoder.read(data, Source(time_ns, self._target.location.symbol))
        except UNREADABLE:
            if data not in (b"ping", b"pong"):
                self._ledger.unreadable(self._target, time_ns)
            return None
        for place, record in enumerate(records):
            pair = self._symbols.get(record.symbol)
            if pair is None:
                continue  # of a pair that was left a moment ago
            if isinstance(record, DepthDiff):
                self._depth(pair, record, hash(data), time_ns)
            elif isinstance(record, Trade):
                self._trade(pair, record, hash((data, place)), time_ns)
        return bool(records)

    def _depth(self, pair: str, diff: DepthDiff, mark: int, time_ns: int) -> None:
        self._ledger.count("depth")
        book = self.books[pair]
        self._note(pair, "depth", book.take(diff, mark, clock.counter_ns()), time_ns)
        if not book.follower.ready and (book.wants_snapshot or (not book.joins and book.follower.started)):
            self._wants_book(pair)

    def _trade(self, pair: str, trade: Trade, mark: int, time_ns: int) -> None:
        self._ledger.count("trades")
        kind = self._streaming.trade_ids
        contiguous = None if kind is None else kind == "contiguous"
        self._note(pair, "trades", self._trades[pair].trade(trade.trade_id, mark, contiguous), time_ns)

    def _note(self, pair: str, channel: Channel, finding: Finding | None, time_ns: int) -> None:
        if finding is not None:
            since_ns = self._seen_ns.get((pair, channel), time_ns)
            self._ledger.found(self._target, pair, channel, finding, since_ns, time_ns)
        self._seen_ns[pair, channel] = time_ns
