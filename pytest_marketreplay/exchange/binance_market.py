"""Binance's public endpoints: general information and market data.

Shapes and weights: "General endpoints" and "Market Data endpoints" of the Spot REST API documentation (rest-api.md).
"""

from __future__ import annotations

from bisect import bisect_left

from .binance_rules import BinanceRefusal, Parameters, Route, Routes
from .binance_shapes import (
    aggregate_row,
    best_prices,
    day_row,
    grouped,
    kline_row,
    level_row,
    price_text,
    rate_limit_row,
    symbol_info,
    trade_row,
)
from .candles import Interval, candles, sum_up, trades_between
from .decimals import E8, decimal_text
from .limits import Limits
from .listing import Listing
from .market import Market
from .trades import DAY_MS, HOUR_MS, MINUTE_MS

INTERVALS = {
    "1s": Interval(1_000),
    "1m": Interval(MINUTE_MS),
    "3m": Interval(3 * MINUTE_MS),
    "5m": Interval(5 * MINUTE_MS),
    "15m": Interval(15 * MINUTE_MS),
    "30m": Interval(30 * MINUTE_MS),
    "1h": Interval(HOUR_MS),
    "2h": Interval(2 * HOUR_MS),
    "4h": Interval(4 * HOUR_MS),
    "6h": Interval(6 * HOUR_MS),
    "8h": Interval(8 * HOUR_MS),
    "12h": Interval(12 * HOUR_MS),
    "1d": Interval(DAY_MS),
    "3d": Interval(3 * DAY_MS),
    "1w": Interval(7 * DAY_MS, 4 * DAY_MS),
    "1M": Interval(0),
}
"""Candle lengths; a week begins on Monday."""


def market_routes(market: Market, limits: Limits) -> Routes:
    """Give the public endpoints of a market."""
    view = _MarketData(market, limits)
    known = frozenset
    klines = Route(
        view.klines, 2, known(("symbol", "interval", "startTime", "endTime", "timeZone", "limit")), moves=True
    )
    many = known(("symbol", "symbols", "type", "symbolStatus"))
    futures = Route(view.no_futures)
    return {
        ("GET", "/api/v3/ping"): Route(lambda _: {}, 1, known()),
        ("GET", "/api/v3/time"): Route(lambda _: {"serverTime": market.now_ms()}, 1, known()),
        ("GET", "/api/v3/exchangeInfo"): Route(
            view.exchange_info,
            20,
            known(("symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus")),
        ),
        ("GET", "/api/v3/depth"): Route(
            view.depth, _depth_weight, known(("symbol", "limit", "symbolStatus")), moves=True
        ),
        ("GET", "/api/v3/trades"): Route(view.trades, 25, known(("symbol", "limit")), moves=True),
        ("GET", "/api/v3/historicalTrades"): Route(
            view.historical_trades, 25, known(("symbol", "limit", "fromId")), moves=True
        ),
        ("GET", "/api/v3/aggTrades"): Route(
            view.aggregate_trades, 4, known(("symbol", "fromId", "startTime", "endTime", "limit")), moves=True
        ),
        ("GET", "/api/v3/klines"): klines,
        ("GET", "/api/v3/uiKlines"): klines,
        ("GET", "/api/v3/avgPrice"): Route(view.average_price, 2, known(("symbol",)), moves=True),
        ("GET", "/api/v3/ticker/24hr"): Route(view.day, _day_weight, many, moves=True),
        ("GET", "/api/v3/ticker/price"): Route(view.price, lambda p: 2 if "symbol" in p else 4, many, moves=True),
        ("GET", "/api/v3/ticker/bookTicker"): Route(
            view.book_ticker, lambda p: 2 if "symbol" in p else 4, many, moves=True
        ),
        # ccxt asks the futures venues too when it loads the markets of binance: they list nothing here.
        ("GET", "/fapi/v1/exchangeInfo"): futures,
        ("GET", "/dapi/v1/exchangeInfo"): futures,
    }


def _depth_weight(parameters: Parameters) -> int:
    limit = parameters.limit(100, 5000)
    return 5 if limit <= 100 else 25 if limit <= 500 else 50 if limit <= 1000 else 250


def _day_weight(parameters: Parameters) -> int:
    return 2 if "symbol" in parameters or "symbols" in parameters else 80


