"""WebSockets of `aiohttp`'s client (`ClientSession.ws_connect`).

A connection is asked for where any other is, in `BaseConnector.connect`. Replay puts a transport under aiohttp's own
`ResponseHandler` whose other end is the recording: the handshake, the parser, pings, heartbeats and the closing run for
real. Recording reads along where the bytes go to aiohttp's frame parser, that is when they arrive, and where frames are
written.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import weakref
import zlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.cassette.frame import Opcode
from pytest_marketreplay.intercept import failures
from pytest_marketreplay.intercept.aiohttp_failures import failure
from pytest_marketreplay.intercept.guard import check_address
from pytest_marketreplay.intercept.headers import header_name
from pytest_marketreplay.intercept.patches import Patch
from pytest_marketreplay.intercept.websocket_wire import ClientFrames, frame, handshake
from pytest_marketreplay.replay.stream.capture import Capture
from pytest_marketreplay.replay.stream.messages import chosen_subprotocol

if TYPE_CHECKING:
    from pytest_marketreplay.cassette.entry import Headers
    from pytest_marketreplay.errors import MarketReplayError
    from pytest_marketreplay.replay.session import Session
    from pytest_marketreplay.replay.stream.player import Event, Player
    from pytest_marketreplay.replay.stream.timeline import Timeline

STREAM = "_marketreplay_stream"
"""Where a connection's handler carries its `Tee` or `Exchange`."""

_OPCODES: dict[int, Opcode] = {1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}


def is_upgrade(request: Any) -> bool:
    """Tell whether a request asks for a WebSocket."""
    return "websocket" in str(request.headers.get("Upgrade", "")).lower()


def asked(session: Session, request: Any, loop: asyncio.AbstractEventLoop) -> Exchange | Tee | None:
    """Decide what happens to a request for a WebSocket; raises what `Session.connect` does, NetworkRefused."""
    turn = session.connect(str(request.url), request.headers.items())
    if turn is None:
        # before a resolver in C is asked
        check_address(socket.AF_INET, (request.url.host, request.url.port), "a WebSocket")
        return None
    return Tee(turn) if isinstance(turn, Capture) else Exchange(turn, session.streams.timeline, request, loop)


