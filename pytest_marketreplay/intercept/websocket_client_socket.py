"""The socket of a replayed connection of `websocket-client`: the exchange is behind it, and no network.

It gives the client a frame when the client reads, in the client's own thread. Only who asks for its file descriptor (a
`select` of one's own) gets a pair of real sockets, and a thread that keeps the descriptor readable while there is anything
to read.
"""

from __future__ import annotations

import errno
import socket
import threading
from typing import Any

from pytest_marketreplay.cassette.frame import Opcode
from pytest_marketreplay.intercept import failures
from pytest_marketreplay.intercept.failures import replayed
from pytest_marketreplay.intercept.websocket_wire import ClientFrames, frame, handshake, request_header
from pytest_marketreplay.replay.stream.blocking import Blocking
from pytest_marketreplay.replay.stream.messages import chosen_subprotocol
from pytest_marketreplay.replay.stream.player import Event, Player
from pytest_marketreplay.replay.stream.timeline import Timeline

_END_OF_HEADERS = b"\r\n\r\n"
_NO_HANDSHAKE = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
_FRAMED = ("content-length", "transfer-encoding")


class PlayedSocket:
    """What `websocket-client` reads from and writes to. Safe under threads as a socket is."""

    family, type, proto = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP

    def __init__(self, timeline: Timeline, player: Player, timeout: float | None) -> None:
        self._timeline, self._player = timeline, player
        self._driver: Blocking = timeline.blocking(player)
        self._timeout = timeout
        self._data = b""
        """What the client has not read of the handshake's answer, or of the frame that is being read."""
        self._at = 0
        self._end: OSError | None = None
        self._asked = bytearray()
        self._is_open = False
        """Whether the handshake is over."""
        self._is_closing = False
        """Whether a close frame came of either side."""
        self._is_shut = False
        self._closed = False
        self._frames = ClientFrames(self._take)
        self._descriptor: _Descriptor | None = None

    @property
    def is_over(self) -> bool:
        """Whether the session has ended: no connection of it will get anything."""
        return not self._timeline.is_open

    @property
    def is_closed(self) -> bool:
        """Whether the client has closed it."""
        return self._closed

    # ---------------------------------------------------------------- reading

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Return what has come, up to `bufsize` bytes; b"" where the connection has ended.

        Raises TimeoutError, BlockingIOError, ConnectionResetError as a socket does, StreamError, DamagedCassette.
        """
        at = self._at
        if at >= len(self._data):
            if not self._fill(self._timeout):
                if self._timeout == 0:
                    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
                raise TimeoutError("timed out")
            if not self._data:
                if self._end is not None:
                    error, self._end = self._end, None
                    raise error
                return b""
            at = 0
        piece = self._data[at : at + bufsize]
        self._at = at + len(piece)
        if self._descriptor is not None:
            self._descriptor.update()
        return piece

    def wait(self, timeout: float | None) -> bool:
        """Wait until there is something to read, up to `timeout` seconds. Raises what `recv` raises."""
        return not self._closed and (self._at < len(self._data) or self._fill(timeout))

    def has_data(self) -> bool:
        """Tell whether bytes have come that were not read."""
        return self._at < len(self._data)

    def pending(self) -> int:
        """Return how many bytes can be read at once, as an `SSLSocket` tells."""
        return len(self._data) - self._at

    def _fill(self, timeout: float | None) -> bool:
        """Take the next event; an empty `_data` after it is the end. False: none came in time."""
        if self._closed:
            raise OSError(errno.EBADF, "Bad file descriptor")
        event = None if self._end is not None or not self._is_open else self._driver.next(timeout)
        if event is None:
            self._data, self._at = b"", 0
            return not self._is_open or self._end is not None or self._player.is_closed or self.is_over
        if event.opcode is None:
            self._data = b""
            if event.error == failures.RESET:
                self._end = replayed(ConnectionResetError(errno.ECONNRESET, failures.RESET_TEXT))
        else:
            if event.opcode == "close":
                self._is_closing = True
            self._data = frame(event.opcode, event.data)
        self._at = 0
        return True

    # ---------------------------------------------------------------- writing

    def send(self, data: bytes, flags: int = 0) -> int:
        """Take what the client writes. Raises UnrecordedFrame, BrokenPipeError."""
        if self._closed:
            raise OSError(errno.EBADF, "Bad file descriptor")
        if self._is_shut or (self._is_open and self._player.is_closed and not self._is_closing):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        if self._is_open:
            self._frames.feed(data)
        else:
            self._asked += data
            if _END_OF_HEADERS in self._asked:  # pragma: no branch - the library sends its request at once
                self._answer()
        return len(data)

    def sendall(self, data: bytes, flags: int = 0) -> None:
        """Take what the client writes."""
        self.send(data)

    def _take(self, opcode: Opcode, payload: bytes) -> None:
        if opcode == "ping":
            self._driver.reply(Event(0, "pong", payload))
        elif opcode == "close" and not self._is_closing:
            self._is_closing = True
            self._driver.reply(Event(0, "close", payload))
        self._player.sent(opcode, payload)
        if self._descriptor is not None:
            self._descriptor.update()

    def _answer(self) -> None:
        """Answer the handshake as it was answered."""
        player = self._player
        if player.status == 101:
            offered = request_header(self._asked, b"sec-websocket-protocol")
            self._data = handshake(
                request_header(self._asked, b"sec-websocket-key"),
                reason=player.reason,
                headers=player.headers,
                subprotocol=chosen_subprotocol(player.subprotocol, offered),
            )
            self._is_open = True
        elif player.status:
            self._data = refusal(player)
            player.lost()
        else:
            match player.error:
                case failures.READ_TIMEOUT | failures.TIMEOUT:
                    self._end = replayed(TimeoutError("timed out"))
                case failures.RESET:
                    self._end = replayed(ConnectionResetError(errno.ECONNRESET, failures.RESET_TEXT))
                case failures.PROTOCOL:
                    self._data = _NO_HANDSHAKE
            player.lost()

    # ---------------------------------------------------------------- the rest of a socket

    def settimeout(self, timeout: float | None) -> None:
        """Set how long `recv` waits, in seconds; None: until something comes."""
        self._timeout = timeout

    def gettimeout(self) -> float | None:
        """Return what `settimeout` has set."""
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        """Wait for ever, or not at all."""
        self._timeout = None if flag else 0.0

    def setsockopt(self, *args: Any) -> None:
        """Do nothing: no network is behind it."""

    def getsockopt(self, *args: Any) -> int:
        """Return 0: no error, and no option is set."""
        return 0

    def getpeername(self) -> tuple[str, int]:
        """Return an address of nobody."""
        return ("127.0.0.1", 0)

    getsockname = getpeername

    def fileno(self) -> int:
        """Return a descriptor that is readable while there is anything to read; -1 once it is closed."""
        if self._closed:
            return -1
        if self._descriptor is None:
            self._descriptor = _Descriptor(self, self._driver, self._timeline)
        return self._descriptor.fileno()

    def shutdown(self, how: int) -> None:
        """End the connection; who waits in `recv` gets b""."""
        if self._closed:
            raise OSError(errno.EBADF, "Bad file descriptor")
        self._is_shut = True
        self._player.lost()

    def close(self) -> None:
        """End the connection for good."""
        if not self._closed:
            self._closed = True
            self._player.lost()
            if self._descriptor is not None:
                self._descriptor.close()


def refusal(player: Player) -> bytes:
    """Return the answer that refused an upgrade: its headers as they came, and the length that its body has now."""
    body = player.body
    lines = [f"HTTP/1.1 {player.status} {player.reason}"]
    has_length = False
    for name, value in player.headers:
        if name.lower() not in _FRAMED:
            lines.append(f"{name}: {value}")
        elif name.lower() == "content-length" and not has_length:
            has_length = True
            lines.append(f"{name}: {len(body)}")
    if body and not has_length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


class _Descriptor:
    """One end of a pair of sockets, with a byte in it while there is anything to read."""

    def __init__(self, played: PlayedSocket, driver: Blocking, timeline: Timeline) -> None:
        self._played, self._driver, self._timeline = played, driver, timeline
        self._ours, self._theirs = socket.socketpair()
        self._is_marked = self._closed = False
        threading.Thread(target=self._follow, name="marketreplay-descriptor", daemon=True).start()

    def fileno(self) -> int:
        """Return the descriptor to select on."""
        return self._theirs.fileno()

    def update(self) -> float:
        """Make the descriptor tell what is so now; returns after how many seconds to look again."""
        with self._timeline.changed:
            if self._closed:
                return 0.0
            left = 0.0 if self._played.has_data() else self._driver.ready_in()
            if (left <= 0) != self._is_marked:
                self._is_marked = not self._is_marked
                # a byte more or less in a pair that nobody else touches: neither call blocks
                if self._is_marked:
                    self._ours.send(b"!")
                else:
                    self._theirs.recv(1)
                    self._timeline.changed.notify_all()  # `_follow` waits on, until there is something again
            return left

    def _follow(self) -> None:
        with self._timeline.changed:
            while not self._closed and self._timeline.is_open:
                left = self.update()
                self._timeline.changed.wait(left if left > 0 else None)
            self.update()

    def close(self) -> None:
        """Give the descriptors back."""
        with self._timeline.changed:
            self._closed = True
            self._ours.close()
            self._theirs.close()
            self._timeline.changed.notify_all()
