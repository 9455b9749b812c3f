"""`aiohttp`'s client.

Patch points: `BaseConnector.connect` is asked for each hop. Replay hands back a real `ResponseHandler` on a transport
that goes nowhere, so that all of `ClientSession` (middlewares, trace events, redirects, cookies, timeouts) runs as it does
live. Recording marks the connection, and `ClientResponse.start`, which reads the answer's head from it, reads the body as
well and refills it. WebSockets go the same way (`aiohttp_websocket`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.intercept import aiohttp_websocket, failures
from pytest_marketreplay.intercept.aiohttp_answers import answering_handler, encodings, idle_handler
from pytest_marketreplay.intercept.aiohttp_failures import BEFORE_CONNECTED, body_failure_name, failure, failure_name
from pytest_marketreplay.intercept.aiohttp_websocket import Tee
from pytest_marketreplay.intercept.headers import header_name, stored_headers
from pytest_marketreplay.intercept.patches import Patch
from pytest_marketreplay.replay.answer import Answer
from pytest_marketreplay.replay.current import current

if TYPE_CHECKING:
    from pytest_marketreplay.replay.live import Live

_LIVE = "_marketreplay_live"
"""Where a connection's handler carries what its next answer is recorded by."""


class _Call:
    """One call of a client while a session records; it may be several requests, where it is redirected."""

    def __init__(self, decompressed: bool) -> None:
        self.decompressed = decompressed
        self.unanswered: Live | Tee | None = None
        """What went out and has neither been answered nor failed."""

    def fail(self, error: str) -> None:
        """Record a failure of what is unanswered."""
        if self.unanswered is not None:
            unanswered, self.unanswered = self.unanswered, None
            unanswered.fail(error)


_CALL: ContextVar[_Call | None] = ContextVar("marketreplay_aiohttp_call", default=None)


def _body(request: Any) -> tuple[bytes | None, bool]:
    """Return a request's body where it can be read without spending it, and whether there is one that cannot."""
    from aiohttp.payload import BytesPayload

    body = request.body
    if isinstance(body, bytes | bytearray):
        return bytes(body) or None, False
    if isinstance(body, BytesPayload):
        return bytes(body._value) or None, False
    return None, body is not None


def _connect(original: Callable[..., Any]) -> Callable[..., Any]:
    async def connect(self: Any, req: Any, traces: Any, timeout: Any) -> Any:
        session = current()
        if session is None:
            return await original(self, req, traces, timeout)
        if aiohttp_websocket.is_upgrade(req):
            stream = aiohttp_websocket.asked(session, req, self._loop)
            if stream is None:
                return await original(self, req, traces, timeout)
            if isinstance(stream, Tee):
                return await _go_out(original, self, req, traces, timeout, stream, aiohttp_websocket.STREAM)
            return await _replayed(self, req, traces, stream.error, lambda: stream.handler)
        body, unread = _body(req)
        turn = session.ask(req.method, str(req.url), body, req.headers.items(), unread=unread, waits=True)
        if turn is None:
            return await original(self, req, traces, timeout)
        if not isinstance(turn, Answer):
            return await _go_out(original, self, req, traces, timeout, turn, _LIVE)
        clock, error = session.clock, turn.error if turn.fails else None
        if clock is not None and turn.due_ns and error in BEFORE_CONNECTED:
            await clock.until(turn.due_ns)
        return await _replayed(self, req, traces, error, lambda: answering_handler(self._loop, turn, req, clock))

    return connect


async def _replayed(connector: Any, req: Any, traces: Any, error: str | None, handler: Callable[[], Any]) -> Any:
    """Return a connection that goes to a recording, or raise why there was none."""
    from aiohttp import ClientConnectionError
    from aiohttp.connector import Connection

    if connector._closed:
        raise ClientConnectionError("Connector is closed.")
    for trace in traces:
        await trace.send_connection_create_start()
        if error == failures.DNS:
            await trace.send_dns_resolvehost_start(req.url.host)
    if error in BEFORE_CONNECTED:
        raise failure(error, req)
    made = handler()
    for trace in traces:
        await trace.send_connection_create_end()
    return Connection(connector, req.connection_key, made, connector._loop)


