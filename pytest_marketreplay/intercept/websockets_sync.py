"""`websockets`' threading client: `websockets.sync.client.connect`, of versions 13 to 17, and `reconnect` of 17.

Until version 16 `connect` is a function that does everything itself, and is mostly imported by name: its code is
replaced, which reaches it wherever it was imported to. On replay the library gets a socket whose other end is the player:
all of it runs for real, the thread that reads included. A frame is put into that socket when the client takes one.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from time import monotonic
from types import FunctionType
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.cassette.frame import Opcode
from pytest_marketreplay.errors import MarketReplayError, StreamError
from pytest_marketreplay.intercept import failures
from pytest_marketreplay.intercept.patches import Patch
from pytest_marketreplay.intercept.websocket_wire import ClientFrames, frame
from pytest_marketreplay.intercept.websockets_protocol import (
    Recorder,
    asked_for,
    condemn,
    failure,
    failure_name,
    record,
    recorder_of,
    reset_error,
    verdict_of,
)
from pytest_marketreplay.intercept.websockets_transport import answer
from pytest_marketreplay.replay.current import current
from pytest_marketreplay.replay.stream.capture import Capture

if TYPE_CHECKING:
    from pytest_marketreplay.replay.session import Session
    from pytest_marketreplay.replay.stream.blocking import Blocking
    from pytest_marketreplay.replay.stream.player import Event, Player

_RECORDING: ContextVar[Recorder | None] = ContextVar("marketreplay_websockets_sync", default=None)
"""What records the connection that this thread opens; its handshake takes it."""


class ReplaySocket(socket.socket):
    """A connected socket whose other end is a player.

    What comes is kept as Python bytes; each part of it is one byte in a real socket, for whoever waits with `select`.
    """

    def __init__(self, session: Session, player: Player) -> None:
        client, self._wake = socket.socketpair()
        super().__init__(fileno=client.detach())
        self._timeline, self._player = session.streams.timeline, player
        self._parts: deque[bytes | OSError] = deque()
        self._request: bytearray | None = bytearray()
        self._frames = ClientFrames(self._take)
        self._blocking: Blocking | None = None
        self._receiving = threading.Lock()
        self._over = threading.Lock()
        self.protocol: Any = None
        """The library's protocol object, which carries the verdict of a failed replay."""

    # ---------------------------------------------------------------- what the library does with a socket

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        super().recv(1)
        part = self._parts.popleft() if self._parts else b""
        if isinstance(part, OSError):
            raise part
        return part

    def sendall(self, data: Any, flags: int = 0) -> None:
        if self._request is None:
            try:
                self._frames.feed(data)
            except MarketReplayError as error:
                self._condemn(error)
                raise ConnectionAbortedError("the replay has ended the connection") from None
            return
        self._request += data
        if b"\r\n\r\n" not in self._request:
            return  # pragma: no cover - the library sends its request at once
        request, self._request = self._request, None
        if (said := answer(self._player, request)) is not None:
            self._put(said)
        if self._player.status == 101:
            self._blocking = self._timeline.blocking(self._player)
        else:
            self._hang_up(self._player.error)

    def setsockopt(self, *args: Any) -> None:
        """Set nothing: there is no TCP."""

    def getsockname(self) -> Any:
        return ("127.0.0.1", 0)

    getpeername = getsockname

    def shutdown(self, how: int) -> None:
        if how != socket.SHUT_WR:  # a client that has said all it has to say still waits for the exchange to hang up
            self._hang_up(None)

    def close(self) -> None:
        self._hang_up(None)
        super().close()

    # ---------------------------------------------------------------- the other end

    def _put(self, part: bytes | OSError) -> None:
        self._parts.append(part)
        self._wake.send(b"\0")

    def _hang_up(self, error: str | None) -> None:
        if self._over.acquire(blocking=False):
            self._player.lost()
            if error == failures.RESET:
                self._put(reset_error())
            self._wake.close()

    def _condemn(self, error: MarketReplayError) -> None:
        condemn(self.protocol, error)
        self._hang_up(None)

    def _take(self, opcode: Opcode, data: bytes) -> None:
        player = self._player
        if opcode == "close":
            if not player.is_closed:
                self._put(frame("close", data))
            player.sent(opcode, data)
            self._hang_up(None)
            return
        if opcode == "ping" and not self._over.locked():
            self._put(frame("pong", data))
        player.sent(opcode, data)

    # ---------------------------------------------------------------- a frame, when the client takes one

    def await_message(self, timeout: float | None) -> None:
        """Have the next message come, or the end of the connection. Raises TimeoutError, StreamError, DamagedCassette."""
        if not self._receiving.acquire(blocking=False):
            from websockets import exceptions

            error = getattr(exceptions, "ConcurrencyError", RuntimeError)
            raise error("cannot call recv while another thread is already running recv or recv_streaming")
        try:
            until = None if timeout is None else self._now() + timeout
            while (event := self._next(until)).opcode in ("ping", "pong"):
                self._put(frame(event.opcode, event.data))
            if event.opcode is None:
                self._hang_up(event.error)
            else:
                self._put(frame(event.opcode, event.data))
        except TimeoutError:
            raise TimeoutError(f"timed out in {timeout:.1f}s") from None
        finally:
            self._receiving.release()

    def _next(self, until: float | None) -> Event:
        assert self._blocking is not None, "nobody receives before the handshake"
        from pytest_marketreplay.replay.stream.player import Event

        try:
            event = self._blocking.next(None if until is None else max(until - self._now(), 0.0))
        except MarketReplayError as error:
            self._condemn(error)
            raise
        if event is not None:
            return event
        if not self._player.is_closed:
            raise TimeoutError
        return Event(0, None, b"")  # the client has closed, in another thread, or the session has ended

    def _now(self) -> float:
        clock = self._timeline.clock
        return monotonic() if clock is None else clock.now_ns / 1e9


