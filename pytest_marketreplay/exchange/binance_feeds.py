"""The market data streams of Binance: what each stream sends when the market has moved.

Names, payloads and update speeds: "WebSocket Streams" of the Binance Spot documentation (web-socket-streams.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from .binance_market import INTERVALS
from .binance_shapes import best_prices, day_row, grouped, level_row, price_text
from .book import Level
from .candles import Interval, sum_up, trades_between
from .decimals import decimal_text
from .listing import Listing
from .market import MarketEvent
from .streams import Moment
from .trades import Trade

_DEPTH = re.compile(r"depth(5|10|20)?(@100ms)?")
_FAST_MS, _SLOW_MS = 100, 1000


class Feed(Protocol):
    """Turn moments into the payloads of one stream."""

    def payloads(self, moment: Moment) -> Iterator[object]:
        """Give what a moment brings, in order."""
        ...


def find_feed(name: str, listings: Mapping[str, Listing]) -> Feed | None:
    """Make the feed of a stream name, which begins now; None for a name that Binance would accept and never serve."""
    if name in ("!miniTicker@arr", "!ticker@arr"):
        return _AllTickers(list(listings.values()), mini=name == "!miniTicker@arr")
    symbol, _, kind = name.partition("@")
    listing = listings.get(symbol.upper()) if symbol == symbol.lower() else None
    if listing is None:
        return None
    if kind in _SIMPLE:
        return _SIMPLE[kind](listing)
    if kind.startswith("kline_") and kind[6:] in INTERVALS:
        return _Klines(listing, kind[6:])
    depth = _DEPTH.fullmatch(kind)
    if depth is None:
        return None
    period_ms = _FAST_MS if depth[2] else _SLOW_MS
    return _PartialBook(listing, int(depth[1]), period_ms) if depth[1] else _DepthDiffs(listing, period_ms)


class _Trades:
    def __init__(self, listing: Listing) -> None:
        self._instrument = listing.instrument

    def payloads(self, moment: Moment) -> Iterator[object]:
        for event in moment.events:
            for trade in event.trades:
                yield {
                    "e": "trade",
                    "E": event.time_ms,
                    "s": event.symbol,
                    "t": trade.id,
                    "p": price_text(self._instrument, trade.tick),
                    "q": decimal_text(trade.quantity),
                    "T": trade.time_ms,
                    "m": trade.buyer_is_maker,
                    "M": True,
                }


class _AggregateTrades:
    def __init__(self, listing: Listing) -> None:
        self._instrument = listing.instrument

    def payloads(self, moment: Moment) -> Iterator[object]:
        for event in moment.events:
            for group in grouped(event.trades):
                yield self._payload(event, group)

    def _payload(self, event: MarketEvent, group: list[Trade]) -> object:
        first = group[0]
        return {
            "e": "aggTrade",
            "E": event.time_ms,
            "s": event.symbol,
            "a": first.aggregate_id,
            "p": price_text(self._instrument, first.tick),
            "q": decimal_text(sum(trade.quantity for trade in group)),
            "f": first.id,
            "l": group[-1].id,
            "T": first.time_ms,
            "m": first.buyer_is_maker,
            "M": True,
        }


class _BestPrices:
    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._last = best_prices(listing)

    def payloads(self, moment: Moment) -> Iterator[object]:
        best = best_prices(self._listing)
        if best != self._last:
            self._last = best
            yield {
                "u": self._listing.book.last_update_id,
                "s": self._listing.instrument.symbol,
                "b": best["bidPrice"],
                "B": best["bidQty"],
                "a": best["askPrice"],
                "A": best["askQty"],
            }


class _DepthDiffs:
    """Merge the changes of a period; `U` is always the `u` before plus one."""

    def __init__(self, listing: Listing, period_ms: int) -> None:
        self._listing = listing
        self._period_ms = period_ms
        self._first_id = listing.book.last_update_id + 1
        self._last_id = listing.book.last_update_id
        self._bids: dict[int, int] = {}
        self._asks: dict[int, int] = {}

    def payloads(self, moment: Moment) -> Iterator[object]:
        for event in moment.events:
            self._bids.update(event.changes.bids)
            self._asks.update(event.changes.asks)
            self._last_id = max(self._last_id, event.changes.last_update_id)
        if self._last_id >= self._first_id and moment.passed(self._period_ms):
            yield {
                "e": "depthUpdate",
                "E": moment.now_ms,
                "s": self._listing.instrument.symbol,
                "U": self._first_id,
                "u": self._last_id,
                "b": self._rows(self._bids, highest_first=True),
                "a": self._rows(self._asks, highest_first=False),
            }
            self._first_id = self._last_id + 1
            self._bids, self._asks = {}, {}

    def _rows(self, side: dict[int, int], *, highest_first: bool) -> list[list[str]]:
        instrument = self._listing.instrument
        ticks = sorted(side, reverse=highest_first)
        return [level_row(instrument, Level(tick, side[tick], 0)) for tick in ticks]


class _PartialBook:
    def __init__(self, listing: Listing, levels: int, period_ms: int) -> None:
        self._listing = listing
        self._levels = levels
        self._period_ms = period_ms
        self._last: object = None

    def payloads(self, moment: Moment) -> Iterator[object]:
        if not moment.passed(self._period_ms):
            return
        book, instrument = self._listing.book, self._listing.instrument
        sides = [[level_row(instrument, each) for each in book.side(is_bid, self._levels)] for is_bid in (True, False)]
        if sides != self._last:
            self._last = sides
            yield {"lastUpdateId": book.last_update_id, "bids": sides[0], "asks": sides[1]}


class _Ticker:
    """Send the statistics of 24 hours once a second, when there was a trade or, in full, another best price."""

    def __init__(self, listing: Listing, *, mini: bool) -> None:
        self._listing = listing
        self._mini = mini
        self._changed = False

    def payloads(self, moment: Moment) -> Iterator[object]:
        self._changed = self._changed or any(event.trades or not self._mini for event in moment.events)
        if self._changed and moment.passed(_SLOW_MS):
            self._changed = False
            row = day_row(self._listing, moment.now_ms, False)
            yield _mini_ticker(row, moment.now_ms) if self._mini else _full_ticker(row, moment.now_ms)


def _mini_ticker(row: Mapping[str, object], now_ms: int) -> object:
    return {
        "e": "24hrMiniTicker",
        "E": now_ms,
        "s": row["symbol"],
        "c": row["lastPrice"],
        "o": row["openPrice"],
        "h": row["highPrice"],
        "l": row["lowPrice"],
        "v": row["volume"],
        "q": row["quoteVolume"],
    }


_TICKER_FIELDS = {
    "s": "symbol",
    "p": "priceChange",
    "P": "priceChangePercent",
    "w": "weightedAvgPrice",
    "x": "prevClosePrice",
    "c": "lastPrice",
    "Q": "lastQty",
    "b": "bidPrice",
    "B": "bidQty",
    "a": "askPrice",
    "A": "askQty",
    "o": "openPrice",
    "h": "highPrice",
    "l": "lowPrice",
    "v": "volume",
    "q": "quoteVolume",
    "O": "openTime",
    "C": "closeTime",
    "F": "firstId",
    "L": "lastId",
    "n": "count",
}


def _full_ticker(row: Mapping[str, object], now_ms: int) -> object:
    return {"e": "24hrTicker", "E": now_ms, **{short: row[name] for short, name in _TICKER_FIELDS.items()}}


class _AllTickers:
    def __init__(self, listings: list[Listing], *, mini: bool) -> None:
        self._tickers = [(each.instrument.symbol, _Ticker(each, mini=mini)) for each in listings]

    def payloads(self, moment: Moment) -> Iterator[object]:
        rows = [row for symbol, ticker in self._tickers for row in ticker.payloads(moment.only(symbol))]
        if rows:
            yield rows


class _Klines:
    """Send the candle of this moment every second (`1s`) or two, and each candle once more when it is closed."""

    def __init__(self, listing: Listing, name: str) -> None:
        self._listing = listing
        self._name = name
        self._interval: Interval = INTERVALS[name]
        self._period_ms = 1000 if name == "1s" else 2000
        self._open_ms: int | None = None
        self._changed = False

    def payloads(self, moment: Moment) -> Iterator[object]:
        current = self._interval.start(moment.now_ms)
        if self._open_ms is None:
            self._open_ms = self._interval.start(moment.before_ms)
        if self._open_ms < current:  # candles that a given clock jumps over had no trades, and are not sent
            yield self._payload(self._open_ms, moment.now_ms, closed=True)
            self._open_ms, self._changed = current, True
        self._changed = self._changed or any(event.trades for event in moment.events)
        if self._changed and moment.passed(self._period_ms):
            self._changed = False
            yield self._payload(current, moment.now_ms, closed=False)

    def _payload(self, open_ms: int, now_ms: int, *, closed: bool) -> object:
        instrument = self._listing.instrument
        following = self._interval.after(open_ms)
        trades = trades_between(self._listing.trades, open_ms, following)
        before = trades[0] if trades else trades_between(self._listing.trades, 0, open_ms)[-1]
        span = sum_up(instrument, trades, before.tick)
        return {
            "e": "kline",
            "E": now_ms,
            "s": instrument.symbol,
            "k": {
                "t": open_ms,
                "T": following - 1,
                "s": instrument.symbol,
                "i": self._name,
                "f": trades[0].id if trades else -1,
                "L": trades[-1].id if trades else -1,
                "o": price_text(instrument, span.open),
                "c": price_text(instrument, span.close),
                "h": price_text(instrument, span.high),
                "l": price_text(instrument, span.low),
                "v": decimal_text(span.volume),
                "n": span.trade_count,
                "x": closed,
                "q": decimal_text(span.quote_volume),
                "V": decimal_text(span.taker_volume),
                "Q": decimal_text(span.taker_quote_volume),
                "B": "0",
            },
        }


_SIMPLE: Mapping[str, Callable[[Listing], Feed]] = {
    "trade": _Trades,
    "aggTrade": _AggregateTrades,
    "bookTicker": _BestPrices,
    "miniTicker": lambda listing: _Ticker(listing, mini=True),
    "ticker": lambda listing: _Ticker(listing, mini=False),
}
