"""A local order book that changes: bids and asks by price, always sorted.

A level costs about 0.25 us to apply: a dictionary holds it by price, and a sorted list of prices is only touched where a
price comes or goes.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from decimal import Decimal

from pytest_marketreplay.market.structs import Level


class Side:
    """The bids or the asks of a book."""

    __slots__ = ("_levels", "_prices", "_texts", "descending")

    def __init__(self, *, descending: bool) -> None:
        self.descending = descending
        """True for bids: the best price is the highest."""
        self._levels: dict[Decimal, Level] = {}
        self._prices: list[Decimal] = []
        self._texts: dict[Decimal, str] = {}

    def __len__(self) -> int:
        return len(self._prices)

    def replace(self, levels: Iterable[Level]) -> None:
        """Take these levels in place of all that there were; sizes of 0 are left out."""
        self._levels = {level[0]: level for level in levels if level[1]}
        self._prices = sorted(self._levels)
        self._texts = {}

    def apply(self, levels: Iterable[Level]) -> None:
        """Set new sizes; a size of 0 removes its level, and removing one that is not there changes nothing."""
        held, prices, texts = self._levels, self._prices, self._texts
        count = len(held)
        for level in levels:
            price, size = level
            if size:
                # a key stays as it was first spelled, the level is as it was spelled last: that is what a checksum reads
                held[price] = level
                if len(held) != count:  # asking before would hash the price once more
                    count += 1
                    insort(prices, price)
                elif texts:
                    texts.pop(price, None)
            elif held.pop(price, None) is not None:
                count -= 1
                del prices[bisect_left(prices, price)]
                if texts:
                    texts.pop(price, None)

    def keep(self, depth: int) -> None:
        """Remove what lies beyond this many levels from the best price."""
        prices = self._prices
        beyond = len(prices) - depth
        if beyond <= 0:
            return
        gone = prices[:beyond] if self.descending else prices[depth:]
        for price in gone:
            del self._levels[price]
            self._texts.pop(price, None)
        if self.descending:
            del prices[:beyond]
        else:
            del prices[depth:]

    def best(self, depth: int | None = None) -> tuple[Level, ...]:
        """Return levels from the best price on, all or this many."""
        held = self._levels
        return tuple([held[price] for price in self._nearest(depth)])

    def texts(self, depth: int, spell: Callable[[Level], str]) -> list[str]:
        """Return how levels are spelled, from the best price on; a level that did not change is not spelled again.

        `spell` has to be the same function in every call.
        """
        known, held, out = self._texts, self._levels, []
        for price in self._nearest(depth):
            text = known.get(price)
            if text is None:
                text = known[price] = spell(held[price])
            out.append(text)
        return out

    def _nearest(self, depth: int | None) -> list[Decimal]:
        if self.descending:
            return self._prices[::-1] if depth is None else self._prices[: -depth - 1 : -1]
        return self._prices if depth is None else self._prices[:depth]


class Book:
    """Bids and asks of one symbol as they are now."""

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids = Side(descending=True)
        self.asks = Side(descending=False)

    def replace(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Take these levels in place of all that there were."""
        self.bids.replace(bids)
        self.asks.replace(asks)

    def apply(self, bids: Iterable[Level], asks: Iterable[Level], depth: int | None = None) -> None:
        """Set new sizes on both sides; then remove what lies beyond `depth` levels of a side."""
        self.bids.apply(bids)
        self.asks.apply(asks)
        if depth is not None:
            self.bids.keep(depth)
            self.asks.keep(depth)
