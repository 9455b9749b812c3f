"""A live request: it goes to the network, and its answer is written as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_marketreplay import clock
from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import payload
from pytest_marketreplay.cassette.entry import Headers, Meta
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.replay import explain, keeping

if TYPE_CHECKING:
    from pytest_marketreplay.cassette.writer import Recording
    from pytest_marketreplay.replay.recognise import Known
    from pytest_marketreplay.replay.session import Session


class Live:
    """A request that goes to the network and whose answer is recorded."""

    __slots__ = ("_known", "_recording", "_session", "started_ns", "stored", "timestamp_ms")

    def __init__(self, session: Session, known: Known, recording: Recording, stored: dict[str, str] | None) -> None:
        self._session, self._recording, self._known = session, recording, known
        self.stored = stored
        """Request headers that the venue allows to be stored."""
        self.timestamp_ms = clock.now_ns() // 1_000_000
        self.started_ns = clock.counter_ns()

    def record(
        self,
        status: int,
        reason: str | None,
        headers: Headers,
        body: bytes,
        *,
        version: str = "1.1",
        content_encoding: str | None = None,
        error: str | None = None,
    ) -> None:
        """Write the answer, content encoding undone. Raises RecordingError.

        `headers` are as they shall replay; `error="incomplete"` says that the body broke off after these bytes.
        """
        latency = (clock.counter_ns() - self.started_ns) / 1e6
        asked = self._known.asked
        kept = keeping.redact_answer(self._known.venue, self._known.location.endpoint, reason, headers, body)
        meta = Meta(
            method=asked.method,
            status=status,
            reason=kept.reason if kept.reason != entries.standard_reason(status) else None,
            version=version if version != "1.1" else None,
            latency_ms=round(latency, 3),
            headers=entries.header_object(kept.headers),
            request_headers=self.stored,
            body=asked.body_kind,
            content_encoding=content_encoding,
            error=error,
            redacted=kept.replaced or None,
        )
        self._write(meta, payload.encode(kept.body))

    def fail(self, error: str) -> None:
        """Write a failure (`connect`, `read_timeout`, ...) instead of an answer. Raises RecordingError."""
        latency = (clock.counter_ns() - self.started_ns) / 1e6
        meta = Meta(
            method=self._known.asked.method, status=0, latency_ms=round(latency, 3), request_headers=self.stored,
            body=self._known.asked.body_kind, error=error,
        )  # fmt: skip
        self._write(meta, payload.Payload(b"null"))

    def _write(self, meta: Meta, response: payload.Payload) -> None:
        known = self._known
        asked, place = keeping.clean_path(known.asked), known.place
        if asked is not known.asked:
            location = known.venue.locate(asked)
            place = Place(*explain.place_of(known.venue.name, location.endpoint, location.symbol))
        line = keeping.line(known.venue, asked, self.timestamp_ms, meta, response, innocent=not known.secrets)
        self._session.keep(self._recording, place, known.key, line)
