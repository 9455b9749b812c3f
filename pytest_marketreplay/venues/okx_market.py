"""What OKX's payloads say of the market: version 5, and version 3 (OKEx), whose frames were deflated.

Sources: OKX V5 API, "Order Book Trading", "Market Data": channels books, books5, bbo-tbt, trades, candles, tickers; "Order
book channel" for `seqId`, `prevSeqId` and the checksum. The `checksum` of an answer that has a `seqId` and says 0 is none.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from pytest_marketreplay.market import checksum
from pytest_marketreplay.market.decoding import NOTHING, Decoder, Rest, Source, iso_ms, number, side_of
from pytest_marketreplay.market.structs import Candle, DepthDiff, Level, OrderBook, Record, Ticker, Trade


class _Row(NamedTuple):
    """A level: price, size, and how many orders; version 5 has a field in between that is out of use."""

    price: Decimal
    size: Decimal
    third: Any = None
    fourth: Any = None


class _Book(msgspec.Struct):
    asks: list[_Row]
    bids: list[_Row]
    ts: str | None = None
    timestamp: str | None = None
    instrument_id: str | None = None
    checksum: int | None = None
    seqId: int | None = None  # noqa: N815 - the fields' names on the wire
    prevSeqId: int | None = None  # noqa: N815


class _Trade(msgspec.Struct):
    side: str
    px: Decimal | None = None
    sz: Decimal | None = None
    ts: str | None = None
    tradeId: str | None = None  # noqa: N815
    instId: str | None = None  # noqa: N815
    # version 3
    price: Decimal | None = None
    size: Decimal | None = None
    timestamp: str | None = None
    trade_id: str | None = None
    instrument_id: str | None = None


class _Ticker(msgspec.Struct):
    instId: str  # noqa: N815
    last: str = ""
    bidPx: str = ""  # noqa: N815
    bidSz: str = ""  # noqa: N815
    askPx: str = ""  # noqa: N815
    askSz: str = ""  # noqa: N815
    ts: str | None = None


class _Candle3(msgspec.Struct):
    candle: list[str]
    instrument_id: str


class _Channel(msgspec.Struct):
    channel: str | None = None
    instId: str | None = None  # noqa: N815


class _Message(msgspec.Struct):
    arg: _Channel | None = None
    table: str | None = None
    """Version 3: `spot/depth_l2_tbt`."""
    action: str | None = None
    data: msgspec.Raw = NOTHING


_MESSAGE = msgspec.json.Decoder(_Message)
_BOOKS = msgspec.json.Decoder(list[_Book])
_BOOK = msgspec.json.Decoder(_Book)
_TRADES = msgspec.json.Decoder(list[_Trade])
_TICKERS = msgspec.json.Decoder(list[_Ticker])
_CANDLES = msgspec.json.Decoder(list[list[str]])
_CANDLES_3 = msgspec.json.Decoder(list[_Candle3])


class OkxFrames(Decoder):
    """One connection, of either version."""

    def __init__(self, venue: str) -> None:
        super().__init__(venue, checksum.okx)

    def read(self, payload: bytes, source: Source) -> Sequence[Record]:
        """Return depth diffs, books, trades, candles and tickers."""
        if payload[:1] not in (b"{", b"[") and payload not in (b"pong", b"ping"):
            payload = _inflated(payload)
        if payload in (b"pong", b"ping"):
            return ()
        message = _MESSAGE.decode(payload)
        if not message.data:
            return ()
        data = bytes(message.data)
        if message.table is not None:
            return self._third(message.table.rpartition("/")[2], message.table, message.action, data, source)
        arg = message.arg
        if arg is None or arg.channel is None or arg.instId is None:
            return ()  # an account's channel names no instrument, or a whole family of them
        channel = arg.channel
        if channel.startswith(("books", "bbo")):
            return [self._book(book, arg.instId, channel, message.action, source) for book in _BOOKS.decode(data)]
        if channel in ("trades", "trades-all"):
            return [_trade(self.venue, row, arg.instId, source) for row in _TRADES.decode(data)]
        if channel.startswith("candle"):
            return [_candle(self.venue, row, arg.instId, channel[6:], source) for row in _CANDLES.decode(data)]
        if channel == "tickers":
            return [_ticker(self.venue, row, source) for row in _TICKERS.decode(data)]
        return ()

    def _third(self, kind: str, table: str, action: str | None, data: bytes, source: Source) -> Sequence[Record]:
        if kind.startswith("depth"):
            books = _BOOKS.decode(data)
            return [self._book(book, _named(book.instrument_id, source), table, action, source) for book in books]
        if kind == "trade":
            rows = _TRADES.decode(data)
            return [_trade(self.venue, row, _named(row.instrument_id, source), source) for row in rows]
        if kind.startswith("candle"):
            return [
                _candle(self.venue, row.candle, row.instrument_id, kind[6:], source) for row in _CANDLES_3.decode(data)
            ]
        return ()

    def _book(
        self, book: _Book, symbol: str, channel: str, action: str | None, source: Source
    ) -> DepthDiff | OrderBook:
        bids, asks = _levels(book.bids), _levels(book.asks)
        if action is None:  # books5, bbo-tbt, depth5: the best levels again and again, and no diffs
            return OrderBook(
                self.venue, symbol, source.time_ns, bids, asks, book.seqId, _time(book), stream=f"{channel}:{symbol}"
            )
        whole = action in ("snapshot", "partial")
        crc = book.checksum
        if crc == 0 and book.seqId is not None:
            crc = None
        return DepthDiff(
            self.venue, symbol, source.time_ns, bids, asks, None, book.seqId,
            None if whole else book.prevSeqId,
            None if crc is None else crc & 0xFFFFFFFF,
            _time(book), whole, stream=f"{channel}:{symbol}",
        )  # fmt: skip


def _inflated(payload: bytes) -> bytes:
    """Unpack a binary frame of version 3: raw deflate."""
    try:
        return zlib.decompress(payload, -zlib.MAX_WBITS)
    except zlib.error as error:
        raise ValueError(f"neither JSON nor deflated: {error}") from None


def _levels(rows: list[_Row]) -> tuple[Level, ...]:
    return tuple([Level(row[0], row[1]) for row in rows])


def _named(symbol: str | None, source: Source) -> str:
    found = symbol or source.symbol
    if found is None:
        raise ValueError("a payload of one instrument that names none")
    return found


def _time(said: _Book | _Trade) -> int | None:
    if said.ts is not None:
        return int(said.ts)
    return None if said.timestamp is None else iso_ms(said.timestamp)


def _trade(venue: str, row: _Trade, symbol: str, source: Source) -> Trade:
    price = row.px if row.px is not None else row.price
    size = row.sz if row.sz is not None else row.size
    if price is None or size is None:
        raise ValueError("a trade without price or size")
    return Trade(
        venue, symbol, source.time_ns, price, size, side_of(row.side), row.tradeId or row.trade_id, _time(row)
    )  # fmt: skip


def _candle(venue: str, row: list[str], symbol: str, interval: str, source: Source) -> Candle:
    open_ms = int(row[0]) if row[0].isdigit() else iso_ms(row[0])
    closed = row[8] == "1" if len(row) > 8 else None
    first, high, low, close, volume = map(Decimal, row[1:6])
    return Candle(venue, symbol, source.time_ns, interval, open_ms, first, high, low, close, volume, closed)


def _ticker(venue: str, row: _Ticker, source: Source) -> Ticker:
    return Ticker(
        venue, row.instId, source.time_ns, number(row.bidPx), number(row.bidSz), number(row.askPx), number(row.askSz),
        number(row.last), None if row.ts is None else int(row.ts),
    )  # fmt: skip


# REST -------------------------------------------------------------------------------------------------------------


class _Answer(msgspec.Struct):
    code: str = "0"
    data: msgspec.Raw = NOTHING


_ANSWER = msgspec.json.Decoder(_Answer)


def _data(payload: bytes) -> bytes:
    answer = _ANSWER.decode(payload)
    return b"[]" if answer.code != "0" or not answer.data else bytes(answer.data)


def _order_book(venue: str, book: _Book, source: Source) -> OrderBook:
    return OrderBook(
        venue, _named(None, source), source.time_ns, _levels(book.bids), _levels(book.asks), book.seqId, _time(book)
    )  # fmt: skip


def books(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the order book of `/api/v5/market/books` and `books-full`."""
    return [_order_book(venue, book, source) for book in _BOOKS.decode(_data(payload))]


