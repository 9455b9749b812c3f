"""Whole connections of the real data through `websockets`: recorded, and replayed with the server stopped."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect as asyncio_connect
from websockets.exceptions import ConnectionClosed
from websockets.sync import client as sync_client
from websockets.sync.client import connect as sync_connect

from pytest_marketreplay.api import use_cassette

from .recorded_streams import streams
from .server import RealExchange

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from websockets.legacy.client import connect as legacy_connect

FRAMES = 11_812
LONGEST_S = 120.0
THREADS = 8
LEGACY: dict[str, Any] = {"legacy": True} if hasattr(sync_client, "reconnect") else {}

Read = Callable[[list[str]], list[list[str | bytes]]]


def in_tasks(connect: Any, **more: Any) -> Read:
    async def read(url: str) -> list[str | bytes]:
        async with connect(url, max_size=None, **more) as ws:
            return [message async for message in ws]

    async def read_all(urls: list[str]) -> list[list[str | bytes]]:
        async with asyncio.timeout(LONGEST_S):
            return await asyncio.gather(*map(read, urls))

    return lambda urls: asyncio.run(read_all(urls))


def in_threads(urls: list[str]) -> list[list[str | bytes]]:
    def read(url: str) -> list[str | bytes]:
        out = []
        with sync_connect(url, max_size=None, **LEGACY) as ws:
            try:
                while True:
                    out.append(ws.recv(LONGEST_S))
            except ConnectionClosed:
                return out

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(read, urls))


@pytest.mark.slow
@pytest.mark.parametrize(
    "read",
    # the legacy client with a full queue answers a close too late, live as well
    [in_tasks(asyncio_connect), in_threads, in_tasks(legacy_connect, max_queue=None)],
    ids=["asyncio", "sync", "legacy"],
)
def test_every_frame_of_every_connection_replays_in_bytes_and_order(
    start: Callable[..., RealExchange], tmp_path: Path, read: Read
) -> None:
    server = start(speed=0, ws_end="close")
    hosts = {server.address: "binance"}
    urls = [f"{server.url.replace('http', 'ws')}/__replay__/{stream.id}" for stream in streams()]
    live = read(urls)
    assert sum(map(len, live)) == FRAMES
    with use_cassette(tmp_path / "c", mode="rewrite", hosts=hosts):
        recorded = read(urls)
    server.stop()
    with use_cassette(tmp_path / "c", hosts=hosts) as session:
        replayed = read(urls)
        assert session.played_frames == FRAMES + len(urls)  # and a close frame each
    assert live == recorded
    assert recorded == replayed
