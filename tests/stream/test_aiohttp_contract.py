"""`aiohttp`'s WebSocket client: recorded from a server, replayed with the server stopped."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from pytest_marketreplay.api import use_cassette

from .aiohttp_client import LONGEST_S, exchange, lines, performed, run, subscription, talk
from .conftest import Open
from .wire_server import Line, WireServer

FIRST, SECOND = subscription("btcusdt@depth"), subscription("btcusdt@depth", number=2)


def test_a_conversation_replays_as_it_was_live(cassette: Open) -> None:
    live, recorded, replayed = performed(exchange, cassette, lambda url: run(talk, f"{url}/ws", FIRST, SECOND))
    assert live == recorded == replayed
    assert [kind for kind, *_ in live] == ["TEXT"] * 5 + ["CLOSE", "ended"]
    assert live[-2:] == [("CLOSE", 1001, "maintenance"), ("ended", 1001, True)]


def test_an_acknowledgement_has_the_number_that_the_client_gave_now(cassette: Open) -> None:
    with WireServer(exchange) as server, cassette(server, "rewrite"):
        run(talk, f"{server.url}/ws", FIRST, SECOND)
    with cassette(server):
        seen = run(talk, f"{server.url}/ws", subscription("btcusdt@depth", number=77), SECOND)
    assert seen[1][1] == '{"result": null, "id": 77}'


FRAMES: list[str | bytes] = [
    "", b"", "no JSON {", "snow ☃ 💹 \x00", '{"p": 0.10000000, "p": 1e400}', "[1,\n2]", bytes(range(256)), "x" * 126,
    "y" * 65_536, b"\xff\x00" * 500_000, "z" * 1_000_000,
]  # fmt: skip


def test_every_kind_of_frame_comes_back_byte_for_byte(cassette: Open) -> None:
    def script(line: Line) -> None:
        line.accept()
        for each in FRAMES:
            line.send(each)
        line.close()

    live, recorded, replayed = performed(script, cassette, lambda url: run(talk, url + "/ws"))
    assert [data for _, data, _ in live[:-2]] == FRAMES
    assert live == recorded == replayed


@pytest.mark.parametrize("compress", [0, 12, 15])
def test_compressed_and_fragmented_messages_are_recorded_inflated(
    cassette: Open, compress: int, tmp_path: Path
) -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(compress=True)
        await ws.prepare(request)
        assert bool(ws.compress) is bool(compress)
        for number in range(3):
            await ws.send_str(json.dumps({"u": number, "b": ["0.10000000"] * 500}))
        await ws.send_bytes(b"\x00" * 5000)
        got = await ws.receive_str()
        await ws.send_str(got)
        await ws.close()
        return ws

    async def story(url: str) -> Any:
        return await talk(url, json.dumps({"op": "is this compressed? " * 150}), compress=compress)

    async def recorded() -> tuple[str, Any]:
        app = web.Application()
        app.router.add_get("/ws", handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address = f"127.0.0.1:{runner.addresses[0][1]}"
        with use_cassette(tmp_path / "c", mode="rewrite", hosts={address: "binance"}):
            seen = await story(f"ws://{address}/ws")
        await runner.cleanup()
        return address, seen

    address, live = run(recorded)
    assert len(live) == 7
    with use_cassette(tmp_path / "c", hosts={address: "binance"}):
        assert run(story, f"ws://{address}/ws") == live
    texts = [each["response"] for each in lines(tmp_path / "c") if each["meta"]["dir"] in ("recv", "send")]
    assert texts[0] == {"u": 0, "b": ["0.10000000"] * 500}


def test_frames_that_come_with_the_answer_and_frames_nobody_reads_are_recorded(cassette: Open, tmp_path: Path) -> None:
    def script(line: Line) -> None:
        line.accept(("text", b'{"n":0}'), ("ping", b"x"), ("text", b'{"n":1}'))
        for number in range(2, 5):
            line.send(f'{{"n":{number}}}')
        line.until_closed()

    async def story(url: str) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:
            assert (await ws.receive_json(timeout=5)) == {"n": 0}
            while len([each for each in lines(tmp_path) if each["meta"]["dir"] == "recv"]) < 6:
                await asyncio.sleep(0.005)

    with WireServer(script) as server, cassette(server, "rewrite"):
        run(story, server.url + "/ws")
    seen = [(each["meta"]["opcode"], each["response"]) for each in lines(tmp_path) if each["meta"]["dir"] == "recv"]
    text = [("text", {"n": number}) for number in range(5)]
    assert seen[:6] == [text[0], ("ping", "x"), *text[1:]]


def test_pings_both_ways_work_and_a_heartbeat_is_answered(cassette: Open) -> None:
    def script(line: Line) -> None:
        line.accept(("ping", b"server"))
        assert line.recv() == ("pong", b"server")
        opcode, data = line.recv()
        assert (opcode, data) == ("ping", b"client")
        line.send(data, "pong")
        line.send("after")
        line.until_closed()

    async def story(url: str) -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, autoping=False, heartbeat=10.0) as ws,
        ):
            first = await ws.receive(timeout=5)
            await ws.pong(first.data)
            await ws.ping(b"client")
            rest = [await ws.receive(timeout=5) for _ in range(2)]
            return [(each.type, each.data) for each in (first, *rest)]

    live, recorded, replayed = performed(script, cassette, lambda url: run(story, url + "/ws"))
    assert live == [(WSMsgType.PING, b"server"), (WSMsgType.PONG, b"client"), (WSMsgType.TEXT, "after")]
    assert live == recorded == replayed


def test_a_heartbeat_shorter_than_the_patience_neither_ends_the_replay_nor_saves_it(cassette: Open) -> None:
    from pytest_marketreplay.errors import TapeEnded

    def script(line: Line) -> None:
        line.accept(("text", b"1"))
        line.until_closed()

    async def story(url: str, count: int) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url, heartbeat=0.1) as ws:
            for _ in range(count):
                await ws.receive_str(timeout=5)

    with WireServer(script) as server, cassette(server, "rewrite"):
        run(story, server.url + "/ws", 1)
    with cassette(server) as session:
        with pytest.raises(TapeEnded):
            run(story, server.url + "/ws", 2)
        assert len(session.late_verdicts) == 1
        session.late_verdicts.clear()


@pytest.mark.parametrize("ends", ["close", "close without a code", "disconnect", "reset"])
def test_the_end_of_a_connection_replays_as_it_was(cassette: Open, ends: str, tmp_path: Path) -> None:
    def script(line: Line) -> None:
        line.accept(("text", b"1"))
        if ends == "close":
            line.close(4001, "grüß Gott")
        elif ends == "close without a code":
            line.close(None)
        elif ends == "reset":
            line.subscribed()
            line.reset()

    sends = ['{"op":"go"}'] if ends == "reset" else []
    live, recorded, replayed = performed(script, cassette, lambda url: run(talk, url + "/ws", *sends))
    assert live == recorded == replayed
    assert live[-1] == ("ended", 4001 if ends == "close" else 1006, True)
    last = lines(tmp_path)[-1]["meta"]
    assert (last["dir"], last.get("error")) == {
        "disconnect": ("end", "disconnected"), "reset": ("end", "reset"),
    }.get(ends, ("recv", None))  # fmt: skip


def test_a_client_that_closes_first_gets_its_close_echoed(cassette: Open, tmp_path: Path) -> None:
    def script(line: Line) -> None:
        line.accept(("text", b"1"))
        line.until_closed()

    async def story(url: str) -> Any:
        async with aiohttp.ClientSession() as session:
            ws = await session.ws_connect(url)
            first = await ws.receive_str(timeout=5)
            closed = await ws.close(code=4000, message=b"enough")
            return first, closed, ws.close_code, (await ws.receive()).type, session.connector is not None

    live, recorded, replayed = performed(script, cassette, lambda url: run(story, url + "/ws"))
    assert live == recorded == replayed == ("1", True, 4000, WSMsgType.CLOSED, True)
    assert not [each for each in lines(tmp_path) if each["meta"]["dir"] == "end"]


def test_a_client_that_just_goes_leaves_no_end_that_the_exchange_made(cassette: Open, tmp_path: Path) -> None:
    def script(line: Line) -> None:
        line.accept(("text", b"1"))
        line.recv()

    async def story(url: str) -> str:
        async with aiohttp.ClientSession() as session:
            ws = await session.ws_connect(url)
            first = await ws.receive_str(timeout=5)
            ws._response.close()
            await asyncio.sleep(0)
            return first

    assert performed(script, cassette, lambda url: run(story, url + "/ws")) == ("1", "1", "1")
    assert [each["meta"]["dir"] for each in lines(tmp_path)] == ["open", "recv"]


def test_connections_to_one_url_are_told_apart_by_what_they_subscribe(cassette: Open) -> None:
    streams = ["btcusdt@depth", "ethusdt@trade", "bnbusdt@kline_1m", "!ticker@arr"]

    async def story(url: str, order: list[str]) -> dict[str, Any]:
        seen = await asyncio.gather(*(talk(url, subscription(each), SECOND) for each in order))
        return dict(zip(order, seen, strict=True))

    with WireServer(exchange) as server, cassette(server, "rewrite"):
        recorded = run(story, server.url + "/ws", streams)
    with cassette(server):
        assert run(story, server.url + "/ws", streams[::-1]) == recorded


def test_the_client_parses_what_is_replayed_itself(cassette: Open) -> None:
    def script(line: Line) -> None:
        line.accept(("text", b"x" * 5000))
        line.until_closed()

    live, recorded, replayed = performed(
        script, cassette, lambda url: [repr(each) for each in run(talk, url + "/ws", max_msg_size=1000)]
    )
    assert live == recorded == replayed
    assert "exceeds" in live[0] or "too big" in live[0].lower()


def test_a_frame_that_is_none_ends_the_recording_and_not_the_test(cassette: Open, tmp_path: Path) -> None:
    def script(line: Line) -> None:
        line.accept(("text", b"1"))
        line.raw(b"\x8f\x00")
        line.recv()

    with WireServer(script) as server, cassette(server, "rewrite") as session:
        seen = run(talk, server.url + "/ws")
        assert session.refusals == []
    assert [kind for kind, *_ in seen] == ["TEXT", "ERROR", "ended"]
    assert [each["meta"]["dir"] for each in lines(tmp_path)][:3] == ["open", "recv", "end"]


def test_a_stream_that_goes_on_after_its_test_is_recorded_no_more(cassette: Open, tmp_path: Path) -> None:
    go_on = threading.Event()

    def script(line: Line) -> None:
        line.accept(("text", b"1"))
        go_on.wait(LONGEST_S)
        line.send("2")
        line.until_closed()

    async def story(server: WireServer) -> Any:
        async with aiohttp.ClientSession() as client:
            with cassette(server, "rewrite") as session:
                ws = await client.ws_connect(server.url + "/ws")
                first = await ws.receive_str(timeout=5)
            go_on.set()
            second = await ws.receive_str(timeout=5)
            await ws.close()
            return first, second, session.refusals

    with WireServer(script) as server:
        assert run(story, server) == ("1", "2", [])
    assert [each["meta"]["dir"] for each in lines(tmp_path)] == ["open", "recv"]


def test_a_forgotten_connection_is_freed_as_it_is_live(cassette: Open) -> None:
    def script(line: Line) -> None:
        line.accept(("text", b"1"))
        line.until_closed()

    async def story(url: str) -> bool:
        async with aiohttp.ClientSession() as session:
            ws = await session.ws_connect(url)
            await ws.receive(timeout=5)
            forgotten = weakref.ref(ws)
            del ws
            gc.collect()
            return forgotten() is None

    live, recorded, replayed = performed(script, cassette, lambda url: run(story, url + "/ws"))
    assert live is recorded is replayed is True


def test_recording_and_replay_work_on_uvloop(cassette: Open) -> None:
    uvloop = pytest.importorskip("uvloop")

    def story(url: str) -> Any:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(asyncio.wait_for(talk(url + "/ws", FIRST, SECOND), LONGEST_S))

    live, recorded, replayed = performed(exchange, cassette, story)
    assert live == recorded == replayed
    assert len(live) == 7
