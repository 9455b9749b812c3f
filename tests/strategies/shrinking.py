"""The smallest example that hypothesis finds, the same in every run."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeVar

from hypothesis import Phase, find, settings
from hypothesis.strategies import SearchStrategy

Drawn = TypeVar("Drawn")


def smallest(strategy: SearchStrategy[Drawn], wanted: Callable[[Drawn], bool]) -> Drawn:
    """Find an example and shrink it."""
    # without the phase that explains a failure, which takes seconds and is thrown away here
    phases = [Phase.generate, Phase.shrink]
    return find(strategy, wanted, settings=settings(max_examples=300, database=None, phases=phases), random=Random(0))
