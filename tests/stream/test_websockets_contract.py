"""What holds for all three clients of `websockets`: recorded from a server, replayed with the server stopped."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pytest_marketreplay.api import use_cassette

from .websockets_stage import (
    Client,
    ScriptedExchange,
    Stage,
    answering,
    each_client,
    reset,
    subscribe_and_stop,
    told,
)


@pytest.fixture(params=["asyncio", "sync", "legacy"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    yield from each_client(request.param)


def test_what_was_recorded_plays_with_the_server_stopped(stage: Stage, client: Client) -> None:
    live = subscribe_and_stop(client, stage.url("subscription"))
    with stage.play("all"):
        recorded = subscribe_and_stop(client, stage.url("subscription"))
    stage.exchange.stop()
    with stage.play():
        replayed = subscribe_and_stop(client, stage.url("subscription"))
    assert live == recorded == replayed
    assert len(live) == 6
    assert live[-1][0] == "ConnectionClosedOK"
    assert "1001" in live[-1][1]
    assert "maintenance" in live[-1][1]


def test_an_acknowledgement_has_the_number_that_the_client_gave_now(stage: Stage, client: Client) -> None:
    with stage.play("all"):
        recorded = subscribe_and_stop(client, stage.url("subscription"), number=1)
    with stage.play():
        replayed = subscribe_and_stop(client, stage.url("subscription"), number=77)
    assert recorded[1] == '{"result":null,"id":1}'
    assert replayed[1] == '{"result":null,"id":77}'
    assert replayed[2:] == recorded[2:]


def test_every_kind_of_frame_comes_back_byte_for_byte(stage: Stage, client: Client) -> None:
    frames: list[Any] = [
        "",
        b"",
        "not json {",
        '{"p": 0.10000000, "p": 1e400}',
        "snow\u2603 \U0001f4b9 \x00 \u2028",
        bytes(range(256)),
        "x" * 125,
        "x" * 126,
        "y" * 65_536,
        b"\xff\x00" * 524_288,
    ]

    async def script(ws: web.WebSocketResponse, request: web.Request) -> None:
        for frame in frames:
            await (ws.send_str(frame) if isinstance(frame, str) else ws.send_bytes(frame))
        await ws.receive()

    stage.exchange.scripts["frames"] = script

    def story() -> list[Any]:
        line = client.connect(stage.url("frames"), max_size=None)
        seen = [line.recv() for _ in frames]
        line.close()
        return seen

    with stage.play("all"):
        assert story() == frames
    stage.exchange.stop()
    with stage.play() as session:
        replayed = story()
    assert replayed == frames
    assert [type(frame) for frame in replayed] == [type(frame) for frame in frames]
    assert session.played_frames == len(frames)


def test_compressed_and_fragmented_messages_are_recorded_whole(stage: Stage, client: Client) -> None:
    text = "0.10000000 " * 1000

    async def script(ws: web.WebSocketResponse, request: web.Request) -> None:
        assert ws.compress
        await ws.send_str(text)
        got = [(await ws.receive()).data for _ in range(2)]
        await ws.send_str(json.dumps(got))
        await ws.receive()

    stage.exchange.scripts["deflate"] = script

    def story() -> list[Any]:
        line = client.connect(stage.url("deflate"))
        seen = [line.recv()]
        line.send(["in ", "three ", "parts"])
        line.send("at once")
        seen.append(line.recv())
        line.close()
        return seen

    with stage.play("all"):
        recorded = story()
    stage.exchange.stop()
    with stage.play():
        assert story() == recorded == [text, '["in three parts", "at once"]']
    sent = [line["response"] for line in stage.lines() if line["meta"]["dir"] == "send"]
    assert sent[:2] == ["in three parts", "at once"]


def test_pings_both_ways_are_answered(stage: Stage, client: Client) -> None:
    pongs: list[bytes] = []

    async def script(ws: web.WebSocketResponse, request: web.Request) -> None:
        await ws.ping(b"server's")
        pongs.append((await ws.receive()).data)
        await ws.send_str("ponged")
        await ws.pong((await ws.receive()).data)
        await ws.receive()

    stage.exchange.scripts["pings"] = script

    def story() -> Any:
        line = client.connect(stage.url("pings"))
        seen = line.recv()
        line.ping(b"client's")
        line.close()
        return seen

    with stage.play("all"):
        assert story() == "ponged"
    stage.exchange.stop()
    assert bytes(pongs[0]) == b"server's"
    kinds = [(line["meta"]["dir"], line["meta"].get("opcode", "text")) for line in stage.lines()][1:]
    assert kinds[:5] == [("recv", "ping"), ("send", "pong"), ("recv", "text"), ("send", "ping"), ("recv", "pong")]
    with stage.play():
        assert story() == "ponged"


@pytest.mark.parametrize("how", ["abort", "reset"])
def test_a_connection_that_was_lost_is_lost_again(stage: Stage, client: Client, how: str) -> None:
    async def script(ws: web.WebSocketResponse, request: web.Request) -> None:
        await ws.send_str("one")
        await ws.receive()  # what is sent is read, before the line goes dead
        assert request.transport is not None
        reset(request) if how == "reset" else request.transport.abort()

    stage.exchange.scripts["drop"] = script

    def story() -> list[Any]:
        line = client.connect(stage.url("drop"))
        seen: list[Any] = [line.recv()]
        line.send("go")
        return [*seen, *line.rest()]

    live = story()
    with stage.play("all"):
        recorded = story()
    stage.exchange.stop()
    with stage.play():
        assert story() == recorded == live
    assert stage.lines()[-1]["meta"]["error"] == ("reset" if how == "reset" else "disconnected")
    assert live[1][0] == "ConnectionClosedError"


@pytest.mark.parametrize("status", [401, 418, 503])
def test_a_refused_upgrade_is_refused_with_the_same_answer(stage: Stage, client: Client, status: int) -> None:
    @answering
    async def script(request: web.Request) -> web.Response:
        return web.Response(status=status, text='{"code":-2015}', headers={"Retry-After": "7"})

    stage.exchange.scripts["refused"] = script

    def story() -> Any:
        with pytest.raises(Exception) as caught:
            client.connect(stage.url("refused"))
        error: Any = caught.value
        response = getattr(error, "response", None)
        headers = response.headers if response is not None else error.headers
        body = bytes(response.body) if response is not None else b""
        return told(error), headers["Retry-After"], headers["Content-Type"], body

    live = story()
    with stage.play("all"):
        recorded = story()
    stage.exchange.stop()
    with stage.play():
        assert story() == recorded == live
    assert str(status) in live[0][1]
    if client.name != "legacy":
        assert live[3] == b'{"code":-2015}'


@pytest.mark.parametrize("how", ["disconnected", "reset", "protocol"])
def test_a_handshake_without_an_answer_fails_the_same_way(stage: Stage, client: Client, how: str) -> None:
    @answering
    async def script(request: web.Request) -> web.Response:
        assert request.transport is not None
        if how == "reset":
            reset(request)
        else:
            request.transport.write(b"220 smtp.example ready\r\n\r\n" if how == "protocol" else b"")
            request.transport.close()
        return web.Response()

    stage.exchange.scripts["dead"] = script

    def story() -> Any:
        with pytest.raises(Exception) as caught:
            client.connect(stage.url("dead"))
        # what was no HTTP is not stored, and version 13 quotes it
        return type(caught.value), str(caught.value) if how != "protocol" else ""

    live = story()
    with stage.play("all"):
        assert story() == live
    stage.exchange.stop()
    assert stage.lines()[0]["meta"]["error"] == how
    with stage.play():
        assert story() == live


def test_a_refused_connection_is_refused_again(tmp_path: Path, client: Client) -> None:
    with ScriptedExchange() as exchange:
        url, host = exchange.url("gone"), exchange.host

    def story() -> Any:
        with pytest.raises(OSError) as caught:
            client.connect(url)
        return type(caught.value), caught.value.errno, str(caught.value)

    live = story()
    with use_cassette(tmp_path, mode="all", hosts={host: "binance"}):
        assert story() == live
    with use_cassette(tmp_path, hosts={host: "binance"}):
        assert story() == live


def test_a_handshake_that_took_too_long_takes_too_long_at_once(stage: Stage, client: Client) -> None:
    @answering
    async def script(request: web.Request) -> web.Response:
        await request.content.read()
        await asyncio.sleep(2)
        return web.Response()

    stage.exchange.scripts["slow"] = script
    with stage.play("all"), pytest.raises(TimeoutError):
        client.connect(stage.url("slow"), open_timeout=0.2)
    assert stage.lines()[0]["meta"]["error"] == "read_timeout"
    began = time.perf_counter()
    with stage.play(), pytest.raises(TimeoutError):
        client.connect(stage.url("slow"), open_timeout=10)
    assert time.perf_counter() - began < 1


def test_two_connections_to_one_url_are_told_apart_by_what_they_subscribe(stage: Stage, client: Client) -> None:
    def story(names: list[str]) -> dict[str, list[Any]]:
        lines = {name: client.connect(stage.url("subscription")) for name in names}
        for line in lines.values():
            line.recv()
        for name, line in lines.items():
            line.send(json.dumps({"method": "SUBSCRIBE", "params": [name], "id": 1}))
        seen = {name: [line.recv() for _ in range(4)] for name, line in lines.items()}
        for line in lines.values():
            line.close()
        return seen

    with stage.play("all"):
        recorded = story(["btcusdt@trade", "ethusdt@trade"])
    stage.exchange.stop()
    with stage.play():
        assert story(["ethusdt@trade", "btcusdt@trade"]) == recorded
