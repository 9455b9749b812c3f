"""Kraken's public methods.

Shapes: "Market Data" of the Kraken Spot REST API documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import formatdate

from .book import Level
from .candles import Interval, Span, candles, sum_up, trades_between
from .decimals import E8, decimal_text
from .instruments import Instrument
from .kraken_rules import ASSETS, INVALID_ARGUMENTS, Arguments, KrakenRefusal, Pairs, chosen_assets, result_key
from .listing import Listing
from .market import Market
from .trades import DAY_MS, MINUTE_MS, Trade

Method = Callable[[Arguments], object]

OHLC_MINUTES = (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)
"""Candle lengths, in minutes."""
_MOST_CANDLES, _MOST_TRADES, _MOST_LEVELS = 720, 1000, 500
_TAKER_FEES = [[0, 0.4], [10000, 0.35], [50000, 0.24], [100000, 0.22], [250000, 0.2], [500000, 0.18], [1000000, 0.16]]
_MAKER_FEES = [[0, 0.25], [10000, 0.2], [50000, 0.14], [100000, 0.12], [250000, 0.1], [500000, 0.08], [1000000, 0.06]]


def public_methods(market: Market, pairs: Pairs) -> Mapping[str, tuple[Method, bool]]:
    """Give the public methods by name, and whether asking moves the market by one step."""
    view = _MarketData(market, pairs)
    return {
        "Time": (view.time, False),
        "SystemStatus": (view.status, False),
        "Assets": (view.assets, False),
        "AssetPairs": (view.asset_pairs, False),
        "Ticker": (view.ticker, True),
        "OHLC": (view.ohlc, True),
        "Depth": (view.depth, True),
        "Trades": (view.trades, True),
        "Spread": (view.spread, True),
    }


class _MarketData:
    def __init__(self, market: Market, pairs: Pairs) -> None:
        self._market = market
        self._pairs = pairs

    def _one(self, arguments: Arguments) -> tuple[str, Listing]:
        asked = arguments.text("pair")
        listing = self._pairs.find(asked)
        return result_key(asked, listing.instrument), listing

    def time(self, _: Arguments) -> object:
        seconds = self._market.now_ms() // 1000
        day_time = formatdate(seconds)  # Thu, 02 Oct 2025 10:00:00 -0000; Kraken writes the year with two digits
        head, year, clock = day_time[:12], day_time[14:16], day_time[17:25]
        return {"unixtime": seconds, "rfc1123": f"{head}{year} {clock} +0000"}

    def status(self, _: Arguments) -> object:
        moment = datetime.fromtimestamp(self._market.now_ms() // 1000, UTC)
        return {"status": "online", "timestamp": f"{moment:%Y-%m-%dT%H:%M:%SZ}"}

    def assets(self, arguments: Arguments) -> object:
        rows = {}
        for asset in chosen_assets(arguments.text("asset")):
            altname, decimals, shown = ASSETS[asset]
            rows[asset] = {
                "aclass": "currency",
                "altname": altname,
                "decimals": decimals,
                "display_decimals": shown,
                "status": "enabled",
            }
        return rows

    def asset_pairs(self, arguments: Arguments) -> object:
        listings = self._pairs.each(arguments.text("pair"))
        return {key: _pair_info(listing.instrument) for key, listing in listings}

    def ticker(self, arguments: Arguments) -> object:
        listings = self._pairs.each(arguments.text("pair"))
        now_ms = self._market.now_ms()
        return {key: _ticker(listing, now_ms) for key, listing in listings}

    def ohlc(self, arguments: Arguments) -> object:
        key, listing = self._one(arguments)
        minutes, since = arguments.integer("interval", 1), arguments.integer("since", 0)
        if minutes not in OHLC_MINUTES:
            raise KrakenRefusal(INVALID_ARGUMENTS)
        instrument, interval = listing.instrument, Interval(minutes * MINUTE_MS)
        found = candles(
            instrument,
            listing.trades,
            interval,
            now_ms=self._market.now_ms(),
            start_ms=None,
            end_ms=None,
            limit=_MOST_CANDLES,
        )
        rows = [_candle(instrument, each.open_ms, each.span) for each in found if each.open_ms // 1000 > since]
        # `last` names the newest candle that is closed: the one before the candle of this moment.
        return {key: rows, "last": interval.before(interval.start(self._market.now_ms())) // 1000}

    def depth(self, arguments: Arguments) -> object:
        key, listing = self._one(arguments)
        count = min(max(arguments.integer("count", 100), 1), _MOST_LEVELS)
        instrument, book = listing.instrument, listing.book
        return {
            key: {
                "asks": [_level(instrument, level) for level in book.side(False, count)],
                "bids": [_level(instrument, level) for level in book.side(True, count)],
            }
        }

    def trades(self, arguments: Arguments) -> object:
        key, listing = self._one(arguments)
        count = min(max(arguments.integer("count", _MOST_TRADES), 1), _MOST_TRADES)
        since = arguments.text("since")
        known = listing.trades
        if since:
            since_ns = _since_ns(arguments)
            first = len(trades_between(known, 0, since_ns // 1_000_000))
            while first < len(known) and known[first].time_ns <= since_ns:
                first += 1
            known = known[first : first + count]
        else:
            known = known[-count:]
        last = known[-1].time_ns if known else _since_ns(arguments)
        return {key: [_trade(listing.instrument, trade) for trade in known], "last": f"{last}"}

    def spread(self, arguments: Arguments) -> object:
        key, listing = self._one(arguments)
        since = arguments.integer("since", 0)
        rows = [
            [quote.time_ms // 1000, *(_price(listing.instrument, tick) for tick in (quote.bid_tick, quote.ask_tick))]
            for quote in listing.quotes
            if quote.time_ms // 1000 >= since
        ]
        return {key: rows, "last": listing.quotes[-1].time_ms // 1000}


def _since_ns(arguments: Arguments) -> int:
    """Read `since`, which may be seconds or nanoseconds."""
    value = arguments.integer("since", 0)
    return value if value >= 10**15 else value * 10**9


def _price(instrument: Instrument, tick: int) -> str:
    return decimal_text(instrument.price_e8(tick), instrument.price_decimals)


def _level(instrument: Instrument, level: Level) -> list[object]:
    decimals = 3 if level.quantity % 10**5 == 0 else 8
    return [_price(instrument, level.tick), decimal_text(level.quantity, decimals), level.changed_ms // 1000]


def _trade(instrument: Instrument, trade: Trade) -> list[object]:
    side = "s" if trade.buyer_is_maker else "b"
    time_s = round(trade.time_ns / 1e9, 7)
    kind = "m" if trade.aggregate_id % 3 else "l"
    return [_price(instrument, trade.tick), decimal_text(trade.quantity), time_s, side, kind, "", trade.id]


def _candle(instrument: Instrument, open_ms: int, span: Span) -> list[object]:
    def price(tick: int) -> str:
        return decimal_text(instrument.price_e8(tick), instrument.pair_decimals)

    average = span.quote_volume * E8 // span.volume if span.volume else 0
    return [
        open_ms // 1000,
        price(span.open),
        price(span.high),
        price(span.low),
        price(span.close),
        decimal_text(average, instrument.pair_decimals),
        decimal_text(span.volume),
        span.trade_count,
    ]


def _ticker(listing: Listing, now_ms: int) -> dict[str, object]:
    instrument, book = listing.instrument, listing.book
    day, _, previous = listing.last_day(now_ms)
    midnight_ms = now_ms - now_ms % DAY_MS
    today = sum_up(instrument, trades_between(listing.trades, midnight_ms, now_ms + 1), previous.tick)
    last = listing.trades[-1]

    def average(span: Span) -> str:
        value = span.quote_volume * E8 // span.volume if span.volume else instrument.price_e8(span.close)
        return decimal_text(value, instrument.price_decimals)

    def best(level: Level) -> list[str]:
        whole = max(1, level.quantity // E8)
        return [_price(instrument, level.tick), f"{whole}", decimal_text(level.quantity, 3)]

    return {
        "a": best(book.best(False)),
        "b": best(book.best(True)),
        "c": [_price(instrument, last.tick), decimal_text(last.quantity)],
        "v": [decimal_text(today.volume), decimal_text(day.volume)],
        "p": [average(today), average(day)],
        "t": [today.trade_count, day.trade_count],
        "l": [_price(instrument, today.low), _price(instrument, day.low)],
        "h": [_price(instrument, today.high), _price(instrument, day.high)],
        "o": _price(instrument, today.open),
    }


def _pair_info(instrument: Instrument) -> dict[str, object]:
    return {
        "altname": instrument.altname,
        "wsname": instrument.wsname,
        "aclass_base": "currency",
        "base": instrument.base,
        "aclass_quote": "currency",
        "quote": instrument.quote,
        "lot": "unit",
        "cost_decimals": 5,
        "pair_decimals": instrument.pair_decimals,
        "lot_decimals": 8,
        "lot_multiplier": 1,
        "leverage_buy": [2, 3, 4, 5],
        "leverage_sell": [2, 3, 4, 5],
        "fees": _TAKER_FEES,
        "fees_maker": _MAKER_FEES,
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": decimal_text(instrument.minimum_e8).rstrip("0"),
        "costmin": "0.00002" if instrument.quote == "XXBT" else "0.5",
        "tick_size": decimal_text(instrument.tick_e8, instrument.pair_decimals),
        "status": "online",
        "long_position_limit": 80,
        "short_position_limit": 80,
    }
