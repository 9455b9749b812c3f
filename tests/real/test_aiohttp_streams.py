"""Whole connections of the real data through `aiohttp`: recorded, and replayed with the server stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from pytest_marketreplay.api import use_cassette

from .recorded_streams import streams
from .server import RealExchange

FRAMES = 11_812
LONGEST_S = 120.0


async def read(url: str, compress: int) -> list[str | bytes]:
    """Read a connection to its end."""
    async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=compress, max_msg_size=0) as ws:
        return [message.data async for message in ws]


async def read_all(base: str, compress: int) -> dict[str, list[str | bytes]]:
    """Read all connections of the set at once."""
    names = [stream.id for stream in streams()]
    async with asyncio.timeout(LONGEST_S):
        read_ = await asyncio.gather(*(read(f"{base}/__replay__/{name}", compress) for name in names))
    return dict(zip(names, read_, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("compress", [0, 15])
def test_every_frame_of_every_connection_replays_in_bytes_and_order(
    start: Callable[..., RealExchange], tmp_path: Path, compress: int
) -> None:
    server = start(speed=0, ws_end="close")
    hosts = {server.address: "binance"}
    base = server.url.replace("http", "ws")
    live = asyncio.run(read_all(base, compress))
    assert sum(len(frames) for frames in live.values()) == FRAMES
    with use_cassette(tmp_path / "c", mode="rewrite", hosts=hosts):
        recorded = asyncio.run(read_all(base, compress))
    server.stop()
    with use_cassette(tmp_path / "c", hosts=hosts) as session:
        replayed = asyncio.run(read_all(base, 0))
        assert session.played_frames == FRAMES + len(streams())  # and a close frame each
    assert live == recorded
    assert recorded == replayed
