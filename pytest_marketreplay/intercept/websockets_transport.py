"""`websockets`: the transport of a replayed connection, for its asyncio and its legacy client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.cassette.frame import Opcode
from pytest_marketreplay.errors import MarketReplayError
from pytest_marketreplay.intercept import failures
from pytest_marketreplay.intercept.websocket_wire import ClientFrames, frame, handshake, request_header
from pytest_marketreplay.intercept.websockets_protocol import condemn, reset_error
from pytest_marketreplay.replay.stream.messages import chosen_subprotocol
from pytest_marketreplay.replay.stream.player import Event, Player

if TYPE_CHECKING:
    from pytest_marketreplay.replay.stream.pump import Pump
    from pytest_marketreplay.replay.stream.timeline import Timeline


def answer(player: Player, request: bytes | bytearray) -> bytes | None:
    """Return what the exchange answers to the upgrade; None where it says nothing and the connection is lost."""
    if player.status:
        body = player.body
        return handshake(
            request_header(request, b"sec-websocket-key"),
            status=player.status,
            reason=player.reason,
            headers=player.headers,
            subprotocol=chosen_subprotocol(player.subprotocol, request_header(request, b"sec-websocket-protocol")),
            body=body,
        )
    return b"not HTTP\r\n\r\n" if player.error == failures.PROTOCOL else None


class Transport(asyncio.Transport):
    """The exchange's end of a connection: what the client writes goes to the player, what is played to the client."""

    def __init__(
        self,
        client: Any,
        condemned: Any,
        player: Player,
        timeline: Timeline,
        is_awaited: Callable[[], bool],
    ) -> None:
        """`client` is the library's connection, `condemned` the object that carries the verdict of a failed replay."""
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._client, self._condemned, self._player, self._timeline = client, condemned, player, timeline
        self._request: bytearray | None = bytearray()
        self._frames = ClientFrames(self._take)
        self._closing = False
        self._received = client.data_received
        self._pump: Pump | None = None
        player.deliver, player.fail, player.is_awaited = self._deliver, self._fail, is_awaited

    # ---------------------------------------------------------------- what the client writes

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing:
            return
        if self._request is None:
            try:
                self._frames.feed(data)
            except MarketReplayError as error:
                condemn(self._condemned, error)
                self._lose(None)
                raise ConnectionAbortedError("the replay has ended the connection") from None
            return
        self._request += data
        if b"\r\n\r\n" in self._request:  # pragma: no branch - the library sends its request at once
            request, self._request = self._request, None
            self._answer(request)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        for data in list_of_data:
            self.write(data)

    def _answer(self, request: bytearray) -> None:
        player = self._player
        said = answer(player, request)
        if said is not None:
            self._loop.call_soon(self._say, said)
        if player.status == 101:
            self._pump = self._timeline.attach(player, self._loop)
        else:
            self._loop.call_soon(self._hang_up, player.error)

    def _take(self, opcode: Opcode, data: bytes) -> None:
        player = self._player
        if opcode == "close":
            if not player.is_closed:
                self._loop.call_soon(self._say, frame("close", data))
            player.sent(opcode, data)
            self._loop.call_soon(self._hang_up, None)
            return
        if opcode == "ping":
            self._loop.call_soon(self._say, frame("pong", data))
        player.sent(opcode, data)

    # ---------------------------------------------------------------- what is played

    def _say(self, data: bytes) -> None:
        if not self._closing:  # pragma: no branch - aborted in the turn in which it was said
            self._received(data)

    def _deliver(self, event: Event) -> None:
        if self._closing:
            return
        if event.opcode is None:
            self._hang_up(event.error)
        else:
            self._received(frame(event.opcode, event.data))

    def _hang_up(self, error: str | None) -> None:
        if self._closing:
            return  # pragma: no cover - aborted in the turn in which the exchange hung up
        if error == failures.RESET:
            self._lose(reset_error())
        else:
            self._client.eof_received()
            self._lose(None)

    def _fail(self, error: MarketReplayError) -> None:
        condemn(self._condemned, error)
        self._lose(None)

    def _lose(self, error: Exception | None) -> None:
        if not self._closing:
            self._closing = True
            self._player.lost()
            self._loop.call_soon(self._client.connection_lost, error)

    # ---------------------------------------------------------------- what asyncio asks of a transport

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._lose(None)

    abort = close

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Note nothing: the client has said all it has to say, and the exchange hangs up when it is its turn."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 0) if name in ("peername", "sockname") else default

    def pause_reading(self) -> None:
        # a client with a full queue: frames stay in the file, and other connections go on
        self._player.is_held = True

    def resume_reading(self) -> None:
        self._player.is_held = False
        if self._pump is not None:  # pragma: no branch - nobody pauses before the handshake
            self._pump.kick()

    def is_reading(self) -> bool:
        return not self._player.is_held

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered."""

    def get_write_buffer_size(self) -> int:
        return 0
