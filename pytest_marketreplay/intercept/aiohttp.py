"""`aiohttp`'s client.

Replay patches `BaseConnector.connect`: a real `ResponseHandler` on a transport that goes nowhere, so that all of
`ClientSession` (middlewares, trace events, redirects, cookies, timeouts) runs as it does live. Recording adds an
innermost client middleware (aiohttp 3.12 and later), which sees each hop, and refills the body it has read.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.intercept import failures
from pytest_marketreplay.intercept.aiohttp_failures import (
    BEFORE_CONNECTED,
    body_failure,
    body_failure_name,
    failure,
    failure_name,
)
from pytest_marketreplay.intercept.guard import check_address
from pytest_marketreplay.intercept.headers import header_bytes, header_name, stored_headers
from pytest_marketreplay.intercept.patches import Patch
from pytest_marketreplay.replay.answer import Answer
from pytest_marketreplay.replay.current import current

if TYPE_CHECKING:
    from pytest_marketreplay.replay.live import Live
    from pytest_marketreplay.replay.session import Session

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
_MOST_SPELLINGS = 1024


def _handler(loop: asyncio.AbstractEventLoop, answer: Answer, request: Any) -> Any:
    """Make a response handler that has the answer the moment the client asks how to parse it."""
    handler = _idle_handler(loop)
    handler.answer, handler.request = answer, request
    handler.connection_made(_Nowhere())
    handler._should_close = True  # keeps it out of the connector's pool
    return handler


def _idle_handler(loop: asyncio.AbstractEventLoop) -> Any:
    """Make a response handler without a connection, for a stream that holds a whole body."""
    global _handler_class
    if _handler_class is None:
        _handler_class = _make_handler_class()
    return _handler_class(loop)


def _make_handler_class() -> Any:
    from aiohttp import EMPTY_PAYLOAD, HttpVersion10, HttpVersion11, StreamReader, hdrs
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.http_parser import DeflateBuffer, HttpResponseParser, HttpResponseParserPy, RawResponseMessage
    from multidict import CIMultiDict, CIMultiDictProxy, istr

    # aiohttp's parser in C gives a header that it knows the name it knows it by, in the usual spelling
    in_c = HttpResponseParser is not HttpResponseParserPy
    known_names = {name.lower(): name for name in vars(hdrs).values() if in_c and isinstance(name, istr)}

    spellings: dict[str, tuple[bytes, str]] = {}  # converting 20 names took a sixth of a replayed request

    class ReplayHandler(ResponseHandler):
        """A handler whose answer does not come from a socket."""

        answer: Answer
        request: Any

        async def read(self) -> Any:
            # an answer comes after the request was written: a body that is a stream is spent, as it is live
            writer = self.request._writer
            if writer is not None and self.request._continue is None:
                await asyncio.wait((writer,))
                if self._exception is not None:
                    raise self._exception
            return await super().read()

        def pause_reading(self) -> None:
            """Go on: the whole body is here. A stream asks for a pause above 128 KB, of a parser that there is not."""

        def resume_reading(self, *args: Any, **more: Any) -> None:
            """Go on."""

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
            if answer.fails:
                self.set_exception(failure(answer.error or "", self.request))
                return
            pairs, raw = [], []
            for name, value in answer.headers:
                spelt = spellings.get(name)
                if spelt is None:
                    spelt = header_bytes(name), known_names.get(name.lower(), name)
                    if len(spellings) < _MOST_SPELLINGS:
                        spellings[name] = spelt
                if value.isascii():
                    pairs.append((spelt[1], value))
                    raw.append((spelt[0], value.encode()))
                else:  # as aiohttp's parser reads them
                    data = header_bytes(value)
                    pairs.append((spelt[1], data.decode("utf-8", "surrogateescape")))
                    raw.append((spelt[0], data))
            headers = CIMultiDict(pairs)
            version = HttpVersion10 if answer.meta.version == "1.0" else HttpVersion11
            named = headers.get("content-encoding", "").lower()
            encoding = named if named in _encodings() else None
            message = RawResponseMessage(
                version, answer.status, answer.reason, CIMultiDictProxy(headers), tuple(raw), False, encoding, False,
                headers.get("transfer-encoding", "").lower() == "chunked",
            )  # fmt: skip
            payload: Any = EMPTY_PAYLOAD
            if not (skip_payload or answer.status in (204, 304)):
                stream = payload = StreamReader(self, read_bufsize, loop=self._loop)
                # a body that is stored still encoded (the client that recorded it could not undo it)
                sink: Any = DeflateBuffer(stream, encoding) if encoding and auto_decompress else stream
                if answer.body:
                    sink.feed_data(answer.body, 0)  # the Deflate buffer wants a size, and does not use it
                if answer.breaks_off:
                    payload.set_exception(body_failure(answer))
                else:
                    sink.feed_eof()
            self.feed_data((message, payload), 0)

    return ReplayHandler


def _encodings() -> frozenset[str]:
    """Return the content encodings that this aiohttp undoes; any other it passes on as it is."""
    from aiohttp import http_parser

    return _WITH_ZSTD if hasattr(http_parser, "HAS_ZSTD") else _WITHOUT_ZSTD


_WITHOUT_ZSTD = frozenset(("gzip", "deflate", "br"))
_WITH_ZSTD = _WITHOUT_ZSTD | {"zstd"}


def _body(request: Any) -> tuple[bytes | None, bool]:
    """Return a request's body where it can be read without spending it, and whether there is one that cannot."""
    from aiohttp.payload import BytesPayload

    body = request.body
    if isinstance(body, bytes | bytearray):
        return bytes(body) or None, False
    if isinstance(body, BytesPayload):
        return bytes(body._value) or None, False
    return None, body is not None


