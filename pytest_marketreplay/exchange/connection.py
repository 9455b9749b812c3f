"""One open WebSocket connection as a venue sees it: what waits to be sent, free of any WebSocket library."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Literal, NamedTuple

MOST_PENDING_BYTES = 4 * 2**20
"""What may wait for one client; one that reads too slowly for it is closed with code 1008, as the venues do."""
_OVERHEAD_BYTES = 100  # what a frame costs beside its payload, so that millions of tiny ones count too
POLICY_VIOLATION = 1008

Kind = Literal["text", "ping", "pong", "close", "abort"]


class Item(NamedTuple):
    """Hold one thing to send; `code` only with `close`, whose payload is the reason."""

    kind: Kind
    payload: bytes = b""
    code: int = 1000


class OpenStream(NamedTuple):
    """Tell of one open WebSocket connection: its number at the venue, what it listens to, the frames sent so far."""

    number: int
    path: str
    subscriptions: tuple[str, ...]
    frames: int


class Connection:
    """Collect what a venue sends to one client; any thread may add, the thread of the sockets takes.

    What is added after the end is dropped, as it would be on the wire.
    """

    def __init__(self, number: int, path: str) -> None:
        self.number = number
        self.path = path
        self.frames = 0
        self.ended = False
        """True once a close is queued: nothing follows it."""
        self.cut = False
        """True once the connection is to be cut at once."""
        self.pending_bytes = 0
        self.wake: Callable[[], None] | None = None
        """Called, from any thread, when there is something to take again, and once more for the end."""
        self.hopeless = False
        """True once somebody waited in vain for this client to read: nobody waits for it again."""
        self._pending: deque[Item] = deque()
        self._lock = threading.Lock()
        self._woken = False

    def send(self, payload: bytes) -> None:
        """Queue a text frame; a client with too much waiting is closed instead."""
        self.frames += 1
        self._add(Item("text", payload))

    def ping(self, payload: bytes) -> None:
        """Queue a ping."""
        self._add(Item("ping", payload))

    def pong(self, payload: bytes) -> None:
        """Queue the answer to a client's ping."""
        self._add(Item("pong", payload))

    def close(self, code: int, reason: str = "") -> None:
        """Queue a close frame behind what waits."""
        self._add(Item("close", reason.encode(), code))

    def abort(self) -> None:
        """Cut the TCP connection; what waits is lost."""
        with self._lock:
            self._pending.clear()
        self._add(Item("abort"))

    def take(self) -> Item | None:
        """Take the next thing to send; None when there is nothing, and `wake` is called for the next one."""
        with self._lock:
            if not self._pending:
                self._woken = False
                return None
            item = self._pending.popleft()
            self.pending_bytes -= _size(item)
            return item

    def _add(self, item: Item) -> None:
        with self._lock:
            if self.ended:
                return
            if self.pending_bytes + _size(item) > MOST_PENDING_BYTES and item.kind not in ("close", "abort"):
                self._pending.clear()
                item = Item("close", b"slow consumer", POLICY_VIOLATION)
            if not self._pending:
                self.pending_bytes = 0
            self.ended, self.cut = item.kind in ("close", "abort"), item.kind == "abort"
            self._pending.append(item)
            self.pending_bytes += _size(item)
            wake, self._woken = None if self._woken and not self.ended else self.wake, True
        if wake is not None:
            wake()


def _size(item: Item) -> int:
    return len(item.payload) + _OVERHEAD_BYTES
