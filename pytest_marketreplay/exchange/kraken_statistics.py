"""The figures of a Kraken ticker: today's, since midnight UTC, and those of the last 24 hours."""

from __future__ import annotations

from typing import NamedTuple

from .candles import Candle, Interval, Span, candles, sum_up, trades_between
from .decimals import E8
from .instruments import Instrument
from .listing import Listing
from .trades import DAY_MS, MINUTE_MS, Trade


class Statistics(NamedTuple):
    """Hold the sums of today and of 24 hours, and the last trade."""

    today: Span
    day: Span
    last: Trade


def statistics(listing: Listing, now_ms: int) -> Statistics:
    """Sum up the trades of a listing."""
    day, _, previous = listing.last_day(now_ms)
    midnight_ms = now_ms - now_ms % DAY_MS
    today = sum_up(listing.instrument, trades_between(listing.trades, midnight_ms, now_ms + 1), previous.tick)
    return Statistics(today, day, listing.trades[-1])


def average_e8(instrument: Instrument, span: Span) -> int:
    """Give the average price by volume in 1e-8 parts; without a trade, the price."""
    return span.quote_volume * E8 // span.volume if span.volume else instrument.price_e8(span.close)


def last_candles(listing: Listing, minutes: int, now_ms: int, limit: int) -> list[Candle]:
    """List the latest candles, the unfinished one last."""
    interval = Interval(minutes * MINUTE_MS)
    return candles(listing.instrument, listing.trades, interval, now_ms=now_ms, start_ms=None, end_ms=None, limit=limit)
