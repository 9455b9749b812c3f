"""What is of the threading client alone: when a frame is played, timeouts, and several threads."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aiohttp import web
from websockets.exceptions import ConnectionClosed
from websockets.sync import client as sync_client
from websockets.sync.client import connect

from .websockets_stage import SUBSCRIBE, Stage

LEGACY: dict[str, Any] = {"legacy": True} if hasattr(sync_client, "reconnect") else {}


def stream(url: str, name: str) -> list[Any]:
    with connect(url, **LEGACY) as ws:
        seen: list[Any] = [ws.recv()]
        ws.send(json.dumps({"method": "SUBSCRIBE", "params": [name], "id": 1}))
        return seen + [ws.recv() for _ in range(4)]


def test_a_frame_is_played_when_the_client_takes_it_and_not_before(stage: Stage) -> None:
    with stage.play("all"):
        stream(stage.url("subscription"), "btcusdt@depth")
    with stage.play() as session, connect(stage.url("subscription"), **LEGACY) as ws:
        assert session.played_frames == 0
        ws.recv()
        ws.send(SUBSCRIBE % 1)
        for number in range(1, 4):
            assert session.played_frames == number
            ws.recv()


def test_a_timeout_passes_on_the_clock_of_the_recording(stage: Stage) -> None:
    async def script(ws: web.WebSocketResponse, request: web.Request) -> None:
        await ws.send_str("early")
        await asyncio.sleep(0.5)
        await ws.send_str("late")
        await ws.receive()

    stage.exchange.scripts["slow"] = script

    def story() -> list[Any]:
        seen: list[Any] = []
        with connect(stage.url("slow"), **LEGACY) as ws:
            seen.append(ws.recv())
            began = time.time()
            for timeout in (0.2, 0.1, 5.0):
                try:
                    seen.append(ws.recv(timeout))
                except TimeoutError as error:
                    seen.append(str(error))
            seen.append(round(time.time() - began, 1))
        return seen

    with stage.play("all"):
        recorded = story()
    assert recorded[:-1] == ["early", "timed out in 0.2s", "timed out in 0.1s", "late"]
    began = time.perf_counter()
    with stage.play(clock="recording"):
        replayed = story()
    assert time.perf_counter() - began < 0.3
    assert replayed[:-1] == recorded[:-1]
    assert replayed[-1] == pytest.approx(0.5, abs=0.2)  # "early" may have come late to a busy machine


def test_threads_with_a_connection_each_get_their_own_frames(stage: Stage) -> None:
    url = stage.url("subscription")
    names = [f"pair{number}@depth" for number in range(8)]

    def story() -> dict[str, list[Any]]:
        with ThreadPoolExecutor(8) as pool:
            return dict(zip(names, pool.map(lambda name: stream(url, name), names), strict=True))

    with stage.play("all"):
        recorded = story()
    stage.exchange.stop()
    for _ in range(3):
        with stage.play():
            assert story() == recorded


def test_one_thread_sends_what_another_waits_for(stage: Stage) -> None:
    with stage.play("all"):
        stream(stage.url("subscription"), "btcusdt@depth")
    stage.exchange.stop()
    with stage.play(patience=5), connect(stage.url("subscription"), **LEGACY) as ws:
        ws.recv()
        got: list[Any] = []
        waits = threading.Thread(target=lambda: got.append(ws.recv()))
        waits.start()
        ws.send(SUBSCRIBE % 5)
        waits.join(5)
        assert got == ['{"result":null,"id":5}']


def test_closing_in_one_thread_ends_the_waiting_of_another(stage: Stage) -> None:
    with stage.play("all"):
        stream(stage.url("subscription"), "btcusdt@depth")
    stage.exchange.stop()
    with stage.play(patience=5), connect(stage.url("subscription"), **LEGACY) as ws:
        ws.recv()
        ended: list[Any] = []

        def wait() -> None:
            try:
                ws.recv()
            except ConnectionClosed as closed:
                ended.append(closed)

        waits = threading.Thread(target=wait)
        waits.start()
        ws.close()
        waits.join(5)
        assert len(ended) == 1


def test_a_thread_that_waits_when_the_session_ends_is_let_go(stage: Stage) -> None:
    with stage.play("all"):
        stream(stage.url("subscription"), "btcusdt@depth")
    ended: list[BaseException] = []
    with stage.play(patience=30):
        ws = connect(stage.url("subscription"), **LEGACY)
        ws.recv()

        def wait() -> None:
            try:
                ws.recv()
            except ConnectionClosed as closed:
                ended.append(closed)

        waits = threading.Thread(target=wait)
        waits.start()
    waits.join(5)
    assert len(ended) == 1


@pytest.mark.skipif(not hasattr(sync_client, "reconnect"), reason="`reconnect` is of version 17")
def test_a_client_that_reconnects_by_itself_plays_connection_after_connection(stage: Stage) -> None:
    async def script(ws: web.WebSocketResponse, request: web.Request) -> None:
        await ws.send_str(f"connection {stage.exchange.opened}")
        await ws.close(code=1012, message=b"restart")

    stage.exchange.scripts["restarts"] = script

    def story() -> list[Any]:
        seen: list[Any] = []
        for ws in sync_client.reconnect(stage.url("restarts")):
            seen.append(ws.recv())
            with pytest.raises(ConnectionClosed):
                ws.recv()
            if len(seen) == 3:
                return seen
        return seen

    with stage.play("all"):
        recorded = story()
    stage.exchange.stop()
    with stage.play():
        assert story() == recorded == ["connection 1", "connection 2", "connection 3"]


def test_streaming_a_message_takes_one_frame(stage: Stage) -> None:
    with stage.play("all"), connect(stage.url("subscription"), **LEGACY) as ws:
        assert "".join(ws.recv_streaming()) == '{"hello":"trader"}'
    with stage.play(), connect(stage.url("subscription"), **LEGACY) as ws:
        assert "".join(ws.recv_streaming()) == '{"hello":"trader"}'


def test_connect_is_itself_again_after_the_session(stage: Stage) -> None:
    code = connect.__code__
    with stage.play("all"):
        stream(stage.url("subscription"), "btcusdt@depth")
    assert connect.__code__ is code
    assert len(stream(stage.url("subscription"), "ethusdt@depth")) == 5
    assert stage.exchange.opened == 2
