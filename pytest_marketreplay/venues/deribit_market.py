"""What Deribit's payloads say of the market: JSON-RPC answers and notifications.

Sources: Deribit API, "public/get_order_book", "public/get_last_trades_by_instrument", "book.{instrument}.{interval}": each
change names the one before as `prev_change_id`; "trades": `direction` is the taker's.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from pytest_marketreplay.market.decoding import NOTHING, Decoder, Rest, Source, side_of
from pytest_marketreplay.market.structs import DepthDiff, Level, OrderBook, Record, Ticker, Trade


class _Book(msgspec.Struct):
    instrument_name: str
    change_id: int
    timestamp: int
    bids: list[tuple[str, Decimal, Decimal]]
    asks: list[tuple[str, Decimal, Decimal]]
    prev_change_id: int | None = None
    type: str = "snapshot"


class _Trade(msgspec.Struct):
    instrument_name: str
    price: Decimal
    amount: Decimal
    direction: str
    timestamp: int
    trade_id: str


class _Ticker(msgspec.Struct):
    instrument_name: str
    timestamp: int
    best_bid_price: Decimal | None = None
    best_bid_amount: Decimal | None = None
    best_ask_price: Decimal | None = None
    best_ask_amount: Decimal | None = None
    last_price: Decimal | None = None


class _Params(msgspec.Struct):
    channel: str | None = None
    data: msgspec.Raw = NOTHING


class _Message(msgspec.Struct):
    method: str | None = None
    params: _Params | None = None


_MESSAGE = msgspec.json.Decoder(_Message)
_BOOK = msgspec.json.Decoder(_Book)
_TRADES = msgspec.json.Decoder(list[_Trade])
_TICKER = msgspec.json.Decoder(_Ticker)


class DeribitFrames(Decoder):
    """One connection."""

    def read(self, payload: bytes, source: Source) -> Sequence[Record]:
        """Return depth diffs, trades and tickers of `subscription` notifications."""
        message = _MESSAGE.decode(payload)
        params = message.params
        if message.method != "subscription" or params is None or params.channel is None or not params.data:
            return ()
        kind, _, rest = params.channel.partition(".")
        if kind == "book" and rest.count(".") == 1:  # the grouped book has more parts, and no diffs
            return (_diff(self.venue, _BOOK.decode(params.data), params.channel, source),)
        if kind == "trades":
            return [_trade(self.venue, row, source) for row in _TRADES.decode(params.data)]
        if kind == "ticker":
            return (_ticker(self.venue, _TICKER.decode(params.data), source),)
        return ()


def _diff(venue: str, book: _Book, channel: str, source: Source) -> DepthDiff:
    whole = book.type == "snapshot"
    return DepthDiff(
        venue, book.instrument_name, source.time_ns,
        tuple([Level(row[1], row[2]) for row in book.bids]),
        tuple([Level(row[1], row[2]) for row in book.asks]),
        None, book.change_id, None if whole else book.prev_change_id, None, book.timestamp, whole, stream=channel,
    )  # fmt: skip


def _trade(venue: str, row: _Trade, source: Source) -> Trade:
    return Trade(
        venue, row.instrument_name, source.time_ns, row.price, row.amount, side_of(row.direction), row.trade_id,
        row.timestamp,
    )  # fmt: skip


def _ticker(venue: str, row: _Ticker, source: Source) -> Ticker:
    return Ticker(
        venue, row.instrument_name, source.time_ns, row.best_bid_price, row.best_bid_amount, row.best_ask_price,
        row.best_ask_amount, row.last_price, row.timestamp,
    )  # fmt: skip


# REST -------------------------------------------------------------------------------------------------------------


class _RestBook(msgspec.Struct):
    bids: list[tuple[Decimal, Decimal]]
    asks: list[tuple[Decimal, Decimal]]
    instrument_name: str | None = None
    change_id: int | None = None
    timestamp: int | None = None


class _BookAnswer(msgspec.Struct):
    result: _RestBook | None = None


class _TradeList(msgspec.Struct):
    trades: list[_Trade]


class _TradeAnswer(msgspec.Struct):
    result: _TradeList | None = None


_BOOK_ANSWER = msgspec.json.Decoder(_BookAnswer)
_TRADE_ANSWER = msgspec.json.Decoder(_TradeAnswer)


def book(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the order book of `get_order_book`."""
    said = _BOOK_ANSWER.decode(payload).result
    if said is None:
        return ()
    symbol = said.instrument_name or source.symbol
    if symbol is None:
        raise ValueError("an order book of no instrument")
    bids, asks = (tuple([Level(*row) for row in rows]) for rows in (said.bids, said.asks))
    return (OrderBook(venue, symbol, source.time_ns, bids, asks, said.change_id, said.timestamp),)


def trades(venue: str, payload: bytes, source: Source) -> Sequence[Record]:
    """Return the trades of `get_last_trades_by_instrument`."""
    result = _TRADE_ANSWER.decode(payload).result
    return [_trade(venue, row, source) for row in (result.trades if result else ())]


_REST = {
    "/api/v2/public/get_order_book": book,
    "/api/v2/public/get_last_trades_by_instrument": trades,
    "/api/v2/public/get_last_trades_by_instrument_and_time": trades,
}


def decoder(venue: str, endpoint: str, websocket: bool) -> Decoder | None:
    """Return what reads an endpoint; None where it has no market data."""
    if websocket:
        return DeribitFrames(venue)
    function = _REST.get(endpoint)
    return None if function is None else Rest(venue, function)
