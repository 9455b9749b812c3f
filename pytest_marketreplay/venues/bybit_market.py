"""What Bybit's payloads say of the market: REST and WebSocket of version 5, and the old `/v2/public` answers.

Sources: Bybit V5 API, "Market", "WebSocket Stream", "Public", "Orderbook": `u` counts the diffs of a stream, and a new
snapshot replaces the local book; "Trade": `S` is the taker's side.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from pytest_marketreplay.market.decoding import NOTHING, Decoder, Rest, Source, number, side_of
from pytest_marketreplay.market.structs import Candle, DepthDiff, Level, OrderBook, Record, Ticker, Trade

Levels = tuple[Level, ...]


class _Book(msgspec.Struct):
    s: str
    b: Levels
    a: Levels
    u: int


class _Trade(msgspec.Struct):
    T: int
    s: str
    S: str
    v: Decimal
    p: Decimal
    i: str | int | None = None


class _Candle(msgspec.Struct):
    start: int
    interval: str
    open: Decimal
    close: Decimal
    high: Decimal
    low: Decimal
    volume: Decimal
    confirm: bool | None = None


class _Ticker(msgspec.Struct):
    symbol: str
    bid1Price: str = ""  # noqa: N815 - the fields' names on the wire; empty where there is none
    bid1Size: str = ""  # noqa: N815
    ask1Price: str = ""  # noqa: N815
    ask1Size: str = ""  # noqa: N815
    lastPrice: str = ""  # noqa: N815


class _Message(msgspec.Struct):
    topic: str | None = None
    type: str | None = None
    ts: int | None = None
    cts: int | None = None
    data: msgspec.Raw = NOTHING


_MESSAGE = msgspec.json.Decoder(_Message)
_BOOK = msgspec.json.Decoder(_Book)
_TRADES = msgspec.json.Decoder(list[_Trade])
_CANDLES = msgspec.json.Decoder(list[_Candle])
_TICKER = msgspec.json.Decoder(_Ticker)


class BybitFrames(Decoder):
    """One connection; spot, linear and inverse have one each, with books of their own."""

    def read(self, payload: bytes, source: Source) -> Sequence[Record]:
        """Return depth diffs, trades, candles and tickers."""
        try:
            message = _MESSAGE.decode(payload)
        except msgspec.ValidationError:
            if str(msgspec.json.decode(payload).get("topic", "")).partition(".")[0] in _TOPICS:
                raise
            return ()  # an account's topic
        if message.topic is None or not message.data:
            return ()
        read = _TOPICS.get(message.topic.partition(".")[0])
        return () if read is None else read(self.venue, message, bytes(message.data), source)


def _book(venue: str, message: _Message, data: bytes, source: Source) -> Sequence[Record]:
    book = _BOOK.decode(data)
    whole = message.type == "snapshot"
    first = None if whole else book.u
    return (
        DepthDiff(
            venue, book.s, source.time_ns, book.b, book.a, first, book.u, None, None, message.cts or message.ts, whole,
            stream=message.topic,
        ),
    )  # fmt: skip


def _trades(venue: str, message: _Message, data: bytes, source: Source) -> Sequence[Record]:
    return [
        Trade(
            venue, row.s, source.time_ns, row.p, row.v, side_of(row.S), None if row.i is None else str(row.i), row.T
        )
        for row in _TRADES.decode(data)
    ]  # fmt: skip


def _candles(venue: str, message: _Message, data: bytes, source: Source) -> Sequence[Record]:
    symbol = (message.topic or "").rpartition(".")[2]
    return [
        Candle(
            venue, symbol, source.time_ns, row.interval, row.start, row.open, row.high, row.low, row.close, row.volume,
            row.confirm,
        )
        for row in _CANDLES.decode(data)
    ]  # fmt: skip


def _tickers(venue: str, message: _Message, data: bytes, source: Source) -> Sequence[Record]:
    row = _TICKER.decode(data)
    return (_ticker(venue, row, source, message.ts),)


def _ticker(venue: str, row: _Ticker, source: Source, exchange_ms: int | None) -> Ticker:
    return Ticker(
        venue, row.symbol, source.time_ns, number(row.bid1Price), number(row.bid1Size), number(row.ask1Price),
        number(row.ask1Size), number(row.lastPrice), exchange_ms,
    )  # fmt: skip


_TOPICS = {"orderbook": _book, "publicTrade": _trades, "kline": _candles, "tickers": _tickers}


# REST -------------------------------------------------------------------------------------------------------------


class _RestTrade(msgspec.Struct):
    symbol: str
    price: Decimal
    size: Decimal
    side: str
    time: str
    execId: str | None = None  # noqa: N815


class _Result(msgspec.Struct):
    s: str | None = None
    b: Levels | None = None
    a: Levels | None = None
    u: int | None = None
    ts: int | None = None
    symbol: str | None = None
    list: Any = None


class _Answer(msgspec.Struct):
    retCode: int | None = None  # noqa: N815
    result: msgspec.Raw = NOTHING
    time: int | None = None


class _OldRow(msgspec.Struct):
    symbol: str
    price: Decimal
    size: Decimal
    side: str


_ANSWER = msgspec.json.Decoder(_Answer)
_RESULT = msgspec.json.Decoder(_Result)


def _result(payload: bytes) -> tuple[_Answer, _Result] | None:
    answer = _ANSWER.decode(payload)
    if answer.retCode or not answer.result:  # an error, which comes with HTTP 200
        return None
    return answer, _RESULT.decode(answer.result)


def book(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the order book of `/v5/market/orderbook`."""
    found = _result(payload)
    if found is None:
        return ()
    result = found[1]
    if result.s is None or result.b is None or result.a is None:
        raise ValueError("an order book without s, b or a")
    return (OrderBook(venue, result.s, source.time_ns, result.b, result.a, result.u, result.ts),)


