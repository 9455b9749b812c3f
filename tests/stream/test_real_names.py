"""Streams of the exchanges' own hosts, over TLS: what is recorded of them plays without a name look-up or a handshake."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
import websocket
import websockets.asyncio.client
import websockets.sync.client

from pytest_marketreplay import use_cassette
from pytest_marketreplay.errors import TapeEnded

URL = "wss://stream.binance.com:9443/ws/btcusdt@trade"
FRAMES = ['{"e":"trade","p":"0.10000000"}', '{"e":"trade","p":"0.20000000"}']


async def _aiohttp() -> list[str]:
    async with aiohttp.ClientSession() as session, session.ws_connect(URL) as ws:
        return [await ws.receive_str() for _ in FRAMES]


async def _websockets() -> list[str | bytes]:
    async with websockets.asyncio.client.connect(URL) as ws:
        return [await ws.recv() for _ in FRAMES]


def _websockets_sync() -> list[str | bytes]:
    with websockets.sync.client.connect(URL) as ws:
        return [ws.recv() for _ in FRAMES]


def _websocket_client() -> list[str]:
    ws = websocket.create_connection(URL)
    try:
        return [ws.recv() for _ in FRAMES]
    finally:
        ws.close()


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Two frames of a stream, which the recorded client then left."""
    with use_cassette(tmp_path, mode="once") as session:
        capture = session.connect(URL)
        capture.opened([])
        for frame in FRAMES:
            capture.received("text", frame.encode())
        capture.sent("close", b"\x03\xe8")
    return tmp_path


@pytest.mark.parametrize(
    "read",
    [lambda: asyncio.run(_aiohttp()), lambda: asyncio.run(_websockets()), _websockets_sync, _websocket_client],
    ids=["aiohttp", "websockets", "websockets sync", "websocket-client"],
)
@pytest.mark.parametrize("clock", ["system", "recording"])
def test_a_stream_of_an_exchange_plays_under_its_own_name(recorded: Path, read: Callable[[], list], clock: str) -> None:
    with use_cassette(recorded, clock=clock):
        assert read() == FRAMES


def test_a_task_that_looks_for_a_frame_between_short_sleeps_gets_the_verdict(recorded: Path) -> None:
    async def story() -> None:
        got = []

        async def read(ws: aiohttp.ClientWebSocketResponse) -> None:
            try:
                async for message in ws:
                    got.append(message.data)
            except TapeEnded:
                got.append("swallowed")

        async with aiohttp.ClientSession() as session, session.ws_connect(URL) as ws:
            reading = asyncio.create_task(read(ws))
            while len(got) < 4:
                await asyncio.sleep(0.02)
            await reading

    began = time.monotonic()
    with pytest.raises(TapeEnded), use_cassette(recorded, patience=0.1):
        asyncio.run(story())
    assert time.monotonic() - began < 6


def test_the_real_monotonic_clock_is_left_to_the_standard_library(recorded: Path) -> None:
    with use_cassette(recorded, clock="recording"):
        library = {"time": time, "__name__": "queue"}
        asked = eval("lambda: time.monotonic_ns()", library)
        before = asked()
        time.sleep(3600)
        assert asked() - before < 60 * 10**9
