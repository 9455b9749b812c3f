"""Failures of `httpx`: their names for storing, and its own exceptions made of them again."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import TYPE_CHECKING

from pytest_marketreplay.intercept import failures
from pytest_marketreplay.intercept.failures import replayed
from pytest_marketreplay.intercept.headers import incomplete_text

if TYPE_CHECKING:
    import httpx

    from pytest_marketreplay.replay.answer import Answer


def failure(error: str, request: httpx.Request, asynchronous: bool) -> Exception:
    """Make httpx' own exception for a stored failure.

    The texts are those of httpcore's sync backend, which quotes the socket, and of anyio, which mostly has none.
    """
    unknown: OSError | None = None
    match error:
        case failures.CONNECT:
            unknown = ConnectionRefusedError(errno.ECONNREFUSED, failures.REFUSED_TEXT)
            return _made(
                "ConnectError", "All connection attempts failed" if asynchronous else str(unknown), request, unknown
            )
        case failures.DNS:
            unknown = socket.gaierror(socket.EAI_NONAME, failures.UNKNOWN_NAME_TEXT)
            return _made("ConnectError", str(unknown), request, unknown)
        case failures.TLS:
            unknown = ssl.SSLError(1, "TLS handshake failed")
            return _made("ConnectError", str(unknown), request, unknown)
        case failures.CONNECT_TIMEOUT:
            return _made("ConnectTimeout", *_timed_out(request, asynchronous))
        case failures.READ_TIMEOUT | failures.TIMEOUT:
            return _made("ReadTimeout", *_timed_out(request, asynchronous))
        case failures.RESET:
            unknown = ConnectionResetError(errno.ECONNRESET, failures.RESET_TEXT)
            return _made("ReadError", "" if asynchronous else str(unknown), request, unknown)
        case failures.PROTOCOL:
            return _made("RemoteProtocolError", "illegal status line", request)
        case _:
            return _made("RemoteProtocolError", "Server disconnected without sending a response.", request)


def _timed_out(request: httpx.Request, asynchronous: bool) -> tuple[str, httpx.Request, TimeoutError]:
    text = "" if asynchronous else "timed out"
    return text, request, TimeoutError(text) if text else TimeoutError()


def _made(name: str, text: str, request: httpx.Request, cause: BaseException | None = None) -> Exception:
    """Make the httpx exception, with the httpcore one of the same name beneath it, as its transport does."""
    import httpcore
    import httpx

    beneath = getattr(httpcore, name)(text)
    beneath.__cause__ = cause
    made: Exception = replayed(getattr(httpx, name)(text, request=request), beneath)
    return made


def body_failure(answer: Answer, request: httpx.Request, asynchronous: bool) -> Exception:
    """Make httpx' own exception for a body that ended before its time."""
    if answer.error in (failures.READ_TIMEOUT, failures.TIMEOUT, failures.RESET):
        return failure(answer.error or "", request, asynchronous)
    _, missing = incomplete_text(answer.headers, len(answer.body))
    text = f"peer closed connection without sending complete message body ({missing})"
    return _made("RemoteProtocolError", text, request)


def failure_name(error: BaseException) -> str | None:
    """Name a failure of httpx' for storing; None where it is not one of the network's."""
    import httpx

    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol | httpx.PoolTimeout):
        return None  # the client's own: nothing went out
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and len(causes) < 10:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.ConnectError):
        if any(isinstance(item, socket.gaierror) for item in causes):
            return failures.DNS
        return failures.TLS if any(isinstance(item, ssl.SSLError) for item in causes) else failures.CONNECT
    if isinstance(error, httpx.RemoteProtocolError):
        return failures.DISCONNECTED if "disconnected" in str(error) else failures.PROTOCOL
    kinds: list[tuple[type[Exception], str]] = [
        (httpx.ConnectTimeout, failures.CONNECT_TIMEOUT),
        (httpx.TimeoutException, failures.READ_TIMEOUT),
        (httpx.ReadError, failures.RESET),
        (httpx.TransportError, failures.DISCONNECTED),
    ]
    return next((name for kind, name in kinds if isinstance(error, kind)), None)


def body_failure_name(error: BaseException) -> str:
    """Name what ended a body before its time."""
    import httpx

    if isinstance(error, httpx.TimeoutException):
        return failures.READ_TIMEOUT
    return failures.RESET if isinstance(error, httpx.ReadError) else failures.INCOMPLETE
