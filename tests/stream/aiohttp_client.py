"""What a client of `aiohttp` does on one connection, and what it sees."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from .conftest import Open
from .wire_server import Line, WireServer

LONGEST_S = 20.0
Seen = list[Any]


def subscription(*streams: str, number: int = 1) -> str:
    return json.dumps({"method": "SUBSCRIBE", "params": list(streams), "id": number})


def exchange(line: Line) -> None:
    """Accept, greet, acknowledge a subscription, send three updates, and close with 1001 once the client has asked."""
    line.accept(("text", b'{"hello":"trader"}'))
    order = line.subscribed()
    line.send(json.dumps({"result": None, "id": order["id"]}))
    for number in range(3):
        line.send(f'{{"s":"{order["params"][0]}", "u":{number}, "p":"0.10000000"}}')
    line.subscribed()
    line.close(1001, "maintenance")


async def talk(url: str, *sends: str, **options: Any) -> Seen:
    """Connect; send each message after a frame came; read until the connection ends."""
    async with aiohttp.ClientSession() as session, session.ws_connect(url, **options) as ws:
        seen: Seen = []
        waiting = list(sends)
        while True:
            message = await ws.receive(timeout=LONGEST_S)
            seen.append((message.type.name, message.data, message.extra))
            if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                return [*seen, ("ended", ws.close_code, ws.closed)]
            if waiting:
                await ws.send_str(waiting.pop(0))


def run(story: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Run a coroutine in a loop of its own; what hangs ends after 20 s."""

    async def bounded() -> Any:
        return await asyncio.wait_for(story(*args, **options), LONGEST_S)

    return asyncio.run(bounded())


def lines(folder: Path) -> list[dict[str, Any]]:
    """Read all that a cassette holds."""
    return [json.loads(line) for path in sorted(folder.rglob("*.jsonl")) for line in path.read_text().splitlines()]


def performed(script: Callable[[Line], None], cassette: Open, story: Callable[[str], Any]) -> tuple[Any, Any, Any]:
    """Perform a story live, while it is recorded, and replayed with the server stopped."""
    with WireServer(script) as server:
        live = story(server.url)
        with cassette(server, "rewrite"):
            recorded = story(server.url)
    with cassette(server):
        return live, recorded, story(server.url)
