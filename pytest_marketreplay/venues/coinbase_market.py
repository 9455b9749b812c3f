"""What Coinbase's payloads say of the market: Advanced Trade, and the older Exchange (GDAX, Pro) messages.

Sources: Advanced Trade API, "Advanced Trade WebSocket Channels" and "Public Endpoints"; Coinbase Exchange API, "WebSocket
Channels". Both say the maker's side of a trade. `sequence_num` counts all messages of a connection, whatever their
channel, so a hole in it may be a lost diff of any of its books.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from pytest_marketreplay.market.decoding import Decoder, Rest, Source, iso_ms, other_side
from pytest_marketreplay.market.structs import Candle, DepthDiff, Level, OrderBook, Record, Ticker, Trade


class _Update(msgspec.Struct):
    side: str
    price_level: Decimal
    new_quantity: Decimal


class _Trade(msgspec.Struct):
    product_id: str
    price: Decimal
    size: Decimal
    time: str
    side: str
    trade_id: str | int | None = None


class _Candle(msgspec.Struct):
    start: str
    high: Decimal
    low: Decimal
    open: Decimal
    close: Decimal
    volume: Decimal
    product_id: str | None = None


class _Ticker(msgspec.Struct):
    product_id: str
    price: Decimal | None = None
    best_bid: Decimal | None = None
    best_ask: Decimal | None = None
    best_bid_quantity: Decimal | None = None
    best_ask_quantity: Decimal | None = None


class _Event(msgspec.Struct):
    type: str | None = None
    product_id: str | None = None
    updates: list[_Update] | None = None
    trades: list[_Trade] | None = None
    candles: list[_Candle] | None = None
    tickers: list[_Ticker] | None = None


class _Message(msgspec.Struct):
    channel: str | None = None
    timestamp: str | None = None
    sequence_num: int | None = None
    events: list[_Event] = []


_MESSAGE = msgspec.json.Decoder(_Message)
_MARKET = frozenset(("l2_data", "market_trades", "candles", "ticker", "ticker_batch"))


class CoinbaseFrames(Decoder):
    """One connection of Advanced Trade."""

    def __init__(self, venue: str) -> None:
        super().__init__(venue)
        self._last: int | None = None
        self._lost = 0
        self._missing = 0
        self._books: dict[str, tuple[int, int]] = {}

    def read(self, payload: bytes, source: Source) -> Sequence[Record]:
        """Return depth diffs, trades, candles and tickers; an Advanced Trade message counts in its connection."""
        try:
            message = _MESSAGE.decode(payload)
        except msgspec.ValidationError:
            if msgspec.json.decode(payload).get("channel") in _MARKET:
                raise
            return ()  # an account's channel
        number = message.sequence_num
        if number is not None:
            if self._last is not None and number != self._last + 1:
                self._lost += 1
                self._missing = self._last + 1
            self._last = number
        if message.channel not in _MARKET:
            return ()
        exchange_ms = None if message.timestamp is None else iso_ms(message.timestamp)
        return [record for event in message.events for record in self._of(event, number, exchange_ms, source)]

    def _of(self, event: _Event, number: int | None, exchange_ms: int | None, source: Source) -> Sequence[Record]:
        venue, time_ns = self.venue, source.time_ns
        if event.updates is not None:
            return (self._diff(event, number, exchange_ms, source),)
        if event.trades is not None:
            return [_trade(venue, row.product_id, row, time_ns) for row in event.trades]
        if event.candles is not None:
            # documented as "the candles channel: five-minute candles"
            return [_candle(venue, row.product_id or "", "FIVE_MINUTE", row, time_ns) for row in event.candles]
        return [
            Ticker(
                venue, row.product_id, time_ns, row.best_bid, row.best_bid_quantity, row.best_ask,
                row.best_ask_quantity, row.price, exchange_ms,
            )
            for row in event.tickers or ()
        ]  # fmt: skip

    def _diff(self, event: _Event, number: int | None, exchange_ms: int | None, source: Source) -> DepthDiff:
        symbol = event.product_id or ""
        known, lost = self._books.get(symbol, (None, self._lost))
        previous: int | None = known
        if known is not None and lost != self._lost:  # a message is missing since this book's last diff: name it
            previous = self._missing
        if number is not None:
            self._books[symbol] = number, self._lost
        bids: list[Level] = []
        asks: list[Level] = []
        for update in event.updates or ():
            (bids if update.side == "bid" else asks).append(Level(update.price_level, update.new_quantity))
        whole = event.type == "snapshot"
        return DepthDiff(
            self.venue, symbol, source.time_ns, tuple(bids), tuple(asks), None, number,
            None if whole else previous, None, exchange_ms, whole, stream="level2",
        )  # fmt: skip


def _trade(venue: str, symbol: str, row: _Trade | _RestTrade, time_ns: int) -> Trade:
    identity = None if row.trade_id is None else str(row.trade_id)
    return Trade(venue, symbol, time_ns, row.price, row.size, other_side(row.side), identity, iso_ms(row.time))


def _candle(venue: str, symbol: str, interval: str, row: _Candle, time_ns: int) -> Candle:
    return Candle(
        venue, symbol, time_ns, interval, int(row.start) * 1000, row.open, row.high, row.low, row.close, row.volume
    )


# Advanced Trade REST ----------------------------------------------------------------------------------------------


class _BookRow(msgspec.Struct):
    price: Decimal
    size: Decimal


class _Pricebook(msgspec.Struct):
    product_id: str
    bids: list[_BookRow]
    asks: list[_BookRow]
    time: str | None = None


class _RestTrade(msgspec.Struct):
    price: Decimal
    size: Decimal
    time: str
    side: str
    trade_id: str | int | None = None


class _Answer(msgspec.Struct):
    pricebook: _Pricebook | None = None
    trades: list[_RestTrade] | None = None
    candles: list[_Candle] | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


def advanced(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the book, trades or candles of a public answer of Advanced Trade."""
    answer = _ANSWER.decode(payload)
    time_ns = source.time_ns
    if answer.pricebook is not None:
        book = answer.pricebook
        return (
            OrderBook(
                venue, book.product_id, time_ns,
                tuple([Level(row.price, row.size) for row in book.bids]),
                tuple([Level(row.price, row.size) for row in book.asks]),
                exchange_ms=None if book.time is None else iso_ms(book.time),
            ),
        )  # fmt: skip
    symbol = _symbol(source)
    if answer.trades is not None:
        return [_trade(venue, symbol, row, time_ns) for row in answer.trades]
    interval = str(source.params.get("granularity", ""))
    return [_candle(venue, symbol, interval, row, time_ns) for row in answer.candles or ()]


