"""A live connection: it goes to the network, and each of its frames is written as it comes."""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING

from msgspec import structs

from pytest_marketreplay import clock
from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import payload, redaction
from pytest_marketreplay.cassette import request as requests_
from pytest_marketreplay.cassette.entry import Headers
from pytest_marketreplay.cassette.frame import Direction, FrameMeta, Opcode, close_parts, write_frame
from pytest_marketreplay.cassette.redaction import SECRETS
from pytest_marketreplay.errors import RecordingError
from pytest_marketreplay.replay import keeping
from pytest_marketreplay.replay.stream.messages import clean_subprotocol, redacted

if TYPE_CHECKING:
    from pytest_marketreplay.cassette.writer import Recording
    from pytest_marketreplay.replay.recognise import Known
    from pytest_marketreplay.replay.session import Session

_MS = 1_000_000


class Capture:
    """A connection that is recorded. Safe under threads; never raises into a client's callback.

    Where a line cannot be written, the session remembers it (the test fails at its end), and the rest is not recorded.
    """

    def __init__(self, session: Session, known: Known, recording: Recording, stored: dict[str, str] | None) -> None:
        self._session, self._known, self._recording, self._stored = session, known, recording, stored
        self._opened_ns = clock.now_ns() // _MS * _MS
        self._started_ns = clock.counter_ns()
        self._conn = secrets.token_hex(8)
        self._sequence = self._bytes = 0
        self._stopped = False
        self._lock = threading.Lock()
        names = {name for fields in known.venue.secret_fields.values() for name in fields}
        self._secret_fields = [name for name in names if name != "token" or known.venue.name == "kraken"]

    # ---------------------------------------------------------------- what a client's library tells

    def opened(self, headers: Headers, *, subprotocol: str | None = None) -> None:
        """Note that the handshake went well."""
        self._open(101, None, headers, b"", subprotocol=subprotocol)

    def refused(self, status: int, reason: str | None, headers: Headers, body: bytes) -> None:
        """Note that the upgrade was answered with another status than 101."""
        self._open(status, reason, headers, body)

    def failed(self, error: str) -> None:
        """Note that there was no answer to the handshake (`connect`, `dns`, `read_timeout`, ...)."""
        self._open(0, None, [], b"", error=error)

    def received(self, opcode: Opcode, data: bytes) -> None:
        """Note a frame of the exchange; a message in several fragments is one. A close frame has its whole payload."""
        replaced: list[str] = []
        for field in self._secret_fields:
            if field.encode() in data:
                data, found = redaction.redact_field(data, field)
                if found:
                    SECRETS.add(found)
                    replaced.append(field)
        if len(SECRETS):  # pragma: no branch - none before a process has met the first
            data, echoed = SECRETS.scrub_payload(data)
            if echoed:
                replaced.append("echo")
        self._frame("recv", opcode, data, replaced)

    def sent(self, opcode: Opcode, data: bytes) -> None:
        """Note a frame of the client, without its secrets."""
        if opcode in ("text", "binary"):
            data, found = redacted(self._known.venue, data)
            if found:
                self._session.learn(found, found)
            if len(SECRETS):  # pragma: no branch - none before a process has met the first
                data, _ = SECRETS.scrub_payload(data)
        self._frame("send", opcode, data, [])

    def ended(self, error: str) -> None:
        """Note that the connection was lost without a close frame (`disconnected`, `reset`)."""
        self._write(FrameMeta(dir="end", error=error), payload.Payload(b"null"))

    # ---------------------------------------------------------------- lines

    def _open(
        self,
        status: int,
        reason: str | None,
        headers: Headers,
        body: bytes,
        *,
        subprotocol: str | None = None,
        error: str | None = None,
    ) -> None:
        venue = self._known.venue
        # websocket-client tells it in lower case; the header has it as it came
        for said in (value for name, value in headers if name.lower() == "sec-websocket-protocol"):
            SECRETS.add(clean_subprotocol(said)[1])
        if subprotocol is not None:
            subprotocol, found = clean_subprotocol(subprotocol)
            SECRETS.add(found)
        kept = keeping.redact_answer(venue, self._known.location.endpoint, reason, headers, body)
        scheme = self._known.asked.scheme
        meta = FrameMeta(
            dir="open",
            status=status,
            reason=kept.reason if kept.reason != entries.standard_reason(status) else None,
            latency_ms=round((clock.counter_ns() - self._started_ns) / 1e6, 3),
            headers=entries.header_object(kept.headers),
            subprotocol=subprotocol,
            scheme="ws" if scheme in ("ws", "http") else None,
            error=error,
            redacted=kept.replaced or None,
        )
        self._write(meta, payload.encode(kept.body) if kept.body else payload.Payload(b"null"))

    def _frame(self, direction: Direction, opcode: Opcode, data: bytes, replaced: list[str]) -> None:
        code = None
        if opcode == "close":
            code, data = close_parts(data)
        stored = payload.encode(data) if data or opcode in ("text", "binary") else payload.Payload(b"null")
        self._bytes += len(data)
        self._write(FrameMeta(dir=direction, opcode=opcode, code=code, redacted=replaced or None), stored)

    def _write(self, meta: FrameMeta, stored: payload.Payload) -> None:
        with self._lock:
            if self._stopped or not self._session.is_open:  # a stream goes on after its test has ended
                return
            offset = clock.counter_ns() - self._started_ns
            limit = self._limit(meta, offset)
            if limit is not None:
                self._stopped = True
                meta, stored = FrameMeta(dir="end", error="limit", reason=limit), payload.Payload(b"null")
            params = b"{}"
            if meta.dir == "open":
                params = requests_.params_fragment(self._known.venue.rules.redact_params(self._known.asked.params))
                if len(SECRETS):  # pragma: no branch - none before a process has met the first
                    params = SECRETS.scrub(params.decode()).encode()
            if meta.dir == "end":
                self._stopped = True
            line = write_frame(
                (self._opened_ns + offset) // _MS,
                keeping.clean_path(self._known.asked).path,
                params,
                structs.replace(meta, conn=self._conn, seq=self._sequence, offset_ns=offset),
                stored,
            )
            self._sequence += 1
            try:
                self._session.keep(self._recording, self._known.place, self._known.key, line)
            except RecordingError:  # the session has noted it, and the test fails at its end
                self._stopped = True

    def _limit(self, meta: FrameMeta, offset_ns: int) -> str | None:
        """Return which limit of the recording this frame would pass."""
        settings = self._session.settings
        if meta.dir not in ("recv", "send"):
            return None
        if settings.max_frames is not None and self._sequence > settings.max_frames:
            return f"max_frames={settings.max_frames}"
        if settings.max_seconds is not None and offset_ns > settings.max_seconds * 1e9:
            return f"max_seconds={settings.max_seconds}"
        if settings.max_bytes is not None and self._bytes > settings.max_bytes:
            return f"max_bytes={settings.max_bytes}"
        return None
