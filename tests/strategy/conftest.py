"""A strategy of a user's, in a suite of its own, and the exchange that it is recorded from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_marketreplay.exchange import SimulatedExchange

from .story import Story


@pytest.fixture
def story(pytester: pytest.Pytester) -> Iterator[Story]:
    with SimulatedExchange(seed=7, step_every=0.1) as exchange:
        exchange.market("binance")
        yield Story(pytester, exchange)


@pytest.fixture
def busy() -> Iterator[None]:
    """Keep the other core busy."""
    import subprocess

    process = subprocess.Popen([sys.executable, "-c", "while True: pass"], cwd=Path("/"))
    try:
        yield
    finally:
        process.kill()
        process.wait()
