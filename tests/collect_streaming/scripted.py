"""A scripted venue of Binance's shape on loopback, and what a feed under test handed out."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web

from pytest_marketreplay.cassette.frame import Frame, read_frame
from pytest_marketreplay.collect.stream_states import Patience, State
from pytest_marketreplay.collect.streaming import StreamFeed
from pytest_marketreplay.sinks.items import Gap, Item, Snapshot
from pytest_marketreplay.venues.registry import Registry

Script = Callable[["Talk"], Awaitable[None]]
QUICK = Patience(
    handshake_s=2.0,
    acknowledgement_s=2.0,
    heartbeat_s=5.0,
    proven_s=0.05,
    backoff_s=0.01,
    backoff_cap_s=0.04,
    overlap_s=2.0,
    book_pause_s=0.005,
    rest_s=2.0,
    close_s=0.5,
)
"""Short where a test waits for it, long where it must not be what ends a test."""


def diff(number: int, symbol: str = "BTCUSDT") -> str:
    """Return the depth diff with just this update id, in a combined stream."""
    data = {"e": "depthUpdate", "E": number, "s": symbol, "U": number, "u": number, "b": [[f"{number}", "1"]], "a": []}
    return json.dumps({"stream": f"{symbol.lower()}@depth@100ms", "data": data})


def trade(number: int, symbol: str = "BTCUSDT") -> str:
    """Return a trade with this id, in a combined stream."""
    data = {"e": "trade", "E": 1, "s": symbol, "t": number, "p": "5", "q": "1", "T": 1, "m": True}
    return json.dumps({"stream": f"{symbol.lower()}@trade", "data": data})


class Talk:
    """One connection, from the venue's side."""

    def __init__(self, venue: Scripted, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.venue, self.socket, self.request = venue, socket, request
        self.number = venue.connections

    async def say(self, *frames: str | bytes) -> None:
        for frame in frames:
            if isinstance(frame, str):
                await self.socket.send_str(frame)
            else:
                await self.socket.send_bytes(frame)

    async def diffs(self, *numbers: int, symbol: str = "BTCUSDT") -> None:
        """Send diffs of these ids; a snapshot that is asked for afterwards has them all."""
        for number in numbers:
            self.venue.last_id[symbol] = max(self.venue.last_id.get(symbol, 0), number)
            await self.say(diff(number, symbol))

    async def listen(self) -> None:
        """Answer what the client sends, until it goes."""
        async for message in self.socket:
            if message.type is WSMsgType.TEXT:
                said = json.loads(message.data) if message.data != "ping" else "ping"
                self.venue.heard.append(said)
                await self.say(self.venue.answer(said))
            elif message.type is WSMsgType.PING:
                self.venue.pings += 1
                await self.socket.pong(message.data)

    def cut(self) -> None:
        assert self.request.transport is not None
        self.request.transport.abort()


class Scripted:
    """Serve `/stream` by a script for each connection (the last one goes on), and `/api/v3/depth` from `last_id`."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = scripts
        self.connections = self.pings = 0
        self.last_id: dict[str, int] = {}
        self.heard: list[Any] = []
        self.paths: list[str] = []
        self.books_asked = 0
        self.book_answers: list[web.Response] = []
        """Taken before the real ones."""
        self.refusals: list[web.Response] = []
        """Of handshakes."""
        self.answer: Callable[[Any], str] = lambda said: json.dumps({"result": None, "id": said["id"]})
        self._started = time.perf_counter()

    def now(self) -> int:
        """Return the id that a market which moves every 2 ms is at."""
        return 1000 + int((time.perf_counter() - self._started) / 0.002)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path_qs)
        if self.refusals:
            return self.refusals.pop(0)
        socket = web.WebSocketResponse(autoping=False, timeout=0.2)
        await socket.prepare(request)
        self.connections += 1
        script = self.scripts[min(self.connections, len(self.scripts)) - 1]
        try:
            await script(Talk(self, socket, request))
        except (ConnectionError, RuntimeError):
            pass  # the client was faster
        return socket

    async def _book(self, request: web.Request) -> web.Response:
        self.books_asked += 1
        if self.book_answers:
            return self.book_answers.pop(0)
        known = self.last_id.get(request.query["symbol"], 0)
        body = {"lastUpdateId": known, "bids": [["4", "1"]], "asks": [["1000000", "1"]]}
        return web.json_response(body, headers={"Set-Cookie": "session=hush"})

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Listen on a free port; gives host and port."""
        app = web.Application()
        for path in ("/stream", "/ws", "/ws/v5/public"):
            app.router.add_get(path, self._socket)
        app.router.add_get("/api/v3/depth", self._book)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


class Caught:
    """What a feed emitted."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.states: list[State] = []

    @property
    def gaps(self) -> list[Gap]:
        return [item.gap for item in self.items if item.gap is not None]

    @property
    def snapshots(self) -> list[Snapshot]:
        return [item.snapshot for item in self.items if item.snapshot is not None]

    @property
    def lines(self) -> list[bytes]:
        return [item.line for item in self.items if item.line is not None]

    @property
    def frames(self) -> list[Frame]:
        lines = (line for line in self.lines if b'"dir":"' in line and b'"dir":"gap"' not in line)
        return [read_frame(line.rstrip(b"\n")) for line in lines]


class Running:
    """A feed that runs, and what it emitted so far."""

    def __init__(self, feed: StreamFeed, caught: Caught) -> None:
        self.feed, self.caught = feed, caught

    def count(self, name: str) -> int:
        return self.feed.stats().counts[name]

    async def until(self, condition: Callable[[], object], seconds: float = 8.0) -> None:
        """Wait until something holds; each turn of the loop looks, because the feed tells nobody."""
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.001)


@asynccontextmanager
async def running(
    address: str,
    pairs: Iterable[str] = ("BTC-USDT",),
    *,
    patience: Patience = QUICK,
    venue: str = "binance",
    path: str = "",
    rest_path: str = "",
    **options: Any,
) -> AsyncIterator[Running]:
    """Run a feed against a server for the length of a block, and end it well."""
    caught = Caught()
    feed = StreamFeed(
        Registry().venues[venue],
        pairs,
        emit=caught.items.append,
        ws_url=f"ws://{address}{path}",
        rest_url=f"http://{address}{rest_path}",
        patience=patience,
        rng=random.Random(1),
        **{"interval_s": None, **options},
    )
    stop = asyncio.Event()
    task = asyncio.create_task(feed.run(stop))
    try:
        yield Running(feed, caught)
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)
