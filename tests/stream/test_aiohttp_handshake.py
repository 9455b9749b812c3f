"""Handshakes of `aiohttp`'s WebSocket client: as they were answered, refused, redirected, or not answered at all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pytest_marketreplay.api import use_cassette

from .aiohttp_client import LONGEST_S, exchange, lines, performed, run, subscription, talk
from .conftest import Open
from .wire_server import Line, WireServer

FIRST, SECOND = subscription("btcusdt@depth"), subscription("btcusdt@depth", number=2)


def refused(status: int, reason: str, body: bytes, *headers: tuple[str, str]) -> Callable[[Line], None]:
    return lambda line: line.refuse(status, reason, body, *headers)


@pytest.mark.parametrize("status", [401, 429, 503, 200])
def test_a_refused_upgrade_replays_with_its_status_headers_and_error(
    cassette: Open, status: int, tmp_path: Path
) -> None:
    script = refused(status, "No Way", b'{"code":-2015}', ("Content-Type", "application/json"), ("Retry-After", "7"))

    async def story(url: str) -> Any:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(url)
            error = caught.value
            assert error.headers is not None
            return error.status, error.message, error.headers["Retry-After"], str(error)

    live, recorded, replayed = performed(script, cassette, lambda url: run(story, url + "/ws"))
    assert live == recorded == replayed
    assert live[0] == status
    (opening,) = lines(tmp_path)
    assert (opening["meta"]["status"], opening["response"]) == (status, {"code": -2015})


def test_a_redirected_handshake_is_followed(cassette: Open) -> None:
    def elsewhere(line: Line) -> None:
        line.refuse(302, "Found", b"", ("Location", "/other/ws"))

    with WireServer(elsewhere, **{"^/other": exchange}) as server:
        with cassette(server, "rewrite"):
            recorded = run(talk, f"{server.url}/ws", FIRST, SECOND)
        assert server.opened == 2
    with cassette(server):
        assert run(talk, f"{server.url}/ws", FIRST, SECOND) == recorded


def test_no_answer_at_all_replays_as_the_clients_own_error(cassette: Open, tmp_path: Path) -> None:
    server, gone = WireServer(lambda line: None), WireServer(exchange)
    gone.stop()

    async def story(url: str) -> Any:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError) as caught:
                await session.ws_connect(url + "/ws")
            return type(caught.value), str(caught.value)

    async def both() -> Any:
        return [await story(server.url), await story(gone.url)]

    hosts = {server.address: "binance", gone.address: "kraken"}
    with use_cassette(tmp_path, mode="rewrite", hosts=hosts):
        recorded = run(both)
    server.stop()
    with use_cassette(tmp_path, hosts=hosts):
        assert run(both) == recorded
    assert [kind for kind, _ in recorded] == [aiohttp.ServerDisconnectedError, aiohttp.ClientConnectorError]


def test_a_handshake_that_takes_too_long_is_recorded_as_such(cassette: Open) -> None:
    release = threading.Event()

    def script(line: Line) -> None:
        release.wait(LONGEST_S)

    async def story(url: str) -> type[BaseException]:
        timeout = aiohttp.ClientTimeout(total=0.2)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            with pytest.raises(TimeoutError) as caught:
                await session.ws_connect(url + "/ws")
            return type(caught.value)

    with WireServer(script) as server:
        with cassette(server, "rewrite"):
            recorded = run(story, server.url)
        release.set()
    with cassette(server):
        assert run(story, server.url) is recorded


def test_a_subprotocol_and_the_headers_of_the_answer_replay(cassette: Open) -> None:
    def script(line: Line) -> None:
        assert line.headers["sec-websocket-protocol"] == "v1.json,v2.json"
        line.accept(headers=[("X-Node", "a-7"), ("Set-Cookie", "theme=dark; Path=/")], subprotocol="v2.json")
        line.close()

    async def story(url: str) -> Any:
        protocols = ("v1.json", "v2.json")
        async with aiohttp.ClientSession() as session, session.ws_connect(url, protocols=protocols) as ws:
            await ws.receive(timeout=5)
            return ws.protocol, ws._response.headers["X-Node"]

    live, recorded, replayed = performed(script, cassette, lambda url: run(story, url + "/ws"))
    assert live == recorded == replayed == ("v2.json", "a-7")


def test_trace_events_of_a_handshake_are_those_of_live(cassette: Open) -> None:
    async def story(url: str) -> list[str]:
        events: list[str] = []
        config = aiohttp.TraceConfig()
        for name in ("request_start", "connection_create_start", "connection_create_end", "request_end"):

            async def note(session: object, context: object, params: Any, name: str = name) -> None:
                events.append(name)

            getattr(config, f"on_{name}").append(note)
        async with aiohttp.ClientSession(trace_configs=[config]) as session, session.ws_connect(url) as ws:
            await ws.receive(timeout=5)
        return events

    def script(line: Line) -> None:
        line.accept(("text", b"1"))
        line.until_closed()

    live, recorded, replayed = performed(script, cassette, lambda url: run(story, url + "/ws"))
    assert live == recorded == replayed
    assert len(live) == 4
