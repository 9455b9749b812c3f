"""Trades, and the past that a symbol has before the simulation starts."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from .instruments import Instrument

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

# Backwards from the start: how many trades, how far apart, and how far a price moves between two (parts per million).
# One day dense enough for minute candles, six days for hourly ones, 400 days for daily, weekly and monthly ones.
_PAST = ((2_880, 30_000, 600), (864, 10 * MINUTE_MS, 2_500), (1_600, 6 * HOUR_MS, 10_000))
PAST_TRADES = sum(count for count, _, _ in _PAST)
"""Number of trades that lie before the start of the simulation."""


class Trade(NamedTuple):
    """Hold one trade of the public tape."""

    id: int
    aggregate_id: int
    """The same for trades of one taker order at one price."""
    time_ns: int
    tick: int
    quantity: int
    buyer_is_maker: bool

    @property
    def time_ms(self) -> int:
        """Give the time of the trade as Unix epoch in milliseconds."""
        return self.time_ns // 1_000_000


def past_trades(instrument: Instrument, rng: Random, start_ms: int) -> list[Trade]:
    """Make the trades before `start_ms`, oldest first, so that they end at the opening price."""
    moments: list[tuple[int, int, int, bool]] = []
    tick, until_ms = instrument.opening_tick, start_ms
    lowest, highest = max(1, tick // 4), tick * 4
    for count, spacing_ms, move_ppm in _PAST:
        for _ in range(count):
            until_ms -= spacing_ms
            time_ns = (until_ms + draw(rng, spacing_ms)) * 1_000_000 + draw(rng, 10_000) * 100
            moments.append((time_ns, tick, random_quantity(instrument, rng), rng.random() < 0.5))
            reach = max(1, tick * move_ppm // 1_000_000)
            tick = min(max(tick + draw(rng, 2 * reach + 1) - reach, lowest), highest)
    first = instrument.first_trade_id
    moments.reverse()
    return [Trade(first + index, first + index, *moment) for index, moment in enumerate(moments)]


def draw(rng: Random, below: int) -> int:
    """Draw a whole number from 0 up to, not including, `below`.

    One product of two doubles, so that a seed gives the same numbers on every platform; `randrange` takes four times
    as long, and a new market draws 80,000 times.
    """
    return int(rng.random() * below)


def random_quantity(instrument: Instrument, rng: Random) -> int:
    """Draw a quantity whose sizes are spread over the orders of magnitude, as in a real book."""
    low, high = instrument.size_digits
    digits = low + draw(rng, high - low + 1)
    return instrument.step_e8 * (1 + draw(rng, 10**digits - 1))
