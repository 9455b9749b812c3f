"""The channels of version 2 of Kraken's WebSocket.

Shapes: "Market Data" of "Spot WebSocket v2" in the Kraken API documentation. Numbers keep the digits of the pair's
precision, on which the book's checksum depends.
"""

from __future__ import annotations

from datetime import UTC, datetime

import orjson

from .book import Level
from .candles import Candle
from .decimals import E8, decimal_text
from .instruments import Instrument
from .kraken_books import BookView, LevelChange, checksum
from .kraken_rules import ASSETS, modern_name
from .kraken_statistics import average_e8, last_candles, statistics
from .listing import Listing
from .market import Market
from .streams import Moment
from .trades import MINUTE_MS, Trade

_SNAPSHOT_TRADES, _SNAPSHOT_CANDLES = 50, 60


def _number(text: str) -> orjson.Fragment:
    return orjson.Fragment(text.encode())


def _price_text(instrument: Instrument, tick: int) -> str:
    return decimal_text(instrument.price_e8(tick), instrument.pair_decimals)


def _price(instrument: Instrument, tick: int) -> orjson.Fragment:
    return _number(_price_text(instrument, tick))


def _quantity(amount: int) -> orjson.Fragment:
    return _number(decimal_text(amount))


def _time(time_ns: int, digits: int = 6) -> str:
    moment = datetime.fromtimestamp(time_ns // 10**9, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{f'{time_ns % 10**9:09d}'[:digits]}Z"


class Book:
    """Send the best levels: a snapshot, then what changes, each with the checksum of the ten best."""

    def __init__(self, listing: Listing, depth: int) -> None:
        self._instrument = listing.instrument
        self._view = BookView(listing, depth)

    def _row(self, level: Level) -> dict[str, object]:
        return {"price": _price(self._instrument, level.tick), "qty": _quantity(level.quantity)}

    def _checksum(self) -> int:
        sides = [
            [
                (_price_text(self._instrument, level.tick), decimal_text(level.quantity))
                for level in self._view.side(is_bid)[:10]
            ]
            for is_bid in (False, True)
        ]
        return checksum(*sides)

    def snapshot(self) -> list[object]:
        """Give all levels."""
        bids, asks = ([self._row(level) for level in self._view.side(is_bid)] for is_bid in (True, False))
        row = {"symbol": modern_name(self._instrument), "bids": bids, "asks": asks, "checksum": self._checksum()}
        return [{"channel": "book", "type": "snapshot", "data": [row]}]

    def updates(self, moment: Moment) -> list[object]:
        """Give the levels that changed."""
        bids, asks = self._view.changes(moment)
        if not bids and not asks:
            return []
        row = {
            "symbol": modern_name(self._instrument),
            "bids": self._rows(bids),
            "asks": self._rows(asks),
            "checksum": self._checksum(),
            "timestamp": _time(moment.now_ms * 10**6),
        }
        return [{"channel": "book", "type": "update", "data": [row]}]

    def _rows(self, changes: list[LevelChange]) -> list[dict[str, object]]:
        return [self._row(change.level) for change in changes]


class Trades:
    """Send trades, those of one moment together."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    def snapshot(self) -> list[object]:
        """Give the last 50 trades."""
        return [self._frame("snapshot", self._listing.trades[-_SNAPSHOT_TRADES:])]

    def updates(self, moment: Moment) -> list[object]:
        """Give the trades of a moment."""
        return [self._frame("update", list(event.trades)) for event in moment.events if event.trades]

    def _frame(self, kind: str, trades: list[Trade]) -> object:
        instrument = self._listing.instrument
        rows = [
            {
                "symbol": modern_name(instrument),
                "side": "sell" if trade.buyer_is_maker else "buy",
                "price": _price(instrument, trade.tick),
                "qty": _quantity(trade.quantity),
                "ord_type": "market" if trade.aggregate_id % 3 else "limit",
                "trade_id": trade.id,
                "timestamp": _time(trade.time_ns),
            }
            for trade in trades
        ]
        return {"channel": "trade", "type": kind, "data": rows}


class Ticker:
    """Send the best prices and the figures of 24 hours, on a trade or when a best price changes."""

    def __init__(self, listing: Listing, market: Market, *, on_trades: bool) -> None:
        self._listing = listing
        self._market = market
        self._on_trades = on_trades
        self._best = self._now()

    def _now(self) -> tuple[int, int, int, int]:
        bid, ask = self._listing.book.best(True), self._listing.book.best(False)
        return bid.tick, bid.quantity, ask.tick, ask.quantity

    def snapshot(self) -> list[object]:
        """Give the ticker as it is."""
        return [self._frame("snapshot")]

    def updates(self, moment: Moment) -> list[object]:
        """Give the ticker when its trigger came."""
        before, self._best = self._best, self._now()
        traded = any(event.trades for event in moment.events)
        return [self._frame("update")] if (traded if self._on_trades else before != self._best) else []

    def _frame(self, kind: str) -> object:
        instrument, now_ms = self._listing.instrument, self._market.now_ms()
        _, day, last = statistics(self._listing, now_ms)
        bid_tick, bid_quantity, ask_tick, ask_quantity = self._now()
        change = last.tick - day.open
        percent = abs(change) * 100 * E8 // day.open * (1 if change >= 0 else -1)
        row = {
            "symbol": modern_name(instrument),
            "bid": _price(instrument, bid_tick),
            "bid_qty": _quantity(bid_quantity),
            "ask": _price(instrument, ask_tick),
            "ask_qty": _quantity(ask_quantity),
            "last": _price(instrument, last.tick),
            "volume": _quantity(day.volume),
            "vwap": _number(decimal_text(average_e8(instrument, day), instrument.pair_decimals)),
            "low": _price(instrument, day.low),
            "high": _price(instrument, day.high),
            "change": _price(instrument, change),
            "change_pct": _number(decimal_text(percent, 2)),
            "timestamp": _time(now_ms * 10**6),
        }
        return {"channel": "ticker", "type": kind, "data": [row]}


class Candles:
    """Send the candle of this moment after every trade."""

    def __init__(self, listing: Listing, market: Market, minutes: int) -> None:
        self._listing = listing
        self._market = market
        self._minutes = minutes

    def snapshot(self) -> list[object]:
        """Give the latest candles."""
        return [self._frame("snapshot", _SNAPSHOT_CANDLES)]

    def updates(self, moment: Moment) -> list[object]:
        """Give the running candle when there was a trade."""
        return [self._frame("update", 1)] if any(event.trades for event in moment.events) else []

    def _frame(self, kind: str, limit: int) -> object:
        now_ms = self._market.now_ms()
        rows = [self._row(candle) for candle in last_candles(self._listing, self._minutes, now_ms, limit)]
        return {"channel": "ohlc", "type": kind, "timestamp": _time(now_ms * 10**6, 9), "data": rows}

    def _row(self, candle: Candle) -> object:
        instrument, span = self._listing.instrument, candle.span
        return {
            "symbol": modern_name(instrument),
            "open": _price(instrument, span.open),
            "high": _price(instrument, span.high),
            "low": _price(instrument, span.low),
            "close": _price(instrument, span.close),
            "trades": span.trade_count,
            "volume": _quantity(span.volume),
            "vwap": _number(decimal_text(average_e8(instrument, span), instrument.pair_decimals)),
            "interval_begin": _time(candle.open_ms * 10**6, 9),
            "interval": self._minutes,
            "timestamp": _time((candle.open_ms + self._minutes * MINUTE_MS) * 10**6),
        }


class Instruments:
    """Send the assets and pairs once: nothing is listed or halted here."""

    def __init__(self, market: Market) -> None:
        self._market = market

    def snapshot(self) -> list[object]:
        """Give all assets and pairs."""
        assets = [
            {
                "id": altname.replace("XBT", "BTC"),
                "status": "enabled",
                "precision": decimals,
                "precision_display": shown,
                "borrowable": False,
                "collateral_value": 0.0,
                "margin_rate": 0.0,
            }
            for altname, decimals, shown in ASSETS.values()
        ]
        pairs = [self._pair(listing.instrument) for listing in self._market.listings.values()]
        return [{"channel": "instrument", "type": "snapshot", "data": {"assets": assets, "pairs": pairs}}]

    def updates(self, moment: Moment) -> list[object]:
        """Give nothing."""
        return []

    def _pair(self, instrument: Instrument) -> object:
        base, quote = modern_name(instrument).split("/")
        tick = _number(decimal_text(instrument.tick_e8, instrument.pair_decimals))
        return {
            "symbol": f"{base}/{quote}",
            "base": base,
            "quote": quote,
            "status": "online",
            "qty_precision": 8,
            "qty_increment": _number("0.00000001"),
            "price_precision": instrument.pair_decimals,
            "cost_precision": 5,
            "marginable": False,
            "has_index": True,
            "cost_min": _number("0.00002" if instrument.quote == "XXBT" else "0.5"),
            "tick_size": tick,
            "price_increment": tick,
            "qty_min": _quantity(instrument.minimum_e8),
        }
