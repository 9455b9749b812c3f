"""The order book of one symbol: integer ticks, sorted sides, update ids that chain."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import NamedTuple


class Level(NamedTuple):
    """Hold one price level: its quantity in 1e-8 parts and when it last changed."""

    tick: int
    quantity: int
    changed_ms: int


class Changes(NamedTuple):
    """Hold what changed between two moments, as a depth diff tells it.

    `first_update_id` is always the `last_update_id` of the changes before plus one (the fields `U` and `u` of the
    Binance diff depth stream). Each side maps a tick to its new quantity; 0 means the level is gone.
    """

    first_update_id: int
    last_update_id: int
    bids: dict[int, int]
    asks: dict[int, int]


class OrderBook:
    """Keep both sides sorted and give every change of a level an update id of its own."""

    def __init__(self, last_update_id: int) -> None:
        self.last_update_id = last_update_id
        self._collected_id = last_update_id
        self._levels: tuple[dict[int, Level], dict[int, Level]] = ({}, {})
        self._ticks: tuple[list[int], list[int]] = ([], [])
        self._changed: tuple[dict[int, int], dict[int, int]] = ({}, {})

    def put(self, is_bid: bool, tick: int, quantity: int, time_ms: int) -> None:
        """Set the quantity of a level, 0 to remove it, and count one update.

        The caller keeps the sides apart: a book never looks at the other side, so that a bid above the best ask is
        the caller's mistake.
        """
        side = 0 if is_bid else 1
        levels, ticks = self._levels[side], self._ticks[side]
        if quantity:
            if tick not in levels:
                insort(ticks, tick)
            levels[tick] = Level(tick, quantity, time_ms)
        elif tick in levels:
            del levels[tick]
            del ticks[bisect_left(ticks, tick)]
        else:
            return
        self.last_update_id += 1
        self._changed[side][tick] = quantity

    def fill(self, is_bid: bool, levels: list[Level]) -> None:
        """Set a whole side at once, without counting updates: the state before the first one."""
        side = 0 if is_bid else 1
        self._levels[side].update((level.tick, level) for level in levels)
        self._ticks[side][:] = sorted(self._levels[side])

    def collect(self) -> Changes:
        """Give all changes since the last call, and start anew."""
        bids, asks = self._changed
        changes = Changes(self._collected_id + 1, self.last_update_id, dict(bids), dict(asks))
        bids.clear()
        asks.clear()
        self._collected_id = self.last_update_id
        return changes

    def best(self, is_bid: bool) -> Level:
        """Give the best level of a side."""
        ticks = self._ticks[0 if is_bid else 1]
        return self._levels[0][ticks[-1]] if is_bid else self._levels[1][ticks[0]]

    def count(self, is_bid: bool) -> int:
        """Count the levels of a side."""
        return len(self._ticks[0 if is_bid else 1])

    def at(self, is_bid: bool, index: int) -> Level:
        """Give the level at a distance from the best one, which has index 0."""
        ticks = self._ticks[0 if is_bid else 1]
        return self._levels[0][ticks[-1 - index]] if is_bid else self._levels[1][ticks[index]]

    def side(self, is_bid: bool, limit: int | None = None) -> list[Level]:
        """List a side from its best level outwards, at most `limit` levels."""
        ticks = self._ticks[0 if is_bid else 1]
        levels = self._levels[0 if is_bid else 1]
        ordered = ticks[::-1] if is_bid else ticks
        return [levels[tick] for tick in ordered[:limit]]
