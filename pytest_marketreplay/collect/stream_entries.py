"""The lines of a feed: a connection's frames, an HTTP answer, a gap; as the plugin's recorder writes them.

What is captured here is public. Cookies and credentials in the headers of an answer are replaced all the same; payloads
are kept byte for byte.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable

import msgspec
import orjson

from pytest_marketreplay import clock
from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import names, payload, redaction
from pytest_marketreplay.cassette import request as requests_
from pytest_marketreplay.cassette.entry import Headers, Meta
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.frame import Direction, FrameMeta, Opcode, close_parts, write_frame
from pytest_marketreplay.cassette.request import WEBSOCKET, Asked
from pytest_marketreplay.collect.fetching import Answer
from pytest_marketreplay.sinks.items import Gap, Item
from pytest_marketreplay.venues.profile import Location, Venue

Emit = Callable[[Item], None]
_MS = 1_000_000
_NULL = payload.Payload(b"null")


class PolledMeta(Meta, omit_defaults=True, frozen=True):
    """The `meta` of a polled order book."""

    sequence_number: int | None = None
    """Counts the snapshots of one pair in one session, from 1, without a hole."""


class Target:
    """One URL of a venue, and where in the tree its lines stand."""

    def __init__(self, venue: Venue, method: str, url: str) -> None:
        """`url` is the venue's own, whatever server the feed is pointed at: a capture replays under the venue's name."""
        self.venue = venue
        self.asked: Asked = requests_.parse(method, url)
        websocket = method == WEBSOCKET
        self.location: Location = venue.locate_stream(self.asked) if websocket else venue.locate(self.asked)
        self.place = Place(
            names.venue_folder(venue.name),
            names.endpoint_folder(self.location.endpoint, websocket=websocket),
            names.symbol_folder(self.location.symbol),
        )
        self.params = requests_.params_fragment(venue.rules.redact_params(self.asked.params))


def gap_item(target: Target, gap: Gap, pair: str) -> Item:
    """Return the entry of a gap, in the place where what is missing would stand."""
    told = {"kind": gap.kind, "from_ms": gap.from_ms, "to_ms": gap.to_ms, "count": gap.count, "reason": gap.reason}
    meta = orjson.dumps({"dir": "gap", "gap": told})
    now_ns = clock.now_ns()
    params = orjson.dumps({"pair": pair}) if pair else b"{}"
    line = entries.splice(now_ns // _MS, target.asked.path, params, meta, b"null")
    return Item(target.place, now_ns, line, gap=gap)


def poll_line(target: Target, started_ns: int, latency_ms: float, sequence_number: int | None, answer: Answer) -> bytes:
    """Return the line of an HTTP answer: an ordinary entry, whose `meta` has a polled snapshot's number too."""
    undone = next((value for name, value in answer.headers if name.lower() == "content-encoding"), None)
    kept = [pair for pair in answer.headers if undone is None or pair[0].lower() != "content-encoding"]
    meta = PolledMeta(
        method=target.asked.method,
        status=answer.status,
        reason=answer.reason if answer.reason != entries.standard_reason(answer.status) else None,
        latency_ms=latency_ms,
        headers=entries.header_object(_kept(target.venue, kept)),
        content_encoding=undone,
        sequence_number=sequence_number,
    )
    stored = payload.encode(answer.body)
    return entries.write_line(started_ns // _MS, target.asked.path, target.params, meta, stored)


class Tape:
    """One connection's lines, each handed on as it is written. Not safe under threads."""

    def __init__(self, target: Target, scheme: str, emit: Emit) -> None:
        """Begin with the handshake; `scheme` is that of the URL that is really connected to."""
        self.target = target
        self._scheme = "ws" if scheme in ("ws", "http") else None
        self._emit = emit
        self._opened_ns = clock.now_ns() // _MS * _MS
        self._started_ns = clock.counter_ns()
        self._conn = secrets.token_hex(8)
        self._sequence = 0
        self.ended = False
        """Whether a close frame of either side, or an `end` line, was the last."""

    def opened(self, status: int, headers: Iterable[tuple[str, str]], reason: str | None = None) -> int:
        """Write that the handshake was answered; with another status than 101 it was refused."""
        self.ended = status != 101
        return self._write(
            FrameMeta(
                dir="open",
                status=status,
                reason=reason if reason != entries.standard_reason(status) else None,
                latency_ms=self._latency_ms(),
                headers=entries.header_object(_kept(self.target.venue, headers)),
                scheme=self._scheme,
            ),
            _NULL,
        )

    def failed(self, error: str) -> int:
        """Write that nothing answered the handshake: `connect`, `dns`, `connect_timeout`."""
        self.ended = True
        latency_ms = self._latency_ms()
        return self._write(
            FrameMeta(dir="open", status=0, latency_ms=latency_ms, scheme=self._scheme, error=error), _NULL
        )

    def received(self, opcode: Opcode, data: bytes) -> int:
        """Write a frame of the venue; gives its time, Unix epoch in nanoseconds."""
        return self._frame("recv", opcode, data)

    def sent(self, opcode: Opcode, data: bytes) -> int:
        """Write a frame of ours."""
        return self._frame("send", opcode, data)

    def lost(self, error: str) -> None:
        """Write that the connection ended without a close frame: `disconnected`, `reset`; nothing for one that never was."""
        if not self.ended and self._sequence:
            self.ended = True
            self._write(FrameMeta(dir="end", error=error), _NULL)

    def now_ns(self) -> int:
        """Return the time as this connection counts it: the wall clock at its handshake, and the monotonic one since."""
        return self._opened_ns + clock.counter_ns() - self._started_ns

    def _latency_ms(self) -> float:
        return round((clock.counter_ns() - self._started_ns) / 1e6, 3)

    def _frame(self, direction: Direction, opcode: Opcode, data: bytes) -> int:
        code = None
        if opcode == "close":
            self.ended = True
            code, data = close_parts(data)
        stored = payload.encode(data) if data or opcode in ("text", "binary") else _NULL
        return self._write(FrameMeta(dir=direction, opcode=opcode, code=code), stored)

    def _write(self, meta: FrameMeta, stored: payload.Payload) -> int:
        offset = clock.counter_ns() - self._started_ns
        time_ns = self._opened_ns + offset
        line = write_frame(
            time_ns // _MS,
            self.target.asked.path,
            self.target.params if meta.dir == "open" else b"{}",
            msgspec.structs.replace(meta, conn=self._conn, seq=self._sequence, offset_ns=offset),
            stored,
        )
        self._sequence += 1
        self._emit(Item(self.target.place, time_ns, line))
        return time_ns


def _kept(venue: Venue, headers: Iterable[tuple[str, str]]) -> Headers:
    """Return headers without their secrets."""
    found: list[str] = []
    return [
        (name, redaction.redact_response_header(name, value, venue.rules, found))
        if redaction.header_matters(name, venue.rules)
        else (name, value)
        for name, value in headers
    ]