def trades(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the trades of `/api/v5/market/trades`, the newest first as OKX sends them."""
    rows = _TRADES.decode(_data(payload))
    return [_trade(venue, row, _named(row.instId, source), source) for row in rows]


def candles(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the candles of `/api/v5/market/candles`, the newest first; `bar` is 1m where the request did not say it."""
    symbol, interval = _named(None, source), str(source.params.get("bar", "1m"))
    return [_candle(venue, row, symbol, interval, source) for row in _CANDLES.decode(_data(payload))]


def tickers(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the tickers of `/api/v5/market/ticker` and `tickers`."""
    return [_ticker(venue, row, source) for row in _TICKERS.decode(_data(payload))]


def old_book(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the order book of version 3, `/api/spot/v3/instruments/<id>/book`."""
    return (_order_book(venue, _BOOK.decode(payload), source),)


def old_trades(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the trades of version 3, the newest first."""
    return [_trade(venue, row, _named(row.instrument_id, source), source) for row in _TRADES.decode(payload)]


def old_candles(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the candles of version 3; `granularity` is in seconds, 60 where the request did not say it."""
    symbol, interval = _named(None, source), str(source.params.get("granularity", "60"))
    return [_candle(venue, row, symbol, interval, source) for row in _CANDLES.decode(payload)]


_REST = {
    "/api/v5/market/books": books,
    "/api/v5/market/books-full": books,
    "/api/v5/market/trades": trades,
    "/api/v5/market/history-trades": trades,
    "/api/v5/market/candles": candles,
    "/api/v5/market/history-candles": candles,
    "/api/v5/market/ticker": tickers,
    "/api/v5/market/tickers": tickers,
}
_OLD_REST = {"book": old_book, "trades": old_trades, "candles": old_candles}


def decoder(venue: str, endpoint: str, websocket: bool) -> Decoder | None:
    """Return what reads an endpoint; None where it has no market data."""
    if websocket:
        return OkxFrames(venue)
    if "/v3/instruments/" in endpoint:
        function = _OLD_REST.get(endpoint.rstrip("/").rpartition("/")[2])
    else:
        function = _REST.get(endpoint)
    return None if function is None else Rest(venue, function)
