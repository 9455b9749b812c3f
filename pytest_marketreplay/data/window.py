"""Windows between two times, as a caller may give them."""

from __future__ import annotations

from typing import NamedTuple

from pytest_marketreplay.config import Moment as Time
from pytest_marketreplay.config import moment_ns as time_ns
from pytest_marketreplay.errors import UsageMistake

__all__ = ["Time", "Window", "time_ns"]

_LATEST = 2**63


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
