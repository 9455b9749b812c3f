"""Whole connections of the real data through `websocket-client`: recorded, and replayed with the server stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import websocket

from pytest_marketreplay.api import use_cassette

from .recorded_streams import streams
from .server import RealExchange

FRAMES = {"recv": 11_812, "app": 11_812}


def read(url: str) -> list[str]:
    """Read a connection to its end with `create_connection`."""
    connection: Any = websocket.create_connection(url, timeout=20, skip_utf8_validation=True)
    got = []
    while (frame := connection.recv_data())[0] != 8:
        got.append(frame[1].decode())
    connection.shutdown()
    return got


def run(url: str) -> list[str]:
    """Read a connection to its end with `WebSocketApp`."""
    got: list[str] = []
    errors: list[object] = []
    opened: list[Any] = []
    app = websocket.WebSocketApp(
        url,
        on_open=lambda app: opened.append(app.sock),
        on_message=lambda _, text: got.append(text),
        on_error=lambda _, error: errors.append(error),
    )
    app.run_forever(skip_utf8_validation=False)
    opened[0].shutdown()
    assert [type(error) for error in errors] == [websocket.WebSocketConnectionClosedException]
    return got


USES: dict[str, Callable[[str], list[str]]] = {"recv": read, "app": run}


@pytest.mark.slow
@pytest.mark.parametrize("use", USES)
def test_every_frame_of_every_connection_is_equal_in_bytes_and_order(
    use: str, start: Callable[..., RealExchange], tmp_path: Path
) -> None:
    server = start(speed=0, ws_end="close")
    urls = {stream.id: f"ws://{server.address}/__replay__/{stream.id}" for stream in streams()}
    assert len(urls) == 13
    live = {name: USES[use](url) for name, url in urls.items()}
    server.reset()
    hosts = {server.address: "binance"}
    with use_cassette(tmp_path / "c", mode="once", hosts=hosts):
        recorded = {name: USES[use](url) for name, url in urls.items()}
    server.stop()
    with use_cassette(tmp_path / "c", hosts=hosts) as session:
        replayed = {name: USES[use](url) for name, url in reversed(urls.items())}
        assert session.unplayed() == []
    assert recorded == live
    assert replayed == recorded
    assert sum(map(len, replayed.values())) == FRAMES[use]
    assert all(json.loads(text) is not None for texts in replayed.values() for text in texts[:50])
