"""`websockets`' asyncio client: `websockets.asyncio.client.connect`, of versions 13 to 17.

Its one method that opens the TCP connection is patched on the class, so that a `connect` imported before is reached too.
On replay the real `ClientConnection` (parser, keepalive, queue, closing handshake) runs on a transport that goes nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.errors import StreamError
from pytest_marketreplay.intercept.patches import Patch
from pytest_marketreplay.intercept.websockets_protocol import (
    Recorder,
    asked_for,
    failure,
    failure_name,
    record,
    recorder_of,
    verdict_of,
)
from pytest_marketreplay.intercept.websockets_transport import Transport
from pytest_marketreplay.replay.current import current
from pytest_marketreplay.replay.stream.capture import Capture

if TYPE_CHECKING:
    from pytest_marketreplay.replay.session import Session
    from pytest_marketreplay.replay.stream.player import Player


def _open(original: Callable[..., Any]) -> Callable[..., Any]:
    async def open_connection(self: Any) -> Any:
        session = current()
        kwargs = self.create_connection_kwargs if hasattr(self, "create_connection_kwargs") else self.connection_kwargs
        if session is None or kwargs.get("unix"):
            return await original(self)
        from websockets.uri import parse_uri

        uri = parse_uri(self.uri)
        # until version 14 the headers are among the arguments of the handshake
        headers = self.additional_headers if hasattr(self, "additional_headers") else self.handshake_args[0]
        turn = session.connect(*asked_for(uri, headers))
        if turn is None:
            return await original(self)
        if isinstance(turn, Capture):
            return await _recorded(original, self, turn)
        if (given := kwargs.get("sock")) is not None:
            given.close()
        return _replayed(self, uri, session, turn)

    return open_connection


async def _recorded(original: Callable[..., Any], connecting: Any, turn: Capture) -> Any:
    recorder = Recorder(turn)
    record(connecting, recorder)
    try:
        connection = await original(connecting)
    except Exception as error:
        if (name := failure_name(error)) is not None:
            recorder.failed(name)
        raise
    recorder.is_connected = True
    record(connection.protocol, recorder)
    return connection


def _replayed(connecting: Any, uri: Any, session: Session, player: Player) -> Any:
    if player.error is not None:
        error = failure(player.error, f"Connect call failed ({uri.host!r}, {uri.port})")
        if error is not None:
            raise error
    make = connecting.factory if hasattr(connecting, "factory") else connecting.protocol_factory
    connection = make(uri)

    def is_awaited() -> bool:
        waiter = connection.recv_messages.frames.get_waiter
        if waiter is not None:
            return not waiter.done()
        return bool(getattr(connection.connection_lost_waiter, "_callbacks", None))

    timeline = session.streams.timeline
    connection.connection_made(Transport(connection, connection.protocol, player, timeline, is_awaited))
    return connection


def _opening(original: Callable[..., Any]) -> Callable[..., Any]:
    async def opening(self: Any) -> Any:
        try:
            return await original(self)
        except TimeoutError:
            if (recorder := recorder_of(self)) is not None:
                recorder.timed_out()
            raise
        except asyncio.CancelledError:
            if (recorder := recorder_of(self)) is not None:  # pragma: no branch - a replayed handshake takes no time
                recorder.dropped()
            raise

    return opening


def _connection_lost(original: Callable[..., Any]) -> Callable[..., Any]:
    def connection_lost(self: Any, exc: Exception | None) -> None:
        if (recorder := recorder_of(self.protocol)) is not None:
            recorder.ended_by(exc)
        original(self, exc)

    return connection_lost


def _close(original: Callable[..., Any]) -> Callable[..., Any]:
    async def close(self: Any, *args: Any, **more: Any) -> None:
        try:
            await original(self, *args, **more)
        except StreamError as error:
            # closing what is closed already is no mistake; whoever waited has got the error
            if error is not verdict_of(self.protocol):
                raise  # pragma: no cover - a verdict on another connection, which does not come out of this one

    return close


def client() -> Iterator[Patch]:
    """Give the patches of the asyncio client."""
    from websockets.asyncio.client import connect
    from websockets.asyncio.connection import Connection

    newer = hasattr(connect, "open_tcp_connection")  # 17
    yield Patch(connect, "open_tcp_connection" if newer else "create_connection", _open)
    yield Patch(connect, "connect" if newer else "__await_impl__", _opening)
    yield Patch(Connection, "connection_lost", _connection_lost)
    yield Patch(Connection, "close", _close)
