"""The feed over real HTTP, and what it wrote as a cassette."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from aiohttp import web

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.collect.polling import PollFeed, PollStats
from pytest_marketreplay.exchange.server import SimulatedExchange
from pytest_marketreplay.sinks.items import Gap, Item
from pytest_marketreplay.sinks.local import LocalSink
from pytest_marketreplay.venues.registry import Registry

BODY = b'{"lastUpdateId":%d,"bids":[["0.10000000","1"]],"asks":[["1.0E+1","2"]]}'
Handler = Callable[[web.BaseRequest, int], Awaitable[web.StreamResponse]]


def capture(handler: Handler, enough: int, interval_s: float = 0.02, **more: Any) -> tuple[list[Item], PollStats]:
    """Poll a server of this process until so many items came."""
    items: list[Item] = []

    async def go() -> PollStats:
        stop = asyncio.Event()
        count = 0

        async def serve(request: web.BaseRequest) -> web.StreamResponse:
            nonlocal count
            count += 1
            return await handler(request, count)

        server = web.Server(serve)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]

        def emit(item: Item) -> None:
            items.append(item)
            if len(items) == enough:
                stop.set()

        feed = PollFeed(
            Registry().venues["binance"],
            ["BTC-USDT"],
            interval_s,
            emit=emit,
            base_url=f"http://127.0.0.1:{port}/",
            **more,
        )
        try:
            await asyncio.wait_for(feed.run(stop), 30)
        finally:
            await runner.cleanup()
        return feed.stats()

    return items, asyncio.run(go())


def test_what_comes_packed_is_stored_unpacked_and_told() -> None:
    async def handler(request: web.BaseRequest, count: int) -> web.StreamResponse:
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json", "Set-Cookie": "session=abcdefgh1234"}
        return web.Response(body=gzip.compress(BODY % count), headers=headers)

    items, _ = capture(handler, 3)
    lines = b"".join(item.line or b"" for item in items)
    assert b'"response":' + BODY % 1 in lines
    assert b'"content_encoding":"gzip"' in lines
    assert b"content-encoding" not in lines.lower()
    assert b"abcdefgh1234" not in lines


@pytest.mark.parametrize("kind", ["reset", "truncated", "redirect"])
def test_an_answer_that_breaks_off_is_a_failure(kind: str) -> None:
    async def handler(request: web.BaseRequest, count: int) -> web.StreamResponse:
        if count != 2:
            return web.Response(body=BODY % count, content_type="application/json")
        if kind == "redirect":
            return web.Response(status=302, headers={"Location": "/elsewhere"})
        assert request.transport is not None
        if kind == "truncated":
            response = web.StreamResponse(headers={"Content-Length": "100"})
            await response.prepare(request)
            await response.write(b'{"lastUpdateId"')
            request.transport.close()
            return response
        request.transport.abort()
        return web.Response()

    items, stats = capture(handler, 4)
    assert stats.failed == 1
    gaps = [item.gap for item in items if item.gap is not None and item.gap.kind == "failed"]
    assert [gap.count for gap in gaps] == [1]


def test_a_server_that_says_nothing_is_given_up() -> None:
    async def handler(request: web.BaseRequest, count: int) -> web.StreamResponse:
        if count == 1:
            await asyncio.sleep(30)
        return web.Response(body=BODY % count, content_type="application/json")

    items, stats = capture(handler, 3, timeout_s=0.2)
    assert stats.failed == 1
    assert any(item.gap and "no answer in time" in item.gap.reason for item in items)


def test_nobody_listens_and_it_is_said() -> None:
    items: list[Item] = []

    async def go() -> None:
        stop = asyncio.Event()
        feed = PollFeed(
            Registry().venues["binance"], ["BTC-USDT"], 0.05, emit=items.append, base_url="http://127.0.0.1:1"
        )
        asyncio.get_running_loop().call_later(0.2, stop.set)
        await feed.run(stop)
        assert feed.stats().stored == 0
        assert feed.stats().failed > 0

    asyncio.run(go())
    assert "ClientConnectorError" in (items[0].gap or Gap("", 0, 0, 0)).reason


@pytest.mark.parametrize(("venue", "pair"), [("binance", "BTC-USDT"), ("kraken", "BTC-USD")])
def test_what_was_captured_from_the_exchange_in_the_box_replays(venue: str, pair: str, tmp_path: Path) -> None:
    sink = LocalSink(tmp_path)
    sink.open()
    stored: list[bytes] = []
    with SimulatedExchange() as exchange:

        async def go() -> None:
            stop = asyncio.Event()

            def emit(item: Item) -> None:
                sink.write([item])
                if item.snapshot is not None:
                    stored.append((item.line or b"").partition(b'"response":')[2][:-2])
                    exchange.step()
                if len(stored) == 5:
                    stop.set()

            profile = Registry().venues[venue]
            feed = PollFeed(profile, [pair], 0.02, emit=emit, base_url=exchange.url(venue))
            await asyncio.wait_for(feed.run(stop), 30)

        asyncio.run(go())
    sink.close()
    polling = Registry().venues[venue].polling()
    assert polling is not None
    url = polling.rest + polling.target(pair, 500)
    with use_cassette(tmp_path):
        assert [requests.get(url, timeout=10).content for _ in range(5)] == stored[:5]
    assert len(set(stored)) > 1
