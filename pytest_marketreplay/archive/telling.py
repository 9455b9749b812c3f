"""Telling how far it is."""

from __future__ import annotations

from pytest_marketreplay.archive.remote import Progress


class Told:
    """Adds up what is done, and tells."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def add(self, count: int) -> None:
        """Tell of so many bytes more; a tree that grows has more than were thought of."""
        self._done += count
        if self._progress is not None:
            self._progress(self._done, max(self._done, self._total))
