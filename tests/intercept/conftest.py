"""A server that sends what it is told to, and a cassette recorded from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.replay.session import Session

from .wire import Wire

Open = Callable[..., AbstractContextManager[Session]]


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as server:
        yield server


@pytest.fixture
def cassette(tmp_path: Path, wire: Wire) -> Open:
    """Open a cassette in which the server is an exchange: `cassette("none")`, `cassette("rewrite", "other")`."""

    def opened(mode: str, name: str = "cassette", **more: Any) -> AbstractContextManager[Session]:
        return use_cassette(tmp_path / name, mode=mode, hosts={f"127.0.0.1:{wire.port}": "wire"}, **more)

    return opened
