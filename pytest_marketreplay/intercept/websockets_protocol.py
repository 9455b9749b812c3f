"""`websockets`: recording, at the protocol layer that its asyncio and its threading client share.

`Protocol` reads and writes frames without a socket: what passes it is inflated, in order, and passes it on arrival,
whether or not anybody reads it.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.cassette.frame import Opcode
from pytest_marketreplay.errors import MarketReplayError
from pytest_marketreplay.intercept import failures
from pytest_marketreplay.intercept.failures import replayed
from pytest_marketreplay.intercept.patches import Patch

if TYPE_CHECKING:
    from pytest_marketreplay.replay.stream.capture import Capture

_NAMES: dict[int, Opcode] = {1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
_RECORDER = "_marketreplay_recorder"
_VERDICT = "_marketreplay_verdict"


class Recorder:
    """What is recorded of one connection; fragments are put together, and its end is noted once."""

    def __init__(self, turn: Capture) -> None:
        self._turn = turn
        self.is_open = self.is_over = self.is_reset = self.is_connected = False
        self._received, self._sent = Fragments(turn.received), Fragments(turn.sent)

    def answered(self, status: int, reason: str | None, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """Note an answer that refused the upgrade."""
        if not self.is_over:
            self.is_over = True
            self._turn.refused(status, reason, list(headers), body)

    def opened(self, headers: Iterable[tuple[str, str]], subprotocol: str | None) -> None:
        """Note that the handshake went well."""
        if not self.is_over:
            self.is_open = True
            self._turn.opened(list(headers), subprotocol=subprotocol)

    def failed(self, name: str) -> None:
        """Note what failed before there was an answer; what comes after one is no failure of the handshake."""
        if not self.is_open and not self.is_over:
            self.is_over = True
            self._turn.failed(name)

    def timed_out(self) -> None:
        """Note that the handshake took too long."""
        self.failed(failures.READ_TIMEOUT if self.is_connected else failures.CONNECT_TIMEOUT)

    def dropped(self) -> None:
        """Note nothing more: the test itself gave the handshake up."""
        self.is_over = self.is_over or not self.is_open

    def received(self, code: int, is_last: bool, data: Any) -> None:
        """Note a frame of the exchange."""
        if self.is_open:
            self._received.add(code, is_last, data)

    def sent(self, code: int, is_last: bool, data: Any) -> None:
        """Note a frame of the client."""
        if self.is_open:
            self._sent.add(code, is_last, data)

    def lost(self, *, closed: bool) -> None:
        """Note that the connection is gone; `closed` tells whether a close frame came or went before."""
        name = failures.RESET if self.is_reset else failures.DISCONNECTED
        if not self.is_open:
            self.failed(name)
        elif not self.is_over:
            self.is_over = True
            if not closed:
                self._turn.ended(name)

    def ended_by(self, error: BaseException | None) -> None:
        """Note what broke the transport."""
        self.is_reset = self.is_reset or isinstance(error, ConnectionError)


class Fragments:
    """Puts the fragments of messages together."""

    def __init__(self, take: Callable[[Opcode, bytes], None]) -> None:
        self._take = take
        self._first: Opcode = "text"
        self._parts: list[bytes] = []

    def add(self, code: int, is_last: bool, data: Any) -> None:
        """Take a frame; give a whole message on."""
        if code >= 8 or (code and is_last):
            self._take(_NAMES[code], bytes(data))
        else:
            if code:
                self._first, self._parts = _NAMES[code], []
            self._parts.append(bytes(data))
            if is_last:
                whole, self._parts = b"".join(self._parts), []
                self._take(self._first, whole)


def record(connection: Any, recorder: Recorder) -> None:
    """Have what passes a protocol (or a connection of the legacy client) recorded."""
    setattr(connection, _RECORDER, recorder)


def recorder_of(connection: Any) -> Recorder | None:
    """Return what records a protocol, or None."""
    return getattr(connection, _RECORDER, None)


def condemn(connection: Any, error: MarketReplayError) -> None:
    """Have whoever waits on a protocol get an error of ours, where the library would say that it was closed."""
    setattr(connection, _VERDICT, error)


def verdict_of(connection: Any) -> MarketReplayError | None:
    """Return the error that ended a replayed connection, or None."""
    return getattr(connection, _VERDICT, None)


def asked_for(uri: Any, headers: Any) -> tuple[str, list[tuple[str, str]]]:
    """Return the URL without its user and password, and the headers of the request; `uri` is a parsed one."""
    from websockets.datastructures import Headers

    host = f"[{uri.host}]" if ":" in uri.host else uri.host
    port = "" if uri.port == (443 if uri.secure else 80) else f":{uri.port}"
    pairs = list(Headers(headers).raw_items()) if headers is not None else []
    if uri.user_info:
        from websockets.headers import build_authorization_basic

        pairs.append(("Authorization", build_authorization_basic(*uri.user_info)))
    return f"{'wss' if uri.secure else 'ws'}://{host}{port}{uri.resource_name}", pairs


def failure_name(error: BaseException) -> str | None:
    """Name what made opening a connection fail, for storing; None where it was not the network."""
    kinds: list[tuple[type[BaseException], str]] = [
        (socket.gaierror, failures.DNS),
        (ssl.SSLError, failures.TLS),
        (TimeoutError, failures.CONNECT_TIMEOUT),
        (ConnectionResetError, failures.RESET),
        (OSError, failures.CONNECT),
    ]
    return next((name for kind, name in kinds if isinstance(error, kind)), None)


def failure(name: str, refused: str) -> OSError | None:
    """Make the error of a stored failure that came before the request; None for one that came after."""
    match name:
        case failures.CONNECT:
            return replayed(ConnectionRefusedError(errno.ECONNREFUSED, refused))
        case failures.DNS:
            return replayed(socket.gaierror(socket.EAI_NONAME, failures.UNKNOWN_NAME_TEXT))
        case failures.TLS:
            return replayed(ssl.SSLError(1, "TLS handshake failed"))
        case failures.CONNECT_TIMEOUT | failures.READ_TIMEOUT | failures.TIMEOUT:
            return replayed(TimeoutError("timed out"))
    return None


def reset_error() -> ConnectionResetError:
    """Make the error of a connection that the other end reset."""
    return replayed(ConnectionResetError(errno.ECONNRESET, failures.RESET_TEXT))


# -------------------------------------------------------------------- patches


def _process_response(original: Callable[..., Any]) -> Callable[..., Any]:
    def process_response(self: Any, response: Any) -> None:
        recorder = recorder_of(self)
        if recorder is None:
            original(self, response)
            return
        headers = list(response.headers.raw_items())
        try:
            original(self, response)
        except Exception:
            if response.status_code == 101:
                recorder.failed(failures.PROTOCOL)
            else:
                body = bytes(response.body or b"")
                recorder.answered(response.status_code, response.reason_phrase, headers, body)
            raise
        recorder.opened(headers, self.subprotocol)

    return process_response


def _recv_frame(original: Callable[..., Any]) -> Callable[..., Any]:
    def recv_frame(self: Any, frame: Any) -> None:
        if (recorder := recorder_of(self)) is not None:
            recorder.received(frame.opcode, frame.fin, frame.data)
        original(self, frame)

    return recv_frame


def _send_frame(original: Callable[..., Any]) -> Callable[..., Any]:
    def send_frame(self: Any, frame: Any) -> None:
        original(self, frame)
        if (recorder := recorder_of(self)) is not None:
            recorder.sent(frame.opcode, frame.fin, frame.data)

    return send_frame


def _receive_eof(original: Callable[..., Any]) -> Callable[..., Any]:
    def receive_eof(self: Any) -> None:
        original(self)
        if (recorder := recorder_of(self)) is not None:
            error = getattr(self, "handshake_exc", None)
            if error is not None and not isinstance(error.__cause__ or error, EOFError):
                recorder.failed(failures.PROTOCOL)
            recorder.lost(closed=self.close_rcvd is not None or self.close_sent is not None)

    return receive_eof


def _close_exc(original: Any) -> Any:
    def close_exc(self: Any) -> BaseException:
        verdict = verdict_of(self)
        return original.fget(self) if verdict is None else verdict

    return property(close_exc)


def protocol() -> Iterator[Patch]:
    """Give the patches of the protocol layer."""
    from websockets.client import ClientProtocol
    from websockets.protocol import Protocol

    yield Patch(ClientProtocol, "process_response", _process_response)
    yield Patch(Protocol, "recv_frame", _recv_frame)
    yield Patch(Protocol, "send_frame", _send_frame)
    yield Patch(Protocol, "receive_eof", _receive_eof)
    yield Patch(Protocol, "close_exc", _close_exc)