class _NoTLS:
    """Stands for an `SSLContext`: nothing of a replayed connection is encrypted."""

    def wrap_socket(self, sock: ReplaySocket, server_hostname: str | None = None) -> ReplaySocket:
        return sock


def _decide(uri: str, headers: Any) -> tuple[Any, Recorder | ReplaySocket | None]:
    """Return the parsed URL and what happens to a connection: recorded, replayed on a socket, or None: not our business."""
    from websockets.uri import parse_uri

    session = current()
    parsed = parse_uri(uri)
    if session is None:
        return parsed, None  # pragma: no cover - the last session takes this patch with it
    turn = session.connect(*asked_for(parsed, headers))
    if turn is None:
        return parsed, None
    if isinstance(turn, Capture):
        return parsed, Recorder(turn)
    if turn.error is not None and (error := failure(turn.error, failures.REFUSED_TEXT)) is not None:
        raise error
    return parsed, ReplaySocket(session, turn)


def _recorded(open_it: Callable[[], Any], recorder: Recorder) -> Any:
    token = _RECORDING.set(recorder)
    try:
        return open_it()
    except TimeoutError:
        recorder.timed_out()
        raise
    except OSError as error:
        if (name := failure_name(error)) is not None:
            recorder.failed(name)
        raise
    finally:
        _RECORDING.reset(token)


# -------------------------------------------------------------------- patches


class FunctionCode:  # pragma: no cover - websockets 13 to 16
    """The code of a function as an attribute that can be patched, for a function that was imported by name."""

    def __init__(self, function: Any) -> None:
        self.__dict__["function"] = function
        self.__dict__["code"] = function.__code__

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value
        self.__dict__["function"].__code__ = value


_original_connect: Any = None


def _connect_code(original: Any) -> Any:  # pragma: no cover - websockets 13 to 16
    """Make the code that `connect` has in a session; its globals are those of the library's module."""
    global _original_connect
    from websockets.sync import client

    _original_connect = FunctionType(original, client.__dict__, "connect", client.connect.__defaults__)
    _original_connect.__kwdefaults__ = client.connect.__kwdefaults__

    def connect(*args, **more):  # type: ignore[no-untyped-def]
        from pytest_marketreplay.intercept.websockets_sync import connect

        return connect(*args, **more)

    return connect.__code__


