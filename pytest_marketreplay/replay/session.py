"""A session: one or several cassettes in play, from the start of a test to its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import NamedTuple

from pytest_marketreplay import clock
from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import payload
from pytest_marketreplay.cassette import request as requests_
from pytest_marketreplay.cassette.entry import Head, Headers, Meta
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.redaction import SECRETS
from pytest_marketreplay.cassette.request import Asked
from pytest_marketreplay.cassette.writer import Recording
from pytest_marketreplay.config import Settings, is_loopback
from pytest_marketreplay.errors import RecordingExhausted, ReplayError, UnrecordedRequest, UsageMistake
from pytest_marketreplay.replay import explain, keeping, replace
from pytest_marketreplay.replay.answer import Answer
from pytest_marketreplay.replay.matching import Key, Matcher, show
from pytest_marketreplay.replay.run import Run
from pytest_marketreplay.replay.tape import Tape
from pytest_marketreplay.venues.profile import Venue
from pytest_marketreplay.venues.registry import Registry

_MOST_KNOWN = 2048
_LONGEST_KNOWN = 4096


class _Known(NamedTuple):
    """A request that was taken apart before."""

    venue: Venue
    asked: Asked
    place: Place
    key: Key


class Live:
    """A request that goes to the network and whose answer is recorded."""

    __slots__ = (
        "_key",
        "_place",
        "_recording",
        "_session",
        "asked",
        "secrets",
        "started_ns",
        "stored",
        "timestamp_ms",
        "venue",
    )

    def __init__(
        self, session: Session, known: _Known, recording: Recording, secrets: list[str], stored: dict[str, str] | None
    ) -> None:
        self._session, self._recording = session, recording
        self.venue, self.asked, self._place, self._key = known
        self.secrets = secrets
        self.stored = stored
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
        kept = keeping.redact_answer(self.venue, self.asked, reason, headers, body)
        meta = Meta(
            method=self.asked.method,
            status=status,
            reason=kept.reason if kept.reason != entries.standard_reason(status) else None,
            version=version if version != "1.1" else None,
            latency_ms=round(latency, 3),
            headers=entries.header_object(kept.headers),
            request_headers=self.stored,
            body=self.asked.body_kind,
            content_encoding=content_encoding,
            error=error,
            redacted=kept.replaced or None,
        )
        self._write(meta, payload.encode(kept.body))

    def fail(self, error: str) -> None:
        """Write a failure (`connect`, `read_timeout`, ...) instead of an answer. Raises RecordingError."""
        latency = (clock.counter_ns() - self.started_ns) / 1e6
        meta = Meta(
            method=self.asked.method, status=0, latency_ms=round(latency, 3), request_headers=self.stored,
            body=self.asked.body_kind, error=error,
        )  # fmt: skip
        self._write(meta, payload.Payload(b"null"))

    def _write(self, meta: Meta, response: payload.Payload) -> None:
        line = keeping.line(self.venue, self.asked, self.timestamp_ms, meta, response)
        self._session.keep(self._recording, self._place, self._key, line)


class Session:
    """One or several cassettes in play. Safe under threads and tasks.

    What a test sees of it is the fixture `market_replay`; the interception asks it what to do with each request.
    """

    def __init__(
        self,
        cassettes: Iterable[Path],
        settings: Settings | None = None,
        *,
        registry: Registry | None = None,
        run: Run | None = None,
        name: str = "",
    ) -> None:
        """Open cassettes as layers: all are read, in this order; the first is written.

        Raises DamagedCassette when a request first touches a damaged file, not here: only what is asked is read.
        """
        self.settings = settings or Settings()
        self.layers = tuple(Path(cassette) for cassette in cassettes)
        self.name = name or str(self.layers[0])
        """The test, or what else the session is of; stands in error texts."""
        self.registry = registry or Registry(hosts=self.settings.hosts)
        self._run = run or Run()
        self.is_open = True
        self.refusals: list[ReplayError] = []
        """What was refused, also where the code under test swallowed the error. A test that expects refusals clears it."""
        self.recorded = 0
        """Answers that were recorded so far."""
        self.replayed = 0
        """Answers that were played so far, repetitions included."""
        self._lock = threading.RLock()
        self._matchers: dict[str, Matcher] = {}
        self._known: dict[tuple[str, str, bytes | None], _Known | None] = {}
        reading = list(self.layers)
        if self.settings.reference is not None and self.settings.reference not in reading:
            reading.append(self.settings.reference)
        for layer in reading:
            replace.finish(layer)
        self.tape = Tape(reading, self._matcher_of_folder)
        mode = self.settings.mode
        self.records_new = mode == "new_episodes"
        self.all_live = mode in ("all", "rewrite") or (mode == "once" and not self._run.existed(self.layers[0]))
        self.refuses = not (self.all_live or self.records_new)
        """Whether nothing may reach the network."""
        self._staged: dict[Path, Path] = {}
        self._recordings: dict[Path, Recording] = {}
        self._replaced: dict[Path, dict[Place, set[Hashable]]] = {}
        if mode == "rewrite":
            self._recording(self.layers[0])  # also a test that asks nothing replaces what it recorded before

    # ---------------------------------------------------------------- asking

    def ask(
        self,
        method: str,
        url: str,
        body: bytes | str | None = None,
        headers: Iterable[tuple[str | bytes, str | bytes]] = (),
        *,
        unread: bool = False,
    ) -> Answer | Live | None:
        """Decide what happens to a request: a recorded answer, the network with recording, or None: not our business.

        `url` is absolute. `unread` says that there is a body which is a stream. Raises UnrecordedRequest,
        RecordingExhausted, DamagedCassette.
        """
        known = self._parse(method, url, body, unread)
        if known is None:
            return None
        found, stored = keeping.request_secrets(known.venue, known.asked, headers)
        if found:
            SECRETS.add(found)
        reference = self.settings.reference
        target = self.layers[0]
        live = self.all_live
        exhausted = self.settings.exhausted
        records = self.records_new
        if reference is not None and known.venue.locate(known.asked).endpoint in known.venue.reference:
            # recorded once for all tests: a test that records takes what is there, and adds what is not
            exhausted = "last"
            target = reference
            if live and self.settings.mode == "once":
                live, records = False, True
        if not live:
            with self._lock:
                queue = self.tape.queue(known.place, known.key)
                slot = self.tape.take(queue, "error" if records and exhausted == "error" else exhausted)
                if slot is not None:
                    meta, payload_ = self.tape.answer(slot)
                    self.replayed += 1
            if slot is not None:
                return Answer(meta, payload_)
            if not records:
                raise self._refuse(known, len(queue.slots))
        return Live(self, known, self._recording(target), found, stored)

    def _parse(self, method: str, url: str, body: bytes | str | None, unread: bool) -> _Known | None:
        raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
        short = raw is None or len(raw) <= _LONGEST_KNOWN
        if short and not unread:
            try:
                return self._known[method, url, raw]
            except KeyError:
                pass
        asked = requests_.parse(method, url, raw, unread=unread)
        if not self.covers(asked.host):
            known = None
        else:
            venue = self.registry.of(asked.host)
            location = venue.locate(asked)
            place = Place(*explain.place_of(venue.name, location.endpoint, location.symbol))
            known = _Known(venue, asked, place, self._matcher(venue).of_request(asked))
        if short and not unread:
            with self._lock:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[method, url, raw] = known
        return known

    def name_host(self, host: str, venue: str) -> None:
        """Take a host (`127.0.0.1:8080`) for a venue's from now on. Raises UsageMistake for an unknown venue."""
        if venue not in self.registry.venues:
            raise UsageMistake(f"no venue is named {venue!r}; known are {', '.join(sorted(self.registry.venues))}")
        with self._lock:
            self.registry.name(host, self.registry.venues[venue])
            self._known.clear()

    def covers(self, host: str) -> bool:
        """Tell whether a host (with its port) is an exchange's: what a user named, and all that is not on loopback."""
        if self.registry.is_named(host):
            return True
        bare = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
        return not is_loopback(bare) and not self.allows(host) and not self.allows(bare)

    def allows(self, host: str) -> bool:
        """Tell whether `allow_hosts` opens a host."""
        import fnmatch

        return any(fnmatch.fnmatchcase(host.lower(), pattern) for pattern in self.settings.allow_hosts)

    def _matcher(self, venue: Venue) -> Matcher:
        matcher = self._matchers.get(venue.name)
        if matcher is None:
            matcher = self._matchers[venue.name] = Matcher(
                venue, self.settings.ignore_params, self.registry.ignore_params
            )
        return matcher

    def _matcher_of_folder(self, folder: str) -> Matcher:
        return self._matcher(self.registry.by_folder(folder))

    def _refuse(self, known: _Known, recorded: int) -> UnrecordedRequest:
        asked = known.asked
        params = known.venue.rules.redact_params(asked.params)
        text = SECRETS.scrub(show(asked.method, f"{asked.scheme}://{asked.host}{asked.path}", params))
        with self._lock:
            error: UnrecordedRequest
            if recorded:
                why = explain.exhausted(self.tape, known.place, recorded, self.settings.command, self.settings.mode)
                error = RecordingExhausted(text, SECRETS.scrub(why))
            else:
                why = explain.explain(self.tape, known.place, known.key, self.settings.command, self.settings.mode)
                error = UnrecordedRequest(text, SECRETS.scrub(why))
            self.refusals.append(error)
        return error

    def refuse(self, error: ReplayError) -> ReplayError:
        """Remember a refusal, so that the test fails at its end even where the error is swallowed."""
        with self._lock:
            self.refusals.append(error)
        return error

    # ---------------------------------------------------------------- recording

    def _recording(self, target: Path) -> Recording:
        with self._lock:
            recording = self._recordings.get(target)
            if recording is None:
                root = target
                if self.settings.mode in ("all", "rewrite"):
                    self._run.files_at_start(target)
                    root = self._staged[target] = replace.staging(target)
                    self._replaced[target] = {}
                recording = self._recordings[target] = Recording(root)
            return recording

    def keep(self, recording: Recording, place: Place, key: Key, line: bytes) -> None:
        """Write one line of a recording. Raises RecordingError."""
        recording.append(place, line)
        with self._lock:
            self.recorded += 1
            for target, known in self._recordings.items():
                if known is recording and target in self._replaced:
                    self._replaced[target].setdefault(place, set()).add(key)

    def unplayed(self) -> list[tuple[Path, int, str]]:
        """Return file, line and endpoint of what the first cassette holds and nobody asked for."""
        with self._lock:
            return [] if self.all_live else self.tape.unplayed(0)

    def close(self, *, keep: bool = True) -> int:
        """End the session. `keep` puts a new recording in place of the old; without it, what was recorded goes.

        Returns how many recorded answers were discarded. Raises DamagedCassette, OSError where the old recording cannot
        be replaced; it stays as it was then.
        """
        if not self.is_open:
            return 0
        self.is_open = False
        self.tape.close()
        discarded = 0
        for target, recording in self._recordings.items():
            recording.close()
            staged = self._staged.get(target)
            if not keep:
                discarded += recording.discard()
            elif staged is not None:
                whole = self.settings.mode == "rewrite" and target == self.layers[0]
                replace.commit(
                    target,
                    staged,
                    None if whole else self._replaced[target],
                    self._run.files_at_start(target),
                    self._key_of_place,
                )
                staged = None
            if staged is not None:
                replace.drop(staged, target)
        return discarded

    def _key_of_place(self, place: Place) -> Callable[[Head], Hashable]:
        return self._matcher_of_folder(place.venue).of_head
