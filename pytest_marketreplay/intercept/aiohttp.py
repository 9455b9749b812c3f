"""`aiohttp`'s client.

Replay patches `BaseConnector.connect`: a real `ResponseHandler` on a transport that goes nowhere, so that all of
`ClientSession` (middlewares, trace events, redirects, cookies, timeouts) runs as it does live. Recording adds an
innermost client middleware (aiohttp 3.12 and later), which sees each hop, and refills the body it has read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.intercept import failures
from pytest_marketreplay.intercept.patches import Patch
from pytest_marketreplay.replay.answer import Answer
from pytest_marketreplay.replay.current import current

if TYPE_CHECKING:
    from pytest_marketreplay.replay.session import Live, Session

_TURN: ContextVar[Answer | Live | None] = ContextVar("marketreplay_aiohttp_turn", default=None)
"""What the recording middleware decided, for `connect` further down in the same task."""
_ASKED: ContextVar[bool] = ContextVar("marketreplay_aiohttp_asked", default=False)


class _Nowhere(asyncio.Transport):
    """A transport that takes what is written and sends it nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take it."""

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Take them."""

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Close without a callback: there is no connection to lose."""
        self._closing = True

    abort = close

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 0) if name in ("peername", "sockname") else default

    def pause_reading(self) -> None:
        """Nothing comes."""

    def resume_reading(self) -> None:
        """Nothing comes."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered."""

    def get_write_buffer_size(self) -> int:
        return 0


_handler_class: Any = None


def _handler(loop: asyncio.AbstractEventLoop, answer: Answer) -> Any:
    """Make a response handler that has the answer the moment the client asks how to parse it."""
    global _handler_class
    if _handler_class is None:
        _handler_class = _make_handler_class()
    handler = _handler_class(loop)
    handler.answer = answer
    handler.connection_made(_Nowhere())
    handler._should_close = True  # keeps it out of the connector's pool
    return handler


def _make_handler_class() -> Any:
    from aiohttp import EMPTY_PAYLOAD, ClientPayloadError, HttpVersion10, HttpVersion11, StreamReader
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.http_parser import DeflateBuffer, RawResponseMessage
    from multidict import CIMultiDict, CIMultiDictProxy

    class ReplayHandler(ResponseHandler):
        """A handler whose answer does not come from a socket."""

        answer: Answer

        def set_response_params(
            self,
            *,
            skip_payload: bool = False,
            read_until_eof: bool = False,
            auto_decompress: bool = True,
            read_bufsize: int = 2**16,
            **more: Any,
        ) -> None:
            # ClientRequest.send and ClientSession call this right after connect: a live handler makes its parser here
            answer = self.answer
            headers = CIMultiDict(answer.headers)
            raw = tuple(
                (name.encode("latin-1", "replace"), value.encode("utf-8", "surrogateescape"))
                for name, value in answer.headers
            )
            version = HttpVersion10 if answer.meta.version == "1.0" else HttpVersion11
            encoding = headers.get("content-encoding")
            message = RawResponseMessage(
                version, answer.status, answer.reason, CIMultiDictProxy(headers), raw, False, encoding, False,
                headers.get("transfer-encoding", "").lower() == "chunked",
            )  # fmt: skip
            payload: Any = EMPTY_PAYLOAD
            if not (skip_payload or answer.status in (204, 304)):
                stream = payload = StreamReader(self, read_bufsize, loop=self._loop)
                # a body that is stored still encoded (the client that recorded it could not undo it)
                sink: Any = DeflateBuffer(stream, encoding) if encoding and auto_decompress else stream
                if answer.body:
                    # as a live parser feeds it; the Deflate buffer wants the size in aiohttp before 3.13
                    sink.feed_data(answer.body) if sink is stream else _feed(sink, answer.body)
                if answer.breaks_off:
                    payload.set_exception(ClientPayloadError("Response payload is not completed (replayed)"))
                else:
                    sink.feed_eof()
            _feed(self, (message, payload))

    return ReplayHandler


def _feed(queue: Any, item: Any) -> None:
    """Call `feed_data`, which lost its size in aiohttp 3.14."""
    try:
        queue.feed_data(item, 0)
    except TypeError:
        queue.feed_data(item)


def _failure(error: str, request: Any) -> Exception:
    """Make aiohttp's own exception for a stored failure."""
    import socket
    import ssl

    import aiohttp

    key = request.connection_key
    said = "replayed from a recording"
    match error:
        case failures.CONNECT:
            return aiohttp.ClientConnectorError(key, ConnectionRefusedError(111, said))
        case failures.DNS:
            kind: Any = getattr(aiohttp, "ClientConnectorDNSError", aiohttp.ClientConnectorError)
            made: Exception = kind(key, socket.gaierror(socket.EAI_NONAME, said))
            return made
        case failures.CONNECT_TIMEOUT:
            return aiohttp.ConnectionTimeoutError(f"Connection timeout to host {request.url} ({said})")
        case failures.TLS:
            return aiohttp.ClientConnectorSSLError(key, ssl.SSLError(1, said))
        case failures.READ_TIMEOUT:
            return aiohttp.SocketTimeoutError(f"Timeout on reading data from socket ({said})")
        case failures.TIMEOUT:
            return TimeoutError(said)
        case failures.RESET:
            return aiohttp.ClientOSError(104, f"Connection reset by peer ({said})")
        case _:
            return aiohttp.ServerDisconnectedError(f"Server disconnected ({said})")


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
        ((aiohttp.ClientConnectionError, OSError), failures.DISCONNECTED),
    ]
    return next((name for kind, name in kinds if kind and isinstance(error, kind)), None)


