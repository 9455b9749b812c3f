"""The connections that a cassette holds at one place: found in one pass, read again line by line while they play.

Of a frame only its position in the file is held, and neighbours share one: a file of one connection costs nothing.
"""

from __future__ import annotations

import os
import warnings
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import files, payload, reader
from pytest_marketreplay.cassette.entry import NotAnEntry
from pytest_marketreplay.cassette.frame import DATA, Frame, read_frame_head, read_trusted_frame
from pytest_marketreplay.errors import DamagedCassette
from pytest_marketreplay.replay.matching import Matcher
from pytest_marketreplay.replay.stream.messages import Message

_MOST_OPEN = 8
_CHUNK = 1 << 18


class MissingFrames(UserWarning):
    """Frames of a recorded connection are missing: their numbers do not follow each other."""


class Sent(NamedTuple):
    """One message that the client sent when the connection was recorded."""

    position: int
    """Which line of the connection it is."""
    message: Message
    where: tuple[Path, int]
    """File and line."""


class Resume(NamedTuple):
    """Where a client that connects again goes on, after a fault has cut the connection."""

    position: int
    """The line that it goes on with."""
    time_ns: int
    """When that was, in the recording."""
    shift_ns: int
    is_again: bool
    """Whether the recording was being played once more (`end_of_tape="loop"`), and how much later it was then."""


class Connection:
    """One recorded connection."""

    def __init__(self, files_: Lines, name: str) -> None:
        self._files = files_
        self.name = name
        self.count = 0
        """Lines, the `open` line included."""
        self.opening: Frame | None = None
        """The handshake; a hand-written connection may have none."""
        self.sends: list[Sent] = []
        """What the client sent and the exchange may have answered; messages that only keep it open are not here."""
        self.first_ns = self.last_ns = 0
        self.was_played = False
        self.made: set[int] = set()
        """Positions of messages that a client of this session has sent."""
        self.resume: Resume | None = None
        self.where: tuple[Path, int] = (Path(), 0)
        """File and line of its first line."""
        self._runs = array("q")
        self._sequence = -1

    def add(self, number: int, start: int, end: int) -> None:
        """Note where the next line stands."""
        runs = self._runs
        if runs and runs[-1] == start and runs[-3] == number:
            runs[-1] = end
        else:
            runs.extend((number, start, end))
        self.count += 1

    def frames(self) -> Iterator[Frame]:
        """Read its lines in order. Raises DamagedCassette."""
        runs = self._runs
        for at in range(0, len(runs), 3):
            yield from self._files.frames(runs[at], runs[at + 1], runs[at + 2])