def connect(uri: str, **more: Any) -> Any:  # pragma: no cover - websockets 13 to 16
    """Open a connection as `websockets.sync.client.connect` of versions 13 to 16 does."""
    if more.get("unix"):
        return _original_connect(uri, **more)
    parsed, turn = _decide(uri, more.get("additional_headers"))
    if turn is None:
        return _original_connect(uri, **more)
    if isinstance(turn, Recorder):
        return _recorded(lambda: _original_connect(uri, **more), turn)
    if (given := more.pop("sock", None)) is not None:
        given.close()
    for name in ("ssl", "ssl_context", "proxy_ssl"):
        more.pop(name, None)
    return _original_connect(uri, sock=turn, ssl=_NoTLS() if parsed.secure else None, **more)


def _open_connection(original: Callable[..., Any]) -> Callable[..., Any]:
    def open_connection(self: Any, deadline: Any) -> Any:
        if self.open_socket_kwargs.get("unix"):
            return original(self, deadline)
        parsed, turn = _decide(self.uri, self.additional_headers)
        if turn is None:
            return original(self, deadline)
        if isinstance(turn, Recorder):
            return _recorded(lambda: original(self, deadline), turn)
        given = self.sock, self.ssl, self.proxy_ssl
        if given[0] is not None:
            given[0].close()
        self.sock, self.ssl, self.proxy_ssl = turn, _NoTLS() if parsed.secure else None, None
        try:
            return original(self, deadline)
        finally:
            self.sock, self.ssl, self.proxy_ssl = given

    return open_connection


def _handshake(original: Callable[..., Any]) -> Callable[..., Any]:
    def handshake(self: Any, *args: Any, **more: Any) -> None:
        if isinstance(self.socket, ReplaySocket):
            self.socket.protocol = self.protocol
        elif (recorder := _RECORDING.get()) is not None:
            recorder.is_connected = True
            record(self.protocol, recorder)
            try:
                original(self, *args, **more)
            except TimeoutError:
                recorder.timed_out()  # before the socket is closed, which looks like the exchange hanging up
                raise
            return
        original(self, *args, **more)

    return handshake


def _recv(original: Callable[..., Any]) -> Callable[..., Any]:
    def recv(self: Any, timeout: float | None = None, *args: Any, **more: Any) -> Any:
        if isinstance(self.socket, ReplaySocket):
            self.socket.await_message(timeout)
            timeout = None
        return original(self, timeout, *args, **more)

    return recv


def _recv_streaming(original: Callable[..., Any]) -> Callable[..., Any]:
    def recv_streaming(self: Any, *args: Any, **more: Any) -> Iterator[Any]:
        if isinstance(self.socket, ReplaySocket):
            self.socket.await_message(None)
        yield from original(self, *args, **more)

    return recv_streaming


def _broken(original: Callable[..., Any]) -> Callable[..., Any]:
    def set_exc(self: Any, exc: BaseException | None) -> None:
        if (recorder := recorder_of(self.protocol)) is not None:
            recorder.ended_by(exc)
        original(self, exc)

    return set_exc


def _close(original: Callable[..., Any]) -> Callable[..., Any]:
    def close(self: Any, *args: Any, **more: Any) -> None:
        try:
            original(self, *args, **more)
        except StreamError as error:
            # closing what is closed already is no mistake; whoever waited has got the error
            if error is not verdict_of(self.protocol):
                raise  # pragma: no cover - a verdict on another connection, which does not come out of this one

    return close


def client() -> Iterator[Patch]:
    """Give the patches of the threading client."""
    from websockets.sync import client
    from websockets.sync.connection import Connection

    if hasattr(client, "reconnect"):  # 17
        yield Patch(client.reconnect, "open_connection", _open_connection)
    else:  # pragma: no cover - websockets 13 to 16
        yield Patch(FunctionCode(client.connect), "code", _connect_code)
    yield Patch(client.ClientConnection, "handshake", _handshake)
    yield Patch(Connection, "recv", _recv)
    yield Patch(Connection, "recv_streaming", _recv_streaming)
    newer = hasattr(Connection, "set_connection_exc")  # 17
    yield Patch(Connection, "set_connection_exc" if newer else "set_recv_exc", _broken)
    yield Patch(Connection, "close", _close)
