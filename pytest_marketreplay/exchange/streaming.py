"""The WebSocket connections of all venues: opened and heard by the sockets, dropped and refused by tests."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from .connection import MOST_PENDING_BYTES, Connection, OpenStream
from .streams import VenueStreams

_LONGEST_WAIT_MS = 1000


class Streaming:
    """Hold the connections of the venues that trade; everything happens under the exchange's lock."""

    def __init__(self, lock: threading.RLock, venues: Iterable[str], streams_of: Callable[[str], VenueStreams]) -> None:
        self._lock = lock
        self._streams_of = streams_of
        self._opened = dict.fromkeys(venues, 0)
        self._refusals: dict[str, deque[int]] = {venue: deque() for venue in self._opened}
        self._begun: dict[str, VenueStreams] = {}
        self._never = threading.Event()

    # What the sockets ask

    def refusal(self, venue: str) -> int | None:
        """Take the status that the next upgrade is to be refused with; None when it is welcome."""
        with self._lock:
            return self._refusals[venue].popleft() if self._refusals[venue] else None

    def serves(self, venue: str, path: str) -> bool:
        """Tell whether a venue takes WebSocket connections at a path."""
        with self._lock:
            return self._streams(venue).serves(path)

    def open(self, venue: str, path: str, query: str) -> Connection:
        """Take in a connection; what its URL subscribes to begins now."""
        with self._lock:
            self._opened[venue] += 1
            connection = Connection(self._opened[venue], path)
            self._streams(venue).opened(connection, query)
            return connection

    def heard(self, venue: str, connection: Connection, text: str) -> None:
        """Pass on a text frame."""
        self._pass_on(venue, connection, lambda streams: streams.heard(connection, text))

    def pinged(self, venue: str, connection: Connection, payload: bytes) -> None:
        """Pass on a ping."""
        self._pass_on(venue, connection, lambda streams: streams.pinged(connection, payload))

    def ponged(self, venue: str, connection: Connection) -> None:
        """Pass on a pong."""
        self._pass_on(venue, connection, lambda streams: streams.ponged(connection))

    def left(self, venue: str, connection: Connection) -> None:
        """Forget a connection that has ended."""
        with self._lock:
            connection.ended = True
            self._streams(venue).left(connection)

    def tick(self) -> None:
        """Let the venues do what real time asks for."""
        with self._lock:
            for streams in self._begun.values():
                streams.tick()

    def _pass_on(self, venue: str, connection: Connection, call: Callable[[VenueStreams], None]) -> None:
        with self._lock:
            streams = self._streams(venue)
            if connection in streams.connections and not connection.ended:
                call(streams)

    def _streams(self, venue: str) -> VenueStreams:
        return self._begun.setdefault(venue, self._streams_of(venue))

    # What the exchange asks

    def flush(self, venue: str) -> None:
        """Send what a request changed between two steps: the trades and the reports of an order."""
        with self._lock:
            if venue in self._begun:
                self._begun[venue].flush()

    def refuse(self, venue: str, status: int, times: int) -> None:
        """Refuse the next upgrades."""
        with self._lock:
            self._refusals[venue].extend([status] * times)

    def drop(self, venue: str, code: int | None, reason: str) -> int:
        """Close or cut all connections of a venue; gives how many."""
        with self._lock:
            streams = self._begun.get(venue)
            connections = [each for each in streams.connections if not each.ended] if streams is not None else []
            for connection in connections:
                if code is None:
                    connection.abort()
                else:
                    connection.close(code, reason)
                self._streams(venue).left(connection)
            return len(connections)

    def listed(self, venue: str) -> tuple[OpenStream, ...]:
        """Tell of the open connections of a venue."""
        with self._lock:
            streams = self._begun.get(venue)
            if streams is None:
                return ()
            return tuple(
                OpenStream(each.number, each.path, tuple(streams.subscriptions(each)), each.frames)
                for each in streams.connections
                if not each.ended
            )

    def wait_for_room(self) -> None:
        """Wait while a client has much to read, a second at most for each; called without the lock, between steps."""
        for _ in range(_LONGEST_WAIT_MS):
            if not self._full():
                return
            self._never.wait(0.001)  # not time.sleep, which a test's clock may have replaced
        for connection in self._full():
            connection.hopeless = True

    def _full(self) -> list[Connection]:
        return [
            each
            for streams in list(self._begun.values())
            for each in list(streams.connections)
            if each.pending_bytes > MOST_PENDING_BYTES // 2 and not each.ended and not each.hopeless
        ]
