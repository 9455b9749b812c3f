"""Kraken's streams, version 1 (`event: subscribe`) and version 2 (`method: subscribe`, path `/v2`).

Sources: Kraken API documentation, "Websockets API v1" (channels, subscriptionStatus) and "WebSocket v2".
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from pytest_marketreplay.cassette.frame import any_json
from pytest_marketreplay.venues.kraken import pair_name

from .client import Client
from .frames import Connection
from .kraken_v1 import V1Session, v1_route
from .native import Desk, Session, dumps, message_object, texts
from .pump import Pump, Render
from .timeline import Route, Routed, Router

_TAIL = re.compile(rb',\s*"([A-Za-z]+(?:-\d+)?)"\s*,\s*"([^"]+)"\s*\]\s*$')
_PRIVATE_TAIL = re.compile(rb',\s*"(ownTrades|openOrders)"\s*,\s*\{[^{}]*\}\s*\]\s*$')
_BOOK_STATE = re.compile(rb'\[\s*\d+\s*,\s*\{\s*"(?:as|bs)"')
_FIRST = re.compile(rb'"sequence"\s*:\s*1\s*\}')
_WITHOUT_SYMBOL = frozenset(("instrument", "executions", "balances", "status", "heartbeat"))


class _Item(msgspec.Struct):
    symbol: str | None = None
    interval: int | None = None


class _V2(msgspec.Struct):
    channel: str | None = None
    type: str | None = None
    data: list[_Item] | None = None
    method: str | None = None
    result: dict[str, Any] | None = None
    success: bool | None = None


_V2_MESSAGE = msgspec.json.Decoder(_V2)


def is_v2(path: str) -> bool:
    """Tell by its path whether a connection speaks version 2."""
    return path.rstrip("/").endswith("/v2")


def v2_route(channel: str, symbol: str | None, detail: Any = None) -> Route:
    """Return the route of a channel: a book's depth and a candle's interval (minutes) tell streams apart."""
    name = f"{channel}-{detail}" if detail is not None else channel
    return "v2", name, (pair_name(symbol) or symbol) if symbol and channel not in _WITHOUT_SYMBOL else ""


class KrakenRouter:
    """Tells recorded messages apart, and keeps what the exchange answered to subscriptions."""

    def __init__(self) -> None:
        self.acknowledged: dict[Route, dict[str, Any]] = {}
        """What the exchange said to a subscription of version 1."""
        self._depths: dict[tuple[Connection, str], int] = {}

    def opened(self, connection: Connection) -> list[Route]:
        """A URL of Kraken's names no stream."""
        return []

    def sent(self, connection: Connection, data: bytes) -> list[Route]:
        """What a client asks for counts when the exchange has acknowledged it."""
        return []

    def received(self, connection: Connection, data: bytes) -> Routed:
        """Return the stream of a message."""
        return self._v2(connection, data) if is_v2(connection.endpoint) else self._v1(data)

    def bare(self, data: bytes) -> bytes:
        """Kraken puts nothing around a message."""
        return data

    def _v1(self, data: bytes) -> Routed:
        if data[:1] == b"[":
            if (tail := _TAIL.search(data)) is not None:
                channel = tail[1].decode()
                pair = any_json(b'"%b"' % tail[2])
                return Routed(v1_route(channel, pair), channel.startswith("book") and bool(_BOOK_STATE.match(data)))
            if (private := _PRIVATE_TAIL.search(data)) is not None:
                return Routed(v1_route(private[1].decode(), None), bool(_FIRST.search(data)))
            return Routed(is_strange=True)
        message = any_json(data)
        event = message.get("event") if isinstance(message, dict) else None
        if event in ("heartbeat", "systemStatus"):
            return Routed(v1_route(str(event), None))
        if event == "subscriptionStatus" and message.get("status") == "subscribed":
            route = v1_route(str(message.get("channelName")), message.get("pair"))
            self.acknowledged[route] = message
        return Routed()

    def _v2(self, connection: Connection, data: bytes) -> Routed:
        try:
            message = _V2_MESSAGE.decode(data)
        except msgspec.DecodeError:
            # `data` of `instrument` and `status` is no list of symbols
            value = any_json(data)
            if not isinstance(value, dict) or not isinstance(value.get("channel"), str):
                return Routed(is_strange=True)
            message = _V2(channel=value["channel"], type=str(value.get("type")))
        if message.channel is None:
            if message.method == "subscribe" and message.success and message.result:
                result = message.result
                self._depths[connection, str(result.get("symbol"))] = result.get("depth") or 10
            return Routed(is_strange=message.method is None)
        item = message.data[0] if message.data else _Item()
        detail: Any = item.interval if message.channel == "ohlc" else None
        if message.channel == "book":
            detail = self._depths.get((connection, str(item.symbol)), 10)
        return Routed(v2_route(message.channel, item.symbol, detail), message.type == "snapshot")


