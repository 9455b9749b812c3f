"""A session: one or several cassettes in play, from the start of a test to its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path

from pytest_marketreplay.cassette.entry import Head
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.redaction import SECRETS
from pytest_marketreplay.cassette.writer import Recording
from pytest_marketreplay.config import Settings
from pytest_marketreplay.errors import (
    MarketReplayError,
    RecordingError,
    RecordingExhausted,
    ReplayError,
    UnrecordedRequest,
)
from pytest_marketreplay.replay import afterwards, explain, replace
from pytest_marketreplay.replay.answer import Answer
from pytest_marketreplay.replay.live import Live
from pytest_marketreplay.replay.matching import Key, show
from pytest_marketreplay.replay.recognise import Known, Recogniser
from pytest_marketreplay.replay.run import Run
from pytest_marketreplay.replay.tape import Tape
from pytest_marketreplay.venues.registry import Registry

_MOST_LATE = 64


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
        self._run = run or Run()
        self.is_open = True
        self.refusals: list[MarketReplayError] = []
        """What was refused or found damaged, also where the code under test swallowed the error."""
        self.recorded = 0
        """Answers that were recorded so far."""
        self.replayed = 0
        """Answers that were played so far, repetitions included."""
        self._lock = threading.RLock()
        self._recogniser = Recogniser(registry or Registry(hosts=self.settings.hosts), self.settings)
        reading = list(self.layers)
        if self.settings.reference is not None and self.settings.reference not in reading:
            reading.append(self.settings.reference)
        for layer in reading:
            replace.finish(layer)
        self.tape = Tape(reading, self._recogniser.matcher_of_folder)
        mode = self.settings.mode
        self.records_new = mode == "new_episodes"
        self.all_live = mode in ("all", "rewrite") or (mode == "once" and not self._run.existed(self.layers[0]))
        self.refuses = not (self.all_live or self.records_new)
        """Whether nothing may reach the network."""
        self._early: set[str] = set()
        self._late: dict[str, int] = {}
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
        known = self._recogniser.recognise(method, url, body, unread=unread)
        if known is None:
            return None
        found, stored = self._recogniser.secrets(known, headers)
        if found:
            SECRETS.add(found)
            if not self.refuses:
                self._learn(found[len(known.secrets) :])
        reference = self.settings.reference
        target = self.layers[0]
        live = self.all_live
        exhausted = self.settings.exhausted
        records = self.records_new
        if reference is not None and known.location.endpoint in known.venue.reference:
            # recorded once for all tests: a test that records takes what is there, and adds what is not
            exhausted = "last"
            target = reference
            if live and self.settings.mode == "once":
                live, records = False, True
        if not live:
            try:
                with self._lock:
                    slot = self.tape.take(
                        known.place, known.key, "error" if records and exhausted == "error" else exhausted
                    )
                    if slot is not None:
                        meta, payload = self.tape.answer(slot)
                        self.replayed += 1
                if slot is not None:
                    return Answer(meta, payload)
                if not records:
                    raise self._refuse(known, self.tape.queue(known.place, known.key).length)
            except MarketReplayError as error:
                # damage too: the test fails at its end also where its code swallows the error
                self.refusals.append(error)
                raise
        return Live(self, known, self._recording(target), stored)

    def name_host(self, host: str, venue: str) -> None:
        """Take a host (`127.0.0.1:8080`) for a venue's from now on. Raises UsageMistake for an unknown venue."""
        self._recogniser.name_host(host, venue)

    @property
    def registry(self) -> Registry:
        """Which host is which venue."""
        return self._recogniser.registry

    def allows(self, host: str) -> bool:
        """Tell whether `allow_hosts` opens a host."""
        return self._recogniser.allows(host)

    def _refuse(self, known: Known, recorded: int) -> UnrecordedRequest:
        asked = known.asked
        params = known.venue.rules.redact_params(asked.params)
        text = SECRETS.scrub(show(asked.method, f"{asked.scheme}://{asked.host}{asked.path}", params))
        with self._lock:
            error: UnrecordedRequest
            if recorded:
                why = explain.exhausted(self.tape, known.place, recorded, self.settings.command(), self.settings.mode)
                error = RecordingExhausted(text, SECRETS.scrub(why))
            else:
                why = explain.explain(self.tape, known.place, known.key, self.settings.command(), self.settings.mode)
                error = UnrecordedRequest(text, SECRETS.scrub(why))
        return error

    def refuse(self, error: ReplayError) -> ReplayError:
        """Remember a refusal, so that the test fails at its end even where the error is swallowed."""
        with self._lock:
            self.refusals.append(error)
        return error

    # ---------------------------------------------------------------- recording

    def _learn(self, secrets: Iterable[str]) -> None:
        """Note secrets of headers that come after something was recorded: it may hold them, as a login's answer does."""
        with self._lock:
            for secret in secrets:
                if not self.recorded:
                    self._early.add(secret)
                elif secret not in self._early:
                    self._late[secret] = self._late.get(secret, 0) + 1

    def _late_secrets(self) -> list[str]:
        """Return what was learnt late; of many, what came again: the others are signatures of one request."""
        if len(self._late) <= _MOST_LATE:
            return list(self._late)
        return [secret for secret, times in self._late.items() if times > 1][-_MOST_LATE:]

    def _recording(self, target: Path) -> Recording:
        with self._lock:
            recording = self._recordings.get(target)
            if recording is None:
                root = target
                if self.settings.mode in ("all", "rewrite"):
                    self._run.files_at_start(target)
                    try:
                        root = self._staged[target] = replace.staging(target)
                    except OSError as error:  # a client would take it for a failure of the network
                        raise self._lost(RecordingError(f"cannot record into {target}: {error}")) from error
                    self._replaced[target] = {}
                recording = self._recordings[target] = Recording(root)
            return recording

    def keep(self, recording: Recording, place: Place, key: Key, line: bytes) -> None:
        """Write one line of a recording. Raises RecordingError."""
        try:
            recording.append(place, line)
        except RecordingError as error:
            raise self._lost(error) from error.__cause__
        with self._lock:
            self.recorded += 1
            for target, known in self._recordings.items():
                if known is recording and target in self._replaced:
                    self._replaced[target].setdefault(place, set()).add(key)

    def _lost(self, error: RecordingError) -> RecordingError:
        """Remember that an answer was not recorded: the test must not pass, also where its code swallows the error."""
        with self._lock:
            self.refusals.append(error)
        return error

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
            if keep and self._late:
                afterwards.scrub_recording(recording.written, self._late_secrets())
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
        return self._recogniser.matcher_of_folder(place.venue).of_head