def _symbol(source: Source) -> str:
    if source.symbol is None:
        raise ValueError("an answer of one product that names none")
    return source.symbol


# Exchange (GDAX, Pro) ---------------------------------------------------------------------------------------------


class _OldMessage(msgspec.Struct):
    type: str
    product_id: str | None = None
    bids: list[tuple[Decimal, Decimal]] | None = None
    asks: list[tuple[Decimal, Decimal]] | None = None
    changes: list[tuple[str, Decimal, Decimal]] | None = None
    time: str | None = None
    price: Decimal | None = None
    size: Decimal | None = None
    side: str | None = None
    trade_id: int | None = None
    best_bid: Decimal | None = None
    best_bid_size: Decimal | None = None
    best_ask: Decimal | None = None
    best_ask_size: Decimal | None = None


_OLD = msgspec.json.Decoder(_OldMessage)
_OLD_KINDS = frozenset(("snapshot", "l2update", "match", "last_match", "ticker"))


class _OldBook(msgspec.Struct):
    sequence: int
    bids: list[tuple[Decimal, Decimal, Any]]
    asks: list[tuple[Decimal, Decimal, Any]]
    time: str | None = None


class ExchangeFrames(Decoder):
    """One connection of Coinbase Exchange; its level2 channel carries nothing that a book could be checked by."""

    def read(self, payload: bytes, source: Source) -> Sequence[Record]:
        """Return depth diffs, trades and tickers."""
        try:
            said = _OLD.decode(payload)
        except msgspec.ValidationError:
            value = msgspec.json.decode(payload)
            if isinstance(value, dict) and value.get("type") in _OLD_KINDS:
                raise
            return ()
        if said.type not in _OLD_KINDS:
            return ()
        if said.product_id is None:
            raise ValueError(f"a {said.type} without product_id")
        exchange_ms = None if said.time is None else iso_ms(said.time)
        if said.type in ("snapshot", "l2update"):
            changes = said.changes or ()
            bids = [Level(*row) for row in said.bids or ()] + [Level(*row[1:]) for row in changes if row[0] == "buy"]
            asks = [Level(*row) for row in said.asks or ()] + [Level(*row[1:]) for row in changes if row[0] != "buy"]
            return (
                DepthDiff(
                    self.venue, said.product_id, source.time_ns, tuple(bids), tuple(asks), exchange_ms=exchange_ms,
                    snapshot=said.type == "snapshot", stream="level2",
                ),
            )  # fmt: skip
        if said.type == "ticker":
            return (
                Ticker(
                    self.venue, said.product_id, source.time_ns, said.best_bid, said.best_bid_size, said.best_ask,
                    said.best_ask_size, said.price, exchange_ms,
                ),
            )  # fmt: skip
        if said.price is None or said.size is None:
            raise ValueError(f"a {said.type} without price or size")
        return (
            Trade(
                self.venue, said.product_id, source.time_ns, said.price, said.size, other_side(said.side),
                None if said.trade_id is None else str(said.trade_id), exchange_ms,
            ),
        )  # fmt: skip


