"""A clock in play without a recording, and things that happen on it as a script says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pytest_marketreplay.api import playing
from pytest_marketreplay.replay import marketclock
from pytest_marketreplay.replay.marketclock import MarketClock
from pytest_marketreplay.replay.session import Session

START_NS = 1_759_399_200_123_000_000
"""2025-10-02T10:00:00.123Z"""

Opened = Callable[..., AbstractContextManager[MarketClock]]


class Script:
    """Frames at given seconds after the start, each given to a function when it happens."""

    def __init__(
        self,
        clock: MarketClock,
        seconds: list[float],
        deliver: Callable[[int], object],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = loop
        self.clock = clock
        self.left = [(START_NS + round(at * 1e9), number) for number, at in enumerate(seconds)]
        self.deliver = deliver

    def next_ns(self) -> int | None:
        return self.left[0][0] if self.left else None

    def play(self) -> None:
        at, number = self.left.pop(0)
        self.clock.move_to(at)
        self.deliver(number)


@pytest.fixture
def clocked(tmp_path: Path) -> Opened:
    """Open a session with a clock; `clocked(None)` opens one without."""

    @contextlib.contextmanager
    def opened(start_ns: int | None = START_NS) -> Iterator[MarketClock]:
        session = Session([tmp_path / "cassette"])
        if start_ns is not None:
            session.clock = MarketClock(start_ns)
        with playing(session):
            yield session.clock  # type: ignore[misc]
        session.close()

    return opened


@pytest.fixture
def clock(clocked: Opened) -> Iterator[MarketClock]:
    with clocked() as started:
        yield started


@pytest.fixture(autouse=True)
def unwarned() -> Iterator[None]:
    """Each test warns for itself."""
    before = set(marketclock._warned)
    marketclock._warned.clear()
    yield
    marketclock._warned.clear()
    marketclock._warned.update(before)
