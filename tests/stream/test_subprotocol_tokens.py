"""A token in the subprotocol: where a client can give no header, some exchanges take it there and say it again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
import websocket
from websockets.asyncio.client import connect as asyncio_connect
from websockets.sync.client import connect as sync_connect

from .conftest import Open
from .websockets_stage import legacy_connect
from .wire_server import Line, WireServer

OLD, NEW = "Bearer.eyJhbGciOiJIUzI1NiJ9", "Bearer.c2Vjb25kU2Vzc2lvbg1"


async def by_aiohttp(url: str, token: str) -> tuple[str | None, str]:
    async with aiohttp.ClientSession() as session, session.ws_connect(url, protocols=("v1.json", token)) as ws:
        return ws.protocol, await ws.receive_str()


async def by_asyncio(url: str, token: str) -> tuple[str | None, str]:
    async with asyncio_connect(url, subprotocols=["v1.json", token]) as ws:  # type: ignore[list-item]
        return ws.subprotocol, str(await ws.recv())


async def by_legacy(url: str, token: str) -> tuple[str | None, str]:
    async with legacy_connect(url, subprotocols=["v1.json", token]) as ws:  # type: ignore[list-item]
        return ws.subprotocol, str(await ws.recv())


def by_sync(url: str, token: str) -> tuple[str | None, str]:
    with sync_connect(url, subprotocols=["v1.json", token]) as ws:  # type: ignore[list-item]
        return ws.subprotocol, str(ws.recv())


def by_websocket_client(url: str, token: str) -> tuple[str | None, str]:
    ws = websocket.create_connection(url, subprotocols=["v1.json", token], timeout=5)
    try:
        return ws.getsubprotocol(), str(ws.recv())
    finally:
        ws.close()


CLIENTS: dict[str, Callable[[str, str], tuple[str | None, str]]] = {
    "aiohttp": lambda url, token: asyncio.run(by_aiohttp(url, token)),
    "asyncio": lambda url, token: asyncio.run(by_asyncio(url, token)),
    "legacy": lambda url, token: asyncio.run(by_legacy(url, token)),
    "sync": by_sync,
    "websocket-client": by_websocket_client,
}


def chooses_the_last(line: Line) -> None:
    token = line.headers["sec-websocket-protocol"].split(",")[-1].strip()
    line.accept(subprotocol=token)
    line.send(f"welcome {token}")
    line.until_closed()


@pytest.mark.parametrize("name", CLIENTS)
def test_a_token_in_the_subprotocol_is_not_stored_and_another_one_matches(
    cassette: Open, tmp_path: Path, name: str
) -> None:
    with WireServer(chooses_the_last) as server, cassette(server, "rewrite"):
        protocol, welcome = CLIENTS[name](server.url + "/ws", OLD)
    assert (str(protocol).lower(), welcome) == (OLD.lower(), f"welcome {OLD}")
    written = "".join(path.read_text() for path in tmp_path.rglob("*.jsonl"))
    assert "welcome Bearer." in written
    assert OLD.partition(".")[2].lower() not in written.lower()
    with cassette(server):
        protocol, welcome = CLIENTS[name](server.url + "/ws", NEW)
    assert str(protocol).lower() == NEW.lower()
    assert welcome.startswith("welcome Bearer.")


@pytest.mark.parametrize("plain", ["graphql-transport-ws", "v12.stomp", "actioncable-v1-json", "binary.k8s.io"])
def test_a_name_of_a_subprotocol_is_stored_as_it_is(cassette: Open, tmp_path: Path, plain: str) -> None:
    with WireServer(chooses_the_last) as server, cassette(server, "rewrite"):
        by_sync(server.url + "/ws", plain)
    with cassette(server):
        assert by_sync(server.url + "/ws", plain) == (plain, f"welcome {plain}")
    assert "REDACTED" not in "".join(path.read_text() for path in tmp_path.rglob("*.jsonl"))
