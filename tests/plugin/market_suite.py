"""Inner suites that stream: the three WebSocket libraries under one name each, and a note of every frame."""

from __future__ import annotations

import importlib
import json
from typing import Any

from inner_suite import Suite

# an in-process run forgets what it imported, and a client that is imported again has other exception classes
for _name in ("websockets.asyncio.client", "websockets.sync.client", "websocket", "anyio", "time_machine"):
    importlib.import_module(_name)

LIBRARIES = ("aiohttp", "websockets", "websockets_sync", "websocket_client")
"""Names of the functions of the inner module `streams`, each of which reads frames of one connection."""

STREAMS = '''
"""Each library under one name: `library(path, count, send)` reads so many frames of one connection, and notes them."""
import asyncio
import json
import pathlib

import aiohttp as aiohttp_client
import websocket
from websockets.asyncio.client import connect
from websockets.sync.client import connect as connect_sync

from market import BINANCE, KRAKEN

WS = {"binance": BINANCE.replace("http://", "ws://"), "kraken": KRAKEN.replace("http://", "ws://")}
FRAMES = pathlib.Path(%(frames)r)
DEPTH = "/ws/btcusdt@depth@100ms"


def text(message):
    return message if isinstance(message, str) else json.dumps(message)


def note(name, frames):
    with FRAMES.open("a") as out:
        out.write(json.dumps([name, frames]) + "\\n")
    return frames


async def aiohttp_frames(path, count, send=None, base=WS["binance"]):
    async with aiohttp_client.ClientSession() as session, session.ws_connect(base + path) as ws:
        if send is not None:
            await ws.send_str(text(send))
        return [await ws.receive_str() for _ in range(count)]


async def websockets_frames(path, count, send=None, base=WS["binance"]):
    async with connect(base + path) as ws:
        if send is not None:
            await ws.send(text(send))
        return [await ws.recv() for _ in range(count)]


def aiohttp(path=DEPTH, count=3, send=None):
    return note("aiohttp", asyncio.run(aiohttp_frames(path, count, send)))


def websockets(path=DEPTH, count=3, send=None):
    return note("websockets", asyncio.run(websockets_frames(path, count, send)))


def websockets_sync(path=DEPTH, count=3, send=None):
    with connect_sync(WS["binance"] + path) as ws:
        if send is not None:
            ws.send(text(send))
        return note("websockets_sync", [ws.recv() for _ in range(count)])


def websocket_client(path=DEPTH, count=3, send=None):
    ws = websocket.create_connection(WS["binance"] + path)
    try:
        if send is not None:
            ws.send(text(send))
        return note("websocket_client", [ws.recv() for _ in range(count)])
    finally:
        ws.close()


ALL = (aiohttp, websockets, websockets_sync, websocket_client)
'''

HEAD = "import asyncio\nimport time\nimport pytest\nfrom market import *\nimport streams\nfrom streams import DEPTH, WS\n\n"


class StreamSuite(Suite):
    """A suite whose inner tests may use `streams`."""

    def __init__(self, pytester: Any, exchange: Any) -> None:
        super().__init__(pytester, exchange)
        self._frames = self.path / "frames.jsonl"
        self.write("streams.py", STREAMS % {"frames": str(self._frames)})

    def streaming(self, text: str, name: str = "test_it.py") -> None:
        """Write a test module that may use `ask`, `streams`, `asyncio`, `time` and `pytest`."""
        import textwrap

        self.write(name, HEAD + textwrap.dedent(text).lstrip("\n"))

    def frames(self) -> list[Any]:
        """Return what inner tests noted of frames since the last call: library, frames."""
        if not self._frames.exists():
            return []
        lines = [json.loads(line) for line in self._frames.read_text().splitlines()]
        self._frames.unlink()
        return lines
