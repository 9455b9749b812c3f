"""What Bitstamp's payloads say of the market: REST answers and WebSocket channels of version 2.

Sources: Bitstamp HTTP API, "Market info"; Bitstamp WebSocket API v2, "Live order book", "Live full order book", "Live
ticker". A diff says no id but its `microtimestamp`, so a lost one cannot be seen: only the order is checked. A trade's
`type` is the taker's side, 0 for buy and 1 for sell.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from pytest_marketreplay.market.decoding import NOTHING, Decoder, Rest, Source, seconds_ms
from pytest_marketreplay.market.structs import Candle, DepthDiff, Level, OrderBook, Record, Ticker, Trade

Levels = tuple[Level, ...]
_SIDES = {"0": "buy", "1": "sell"}


class _Book(msgspec.Struct):
    bids: Levels
    asks: Levels
    timestamp: str | None = None
    microtimestamp: str | None = None


class _DetailedBook(msgspec.Struct):
    """`group=2`: each row is one order, with its id."""

    bids: list[tuple[Decimal, Decimal, str]]
    asks: list[tuple[Decimal, Decimal, str]]
    timestamp: str | None = None
    microtimestamp: str | None = None


class _Trade(msgspec.Struct):
    id: int
    type: int
    price_str: Decimal
    amount_str: Decimal
    microtimestamp: str


class _Message(msgspec.Struct):
    event: str | None = None
    channel: str | None = None
    data: msgspec.Raw = NOTHING


_MESSAGE = msgspec.json.Decoder(_Message)
_BOOK = msgspec.json.Decoder(_Book)
_TRADE = msgspec.json.Decoder(_Trade)


def _micro(said: _Book | _DetailedBook) -> int | None:
    return None if said.microtimestamp is None else int(said.microtimestamp)


def _milli(said: _Book | _DetailedBook) -> int | None:
    micro = _micro(said)
    if micro is not None:
        return micro // 1000
    return None if said.timestamp is None else seconds_ms(said.timestamp)


class BitstampFrames(Decoder):
    """One connection; a channel is a name and a symbol: `diff_order_book_btcusd`."""

    joins = True

    def read(self, payload: bytes, source: Source) -> Sequence[Record]:
        """Return depth diffs, the best hundred levels, and trades."""
        message = _MESSAGE.decode(payload)
        if message.channel is None or not message.data or message.event not in ("data", "trade"):
            return ()
        kind, _, pair = message.channel.rpartition("_")
        symbol, venue, data = pair.upper(), self.venue, message.data
        if kind == "diff_order_book":
            book = _BOOK.decode(data)
            return (
                DepthDiff(
                    venue, symbol, source.time_ns, book.bids, book.asks, None, _micro(book), None, None, _milli(book),
                    stream=message.channel,
                ),
            )  # fmt: skip
        if kind == "order_book":
            book = _BOOK.decode(data)
            return (
                OrderBook(
                    venue, symbol, source.time_ns, book.bids, book.asks, _micro(book), _milli(book),
                    stream=message.channel,
                ),
            )  # fmt: skip
        if kind == "live_trades":
            row = _TRADE.decode(data)
            return (
                Trade(
                    venue, symbol, source.time_ns, row.price_str, row.amount_str, _SIDES.get(str(row.type)),
                    str(row.id), int(row.microtimestamp) // 1000,
                ),
            )  # fmt: skip
        return ()


# REST -------------------------------------------------------------------------------------------------------------


class _RestTrade(msgspec.Struct):
    date: str
    tid: str | int
    price: Decimal
    amount: Decimal
    type: str | int


class _RestCandle(msgspec.Struct):
    timestamp: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class _Ohlc(msgspec.Struct):
    ohlc: list[_RestCandle]


class _OhlcAnswer(msgspec.Struct):
    data: _Ohlc | None = None


class _RestTicker(msgspec.Struct):
    last: Decimal
    bid: Decimal
    ask: Decimal
    timestamp: str | int | None = None


_TRADES = msgspec.json.Decoder(list[_RestTrade])
_OHLC = msgspec.json.Decoder(_OhlcAnswer)
_TICKER = msgspec.json.Decoder(_RestTicker)


def _symbol(source: Source) -> str:
    if source.symbol is None:
        raise ValueError("an answer of one pair that names none")
    return source.symbol


def book(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the order book of `/api/v2/order_book/<pair>`; orders of one price (`group=2`) become one level."""
    try:
        said: _Book | _DetailedBook = _BOOK.decode(payload)
    except msgspec.ValidationError:
        said = msgspec.json.decode(payload, type=_DetailedBook)
    bids, asks = _merged(said.bids), _merged(said.asks)
    return (OrderBook(venue, _symbol(source), source.time_ns, bids, asks, _micro(said), _milli(said)),)


def _merged(rows: Sequence[Any]) -> Levels:
    prices: dict[Decimal, Decimal] = {}
    for price, size, *_ in rows:
        prices[price] = prices[price] + size if price in prices else size
    return tuple([Level(price, size) for price, size in prices.items()])


def trades(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the trades of `/api/v2/transactions/<pair>`, the newest first as Bitstamp sends them."""
    symbol = _symbol(source)
    return [
        Trade(
            venue, symbol, source.time_ns, row.price, row.amount, _SIDES.get(str(row.type)), str(row.tid),
            seconds_ms(row.date),
        )
        for row in _TRADES.decode(payload)
    ]  # fmt: skip


def candles(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the candles of `/api/v2/ohlc/<pair>`; `step` is in seconds."""
    symbol, interval, answer = _symbol(source), str(source.params.get("step", "")), _OHLC.decode(payload)
    return [
        Candle(
            venue, symbol, source.time_ns, interval, seconds_ms(row.timestamp), row.open, row.high, row.low, row.close,
            row.volume,
        )
        for row in (answer.data.ohlc if answer.data else ())
    ]  # fmt: skip


def ticker(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the ticker of `/api/v2/ticker/<pair>`."""
    row = _TICKER.decode(payload)
    exchange_ms = None if row.timestamp is None else seconds_ms(row.timestamp)
    return (
        Ticker(
            venue, _symbol(source), source.time_ns, row.bid, ask=row.ask, last=row.last, exchange_ms=exchange_ms
        ),
    )  # fmt: skip


_REST = {"order_book": book, "transactions": trades, "ohlc": candles, "ticker": ticker}


def decoder(venue: str, endpoint: str, websocket: bool) -> Decoder | None:
    """Return what reads an endpoint; None where it has no market data."""
    if websocket:
        return BitstampFrames(venue)
    parts = endpoint.strip("/").split("/")  # api, v2, order_book, btcusd
    function = _REST.get(parts[2]) if len(parts) == 4 else None
    return None if function is None else Rest(venue, function)
