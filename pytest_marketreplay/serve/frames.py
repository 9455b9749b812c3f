"""The recorded frames of one venue, where each stands in its file, by connection; read again when they are sent.

Of a frame some 30 bytes are held, whatever its payload: a month of a busy stream does not fit into memory, this does.
"""

from __future__ import annotations

import os
from array import array
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from pytest_marketreplay.cassette import files, reader
from pytest_marketreplay.cassette.entry import NotAnEntry
from pytest_marketreplay.cassette.files import Line, Place
from pytest_marketreplay.cassette.frame import DATA, Frame, read_frame, read_trusted_frame
from pytest_marketreplay.errors import DamagedCassette

_MOST_OPEN = 16


class Connection:
    """One recorded connection: its lines in order, by their numbers."""

    def __init__(self, endpoint: str, first_ns: int) -> None:
        self.endpoint = endpoint
        self.opening: Frame | None = None
        """Its handshake; a hand-written connection may have none."""
        self.first_ns = self.last_ns = first_ns
        self.lines = array("L")
        self.sends = array("L")
        """Those of its lines that are messages of the client."""
        self.ending: int | None = None
        """The line where the exchange closed it, or it was lost; None where the client ended it or the recording did."""

    @property
    def was_opened(self) -> bool:
        """Whether the exchange accepted it."""
        return self.opening is None or self.opening.meta.status in (None, 101)


class Frames:
    """Every line of a venue's WebSocket files, numbered in the order they were read."""

    def __init__(self) -> None:
        self._paths: list[Path] = []
        self._open: OrderedDict[int, IO[bytes]] = OrderedDict()
        self._file = array("L")
        self._offset = array("q")
        self._length = array("I")
        self.time_ns = array("q")
        """For each line, when it came or went. Unix epoch in nanoseconds."""
        self.connections: list[Connection] = []

    def scan(self, layer: Path, place: Place) -> Iterator[tuple[Connection, int, Frame]]:
        """Read the files of a place, and yield each line's connection, number and frame.

        Raises DamagedCassette at the first line that is no frame; warns of a torn tail.
        """
        known: dict[str, Connection] = {}
        for path in files.files_in(place.within(layer)):
            number = len(self._paths)
            self._paths.append(path)
            for line in files.lines(self._stream(number)):
                frame = _frame(path, line)
                if frame is not None and frame.meta.dir != "gap":
                    at = self._add(number, line, frame)
                    yield self._connection(known, frame, at), at, frame

    def _add(self, file: int, line: Line, frame: Frame) -> int:
        at = len(self._offset)
        self._file.append(file)
        self._offset.append(line.offset)
        self._length.append(len(line.data))
        self.time_ns.append(frame.time_ns)
        return at

    def _connection(self, known: dict[str, Connection], frame: Frame, at: int) -> Connection:
        meta = frame.meta
        connection = known.get(meta.conn)
        if connection is None or (meta.dir == "open" and not meta.conn):  # a hand-written file may not name them
            connection = known[meta.conn] = Connection(frame.endpoint, frame.time_ns)
            self.connections.append(connection)
        if meta.dir == "open":
            connection.opening = frame
        else:
            connection.lines.append(at)
        if meta.dir == "send":
            if meta.opcode in DATA:
                connection.sends.append(at)
        elif connection.ending is None and (
            (meta.dir == "recv" and meta.opcode == "close" and not self._said_goodbye(connection))
            or (meta.dir == "end" and meta.error in ("disconnected", "reset"))
        ):
            connection.ending = at
        connection.last_ns = max(connection.last_ns, frame.time_ns)
        return connection

    def _said_goodbye(self, connection: Connection) -> bool:
        """Tell whether the client had sent a close frame: what the exchange closes then is only the answer."""
        for at in connection.lines[-4:]:
            meta = self.read(at).meta
            if meta.dir == "send" and meta.opcode == "close":
                return True
        return False

    def read(self, at: int) -> Frame:
        """Read one line again. Raises DamagedCassette where the file changed since."""
        number = self._file[at]
        data = os.pread(self._stream(number).fileno(), self._length[at], self._offset[at])
        try:
            return read_trusted_frame(data)
        except ValueError as error:
            raise DamagedCassette(self._paths[number], 0, self._offset[at], f"changed while served: {error}") from error

    def _stream(self, number: int) -> IO[bytes]:
        stream = self._open.get(number)
        if stream is None:
            if len(self._open) >= _MOST_OPEN:
                self._open.popitem(last=False)[1].close()
            stream = self._open[number] = files.open_binary(self._paths[number])
        else:
            self._open.move_to_end(number)
        return stream

    def close(self) -> None:
        """Close the files; what is read later opens them again."""
        while self._open:
            self._open.popitem()[1].close()


def _frame(path: Path, line: Line) -> Frame | None:
    """Read a line; None where it is a torn tail. Raises DamagedCassette."""
    try:
        # the whole check takes three times as long, and only what is not ASCII can be no UTF-8
        if line.data.isascii():
            frame = read_trusted_frame(line.data)
            frame.data()
            return frame
        return read_frame(line.data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        if not line.ended:
            reader.torn_tail(path, line)
            return None
        try:
            read_frame(line.data)
        except NotAnEntry as error:
            raise DamagedCassette(path, line.number, line.offset + error.byte, error.reason) from None
        raise  # pragma: no cover - what the quick look refuses, the thorough one does too
