"""The WebSocket side of one venue: streams for clients that subscribe, recorded connections for all others."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from aiohttp import WSMsgType, web
from multidict import CIMultiDict

from pytest_marketreplay.cassette.entry import header_pairs
from pytest_marketreplay.cassette.frame import Frame
from pytest_marketreplay.cassette.redaction import SECRETS
from pytest_marketreplay.cassette.request import WEBSOCKET, Asked, parse, stored_params
from pytest_marketreplay.replay import keeping
from pytest_marketreplay.replay.matching import Key, Matcher, show

from .client import GOING_AWAY, Client
from .frames import Connection
from .native import Desk, Native, Session
from .pump import Pump
from .recorded import RecordedSession
from .shared import OF_THE_HOP, Shared, dropped, missed
from .tally import Miss, Served
from .timeline import Route, Timeline

_CLOSED = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)
_LONGEST_GOODBYE_S = 1.0


class SocketSide:
    """Serves the WebSocket connections to one venue."""

    def __init__(
        self,
        matcher: Matcher,
        timeline: Timeline,
        native: Native | None,
        served: Served,
        shared: Shared,
    ) -> None:
        self._matcher, self._timeline, self._native = matcher, timeline, native
        self._shared, self._pace = shared, shared.pace
        self.name = matcher.venue.name
        self.served = served
        self.served.unrouted = timeline.strange
        self.clients: set[Client] = set()
        self._urls: dict[Key, list[Connection]] = {}
        for connection in timeline.frames.connections:
            self._urls.setdefault(self._url_key(connection), []).append(connection)
        router = timeline.router
        self._desk = None if router is None else Desk(self.name, timeline, router, shared.tally, self._pace.now_ns)

    def cut_slow(self, longest_s: float) -> None:
        """Cut the clients that have not read for so long."""
        for client in list(self.clients):
            if client.stuck_s() > longest_s:
                self.served.slow += 1
                client.abort()

    async def close(self) -> None:
        """Close what is open: the server goes away."""
        for client in list(self.clients):
            await client.close(GOING_AWAY, "the server stops")

    def _url_key(self, connection: Connection) -> Key:
        params = {} if connection.opening is None else connection.opening.params
        asked = parse(WEBSOCKET, f"wss://{self.name}{connection.endpoint}")
        return self._matcher.of_request(asked._replace(params=stored_params(params, None)))

    async def connect(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one WebSocket connection until it ends."""
        now = self._pace.now_ns()
        path, _, query = request.raw_path.partition("?")
        asked = parse(WEBSOCKET, f"wss://{self.name}{request.raw_path}")
        recorded = self._urls.get(self._matcher.of_request(asked), [])
        opened = [one for one in recorded if one.was_opened]
        names = None if self._native is None else self._native.names(path, query)
        has = self._desk is not None and bool(self._timeline.streams)
        known = names is not None and has and (not names or any(map(self._desk.has, names)))  # type: ignore[union-attr]
        if not opened and not known:
            if recorded and recorded[0].opening is not None:
                return self._refused(request, recorded[0].opening)
            return self._unknown(asked, names)
        socket = web.WebSocketResponse(compress=False, timeout=1.0, protocols=_protocols(opened))
        await socket.prepare(request)
        client = Client(socket, request, self.name, self.served, self._shared.faults)
        self.served.connections += 1
        self.clients.add(client)
        try:
            if known:
                await self._serve_native(socket, client, path, names or [], opened, now)
            else:
                await self._serve_recorded(socket, client, opened, now)
        finally:
            self.clients.discard(client)
        return socket

    async def _serve_native(
        self,
        socket: web.WebSocketResponse,
        client: Client,
        path: str,
        names: list[Route],
        opened: list[Connection],
        now: int,
    ) -> None:
        assert self._native is not None
        assert self._desk is not None
        pump = Pump(client, self._timeline, self._pace, self._native.render(path), self._shared.ended)
        pump.arrived_ns = now
        # a URL that names its streams is the recorded connection, and ends as that one did
        pump.follows = next((one for one in opened if names and not one.sends and one.last_ns >= now), None)
        session = self._native.session(path, names, client, pump, self._desk)
        await session.start()
        await _talk(socket, client, session, pump.run())

    async def _serve_recorded(
        self, socket: web.WebSocketResponse, client: Client, opened: list[Connection], now: int
    ) -> None:
        # those that still go on come first; whoever is too late for one gets it all at once
        likely = sorted(
            opened, key=lambda one: (one.last_ns < now, one.first_ns if one.last_ns >= now else -one.last_ns)
        )
        session = RecordedSession(
            client,
            likely,
            self._timeline.frames,
            self._matcher,
            self._pace,
            self._shared.tally,
            self._shared.ended,
        )
        await _talk(socket, client, session, session.run())

    def _refused(self, request: web.BaseRequest, opening: Frame) -> web.Response:
        """Refuse an upgrade as it was refused when it was recorded."""
        meta = opening.meta
        if not meta.status:
            return dropped(request)
        headers = [(name, value) for name, value in header_pairs(meta.headers) if name.lower() not in OF_THE_HOP]
        return web.Response(status=meta.status, reason=meta.reason, headers=CIMultiDict(headers), body=opening.data())

    def _unknown(self, asked: Asked, names: list[Route] | None) -> web.Response:
        tell = self._show(asked)
        if self._desk is not None and names is not None:
            why = self._desk.explain(names[0] if names else None)
        else:
            paths = sorted({one.endpoint for one in self._timeline.frames.connections})
            why = f"recorded WebSocket paths: {', '.join(paths[:5]) or '(none)'}"
        return missed(self._shared.tally.miss(Miss(self.name, "websocket", tell, why)), status=404)

    def _show(self, asked: Asked) -> str:
        """Return what was asked in one line, without its secrets."""
        SECRETS.add(keeping.url_secrets(self._matcher.venue, asked))
        return SECRETS.scrub(show("WebSocket", asked.path, self._matcher.venue.rules.redact_params(asked.params)))


async def _talk(
    socket: web.WebSocketResponse,
    client: Client,
    session: Session | RecordedSession,
    sending: Coroutine[Any, Any, None],
) -> None:
    """Send and listen at once, until the client goes or the sending ends."""
    sender = asyncio.create_task(sending)
    listener = asyncio.create_task(_listen(socket, session))
    try:
        await asyncio.wait((sender, listener), return_when=asyncio.FIRST_COMPLETED)
        if sender.done() and not client.is_gone and sender.exception() is None:
            await asyncio.wait((listener,), timeout=_LONGEST_GOODBYE_S)
    finally:
        for task in (sender, listener):
            task.cancel()
        for outcome in await asyncio.gather(sender, listener, return_exceptions=True):
            # a client that goes is no error of ours; whatever else went wrong is
            if isinstance(outcome, Exception) and not isinstance(outcome, ConnectionError):
                await client.close(1011, f"the recording cannot be served: {outcome}")
                raise outcome


async def _listen(socket: web.WebSocketResponse, session: Session | RecordedSession) -> None:
    while True:
        message = await socket.receive()
        if message.type in _CLOSED:
            return
        data = message.data.encode() if isinstance(message.data, str) else bytes(message.data)
        await session.message(data)


def _protocols(opened: Iterable[Connection]) -> tuple[str, ...]:
    """Return the subprotocol that was agreed on when it was recorded."""
    return tuple({one.opening.meta.subprotocol for one in opened if one.opening and one.opening.meta.subprotocol})
