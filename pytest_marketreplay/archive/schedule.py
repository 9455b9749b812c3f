"""Backups for ever, one every so often by the wall clock; a restart, a lost state and a failure change nothing of that."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from pytest_marketreplay import clock
from pytest_marketreplay.archive.backup import Backup, Made
from pytest_marketreplay.archive.publishing import Watch
from pytest_marketreplay.archive.retention import FUTURE_S
from pytest_marketreplay.errors import MarketReplayError, UsageMistake

EVERY_S = 24 * 3600.0
LOOK_S = 30.0
"""How long the clock goes unlooked at: a jump is seen so soon."""
BACK_OFF_S = 60.0
LONGEST_BACK_OFF_S = 3600.0

_NOTES = logging.getLogger(__name__)


class Event(NamedTuple):
    """Something that a schedule did; `made` and `error` are None where it only waits."""

    next_s: float
    """When the next backup is due, Unix epoch in seconds."""
    made: Made | None = None
    error: MarketReplayError | None = None
    failures: int = 0
    """In a row."""


class Schedule:
    """Make backups until `wait` says that it is over.

    `wait` takes seconds and returns True once there is to be no other backup; `tell` takes what happened. A backup is due
    `every_s` after the last good one began, on the wall clock. One that lies in the future, since the clock went back, is
    not counted. After a failure the next try comes a minute later, then two, four, up to an hour, never more than `every_s`.
    Raises UsageMistake.
    """

    def __init__(
        self,
        backup: Backup,
        every_s: float,
        wait: Callable[[float], bool],
        tell: Callable[[Event], None] = lambda event: None,
        watch: Watch | None = None,
    ) -> None:
        if not every_s > 0:
            raise UsageMistake(f"--every is {every_s:g} s; it must be longer than nothing")
        self.backup, self.every_s = backup, every_s
        self._wait, self._tell, self._watch = wait, tell, watch
        self.failures = 0
        self.error = ""

    def health(self) -> dict[str, object]:
        """Return whether the last try went well, for `/healthz`."""
        return {"ok": not self.failures, "label": self.backup.label, "failures": self.failures, "error": self.error}

    def run(self) -> None:
        """Go on until `wait` returns True. Raises UsageMistake, since no waiting mends a user's mistake."""
        due_s = self._first_due()
        self._tell(Event(due_s))
        while not self._waited(due_s):
            due_s = self._once()

    def _first_due(self) -> float:
        """Return when the rest of the interval is over; now where nothing is known."""
        try:
            return self._due(self.backup.state().last_backup_ms)
        except UsageMistake:
            raise
        except MarketReplayError as error:
            return self._failed(error)

    def _due(self, last_ms: int | None) -> float:
        now_s = clock.now_ns() / 1e9
        if last_ms is None:
            return now_s
        if last_ms / 1000 > now_s + FUTURE_S:
            _NOTES.warning("%s: the last backup lies in the future: it is not counted", self.backup.label)
            return now_s
        return last_ms / 1000 + self.every_s

    def _waited(self, due_s: float) -> bool:
        """Wait until a moment of the wall clock, or until the clock jumped back; return whether it is all over."""
        began_s = clock.now_ns() / 1e9
        while True:
            now_s = clock.now_ns() / 1e9
            if now_s >= due_s or now_s < began_s - FUTURE_S:
                return self._wait(0.0)
            began_s = max(began_s, now_s)
            if self._wait(min(LOOK_S, due_s - now_s)):
                return True

    def _once(self) -> float:
        """Make a backup, and return when the next one is due."""
        before_ms = clock.now_ns() // 1_000_000
        try:
            made = self.backup.run(self._watch)
        except UsageMistake:
            raise
        except MarketReplayError as error:
            return self._failed(error, before_ms)
        self.failures, self.error = 0, ""
        due_s = made.name.created_s + self.every_s
        self._tell(Event(due_s, made=made))
        return due_s

    def _failed(self, error: MarketReplayError, before_ms: int | None = None) -> float:
        self.failures, self.error = self.failures + 1, str(error)
        pause_s = min(BACK_OFF_S * 2.0 ** min(self.failures - 1, 10), LONGEST_BACK_OFF_S, self.every_s)
        due_s = clock.now_ns() / 1e9 + pause_s
        if before_ms is not None:
            known = self.backup.known()
            if known is not None and (known.last_backup_ms or 0) >= before_ms:
                due_s = self._due(known.last_backup_ms)  # only the retention failed: there is a new backup
        _NOTES.error("%s: %s", self.backup.label, error)
        self._tell(Event(due_s, error=error, failures=self.failures))
        return due_s
