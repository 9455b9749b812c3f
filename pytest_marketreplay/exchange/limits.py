"""Rate limits of the simulated venues."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Limits:
    """Set how much a client may ask; the defaults are what the venues document, Kraken's public one is wider.

    Binance: "IP Limits" in the Spot REST API's general information, "WebSocket Limits" of its streams. Kraken: "API Rate Limits" in its guides (private
    calls of a Pro account: a counter to 20 that falls by 1 a second).
    """

    binance_weight: int = 6000
    binance_window_s: int = 60
    binance_ban_after: int = 5
    """Requests that are forgiven after the first 429 of a window; the next one is answered by a ban (418)."""
    binance_ban_s: int = 120
    binance_messages_per_s: int = 5
    """Pings, pongs and control messages that a WebSocket client may send in a second before it is disconnected."""
    binance_streams: int = 1024
    """Streams that one WebSocket connection may listen to."""
    binance_ping_s: float = 20.0
    """How often the server pings a WebSocket client, in seconds of real time."""
    binance_pong_s: float = 60.0
    """How long it waits for the answer before it disconnects."""
    kraken_public: int = 600
    kraken_public_per_s: float = 10.0
    kraken_private: int = 20
    kraken_private_per_s: float = 1.0


class Verdict(NamedTuple):
    """Tell whether a request may pass: 200, 429 or 418, the weight used so far and the seconds to wait."""

    status: int
    used: int
    retry_after: int


class WeightLimit:
    """Count request weight in windows of fixed length, and ban a client that does not back off."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self._limits = limits
        self._now = now
        self._window = -1
        self._used = 0
        self._refused = 0
        self._banned_until = 0.0

    def spend(self, weight: int) -> Verdict:
        """Count a request; one that would pass the limit is refused and its weight is still counted."""
        now, limits = self._now(), self._limits
        if now < self._banned_until:
            return Verdict(418, self._used, max(1, math.ceil(self._banned_until - now)))
        window = int(now // limits.binance_window_s)
        if window != self._window:
            self._window, self._used, self._refused = window, 0, 0
        self._used += weight
        if self._used <= limits.binance_weight:
            return Verdict(200, self._used, 0)
        self._refused += 1
        if self._refused > limits.binance_ban_after:
            self._banned_until = now + limits.binance_ban_s
            return Verdict(418, self._used, limits.binance_ban_s)
        rest = (window + 1) * limits.binance_window_s - now
        return Verdict(429, self._used, max(1, math.ceil(rest)))


class Counter:
    """Count calls against a limit while the count falls steadily, as Kraken does."""

    def __init__(self, limit: int, fall_per_s: float, now: Callable[[], float]) -> None:
        self._limit = limit
        self._fall_per_s = fall_per_s
        self._now = now
        self._count = 0.0
        self._at = now()

    def spend(self, cost: int = 1) -> bool:
        """Count a call; False when it passes the limit, which does not count it."""
        now = self._now()
        self._count = max(0.0, self._count - max(0.0, now - self._at) * self._fall_per_s)
        self._at = now
        if self._count + cost > self._limit:
            return False
        self._count += cost
        return True
