"""`websockets`' legacy client: `websockets.legacy.client.connect`, which version 13 gives as `websockets.connect`.

It speaks the protocol by itself, in a task that reads frames from a stream; both directions pass one method each.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.errors import MarketReplayError
from pytest_marketreplay.intercept import failures
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

_ITERATES = "_marketreplay_iterates"


class _PastTheLoop(BaseException):
    """Carries an error of ours out of `async for ... in connect(...)`, which tries again after every Exception."""

    def __init__(self, error: MarketReplayError) -> None:
        super().__init__(str(error))
        self.error = error


def _await_impl(original: Callable[..., Any]) -> Callable[..., Any]:
    async def await_impl(self: Any) -> Any:
        session = current()
        live = self._create_connection
        if session is None or "unix" in getattr(live.func, "__name__", ""):
            return await original(self)
        opening = functools.partial(_open, self, session, live.func)
        self._create_connection = functools.partial(opening, *live.args, **live.keywords)
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
        except MarketReplayError as error:
            if getattr(self, _ITERATES, False):
                raise _PastTheLoop(error) from None
            raise
        finally:
            self._create_connection = live

    return await_impl


async def _open(
    connecting: Any, session: Session, live: Callable[..., Any], factory: Any, *args: Any, **more: Any
) -> Any:
    """Open the connection of one hop; a redirect has changed the URL."""
    uri = connecting._wsuri
    turn = session.connect(*asked_for(uri, _headers(factory)))
    if turn is None:
        return await live(factory, *args, **more)
    if isinstance(turn, Capture):
        recorder = Recorder(turn)
        record(connecting, recorder)
        try:
            transport, protocol = await live(factory, *args, **more)
        except Exception as error:
            if (name := failure_name(error)) is not None:
                recorder.failed(name)
            raise
        recorder.is_connected = True
        record(protocol, recorder)
        return transport, protocol
    if (given := more.get("sock")) is not None:
        given.close()
    return _replayed(factory(), uri, session, turn)


def _headers(factory: Any) -> Any:
    return getattr(factory, "keywords", {}).get("extra_headers")


def _replayed(protocol: Any, uri: Any, session: Session, player: Player) -> Any:
    if player.error is not None:
        error = failure(player.error, f"Connect call failed ({uri.host!r}, {uri.port})")
        if error is not None:
            raise error

    def is_awaited() -> bool:
        if protocol._pop_message_waiter is not None:
            return not protocol._pop_message_waiter.done()
        return bool(getattr(protocol.connection_lost_waiter, "_callbacks", None))

    transport = Transport(protocol, protocol, player, session.streams.timeline, is_awaited)
    protocol.connection_made(transport)
    return transport, protocol


def _aiter(original: Callable[..., Any]) -> Callable[..., Any]:
    async def again_and_again(self: Any) -> AsyncIterator[Any]:
        setattr(self, _ITERATES, True)
        connections = original(self)
        try:
            async for connection in connections:  # pragma: no branch - the library's loop never ends by itself
                yield connection
        except _PastTheLoop as past:
            raise past.error from None
        finally:
            await connections.aclose()

    return again_and_again


def _read_http_response(original: Callable[..., Any]) -> Callable[..., Any]:
    async def read_http_response(self: Any) -> Any:
        status, headers = await original(self)
        if status != 101 and (recorder := recorder_of(self)) is not None:
            recorder.answered(status, None, headers.raw_items(), b"")  # this client reads no body
        return status, headers

    return read_http_response


def _handshake(original: Callable[..., Any]) -> Callable[..., Any]:
    async def handshake(self: Any, *args: Any, **more: Any) -> None:
        recorder = recorder_of(self)
        if recorder is None:
            await original(self, *args, **more)
            return
        try:
            await original(self, *args, **more)
        except Exception as error:
            cause = error.__cause__
            if isinstance(cause, ConnectionError):
                recorder.failed(failures.RESET)
            elif isinstance(cause, EOFError):
                recorder.failed(failures.DISCONNECTED)
            else:
                recorder.failed(failures.PROTOCOL)
            raise
        recorder.opened(self.response_headers.raw_items(), self.subprotocol)

    return handshake


def _read_frame(original: Callable[..., Any]) -> Callable[..., Any]:
    async def read_frame(self: Any, max_size: int | None) -> Any:
        frame = await original(self, max_size)
        if (recorder := recorder_of(self)) is not None:
            recorder.received(frame.opcode, frame.fin, frame.data)
        return frame

    return read_frame


def _write_frame_sync(original: Callable[..., Any]) -> Callable[..., Any]:
    def write_frame_sync(self: Any, fin: bool, opcode: int, data: Any) -> None:
        try:
            original(self, fin, opcode, data)
        except ConnectionAbortedError:
            if (error := verdict_of(self)) is not None:
                raise error from None
            raise  # pragma: no cover - only our transport aborts, with a verdict
        if (recorder := recorder_of(self)) is not None:
            recorder.sent(opcode, fin, data)

    return write_frame_sync


def _connection_lost(original: Callable[..., Any]) -> Callable[..., Any]:
    def connection_lost(self: Any, exc: Exception | None) -> None:
        original(self, exc)
        if (recorder := recorder_of(self)) is not None:
            recorder.ended_by(exc)
            if recorder.is_open:
                recorder.lost(closed=self.close_rcvd is not None or self.close_sent is not None)

    return connection_lost


def _connection_closed_exc(original: Callable[..., Any]) -> Callable[..., Any]:
    def connection_closed_exc(self: Any) -> BaseException:
        verdict = verdict_of(self)
        return original(self) if verdict is None else verdict

    return connection_closed_exc


def client() -> Iterator[Patch]:
    """Give the patches of the legacy client."""
    from websockets.legacy.client import Connect, WebSocketClientProtocol
    from websockets.legacy.protocol import WebSocketCommonProtocol

    yield Patch(Connect, "__await_impl__", _await_impl)
    yield Patch(Connect, "__aiter__", _aiter)
    yield Patch(WebSocketClientProtocol, "read_http_response", _read_http_response)
    yield Patch(WebSocketClientProtocol, "handshake", _handshake)
    yield Patch(WebSocketCommonProtocol, "read_frame", _read_frame)
    yield Patch(WebSocketCommonProtocol, "write_frame_sync", _write_frame_sync)
    yield Patch(WebSocketCommonProtocol, "connection_lost", _connection_lost)
    yield Patch(WebSocketCommonProtocol, "connection_closed_exc", _connection_closed_exc)
