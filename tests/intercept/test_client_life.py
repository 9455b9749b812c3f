"""Clients that live longer than a session, proxies that are not there, and bodies that can be read once."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import urllib3

from pytest_marketreplay.errors import UnrecordedRequest
from pytest_marketreplay.intercept.headers import header_bytes, header_text

from .conftest import Open
from .story import Once
from .sync_clients import TLS
from .wire import BOOK, Wire


class Sync:
    """A client object of a sync library, kept open."""

    def __init__(self, library: str) -> None:
        self._library = library
        self._client: Any
        if library == "requests":
            self._client = requests.Session()
        elif library == "urllib3":
            self._client = urllib3.PoolManager()
        else:
            self._client = httpx.Client(verify=TLS)

    def get(self, url: str) -> bytes:
        if self._library == "urllib3":
            data: bytes = self._client.request("GET", url, retries=False).data
            return data
        content: bytes = self._client.get(url, timeout=10).content
        return content

    def close(self) -> None:
        self._client.clear() if self._library == "urllib3" else self._client.close()


@pytest.mark.parametrize("library", ["requests", "urllib3", "httpx"])
def test_a_client_made_before_the_session_is_recorded_replayed_and_free_afterwards(
    library: str, wire: Wire, cassette: Open
) -> None:
    client = Sync(library)
    url = wire.url + "/book"
    assert client.get(url) == BOOK  # has an open connection now
    with cassette("rewrite") as session:
        client.get(url)
        assert session.recorded == 1
    assert wire.seen["/book"] == 2
    with cassette("none"):
        assert client.get(url) == BOOK
    assert wire.seen["/book"] == 2
    assert client.get(url) == BOOK
    assert wire.seen["/book"] == 3
    client.close()


@pytest.mark.parametrize("library", ["requests", "urllib3", "httpx"])
def test_a_client_made_in_a_session_that_replayed_goes_live_after_it(library: str, wire: Wire, cassette: Open) -> None:
    url = wire.url + "/book"
    with cassette("rewrite"):
        recorder = Sync(library)
        recorder.get(url)
    with cassette("none"):
        client = Sync(library)
        client.get(url)
    assert client.get(url) == recorder.get(url) == BOOK
    assert wire.seen["/book"] == 3
    client.close()
    recorder.close()


@pytest.mark.parametrize("library", ["aiohttp", "httpx"])
def test_an_async_client_lives_across_sessions(library: str, wire: Wire, cassette: Open) -> None:
    url = wire.url + "/book"

    async def get(client: Any) -> bytes:
        if library == "httpx":
            content: bytes = (await client.get(url)).content
            return content
        async with client.get(url) as response:
            body: bytes = await response.read()
            return body

    async def main() -> list[bytes]:
        made: Any = aiohttp.ClientSession() if library == "aiohttp" else httpx.AsyncClient(verify=TLS)
        async with made as client:
            out = [await get(client)]
            with cassette("rewrite"):
                out.append(await get(client))
            with cassette("none"):
                out.append(await get(client))
            out.append(await get(client))
        return out

    assert asyncio.run(main()) == [BOOK] * 4
    assert wire.seen["/book"] == 3


@pytest.fixture
def dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{port}")
            monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{port}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_replay_does_not_touch_the_proxy_of_the_environment(
    scheme: str, wire: Wire, cassette: Open, dead_proxy: None
) -> None:
    with cassette("rewrite"), requests.Session() as recorder:
        recorder.trust_env = False
        for _ in range(4):
            recorder.get(wire.url + "/book", timeout=10)
    wire.stop()
    url = wire.url.replace("http:", f"{scheme}:") + "/book"

    async def get_aiohttp() -> bytes:
        async with aiohttp.ClientSession(trust_env=True) as session, session.get(url) as response:
            return await response.read()

    async def get_httpx() -> bytes:
        async with httpx.AsyncClient() as client:
            return (await client.get(url)).content

    with cassette("none"):
        assert requests.get(url, timeout=10).content == BOOK
        assert httpx.get(url, timeout=10).content == BOOK
        assert asyncio.run(get_aiohttp()) == BOOK
        assert asyncio.run(get_httpx()) == BOOK


def test_a_retrying_adapter_behind_a_dead_proxy_replays(wire: Wire, cassette: Open, dead_proxy: None) -> None:
    with cassette("rewrite"), requests.Session() as recorder:
        recorder.trust_env = False
        recorder.get(wire.url + "/book", timeout=10)
    wire.stop()
    with cassette("none", exhausted="last"), requests.Session() as session:
        for scheme in ("http", "https"):
            session.mount(f"{scheme}://", requests.adapters.HTTPAdapter(max_retries=urllib3.Retry(2, backoff_factor=0)))
            assert session.get(f"{scheme}://127.0.0.1:{wire.port}/book", timeout=10).content == BOOK


def test_an_unrecorded_request_through_a_dead_proxy_is_a_miss_and_no_connection_error(
    wire: Wire, cassette: Open, dead_proxy: None
) -> None:
    with cassette("none") as session:
        with pytest.raises(UnrecordedRequest):
            requests.get("https://api.exchange.example/v1/book", timeout=10)
        session.refusals.clear()


@pytest.mark.parametrize("mode", ["rewrite", "none"])
def test_a_body_that_is_a_file_is_left_for_the_client_to_read(mode: str, wire: Wire, cassette: Open) -> None:
    """Reading it for a match would send an empty body; so it is no part of the match."""
    if mode == "none":
        with cassette("rewrite"):
            requests.post(wire.url + "/book", data=Once(b"a=1"), timeout=10)
    file = Once(b"a=1&b=2")
    with cassette(mode):
        assert requests.post(wire.url + "/book", data=file, timeout=10).content == BOOK
    assert file.tell() == (len(b"a=1&b=2") if mode == "rewrite" else 0)


def test_two_uploads_to_one_endpoint_replay_in_recorded_order(wire: Wire, cassette: Open) -> None:
    with cassette("rewrite"):
        for path in ("/banned", "/banned"):
            requests.post(wire.url + path, data=iter([b"one", b"two"]), timeout=10)
    with cassette("none") as session:
        for _ in range(2):
            assert requests.post(wire.url + "/banned", data=iter([b"anything"]), timeout=10).status_code == 418
        assert session.replayed == 2


@pytest.mark.parametrize("path", ["/silent", "/stalls"])
def test_a_call_that_the_test_itself_cancels_is_not_recorded(path: str, wire: Wire, cassette: Open) -> None:
    """It says nothing about the exchange; only the client's own timeout is a recorded failure."""

    async def main() -> None:
        async with aiohttp.ClientSession() as client:
            call = asyncio.create_task(client.get(wire.url + path))
            while not wire.seen[path]:
                await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    with cassette("rewrite") as session:
        asyncio.run(main())
        assert session.recorded == 0


def test_every_byte_of_a_header_comes_back() -> None:
    everything = bytes(range(256))
    assert header_bytes(header_text(everything)) == everything
    assert header_bytes("Bourse €") == "Bourse €".encode()
