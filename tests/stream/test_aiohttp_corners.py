"""What programs seldom do with a WebSocket of `aiohttp`, and what its replayed transport answers then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pytest_marketreplay.errors import DamagedCassette
from pytest_marketreplay.replay import marketclock
from pytest_marketreplay.replay.marketclock import ClockFallback

from .aiohttp_client import exchange, run, subscription, talk
from .conftest import Open
from .wire_server import WireServer

FIRST, SECOND = subscription("btcusdt@depth"), subscription("btcusdt@depth", number=2)


@pytest.fixture
def recorded(cassette: Open) -> WireServer:
    """A server that has stopped, and whose connection is recorded."""
    with WireServer(exchange) as server, cassette(server, "rewrite"):
        run(talk, server.url + "/ws", FIRST, SECOND)
    return server


def test_a_replayed_connection_answers_what_is_asked_of_a_transport(recorded: WireServer, cassette: Open) -> None:
    async def story(url: str) -> Any:
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:
            transport: Any = ws._response.connection.transport  # type: ignore[union-attr]
            assert transport.get_write_buffer_size() == 0
            transport.writelines([b"\x8a\x80", b"\0\0\0\0"])  # a pong, in two pieces
            assert (await ws.receive()).data == '{"hello":"trader"}'
            transport.abort()
            transport.write(b"what nobody hears")
            assert transport.is_closing()
            return (await ws.receive()).type

    with cassette(recorded):
        assert run(story, recorded.url + "/ws") in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


def test_a_handshake_that_is_given_up_at_once_is_not_answered(recorded: WireServer, cassette: Open) -> None:
    async def story(url: str) -> Any:
        async with aiohttp.ClientSession() as session:
            asked = asyncio.ensure_future(session.ws_connect(url))
            answers = 0
            while not asked.done():
                loop: Any = asyncio.get_running_loop()
                if any("_answer" in repr(handle) for handle in loop._ready):
                    answers += 1
                    asked.cancel()
                await asyncio.sleep(0)
            assert answers == 1
            return asked.cancelled()

    with cassette(recorded) as session:
        assert run(story, recorded.url + "/ws")
        assert session.refusals == []


def test_a_damaged_line_is_told_to_a_client_that_has_not_begun_to_read(
    recorded: WireServer, cassette: Open, tmp_path: Path
) -> None:
    (file,) = tmp_path.rglob("*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + b'{"timestamp": "never"}\n' + b"".join(lines[2:]))

    with pytest.raises(DamagedCassette), cassette(recorded):
        run(talk, recorded.url + "/ws", FIRST, SECOND)


def test_a_file_that_is_cut_off_between_two_connections_is_told_to_the_second(cassette: Open, tmp_path: Path) -> None:
    with WireServer(exchange) as server, cassette(server, "rewrite"):
        first = run(talk, server.url + "/ws", FIRST, SECOND)
        run(talk, server.url + "/ws", FIRST, SECOND)
    (file,) = tmp_path.rglob("*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    with pytest.raises(DamagedCassette, match="cut off while it was played"), cassette(server):
        assert run(talk, server.url + "/ws", FIRST, SECOND) == first
        with file.open("r+b") as out:
            out.truncate(sum(map(len, lines[: len(lines) // 2 + 1])))
        run(talk, server.url + "/ws", FIRST, SECOND)


def test_a_loop_in_c_plays_the_recordings_clock_in_real_time(recorded: WireServer, cassette: Open) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def story() -> Any:
        return await asyncio.wait_for(talk(recorded.url + "/ws", FIRST, SECOND), 20)

    with (
        pytest.warns(ClockFallback),
        cassette(recorded, clock="recording"),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        seen = runner.run(story())
    assert [each[0] for each in seen[:5]] == ["TEXT"] * 5


@pytest.fixture(autouse=True)
def unwarned() -> Iterator[None]:
    """A fallback is warned of once in a process."""
    before = set(marketclock._warned)
    marketclock._warned.clear()
    yield
    marketclock._warned.clear()
    marketclock._warned.update(before)
