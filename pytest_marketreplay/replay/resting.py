"""Whether another thread rests: whether it waits, and has hardly used a processor for a moment.

Linux tells the state and the processor time of each thread. Elsewhere a thread rests that stands at one instruction; a
tight loop may be mistaken for it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from typing import NamedTuple

REST_S = 0.02
"""For so long it must have rested; the interpreter gives each thread that could run its turn in 5 ms."""
_MOST_NS = int(REST_S * 1e9) // 10
"""A thread that looks every few milliseconds whether something has come, rests."""


class Standing(NamedTuple):
    """Where a thread stands."""

    runs: bool
    """Whether it runs, or would if it were given a processor."""
    used_ns: int
    """Processor time so far; -1 where the system does not tell."""
    frame: int
    instruction: int

    def rests_since(self, before: Standing | None) -> bool:
        """Tell whether it has rested since it was seen before."""
        if before is None or self.runs:
            return False
        if self.used_ns >= 0:
            return self.used_ns - before.used_ns <= _MOST_NS
        return self == before


def _used(thread: threading.Thread) -> tuple[bool, int]:
    task = f"/proc/self/task/{thread.native_id}"
    try:
        with open(f"{task}/stat", "rb") as stat, open(f"{task}/schedstat", "rb") as schedstat:
            # "123 (name) R ...": a name may hold anything
            return stat.read().rpartition(b") ")[2][:1] == b"R", int(schedstat.read().split()[0])
    except (
        OSError,
        ValueError,
        IndexError,
    ):  # pragma: no cover - not Linux, a kernel without it, or a thread that has just ended
        return False, -1


def look(threads: Iterable[threading.Thread]) -> dict[int, Standing]:
    """Return where threads stand, by their identifiers."""
    out = {}
    there = list(threads)
    frames = sys._current_frames() if there else {}
    for thread in there:
        frame = frames.get(thread.ident or 0)
        if frame is not None:
            out[thread.ident or 0] = Standing(*_used(thread), id(frame), frame.f_lasti)
    return out