class Tee:
    """Reads along on a connection that is recorded; for aiohttp's handler it is the frame parser."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._frames = ClientFrames(self._received)
        self._parser: Any = None
        self._is_over = True  # before the handshake is answered, what ends the connection is its failure

    # ---------------------------------------------------------------- the handshake

    def opened(self, response: Any) -> None:
        """Note that the handshake went well."""
        headers = [(header_name(name), value.decode("latin-1")) for name, value in response.raw_headers]
        self._capture.opened(headers, subprotocol=response.headers.get("Sec-WebSocket-Protocol"))
        self._is_over = False

    def record(self, status: int, reason: str | None, headers: Headers, body: bytes, **_: Any) -> None:
        """Note that the upgrade was refused."""
        self._capture.refused(status, reason, headers, body)

    def fail(self, error: str) -> None:
        """Note that the handshake was not answered."""
        self._capture.failed(error)

    # ---------------------------------------------------------------- frames

    def under(self, parser: Any, queue: Any) -> Any:
        """Take the place of the frame parser."""
        self._parser = parser
        return self

    def feed_data(self, data: bytes) -> Any:
        """Read along, and let aiohttp parse."""
        if not self._is_over:
            try:
                self._frames.feed(data)
            except (ValueError, zlib.error):  # aiohttp's own parser says so to the client, and the connection ends
                self._end("disconnected")
        return self._parser.feed_data(data)

    def feed_eof(self) -> None:
        """Let aiohttp know."""
        self._parser.feed_eof()

    def _received(self, opcode: Opcode, data: bytes) -> None:
        self._capture.received(opcode, data)
        self._is_over |= opcode == "close"

    def sent(self, opcode: int, data: bytes | bytearray | memoryview) -> None:
        """Note what the client sends."""
        name = _OPCODES.get(int(opcode))
        if name is not None and not self._is_over:
            self._capture.sent(name, bytes(data))
            self._is_over |= name == "close"

    def lost(self, error: BaseException | None) -> None:
        """Note that the exchange is gone, where no close frame said so."""
        self._end("reset" if isinstance(error, ConnectionResetError) else "disconnected")

    def _end(self, error: str) -> None:
        if not self._is_over:
            self._is_over = True
            self._capture.ended(error)


class _Verdict:
    """What stands in aiohttp's queue of messages for an error: whoever looks what kind of message it is raises it.

    An exception in the queue itself would not reach the test: `receive` makes a message of type ERROR of it.
    """

    def __init__(self, error: MarketReplayError) -> None:
        self._error = error

    @property
    def type(self) -> Any:
        """Raise the error."""
        raise self._error


class Exchange(asyncio.Transport):
    """The exchange's end of a replayed connection."""

    def __init__(self, player: Player, timeline: Timeline, request: Any, loop: asyncio.AbstractEventLoop) -> None:
        from aiohttp.client_proto import ResponseHandler

        super().__init__()
        self._player, self._timeline, self._request, self._loop = player, timeline, request, loop
        self._frames = ClientFrames(self._take)
        self._head: bytearray | None = bytearray()
        self._is_closing = self._is_lost = False
        self._queue: Any = None
        self._client: weakref.ref[Any] | None = None
        player.deliver, player.fail, player.is_awaited = self._deliver, self._fail, self._is_awaited
        self.handler: Any = ResponseHandler(loop)
        """aiohttp's own, which hands the bytes to its parsers."""
        setattr(self.handler, STREAM, self)
        self.handler.connection_made(self)

    @property
    def error(self) -> str | None:
        """What failed, where nothing answered."""
        return None if self._player.status else self._player.error or failures.DISCONNECTED

    # ---------------------------------------------------------------- from the exchange

    def _answer(self) -> None:
        """Answer the handshake; from now on frames may come."""
        player = self._player
        if self._is_closing:
            return
        if self.error is not None:
            self.handler.set_exception(failure(self.error, self._request))
            return
        key = self._request.headers.get("Sec-WebSocket-Key", "")
        self.handler.data_received(
            handshake(
                key,
                status=player.status,
                reason=player.reason,
                headers=player.headers,
                subprotocol=chosen_subprotocol(
                    player.subprotocol, self._request.headers.get("Sec-WebSocket-Protocol", "")
                ),
                body=player.body,
            )
        )
        if player.status == 101:
            self._timeline.attach(player, self._loop)
        else:
            self._lose(None)

    def _deliver(self, event: Event) -> None:
        if event.opcode is not None:
            self._feed(frame(event.opcode, event.data))
        elif event.error == "reset":
            self._lose(ConnectionResetError(errno.ECONNRESET, failures.RESET_TEXT))
        else:
            self._lose(None)

    def _feed(self, data: bytes) -> None:
        if not self._is_closing:
            self.handler.data_received(data)

    def _lose(self, error: Exception | None) -> None:
        """Lose the connection, as a transport does: not within the call that made it so."""
        self._is_closing = True
        if not self._is_lost:
            self._is_lost = True
            self._loop.call_soon(self.handler.connection_lost, error)

    def _fail(self, error: MarketReplayError) -> None:
        if self._queue is None:
            self.handler.set_exception(error)
        else:
            self._queue.feed_data(_Verdict(error), 0)
        self._lose(None)

    def _is_awaited(self) -> bool:
        client = self._client() if self._client is not None else None
        return client is not None and client._waiting

    # ---------------------------------------------------------------- from the client

    def under(self, parser: Any, queue: Any) -> Any:
        """Note where the client's messages come from; its parser is aiohttp's."""
        self._queue = queue
        return parser

    def belongs_to(self, client: Any) -> None:
        """Note the client's end."""
        self._client = weakref.ref(client)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take what the client sends. Raises UnrecordedFrame out of its send call."""
        if self._is_closing:
            return
        if self._head is None:
            self._frames.feed(data)
            return
        self._head += data
        if b"\r\n\r\n" in self._head:  # pragma: no branch - aiohttp sends its request at once
            self._head = None
            self._loop.call_soon(self._answer)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def _take(self, opcode: Opcode, data: bytes) -> None:
        if opcode == "ping":
            self._loop.call_soon(self._feed, frame("pong", data))
        elif opcode == "close":
            if not self._player.is_closed:
                self._loop.call_soon(self._feed, frame("close", data))
            self._player.sent(opcode, data)
            self._loop.call_soon(self._lose, None)
        elif opcode != "pong":
            self._player.sent(opcode, data)

    def close(self) -> None:
        """Lose the connection, as the client wishes."""
        if not self._is_closing:
            self._lose(None)
            self._player.lost()

    abort = close

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        """Hold the recording while the client has too many messages that it has not read."""
        self._player.is_held = True

    def resume_reading(self) -> None:
        """Go on."""
        self._player.is_held = False
        self._timeline.progressed(self._player)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 0) if name in ("peername", "sockname") else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered."""

    def get_write_buffer_size(self) -> int:
        return 0


def _stream(handler: Any) -> Any:
    return getattr(handler, STREAM, None)


def _set_parser(original: Callable[..., Any]) -> Callable[..., Any]:
    def set_parser(self: Any, parser: Any, payload: Any, *args: Any, **more: Any) -> Any:
        stream = _stream(self)
        if stream is not None:  # before frames that came with the handshake's answer are parsed
            parser = stream.under(parser, payload)
        return original(self, parser, payload, *args, **more)

    return set_parser


def _connection_lost(original: Callable[..., Any]) -> Callable[..., Any]:
    def connection_lost(self: Any, exc: BaseException | None) -> Any:
        stream = _stream(self)
        if isinstance(stream, Tee) and self.transport is not None:  # else it was the client that dropped it
            stream.lost(exc)
        return original(self, exc)

    return connection_lost


def _send_frame(original: Callable[..., Any]) -> Callable[..., Any]:
    def send_frame(self: Any, message: Any, opcode: int, *args: Any, **more: Any) -> Any:
        stream = _stream(self.protocol)
        if isinstance(stream, Tee) and not self.transport.is_closing():
            stream.sent(opcode, message)
        return original(self, message, opcode, *args, **more)

    return send_frame


def _ws_connect(original: Callable[..., Any]) -> Callable[..., Any]:
    async def ws_connect(self: Any, *args: Any, **options: Any) -> Any:
        client = await original(self, *args, **options)
        stream = _stream(getattr(client._conn, "protocol", None))
        if isinstance(stream, Exchange):
            stream.belongs_to(client)
        return client

    return ws_connect


def client() -> Iterable[Patch]:
    """Give the patches of `aiohttp` for WebSockets."""
    from aiohttp import ClientSession
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.http_websocket import WebSocketWriter

    yield Patch(ClientSession, "_ws_connect", _ws_connect)
    yield Patch(ResponseHandler, "set_parser", _set_parser)
    yield Patch(ResponseHandler, "connection_lost", _connection_lost)
    yield Patch(WebSocketWriter, "send_frame", _send_frame)
