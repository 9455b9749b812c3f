"""The WebSocket connections of the simulated exchange on the wire.

Imported only when the server starts, because it needs aiohttp.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from aiohttp import WSMsgType, web

from .connection import Connection
from .streaming import Streaming

_LARGEST_MESSAGE = 64 * 2**10
_CLOSING_S = 1.0  # what a client has to answer a close; then it is cut off
GOING_AWAY = 1001


class Sockets:
    """Carry frames between clients and the venues' streams."""

    def __init__(self, streaming: Streaming) -> None:
        self._streaming = streaming
        self._open: dict[Connection, asyncio.Task[None]] = {}

    async def serve(self, request: web.BaseRequest, venue: str, path: str, query: str) -> web.StreamResponse:
        """Upgrade a request and talk until one side ends it."""
        # no compression, as the venues do without it; no automatic pong, because Binance counts pings
        socket = web.WebSocketResponse(
            compress=False, autoping=False, timeout=_CLOSING_S, max_msg_size=_LARGEST_MESSAGE
        )
        if not socket.can_prepare(request).ok:
            return web.Response(status=400, text="this is no WebSocket handshake\n")
        connection = self._streaming.open(venue, path, query)  # before the 101, so that nothing is missed after it
        try:
            await socket.prepare(request)
            sender = asyncio.create_task(self._send(socket, connection, request))
            self._open[connection] = sender
            try:
                await self._receive(socket, venue, connection)
            finally:
                del self._open[connection]
                self._streaming.left(venue, connection)
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
        finally:
            self._streaming.left(venue, connection)
        return socket

    async def close(self) -> None:
        """Close every connection because the server stops."""
        senders = list(self._open.values())
        for connection in self._open:
            connection.close(GOING_AWAY, "going away")
        if senders:
            await asyncio.wait(senders, timeout=2 * _CLOSING_S)

    async def _receive(self, socket: web.WebSocketResponse, venue: str, connection: Connection) -> None:
        streaming = self._streaming
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                streaming.heard(venue, connection, message.data)
            elif message.type is WSMsgType.BINARY:
                streaming.heard(venue, connection, message.data.decode("utf-8", "replace"))
            elif message.type is WSMsgType.PING:
                streaming.pinged(venue, connection, bytes(message.data))
            elif message.type is WSMsgType.PONG:  # pragma: no branch - else an error, and with it the end
                streaming.ponged(venue, connection)

    async def _send(self, socket: web.WebSocketResponse, connection: Connection, request: web.BaseRequest) -> None:
        """Send what waits, in order; ends with the connection."""
        news = asyncio.Event()
        connection.wake = _waker(news, connection, request)
        news.set()
        while True:
            await news.wait()
            news.clear()
            while (item := connection.take()) is not None:
                if item.kind == "abort":
                    _cut(request)
                    return
                if item.kind == "close":
                    # a client that reads nothing holds the close frame back too: it is cut off after a while
                    with contextlib.suppress(TimeoutError, ConnectionError):
                        await asyncio.wait_for(socket.close(code=item.code, message=item.payload), 2 * _CLOSING_S)
                    _cut(request)  # pragma: no cover - mostly the receiving side ends this first
                    return  # pragma: no cover - as above
                send = socket.send_frame(item.payload, _OPCODES[item.kind])
                if not await _sent(send):
                    return  # pragma: no cover - mostly the receiving side hears of it first, and ends this


_OPCODES = {"text": WSMsgType.TEXT, "ping": WSMsgType.PING, "pong": WSMsgType.PONG}


async def _sent(send: Awaitable[None]) -> bool:
    """Await a frame; False when the client is gone, which the receiving side notices too."""
    try:
        await send
    except (ConnectionError, RuntimeError):  # aiohttp: RuntimeError once it knows of the close
        return False
    return True


def _waker(news: asyncio.Event, connection: Connection, request: web.BaseRequest) -> Callable[[], None]:
    """Make what wakes the sender from any thread; one that hangs in a send, on a client that reads nothing, is freed
    by cutting the connection.
    """
    loop = asyncio.get_running_loop()

    def tell() -> None:
        news.set()
        if connection.cut:
            _cut(request)
        elif connection.ended:
            loop.call_later(3 * _CLOSING_S, _cut, request)

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it the connection
            loop.call_soon_threadsafe(tell)

    return wake


def _cut(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()
