"""What one venue's frames are to a subscriber: for each stream, its messages in order, from whichever connections.

Several recorded connections may carry the same stream (a client that reconnected, two clients side by side). A
subscriber gets each message once: one connection is followed as long as it lasts, then the next is taken up after the
message that was the last of the one before.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.frame import DATA

from .frames import Connection, Frames

Route = tuple[str, ...]
"""What a client subscribes to, as the venue's own side names it."""
_OVERLAP_NS = 60_000_000_000


class Routed(NamedTuple):
    """What a recorded message is."""

    route: Route | None = None
    """Which stream it belongs to."""
    is_snapshot: bool = False
    """Whether it is a whole state, from which a late subscriber can start."""
    is_strange: bool = False
    """Whether it should belong to a stream, and nobody can tell to which."""


class Router(Protocol):
    """A venue's way of saying which stream a message belongs to. Fed with the connections' lines in order."""

    def opened(self, connection: Connection) -> list[Route]:
        """Return the streams that a connection's URL names."""
        ...

    def sent(self, connection: Connection, data: bytes) -> list[Route]:
        """Return the streams that a client's message subscribes to."""
        ...

    def received(self, connection: Connection, data: bytes) -> Routed:
        """Return what a message of the exchange is."""
        ...

    def bare(self, data: bytes) -> bytes:
        """Return a message without what the endpoint of its connection put around it."""
        ...


class Stream:
    """The messages of one stream: numbers of lines, in order, and which of them are snapshots."""

    def __init__(self) -> None:
        self.parts: list[tuple[Connection, array[int]]] = []
        self.lines = array("L")
        self.snapshots = array("L")
        """Positions in `lines`."""


class Timeline:
    """The frames of one venue and, where its protocol is known, its streams."""

    def __init__(self, router: Router | None = None) -> None:
        self.frames = Frames()
        self.streams: dict[Route, Stream] = {}
        self.strange = 0
        """Messages of which nobody can tell which stream they belong to."""
        self.router = router
        self._snapshots: set[int] = set()
        self.joins: Callable[[Route, int], int | None] | None = None
        """Where a late subscriber of a stream has to start to join a snapshot that comes over REST."""

    def load(self, layer: Path, place: Place) -> None:
        """Read the files of one place. Raises DamagedCassette."""
        router = self.router
        for connection, at, frame in self.frames.scan(layer, place):
            if router is None:
                continue
            meta = frame.meta
            if meta.dir == "open":
                for route in router.opened(connection) if connection.was_opened else ():
                    self.streams.setdefault(route, Stream())
            elif meta.opcode not in DATA:
                continue
            elif meta.dir == "send":
                for route in router.sent(connection, frame.data()):
                    self.streams.setdefault(route, Stream())
            elif meta.dir == "recv":
                self._note(connection, at, router.received(connection, frame.data()))

    def _note(self, connection: Connection, at: int, routed: Routed) -> None:
        self.strange += routed.is_strange
        if routed.route is None:
            return
        stream = self.streams.setdefault(routed.route, Stream())
        if not stream.parts or stream.parts[-1][0] is not connection:
            for part, lines in stream.parts:
                if part is connection:
                    lines.append(at)
                    break
            else:
                stream.parts.append((connection, array("L", (at,))))
        else:
            stream.parts[-1][1].append(at)
        if routed.is_snapshot:
            self._snapshots.add(at)

    def finish(self) -> None:
        """Put the parts of each stream behind one another, once all files are read."""
        for stream in self.streams.values():
            # the numbers of lines follow the order of files, the connections' own times say which came first
            parts = sorted((lines for _, lines in stream.parts), key=lambda lines: self.frames.time_ns[lines[0]])
            for lines in parts:
                stream.lines.extend(lines[self._taken_up(stream.lines, lines) :] if stream.lines else lines)
            stream.snapshots.extend(at for at, line in enumerate(stream.lines) if line in self._snapshots)
            stream.parts.clear()
        self._snapshots.clear()

    def _taken_up(self, before: array[int], lines: array[int]) -> int:
        """Return from which position on a second connection's messages are new."""
        times = self.frames.time_ns
        last_ns = times[before[-1]]
        if times[lines[0]] > last_ns + _OVERLAP_NS:
            return 0
        last = self._bare(before[-1])
        first = self._position(lines, last_ns - _OVERLAP_NS)
        near = range(first, self._position(lines, last_ns + _OVERLAP_NS))
        same = [position for position in near if self._bare(lines[position]) == last]
        # of messages that are all alike (heartbeats) only the time can tell
        return same[0] + 1 if len(same) == 1 else self._position(lines, last_ns)

    def _bare(self, at: int) -> bytes:
        data = self.frames.read(at).data()
        return data if self.router is None else self.router.bare(data)

    def _position(self, lines: array[int], time_ns: int) -> int:
        """Return the position of the first line after a moment."""
        times = self.frames.time_ns
        return bisect_right(lines, time_ns, key=lambda line: times[line])

    def start(self, route: Route, now_ns: int | None) -> int:
        """Return at which position of a stream somebody starts who subscribes now; None: at its beginning.

        What lies before is past, as on the exchange; but a stream that has snapshots starts with the newest of them, and
        one that needs a snapshot over REST with what chains to it.
        """
        stream = self.streams[route]
        if now_ns is None:
            return 0
        position = self._position(stream.lines, now_ns - 1)
        if stream.snapshots and (last := bisect_right(stream.snapshots, position)):
            return stream.snapshots[last - 1]
        if self.joins is not None and (joint := self.joins(route, now_ns)) is not None:
            return min(joint, position)
        return position

    @property
    def span_ns(self) -> tuple[int, int] | None:
        """The first and the last moment of the connections; None without any."""
        connections = self.frames.connections
        if not connections:
            return None
        return min(one.first_ns for one in connections), max(one.last_ns for one in connections)