class Lines:
    """The files of one place in one layer, and the connections in them."""

    def __init__(self, paths: Sequence[Path | str], matcher: Matcher) -> None:
        self._paths = list(paths)
        self._matcher = matcher
        self._open: OrderedDict[int, IO[bytes]] = OrderedDict()
        self.connections: list[Connection] = []
        """In the order in which they were opened."""

    def load(self) -> None:
        """Find the connections; every line is checked. Raises DamagedCassette, warns of missing frames."""
        known: dict[str, Connection] = {}
        opened_ms: dict[int, int] = {}
        for number, path in enumerate(self._paths):
            latest_ms = 0
            for line in files.lines(self._stream(number)):
                data = line.data
                try:
                    head = read_frame_head(data)
                    if not payload.is_utf8(data):
                        raise NotAnEntry("not UTF-8")
                except (ValueError, RecursionError):
                    if self._torn(path, line):
                        continue
                    raise self._damaged(path, line) from None
                meta = head.meta
                if meta.dir == "gap":
                    continue
                latest_ms = max(latest_ms, head.timestamp)  # a clock that was set back changes no order in a file
                connection = known.get(meta.conn)
                if connection is None or (meta.dir == "open" and not meta.conn):
                    connection = known[meta.conn] = Connection(self, meta.conn)
                    connection.where = Path(path), line.number
                    connection.first_ns = head.timestamp * 1_000_000
                    opened_ms[id(connection)] = latest_ms
                    self.connections.append(connection)
                if meta.seq is not None:
                    if meta.seq <= connection._sequence:
                        raise DamagedCassette(
                            Path(path), line.number, line.offset, f"frame {meta.seq} after {connection._sequence}"
                        )
                    if meta.seq != connection._sequence + 1 and connection.count:
                        warnings.warn(MissingFrames(_missing(path, line.number, connection, meta.seq)), stacklevel=2)
                    connection._sequence = meta.seq
                position = connection.count
                connection.add(number, line.offset, line.offset + len(data) + line.ended)
                connection.last_ns = head.timestamp * 1_000_000
                if meta.dir == "open":
                    connection.opening = self._frame(path, line.number, line.offset, data)
                elif meta.dir == "send" and meta.opcode in DATA:
                    frame = self._frame(path, line.number, line.offset, data)
                    message = Message(self._matcher, frame.data(), binary=meta.opcode == "binary")
                    if not message.is_keepalive:
                        connection.sends.append(Sent(position, message, (Path(path), line.number)))
        self.connections.sort(key=lambda connection: opened_ms[id(connection)])

    def frames(self, number: int, start: int, end: int) -> Iterator[Frame]:
        """Read the lines between two places of a file, in parts of 256 KiB. Raises DamagedCassette."""
        rest = b""
        at = start
        while start < end:
            chunk = os.pread(self._stream(number).fileno(), min(_CHUNK, end - start), start)
            if not chunk:
                raise DamagedCassette(Path(self._paths[number]), 0, start, "the file was cut off while it was played")
            start += len(chunk)
            parts = (rest + chunk).split(b"\n")
            rest = parts.pop()
            for data in parts:
                yield self._played(number, at, data)
                at += len(data) + 1
        if rest:
            yield self._played(number, at, rest)

    def _played(self, number: int, offset: int, data: bytes) -> Frame:
        try:
            frame = read_trusted_frame(data)
            if frame.meta.encoding != "json":
                frame.data()  # what is no text or base64 is found here, where the line is known
            return frame
        except ValueError as error:
            line = os.pread(self._stream(number).fileno(), offset, 0).count(b"\n") + 1
            raise DamagedCassette(Path(self._paths[number]), line, offset, f"not a frame: {error}") from error

    def _frame(self, path: Path | str, line: int, offset: int, data: bytes) -> Frame:
        try:
            return read_trusted_frame(data)
        except ValueError as error:
            raise DamagedCassette(Path(path), line, offset, f"not a frame: {error}") from error

    def _torn(self, path: Path | str, line: files.Line) -> bool:
        if line.ended:
            return False
        reader.torn_tail(Path(path), line)
        return True

    def _damaged(self, path: Path | str, line: files.Line) -> DamagedCassette:
        try:
            entries.read_head(line.data)
        except NotAnEntry as error:
            return DamagedCassette(Path(path), line.number, line.offset + error.byte, error.reason)
        return DamagedCassette(Path(path), line.number, line.offset, "not a frame: its meta is not that of a frame")

    def _stream(self, number: int) -> IO[bytes]:
        stream = self._open.get(number)
        if stream is None:
            if len(self._open) >= _MOST_OPEN:
                self._open.popitem(last=False)[1].close()
            stream = self._open[number] = files.open_binary(self._paths[number])
        return stream

    def close(self) -> None:
        """Close the files; what is read later opens them again."""
        while self._open:
            self._open.popitem()[1].close()


def _missing(path: Path | str, line: int, connection: Connection, sequence: int) -> str:
    return (
        f"{path}, line {line}: frames {connection._sequence + 1} to {sequence - 1} of connection {connection.name!r} are "
        "missing; what is played has a gap there that the exchange did not make"
    )
