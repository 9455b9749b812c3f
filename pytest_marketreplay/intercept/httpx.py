"""`httpx`, sync and async.

Patch points: `HTTPTransport.handle_request` and `AsyncHTTPTransport.handle_async_request`, both public, below redirects,
cookies, authentication and event hooks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.intercept.headers import header_bytes, header_text, stored_headers
from pytest_marketreplay.intercept.httpx_failures import body_failure, body_failure_name, failure, failure_name
from pytest_marketreplay.intercept.patches import Patch
from pytest_marketreplay.replay.answer import Answer
from pytest_marketreplay.replay.current import current

if TYPE_CHECKING:
    import httpx

    from pytest_marketreplay.replay.live import Live
    from pytest_marketreplay.replay.marketclock import MarketClock
    from pytest_marketreplay.replay.session import Session


def _ask(session: Session, request: httpx.Request, *, waits: bool = False) -> Answer | Live | None:
    import httpx

    try:
        body, unread = request.content or None, False
    except httpx.RequestNotRead:
        body, unread = None, True
    return session.ask(request.method, str(request.url), body, request.headers.items(), unread=unread, waits=waits)


async def _arrives(answer: Answer, clock: MarketClock, request: httpx.Request) -> None:
    """Wait until an answer arrives on the clock of the recording, at most as long as the client waits."""
    import asyncio

    import httpx

    try:
        async with asyncio.timeout(request.extensions.get("timeout", {}).get("read")):
            await clock.until(answer.due_ns)
    except TimeoutError as error:
        raise httpx.ReadTimeout("", request=request) from error


_PIECE = 1 << 16
"""httpcore reads that much at once; a client that iterates without a size sees it."""


def _stream_class() -> Any:
    """A byte stream for both worlds, which breaks off where the recorded one did."""
    import httpx

    class Stream(httpx.SyncByteStream, httpx.AsyncByteStream):
        def __init__(self, data: bytes, broken: Exception | None = None) -> None:
            self._data, self._broken = data, broken

        def __iter__(self) -> Iterator[bytes]:
            for start in range(0, len(self._data), _PIECE):
                yield self._data[start : start + _PIECE]
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


_no_network: Any = None


def _network_stream() -> Any:
    """Return what stands for the connection in an answer's extensions; it knows nothing about itself."""
    global _no_network
    if _no_network is None:
        import httpcore

        class NoNetwork(httpcore.NetworkStream, httpcore.AsyncNetworkStream):  # type: ignore[misc]
            def get_extra_info(self, info: str) -> Any:
                return None

        _no_network = NoNetwork()
    return _no_network


def _replay(answer: Answer, request: httpx.Request, asynchronous: bool) -> httpx.Response:
    import httpx

    if answer.fails:
        raise failure(answer.error or "", request, asynchronous)
    broken = body_failure(answer, request, asynchronous) if answer.breaks_off else None
    version = {"1.0": b"HTTP/1.0", "2": b"HTTP/2"}.get(answer.meta.version or "", b"HTTP/1.1")
    return httpx.Response(
        answer.status,
        headers=[(header_bytes(name), header_bytes(value)) for name, value in answer.headers],
        stream=_body(answer.body, broken),
        extensions={
            "http_version": version,
            "reason_phrase": answer.reason.encode("latin-1", "replace"),
            "network_stream": _network_stream(),
        },
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
    pairs = [(header_text(name), header_text(value)) for name, value in got.headers.raw]
    kept, stored, undone = stored_headers(pairs, raw, decoded)
    version = str(got.extensions.get("http_version", b"HTTP/1.1"), "ascii").removeprefix("HTTP/")
    reason = got.extensions.get("reason_phrase")
    live.record(
        got.status_code,
        reason.decode("latin-1") if reason is not None else None,
        kept,
        stored,
        version=version,
        content_encoding=undone,
        error=body_failure_name(broken) if broken is not None else None,
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
            return _replay(turn, request, asynchronous=False)
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
        turn = _ask(session, request, waits=True) if session is not None else None
        if turn is None:
            plain: httpx.Response = await original(self, request)
            return plain
        if isinstance(turn, Answer):
            if turn.due_ns and session is not None and session.clock is not None:
                await _arrives(turn, session.clock, request)
            return _replay(turn, request, asynchronous=True)
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
