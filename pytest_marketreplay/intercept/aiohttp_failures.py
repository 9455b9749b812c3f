"""Failures of `aiohttp`'s client: their names for storing, and its own exceptions made of them again."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.intercept import failures
from pytest_marketreplay.intercept.failures import replayed
from pytest_marketreplay.intercept.headers import incomplete_text

if TYPE_CHECKING:
    from pytest_marketreplay.replay.answer import Answer

BEFORE_CONNECTED = frozenset((failures.CONNECT, failures.DNS, failures.CONNECT_TIMEOUT, failures.TLS))
"""Failures that `connect` itself raises; the others come from a connection that was there."""


def failure(error: str, request: Any) -> BaseException:
    """Make aiohttp's own exception for a stored failure."""
    import aiohttp
    from aiohttp.http_exceptions import BadStatusLine

    key = request.connection_key
    match error:
        case failures.CONNECT:
            text = f"Connect call failed ('{request.url.host}', {request.url.port})"
            refused = ConnectionRefusedError(errno.ECONNREFUSED, text)
            return replayed(aiohttp.ClientConnectorError(key, refused), refused)
        case failures.DNS:
            unknown = socket.gaierror(socket.EAI_NONAME, failures.UNKNOWN_NAME_TEXT)
            kind: Any = getattr(aiohttp, "ClientConnectorDNSError", aiohttp.ClientConnectorError)
            made: BaseException = replayed(kind(key, unknown), unknown)
            return made
        case failures.TLS:
            broken = ssl.SSLError(1, "TLS handshake failed")
            return replayed(aiohttp.ClientConnectorSSLError(key, broken), broken)
        case failures.CONNECT_TIMEOUT | failures.TIMEOUT:
            # ClientSession makes a ConnectionTimeoutError of it where it comes from `connect`
            return replayed(TimeoutError(), asyncio.CancelledError())
        case failures.READ_TIMEOUT:
            return replayed(aiohttp.SocketTimeoutError("Timeout on reading data from socket"))
        case failures.RESET:
            reset = ConnectionResetError(errno.ECONNRESET, failures.RESET_TEXT)
            return replayed(aiohttp.ClientOSError(*reset.args), reset)
        case failures.PROTOCOL:
            return replayed(BadStatusLine("not HTTP"))
        case _:
            return replayed(aiohttp.ServerDisconnectedError())


def body_failure(answer: Answer) -> BaseException:
    """Make aiohttp's own exception for a body that ended before its time."""
    import aiohttp
    from aiohttp.http_exceptions import ContentLengthError, TransferEncodingError

    match answer.error:
        case failures.READ_TIMEOUT:
            return replayed(aiohttp.SocketTimeoutError("Timeout on reading data from socket"))
        case failures.TIMEOUT:
            return replayed(TimeoutError(), asyncio.CancelledError())
    expected, _ = incomplete_text(answer.headers, len(answer.body))
    cause: Exception
    release = tuple(int(part) for part in aiohttp.__version__.split(".")[:2])
    satisfy = "to satisfy" if release >= (3, 12) else "for satisfy"
    if expected is not None:
        counted = f" (received {len(answer.body)} of {expected} bytes)" if release >= (3, 14) else ""
        cause = ContentLengthError(f"Not enough data {satisfy} content length header{counted}.")
    else:
        cause = TransferEncodingError(f"Not enough data {satisfy} transfer length header.")
    text = f"Response payload is not completed: {cause!r}"
    if answer.error == failures.RESET:
        text += f". {ConnectionResetError(errno.ECONNRESET, failures.RESET_TEXT)!r}"
    return replayed(aiohttp.ClientPayloadError(text), cause)


def failure_name(error: BaseException) -> str | None:
    """Name a failure of aiohttp's for storing; None where it is not one of the network's."""
    import aiohttp

    kinds: list[tuple[Any, str]] = [
        (getattr(aiohttp, "ClientConnectorDNSError", ()), failures.DNS),
        ((aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError), failures.TLS),
        (aiohttp.ClientConnectorError, failures.CONNECT),
        (aiohttp.ConnectionTimeoutError, failures.CONNECT_TIMEOUT),
        (aiohttp.SocketTimeoutError, failures.READ_TIMEOUT),
        (asyncio.TimeoutError, failures.TIMEOUT),
        (aiohttp.ServerDisconnectedError, failures.DISCONNECTED),
        ((aiohttp.ClientOSError, ConnectionResetError), failures.RESET),
        (aiohttp.ClientResponseError, failures.PROTOCOL),
        ((aiohttp.ClientConnectionError, OSError), failures.DISCONNECTED),
    ]
    return next((name for kind, name in kinds if kind and isinstance(error, kind)), None)


def body_failure_name(error: BaseException) -> str:
    """Name what ended a body before its time."""
    import aiohttp

    if isinstance(error, TimeoutError):
        return failures.READ_TIMEOUT if isinstance(error, aiohttp.SocketTimeoutError) else failures.TIMEOUT
    return failures.RESET if "ConnectionResetError" in str(error) else failures.INCOMPLETE
