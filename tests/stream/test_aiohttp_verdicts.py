"""Modes, verdicts, paces and secrets of `aiohttp`'s WebSocket client; nothing here may hang."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.errors import (
    DamagedCassette,
    RecordingExhausted,
    StreamStalled,
    TapeEnded,
    UnrecordedFrame,
    UnrecordedRequest,
)

from .aiohttp_client import exchange, run, subscription, talk
from .conftest import Open
from .wire_server import Line, WireServer

FIRST, SECOND = subscription("btcusdt@depth"), subscription("btcusdt@depth", number=2)


def ticking(count: int, pause_s: float = 0.0) -> Any:
    """Make a script that sends numbered frames, waits for the client to close, and never closes by itself."""

    def script(line: Line) -> None:
        line.accept()
        for number in range(count):
            line.send(f'{{"n":{number}}}')
            if pause_s:
                time.sleep(pause_s)  # part of what is recorded
        line.until_closed()

    return script


async def read(url: str, count: int, **options: Any) -> list[Any]:
    async with aiohttp.ClientSession() as session, session.ws_connect(url, **options) as ws:
        return [await ws.receive_json(timeout=10) for _ in range(count)]


def recorded(cassette: Open, script: Any, story: Any, *args: Any, **more: Any) -> WireServer:
    """Record a story, and return the server, stopped."""
    with WireServer(script) as server, cassette(server, "rewrite", **more):
        run(story, server.url + "/ws", *args)
    return server


@pytest.fixture
def five(cassette: Open) -> WireServer:
    return recorded(cassette, ticking(5), read, 5)


# ---------------------------------------------------------------- the end of the tape


def test_the_end_of_the_tape_is_raised_where_the_client_waits_and_within_a_second(
    cassette: Open, five: WireServer
) -> None:
    with cassette(five) as session:
        started = time.monotonic()
        with pytest.raises(TapeEnded, match='end_of_tape="loop"') as caught:
            run(read, five.url + "/ws", 6)
        assert time.monotonic() - started < 2
        assert session.late_verdicts == [caught.value]  # the recorded client had closed there
        session.late_verdicts.clear()


async def reads_in_a_task_that_swallows_its_error(url: str, count: int) -> None:
    queue: asyncio.Queue[Any] = asyncio.Queue()
    async with aiohttp.ClientSession() as client, client.ws_connect(url) as ws:

        async def pass_on() -> None:
            try:
                while True:
                    queue.put_nowait(await ws.receive_json())
            except TapeEnded:
                return

        reader = asyncio.create_task(pass_on())
        for _ in range(count):
            await queue.get()
        await reader


def test_who_waits_for_a_queue_is_told_so_when_its_reader_has_swallowed_the_verdict(
    cassette: Open, five: WireServer
) -> None:
    started = time.monotonic()
    with pytest.raises(TapeEnded), cassette(five):
        asyncio.run(reads_in_a_task_that_swallows_its_error(five.url + "/ws", 6))
    assert time.monotonic() - started < 10


def test_who_is_woken_later_is_left_to_wait_when_its_reader_has_swallowed_the_verdict(
    cassette: Open, five: WireServer
) -> None:
    async def story(url: str) -> str:
        loop = asyncio.get_running_loop()
        woken = loop.create_future()
        reader = asyncio.create_task(reads_in_a_task_that_swallows_its_error(url, 5))
        loop.call_later(3.2, woken.set_result, "woken")  # longer than the verdict and the patience after it
        await reader
        return str(await woken)

    with cassette(five) as session:
        assert asyncio.run(story(five.url + "/ws")) == "woken"
        session.late_verdicts.clear()


@pytest.mark.parametrize("receive", ["receive", "receive_str", "async for"])
def test_whichever_way_a_client_reads_it_gets_the_verdict_and_then_a_closed_connection(
    cassette: Open, five: WireServer, receive: str
) -> None:
    async def story() -> Any:
        async with aiohttp.ClientSession() as session, session.ws_connect(five.url + "/ws") as ws:
            with pytest.raises(TapeEnded):
                if receive == "async for":
                    async for _ in ws:
                        pass
                while True:
                    await (ws.receive() if receive == "receive" else ws.receive_str())
            return (await ws.receive()).type, ws.closed

    with cassette(five) as session:
        assert run(story) == (aiohttp.WSMsgType.CLOSED, True)
        session.late_verdicts.clear()


def test_the_tape_may_end_with_a_close_or_start_over(cassette: Open, five: WireServer) -> None:
    with cassette(five, end_of_tape="close") as session:
        seen = run(talk, five.url + "/ws")
        assert session.refusals == []
    assert seen[-2:] == [("CLOSE", 1001, "the recording has ended"), ("ended", 1001, True)]
    with cassette(five, end_of_tape="loop"):
        assert [each["n"] for each in run(read, five.url + "/ws", 12)] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]


def test_a_timeout_of_the_client_that_is_shorter_is_its_own(cassette: Open, five: WireServer) -> None:
    async def story() -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(five.url + "/ws") as ws:
            for _ in range(5):
                await ws.receive(timeout=5)
            with pytest.raises(TimeoutError):
                await ws.receive(timeout=0.05)

    with cassette(five) as session:
        run(story)
        assert session.refusals == []


# ---------------------------------------------------------------- what the client sends


def test_an_unrecorded_message_is_raised_by_the_send_call(cassette: Open) -> None:
    server = recorded(cassette, exchange, talk, FIRST, SECOND)

    async def story(url: str) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:
            await ws.receive(timeout=5)
            with pytest.raises(UnrecordedFrame, match="ethusdt@trade"):
                await ws.send_str(subscription("ethusdt@trade"))
            await ws.send_str(FIRST)  # the connection is still there
            assert (await ws.receive_json(timeout=5)) == {"result": None, "id": 1}

    with cassette(server) as session:
        run(story, server.url + "/ws")
        assert len(session.refusals) == 1
        session.refusals.clear()


def test_a_missing_subscribe_is_told_to_a_client_that_waits(cassette: Open) -> None:
    server = recorded(cassette, exchange, talk, FIRST, SECOND)
    with cassette(server) as session:
        with pytest.raises(StreamStalled, match="btcusdt@depth"):
            run(talk, server.url + "/ws")
        session.refusals.clear()


def test_streams_may_be_subscribed_in_another_order(cassette: Open) -> None:
    server = recorded(cassette, exchange, talk, subscription("a@depth", "b@trade"), SECOND)
    with cassette(server):
        assert len(run(talk, server.url + "/ws", subscription("b@trade", "a@depth"), SECOND)) == 7


# ---------------------------------------------------------------- which connection


def test_an_unrecorded_url_is_refused_with_what_is_recorded(cassette: Open, five: WireServer) -> None:
    with cassette(five) as session:
        with pytest.raises(UnrecordedRequest, match="/ws/other") as caught:
            run(read, five.url + "/ws/other", 1)
        assert "recorded connections of this venue" in str(caught.value)
        session.refusals.clear()


def test_a_second_connection_is_refused_repeated_or_starts_over(cassette: Open, five: WireServer) -> None:
    async def twice() -> list[Any]:
        return [await read(five.url + "/ws", 5), await read(five.url + "/ws", 5)]

    with cassette(five) as session:
        with pytest.raises(RecordingExhausted):
            run(twice)
        session.refusals.clear()
    for exhausted in ("last", "loop"):
        with cassette(five, exhausted=exhausted):
            first, second = run(twice)
        assert first == second


def test_a_client_that_reconnects_gets_the_next_recorded_connection(cassette: Open) -> None:
    numbers = iter(range(100))

    def script(line: Line) -> None:
        line.accept(("text", b'{"n":%d}' % next(numbers)))

    async def story(url: str) -> list[Any]:
        seen: list[Any] = []
        while len(seen) < 3:
            async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:
                seen += [message.json() async for message in ws]
        return seen

    server = recorded(cassette, script, story)
    with cassette(server):
        assert run(story, server.url + "/ws") == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_modes_decide_what_goes_out(cassette: Open, tmp_path: Path) -> None:
    with WireServer(ticking(2)) as server:
        for mode, opened in (("once", 1), ("once", 1), ("new_episodes", 1), ("all", 2), ("rewrite", 3), ("none", 3)):
            with cassette(server, mode):
                assert run(read, server.url + "/ws", 2) == [{"n": 0}, {"n": 1}]
            assert (mode, server.opened) == (mode, opened)
        with cassette(server, "new_episodes"):
            run(read, server.url + "/ws/more", 2)
        assert server.opened == 4
    with cassette(server):
        run(read, server.url + "/ws/more", 2)
        assert run(read, server.url + "/ws", 2) == [{"n": 0}, {"n": 1}]


def test_a_recording_stops_at_its_limit_and_the_connection_goes_on(cassette: Open) -> None:
    server = recorded(cassette, ticking(5), read, 5, max_frames=3)
    with cassette(server) as session:
        with pytest.raises(TapeEnded):
            run(read, server.url + "/ws", 4)
        session.refusals.clear()


def test_a_damaged_line_is_raised_where_the_client_connects(cassette: Open, five: WireServer, tmp_path: Path) -> None:
    (path,) = tmp_path.rglob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2][:40] + b"\n", *lines[3:]]))
    with cassette(five) as session:
        with pytest.raises(DamagedCassette, match="line 3"):
            run(read, five.url + "/ws", 1)
        session.refusals.clear()


def test_sessions_of_two_tasks_do_not_mix(tmp_path: Path) -> None:
    with WireServer(ticking(3), **{"^/b": ticking(2)}) as server:
        hosts = {server.address: "binance"}
        for name, path, count in (("a", "/a", 3), ("b", "/b", 2)):
            with use_cassette(tmp_path / name, mode="rewrite", hosts=hosts):
                run(read, server.url + path, count)

    async def task(name: str, count: int) -> int:
        with use_cassette(tmp_path / name, hosts=hosts) as session:
            await read(f"{server.url}/{name}", count)
            await asyncio.sleep(0.01)
            return session.played_frames

    async def story() -> tuple[int, int]:
        return await asyncio.gather(task("a", 3), task("b", 2))

    assert tuple(run(story)) == (3, 2)


def test_connections_in_threads_each_with_its_loop_replay_what_is_theirs(cassette: Open) -> None:
    streams = [f"sym{number}@trade" for number in range(6)]
    with WireServer(exchange) as server, cassette(server, "rewrite"):
        live = {each: run(talk, server.url + "/ws", subscription(each), SECOND) for each in streams}
    seen: dict[str, Any] = {}
    with cassette(server):

        def work(stream: str) -> None:
            seen[stream] = run(talk, server.url + "/ws", subscription(stream), SECOND)

        threads = [threading.Thread(target=work, args=(each,)) for each in reversed(streams)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert seen == live


# ---------------------------------------------------------------- pace


def test_a_slow_reader_holds_the_tape_instead_of_having_it_in_memory(cassette: Open) -> None:
    def script(line: Line) -> None:
        line.accept()
        for number in range(60):
            line.send(json.dumps({"n": number, "fill": "x" * 50_000}))
        line.until_closed()

    async def slow(url: str) -> int:
        async with aiohttp.ClientSession() as client, client.ws_connect(url) as ws:
            assert (await ws.receive_json(timeout=5))["n"] == 0
            before = -1
            while before != session.played_frames:  # nothing reads: until nothing comes any more
                before = session.played_frames
                await asyncio.sleep(0.02)
            rest = [(await ws.receive_json(timeout=5))["n"] for _ in range(59)]
            assert rest == list(range(1, 60))
            return before

    server = recorded(cassette, script, read, 60)
    with cassette(server) as session:
        assert 2 < run(slow, server.url + "/ws") < 40


def test_real_time_and_a_factor_take_the_time_they_say(cassette: Open) -> None:
    server = recorded(cassette, ticking(4, 0.1), read, 4)
    took = {}
    for pace in ("virtual", "realtime", 4.0):
        with cassette(server, pace=pace):
            started = time.monotonic()
            assert len(run(read, server.url + "/ws", 4)) == 4
            took[pace] = time.monotonic() - started
    assert took["realtime"] >= 0.29
    assert 0.07 <= took[4.0] < took["realtime"]
    assert took["virtual"] < 0.29


def test_steps_are_the_tests_own(cassette: Open, five: WireServer) -> None:
    async def story() -> list[int]:
        async with aiohttp.ClientSession() as client, client.ws_connect(five.url + "/ws") as ws:
            seen: list[int] = []
            for count in (1, 3, 1):
                session.streams.timeline.step(count)
                for _ in range(count):
                    seen.append((await ws.receive_json(timeout=5))["n"])
                with pytest.raises(TimeoutError):
                    await ws.receive(timeout=0.02)
            return seen

    with cassette(five, pace="step") as session:
        assert run(story) == [0, 1, 2, 3, 4]
        session.refusals.clear()


def test_with_the_clock_of_the_recording_frames_come_at_their_recorded_moment(cassette: Open, tmp_path: Path) -> None:
    server = recorded(cassette, ticking(4, 0.1), read, 4)

    async def story() -> tuple[list[int], float]:
        async with aiohttp.ClientSession() as client, client.ws_connect(server.url + "/ws", heartbeat=30) as ws:
            times = []
            for _ in range(4):
                await ws.receive(timeout=5)
                times.append(time.time_ns() // 10**6)
            before = time.time()
            with pytest.raises(TimeoutError):
                await ws.receive(timeout=2.5)
            return times, time.time() - before

    (path,) = tmp_path.rglob("*.jsonl")
    stamps = [json.loads(line)["timestamp"] for line in path.read_text().splitlines()][1:5]
    started = time.perf_counter()
    with cassette(server, clock="recording"):
        times, waited = run(story)
    assert times == stamps
    assert 2.4 < waited < 2.6
    assert time.perf_counter() - started < 2


# ---------------------------------------------------------------- secrets

SECRET = "kQ4v8Xw2Zr7Tb1Nc9Jd5Lm3Pf6Hs0Gy"
LISTEN_KEY = "pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81va65sdf19v8a65a1"


def test_secrets_of_a_connection_never_land_in_the_cassette_and_still_match(cassette: Open, tmp_path: Path) -> None:
    def script(line: Line) -> None:
        line.accept()
        login = line.subscribed()
        line.send(json.dumps({"event": "login", "echo": login["args"][0]["sign"]}))
        line.until_closed()

    async def story(base: str, secret: str, key: str) -> list[str]:
        login = {"op": "login", "args": [{"apiKey": secret, "sign": secret[::-1], "timestamp": str(time.time_ns())}]}
        headers = {"X-MBX-APIKEY": "k" + secret, "Cookie": f"session={secret}"}
        async with aiohttp.ClientSession(headers=headers) as client, client.ws_connect(f"{base}/ws/{key}") as ws:
            await ws.send_json(login)
            await ws.receive(timeout=5)
            return [str(each) for each in session.refusals]

    with WireServer(script) as server, cassette(server, "rewrite") as session:
        run(story, server.url, SECRET, LISTEN_KEY)
    written = "".join(str(path) + path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert all(secret not in written for secret in (SECRET, SECRET[::-1], LISTEN_KEY))
    with cassette(server) as session:
        run(story, server.url, "another" + SECRET, LISTEN_KEY[::-1])
        assert session.refusals == []
    with cassette(server) as session:
        with pytest.raises(UnrecordedFrame) as caught:
            run(talk_secretly, server.url)
        assert SECRET not in str(caught.value)
        session.refusals.clear()


async def talk_secretly(base: str) -> None:
    async with aiohttp.ClientSession() as client, client.ws_connect(f"{base}/ws/{LISTEN_KEY}") as ws:
        await ws.send_json({"op": "withdraw", "apiKey": SECRET})
