"""Binance's streams: `/ws/<stream>`, `/stream?streams=`, SUBSCRIBE and its kin; spot, Binance.US and futures alike.

Source: Binance Spot API documentation, "WebSocket Streams", "Live Subscribing/Unsubscribing to streams".
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from pytest_marketreplay.cassette.request import parse

from .client import Client
from .frames import Connection
from .native import Desk, Session, dumps, message_object, texts, url_names
from .pump import Pump, Render
from .timeline import Route, Routed, Router

_PATH = re.compile(r"/(?:public/|market/|private/)?(?P<kind>ws|stream)(?:/(?P<names>.*))?")
_KINDS = {
    "24hrTicker": "ticker",
    "24hrMiniTicker": "miniTicker",
    "depthUpdate": "depth",
    "markPriceUpdate": "markPrice",
    "forceOrder": "forceOrder",
}
"""What an event's `e` is called in the name of its stream, where that is not the same word."""
_WINDOW = re.compile(r"(\d+[hd])Ticker")
_INVALID = 2


class _Kline(msgspec.Struct):
    i: str | None = None


class _Message(msgspec.Struct):
    """What tells which stream a message belongs to; `data` of a combined stream is kept as it is spelt."""

    stream: str | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    e: str | None = None
    s: str | None = None
    k: _Kline | None = None
    u: int | msgspec.UnsetType = msgspec.UNSET
    last_update: int | msgspec.UnsetType = msgspec.field(name="lastUpdateId", default=msgspec.UNSET)
    id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_MESSAGE = msgspec.json.Decoder(_Message)
_LIST = msgspec.json.Decoder(list[_Message])


class Streams:
    """Tells recorded messages apart: by their wrapper, else by their content among what the connection had subscribed."""

    def __init__(self) -> None:
        self._subscribed: dict[Connection, list[str]] = {}
        self._known: dict[tuple[Connection, str | None, str], Routed] = {}

    def opened(self, connection: Connection) -> list[Route]:
        """Return the streams in the URL of a connection."""
        names = []
        if (match := _PATH.fullmatch(connection.endpoint)) is not None:
            names = url_names(match["names"] or "", "")
        assert connection.opening is not None
        named = connection.opening.params.get("streams")
        names += [name for part in texts(named) for name in part.split("/") if name]
        return self._add(connection, names)

    def sent(self, connection: Connection, data: bytes) -> list[Route]:
        """Return the streams of a SUBSCRIBE."""
        message = message_object(data)
        if message is None or message.get("method") != "SUBSCRIBE":
            return []
        return self._add(connection, texts(message.get("params")))

    def _add(self, connection: Connection, names: list[str]) -> list[Route]:
        mine = self._subscribed.setdefault(connection, [])
        mine += [name for name in names if name not in mine]
        for key in [key for key in self._known if key[0] is connection]:
            del self._known[key]
        return [(name,) for name in names]

    def received(self, connection: Connection, data: bytes) -> Routed:
        """Return the stream of a message; acknowledgements belong to none."""
        several = data[:1] == b"["
        try:
            message = (_LIST.decode(data) or [_Message()])[0] if several else _MESSAGE.decode(data)
        except msgspec.DecodeError:
            return self._alone(connection)
        if message.stream is not None:
            return Routed((message.stream,))
        if message.e is None and message.id is not msgspec.UNSET:
            return Routed()
        kind = _kind(message)
        key = (connection, None if several else message.s, kind)
        if (known := self._known.get(key)) is None:
            known = self._known[key] = self._find(connection, message, kind, several=several)
        return known

    def bare(self, data: bytes) -> bytes:
        """Return a message without the wrapper of combined streams."""
        inside = _inside(data)
        return data if inside is None else inside

    def _find(self, connection: Connection, message: _Message, kind: str, *, several: bool) -> Routed:
        mine = self._subscribed.get(connection, [])
        if several:
            fitting = [name for name in mine if name.startswith(f"!{kind}") and "@arr" in name]
        else:
            symbol = (message.s or "").lower()
            fitting = [
                name
                for name in mine
                if (name.partition("@")[0].lower() == symbol or not symbol or name[0] == "!") and _is_of(name, kind)
            ]
        return Routed((fitting[0],)) if len(fitting) == 1 else self._alone(connection)

    def _alone(self, connection: Connection) -> Routed:
        mine = self._subscribed.get(connection, [])
        return Routed((mine[0],)) if len(mine) == 1 else Routed(is_strange=True)


def _kind(message: _Message) -> str:
    """Return what a message's stream is called after its `@`."""
    event = message.e
    if event is None:
        if message.last_update is not msgspec.UNSET:
            return "depth"  # a partial book, which does not say its symbol
        return "bookTicker" if message.u is not msgspec.UNSET else ""
    if event == "kline" and message.k is not None:
        return f"kline_{message.k.i}"
    if (window := _WINDOW.fullmatch(event)) is not None:
        return f"ticker_{window[1]}"
    return _KINDS.get(event, event)


