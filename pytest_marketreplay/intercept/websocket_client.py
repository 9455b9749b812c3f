"""`websocket-client`: `create_connection`, `WebSocket`, `WebSocketApp`.

Patch points: the two steps of `WebSocket.connect`, which are the functions `connect` (the socket) and `handshake` of
`websocket._core`; `WebSocket.recv_frame` and `send_frame`, through which every frame goes while it is recorded; and the
dispatchers of `WebSocketApp`, which select on a socket before they read. Works with websocket-client 1.6 and later.

The library has no thread that reads: a frame is recorded when the client reads it. What is unread when the client closes
is read by `WebSocket.close` itself, and so recorded too.
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Any

from pytest_marketreplay.cassette.entry import Headers
from pytest_marketreplay.cassette.frame import Opcode
from pytest_marketreplay.errors import MarketReplayError
from pytest_marketreplay.intercept import failures
from pytest_marketreplay.intercept.failures import replayed
from pytest_marketreplay.intercept.headers import header_text
from pytest_marketreplay.intercept.patches import Patch
from pytest_marketreplay.intercept.websocket_client_socket import PlayedSocket
from pytest_marketreplay.replay.current import current
from pytest_marketreplay.replay.session import Session
from pytest_marketreplay.replay.stream.capture import Capture
from pytest_marketreplay.replay.stream.player import Player

_OPCODES: dict[int, Opcode] = {1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
_BEFORE_CONNECTED = frozenset((failures.CONNECT, failures.DNS, failures.CONNECT_TIMEOUT, failures.TLS))
_TAP = "_marketreplay_tap"
_REFUSED = "_marketreplay_refused"


class _Attempt:
    """One call of `WebSocket.connect`, which follows redirects."""

    def __init__(self, websocket: Any, headers: list[tuple[str, str]]) -> None:
        self.websocket, self.headers = websocket, headers
        self.live: tuple[Session, Capture] | None = None


class _Attempts(threading.local):
    now: _Attempt | None = None


_attempts = _Attempts()


# ---------------------------------------------------------------- opening


def _request_headers(options: dict[str, Any]) -> list[tuple[str, str]]:
    header = options.get("header") or ()
    if isinstance(header, dict):
        pairs = [(str(name), str(value)) for name, value in header.items() if value is not None]
    else:
        pairs = []
        for line in header:
            name, _, value = str(line).partition(":")
            pairs.append((name.strip(), value.strip()))
    if options.get("cookie"):
        pairs.append(("Cookie", str(options["cookie"])))
    return pairs


def _websocket_connect(original: Callable[..., Any]) -> Callable[..., Any]:
    def connect(self: Any, url: str, **options: Any) -> Any:
        vars(self).pop(_TAP, None)
        vars(self).pop(_REFUSED, None)
        if current() is None:
            return original(self, url, **options)
        around, _attempts.now = _attempts.now, _Attempt(self, _request_headers(options))
        try:
            return original(self, url, **options)
        except MarketReplayError:
            setattr(self, _REFUSED, True)
            raise
        finally:
            _attempts.now = around

    return connect


def _connect(original: Callable[..., Any]) -> Callable[..., Any]:
    def connect(url: str, options: Any, proxy: Any, socket: Any) -> Any:
        session, attempt = current(), _attempts.now
        if session is None or attempt is None:  # pragma: no cover - no `WebSocket` asks
            return original(url, options, proxy, socket)
        from websocket._url import parse_url

        hostname, port, resource, *_ = parse_url(url)  # its own error for what is no URL
        attempt.live = None
        turn = session.connect(url, attempt.headers)
        if isinstance(turn, Player):
            if turn.status == 0 and turn.error in _BEFORE_CONNECTED:
                turn.lost()
                raise _failure(turn.error)
            return PlayedSocket(session.streams.timeline, turn, options.timeout), (hostname, port, resource)
        if turn is None:
            return original(url, options, proxy, socket)
        try:
            opened = original(url, options, proxy, socket)
        except Exception as error:
            if (name := _failure_name(error)) is not None:
                turn.failed(name)
            raise
        attempt.live = session, turn
        return opened

    return connect


def _failure(name: str | None) -> Exception:
    """Make the library's own exception for a stored failure to connect."""
    from websocket import WebSocketAddressException

    match name:
        case failures.DNS:
            unknown = socket.gaierror(socket.EAI_NONAME, failures.UNKNOWN_NAME_TEXT)
            return replayed(WebSocketAddressException(unknown), unknown)
        case failures.CONNECT_TIMEOUT:
            return replayed(TimeoutError("timed out"))
        case failures.TLS:
            return replayed(ssl.SSLError(1, "TLS handshake failed"))
        case _:
            return replayed(ConnectionRefusedError(errno.ECONNREFUSED, failures.REFUSED_TEXT))