async def _go_out(
    original: Callable[..., Any], connector: Any, req: Any, traces: Any, timeout: Any, turn: Live | Tee, mark: str
) -> Any:
    """Connect for real, and mark the connection with what records the answer."""
    call = _CALL.get()
    if call is not None:  # pragma: no branch - a connector that is used without a `ClientSession`
        # aiohttp tries an idempotent request again, without a word, when the connection broke while it was sent
        call.fail(failures.RESET)
        call.unanswered = turn
    try:
        connection = await original(connector, req, traces, timeout)
    except Exception as error:
        name = failures.CONNECT_TIMEOUT if isinstance(error, TimeoutError) else failure_name(error)
        _failed(call, turn, name)
        raise
    setattr(connection.protocol, mark, turn)
    return connection


def _failed(call: _Call | None, turn: Live | Tee, name: str | None) -> None:
    if call is not None:  # pragma: no branch - as above
        call.unanswered = None
    if name is not None:
        turn.fail(name)


def _start(original: Callable[..., Any]) -> Callable[..., Any]:
    async def start(self: Any, connection: Any) -> Any:
        handler = connection.protocol
        turn: Live | Tee | None = getattr(handler, _LIVE, None)
        if turn is not None:
            setattr(handler, _LIVE, None)
        elif isinstance(stream := getattr(handler, aiohttp_websocket.STREAM, None), Tee):
            turn = stream
        if turn is None:
            return await original(self, connection)
        call = _CALL.get()
        try:
            response = await original(self, connection)
        except Exception as error:
            _failed(call, turn, failure_name(error))
            raise
        if call is not None:  # pragma: no branch - as above
            call.unanswered = None
        if isinstance(turn, Tee):
            if response.status == 101:
                turn.opened(response)
                return response
            setattr(handler, aiohttp_websocket.STREAM, None)  # the connection may serve ordinary requests from now on
        await _record(turn, response, call is None or call.decompressed)
        return response

    return start


async def _record(turn: Live | Tee, response: Any, decompresses: bool) -> None:
    """Read and record an answer, and leave no trace of that."""
    import aiohttp

    broken: Exception | None = None
    chunks: list[bytes] = []
    content = response.content
    try:
        while chunk := await content.readany():
            chunks.append(chunk)
    except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, OSError) as error:
        broken = error
    body = b"".join(chunks)
    pairs = [(header_name(name), value.decode("latin-1")) for name, value in response.raw_headers]
    encoding = response.headers.get("Content-Encoding", "").lower()
    decompressed = body and decompresses and encoding in encodings()
    kept, stored, undone = stored_headers(pairs, body, body if decompressed else None)
    version = response.version
    turn.record(
        response.status,
        response.reason,
        kept,
        stored,
        version=f"{version.major}.{version.minor}" if version else "1.1",
        content_encoding=undone,
        error=None if broken is None else body_failure_name(broken),
    )
    if content is aiohttp.EMPTY_PAYLOAD:
        return
    # a fresh stream with the same bytes; not on the connection's own handler, which may serve another request by now and
    # must not be paused by this one
    loop = asyncio.get_running_loop()
    fresh = aiohttp.StreamReader(idle_handler(loop), 2**16, loop=loop)
    if body:
        fresh.feed_data(body)
    if broken is not None:
        fresh.set_exception(broken)
    else:
        fresh.feed_eof()
    response.content = fresh


def _request(original: Callable[..., Any]) -> Callable[..., Any]:
    async def request(self: Any, method: str, str_or_url: Any, **options: Any) -> Any:
        session = current()
        if session is None or session.refuses:
            return await original(self, method, str_or_url, **options)
        decompressed = options.get("auto_decompress")
        call = _Call(self._auto_decompress if decompressed is None else decompressed)
        token = _CALL.set(call)
        try:
            return await original(self, method, str_or_url, **options)
        except Exception as error:
            # what was cancelled: if the client's own timeout did it, it is a failure
            name = failure_name(error)
            if name is not None:
                call.fail(name)
            raise
        finally:
            _CALL.reset(token)

    return request


def client() -> Iterable[Patch]:
    """Give the patches of `aiohttp`."""
    from aiohttp import BaseConnector, ClientResponse, ClientSession

    yield Patch(BaseConnector, "connect", _connect)
    yield Patch(ClientSession, "_request", _request)
    yield Patch(ClientResponse, "start", _start)
    yield from aiohttp_websocket.client()
