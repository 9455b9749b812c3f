"""What the payloads of the Binance family say of the market: REST answers, raw and combined streams.

Sources: Binance Spot API, "Market Data endpoints", "WebSocket Streams", "How to manage a local order book correctly";
USD-M Futures, "Market Data Endpoints", "WebSocket Market Streams". `m` is true where the buyer was the maker, so the taker
sold.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from pytest_marketreplay.market.decoding import Decoder, Rest, Source
from pytest_marketreplay.market.structs import Candle, DepthDiff, Level, OrderBook, Record, Ticker, Trade

Levels = tuple[Level, ...]


class _Depth(msgspec.Struct):
    lastUpdateId: int  # noqa: N815 - the field's name on the wire
    bids: Levels
    asks: Levels
    E: int | None = None
    T: int | None = None


class _OldDepth(msgspec.Struct):
    """Until 2019 a level had a third, empty element."""

    lastUpdateId: int  # noqa: N815
    bids: list[tuple[Decimal, Decimal, Any]]
    asks: list[tuple[Decimal, Decimal, Any]]


class _Kline(msgspec.Struct):
    t: int
    i: str
    o: Decimal
    h: Decimal
    l: Decimal  # noqa: E741 - the field's name on the wire
    c: Decimal
    v: Decimal
    n: int | None = None
    x: bool | None = None


class _Event(msgspec.Struct):
    """Every event of interest and the envelope of a combined stream in one: one letter has several types."""

    stream: str | None = None
    data: _Event | list[_Event] | None = None
    e: str | None = None
    s: str | None = None
    E: int | None = None
    T: int | None = None
    U: int | None = None
    u: int | None = None
    pu: int | None = None
    b: Levels | Decimal | None = None
    a: Levels | Decimal | int | None = None
    B: Decimal | None = None
    A: Decimal | None = None
    c: Decimal | None = None
    p: Decimal | None = None
    q: Decimal | None = None
    t: int | None = None
    m: bool | None = None
    k: _Kline | None = None
    lastUpdateId: int | None = None  # noqa: N815
    bids: Levels | None = None
    asks: Levels | None = None


_EVENT = msgspec.json.Decoder(_Event | list[_Event])
_DEPTH = msgspec.json.Decoder(_Depth)
_KNOWN = frozenset(("depthUpdate", "trade", "aggTrade", "kline", "bookTicker", "24hrTicker"))


class BinanceFrames(Decoder):
    """One connection; the name of a raw stream stands in the path of its URL."""

    joins = True

    def __init__(self, venue: str, stream: str | None = None) -> None:
        super().__init__(venue)
        self._stream = stream

    def read(self, payload: bytes, source: Source) -> Sequence[Record]:
        """Return depth diffs, partial books, trades, candles and tickers."""
        try:
            event = _EVENT.decode(payload)
        except msgspec.ValidationError:
            # an account event has the same letters with other types; only what is named as market data must fit
            if _names(payload).isdisjoint(_KNOWN):
                return ()
            raise
        stream = self._stream
        if isinstance(event, _Event) and event.data is not None:
            stream, event = event.stream or stream, event.data
        if isinstance(event, list):
            return [record for one in event for record in self._of(one, stream, source)]
        return self._of(event, stream, source)

    def _of(self, event: _Event, stream: str | None, source: Source) -> Sequence[Record]:
        kind = event.e
        if kind == "depthUpdate":
            return (_diff(self.venue, event, stream, source),)
        symbol = event.s or _stream_symbol(stream) or source.symbol
        if symbol is None:
            return ()
        if kind in ("trade", "aggTrade"):
            return (_trade(self.venue, symbol, event, source),)
        if kind == "kline":
            return (_candle(self.venue, symbol, event.k, source),)
        # spot's bookTicker and partial books have no `e`
        if kind in ("bookTicker", "24hrTicker") or (kind is None and event.B is not None and event.A is not None):
            return (_ticker(self.venue, symbol, event, source),)
        if event.bids is not None and event.asks is not None and event.lastUpdateId is not None:
            return (
                OrderBook(
                    self.venue,
                    symbol,
                    source.time_ns,
                    event.bids,
                    event.asks,
                    event.lastUpdateId,
                    event.T,
                    stream=stream,
                ),
            )
        return ()


def _names(payload: bytes) -> frozenset[Any]:
    value = msgspec.json.decode(payload)
    if isinstance(value, dict) and isinstance(value.get("data"), dict | list):
        value = value["data"]
    events = value if isinstance(value, list) else [value]
    return frozenset(name for event in events if isinstance(event, dict) and isinstance(name := event.get("e"), str))


def _stream_symbol(stream: str | None) -> str | None:
    if not stream or stream[0] == "!" or "@" not in stream:
        return None
    return stream.partition("@")[0].upper()


def _diff(venue: str, event: _Event, stream: str | None, source: Source) -> DepthDiff:
    bids, asks = event.b, event.a
    if event.s is None or event.U is None or event.u is None or type(bids) is not tuple or type(asks) is not tuple:
        raise ValueError("a depthUpdate without s, U, u, b or a")
    return DepthDiff(
        venue, event.s, source.time_ns, bids, asks, event.U, event.u, event.pu, None, event.T or event.E, stream=stream
    )


def _trade(venue: str, symbol: str, event: _Event, source: Source) -> Trade:
    if event.p is None or event.q is None:
        raise ValueError(f"a {event.e} without p or q")
    identity = event.t if event.e == "trade" else event.a
    side = None if event.m is None else "sell" if event.m else "buy"
    return Trade(
        venue,
        symbol,
        source.time_ns,
        event.p,
        event.q,
        side,
        None if identity is None else str(identity),
        event.T or event.E,
    )


def _candle(venue: str, symbol: str, kline: _Kline | None, source: Source) -> Candle:
    if kline is None:
        raise ValueError("a kline without k")
    return Candle(
        venue,
        symbol,
        source.time_ns,
        kline.i,
        kline.t,
        kline.o,
        kline.h,
        kline.l,
        kline.c,
        kline.v,
        kline.x,
        kline.n,
    )


def _ticker(venue: str, symbol: str, event: _Event, source: Source) -> Ticker:
    bid, ask = event.b, event.a
    if isinstance(bid, tuple) or isinstance(ask, tuple):
        raise ValueError("a ticker whose b or a is a list")  # noqa: TRY004
    return Ticker(
        venue,
        symbol,
        source.time_ns,
        bid,
        event.B,
        None if ask is None else Decimal(ask),
        event.A,
        event.c,
        event.T or event.E,
    )


# REST -------------------------------------------------------------------------------------------------------------


class _RestTrade(msgspec.Struct):
    price: Decimal
    qty: Decimal
    time: int
    isBuyerMaker: bool  # noqa: N815
    id: int


class _RestAggregate(msgspec.Struct):
    a: int
    p: Decimal
    q: Decimal
    T: int
    m: bool


class _RestTicker(msgspec.Struct):
    symbol: str
    bidPrice: Decimal | None = None  # noqa: N815
    bidQty: Decimal | None = None  # noqa: N815
    askPrice: Decimal | None = None  # noqa: N815
    askQty: Decimal | None = None  # noqa: N815
    lastPrice: Decimal | None = None  # noqa: N815
    time: int | None = None
    closeTime: int | None = None  # noqa: N815


_TRADES = msgspec.json.Decoder(list[_RestTrade])
_AGGREGATES = msgspec.json.Decoder(list[_RestAggregate])
_KLINES = msgspec.json.Decoder(
    list[tuple[int, Decimal, Decimal, Decimal, Decimal, Decimal, int, Any, int, Any, Any, Any]]
)
_TICKERS = msgspec.json.Decoder(list[_RestTicker] | _RestTicker)


def depth(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the order book of `/depth`."""
    try:
        answer = _DEPTH.decode(payload)
        bids, asks, exchange_ms = answer.bids, answer.asks, answer.T or answer.E
    except msgspec.ValidationError:
        old = msgspec.json.decode(payload, type=_OldDepth)
        answer = _Depth(old.lastUpdateId, (), ())
        bids, asks = (tuple(Level(row[0], row[1]) for row in rows) for rows in (old.bids, old.asks))
        exchange_ms = None
    symbol = _symbol(source)
    return (OrderBook(venue, symbol, source.time_ns, bids, asks, answer.lastUpdateId, exchange_ms),)