def _ask(session: Session, request: Any) -> Answer | Live | None:
    body, unread = _body(request)
    return session.ask(request.method, str(request.url), body, request.headers.items(), unread=unread)


def _is_upgrade(request: Any) -> bool:
    return "websocket" in str(request.headers.get("Upgrade", "")).lower()


def _connect(original: Callable[..., Any]) -> Callable[..., Any]:
    async def connect(self: Any, req: Any, traces: Any, timeout: Any) -> Any:
        session = current()
        if session is None:
            return await original(self, req, traces, timeout)
        if _is_upgrade(req):
            check_address(
                socket.AF_INET, (req.url.host, req.url.port), "a WebSocket"
            )  # before a resolver in C is asked
            return await original(self, req, traces, timeout)
        if _ASKED.get():
            turn = _TURN.get()
        else:
            turn = _ask(session, req)
        if not isinstance(turn, Answer):
            return await original(self, req, traces, timeout)
        if self._closed:
            from aiohttp import ClientConnectionError

            raise ClientConnectionError("Connector is closed.")
        from aiohttp.connector import Connection

        for trace in traces:
            await trace.send_connection_create_start()
            if turn.error == failures.DNS:
                await trace.send_dns_resolvehost_start(req.url.host)
        if turn.error in BEFORE_CONNECTED and turn.fails:
            raise failure(turn.error, req)
        handler = _handler(self._loop, turn, req)
        for trace in traces:
            await trace.send_connection_create_end()
        return Connection(self, req.connection_key, handler, self._loop)

    return connect


class _Recorder:
    """The innermost middleware of one call while a session records: ask, let it go out, keep what came."""

    def __init__(self, decompressed: bool) -> None:
        self._decompressed = decompressed
        self.unfinished: list[Callable[[], None]] = []
        """What was cancelled: if the client's own timeout did it, it becomes a recorded failure."""

    async def __call__(self, request: Any, handler: Any) -> Any:
        session = current()
        if session is None or _is_upgrade(request):
            return await handler(request)
        turn = _ask(session, request)
        tokens = _TURN.set(turn), _ASKED.set(True)
        try:
            if turn is None or isinstance(turn, Answer):
                return await handler(request)
            return await self._live(turn, request, handler)
        finally:
            _TURN.reset(tokens[0])
            _ASKED.reset(tokens[1])

    async def _live(self, live: Live, request: Any, handler: Any) -> Any:
        import aiohttp

        try:
            response = await handler(request)
        except asyncio.CancelledError:
            self.unfinished.append(lambda: live.fail(failures.TIMEOUT))
            raise
        except Exception as error:
            if (name := failure_name(error)) is not None:
                live.fail(name)
            raise
        broken: Exception | None = None
        chunks: list[bytes] = []
        content = response.content
        try:
            while chunk := await content.readany():
                chunks.append(chunk)
        except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, OSError) as error:
            broken = error
        body = b"".join(chunks)
        self._keep(live, response, body, None if broken is None else body_failure_name(broken))
        if content is aiohttp.EMPTY_PAYLOAD:
            return response
        # leave no trace of our read: a fresh stream with the same bytes; not on the connection's own handler, which may
        # serve another request by now and must not be paused by this one
        loop = asyncio.get_running_loop()
        fresh = aiohttp.StreamReader(_idle_handler(loop), 2**16, loop=loop)
        if body:
            fresh.feed_data(body)
        if broken is not None:
            fresh.set_exception(broken)
        else:
            fresh.feed_eof()
        response.content = fresh
        return response

    def _keep(self, live: Live, response: Any, body: bytes, error: str | None) -> None:
        pairs = [(header_name(name), value.decode("latin-1")) for name, value in response.raw_headers]
        encoding = response.headers.get("Content-Encoding", "").lower()
        decompressed = body and self._decompressed and encoding in _encodings()
        kept, stored, undone = stored_headers(pairs, body, body if decompressed else None)
        version = response.version
        live.record(
            response.status,
            response.reason,
            kept,
            stored,
            version=f"{version.major}.{version.minor}" if version else "1.1",
            content_encoding=undone,
            error=error,
        )


def _request(original: Callable[..., Any]) -> Callable[..., Any]:
    async def request(self: Any, method: str, str_or_url: Any, **options: Any) -> Any:
        session = current()
        if session is None or session.refuses:
            return await original(self, method, str_or_url, **options)
        own = options.pop("middlewares", None)
        decompressed = options.get("auto_decompress")
        recorder = _Recorder(self._auto_decompress if decompressed is None else decompressed)
        chain = (*(self._middlewares if own is None else own), recorder)
        try:
            return await original(self, method, str_or_url, middlewares=chain, **options)
        except TimeoutError:
            for keep in recorder.unfinished:
                keep()
            raise

    return request


def client() -> Iterable[Patch]:
    """Give the patches of `aiohttp`."""
    from aiohttp import BaseConnector, ClientSession

    yield Patch(BaseConnector, "connect", _connect)
    yield Patch(ClientSession, "_request", _request)