class _MarketData:
    def __init__(self, market: Market, limits: Limits) -> None:
        self._market = market
        self._limits = limits

    def _listing(self, parameters: Parameters) -> Listing:
        return self._market.listings[parameters.symbol()]

    def exchange_info(self, parameters: Parameters) -> object:
        names = parameters.symbols()
        listings = self._market.listings
        return {
            "timezone": "UTC",
            "serverTime": self._market.now_ms(),
            "rateLimits": [
                rate_limit_row("REQUEST_WEIGHT", "MINUTE", 1, self._limits.binance_weight),
                rate_limit_row("ORDERS", "SECOND", 10, 100),
                rate_limit_row("ORDERS", "DAY", 1, 200_000),
                rate_limit_row("RAW_REQUESTS", "MINUTE", 5, 61_000),
            ],
            "exchangeFilters": [],
            "symbols": [symbol_info(listings[name].instrument) for name in names or listings],
        }

    def no_futures(self, _: Parameters) -> object:
        now_ms = self._market.now_ms()
        return {"timezone": "UTC", "serverTime": now_ms, "rateLimits": [], "exchangeFilters": [], "symbols": []}

    def depth(self, parameters: Parameters) -> object:
        listing, limit = self._listing(parameters), parameters.limit(100, 5000)
        book, instrument = listing.book, listing.instrument
        return {
            "lastUpdateId": book.last_update_id,
            "bids": [level_row(instrument, level) for level in book.side(True, limit)],
            "asks": [level_row(instrument, level) for level in book.side(False, limit)],
        }

    def trades(self, parameters: Parameters) -> object:
        listing, limit = self._listing(parameters), parameters.limit(500, 1000)
        return [trade_row(listing.instrument, trade) for trade in listing.trades[-limit:]]

    def historical_trades(self, parameters: Parameters) -> object:
        first = parameters.integer("fromId")
        if first is None:
            return self.trades(parameters)
        listing, limit = self._listing(parameters), parameters.limit(500, 1000)
        return [trade_row(listing.instrument, trade) for trade in listing.trades_from(first, limit)]

    def aggregate_trades(self, parameters: Parameters) -> object:
        listing, limit = self._listing(parameters), parameters.limit(500, 1000)
        first = parameters.integer("fromId")
        start, end = parameters.moment_ms("startTime"), parameters.moment_ms("endTime")
        if first is not None and (start is not None or end is not None):
            raise BinanceRefusal(-1128, "Combination of optional parameters invalid.")
        known = trades_between(listing.trades, start or 0, (end if end is not None else self._market.now_ms()) + 1)
        if first is not None:
            known = known[bisect_left(known, first, key=lambda trade: trade.aggregate_id) :]
        # An aggregate has at most two trades, so that twice the limit and two more are enough to give whole ones.
        reach, forward = 2 * limit + 2, first is not None or start is not None
        groups = grouped(known[:reach] if forward else known[-reach:])
        chosen = groups[:limit] if forward else groups[-limit:]
        return [aggregate_row(listing.instrument, group) for group in chosen]

    def klines(self, parameters: Parameters) -> object:
        listing = self._listing(parameters)
        interval = INTERVALS[parameters.one_of("interval", INTERVALS, -1120, "Invalid interval.")]
        found = candles(
            listing.instrument,
            listing.trades,
            interval,
            now_ms=self._market.now_ms(),
            start_ms=parameters.moment_ms("startTime"),
            end_ms=parameters.moment_ms("endTime"),
            limit=parameters.limit(500, 1000),
        )
        return [kline_row(listing.instrument, each.open_ms, each.close_ms, each.span) for each in found]

    def average_price(self, parameters: Parameters) -> object:
        listing = self._listing(parameters)
        last = listing.trades[-1]
        recent = trades_between(listing.trades, self._market.now_ms() - 5 * MINUTE_MS, self._market.now_ms() + 1)
        span = sum_up(listing.instrument, recent or [last], last.tick)
        return {
            "mins": 5,
            "price": decimal_text(span.quote_volume * E8 // span.volume),
            "closeTime": last.time_ms,
        }

    def _each(self, parameters: Parameters) -> tuple[list[Listing], bool]:
        names = parameters.symbols()
        listings = self._market.listings
        return [listings[name] for name in names or listings], "symbol" in parameters

    def day(self, parameters: Parameters) -> object:
        kind = (
            parameters.one_of("type", ("FULL", "MINI"), -1139, "Invalid ticker type.") if "type" in parameters else ""
        )
        listings, single = self._each(parameters)
        rows = [day_row(listing, self._market.now_ms(), kind == "MINI") for listing in listings]
        return rows[0] if single else rows

    def price(self, parameters: Parameters) -> object:
        listings, single = self._each(parameters)
        rows = [
            {"symbol": listing.instrument.symbol, "price": price_text(listing.instrument, listing.trades[-1].tick)}
            for listing in listings
        ]
        return rows[0] if single else rows

    def book_ticker(self, parameters: Parameters) -> object:
        listings, single = self._each(parameters)
        rows = [{"symbol": listing.instrument.symbol, **best_prices(listing)} for listing in listings]
        return rows[0] if single else rows