def _is_of(name: str, kind: str) -> bool:
    stream = name.partition("@")[2].partition("@")[0] or name.lstrip("!")
    return stream == kind or (kind == "depth" and stream.rstrip("0123456789") == "depth")


class BinanceSession:
    """One client on `/ws` or `/stream`."""

    def __init__(self, names: list[Route], client: Client, pump: Pump, desk: Desk, form: Form) -> None:
        self._names, self._client, self._pump, self._desk, self._form = names, client, pump, desk, form

    async def start(self) -> None:
        """Subscribe to what the URL names; Binance says nothing first."""
        self._pump.subscribe(self._recorded(self._names), since_arrival=True)

    def _recorded(self, routes: list[Route]) -> list[Route]:
        missing = [route for route in routes if not self._desk.has(route)]
        for route in missing:
            self._desk.miss(f"stream {route[0]}", route)
        return [route for route in routes if route not in missing]

    async def message(self, data: bytes) -> None:
        """Answer SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, SET_PROPERTY and GET_PROPERTY."""
        message = message_object(data)
        if message is None:
            await self._refuse(3, "Invalid JSON: expected value at line 1 column 1", None)
            return
        number, method, params = message.get("id"), message.get("method"), texts(message.get("params"))
        if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
            routes: list[Route] = [(name,) for name in params]
            recorded = self._recorded(routes) if method == "SUBSCRIBE" else routes
            if params and len(recorded) < len(routes):
                # the exchange would take any name and stay silent; nobody shall wait for what cannot come
                missing = next(route for route in routes if route not in recorded)
                await self._refuse(_INVALID, f"Invalid request: {missing[0]}: {self._desk.explain(missing)}", number)
            else:
                await self._answer(None, number)
            (self._pump.subscribe if method == "SUBSCRIBE" else self._pump.unsubscribe)(recorded)
        elif method == "LIST_SUBSCRIPTIONS":
            await self._answer([route[0] for route in self._pump.routes], number)
        elif method == "SET_PROPERTY" and params[:1] == ["combined"]:
            self._form.is_combined = message["params"][1:] == [True]
            await self._answer(None, number)
        elif method == "GET_PROPERTY" and params == ["combined"]:
            await self._answer(self._form.is_combined, number)
        else:
            self._desk.miss(f"message {data.decode('utf-8', 'replace')}")
            await self._refuse(_INVALID, f"Invalid request: unknown variant `{method}`", number)

    async def _answer(self, result: Any, number: Any) -> None:
        await self._client.send("text", dumps({"result": result, "id": number}))

    async def _refuse(self, code: int, text: str, number: Any) -> None:
        answer: dict[str, Any] = {"error": {"code": code, "msg": text}}
        await self._client.send("text", dumps(answer | ({"id": number} if number is not None else {})))


class Form:
    """The form in which a connection gets its messages: in the wrapper of combined streams, or bare."""

    def __init__(self, *, is_combined: bool) -> None:
        self.is_combined = is_combined

    def __call__(self, route: Route, data: bytes) -> bytes:
        """Add or remove the wrapper; what is inside keeps every byte."""
        bare = _inside(data)
        if bare is not None:
            return data if self.is_combined else bare
        return b'{"stream":%b,"data":%b}' % (dumps(route[0]), data) if self.is_combined else data


def _inside(data: bytes) -> bytes | None:
    """Return what is in the wrapper of a combined stream; None where there is none."""
    try:
        message = _MESSAGE.decode(data) if data[:1] == b"{" else _Message()
    except msgspec.DecodeError:
        return None
    return None if message.stream is None or message.data is msgspec.UNSET else bytes(message.data)


class Binance:
    """The native side of the Binance family."""

    def router(self) -> Router:
        """Make a router for one timeline."""
        return Streams()

    def names(self, path: str, query: str) -> list[Route] | None:
        """Return the streams that a URL names; None where the path is no stream's (`/ws-api/v3`)."""
        # a listen key has a placeholder in the recording, and the client's own stands for it
        match = _PATH.fullmatch(parse("GET", f"wss://binance{path}").path)
        if match is None:
            return None
        # ccxt numbers its connections, `/ws/0`; the exchange does not mind
        return [(name,) for name in url_names(match["names"] or "", query) if not name.isdigit()]

    def render(self, path: str) -> Render:
        """Return the form of an endpoint."""
        match = _PATH.fullmatch(path)
        return Form(is_combined=match is not None and match["kind"] == "stream")

    def session(self, path: str, names: list[Route], client: Client, pump: Pump, desk: Desk) -> Session:
        """Make the session of one connection."""
        assert isinstance(pump.render, Form)
        return BinanceSession(names, client, pump, desk, pump.render)
