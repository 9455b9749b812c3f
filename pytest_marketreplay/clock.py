"""The one source of time: integer nanoseconds of the wall clock, and a monotonic counter for durations.

Both are looked up at each call, so that a test can replace them by patching this module.
"""

from __future__ import annotations

import time


def now_ns() -> int:
    """Return the wall clock as nanoseconds since the Unix epoch, UTC."""
    return time.time_ns()


def counter_ns() -> int:
    """Return a monotonic counter in nanoseconds, for durations only."""
    return time.perf_counter_ns()
