"""Rare ways through the clients: what is not recorded, what passes by a session, and what is looked at by hardly anybody."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import urllib3
from aiohttp import web
from requests.adapters import HTTPAdapter

from pytest_marketreplay.api import use_cassette

from .conftest import Open
from .stage import full_backlog
from .sync_clients import TLS
from .wire import BOOK, CLOSE, JSON, SCRIPT, Wire, plain


def by_aiohttp(url: str, **options: Any) -> bytes:
    async def main() -> bytes:
        async with aiohttp.ClientSession(**options) as session, session.get(url) as response:
            return await response.read()

    return asyncio.run(main())


def by_httpx(url: str, **options: Any) -> bytes:
    with httpx.Client(verify=TLS, trust_env=False) as client:
        return client.get(url, **options).content


def by_httpx_async(url: str, **options: Any) -> bytes:
    async def main() -> bytes:
        async with httpx.AsyncClient(verify=TLS, trust_env=False) as client:
            return (await client.get(url, **options)).content

    return asyncio.run(main())


def by_urllib3(url: str, **options: Any) -> bytes:
    with urllib3.PoolManager() as pool:
        data: bytes = pool.request("GET", url, retries=False, **options).data
        return data


def by_requests(url: str, **options: Any) -> bytes:
    with requests.Session() as session:
        session.trust_env = False
        content: bytes = session.get(url, timeout=10, **options).content
        return content


WAYS: dict[str, Callable[..., bytes]] = {
    "aiohttp": by_aiohttp,
    "httpx": by_httpx,
    "httpx async": by_httpx_async,
    "urllib3": by_urllib3,
    "requests": by_requests,
}


@pytest.mark.parametrize("mode", ["none", "rewrite"])
@pytest.mark.parametrize("client", WAYS)
def test_a_server_of_the_tests_own_is_asked_and_not_recorded(
    client: str, mode: str, wire: Wire, tmp_path: Path
) -> None:
    with use_cassette(tmp_path / "cassette", mode=mode) as session:
        assert WAYS[client](wire.url + "/book") == BOOK
        assert (session.recorded, session.replayed, session.refusals) == (0, 0, [])
    assert wire.seen["/book"] == 1


@pytest.mark.parametrize("client", WAYS)
def test_what_is_recorded_already_is_replayed_while_new_episodes_are_recorded(
    client: str, wire: Wire, cassette: Open
) -> None:
    with cassette("rewrite"):
        WAYS[client](wire.url + "/book")
    with cassette("new_episodes") as session:
        assert WAYS[client](wire.url + "/book") == BOOK
        assert (session.recorded, session.replayed) == (0, 1)
    assert wire.seen["/book"] == 1


@pytest.mark.parametrize(
    ("owner", "name", "get"),
    [
        (aiohttp.BaseConnector, "connect", by_aiohttp),
        (httpx.HTTPTransport, "handle_request", by_httpx),
        (httpx.AsyncHTTPTransport, "handle_async_request", by_httpx_async),
    ],
)
def test_a_patch_that_stays_under_somebody_elses_passes_everything_on(
    owner: Any, name: str, get: Callable[[str], bytes], wire: Wire, cassette: Open
) -> None:
    original = getattr(owner, name)
    with cassette("none"):
        ours = getattr(owner, name)

        def theirs(*args: Any, **more: Any) -> Any:
            return ours(*args, **more)

        setattr(owner, name, theirs)
    try:
        assert getattr(owner, name) is theirs
        assert get(wire.url + "/book") == BOOK
    finally:
        setattr(owner, name, original)
    assert wire.seen["/book"] == 1


def failing_aiohttp(url: str) -> bytes:
    async def fail(*_: Any) -> None:
        raise ValueError("Invalid: a bug of the test's own")

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(fail)
    return by_aiohttp(url, trace_configs=[trace])


def failing_httpx(url: str) -> bytes:
    def fail(name: str, info: Any) -> None:
        raise ValueError("Invalid: a bug of the test's own")

    return by_httpx(url, extensions={"trace": fail})


def failing_httpx_async(url: str) -> bytes:
    async def fail(name: str, info: Any) -> None:
        raise ValueError("Invalid: a bug of the test's own")

    return by_httpx_async(url, extensions={"trace": fail})


def failing_urllib3(url: str) -> bytes:
    return by_urllib3(url, headers={"X-Broken": "a\nb"})


@pytest.mark.parametrize("get", [failing_aiohttp, failing_httpx, failing_httpx_async, failing_urllib3])
def test_an_error_that_is_not_the_networks_is_raised_and_not_recorded(
    get: Callable[[str], bytes], wire: Wire, cassette: Open
) -> None:
    with cassette("rewrite") as session:
        with pytest.raises(ValueError, match="Invalid"):
            get(wire.url + "/book")
        assert session.recorded == 0
    assert wire.seen["/book"] == 0


@pytest.mark.parametrize("mode", ["none", "rewrite"])
def test_a_websocket_to_a_server_of_the_tests_own_works(mode: str, cassette: Open) -> None:
    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(await socket.receive_str())
        await socket.close()
        return socket

    async def main() -> str:
        app = web.Application()
        app.router.add_get("/ws", echo)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with (
                aiohttp.ClientSession() as client,
                client.ws_connect(f"ws://127.0.0.1:{runner.addresses[0][1]}/ws") as socket,
            ):
                await socket.send_str("subscribe")
                return await socket.receive_str()
        finally:
            await runner.cleanup()

    with cassette(mode) as session:
        assert asyncio.run(main()) == "subscribe"
        assert (session.recorded, session.refusals) == (0, [])


def test_a_connector_that_is_closed_during_the_request_fails_as_it_does_live(wire: Wire, cassette: Open) -> None:
    async def close(session: aiohttp.ClientSession, *_: Any) -> None:
        assert session.connector is not None
        await session.connector.close()

    def ask() -> tuple[type, str]:
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(close)
        with pytest.raises(aiohttp.ClientConnectionError) as caught:
            by_aiohttp(wire.url + "/book", trace_configs=[trace])
        return caught.type, str(caught.value)

    with cassette("rewrite"):
        by_aiohttp(wire.url + "/book")
    live = ask()
    with cassette("none"):
        assert ask() == live


def test_a_total_timeout_while_connecting_is_recorded_and_replayed(tmp_path: Path) -> None:
    """Its cancellation passes through the recorder, and becomes a timeout only outside of it."""
    with full_backlog() as port:
        for mode in ("rewrite", "none"):
            with use_cassette(tmp_path / "cassette", mode=mode, hosts={f"127.0.0.1:{port}": "wire"}) as session:
                timeout = aiohttp.ClientTimeout(total=0.25)
                with pytest.raises(TimeoutError):
                    by_aiohttp(f"http://127.0.0.1:{port}/book", timeout=timeout)
                assert (session.recorded, session.replayed) == ((1, 0) if mode == "rewrite" else (0, 1))


@pytest.mark.skipif(not hasattr(aiohttp, "UploadTracker"), reason="an older aiohttp does not count what is sent")
@pytest.mark.parametrize("mode", ["rewrite", "none"])
def test_what_was_uploaded_is_counted_as_it_is_live(mode: str, wire: Wire, cassette: Open) -> None:
    async def main() -> list[int]:
        tracker, counted = aiohttp.UploadTracker(), []

        async def parts() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield b"x" * 500
                counted.append(tracker.bytes_written)

        async with (
            aiohttp.ClientSession() as session,
            session.post(wire.url + "/book", data=parts(), upload_tracker=tracker) as response,
        ):
            await response.read()
            await tracker.upload_complete
        return counted

    if mode == "none":
        with cassette("rewrite"):
            asyncio.run(main())
    with cassette(mode):
        assert asyncio.run(main()) == [500, 1000, 1500]


def test_an_answer_with_more_header_names_than_are_remembered_has_them_all(
    wire: Wire, cassette: Open, tmp_path: Path
) -> None:
    with cassette("rewrite"):
        by_aiohttp(wire.url + "/book")
    path = next(tmp_path.rglob("*.jsonl"))
    line = json.loads(path.read_text())
    own = {f"X-Own-{number}": str(number) for number in range(1100)}
    line["meta"]["headers"] |= own
    path.write_text(json.dumps(line) + "\n")

    async def main() -> dict[str, str]:
        async with aiohttp.ClientSession() as session, session.get(wire.url + "/book") as response:
            return {name: value for name, value in response.headers.items() if name.startswith("X-Own-")}

    with cassette("none"):
        assert asyncio.run(main()) == own


@pytest.mark.parametrize("get", [by_httpx, by_httpx_async])
def test_an_answer_that_is_not_http_fails_in_httpx_own_class(
    get: Callable[[str], bytes], wire: Wire, cassette: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCRIPT, "/nonsense", (b"hello, this is no answer\r\n\r\n", CLOSE))
    for mode in ("rewrite", "none"):
        with cassette(mode), pytest.raises(httpx.RemoteProtocolError, match="illegal status line"):
            get(wire.url + "/nonsense")
    assert wire.seen["/nonsense"] == 1


def test_the_network_stream_of_a_replayed_answer_knows_nothing_about_itself(wire: Wire, cassette: Open) -> None:
    with cassette("rewrite"), httpx.Client(verify=TLS, trust_env=False) as client:
        client.get(wire.url + "/book")
    with cassette("none"), httpx.Client(verify=TLS, trust_env=False) as client:
        stream = client.get(wire.url + "/book").extensions["network_stream"]
        assert stream.get_extra_info("server_addr") is None


def test_what_a_response_of_requests_has_not_it_has_not_in_a_replay_either(wire: Wire, cassette: Open) -> None:
    for mode in ("rewrite", "none"):
        with cassette(mode), requests.Session() as session:
            response = session.get(wire.url + "/book", timeout=10)
            response.raw.close()
            assert response.raw.closed
            assert not hasattr(response.raw, "nothing_of_this_name")
            assert not hasattr(response.headers, "nothing_of_this_name")
            assert response.raw.status == 200


def test_an_adapter_that_builds_its_own_responses_does_so_in_a_replay(wire: Wire, cassette: Open) -> None:
    class Marking(HTTPAdapter):
        def build_response(self, req: Any, resp: Any) -> requests.Response:
            built = super().build_response(req, resp)
            built.reason = "marked"
            return built

    for mode in ("rewrite", "none"):
        with cassette(mode), requests.Session() as session:
            session.mount("http://", Marking())
            response = session.get(wire.url + "/book", timeout=10)
            assert (response.reason, response.content) == ("marked", BOOK)


def test_a_header_that_comes_in_two_spellings_has_both_values(
    wire: Wire, cassette: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCRIPT, "/spellings", (plain(BOOK, JSON, "X-Weight: 1", "x-weight: 2"),))
    for mode in ("rewrite", "none"):
        with cassette(mode), requests.Session() as session:
            response = session.get(wire.url + "/spellings", timeout=10)
            assert response.headers["X-Weight"] == "1, 2"
            assert response.raw.headers.getlist("x-weight") == ["1", "2"]


def test_a_header_that_was_written_by_hand_in_two_spellings_has_both_values(
    wire: Wire, cassette: Open, tmp_path: Path
) -> None:
    with cassette("rewrite"):
        by_requests(wire.url + "/book")
    path = next(tmp_path.rglob("*.jsonl"))
    line = json.loads(path.read_text())
    line["meta"]["headers"] |= {"X-Weight": "1", "x-weight": "2"}
    path.write_text(json.dumps(line) + "\n")
    with cassette("none"), requests.Session() as session:
        assert session.get(wire.url + "/book", timeout=10).headers["X-Weight"] == "1, 2"


def test_a_tunnel_is_opened_when_the_request_does_go_out(wire: Wire, cassette: Open) -> None:
    """A replay never asks the proxy; a recording asks it for the tunnel, and fails as the client does live."""
    url = wire.url.replace("http:", "https:") + "/book"

    def through_the_proxy() -> str:
        with urllib3.ProxyManager(wire.url) as proxy, pytest.raises(urllib3.exceptions.ProxyError) as caught:
            proxy.request("GET", url, retries=False)
        return str(caught.value.original_error)

    live = through_the_proxy()
    tunnel = url.removeprefix("https://").removesuffix("/book")
    assert wire.seen[tunnel] == 1
    with cassette("rewrite"):
        assert through_the_proxy() == live
    assert "Tunnel connection failed: 404" in live
    assert wire.seen[tunnel] == 2


@pytest.mark.parametrize("amount", [None, 16])
@pytest.mark.parametrize("path", ["/half", "/half-chunked", "/stalls"])
def test_a_body_that_breaks_off_can_be_read_as_it_came(
    path: str, amount: int | None, wire: Wire, cassette: Open
) -> None:
    """`read1` of `http.client` does not raise at an early end; urllib3 does so where a size was asked for.

    What came of a chunked or stalled body is lost while it is recorded, as it is to a client that reads it whole.
    """

    def read() -> tuple[bytes, str]:
        timeout = urllib3.Timeout(connect=10, read=0.25)
        with urllib3.PoolManager(timeout=timeout) as pool:
            response = pool.request("GET", wire.url + path, retries=False, preload_content=False)
            came = b""
            try:
                while piece := response.read1(amount):
                    came += piece
            except urllib3.exceptions.HTTPError as error:
                return came, re.sub("0x[0-9a-f]+", "0x", f"{type(error).__name__}: {error}")
            return came, "no error"

    live = read()
    assert live[0].startswith(BOOK)
    assert (live[1] == "no error") == (path == "/half" and amount is None)
    for mode in ("rewrite", "none"):
        with cassette(mode):
            came, error = read()
            assert error == live[1]
            assert came == live[0] or path != "/half"


def test_what_never_left_the_client_is_no_failure_of_the_exchange(wire: Wire, cassette: Open) -> None:
    with cassette("rewrite") as session, httpx.Client() as client:
        with pytest.raises(httpx.LocalProtocolError):
            client.get(wire.url, headers={"X-Broken": "two\nlines"})
        with pytest.raises(httpx.UnsupportedProtocol):
            client.get(f"ftp{wire.url.removeprefix('http')}")
    assert session.recorded == 0
