"""What Kraken sends, byte for byte: REST `Depth` and `Trades`, and the WebSocket API v1 with its checksum.

Sources: Kraken Spot REST "Get Order Book", "Get Recent Trades"; WebSocket v1 "book", "trade"; key order as recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.market.structs import DepthDiff, Level, OrderBook, Trade

HEADERS: dict[str, str | list[str]] = {"Content-Type": "application/json; charset=utf-8"}

DEPTHS = (10, 25, 100, 500, 1000)
"""Levels a side that a client can subscribe to."""

_OWN = {"BTC": "XBT", "DOGE": "XDG"}
_LETTERED = frozenset(("ETC", "ETH", "LTC", "MLN", "REP", "XBT", "XDG", "XLM", "XMR", "XRP", "ZEC"))
_FIAT = frozenset(("USD", "EUR", "GBP", "CAD", "JPY"))
_BOOK_CHANNEL, _TRADE_CHANNEL = 336, 337


class KrakenWire:
    """The texts of one pair."""

    def __init__(self, symbol: str, price_decimals: int, size_decimals: int, levels: int) -> None:
        """Write for `BTC-USD`; raises UsageMistake for another form, and for a book that no subscription covers."""
        base, dash, quote = symbol.partition("-")
        if not (base and dash and quote):
            raise UsageMistake(f"symbol={symbol!r}: Kraken's common form is BASE-QUOTE, as in BTC-USD")
        if levels > DEPTHS[-1]:
            raise UsageMistake(f"a book of up to {levels} levels: Kraken sends {DEPTHS[-1]} at the most")
        self.symbol = symbol
        base, quote = _OWN.get(base, base), _OWN.get(quote, quote)
        self.pair = base + quote
        self.wsname = f"{base}/{quote}"
        self.key = self.pair
        if base in _LETTERED and (quote in _FIAT or quote in _LETTERED):
            self.key = f"X{base}{'Z' if quote in _FIAT else 'X'}{quote}"
        # so deep that no level ever falls out of the client's book
        self.depth = next(depth for depth in DEPTHS if depth >= levels)
        self._price = f".{price_decimals}f"
        self._size = f".{max(8, size_decimals)}f"

    def rest_depth(self, book: OrderBook) -> bytes:
        """Write the answer of `/0/public/Depth`."""
        seconds = book.time_ns // 1_000_000_000

        def rows(levels: Sequence[Level]) -> list[list[Any]]:
            return [[format(price, self._price), format(size, self._size), seconds] for price, size in levels]

        return orjson.dumps({"error": [], "result": {self.key: {"asks": rows(book.asks), "bids": rows(book.bids)}}})

    def past_trades(self, trades: Sequence[Trade], now_ns: int) -> bytes:
        """Write the answer of `/0/public/Trades`."""
        rows = [
            [
                format(trade.price, self._price),
                format(trade.size, self._size),
                round(trade.time_ns / 1e9, 6),
                "s" if trade.side == "sell" else "b",
                "l",
                "",
                int(trade.trade_id or 0),
            ]
            for trade in trades
        ]
        last = trades[-1].time_ns if trades else now_ns
        return orjson.dumps({"error": [], "result": {self.key: rows, "last": str(last)}})

    def _rows(self, levels: Sequence[Level], time_ns: int) -> list[list[str]]:
        moment = _seconds(time_ns)
        return [[format(price, self._price), format(size, self._size), moment] for price, size in levels]

    def hello(self) -> bytes:
        """Write the first frame of a connection."""
        status = {"connectionID": 17843232920108168701, "event": "systemStatus", "status": "online", "version": "1.9.0"}
        return orjson.dumps(status)

    def subscribe(self, channel: str) -> bytes:
        """Write what a client sends to subscribe to `book` or `trade`."""
        subscription: dict[str, Any] = {"name": channel}
        if channel == "book":
            subscription["depth"] = self.depth
        return orjson.dumps({"event": "subscribe", "pair": [self.wsname], "subscription": subscription})

    def subscribed(self, channel: str) -> bytes:
        """Write the acknowledgement of a subscription."""
        book = channel == "book"
        subscription: dict[str, Any] = {"depth": self.depth, "name": "book"} if book else {"name": channel}
        return orjson.dumps(
            {
                "channelID": _BOOK_CHANNEL if book else _TRADE_CHANNEL,
                "channelName": f"book-{self.depth}" if book else channel,
                "event": "subscriptionStatus",
                "pair": self.wsname,
                "status": "subscribed",
                "subscription": subscription,
            }
        )

    def snapshot(self, book: OrderBook) -> bytes:
        """Write the first frame of the book channel."""
        sides = {"as": self._rows(book.asks, book.time_ns), "bs": self._rows(book.bids, book.time_ns)}
        return orjson.dumps([_BOOK_CHANNEL, sides, f"book-{self.depth}", self.wsname])

    def diff(self, diff: DepthDiff) -> bytes:
        """Write an update of the book channel: a part for each side that changed, the checksum in the last."""
        parts: list[dict[str, Any]] = [
            {name: self._rows(levels, diff.time_ns)} for name, levels in (("a", diff.asks), ("b", diff.bids)) if levels
        ]
        parts[-1]["c"] = str(diff.checksum)
        return orjson.dumps([_BOOK_CHANNEL, *parts, f"book-{self.depth}", self.wsname])

    def trade(self, trade: Trade) -> bytes:
        """Write a frame of the trade channel."""
        side = "s" if trade.side == "sell" else "b"
        row = [format(trade.price, self._price), format(trade.size, self._size), _seconds(trade.time_ns), side, "l", ""]
        return orjson.dumps([_TRADE_CHANNEL, [row], "trade", self.wsname])


def _seconds(time_ns: int) -> str:
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{seconds}.{rest // 1_000:06d}"
