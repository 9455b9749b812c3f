"""What the collector tells of its work, and the meter that nobody reads."""

from __future__ import annotations

from typing import Protocol


class Meter(Protocol):
    """What the collector tells of its work. Every method may be called from any thread, and none raises or blocks.

    `platform` and `endpoint` are the folder names of the tree, durations are seconds, sizes bytes. `status` is `ok`,
    `failed`, an HTTP status, or a word for what happened instead of one (`timeout`).
    """

    def wrote(self, platform: str, endpoint: str, sink: str, count: int, seconds: float, status: str) -> None:
        """Count items that one call of a sink wrote, or failed to write, and the duration of that call."""

    def read(self, platform: str, endpoint: str, sink: str, count: int, status: str) -> None:
        """Count items that were read back."""

    def gap(self, platform: str, kind: str, count: int) -> None:
        """Count a gap, and what is missing in it (0 where that is not known)."""

    def queue(self, sink: str, length: int) -> None:
        """Tell how many items wait for a sink."""

    def request(self, platform: str, endpoint: str, status: int | str, seconds: float) -> None:
        """Count a request to a venue, and its duration."""

    def reconnected(self, platform: str) -> None:
        """Count a stream that was connected again."""

    def dropped(self, sink: str, count: int) -> None:
        """Count items that a sink never got because its queue was full."""

    def restarted(self, platform: str) -> None:
        """Count a feed that broke and was started again."""

    def loop_lag(self, seconds: float) -> None:
        """Note how much later than asked the event loop woke up."""

    def size(self, platform: str, size_bytes: int, files: int) -> None:
        """Tell what a platform's part of the tree takes on the disk."""

    def closed_file(self, platform: str, size_bytes: int) -> None:
        """Note the size of a file that is complete."""

    def checked(self, platform: str, what: str) -> None:
        """Count a finding of a check: `empty_book`, `clock`, `update_id`."""


class NoMetrics:
    """A `Meter` that notes nothing: for captures that nobody watches."""

    def wrote(self, platform: str, endpoint: str, sink: str, count: int, seconds: float, status: str) -> None:
        """Do nothing."""

    def read(self, platform: str, endpoint: str, sink: str, count: int, status: str) -> None:
        """Do nothing."""

    def gap(self, platform: str, kind: str, count: int) -> None:
        """Do nothing."""

    def queue(self, sink: str, length: int) -> None:
        """Do nothing."""

    def request(self, platform: str, endpoint: str, status: int | str, seconds: float) -> None:
        """Do nothing."""

    def reconnected(self, platform: str) -> None:
        """Do nothing."""

    def dropped(self, sink: str, count: int) -> None:
        """Do nothing."""

    def restarted(self, platform: str) -> None:
        """Do nothing."""

    def loop_lag(self, seconds: float) -> None:
        """Do nothing."""

    def size(self, platform: str, size_bytes: int, files: int) -> None:
        """Do nothing."""

    def closed_file(self, platform: str, size_bytes: int) -> None:
        """Do nothing."""

    def checked(self, platform: str, what: str) -> None:
        """Do nothing."""
