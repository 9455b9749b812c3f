"""Order books, depth diffs, trades and candles as typed structs; prices and sizes are exact decimals.

Times are Unix epoch in nanoseconds, UTC. `time_ns` is when it arrived at the recorder; `exchange_ms`, where the venue
says it, is the venue's own time in milliseconds.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import msgspec


class Level(NamedTuple):
    """One price level of a book; a size of 0 in a diff removes the level."""

    price: Decimal
    size: Decimal


class OrderBook(msgspec.Struct, frozen=True):
    """Bids and asks of one symbol at one moment; bids from the highest price down, asks from the lowest up."""

    venue: str
    symbol: str
    time_ns: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    update_id: int | None = None
    """The venue's number of the last update that is in it."""
    exchange_ms: int | None = None
    checked: bool = False
    """Whether the venue's own check held: update ids that chain, or a checksum."""
    stream: str | None = None
    """The venue's name of the stream that it came from (`btcusdt@depth`, `book-1000`); None for a REST answer."""


class DepthDiff(msgspec.Struct, frozen=True):
    """A change of a book: new sizes at some levels."""

    venue: str
    symbol: str
    time_ns: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    first_id: int | None = None
    """Binance `U`: the first update in this diff."""
    last_id: int | None = None
    """Binance `u`: the last update in this diff."""
    previous_id: int | None = None
    """Binance futures `pu`, Deribit `prev_change_id`: the last update of the diff before."""
    checksum: int | None = None
    """The venue's CRC-32 of the book after this diff, unsigned."""
    exchange_ms: int | None = None
    snapshot: bool = False
    """Whether it replaces the book instead of changing it."""
    depth: int | None = None
    """How many levels a side the stream keeps; what falls off its end is gone without a word (Kraken)."""
    stream: str | None = None
    """The venue's name of the stream: `btcusdt@depth@100ms`, `book-1000`, `orderbook.200.BTCUSDT`."""


class Trade(msgspec.Struct, frozen=True):
    """One public trade."""

    venue: str
    symbol: str
    time_ns: int
    price: Decimal
    size: Decimal
    side: str | None = None
    """The taker's side, `buy` or `sell`, where the venue says it."""
    trade_id: str | None = None
    exchange_ms: int | None = None


class Candle(msgspec.Struct, frozen=True):
    """One candle (kline, OHLCV) of one symbol."""

    venue: str
    symbol: str
    time_ns: int
    interval: str
    """As the venue writes it: `1m`, `1h`."""
    open_ms: int
    """When the candle begins, Unix epoch in milliseconds."""
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    closed: bool | None = None
    """Whether the candle is final, where the venue says it."""
    trades: int | None = None


class Ticker(msgspec.Struct, frozen=True):
    """Best bid and ask of one symbol, and its last price where the venue says it; None where a message leaves it out."""

    venue: str
    symbol: str
    time_ns: int
    bid: Decimal | None = None
    bid_size: Decimal | None = None
    ask: Decimal | None = None
    ask_size: Decimal | None = None
    last: Decimal | None = None
    exchange_ms: int | None = None


Record = OrderBook | DepthDiff | Trade | Candle | Ticker
"""Whatever a payload can hold."""