_OLD_BOOK = msgspec.json.Decoder(_OldBook)
_OLD_TRADES = msgspec.json.Decoder(list[_RestTrade])
_OLD_CANDLES = msgspec.json.Decoder(list[list[Any]], float_hook=Decimal)


def old_book(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the order book of `/products/<id>/book`, levels 1 and 2."""
    book = _OLD_BOOK.decode(payload)
    return (
        OrderBook(
            venue, _symbol(source), source.time_ns,
            tuple([Level(row[0], row[1]) for row in book.bids]),
            tuple([Level(row[0], row[1]) for row in book.asks]),
            book.sequence,
            None if book.time is None else iso_ms(book.time),
        ),
    )  # fmt: skip


def old_trades(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the trades of `/products/<id>/trades`, the newest first as Coinbase sends them."""
    symbol = _symbol(source)
    return [_trade(venue, symbol, row, source.time_ns) for row in _OLD_TRADES.decode(payload)]


def old_candles(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the candles of `/products/<id>/candles`: rows of time, low, high, open, close, volume."""
    symbol, interval = _symbol(source), str(source.params.get("granularity", ""))
    out = []
    for time, *numbers in _OLD_CANDLES.decode(payload):
        low, high, first, close, volume = map(Decimal, numbers)
        out.append(Candle(venue, symbol, source.time_ns, interval, time * 1000, first, high, low, close, volume))
    return out


_OLD_REST = {"book": old_book, "trades": old_trades, "candles": old_candles}


def decoder(venue: str, endpoint: str, websocket: bool) -> Decoder | None:
    """Return what reads an endpoint of Advanced Trade; None where it has no market data."""
    if websocket:
        return CoinbaseFrames(venue)
    last = endpoint.rstrip("/").rpartition("/")[2]
    if last == "product_book" or ("/products/" in endpoint and last in ("candles", "ticker")):
        return Rest(venue, advanced)
    return None


def old_decoder(venue: str, endpoint: str, websocket: bool) -> Decoder | None:
    """Return what reads an endpoint of Coinbase Exchange; None where it has no market data."""
    if websocket:
        return ExchangeFrames(venue)
    function = _OLD_REST.get(endpoint.rstrip("/").rpartition("/")[2]) if "/products/" in endpoint else None
    return None if function is None else Rest(venue, function)
