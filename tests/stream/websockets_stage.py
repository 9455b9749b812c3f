"""A loopback exchange whose connections are scripted, and the three clients of `websockets` with one face."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web
from websockets.asyncio.client import connect as asyncio_connect
from websockets.sync import client as sync_client
from websockets.sync.client import connect as sync_connect

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.replay.session import Session

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from websockets.legacy.client import connect as legacy_connect

SUBSCRIBE = '{"method":"SUBSCRIBE","params":["btcusdt@depth"],"id":%d}'
STOP = '{"method":"STOP","params":[],"id":9,"code":%d}'

Script = Callable[[web.WebSocketResponse, web.Request], Awaitable[None]]


async def serve_subscription(ws: web.WebSocketResponse, request: web.Request) -> None:
    """Greet; acknowledge each SUBSCRIBE with its id and send three updates of its stream; close when asked to."""
    await ws.send_str('{"hello":"trader"}')
    async for message in ws:
        if message.type == WSMsgType.PING:
            await ws.pong(message.data)
        elif message.type == WSMsgType.TEXT:
            order = message.json()
            if order["method"] == "STOP":
                await ws.close(code=order["code"], message=b"maintenance")
                return
            await ws.send_str(f'{{"result":null,"id":{order["id"]}}}')
            for number in range(3):
                await ws.send_str(f'{{"s":"{order["params"][0]}", "u":{number}, "p":"0.10000000"}}')


class ScriptedExchange:
    """A WebSocket server in a thread; `scripts` maps a path to what its connections do."""

    def __init__(self, **scripts: Script | Callable[[web.Request], Awaitable[Any]]) -> None:
        self.scripts: dict[str, Any] = {"subscription": serve_subscription, **scripts}
        self.headers: list[dict[str, str]] = []
        self.opened = 0

    def __enter__(self) -> ScriptedExchange:
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(5)
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close everything; nothing listens any more."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop)
            self._thread.join(5)
            self._loop.close()

    def url(self, path: str) -> str:
        return f"ws://{self.host}/ws/{path}"

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_get("/ws/{name:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        self._loop.run_until_complete(self._runner.setup())
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.host = f"127.0.0.1:{self._runner.addresses[0][1]}"
        ready.set()
        self._loop.run_forever()

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await _end_tasks()
        self._loop.stop()

    async def _handle(self, request: web.Request) -> Any:
        self.opened += 1
        self.headers.append(dict(request.headers))
        script = self.scripts[request.match_info["name"].partition("/")[0]]
        if getattr(script, "answers", False):
            return await script(request)
        ws = web.WebSocketResponse(autoping=False, max_msg_size=0, protocols=("v2.market",))
        await ws.prepare(request)
        await script(ws, request)
        return ws


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)


def answering(script: Callable[[web.Request], Awaitable[Any]]) -> Any:
    """Mark a script that answers the request itself."""
    script.answers = True  # type: ignore[attr-defined]
    return script


def reset(request: web.Request) -> None:
    """Reset a connection: the client's next read fails."""
    assert request.transport is not None
    raw = request.transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.transport.abort()


class Line:
    """One connection, whichever client opened it."""

    def __init__(self, client: Client, ws: Any) -> None:
        self._client, self.ws = client, ws

    def recv(self, timeout: float | None = 5) -> str | bytes:
        return self._client.recv(self.ws, timeout)

    def send(self, message: Any) -> None:
        self._client.wait(self.ws.send(message))

    def ping(self, data: bytes = b"are you there") -> None:
        self._client.ping(self.ws, data)

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._client.wait(self.ws.close(code, reason))

    def rest(self) -> list[Any]:
        """Receive until the connection ends; the last item is what it ended with."""
        out: list[Any] = []
        try:
            while True:
                out.append(self.recv())
        except Exception as error:
            out.append(told(error))
        return out


def told(error: BaseException) -> tuple[str, str]:
    return type(error).__name__, str(error)


class Client:
    """A client of `websockets`, called without `await`."""

    name = ""

    def connect(self, url: str, **more: Any) -> Line:
        raise AssertionError

    def wait(self, result: Any) -> Any:
        return result

    def recv(self, ws: Any, timeout: float | None) -> Any:
        raise AssertionError

    def ping(self, ws: Any, data: bytes) -> None:
        raise AssertionError

    def close(self) -> None:
        """Free what the client holds."""


class AsyncClient(Client):
    def __init__(self, name: str, connect: Any) -> None:
        self.name, self._connect = name, connect
        self.loop = asyncio.new_event_loop()
        self._open: list[Any] = []

    def connect(self, url: str, **more: Any) -> Line:
        if self.name == "legacy" and "additional_headers" in more:
            more["extra_headers"] = more.pop("additional_headers")

        async def opened() -> Any:
            return await self._connect(url, **more)

        self._open.append(self.wait(opened()))
        return Line(self, self._open[-1])

    def wait(self, result: Any) -> Any:
        return self.loop.run_until_complete(result)

    def recv(self, ws: Any, timeout: float | None) -> Any:
        return self.wait(asyncio.wait_for(ws.recv(), timeout))

    def ping(self, ws: Any, data: bytes) -> None:
        async def there_and_back() -> None:
            await asyncio.wait_for(await ws.ping(data), 5)

        self.wait(there_and_back())

    def close(self) -> None:
        for ws in self._open:
            ws.transport.abort()
        self.loop.run_until_complete(_end_tasks())
        self.loop.close()


class SyncClient(Client):
    name = "sync"

    def __init__(self) -> None:
        self._open: list[Any] = []

    def connect(self, url: str, **more: Any) -> Line:
        if hasattr(sync_client, "reconnect"):
            more["legacy"] = True  # 17: else a warning that it is not used in a `with`
        ws = sync_connect(url, **more)
        self._open.append(ws)
        return Line(self, ws)

    def recv(self, ws: Any, timeout: float | None) -> Any:
        return ws.recv(timeout)

    def ping(self, ws: Any, data: bytes) -> None:
        assert ws.ping(data).wait(5)

    def close(self) -> None:
        for ws in self._open:
            ws.close_socket()
            ws.recv_events_thread.join(5)


def clients() -> dict[str, Callable[[], Client]]:
    return {
        "asyncio": lambda: AsyncClient("asyncio", asyncio_connect),
        "sync": SyncClient,
        "legacy": lambda: AsyncClient("legacy", legacy_connect),
    }


def each_client(name: str) -> Iterator[Client]:
    client = clients()[name]()
    try:
        yield client
    finally:
        client.close()


class Stage:
    """A server, and a cassette in which it is an exchange."""

    def __init__(self, exchange: ScriptedExchange, folder: Path) -> None:
        self.exchange, self.folder = exchange, folder
        self.url = exchange.url

    def play(self, mode: str = "none", **more: Any) -> AbstractContextManager[Session]:
        return use_cassette(self.folder, mode=mode, hosts={self.exchange.host: "binance"}, **more)

    def lines(self) -> list[dict[str, Any]]:
        return [
            json.loads(line) for path in sorted(self.folder.rglob("*.jsonl")) for line in path.read_text().splitlines()
        ]

    def text(self) -> str:
        return "".join(path.read_text() for path in self.folder.rglob("*.jsonl"))


def subscribe_and_stop(client: Client, url: str, *, number: int = 1, code: int = 1001) -> list[Any]:
    line = client.connect(url)
    seen: list[Any] = [line.recv()]
    line.send(SUBSCRIBE % number)
    seen += [line.recv() for _ in range(4)]
    line.send(STOP % code)
    return seen + line.rest()