class V2Session:
    """One client of version 2."""

    def __init__(self, client: Client, pump: Pump, desk: Desk) -> None:
        self._client, self._pump, self._desk = client, pump, desk

    async def start(self) -> None:
        """Say the recorded status."""
        self._pump.subscribe([route for route in (v2_route("status", None),) if self._desk.has(route)])

    async def message(self, data: bytes) -> None:
        """Answer ping, subscribe and unsubscribe, one acknowledgement for each symbol."""
        message = message_object(data) or {}
        method, params = message.get("method"), message.get("params")
        if method == "ping":
            await self._say({"method": "pong"}, message)
            return
        if method not in ("subscribe", "unsubscribe") or not isinstance(params, dict):
            self._desk.miss(f"message {data.decode('utf-8', 'replace')}")
            await self._say({"error": "Method not found (nothing recorded answers it)", "success": False}, message)
            return
        channel = str(params.get("channel"))
        detail = {"book": params.get("depth", 10), "ohlc": params.get("interval", 1)}.get(channel)
        symbols: list[str | None] = [*texts(params.get("symbol"))]
        for symbol in symbols or [None]:
            route = v2_route(channel, symbol, detail)
            if not self._desk.has(route):
                why = self._desk.miss(f"{method} {' '.join(route)}", route)
                problem = {"error": f"Subscription not supported: {why}", "method": method, "success": False}
                await self._say(problem | ({"symbol": symbol} if symbol else {}), message)
                continue
            result = {
                "channel": channel,
                **{name: value for name, value in params.items() if name not in ("symbol", "token", "channel")},
            }
            if symbol:
                result["symbol"] = symbol
            if channel == "book":
                result.setdefault("depth", 10)
            await self._say({"method": method, "result": result, "success": True}, message)
            beat = v2_route("heartbeat", None)
            if method == "subscribe":
                self._pump.subscribe([route, *([beat] if self._desk.has(beat) else [])])
            else:
                self._pump.unsubscribe([route])

    async def _say(self, answer: dict[str, Any], message: dict[str, Any]) -> None:
        moment = datetime.fromtimestamp(self._desk.now_ns() / 1e9, UTC).isoformat(timespec="microseconds")
        moment = moment.replace("+00:00", "Z")
        if (number := message.get("req_id")) is not None:
            answer["req_id"] = number
        await self._client.send("text", dumps({**answer, "time_in": moment, "time_out": moment}))


def _as_it_is(route: Route, data: bytes) -> bytes:
    return data


class Kraken:
    """The native side of Kraken."""

    def router(self) -> Router:
        """Make a router for one timeline."""
        return KrakenRouter()

    def names(self, path: str, query: str) -> list[Route] | None:
        """Every path takes subscriptions, and names none."""
        return []

    def render(self, path: str) -> Render:
        """Kraken's messages are the same on all its endpoints."""
        return _as_it_is

    def session(self, path: str, names: list[Route], client: Client, pump: Pump, desk: Desk) -> Session:
        """Make the session of one connection."""
        if is_v2(path):
            return V2Session(client, pump, desk)
        assert isinstance(desk.router, KrakenRouter)
        return V1Session(client, pump, desk, desk.router.acknowledged)