def _failure_name(error: Exception) -> str | None:
    """Name a failure to connect for storing; None where it is not one of the network's."""
    from websocket import WebSocketAddressException, WebSocketProxyException, WebSocketTimeoutException

    kinds: list[tuple[Any, str]] = [
        (WebSocketAddressException, failures.DNS),
        ((TimeoutError, WebSocketTimeoutException), failures.CONNECT_TIMEOUT),
        (ssl.SSLError, failures.TLS),
        (WebSocketProxyException, failures.CONNECT),
        (ConnectionResetError, failures.RESET),
        (OSError, failures.CONNECT),
    ]
    return next((name for kind, name in kinds if isinstance(error, kind)), None)


class _Overheard:
    """A socket during the handshake, which keeps what the exchange answered: the library keeps only a part of it."""

    def __init__(self, live: Any) -> None:
        self._live = live
        self.heard = bytearray()

    def recv(self, *args: Any) -> bytes:
        data: bytes = self._live.recv(*args)
        self.heard += data
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._live, name)

    def answer(self) -> tuple[int, str, Headers, bytes] | None:
        """Return status, reason, headers and body; None where no whole answer came."""
        head, end, body = bytes(self.heard).partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        parts = first.split(b" ", 2)
        if not end or len(parts) < 2 or not parts[1].isdigit():
            return None
        pairs = [line.partition(b":") for line in lines]
        headers = [(header_text(name), header_text(value.strip())) for name, _, value in pairs]
        return int(parts[1]), header_text(parts[2]) if len(parts) > 2 else "", headers, body


def _handshake(original: Callable[..., Any]) -> Callable[..., Any]:
    def handshake(sock: Any, *args: Any, **options: Any) -> Any:
        attempt = _attempts.now
        if attempt is None or attempt.live is None:
            return original(sock, *args, **options)
        session, live = attempt.live
        attempt.live = None
        overheard = _Overheard(sock)
        try:
            response = original(overheard, *args, **options)
        except Exception as error:
            answer = overheard.answer()
            if answer is not None and answer[0] != 101:
                live.refused(*answer)
            else:
                live.failed(_handshake_failure_name(error))
            raise
        answer = overheard.answer()
        if answer is None:  # pragma: no cover - the library has understood it
            return response
        if response.status != 101:
            live.refused(*answer)  # a redirect: the library goes on to another URL
            return response
        live.opened(answer[2], subprotocol=response.subprotocol)
        setattr(attempt.websocket, _TAP, _Tap(session, live))
        return response

    return handshake


def _handshake_failure_name(error: Exception) -> str:
    from websocket import WebSocketConnectionClosedException, WebSocketTimeoutException

    if isinstance(error, WebSocketTimeoutException | TimeoutError):
        return failures.READ_TIMEOUT
    if isinstance(error, WebSocketConnectionClosedException):
        return failures.DISCONNECTED
    return failures.RESET if isinstance(error, OSError) else failures.PROTOCOL


# ---------------------------------------------------------------- recording


class _Message:
    """Puts the fragments of one direction together."""

    def __init__(self) -> None:
        self._opcode: Opcode = "text"
        self._parts: list[bytes] = []

    def add(self, frame: Any) -> tuple[Opcode, bytes] | None:
        """Take a frame; returns the opcode and payload of the message that it completes."""
        data = frame.data.encode() if isinstance(frame.data, str) else bytes(frame.data)
        if frame.opcode >= 8:
            return _OPCODES[frame.opcode], data
        if frame.opcode:
            self._opcode, self._parts = _OPCODES[frame.opcode], []
        self._parts.append(data)
        if not frame.fin:
            return None
        whole, self._parts = b"".join(self._parts), []
        return self._opcode, whole


