"""Times as a caller may give them, and windows between two of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from pytest_marketreplay.errors import UsageMistake

Time = datetime | str | int | float
"""A `datetime` or ISO 8601 text (without a zone: UTC), or Unix epoch in milliseconds."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = 2**63


def time_ns(value: Time, what: str = "time") -> int:
    """Return a time as Unix epoch in nanoseconds. Raises UsageMistake for what is no time."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise UsageMistake(f"{what} is {value!r}; it can be an ISO time such as '2025-10-02T10:00:00Z'") from None
    if isinstance(value, datetime):
        delta = (value if value.tzinfo else value.replace(tzinfo=UTC)) - _EPOCH
        return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1000
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageMistake(f"{what} is {value!r}; it can be a datetime, an ISO text, or milliseconds since 1970")
    if isinstance(value, float):
        if not value == value or abs(value) > 1e16:
            raise UsageMistake(f"{what} is {value!r}; it can be milliseconds since 1970")
        return round(value * 1_000_000)
    return value * 1_000_000


class Window(NamedTuple):
    """From `start` to before `end`, Unix epoch in nanoseconds."""

    start: int = -_LATEST
    end: int = _LATEST

    @classmethod
    def of(cls, start: Time | None, end: Time | None) -> Window:
        """Return a window; None is open on that side. Raises UsageMistake where it ends before it starts."""
        window = cls(
            -_LATEST if start is None else time_ns(start, "start"), _LATEST if end is None else time_ns(end, "end")
        )
        if window.end < window.start:
            raise UsageMistake(f"the window ends ({end!r}) before it starts ({start!r})")
        return window

    def has(self, moment_ns: int) -> bool:
        """Tell whether a moment lies inside."""
        return self.start <= moment_ns < self.end
