"""A session: one or several cassettes in play, from the start of a test to its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_marketreplay.cassette.entry import Head
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.redaction import SECRETS
from pytest_marketreplay.cassette.request import WEBSOCKET
from pytest_marketreplay.cassette.writer import Recording
from pytest_marketreplay.clock import counter_ns
from pytest_marketreplay.config import Settings
from pytest_marketreplay.errors import (
    MarketReplayError,
    RecordingError,
    RecordingExhausted,
    ReplayError,
    StreamError,
    UnrecordedRequest,
    UsageMistake,
)
from pytest_marketreplay.replay import explain, replace
from pytest_marketreplay.replay.answer import Answer
from pytest_marketreplay.replay.live import Live
from pytest_marketreplay.replay.matching import Key, show
from pytest_marketreplay.replay.recognise import Known, Recogniser
from pytest_marketreplay.replay.recordings import Recordings
from pytest_marketreplay.replay.run import Run
from pytest_marketreplay.replay.starting import first_ns
from pytest_marketreplay.replay.tape import Tape
from pytest_marketreplay.venues.registry import Registry

if TYPE_CHECKING:
    from pytest_marketreplay.replay.faults import Faults
    from pytest_marketreplay.replay.marketclock import MarketClock
    from pytest_marketreplay.replay.stream.capture import Capture
    from pytest_marketreplay.replay.stream.player import Player
    from pytest_marketreplay.replay.stream.streams import Streams

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
        self._kept = Recordings(self.layers[0], mode, self._run)
        self._streams: Streams | None = None
        self.faults: Faults | None = None
        """What is injected into answers and frames; None: nothing."""
        self.clock: MarketClock | None = None
        """The clock, where it tells the recording's time."""
        if self.settings.clock == "recording" and not self.all_live:
            self.clock = self._recordings_clock()
        if mode == "rewrite":
            self._recording(self.layers[0])  # also a test that asks nothing replaces what it recorded before

    def _recordings_clock(self) -> MarketClock | None:
        """Return the clock, at the recording's start; None: there is no recording yet, and this session makes it."""
        start_ns = first_ns(self.layers)
        if start_ns is None:
            if self.records_new:
                return None
            shown = ", ".join(map(str, self.layers))
            raise UsageMistake(f'clock="recording" needs a recording, and there is none in {shown}: record one first')
        from pytest_marketreplay.replay.marketclock import MarketClock

        return MarketClock(start_ns)

    # ---------------------------------------------------------------- asking

    def ask(
        self,
        method: str,
        url: str,
        body: bytes | str | None = None,
        headers: Iterable[tuple[str | bytes, str | bytes]] = (),
        *,
        unread: bool = False,
        waits: bool = False,
    ) -> Answer | Live | None:
        """Decide what happens to a request: a recorded answer, the network with recording, or None: not our business.

        `url` is absolute. `unread` says that there is a body which is a stream. `waits` says that the caller waits for
        the answer's `due_ns` by itself, as a task does; else the session's clock moves there at once. Raises UnrecordedRequest,
        RecordingExhausted, DamagedCassette.
        """
        known = self._recogniser.recognise(method, url, body, unread=unread)
        if known is None:
            return None
        found, stored = self._recogniser.secrets(known, headers)
        if found:
            self.learn(found, found[len(known.secrets) :])
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
                how = "error" if records and exhausted == "error" else exhausted
                number = 0
                if self.faults is not None:
                    peek = partial(self._peek, known, target, how)
                    answer, number = self.faults.request(known, peek, self._elapsed_ns())
                    if answer is not None:
                        self._passes(answer, None, waits=waits)
                        return answer
                answer = self._replay(known, target, how, waits=waits, number=number)
                if answer is not None:
                    return answer
                if not records:
                    raise self._refuse(known, self.tape.queue(known.place, known.key).length)
            except MarketReplayError as error:
                # damage too: the test fails at its end also where its code swallows the error
                self.refusals.append(error)
                raise
        return Live(self, known, self._recording(target), stored)

    def _elapsed_ns(self) -> int:
        return self.clock.now_ns if self.clock is not None else counter_ns()

    def _peek(self, known: Known, target: Path, exhausted: str) -> Answer | None:
        """Return the recorded answer to a request, or None; it stays for the next time."""
        with self._lock:
            if self.settings.order == "time" and self.clock is not None and target != self.settings.reference:
                slot = self.tape.as_of(known.place, known.key, self.clock.now_ns // 1_000_000, keep=True)
            else:
                slot = self.tape.peek(known.place, known.key, exhausted)
            return None if slot is None else Answer(*self.tape.answer(slot))

    def _replay(
        self, known: Known, target: Path, exhausted: str, *, waits: bool = False, number: int = 0
    ) -> Answer | None:
        """Return the recorded answer to a request, or None; `number` is what the faults count it as."""
        with self._lock:
            if self.settings.order == "time" and self.clock is not None and target != self.settings.reference:
                slot = self.tape.as_of(known.place, known.key, self.clock.now_ns // 1_000_000)
            else:
                slot = self.tape.take(known.place, known.key, exhausted)
            if slot is None:
                return None
            meta, payload = self.tape.answer(slot)
            self.replayed += 1
        answer = Answer(meta, payload)
        if self.faults is not None:
            answer = self.faults.answer(known, answer, number)
        if self.clock is not None or self._streams is not None:
            recorded_ms = None if target == self.settings.reference else self.tape.time_ms(slot)
            self._passes(answer, recorded_ms, waits=waits)
        return answer

    def _passes(self, answer: Answer, recorded_ms: int | None, *, waits: bool) -> None:
        """Let the time pass that an answer took; `recorded_ms` is when it was asked for in the recording."""
        if self._streams is not None:
            self._streams.timeline.progressed()
        if self.clock is None:
            return
        asked_ns = self.clock.now_ns
        if recorded_ms is not None and self.settings.order == "sequence":
            asked_ns = max(asked_ns, recorded_ms * 1_000_000)
        elif recorded_ms is not None and recorded_ms * 1_000_000 > asked_ns:
            asked_ns = recorded_ms * 1_000_000  # before the first that is recorded: the client waits for that one
        answer.due_ns = asked_ns + int((answer.meta.latency_ms or 0.0) * 1e6)
        if not waits:
            self.clock.move_to(answer.due_ns)

    def connect(self, url: str, headers: Iterable[tuple[str | bytes, str | bytes]] = ()) -> Player | Capture | None:
        """Decide what happens to a WebSocket connection: a recorded one, the network with recording, or None: not ours.

        `url` is absolute. Raises UnrecordedRequest, RecordingExhausted, DamagedCassette.
        """
        known = self._recogniser.recognise(WEBSOCKET, url, None, unread=False)
        if known is None:
            return None
        found, stored = self._recogniser.secrets(known, headers)
        if found:
            self.learn(found, found[len(known.secrets) :])
        if not self.all_live:
            try:
                if self.faults is not None and self.streams.has(known, optional=self.records_new):
                    said = self.faults.upgrade(known, self._elapsed_ns())
                    if said is not None:
                        self._passes(said, None, waits=False)
                        return self.streams.turned_away(known, said)
                player = self.streams.play(known, optional=self.records_new)
            except MarketReplayError as error:
                self.refusals.append(error)
                raise
            if player is not None:
                return player
        from pytest_marketreplay.replay.stream.capture import Capture

        return Capture(self, known, self._recording(self.layers[0]), stored)

    def learn(self, secrets: Sequence[str], echoed: Sequence[str]) -> None:
        """Note the secrets that a request carries; those an earlier answer may have given are taken out of it at the end."""
        SECRETS.add(secrets)
        if not self.refuses:
            self._kept.learn(echoed)

    @property
    def streams(self) -> Streams:
        """The WebSocket connections of this session."""
        if self._streams is None:
            from pytest_marketreplay.replay.stream.streams import Streams

            with self._lock:
                if self._streams is None:  # pragma: no branch - another thread was faster
                    self._streams = Streams(self, self._recogniser, [str(layer) for layer in self.layers])
        return self._streams

    def sleeps(self, seconds: float) -> None:
        """Note that a thread begins a `time.sleep`: it waits for no frame, and no verdict is given meanwhile.

        Raises StreamError where a verdict was given, and the thread only looks for a frame between short sleeps.
        """
        if self._streams is None:
            return
        timeline = self._streams.timeline
        if (error := timeline.in_vain(seconds)) is not None:
            raise error
        if self.clock is None:
            timeline.sleeping(seconds)

    @property
    def late_verdicts(self) -> list[StreamError]:
        """What clients were told that had all the frames which the recorded client had, and waited for more.

        No test fails by it; a warning tells.
        """
        return self._streams.timeline.late if self._streams is not None else []

    @property
    def played_frames(self) -> int:
        """How many WebSocket frames were given to clients so far."""
        return self._streams.timeline.played_frames if self._streams is not None else 0

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

    @property
    def recorded(self) -> int:
        """Answers and frames that were recorded so far."""
        return self._kept.recorded

    def keep(self, recording: Recording, place: Place, key: Key, line: bytes) -> None:
        """Write one line of a recording. Raises RecordingError."""
        try:
            self._kept.keep(recording, place, key, line)
        except RecordingError as error:
            raise self._lost(error) from error.__cause__

    def _recording(self, target: Path) -> Recording:
        try:
            return self._kept.into(target)
        except RecordingError as error:  # a client would take an OSError for a failure of the network
            raise self._lost(error) from error.__cause__

    def _lost(self, error: RecordingError) -> RecordingError:
        """Remember that an answer was not recorded: the test must not pass, also where its code swallows the error."""
        with self._lock:
            self.refusals.append(error)
        return error

    def unplayed(self) -> list[tuple[Path, int, str]]:
        """Return file, line and endpoint of what the first cassette holds and nobody asked for."""
        with self._lock:
            if self.all_live:
                return []
            try:
                return [*self.tape.unplayed(0), *self.streams.unplayed(0)]
            finally:
                if not self.is_open:
                    self.tape.close()
                    self.streams.close()

    def close(self, *, keep: bool = True) -> int:
        """End the session. `keep` puts a new recording in place of the old; without it, what was recorded goes.

        Returns how many recorded answers were discarded. Raises DamagedCassette, OSError where the old recording cannot
        be replaced; it stays as it was then.
        """
        if not self.is_open:
            return 0
        self.is_open = False
        self.tape.close()
        if self._streams is not None:
            self._streams.close()
        return self._kept.close(keep=keep, key_of=self._key_of_place)

    def _key_of_place(self, place: Place) -> Callable[[Head], Hashable]:
        return self._recogniser.matcher_of_folder(place.venue).of_head
