"""Fixtures of the bridge's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from bridge_server import CLIENTS, Answers, Asked, Server


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


@pytest.fixture(params=sorted(CLIENTS))
def client(request: pytest.FixtureRequest) -> Callable[[list[Asked]], Answers]:
    return CLIENTS[request.param]
