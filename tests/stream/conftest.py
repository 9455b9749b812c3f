"""A cassette in which a loopback address is an exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.replay.session import Session

from .websockets_stage import ScriptedExchange, Stage

Open = Callable[..., AbstractContextManager[Session]]


@pytest.fixture
def cassette(tmp_path: Path) -> Open:
    """Open a cassette: `cassette(server)` replays it, `cassette(server, "rewrite")` records it anew."""

    def opened(server: Any, mode: str = "none", name: str = "cassette", venue: str = "binance", **more: Any) -> Any:
        return use_cassette(tmp_path / name, mode=mode, hosts={server.address: venue}, **more)

    return opened


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A scripted server, and a cassette in which it is Binance."""
    with ScriptedExchange() as exchange:
        yield Stage(exchange, tmp_path / "cassette")
