"""Failures of `urllib3`: their names for storing, and its own exceptions made of them again."""

from __future__ import annotations

import errno
import http.client
import io
import socket
import ssl
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.intercept import failures
from pytest_marketreplay.intercept.failures import replayed
from pytest_marketreplay.intercept.headers import incomplete_text

if TYPE_CHECKING:
    from urllib3.connectionpool import HTTPConnectionPool

    from pytest_marketreplay.replay.answer import Answer


def failure(error: str, pool: HTTPConnectionPool, conn: Any, url: str, timeout: Any) -> Exception:
    """Make urllib3's own exception for a stored failure."""
    from urllib3 import exceptions

    limits = pool._get_timeout(timeout)
    match error:
        case failures.CONNECT:
            refused = ConnectionRefusedError(errno.ECONNREFUSED, failures.REFUSED_TEXT)
            return replayed(
                exceptions.NewConnectionError(conn, f"Failed to establish a new connection: {refused}"), refused
            )
        case failures.DNS:
            unknown = socket.gaierror(socket.EAI_NONAME, failures.UNKNOWN_NAME_TEXT)
            return replayed(exceptions.NameResolutionError(pool.host, conn, unknown), unknown)
        case failures.CONNECT_TIMEOUT:
            text = f"Connection to {pool.host} timed out. (connect timeout={limits.connect_timeout})"
            return replayed(exceptions.ConnectTimeoutError(conn, text), TimeoutError("timed out"))
        case failures.TLS:
            broken = ssl.SSLError(1, "TLS handshake failed")
            return replayed(exceptions.SSLError(broken), broken)
        case failures.READ_TIMEOUT | failures.TIMEOUT:
            text = f"Read timed out. (read timeout={limits.read_timeout})"
            return replayed(exceptions.ReadTimeoutError(pool, url, text), TimeoutError("timed out"))
        case failures.RESET:
            return replayed(ConnectionResetError(errno.ECONNRESET, failures.RESET_TEXT))
        case failures.PROTOCOL:
            return replayed(http.client.BadStatusLine("not HTTP"))
        case _:
            return replayed(http.client.RemoteDisconnected("Remote end closed connection without response"))


def failure_name(error: BaseException) -> str | None:
    """Name a failure of urllib3's for storing; None where it is not one of the network's."""
    from urllib3 import exceptions

    kinds: list[tuple[Any, str]] = [
        (exceptions.NameResolutionError, failures.DNS),
        (exceptions.NewConnectionError, failures.CONNECT),
        (exceptions.ConnectTimeoutError, failures.CONNECT_TIMEOUT),
        ((exceptions.ReadTimeoutError, TimeoutError), failures.READ_TIMEOUT),
        ((exceptions.SSLError, ssl.SSLError), failures.TLS),
        (http.client.RemoteDisconnected, failures.DISCONNECTED),
        (ConnectionResetError, failures.RESET),
        (http.client.HTTPException, failures.PROTOCOL),
        ((OSError, exceptions.HTTPError), failures.DISCONNECTED),
    ]
    return next((name for kind, name in kinds if isinstance(error, kind)), None)


def body_failure_name(error: BaseException) -> str:
    """Name what ended a body before its time."""
    from urllib3.exceptions import ReadTimeoutError

    if isinstance(error, ReadTimeoutError):
        return failures.READ_TIMEOUT
    reset = any(isinstance(part, ConnectionResetError) for part in error.args)
    return failures.RESET if reset else failures.INCOMPLETE


class Body(io.BytesIO):
    """A body in memory that is closed at its end, as `http.client.HTTPResponse` is."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._size = len(data)

    def isclosed(self) -> bool:
        return self.closed or self.tell() >= self._size


class BrokenOff(io.RawIOBase):
    """A body that ends before its time, with the error of the socket or of `http.client`."""

    def __init__(self, data: bytes, error: Exception) -> None:
        self._data = io.BytesIO(data)
        self._error = error

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            raise self._error
        data = self._data.read(size)
        if not data and size:
            raise self._error
        return data

    def read1(self, size: int = -1) -> bytes:
        data = self._data.read(size)
        if data or not size:
            return data
        if isinstance(self._error, http.client.IncompleteRead):
            if self._error.expected is None:
                raise replayed(http.client.IncompleteRead(b""))
            return b""  # as `http.client` does for a body with a length; urllib3 knows that it is short
        raise self._error


def answer_body(answer: Answer) -> Any:
    """Return what urllib3 reads the body of an answer from."""
    if not answer.breaks_off:
        return Body(answer.body)
    expected, _ = incomplete_text(answer.headers, len(answer.body))
    return broken_body(answer.body, answer.error or "", expected)


def broken_body(data: bytes, error: str, expected: int | None) -> Any:
    """Return a body that ends before its time; `expected` is the length it was to have, None in chunks."""
    match error:
        case failures.READ_TIMEOUT | failures.TIMEOUT:
            return BrokenOff(data, replayed(TimeoutError("timed out")))
        case failures.RESET:
            return BrokenOff(data, replayed(ConnectionResetError(errno.ECONNRESET, failures.RESET_TEXT)))
        case _:
            missing = None if expected is None else expected - len(data)
            return BrokenOff(data, replayed(http.client.IncompleteRead(data, missing)))
