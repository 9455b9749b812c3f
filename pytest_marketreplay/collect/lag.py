"""How late the event loop is: what a timer was due at, and when it fired."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

EVERY_S = 0.1
_KEPT = 600
"""Samples of the last minute."""


class LagSampler:
    """Samples the lag of the loop in which `run` runs."""

    def __init__(self, *, every: float = EVERY_S, on_sample: Callable[[float], None] | None = None) -> None:
        """Sample every so many seconds; `on_sample` is told each lag, in seconds."""
        self._every = every
        self._on_sample = on_sample
        self._samples: deque[float] = deque(maxlen=_KEPT)

    async def run(self) -> None:
        """Sample until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._every
            await asyncio.sleep(self._every)
            lag = max(0.0, loop.time() - due)
            self._samples.append(lag)
            if self._on_sample is not None:
                self._on_sample(lag)

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the last minute's samples in milliseconds; 0 before the first."""
        if not self._samples:
            return 0.0
        ordered = sorted(self._samples)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000
