"""Replayed answers of `aiohttp`: a real `ResponseHandler` on a transport that goes nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.intercept.aiohttp_failures import body_failure, failure
from pytest_marketreplay.intercept.headers import header_bytes

if TYPE_CHECKING:
    from pytest_marketreplay.replay.answer import Answer
    from pytest_marketreplay.replay.marketclock import MarketClock


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


def answering_handler(loop: asyncio.AbstractEventLoop, answer: Answer, request: Any, clock: MarketClock | None) -> Any:
    """Make a response handler that has the answer the moment the client asks how to parse it."""
    handler = idle_handler(loop)
    handler.answer, handler.request, handler.clock = answer, request, clock
    handler.connection_made(_Nowhere())
    handler._should_close = True  # keeps it out of the connector's pool
    return handler


def idle_handler(loop: asyncio.AbstractEventLoop) -> Any:
    """Make a response handler without a connection, for a stream that holds a whole body."""
    global _handler_class
    if _handler_class is None:
        _handler_class = _make_handler_class()
    return _handler_class(loop)


def _make_handler_class() -> Any:
    from aiohttp import EMPTY_PAYLOAD, HttpVersion10, HttpVersion11, SocketTimeoutError, StreamReader, hdrs
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
        clock: MarketClock | None
        sock_read: float | None = None

        async def read(self) -> Any:
            # an answer comes after the request was written: a body that is a stream is spent, as it is live
            writer = self.request._writer
            if writer is not None and self.request._continue is None:
                await asyncio.wait((writer,))
                if self._exception is not None:
                    raise self._exception
            if self.clock is not None and self.answer.due_ns:
                try:
                    async with asyncio.timeout(self.sock_read or None):
                        await self.clock.until(self.answer.due_ns)
                except TimeoutError:
                    raise SocketTimeoutError("Timeout on reading data from socket") from None
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
            read_timeout: float | None = None,
            read_bufsize: int = 2**16,
            **more: Any,
        ) -> None:
            # ClientRequest.send and ClientSession call this right after connect: a live handler makes its parser here
            answer = self.answer
            self.sock_read = read_timeout
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
            encoding = named if named in encodings() else None
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


def encodings() -> frozenset[str]:
    """Return the content encodings that this aiohttp undoes; any other it passes on as it is."""
    from aiohttp import http_parser

    return _WITH_ZSTD if hasattr(http_parser, "HAS_ZSTD") else _WITHOUT_ZSTD


_WITHOUT_ZSTD = frozenset(("gzip", "deflate", "br"))
_WITH_ZSTD = _WITHOUT_ZSTD | {"zstd"}
