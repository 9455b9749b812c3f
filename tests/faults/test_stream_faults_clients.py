"""Faults of streams under the real clients: after a cut each connects again and gets everything, and upgrades may fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
import websocket
import websockets.sync.client
from replay.wire import HOST, URL
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.errors import UnrecordedRequest
from pytest_marketreplay.replay.faults import Fault, Faults

from .stories import ACKS, DIFFS, FIRST, HELLO, MESSAGES, SECOND, stream

WANTED = [FIRST.decode(), SECOND.decode()]
MOST = 8


class Story:
    """What a client got, and how each of its connections ended or failed."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.ends: list[Any] = []

    @property
    def goes_on(self) -> bool:
        assert len(self.ends) < MOST, self.ends
        return self.ends[-1:] != [1000]


def by_aiohttp(url: str) -> Story:
    async def follow() -> Story:
        story = Story()
        async with aiohttp.ClientSession() as session:
            while story.goes_on:
                try:
                    async with session.ws_connect(url) as ws:
                        for message in WANTED:
                            await ws.send_str(message)
                        async for message in ws:
                            if message.type is aiohttp.WSMsgType.TEXT:
                                story.got.append(message.data.encode())
                        story.ends.append(ws.close_code)
                except aiohttp.WSServerHandshakeError as error:
                    story.ends.append(f"HTTP {error.status}")
                except aiohttp.ClientError:
                    story.ends.append("failed")
        return story

    return asyncio.run(asyncio.wait_for(follow(), 20))


def by_websockets(url: str) -> Story:
    async def follow() -> Story:
        story = Story()
        while story.goes_on:
            try:
                async with websockets_connect(url) as ws:
                    for message in WANTED:
                        await ws.send(message)
                    while True:
                        story.got.append((await ws.recv()).encode())
            except ConnectionClosed as error:
                story.ends.append(error.rcvd.code if error.rcvd is not None else 1006)
            except InvalidHandshake as error:
                status = getattr(getattr(error, "response", None), "status_code", None)
                story.ends.append(f"HTTP {status}" if status else "failed")
            except OSError:
                story.ends.append("failed")
        return story

    return asyncio.run(asyncio.wait_for(follow(), 20))


def by_websockets_sync(url: str) -> Story:
    story = Story()
    while story.goes_on:
        try:
            with websockets.sync.client.connect(url) as ws:
                for message in WANTED:
                    ws.send(message)
                while True:
                    story.got.append(ws.recv().encode())
        except ConnectionClosed as error:
            story.ends.append(error.rcvd.code if error.rcvd is not None else 1006)
        except InvalidHandshake as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            story.ends.append(f"HTTP {status}" if status else "failed")
        except OSError:
            story.ends.append("failed")
    return story


def by_websocket_client(url: str) -> Story:
    story = Story()
    while story.goes_on:
        try:
            ws = websocket.create_connection(url)
        except websocket.WebSocketBadStatusException as error:
            story.ends.append(f"HTTP {error.status_code}")
            continue
        except (OSError, websocket.WebSocketException):
            story.ends.append("failed")
            continue
        try:
            for message in WANTED:
                ws.send(message)
            while True:
                opcode, data = ws.recv_data()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    story.ends.append(int.from_bytes(data[:2], "big"))
                    break
                story.got.append(data)
        except (OSError, websocket.WebSocketException):
            story.ends.append(1006)
        finally:
            ws.close()
    return story


CLIENTS = {each.__name__: each for each in (by_aiohttp, by_websockets, by_websockets_sync, by_websocket_client)}
Client = Callable[[str], Story]


@pytest.fixture(params=list(CLIENTS))
def client(request: pytest.FixtureRequest) -> Client:
    return CLIENTS[request.param]


def followed(folder: Any, client: Client, *rules: Fault, **settings: Any) -> tuple[Story, Faults]:
    with use_cassette(folder, hosts={HOST: "binance"}, **settings) as session:
        session.faults = Faults(rules, clock=session.clock)
        story = client(URL + "/ws")
        assert session.unplayed() == []
    return story, session.faults


@pytest.mark.parametrize("clock", ["system", "recording"])
@pytest.mark.parametrize("at", [1, 2, 4, 7])
@pytest.mark.parametrize("code", [None, 1012])
def test_a_client_that_connects_again_goes_on_with_the_frame_that_was_cut(tmp_path, client, at, code, clock):
    stream(tmp_path)
    arguments = {} if code is None else {"code": code}
    story, _ = followed(tmp_path, client, Fault("disconnect", at=at, arguments=arguments), clock=clock)
    cut = MESSAGES[: at - 1]
    assert story.got == [*cut, *(each for each in cut if each in (HELLO, *ACKS)), *MESSAGES[at - 1 :]]
    assert story.ends == [code or 1006, 1000]


def test_gaps_duplicates_and_the_like_reach_the_client(tmp_path, client):
    stream(tmp_path)
    story, faults = followed(
        tmp_path, client, Fault("gap", at=3), Fault("duplicate", at=4), Fault("reorder", at=6), Fault("stale", number=7)
    )
    told = [each for each in story.got if each in DIFFS]
    assert told == [DIFFS[1], DIFFS[1], DIFFS[1], DIFFS[3], DIFFS[2]]
    assert [each.kind for each in faults.injected] == ["gap", "duplicate", "stale", "reorder"]
    again, _ = followed(tmp_path, client, *faults.exactly())
    assert again.got == story.got


@pytest.mark.parametrize("kind", ["429", "418", "500", "502", "503", "504", "timeout", "refused", "reset"])
def test_an_upgrade_may_fail_and_the_next_is_the_recorded_connection(tmp_path, client, kind):
    stream(tmp_path)
    story, faults = followed(tmp_path, client, Fault(kind, endpoint="/ws"))
    assert story.got == MESSAGES
    if kind == "reset" and client is by_aiohttp:
        assert story.ends == [
            1000
        ]  # aiohttp asks again by itself where a connection is reset before the answer to a GET
    else:
        assert story.ends == [f"HTTP {kind}" if kind.isdigit() else "failed", 1000]
    assert faults.injected[0].where.startswith("WebSocket ")
    again, _ = followed(tmp_path, client, *faults.exactly())
    assert again.ends == story.ends


def test_a_connection_that_is_not_recorded_is_refused_and_no_fault_is_injected(tmp_path):
    stream(tmp_path)
    with use_cassette(tmp_path, hosts={HOST: "binance"}) as session, pytest.raises(UnrecordedRequest):
        session.faults = Faults([Fault("503", every=1)])
        try:
            session.connect(URL + "/ws/ethusdt@depth")
        finally:
            session.refusals.clear()
            assert session.faults.injected == []


def test_the_time_of_an_upgrade_that_times_out_passes_on_the_clock_of_the_recording(tmp_path):
    stream(tmp_path)
    with use_cassette(tmp_path, hosts={HOST: "binance"}, clock="recording") as session:
        session.faults = Faults([Fault("timeout", arguments={"seconds": 30})])
        began = session.clock.now_ns
        assert by_websocket_client(URL + "/ws").got == MESSAGES
        assert session.clock.now_ns - began >= 30e9
