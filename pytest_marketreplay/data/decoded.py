"""Entries and frames of a tape, read as market data by their venues."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pytest_marketreplay.cassette.entry import Entry
from pytest_marketreplay.cassette.frame import DATA, Frame
from pytest_marketreplay.data.tape import Place, Recorded
from pytest_marketreplay.errors import UnreadablePayload
from pytest_marketreplay.market.decoding import UNREADABLE, Decoder, Source
from pytest_marketreplay.market.structs import Record
from pytest_marketreplay.venues.profile import Venue

Connection = tuple[Path, str]
"""A folder, and the connection's name in it (of a hand-written file, its path)."""


class Decoded(NamedTuple):
    """What one line of a tape says of the market."""

    recorded: Recorded
    records: Sequence[Record]
    decoder: Decoder
    connection: Connection | None
    """None for a REST answer."""


class Reader:
    """Reads lines in their order; a connection has a decoder of its own, as long as it lives."""

    def __init__(self, venue_of: Callable[[str], Venue], unreadable: Callable[[UnreadablePayload], None]) -> None:
        self._venue_of = venue_of
        self._unreadable = unreadable
        self._connections: dict[Connection, Decoder | None] = {}
        self._answers: dict[tuple[Path, str], Decoder | None] = {}
        self.ended: Callable[[Connection], None] = lambda connection: None
        """Called where a connection begins or ends."""

    def of(self, place: Place) -> Decoder | None:
        """Return a new decoder for a place, None where nothing there is market data."""
        return self._venue_of(place.venue).market(place.endpoint, websocket=place.websocket)

    def read(self, lines: Iterable[Recorded]) -> Iterator[Decoded]:
        """Read what is market data; all else is passed over, failed and broken answers too."""
        for recorded in lines:
            entry = recorded.entry
            connection: Connection | None = None
            if isinstance(entry, Frame):
                connection = recorded.place.folder, entry.meta.conn or str(recorded.path)
                decoder = self._of_frame(recorded, entry, connection)
            else:
                decoder = self._of_answer(recorded, entry)
            if decoder is None:
                continue
            try:
                meta = entry.meta
                plain = meta.encoding == "json" and meta.space is None
                payload = bytes(entry.response) if plain else recorded.body()
                if meta.encoding == "text" and payload.lstrip()[:1] not in (b"{", b"["):
                    if connection is not None:
                        continue  # a ping as text
                    raise ValueError("not JSON")
                source = Source(recorded.time_ns, recorded.place.symbol, entry.params)
                records = decoder.read(payload, source)
            except UNREADABLE as error:
                self._unreadable(
                    UnreadablePayload(
                        recorded.path, recorded.line, recorded.venue, recorded.endpoint, str(error) or repr(error)
                    )
                )
                continue
            if records:
                yield Decoded(recorded, records, decoder, connection)

    def _of_frame(self, recorded: Recorded, frame: Frame, connection: Connection) -> Decoder | None:
        meta = frame.meta
        if meta.dir == "recv" and meta.opcode in DATA:
            if connection not in self._connections:
                self._connections[connection] = self._make(recorded, websocket=True)
            return self._connections[connection]
        # what the exchange still says after the client's close belongs to the connection, too
        if meta.dir in ("open", "end") or (meta.dir == "recv" and meta.opcode == "close"):
            self._connections.pop(connection, None)
            self.ended(connection)
        return None

    def _of_answer(self, recorded: Recorded, entry: Entry) -> Decoder | None:
        if entry.meta.error is not None or not 200 <= entry.meta.status < 300:
            return None
        key = recorded.place.folder, entry.endpoint
        if key not in self._answers:
            self._answers[key] = self._make(recorded, websocket=False)
        return self._answers[key]

    def _make(self, recorded: Recorded, *, websocket: bool) -> Decoder | None:
        return self._venue_of(recorded.venue).market(recorded.endpoint, websocket=websocket)
