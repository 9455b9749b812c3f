"""The one file that imports hypothesis; how counts and price grids are said."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from pytest_marketreplay.errors import MissingExtra, UsageMistake

try:
    from hypothesis import strategies as st
    from hypothesis.strategies import SearchStrategy
except ImportError:
    raise MissingExtra("pytest_marketreplay.strategies", "hypothesis") from None

__all__ = ["START_NS", "Count", "Grid", "SearchStrategy", "count_of", "st"]

Count = int | tuple[int, int]
"""How many: exactly this many, or from the first to the second, both included."""

START_NS = 1_759_399_200_000_000_000
"""Where made-up times begin: 2025-10-02T10:00:00 UTC."""


def count_of(name: str, count: Count, least: int = 0) -> tuple[int, int]:
    """Return the bounds of a count. Raises UsageMistake."""
    low, high = (count, count) if isinstance(count, int) else count
    if not least <= low <= high:
        raise UsageMistake(f"{name}={count!r}: wanted is a number from {least} on, or two of them in order")
    return low, high


class Grid(NamedTuple):
    """Multiples of a step: the prices of a tick, the sizes of a lot."""

    step: Decimal

    @classmethod
    def of(cls, name: str, step: Decimal) -> Grid:
        """Return the grid of a tick or lot. Raises UsageMistake where it is not above 0."""
        if not isinstance(step, Decimal) or not step.is_finite() or step <= 0:
            raise UsageMistake(f"{name}={step!r}: wanted is a Decimal above 0")
        return cls(step)

    @property
    def decimals(self) -> int:
        """How many digits stand after the point."""
        exponent = self.step.as_tuple().exponent
        return max(0, -exponent) if isinstance(exponent, int) else 0

    def at(self, number: int) -> Decimal:
        """Return a multiple of the step, with as many decimals as the step has."""
        return self.step * number

    def nearest(self, value: Decimal) -> int:
        """Return how many steps come nearest to a value."""
        return int((value / self.step).to_integral_value())

    def number(self, name: str, value: Decimal) -> int:
        """Return how many steps a value is. Raises UsageMistake where it does not stand on the grid."""
        number = self.nearest(value)
        if self.at(number) != value:
            raise UsageMistake(f"{name} {value} is no multiple of {self.step}; say the tick that the book has")
        return number
