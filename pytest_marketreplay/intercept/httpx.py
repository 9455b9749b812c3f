"""`httpx`, sync and async.

Patch points: `HTTPTransport.handle_request` and `AsyncHTTPTransport.handle_async_request`, both public, below redirects,
cookies, authentication and event hooks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.intercept import failures
from pytest_marketreplay.intercept.patches import Patch
from pytest_marketreplay.replay.answer import Answer
from pytest_marketreplay.replay.current import current

if TYPE_CHECKING:
    import httpx

    from pytest_marketreplay.replay.session import Live, Session

_INCOMPLETE = "peer closed connection without sending complete message body (incomplete chunked read)"


def _failure(error: str, request: httpx.Request) -> Exception:
    """Make httpx' own exception for a stored failure."""
    import httpx

    said = "replayed from a recording"
    match error:
        case failures.CONNECT:
            return httpx.ConnectError(f"All connection attempts failed ({said})", request=request)
        case failures.DNS:
            return httpx.ConnectError(f"[Errno -2] Name or service not known ({said})", request=request)
        case failures.TLS:
            return httpx.ConnectError(f"TLS handshake failed ({said})", request=request)
        case failures.CONNECT_TIMEOUT:
            return httpx.ConnectTimeout(f"timed out ({said})", request=request)
        case failures.READ_TIMEOUT | failures.TIMEOUT:
            return httpx.ReadTimeout(f"timed out ({said})", request=request)
        case failures.RESET:
            return httpx.ReadError(f"[Errno 104] Connection reset by peer ({said})", request=request)
        case _:
            return httpx.RemoteProtocolError(
                f"Server disconnected without sending a response. ({said})", request=request
            )


def failure_name(error: BaseException) -> str | None:
    """Name a failure of httpx' for storing; None where it is not one of the network's."""
    import socket
    import ssl

    import httpx

    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and len(causes) < 10:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.ConnectError):
        if any(isinstance(item, socket.gaierror) for item in causes):
            return failures.DNS
        return failures.TLS if any(isinstance(item, ssl.SSLError) for item in causes) else failures.CONNECT
    kinds: list[tuple[Any, str]] = [
        (httpx.ConnectTimeout, failures.CONNECT_TIMEOUT),
        (httpx.TimeoutException, failures.READ_TIMEOUT),
        (httpx.ReadError, failures.RESET),
        (httpx.TransportError, failures.DISCONNECTED),
    ]
    return next((name for kind, name in kinds if isinstance(error, kind)), None)


def _ask(session: Session, request: httpx.Request) -> Answer | Live | None:
    import httpx

    try:
        body, unread = request.content or None, False
    except httpx.RequestNotRead:
        body, unread = None, True
    return session.ask(request.method, str(request.url), body, request.headers.items(), unread=unread)


def _stream_class() -> Any:
    """A byte stream for both worlds, which breaks off where the recorded one did."""
    import httpx

    class Stream(httpx.SyncByteStream, httpx.AsyncByteStream):
        def __init__(self, data: bytes, broken: Exception | None = None) -> None:
            self._data, self._broken = data, broken

        def __iter__(self) -> Iterator[bytes]:
            if self._data:
                yield self._data
            if self._broken is not None:
                raise self._broken

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in self:
                yield chunk

    return Stream


_stream: Any = None


def _body(data: bytes, broken: Exception | None = None) -> Any:
    global _stream
    if _stream is None:
        _stream = _stream_class()
    return _stream(data, broken)


def _replay(answer: Answer, request: httpx.Request) -> httpx.Response:
    import httpx

    if answer.fails:
        raise _failure(answer.error or "", request)
    broken = httpx.RemoteProtocolError(_INCOMPLETE, request=request) if answer.breaks_off else None
    version = {"1.0": b"HTTP/1.0", "2": b"HTTP/2"}.get(answer.meta.version or "", b"HTTP/1.1")
    return httpx.Response(
        answer.status,
        headers=answer.headers,
        stream=_body(answer.body, broken),
        extensions={"http_version": version, "reason_phrase": answer.reason.encode("latin-1", "replace")},
    )


def _keep(
    live: Live, request: httpx.Request, got: httpx.Response, raw: bytes, broken: Exception | None
) -> httpx.Response:
    """Record an answer, and give the client one that it reads in its own way."""
    import httpx

    decoded = None
    if raw and broken is None and "content-encoding" in got.headers:
        try:
            decoded = httpx.Response(got.status_code, headers=got.headers, content=raw).content
        except httpx.DecodingError:
            decoded = None
        if decoded == raw:  # an encoding that this httpx does not know passes through
            decoded = None
    pairs = [(name.decode("latin-1"), value.decode("utf-8", "surrogateescape")) for name, value in got.headers.raw]
    kept, stored, undone = failures.stored_headers(pairs, raw, decoded)
    version = str(got.extensions.get("http_version", b"HTTP/1.1"), "ascii").removeprefix("HTTP/")
    reason = got.extensions.get("reason_phrase")
    live.record(
        got.status_code,
        reason.decode("latin-1") if reason is not None else None,
        kept,
        stored,
        version=version,
        content_encoding=undone,
        error=failures.INCOMPLETE if broken else None,
    )
    return httpx.Response(
        got.status_code, headers=got.headers.raw, stream=_body(raw, broken), extensions=got.extensions
    )


def _handle_request(original: Callable[..., Any]) -> Callable[..., Any]:
    def handle_request(self: Any, request: httpx.Request) -> httpx.Response:
        import httpx

        session = current()
        turn = _ask(session, request) if session is not None else None
        if turn is None:
            plain: httpx.Response = original(self, request)
            return plain
        if isinstance(turn, Answer):
            return _replay(turn, request)
        chunks: list[bytes] = []
        broken: Exception | None = None
        try:
            got = original(self, request)
        except Exception as error:
            if (name := failure_name(error)) is not None:
                turn.fail(name)
            raise
        try:
            for chunk in got.stream:
                chunks.append(chunk)  # noqa: PERF402 - what came before a failure is kept
        except httpx.TimeoutException:
            turn.fail(failures.READ_TIMEOUT)
            raise
        except httpx.TransportError as error:
            broken = error
        finally:
            got.stream.close()
        return _keep(turn, request, got, b"".join(chunks), broken)

    return handle_request


def _handle_async_request(original: Callable[..., Any]) -> Callable[..., Any]:
    async def handle_async_request(self: Any, request: httpx.Request) -> httpx.Response:
        import httpx

        session = current()
        turn = _ask(session, request) if session is not None else None
        if turn is None:
            plain: httpx.Response = await original(self, request)
            return plain
        if isinstance(turn, Answer):
            return _replay(turn, request)
        chunks: list[bytes] = []
        broken: Exception | None = None
        try:
            got = await original(self, request)
        except Exception as error:
            if (name := failure_name(error)) is not None:
                turn.fail(name)
            raise
        try:
            async for chunk in got.stream:
                chunks.append(chunk)  # noqa: PERF401
        except httpx.TimeoutException:
            turn.fail(failures.READ_TIMEOUT)
            raise
        except httpx.TransportError as error:
            broken = error
        finally:
            await got.stream.aclose()
        return _keep(turn, request, got, b"".join(chunks), broken)

    return handle_async_request


def transports() -> Iterable[Patch]:
    """Give the patches of `httpx`."""
    from httpx import AsyncHTTPTransport, HTTPTransport

    yield Patch(HTTPTransport, "handle_request", _handle_request)
    yield Patch(AsyncHTTPTransport, "handle_async_request", _handle_async_request)
