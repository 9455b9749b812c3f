"""What Binance sends, byte for byte: compact JSON, keys in its order; spot writes eight decimals, futures the tick's.

Sources: Spot "Market Data endpoints" and "WebSocket Streams", USD-M Futures "Order Book" and "Websocket Market Streams";
key order as recorded from the venue.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from pytest_marketreplay.market.structs import DepthDiff, Level, OrderBook, Trade

HEADERS: dict[str, str | list[str]] = {"Content-Type": "application/json;charset=UTF-8"}


class BinanceWire:
    """The texts of one symbol, spot or futures."""

    def __init__(self, symbol: str, price_decimals: int, size_decimals: int, *, futures: bool) -> None:
        self.symbol = symbol
        self.futures = futures
        self._price = f".{price_decimals if futures else max(8, price_decimals)}f"
        self._size = f".{size_decimals if futures else max(8, size_decimals)}f"
        stream = symbol.lower()
        self.depth_stream = f"{stream}@depth@100ms"
        self.trade_stream = f"{stream}@aggTrade" if futures else f"{stream}@trade"

    def _rows(self, levels: Iterable[Level]) -> list[list[str]]:
        return [[format(price, self._price), format(size, self._size)] for price, size in levels]

    def depth(self, book: OrderBook) -> bytes:
        """Write the answer of `/api/v3/depth` or `/fapi/v1/depth`."""
        out: dict[str, Any] = {"lastUpdateId": book.update_id}
        if self.futures:
            out |= {"E": book.exchange_ms, "T": book.exchange_ms}
        return orjson.dumps({**out, "bids": self._rows(book.bids), "asks": self._rows(book.asks)})

    def past_trades(self, trades: Sequence[Trade]) -> bytes:
        """Write the answer of `/api/v3/trades` or `/fapi/v1/trades`."""
        rows: list[dict[str, Any]] = []
        for trade in trades:
            row: dict[str, Any] = {
                "id": int(trade.trade_id or 0),
                "price": format(trade.price, self._price),
                "qty": format(trade.size, self._size),
                "quoteQty": format(trade.price * trade.size, ".2f" if self.futures else ".8f"),
                "time": trade.exchange_ms,
                "isBuyerMaker": trade.side == "sell",
            }
            if not self.futures:
                row["isBestMatch"] = True
            rows.append(row)
        return orjson.dumps(rows)

    def diff(self, diff: DepthDiff) -> bytes:
        """Write the frame of a depth diff, as a combined stream wraps it."""
        data: dict[str, Any] = {"e": "depthUpdate", "E": diff.exchange_ms}
        if self.futures:
            data["T"] = diff.exchange_ms
        data |= {"s": self.symbol, "U": diff.first_id, "u": diff.last_id}
        if self.futures:
            data["pu"] = diff.previous_id
        data |= {"b": self._rows(diff.bids), "a": self._rows(diff.asks)}
        return orjson.dumps({"stream": self.depth_stream, "data": data})

    def trade(self, trade: Trade) -> bytes:
        """Write the frame of a trade: spot `trade`, futures `aggTrade`."""
        number = int(trade.trade_id or 0)
        price, size = format(trade.price, self._price), format(trade.size, self._size)
        moment, maker = trade.exchange_ms, trade.side == "sell"
        data: dict[str, Any]
        if self.futures:
            data = {"e": "aggTrade", "E": moment, "a": number, "s": self.symbol, "p": price, "q": size}
            data |= {"f": number, "l": number, "T": moment, "m": maker}
        else:
            data = {"e": "trade", "E": moment, "s": self.symbol, "t": number, "p": price, "q": size}
            data |= {"T": moment, "m": maker, "M": True}
        return orjson.dumps({"stream": self.trade_stream, "data": data})
