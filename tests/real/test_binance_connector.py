"""`binance-connector`, unmodified: REST, and its streams, which it reads with `websocket-client` in a thread of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.errors import TapeEnded

from .server import RealExchange

pytest.importorskip(
    "binance.websocket.spot.websocket_stream", reason="binance-connector is not here (it has its own tox environment)"
)

from binance.spot import Spot
from binance.websocket.spot.websocket_stream import SpotWebsocketStreamClient

FRAMES = 60
LONGEST_S = 20.0


class Watch:
    """What a stream client got, until it had enough."""

    def __init__(self, server: RealExchange, enough: int = FRAMES, *, combined: bool = True) -> None:
        self.got: list[Any] = []
        self.errors: list[Exception] = []
        self._enough = enough
        self._done = threading.Event()
        self.client = SpotWebsocketStreamClient(
            f"ws://{server.address}",
            on_message=self._message,
            on_error=lambda _, error: self.errors.append(error),
            on_close=lambda _: self._done.set(),
            is_combined=combined,
        )

    def _message(self, _: object, text: str) -> None:
        self.got.append(json.loads(text))
        if len(self.got) == self._enough:
            self._done.set()

    def stop(self) -> list[Any]:
        assert self._done.wait(LONGEST_S), "the client hangs"
        self.client.stop()
        self.client.socket_manager.ws.shutdown()
        assert self.errors == []
        return self.got[: self._enough]


def depth_and_tickers(server: RealExchange) -> list[Any]:
    watch = Watch(server)
    watch.client.diff_book_depth(symbol="veteth", speed=100)
    watch.client.book_ticker(symbol="veteth")
    return acknowledgements_apart(watch.stop())


def acknowledgements_apart(got: list[Any]) -> list[Any]:
    """Without the ids of acknowledgements: they are times, in this client."""
    return [{**one, "id": None} if "id" in one else one for one in got]


def two_clients(server: RealExchange) -> list[Any]:
    watches = [Watch(server, 20, combined=False) for _ in range(2)]
    watches[0].client.diff_book_depth(symbol="veteth", speed=100)
    watches[1].client.book_ticker(symbol="aaveupusdt")
    return [acknowledgements_apart(watch.stop()) for watch in watches]


def rest(server: RealExchange) -> list[Any]:
    client = Spot(base_url=server.url)
    return [client.depth("VETETH", limit=1000), client.time(), client.exchange_info(symbol="BNBBTC")]


@pytest.mark.parametrize("story", [depth_and_tickers, two_clients, rest])
def test_results_are_equal_live_recorded_and_replayed(
    story: Callable[[RealExchange], list[Any]], start: Callable[..., RealExchange], tmp_path: Path
) -> None:
    server = start(speed=20)
    hosts = {server.address: "binance"}
    with use_cassette(tmp_path / "c", mode="once", hosts=hosts):
        recorded = story(server)
    server.stop()
    for clock in ("system", "recording"):
        with use_cassette(tmp_path / "c", hosts=hosts, clock=clock):
            assert story(server) == recorded
    assert recorded


def test_the_end_of_the_tape_comes_to_on_error(start: Callable[..., RealExchange], tmp_path: Path) -> None:
    server = start(speed=20)
    hosts = {server.address: "binance"}
    with use_cassette(tmp_path / "c", mode="once", hosts=hosts):
        depth_and_tickers(server)
    server.stop()
    for file in tmp_path.rglob("*.jsonl"):  # as if it had been killed: nobody closed
        kept = takewhile(lambda line: '"opcode":"close"' not in line, file.read_text().splitlines(keepends=True))
        file.write_text("".join(kept))
    with pytest.raises(TapeEnded), use_cassette(tmp_path / "c", hosts=hosts):
        watch = Watch(server, 1_000_000)
        watch.client.diff_book_depth(symbol="veteth", speed=100)
        watch.client.book_ticker(symbol="veteth")
        watch.client.socket_manager.join(LONGEST_S)
        assert not watch.client.socket_manager.is_alive()
        assert [type(error) for error in watch.errors] == [TapeEnded]
