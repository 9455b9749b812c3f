"""What is of the asyncio client alone: tasks, reconnecting, other loops, its queue."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
import websockets
from aiohttp import web
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.errors import RecordingExhausted, TapeEnded

from .websockets_stage import SUBSCRIBE, Stage, legacy_connect


async def stream(url: str, name: str) -> list[Any]:
    async with connect(url) as ws:
        seen: list[Any] = [await ws.recv()]
        await ws.send(json.dumps({"method": "SUBSCRIBE", "params": [name], "id": 1}))
        return seen + [await ws.recv() for _ in range(4)]


async def many(url: str, names: list[str]) -> dict[str, list[Any]]:
    return dict(zip(names, await asyncio.gather(*(stream(url, name) for name in names)), strict=True))


def test_tasks_with_a_connection_each_get_their_own_frames(stage: Stage) -> None:
    url = stage.url("subscription")
    names = [f"pair{number}@depth" for number in range(12)]
    with stage.play("all"):
        recorded = asyncio.run(many(url, names))
    stage.exchange.stop()
    for _ in range(3):
        with stage.play():
            assert asyncio.run(many(url, names[::-1])) == recorded


def test_uvloop_replays_and_records_too(stage: Stage) -> None:
    uvloop = pytest.importorskip("uvloop")
    url = stage.url("subscription")

    def run() -> Any:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(many(url, ["a@depth", "b@depth"]))

    with stage.play("all"):
        recorded = run()
    stage.exchange.stop()
    with stage.play():
        assert run() == recorded

    async def too_much() -> None:
        async with connect(url) as ws:
            await ws.recv()
            await ws.send(SUBSCRIBE.replace("btcusdt", "a") % 1)
            for _ in range(5):
                await ws.recv()

    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    with pytest.raises(TapeEnded), stage.play(patience=0.2), runner:
        runner.run(too_much())


@pytest.mark.parametrize("which", ["asyncio", "top", "legacy"])
def test_a_client_that_reconnects_by_itself_ends_with_the_recording(stage: Stage, which: str) -> None:
    opens: Any = {"asyncio": connect, "top": websockets.connect, "legacy": legacy_connect}[which]

    async def script(ws: web.WebSocketResponse, request: web.Request) -> None:
        await ws.send_str(f"connection {stage.exchange.opened}")
        await ws.receive()  # version 13 forgets what was not read before the close
        await ws.close(code=1012, message=b"restart")

    stage.exchange.scripts["restarts"] = script
    seen: list[Any] = []

    async def follow(times: int) -> None:
        async for ws in opens(stage.url("restarts")):
            try:
                while True:
                    seen.append(await ws.recv())
                    await ws.send("go on")
            except ConnectionClosed as closed:
                seen.append(closed.rcvd and closed.rcvd.code)
                if len(seen) >= 2 * times:
                    return

    with stage.play("all"):
        asyncio.run(follow(2))
    stage.exchange.stop()
    recorded, seen[:] = list(seen), []
    with stage.play():
        asyncio.run(follow(2))
    assert seen == recorded == ["connection 1", 1012, "connection 2", 1012]
    began = time.perf_counter()
    with pytest.raises(RecordingExhausted), stage.play():
        asyncio.run(follow(9))
    assert time.perf_counter() - began < 2


def test_a_client_that_does_not_read_holds_the_recording(stage: Stage) -> None:
    async def script(ws: web.WebSocketResponse, request: web.Request) -> None:
        for number in range(200):
            await ws.send_str(str(number))
        await ws.receive()

    stage.exchange.scripts["flood"] = script

    async def story(session: Any) -> tuple[int, list[Any]]:
        async with connect(stage.url("flood")) as ws:
            await asyncio.sleep(0.05)
            held = session.played_frames
            return held, [await ws.recv() for _ in range(200)]

    with stage.play("all") as session:
        recorded = asyncio.run(story(session))[1]
    with stage.play() as session:
        held, seen = asyncio.run(story(session))
    assert held < 30
    assert seen == recorded == [str(number) for number in range(200)]


def test_two_sessions_in_two_tasks_do_not_mix(stage: Stage) -> None:
    url = stage.url("subscription")
    hosts = {stage.exchange.host: "binance"}
    for name in ("one", "two"):
        with use_cassette(stage.folder / name, mode="all", hosts=hosts):
            asyncio.run(stream(url, f"{name}@depth"))

    async def in_session(name: str) -> list[Any]:
        with use_cassette(stage.folder / name, hosts=hosts):
            return await stream(url, f"{name}@depth")

    async def both() -> list[list[Any]]:
        return await asyncio.gather(in_session("one"), in_session("two"))

    one, two = asyncio.run(both())
    assert "one@depth" in one[2]
    assert "two@depth" in two[2]


def test_waiting_for_the_close_alone_is_given_the_close(stage: Stage) -> None:
    async def script(ws: web.WebSocketResponse, request: web.Request) -> None:
        await ws.send_str("last words")
        await ws.close(code=1000)

    stage.exchange.scripts["short"] = script

    async def story() -> Any:
        async with connect(stage.url("short")) as ws:
            await asyncio.wait_for(ws.wait_closed(), 5)
            return ws.protocol.close_code

    with stage.play("all"):
        assert asyncio.run(story()) == 1000
    with stage.play():
        assert asyncio.run(story()) == 1000


def test_the_clock_of_the_recording_passes_the_timeouts_of_the_client(stage: Stage) -> None:
    async def script(ws: web.WebSocketResponse, request: web.Request) -> None:
        for number in range(3):
            await ws.send_str(str(number))
            await asyncio.sleep(0.5)
        await ws.close()

    stage.exchange.scripts["slow"] = script

    async def story() -> list[Any]:
        seen: list[Any] = []
        async with connect(stage.url("slow")) as ws:
            while True:
                try:
                    seen.append(await asyncio.wait_for(ws.recv(), 0.3))
                except TimeoutError:
                    seen.append("late")
                except ConnectionClosedOK:
                    return seen

    with stage.play("all"):
        recorded = asyncio.run(story())
    assert recorded.count("late") >= 2
    began = time.perf_counter()
    with stage.play(clock="recording"):
        assert asyncio.run(story()) == recorded
    assert time.perf_counter() - began < 0.4


def test_keepalive_of_the_client_is_answered_and_needs_no_recording(stage: Stage) -> None:
    with stage.play("all"):
        asyncio.run(stream(stage.url("subscription"), "btcusdt@depth"))
    stage.exchange.stop()

    async def story() -> float:
        async with connect(stage.url("subscription"), ping_interval=0.02, ping_timeout=0.5) as ws:
            await ws.recv()
            await asyncio.sleep(0.15)
            await ws.send(SUBSCRIBE % 1)
            await ws.recv()
            return float(ws.latency)

    with stage.play():
        assert asyncio.run(story()) > 0


def test_a_connection_that_outlives_its_session_is_lost(stage: Stage) -> None:
    with stage.play("all"):
        asyncio.run(stream(stage.url("subscription"), "btcusdt@depth"))

    async def story() -> None:
        with stage.play():
            ws = await connect(stage.url("subscription"))
            await ws.recv()
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(ws.recv(), 5)

    asyncio.run(story())
