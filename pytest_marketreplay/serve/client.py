"""One client's WebSocket connection, and what goes out over it."""

from __future__ import annotations

import asyncio

from aiohttp import WSMsgType, web

from pytest_marketreplay.cassette.frame import Opcode, close_parts

from .seam import Faults
from .tally import Served

_TYPES = {
    "text": WSMsgType.TEXT,
    "binary": WSMsgType.BINARY,
    "ping": WSMsgType.PING,
    "pong": WSMsgType.PONG,
}
GOING_AWAY = 1001
POLICY_VIOLATION = 1008
SERVICE_RESTART = 1012
_LONGEST_REASON = 120


class Client:
    """Sends frames, through the faults where there are any. Whoever sends waits until the client takes them."""

    def __init__(
        self, socket: web.WebSocketResponse, request: web.BaseRequest, venue: str, served: Served, faults: Faults | None
    ) -> None:
        self._socket, self._request, self._faults = socket, request, faults
        self.venue, self.served = venue, served
        self.endpoint = request.raw_path.partition("?")[0]
        self._stuck_since: float | None = None

    @property
    def is_gone(self) -> bool:
        """Whether the connection is closed."""
        return self._socket.closed or self._request.transport is None

    def stuck_s(self) -> float:
        """Return for how long the frame under way has waited for the client to read."""
        since = self._stuck_since
        return 0.0 if since is None else asyncio.get_running_loop().time() - since

    async def send(self, opcode: Opcode, data: bytes) -> None:
        """Send a frame; a `close` has code and reason and ends the connection. Raises ConnectionError where it is gone."""
        if self._faults is None:
            await self._send(opcode, data)
            return
        for changed, payload in self._faults.frames(self.venue, self.endpoint, opcode, data):
            await self._send(changed, payload)

    async def _send(self, opcode: Opcode, data: bytes) -> None:
        if self.is_gone:
            raise ConnectionResetError("the client has gone")
        if opcode == "close":
            code, reason = close_parts(data)
            await self._close(code, reason)
            return
        self._stuck_since = asyncio.get_running_loop().time()
        try:
            await self._socket.send_frame(data, _TYPES[opcode])
        finally:
            self._stuck_since = None
        if opcode in ("text", "binary"):
            self.served.frames += 1

    async def close(self, code: int | None, reason: str | bytes = b"") -> None:
        """Close the connection with a code and a reason, cut to what a close frame holds."""
        raw = reason.encode() if isinstance(reason, str) else reason
        await self._close(code, raw[:_LONGEST_REASON].decode("utf-8", "ignore").encode() if raw else b"")

    async def _close(self, code: int | None, reason: bytes) -> None:
        # a close frame without a code cannot be sent by aiohttp; 1000 is what its reader takes it for
        await self._socket.close(code=1000 if code is None else code, message=reason)

    def abort(self) -> None:
        """Cut the connection without a close frame."""
        if self._request.transport is not None:  # pragma: no branch - None where the client went a moment ago
            self._request.transport.abort()
