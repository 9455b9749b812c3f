"""What Kraken's payloads say of the market: REST answers, WebSocket v1 and v2.

Sources: Kraken API documentation, "Spot REST", "Market Data"; "Spot WebSockets v1" and "v2", channels book, trade, ohlc and
ticker; "Book checksum". A book keeps the subscribed number of levels: what falls off its end is not sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from pytest_marketreplay.market import checksum
from pytest_marketreplay.market.decoding import NOTHING, Decoder, Rest, Source, iso_ms, seconds_ms, side_of
from pytest_marketreplay.market.structs import Candle, DepthDiff, Level, OrderBook, Record, Ticker, Trade
from pytest_marketreplay.venues.kraken import pair_name

_DEPTHS = frozenset((10, 25, 100, 500, 1000))


class _Row(NamedTuple):
    """A level of WebSocket v1: price, volume, time, and `r` where it is republished."""

    price: Decimal
    size: Decimal
    time: str
    flag: str = ""


class _Part(msgspec.Struct):
    a: list[_Row] = []
    b: list[_Row] = []
    as_: list[_Row] | None = msgspec.field(default=None, name="as")
    bs: list[_Row] | None = None
    c: str | None = None


class _BookRow(msgspec.Struct):
    price: Decimal
    qty: Decimal


class _Book(msgspec.Struct):
    symbol: str
    bids: list[_BookRow] = []
    asks: list[_BookRow] = []
    checksum: int | None = None
    timestamp: str | None = None


class _TradeRow(msgspec.Struct):
    symbol: str
    side: str
    price: Decimal
    qty: Decimal
    timestamp: str
    trade_id: int | None = None


class _CandleRow(msgspec.Struct):
    symbol: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    interval_begin: str
    interval: int
    trades: int | None = None


class _TickerRow(msgspec.Struct):
    symbol: str
    bid: Decimal | None = None
    bid_qty: Decimal | None = None
    ask: Decimal | None = None
    ask_qty: Decimal | None = None
    last: Decimal | None = None


class _Message(msgspec.Struct):
    """A message of WebSocket v2; an event of v1 and an acknowledgement have no channel."""

    channel: str | None = None
    type: str | None = None
    data: msgspec.Raw = NOTHING


_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_PART = msgspec.json.Decoder(_Part)
_TEXT = msgspec.json.Decoder(str)
_MESSAGE = msgspec.json.Decoder(_Message)
_BOOKS = msgspec.json.Decoder(list[_Book])
_TRADES = msgspec.json.Decoder(list[_TradeRow])
_CANDLES = msgspec.json.Decoder(list[_CandleRow])
_TICKERS = msgspec.json.Decoder(list[_TickerRow])
_TRADE_LISTS = msgspec.json.Decoder(list[tuple[Decimal, Decimal, str, str, str, str]])
_OHLC = msgspec.json.Decoder(tuple[str, str, Decimal, Decimal, Decimal, Decimal, Any, Decimal, int])
_TICKER = msgspec.json.Decoder(dict[str, list[Any]])


def _name(pair: str) -> str:
    return pair_name(pair) or pair


class KrakenFrames(Decoder):
    """One connection, of either version: v1 sends lists, v2 objects."""

    def __init__(self, venue: str) -> None:
        super().__init__(venue, checksum.kraken)
        self._depths: dict[str, int | None] = {}

    def read(self, payload: bytes, source: Source) -> Sequence[Record]:
        """Return depth diffs, trades, candles and tickers."""
        if payload.lstrip()[:1] == b"[":
            return self._first(payload, source)
        message = _MESSAGE.decode(payload)
        if not message.data:
            return ()
        data = bytes(message.data)
        if message.channel == "book":
            return [self._book(row, message.type == "snapshot", source) for row in _BOOKS.decode(data)]
        venue, time_ns = self.venue, source.time_ns
        if message.channel == "trade":
            return [
                Trade(
                    venue, _name(row.symbol), time_ns, row.price, row.qty, side_of(row.side),
                    None if row.trade_id is None else str(row.trade_id), iso_ms(row.timestamp),
                )
                for row in _TRADES.decode(data)
            ]  # fmt: skip
        if message.channel == "ohlc":
            return [
                Candle(
                    venue, _name(row.symbol), time_ns, str(row.interval), iso_ms(row.interval_begin), row.open, row.high,
                    row.low, row.close, row.volume, trades=row.trades,
                )
                for row in _CANDLES.decode(data)
            ]  # fmt: skip
        if message.channel == "ticker":
            return [
                Ticker(venue, _name(row.symbol), time_ns, row.bid, row.bid_qty, row.ask, row.ask_qty, row.last)
                for row in _TICKERS.decode(data)
            ]
        return ()

    def _book(self, row: _Book, whole: bool, source: Source) -> DepthDiff:
        symbol = _name(row.symbol)
        if whole:
            most = max(len(row.bids), len(row.asks))
            # the snapshot does not say the depth that was subscribed; a full one has exactly so many levels
            self._depths[symbol] = most if most in _DEPTHS else None
        return DepthDiff(
            self.venue,
            symbol,
            source.time_ns,
            tuple([Level(level.price, level.qty) for level in row.bids]),
            tuple([Level(level.price, level.qty) for level in row.asks]),
            checksum=row.checksum,
            exchange_ms=None if row.timestamp is None else iso_ms(row.timestamp),
            snapshot=whole,
            depth=self._depths.get(symbol),
            stream="book",
        )

    def _first(self, payload: bytes, source: Source) -> Sequence[Record]:
        parts = _LIST.decode(payload)
        if len(parts) < 4:  # the account's channels: openOrders, ownTrades
            return ()
        pair, channel = _TEXT.decode(parts[-1]), _TEXT.decode(parts[-2])
        kind, _, depth = channel.partition("-")
        symbol, venue, time_ns = _name(pair), self.venue, source.time_ns
        if kind == "book":
            return (self._first_book([_PART.decode(part) for part in parts[1:-2]], symbol, channel, source),)
        if kind == "trade":
            return [
                Trade(venue, symbol, time_ns, row[0], row[1], side_of(row[3]), exchange_ms=seconds_ms(row[2]))
                for row in _TRADE_LISTS.decode(parts[1])
            ]
        if kind == "ohlc":
            row = _OHLC.decode(parts[1])
            open_ms = seconds_ms(row[1]) - int(depth) * 60_000  # `etime` is the end of the interval
            return (Candle(venue, symbol, time_ns, depth, open_ms, *row[2:6], row[7], trades=row[8]),)
        if kind == "ticker":
            said = _TICKER.decode(parts[1])
            bid, ask = said["b"], said["a"]
            return (
                Ticker(
                    venue, symbol, time_ns, Decimal(bid[0]), Decimal(bid[2]), Decimal(ask[0]), Decimal(ask[2]),
                    Decimal(said["c"][0]),
                ),
            )  # fmt: skip
        return ()

    def _first_book(self, parts: list[_Part], symbol: str, channel: str, source: Source) -> DepthDiff:
        bids: list[_Row] = []
        asks: list[_Row] = []
        whole, crc = False, None
        for part in parts:  # a message that changes both sides has a part for each
            whole = whole or part.as_ is not None or part.bs is not None
            bids += part.bs or part.b
            asks += part.as_ or part.a
            crc = part.c or crc
        # the rows of an update are in the order of time, those of a snapshot in that of price
        last = (*bids, *asks) if whole else (*bids[-1:], *asks[-1:])
        latest = max((row.time for row in last), default=None)
        depth = channel.partition("-")[2]
        return DepthDiff(
            self.venue,
            symbol,
            source.time_ns,
            tuple([Level(row[0], row[1]) for row in bids]),
            tuple([Level(row[0], row[1]) for row in asks]),
            checksum=None if crc is None else int(crc),
            exchange_ms=None if latest is None else seconds_ms(latest),
            snapshot=whole,
            depth=int(depth) if depth else None,
            stream=channel,
        )


# REST -------------------------------------------------------------------------------------------------------------


class _Answer(msgspec.Struct):
    error: list[str] = []
    result: dict[str, msgspec.Raw] | None = None


class _RestDepth(msgspec.Struct):
    asks: list[tuple[Decimal, Decimal, int]]
    bids: list[tuple[Decimal, Decimal, int]]


class _RestTicker(msgspec.Struct):
    a: tuple[Decimal, Any, Decimal]
    b: tuple[Decimal, Any, Decimal]
    c: tuple[Decimal, Any]


_ANSWER = msgspec.json.Decoder(_Answer)
_DEPTH = msgspec.json.Decoder(_RestDepth)
_TRADE_ROWS = msgspec.json.Decoder(list[list[Any]], float_hook=Decimal)
_OHLC_ROWS = msgspec.json.Decoder(list[tuple[int, Decimal, Decimal, Decimal, Decimal, Any, Decimal, int]])
_TICKER_ROW = msgspec.json.Decoder(_RestTicker)


def _pairs(payload: bytes) -> list[tuple[str, bytes]]:
    """Return each pair of an answer and what is said of it; `last` is where the next page begins."""
    answer = _ANSWER.decode(payload)
    if answer.result is None:
        if answer.error:
            return []
        raise ValueError("an answer without result and without error")
    return [(_name(pair), bytes(raw)) for pair, raw in answer.result.items() if pair != "last"]


def depth(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the order book of `/public/Depth`; Kraken gives no update id with it."""
    out = []
    for symbol, raw in _pairs(payload):
        book = _DEPTH.decode(raw)
        latest = max((row[2] for row in (*book.bids, *book.asks)), default=None)
        out.append(
            OrderBook(
                venue, symbol, source.time_ns,
                tuple([Level(row[0], row[1]) for row in book.bids]),
                tuple([Level(row[0], row[1]) for row in book.asks]),
                exchange_ms=None if latest is None else latest * 1000,
            )
        )  # fmt: skip
    return out