def trades(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the trades of `/v5/market/recent-trade`, the newest first as Bybit sends them."""
    found = _result(payload)
    rows = msgspec.convert(found[1].list, list[_RestTrade]) if found else []
    return [
        Trade(venue, row.symbol, source.time_ns, row.price, row.size, side_of(row.side), row.execId, int(row.time))
        for row in rows
    ]


def candles(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the candles of `/v5/market/kline`, the newest first as Bybit sends them."""
    found = _result(payload)
    if found is None:
        return ()
    symbol, interval = found[1].symbol or source.symbol, str(source.params.get("interval", ""))
    if symbol is None:
        raise ValueError("candles of no symbol")
    out = []
    for start, *texts in found[1].list:
        first, high, low, close, volume = map(Decimal, texts[:5])
        out.append(Candle(venue, symbol, source.time_ns, interval, int(start), first, high, low, close, volume))
    return out


def tickers(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the tickers of `/v5/market/tickers`."""
    found = _result(payload)
    rows = msgspec.convert(found[1].list, list[_Ticker]) if found else []
    return [_ticker(venue, row, source, found[0].time if found else None) for row in rows]


def old_book(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the order book of `/v2/public/orderBook/L2`: one list of both sides."""
    answer = _ANSWER.decode(payload)
    rows = msgspec.json.decode(answer.result, type=list[_OldRow] | None) if answer.result else None
    if not rows:
        return ()
    bids, asks = (
        tuple([Level(row.price, row.size) for row in rows if row.side == side]) for side in ("Buy", "Sell")
    )  # fmt: skip
    return (OrderBook(venue, rows[0].symbol, source.time_ns, bids, asks),)


_REST = {
    "/v5/market/orderbook": book,
    "/v5/market/recent-trade": trades,
    "/v5/market/kline": candles,
    "/v5/market/tickers": tickers,
    "/v2/public/orderBook/L2": old_book,
}


def decoder(venue: str, endpoint: str, websocket: bool) -> Decoder | None:
    """Return what reads an endpoint; None where it has no market data."""
    if websocket:
        return BybitFrames(venue)
    function = _REST.get(endpoint)
    return None if function is None else Rest(venue, function)
