"""Candles and statistics, built from trades."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from .instruments import Instrument
from .trades import DAY_MS, Trade


class Span(NamedTuple):
    """Sum up the trades of a stretch of time; prices in ticks, amounts in 1e-8 parts."""

    open: int
    high: int
    low: int
    close: int
    volume: int
    quote_volume: int
    taker_volume: int
    taker_quote_volume: int
    trade_count: int


class Candle(NamedTuple):
    """Hold the trades of one interval; `close_ms` is its last millisecond."""

    open_ms: int
    close_ms: int
    span: Span


class Interval(NamedTuple):
    """Name a candle length: a fixed number of milliseconds, or 0 for calendar months."""

    length_ms: int
    offset_ms: int = 0
    """Where the first interval after the epoch begins: weeks begin on Monday at Binance, on Thursday at Kraken."""

    def start(self, time_ms: int) -> int:
        """Give the opening time of the interval that holds a moment."""
        if self.length_ms:
            return time_ms - (time_ms - self.offset_ms) % self.length_ms
        moment = datetime.fromtimestamp(time_ms // 1000, UTC)
        return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp()) * 1000

    def after(self, start_ms: int) -> int:
        """Give the opening time of the interval that follows."""
        return start_ms + self.length_ms if self.length_ms else self.start(start_ms + 32 * DAY_MS)

    def before(self, start_ms: int) -> int:
        """Give the opening time of the interval that precedes."""
        return start_ms - self.length_ms if self.length_ms else self.start(start_ms - 1)


def trades_between(trades: Sequence[Trade], start_ms: int, end_ms: int) -> Sequence[Trade]:
    """Give the trades from `start_ms` up to, not including, `end_ms`."""
    first = bisect_left(trades, start_ms * 1_000_000, key=lambda trade: trade.time_ns)
    last = bisect_left(trades, end_ms * 1_000_000, key=lambda trade: trade.time_ns)
    return trades[first:last]


def sum_up(instrument: Instrument, trades: Sequence[Trade], previous_tick: int) -> Span:
    """Sum up trades; a stretch without any stands still at the price before it, as the venues show it."""
    if not trades:
        return Span(previous_tick, previous_tick, previous_tick, previous_tick, 0, 0, 0, 0, 0)
    volume = quote = taker_volume = taker_quote = 0
    high = low = trades[0].tick
    for trade in trades:
        tick, quantity = trade.tick, trade.quantity
        volume += quantity
        quote += tick * quantity
        if not trade.buyer_is_maker:
            taker_volume += quantity
            taker_quote += tick * quantity
        high, low = max(high, tick), min(low, tick)
    parts = 10**8
    return Span(
        trades[0].tick,
        high,
        low,
        trades[-1].tick,
        volume,
        quote * instrument.tick_e8 // parts,
        taker_volume,
        taker_quote * instrument.tick_e8 // parts,
        len(trades),
    )


def candles(
    instrument: Instrument,
    trades: Sequence[Trade],
    interval: Interval,
    *,
    now_ms: int,
    start_ms: int | None,
    end_ms: int | None,
    limit: int,
) -> list[Candle]:
    """List candles in rising time; with a start the first `limit` from there, else the last `limit` before the end.

    `start_ms` and `end_ms` compare with the opening time, both inclusive. No candle lies before the first trade or
    after `now_ms`; the last one may be unfinished.
    """
    last = interval.start(min(now_ms, end_ms if end_ms is not None else now_ms))
    earliest = interval.start(trades[0].time_ms)
    opening = earliest
    if start_ms is not None:
        opening = interval.start(start_ms)
        opening = max(opening if opening == start_ms else interval.after(opening), earliest)
    else:
        newest_first = last
        for _ in range(limit - 1):
            if newest_first <= earliest:
                break
            newest_first = interval.before(newest_first)
        opening = max(newest_first, earliest)
    result: list[Candle] = []
    before = trades_between(trades, 0, opening)
    previous_tick = before[-1].tick if before else trades[0].tick
    while opening <= last and len(result) < limit:
        following = interval.after(opening)
        span = sum_up(instrument, trades_between(trades, opening, following), previous_tick)
        result.append(Candle(opening, following - 1, span))
        opening, previous_tick = following, span.close
    return result