def trades(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the trades of `/public/Trades`; older recordings have no trade id."""
    return [
        Trade(
            venue, symbol, source.time_ns, Decimal(row[0]), Decimal(row[1]), side_of(row[3]),
            str(row[6]) if len(row) > 6 else None, seconds_ms(row[2]),
        )
        for symbol, raw in _pairs(payload)
        for row in _TRADE_ROWS.decode(raw)
    ]  # fmt: skip


def candles(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the candles of `/public/OHLC`; the interval is in minutes, 1 where the request did not say it."""
    interval = str(source.params.get("interval", "1"))
    return [
        Candle(venue, symbol, source.time_ns, interval, row[0] * 1000, *row[1:5], row[6], trades=row[7])
        for symbol, raw in _pairs(payload)
        for row in _OHLC_ROWS.decode(raw)
    ]


def tickers(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the tickers of `/public/Ticker`."""
    out = []
    for symbol, raw in _pairs(payload):
        row = _TICKER_ROW.decode(raw)
        out.append(Ticker(venue, symbol, source.time_ns, row.b[0], row.b[2], row.a[0], row.a[2], row.c[0]))
    return out


_REST = {"/public/Depth": depth, "/public/Trades": trades, "/public/OHLC": candles, "/public/Ticker": tickers}


def decoder(venue: str, endpoint: str, websocket: bool) -> Decoder | None:
    """Return what reads an endpoint (without its version); None where it has no market data."""
    if websocket:
        return KrakenFrames(venue)
    function = _REST.get(endpoint)
    return None if function is None else Rest(venue, function)
