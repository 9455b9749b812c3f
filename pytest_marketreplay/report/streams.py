"""The books of WebSocket streams, rebuilt from their diffs and checked, as series on a grid.

A tick counts as stored where the book could be relied on at that moment. It cannot from a break on (a diff that does not
follow, a checksum that does not fit), or from the end of its connection, until it is ready again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from pytest_marketreplay.cassette.frame import Frame
from pytest_marketreplay.data.decoded import Reader
from pytest_marketreplay.data.rebuilding import Rebuilder, Step
from pytest_marketreplay.data.tape import Place, Recorded, merged
from pytest_marketreplay.errors import BookGap, UnreadablePayload
from pytest_marketreplay.report.books import LEVELS, NotFinite, Tally, check_finite
from pytest_marketreplay.venues.profile import Venue

_MS = 1_000_000
_Connection = tuple[Path, str]


class _Stream:
    """One series while it is read."""

    def __init__(self, tally: Tally, first_ms: int) -> None:
        self.tally = tally
        self.connection: _Connection | None = None
        self.due_ms = self.seen_ms = first_ms
        """The next tick; `seen_ms` is when the book was seen first."""
        self.ready = True

    def until(self, time_ms: int) -> None:
        """Count the ticks before a moment, by whether the book was ready."""
        step = self.tally.grid.interval_ms
        count = -(-(time_ms - self.due_ms) // step)
        if count < 1:
            return
        if self.ready:  # what is not added is missing
            self.tally.grid.add_run(self.due_ms, count)
        self.due_ms += count * step

    def shift(self, moved_ms: int) -> None:
        """Go on by a clock that was moved."""
        self.due_ms += moved_ms
        self.tally.grid.shift(moved_ms)

    def lost(self, time_ms: int) -> None:
        """The book cannot be relied on any more."""
        self.until(time_ms)
        self.ready = False


class Streams:
    """Follows all depth streams of one venue."""

    def __init__(
        self,
        new: Callable[[str], Tally],
        venue_of: Callable[[str], Venue],
        unreadable: Callable[[Path, int, str], None],
        jumps: Mapping[tuple[Path, int], int],
    ) -> None:
        """`jumps` has by how many milliseconds the wall clock moved, by the folder and the time of the entry that says so."""
        self._jumps, self._moved_ms = jumps, 0
        self._moved_of: dict[_Connection, int] = {}
        """How far the clock had been moved when a connection began: a connection keeps the time it began with."""
        self._new, self._venue_of, self._report = new, venue_of, unreadable
        self._streams: dict[tuple[str, str | None], _Stream] = {}
        self._at: _Connection | None = None
        self._heard: dict[_Connection, int] = {}

    def read(self, places: list[Place]) -> list[Tally]:
        """Read these places, the REST snapshots that diffs join among them."""

        def damaged(_: object) -> None:
            """Pass over: it was counted when the place was read."""

        rebuilder = Rebuilder(Reader(self._venue_of, self._unreadable), self._gap, None, several=True)
        for step in rebuilder.steps(self._watched(merged(places, "skip", damaged))):
            self._step(step)
        for stream in self._streams.values():
            self._silent(stream)
            if stream.connection is not None:  # others go on in its folder, and bring it no book
                folder, moved_ms = stream.connection[0], self._moved_of[stream.connection]
                last_ms = max(time - self._moved_of[key] for key, time in self._heard.items() if key[0] == folder)
                stream.tally.grid.miss_until(last_ms + moved_ms)
        return [stream.tally for stream in self._streams.values()]

    def _watched(self, lines: Iterable[Recorded]) -> Iterator[Recorded]:
        for recorded in lines:
            entry = recorded.entry
            self._at = None
            if isinstance(entry, Frame) and entry.meta.dir == "gap":
                self._jumped(self._jumps.get((recorded.place.folder, entry.timestamp), 0))
            elif isinstance(entry, Frame):
                connection = recorded.place.folder, entry.meta.conn or str(recorded.path)
                self._moved_of.setdefault(connection, self._moved_ms)
                if entry.meta.dir in ("open", "end") or (entry.meta.dir == "recv" and entry.meta.opcode == "close"):
                    self._ended(connection, recorded.time_ns // _MS)
                else:
                    self._at = connection
                    self._heard[connection] = recorded.time_ns // _MS
            yield recorded

    def _jumped(self, moved_ms: int) -> None:
        self._moved_ms += moved_ms
        for stream in self._streams.values() if moved_ms else ():
            stream.tally.grid.segments += 1

    def _silent(self, stream: _Stream) -> None:
        """A connection that is heard of no more and has no end, as a kill leaves it, told nothing after its last frame."""
        if stream.ready:
            heard = stream.seen_ms if stream.connection is None else self._heard[stream.connection]
            stream.lost(heard + 1)

    def _ended(self, connection: _Connection, time_ms: int) -> None:
        for stream in self._streams.values():
            if stream.connection == connection:
                stream.lost(time_ms)

    def _gap(self, gap: BookGap) -> None:
        for (symbol, _), stream in self._streams.items():
            if symbol == gap.symbol and gap.kind != "join":
                stream.tally.breaks += 1
                stream.lost(gap.time_ns // _MS)

    def _unreadable(self, error: UnreadablePayload) -> None:
        self._report(error.path, error.line, error.reason)

    def _step(self, step: Step) -> None:
        time_ms = step.follower.time_ns // _MS
        key = step.symbol, step.stream
        stream = self._streams.get(key)
        if stream is None:
            tally = self._new(step.symbol)
            tally.stream = step.stream
            stream = self._streams[key] = _Stream(tally, time_ms)
        tally = stream.tally
        tally.snapshots += 1
        tally.saw(time_ms)
        if self._at is not None and self._at != stream.connection:
            if stream.connection is not None:
                self._silent(stream)
                stream.shift(self._moved_of[self._at] - self._moved_of[stream.connection])
            stream.connection = self._at
        due = stream.due_ms <= time_ms
        stream.until(time_ms)
        stream.ready = True
        stream.until(time_ms + 1)  # a tick at this very moment has the book
        tally.update(step.follower.last_id)
        if due:
            book = step.book(LEVELS)
            try:
                check_finite(book)
            except NotFinite:
                tally.failed += 1
                return
            tally.look(time_ms, book)