def _body(request: Any) -> tuple[bytes | None, bool]:
    """Return a request's body where it can be read without spending it, and whether there is one that cannot."""
    from aiohttp.payload import BytesPayload

    body = request.body
    if isinstance(body, bytes | bytearray):
        return bytes(body) or None, False
    if isinstance(body, BytesPayload):
        return bytes(body._value) or None, False
    if isinstance(body, tuple) and not body:
        return None, False
    return None, body is not None


def _ask(session: Session, request: Any) -> Answer | Live | None:
    body, unread = _body(request)
    return session.ask(request.method, str(request.url), body, request.headers.items(), unread=unread)


def _is_upgrade(request: Any) -> bool:
    return "websocket" in str(request.headers.get("Upgrade", "")).lower()


def _connect(original: Callable[..., Any]) -> Callable[..., Any]:
    async def connect(self: Any, req: Any, traces: Any, timeout: Any) -> Any:
        session = current()
        if session is None or _is_upgrade(req):
            return await original(self, req, traces, timeout)  # the guard refuses what may not go out
        if _ASKED.get():
            turn = _TURN.get()
        else:
            turn = _ask(session, req)
        if not isinstance(turn, Answer):
            return await original(self, req, traces, timeout)
        if turn.fails:
            raise _failure(turn.error or "", req)
        if self._closed:
            from aiohttp import ClientConnectionError

            raise ClientConnectionError("Connector is closed.")
        from aiohttp.connector import Connection

        for trace in traces:
            await trace.send_connection_create_start()
        handler = _handler(self._loop, turn)
        for trace in traces:
            await trace.send_connection_create_end()
        return Connection(self, req.connection_key, handler, self._loop)

    return connect


async def _recording(request: Any, handler: Any) -> Any:
    """The innermost middleware while a session records: ask, let it go out, keep what came."""
    session = current()
    if session is None or _is_upgrade(request):
        return await handler(request)
    turn = _ask(session, request)
    tokens = _TURN.set(turn), _ASKED.set(True)
    try:
        if turn is None or isinstance(turn, Answer):
            return await handler(request)
        return await _live(turn, request, handler)
    finally:
        _TURN.reset(tokens[0])
        _ASKED.reset(tokens[1])


async def _live(live: Live, request: Any, handler: Any) -> Any:
    import aiohttp

    try:
        response = await handler(request)
    except asyncio.CancelledError:
        _unfinished(live)
        raise
    except Exception as error:
        if (name := failure_name(error)) is not None:
            live.fail(name)
        raise
    broken: Exception | None = None
    chunks: list[bytes] = []
    encoded = not response._session._auto_decompress if response._session is not None else False
    content = response.content
    try:
        while chunk := await content.readany():
            chunks.append(chunk)
    except asyncio.CancelledError:
        _unfinished(live)
        raise
    except TimeoutError:
        live.fail(failures.READ_TIMEOUT)
        raise
    except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, OSError) as error:
        broken = error
    body = b"".join(chunks)
    pairs = [(name.decode("latin-1"), value.decode("utf-8", "surrogateescape")) for name, value in response.raw_headers]
    kept, stored, undone = failures.stored_headers(pairs, body, None if encoded or not body else body)
    version = response.version
    live.record(
        response.status,
        response.reason,
        kept,
        stored,
        version=f"{version.major}.{version.minor}" if version else "1.1",
        content_encoding=undone,
        error=failures.INCOMPLETE if broken else None,
    )
    # leave no trace of our read: a fresh stream with the same bytes
    from aiohttp.client_proto import ResponseHandler

    loop = asyncio.get_running_loop()
    fresh = aiohttp.StreamReader(response._protocol or ResponseHandler(loop), 2**16, loop=loop)
    if body:
        fresh.feed_data(body)
    if broken is not None:
        fresh.set_exception(broken)
    else:
        fresh.feed_eof()
    response.content = fresh
    return response


_PENDING: ContextVar[list[Live] | None] = ContextVar("marketreplay_aiohttp_pending", default=None)


def _unfinished(live: Live) -> None:
    """Remember a call that was cancelled: if the client's own timeout did it, it becomes a recorded failure."""
    pending = _PENDING.get()
    if pending is not None:
        pending.append(live)


def _request(original: Callable[..., Any]) -> Callable[..., Any]:
    async def request(self: Any, method: str, str_or_url: Any, **options: Any) -> Any:
        session = current()
        if session is None or session.refuses:
            return await original(self, method, str_or_url, **options)
        own = options.pop("middlewares", None)
        chain = (*(self._middlewares if own is None else own), _recording)
        pending: list[Live] = []
        token = _PENDING.set(pending)
        try:
            return await original(self, method, str_or_url, middlewares=chain, **options)
        except TimeoutError:
            for live in pending:
                live.fail(failures.TIMEOUT)
            raise
        finally:
            _PENDING.reset(token)

    return request


def client() -> Iterable[Patch]:
    """Give the patches of `aiohttp`."""
    from aiohttp import BaseConnector, ClientSession

    yield Patch(BaseConnector, "connect", _connect)
    yield Patch(ClientSession, "_request", _request)
