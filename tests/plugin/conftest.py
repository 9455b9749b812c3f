"""Whole pytest runs in a folder of their own, against a simulated exchange that the outer test holds in its hand."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from threading import Thread

import pytest
from inner_suite import LogServer, Suite
from market_suite import StreamSuite

from pytest_marketreplay.exchange import SimulatedExchange

# an in-process run forgets what it imported, and extension modules do not like to be imported twice
for _name in ("requests", "aiohttp", "httpx", "filelock", "pytest_marketreplay.plugin.play", "vcr"):
    importlib.import_module(_name)
importlib.import_module("pytest_marketreplay.plugin.reports")
importlib.import_module("pytest_marketreplay.exchange.listener")


@pytest.fixture
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(seed=7) as running:
        yield running


@pytest.fixture
def suite(pytester: pytest.Pytester, exchange: SimulatedExchange) -> Suite:
    return Suite(pytester, exchange)


@pytest.fixture
def streaming(pytester: pytest.Pytester) -> Iterator[StreamSuite]:
    """A suite whose exchange moves by itself, as a stream needs it."""
    with SimulatedExchange(seed=7, step_every=0.01) as running:
        running.market("binance")
        running.market("kraken")
        yield StreamSuite(pytester, running)


@pytest.fixture
def log_server() -> Iterator[LogServer]:
    made = LogServer()
    thread = Thread(target=made.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()