def trades(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the trades of `/trades` and `/historicalTrades`, the oldest first as Binance sends them."""
    symbol = _symbol(source)
    return [
        Trade(
            venue,
            symbol,
            source.time_ns,
            row.price,
            row.qty,
            "sell" if row.isBuyerMaker else "buy",
            str(row.id),
            row.time,
        )
        for row in _TRADES.decode(payload)
    ]


def aggregates(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the trades of `/aggTrades`: fills of one taker order at one price count as one."""
    symbol = _symbol(source)
    return [
        Trade(venue, symbol, source.time_ns, row.p, row.q, "sell" if row.m else "buy", str(row.a), row.T)
        for row in _AGGREGATES.decode(payload)
    ]


def klines(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the candles of `/klines`; the last may still be open, which the answer does not say."""
    symbol, interval = _symbol(source), str(source.params.get("interval", ""))
    return [
        Candle(
            venue, symbol, source.time_ns, interval, row[0], row[1], row[2], row[3], row[4], row[5], trades=row[8]
        )
        for row in _KLINES.decode(payload)
    ]  # fmt: skip


def tickers(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the tickers of `/ticker/bookTicker` and `/ticker/24hr`, of one symbol or of all."""
    answer = _TICKERS.decode(payload)
    return [
        Ticker(
            venue, row.symbol, source.time_ns, row.bidPrice, row.bidQty, row.askPrice, row.askQty, row.lastPrice,
            row.time or row.closeTime,
        )
        for row in (answer if isinstance(answer, list) else [answer])
    ]  # fmt: skip


def _symbol(source: Source) -> str:
    if source.symbol is None:
        raise ValueError("an answer of one symbol that names none")
    return source.symbol


_REST = {
    "depth": depth,
    "trades": trades,
    "historicalTrades": trades,
    "aggTrades": aggregates,
    "klines": klines,
    "uiKlines": klines,
    "bookTicker": tickers,
    "24hr": tickers,
}


def decoder(venue: str, endpoint: str, websocket: bool) -> Decoder | None:
    """Return what reads an endpoint of the family; None where it has no market data."""
    if websocket:
        stream = endpoint.partition("/ws/")[2]
        return BinanceFrames(venue, stream if stream and "/" not in stream else None)
    function = _REST.get(endpoint.rstrip("/").rpartition("/")[2])
    return None if function is None else Rest(venue, function)
