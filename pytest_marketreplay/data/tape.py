"""Lines of many files as one stream in the order they arrived, with as few files open as the time asks for.

A REST answer counts when it arrived, which is its call's `timestamp` and its latency; so a file's lines are in that order.
Where a clock was set back within a file, its own order is kept.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import files, frame, names, reader
from pytest_marketreplay.cassette.entry import Entry, NotAnEntry
from pytest_marketreplay.cassette.files import Line
from pytest_marketreplay.cassette.frame import Frame
from pytest_marketreplay.cassette.payload import is_utf8
from pytest_marketreplay.cassette.reader import Damage
from pytest_marketreplay.errors import DamagedCassette

Damaged = Literal["error", "skip"]

_MS = 1_000_000


class Place(NamedTuple):
    """One folder of a cassette, with its names read back."""

    folder: Path
    venue: str
    """The venue's folder name."""
    endpoint: str
    """As the folder says it: `/api/v3/depth`."""
    symbol: str | None
    websocket: bool

    @classmethod
    def of(cls, root: Path, place: files.Place) -> Place:
        """Read the names of a folder back."""
        endpoint, websocket = names.endpoint_of(place.endpoint)
        return cls(place.within(root), place.venue, endpoint, names.symbol_of(place.symbol), websocket)


class Recorded(NamedTuple):
    """One line of a tape: a REST answer or a WebSocket frame, and where it stands."""

    place: Place
    path: Path
    line: int
    time_ns: int
    """When it arrived (a sent frame: when it went), Unix epoch in nanoseconds."""
    entry: Entry | Frame

    @property
    def venue(self) -> str:
        """The venue's folder name."""
        return self.place.venue

    @property
    def symbol(self) -> str | None:
        """The symbol it stands under; None where that is `_all`."""
        return self.place.symbol

    @property
    def endpoint(self) -> str:
        """The path as it was recorded."""
        return self.entry.endpoint

    @property
    def is_frame(self) -> bool:
        """Whether it is a line of a WebSocket connection."""
        return isinstance(self.entry, Frame)

    def body(self) -> bytes:
        """Return the payload exactly as it was sent."""
        return self.entry.body() if isinstance(self.entry, Entry) else self.entry.data()

    def json(self) -> Any:
        """Return the payload as Python values, numbers with a point as floats. Raises ValueError where it is no JSON."""
        return msgspec.json.decode(self.body())


def read_line(data: bytes, *, websocket: bool = False) -> tuple[int, Entry | Frame]:
    """Read a line: when it arrived in nanoseconds, and what it is. Raises NotAnEntry.

    `websocket` tells what it most likely is, and only saves time.
    """
    if websocket and is_utf8(data):  # nearly all lines of a tape: read once, not twice
        try:
            line = frame.read_trusted_frame(data)
        except (ValueError, RecursionError):
            pass  # below it is said what is wrong
        else:
            return line.time_ns, line
    head = entries.read_head(data)
    try:
        if head.meta.dir is None:
            entry = entries.read_trusted(data)
            latency = entry.meta.latency_ms
            return entry.timestamp * _MS + (0 if latency is None else int(latency * _MS)), entry
        line = frame.read_trusted_frame(data)
    except ValueError as error:  # msgspec's errors are ValueErrors too
        raise NotAnEntry(f"not an entry: {error}") from None
    return line.time_ns, line


class _Source:
    """One file, read when its time comes."""

    def __init__(self, place: Place, path: Path, damaged: Damaged, skipped: Callable[[Damage], None]) -> None:
        self._place, self._path, self._damaged, self._skipped = place, path, damaged, skipped

    def bound_ns(self) -> int:
        """Return a time before which it has nothing: that of its first line, or for a sealed file of its name."""
        if self._path.suffix in files.SEALED:
            return _named_ns(self._path.name)
        first = next(self.lines(quiet=True), None)
        return -(2**63) if first is None else first.time_ns

    def lines(self, *, quiet: bool = False) -> Iterator[Recorded]:
        """Read the file. With `quiet`, damage is passed over without being counted or raised: to look what is first."""
        try:
            stream = files.open_binary(self._path)
        except DamagedCassette as error:
            if self._damaged == "error":
                raise
            self._skipped(Damage(self._path, 0, error.byte, error.reason))
            return
        with stream:
            for line in files.lines(stream):
                try:
                    time_ns, entry = read_line(line.data, websocket=self._place.websocket)
                except NotAnEntry as error:
                    if not quiet:
                        self._damage(line, error)
                    continue
                yield Recorded(self._place, self._path, line.number, time_ns, entry)

    def _damage(self, line: Line, error: NotAnEntry) -> None:
        if self._damaged == "error":
            if not line.ended:
                reader.torn_tail(self._path, line)
                return
            raise DamagedCassette(self._path, line.number, line.offset + error.byte, error.reason) from None
        self._skipped(Damage(self._path, line.number, line.offset + error.byte, error.reason, not line.ended))


def _named_ns(name: str) -> int:
    order = names.file_order(name)
    if order is None or not order[0].startswith(tuple("0123456789")):
        return -(2**63)
    start = datetime.strptime(order[0], "%Y-%m-%dT%H-%M-%S").replace(tzinfo=UTC)
    return int(start.timestamp()) * 1_000_000_000


def merged(
    places: Sequence[Place], damaged: Damaged, skipped: Callable[[Damage], None], end_ns: int = 2**63
) -> Iterator[Recorded]:
    """Read the lines of places in the order they arrived; files that begin at `end_ns` or later are not opened.

    Raises DamagedCassette, or calls `skipped` for each damaged line.
    """
    count = itertools.count()
    heap: list[tuple[int, int, Recorded | None, Iterator[Recorded] | _Source]] = []
    for place in places:
        for path in files.files_in(place.folder):
            source = _Source(place, path, damaged, skipped)
            bound = source.bound_ns()
            if bound < end_ns:
                heap.append((bound, next(count), None, source))
    heapq.heapify(heap)
    while heap:
        key, number, waiting, source_or_lines = heap[0]
        lines = source_or_lines.lines() if isinstance(source_or_lines, _Source) else source_or_lines
        if waiting is not None:
            yield waiting
        following = next(lines, None)
        if following is None:
            heapq.heappop(heap)
        else:
            # never before the line above it, whatever the clock did
            heapq.heapreplace(heap, (max(key, following.time_ns), number, following, lines))