class _Tap:
    """What is recorded of one live connection."""

    def __init__(self, session: Session, live: Capture) -> None:
        self._session, self._live = session, live
        self._came, self._went = _Message(), _Message()
        self._is_closing = False

    def came(self, frame: Any) -> None:
        """Note a frame of the exchange."""
        message = self._came.add(frame)
        if message is not None and self._session.is_open:
            self._is_closing |= message[0] == "close"
            self._live.received(*message)

    def goes(self, frame: Any) -> None:
        """Note a frame of the client; before it goes out, or the answer could be noted first by another thread."""
        message = self._went.add(frame)
        if message is not None and self._session.is_open:
            self._is_closing |= message[0] == "close"
            self._live.sent(*message)

    def broke(self, error: Exception) -> None:
        """Note that the connection was lost, where that is what an error of reading says."""
        from websocket import WebSocketConnectionClosedException

        if self._is_closing or not self._session.is_open:
            return
        if isinstance(error, WebSocketConnectionClosedException):
            self._live.ended(failures.DISCONNECTED)
        elif isinstance(error, OSError) and not isinstance(error, TimeoutError | BlockingIOError):
            self._live.ended(failures.RESET)


def _recv_frame(original: Callable[..., Any]) -> Callable[..., Any]:
    def recv_frame(self: Any) -> Any:
        tap: _Tap | None = vars(self).get(_TAP)
        if tap is None:
            return original(self)
        is_here = self.sock is not None
        try:
            frame = original(self)
        except Exception as error:
            if is_here:
                tap.broke(error)
            raise
        tap.came(frame)
        return frame

    return recv_frame


def _send_frame(original: Callable[..., Any]) -> Callable[..., Any]:
    def send_frame(self: Any, frame: Any) -> Any:
        tap: _Tap | None = vars(self).get(_TAP)
        if tap is not None and self.sock is not None:
            tap.goes(frame)
        return original(self, frame)

    return send_frame


# ---------------------------------------------------------------- `WebSocketApp`


def _read(original: Callable[..., Any]) -> Callable[..., Any]:
    def read(self: Any, sock: Any, read_callback: Callable[[], Any], check_callback: Callable[[], Any]) -> Any:
        if not isinstance(sock, PlayedSocket):
            return original(self, sock, read_callback, check_callback)
        # what the library does, but for its selector; without a ping_timeout there is nothing to check every 10 seconds,
        # and on the recording's clock these would pass at once
        timeout = self.ping_timeout if self.app.ping_timeout else None
        try:
            while self.app.keep_running and not sock.is_closed:
                has_come = sock.wait(timeout)
                if sock.is_over:
                    # the test has ended, and our patches with it: to reconnect would be to go live
                    self.app.keep_running = False
                    break
                if has_come and not read_callback():
                    break
                check_callback()
        except MarketReplayError:
            self.app.keep_running = False  # the verdict is given: to reconnect would be to get it for ever
            raise
        return None

    return read


def _reconnect(original: Callable[..., Any]) -> Callable[..., Any]:
    def reconnect(self: Any, seconds: Any, reconnector: Callable[..., Any]) -> Any:
        if getattr(self.app.sock, _REFUSED, False):
            self.app.keep_running = False  # nothing more is recorded: it would try again for ever
            return None
        return original(self, seconds, reconnector)

    return reconnect


def client() -> Iterable[Patch]:
    """Give the patches of `websocket`."""
    import websocket._app
    from websocket import _core

    _app: Any = websocket._app  # what it imports from `_dispatcher`, where that is a module of its own (1.9)

    yield Patch(_core.WebSocket, "connect", _websocket_connect)
    yield Patch(_core.WebSocket, "recv_frame", _recv_frame)
    yield Patch(_core.WebSocket, "send_frame", _send_frame)
    yield Patch(_core, "connect", _connect)
    yield Patch(_core, "handshake", _handshake)
    yield Patch(_app.Dispatcher, "read", _read)
    yield Patch(_app.SSLDispatcher, "read", _read)
    yield Patch(_app.DispatcherBase, "reconnect", _reconnect)
