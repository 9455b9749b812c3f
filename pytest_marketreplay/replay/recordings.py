"""What one session records, into one cassette or several, and what becomes of it at the session's end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path

from pytest_marketreplay.cassette.entry import Head
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.writer import Recording
from pytest_marketreplay.errors import RecordingError
from pytest_marketreplay.replay import afterwards, replace
from pytest_marketreplay.replay.matching import Key
from pytest_marketreplay.replay.run import Run

_MOST_LATE = 64


class Recordings:
    """The recordings of a session. Safe under threads."""

    def __init__(self, first: Path, mode: str, run: Run) -> None:
        self._first, self._mode, self._run = first, mode, run
        self.recorded = 0
        """Answers and frames that were recorded so far."""
        self._lock = threading.RLock()
        self._early: set[str] = set()
        self._late: dict[str, int] = {}
        self._staged: dict[Path, Path] = {}
        self._recordings: dict[Path, Recording] = {}
        self._replaced: dict[Path, dict[Place, set[Hashable]]] = {}

    def learn(self, secrets: Iterable[str]) -> None:
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

    def into(self, target: Path) -> Recording:
        """Return what records into a cassette. Raises RecordingError."""
        with self._lock:
            recording = self._recordings.get(target)
            if recording is None:
                root = target
                if self._mode in ("all", "rewrite"):
                    self._run.files_at_start(target)
                    try:
                        root = self._staged[target] = replace.staging(target)
                    except OSError as error:
                        raise RecordingError(f"cannot record into {target}: {error}") from error
                    self._replaced[target] = {}
                recording = self._recordings[target] = Recording(root)
            return recording

    def keep(self, recording: Recording, place: Place, key: Key, line: bytes) -> None:
        """Write one line. Raises RecordingError."""
        recording.append(place, line)
        with self._lock:
            self.recorded += 1
            for target, known in self._recordings.items():
                if known is recording and target in self._replaced:
                    self._replaced[target].setdefault(place, set()).add(key)

    def close(self, *, keep: bool, key_of: Callable[[Place], Callable[[Head], Hashable]]) -> int:
        """Put what was recorded in place of the old, or drop it; returns how many answers were dropped.

        Raises DamagedCassette, OSError where the old recording cannot be replaced; it stays as it was then.
        """
        discarded = 0
        for target, recording in self._recordings.items():
            recording.close()
            staged = self._staged.get(target)
            if keep and self._late:
                afterwards.scrub_recording(recording.written, self._late_secrets())
            if not keep:
                discarded += recording.discard()
            elif staged is not None:
                whole = self._mode == "rewrite" and target == self._first
                replaced = None if whole else self._replaced[target]
                replace.commit(target, staged, replaced, self._run.files_at_start(target), key_of)
                staged = None
            if staged is not None:
                replace.drop(staged, target)
        return discarded
