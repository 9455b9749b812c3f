"""Checks of polled books: what is odd is counted and warned of, and stored all the same."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

from pytest_marketreplay import clock
from pytest_marketreplay.market.structs import OrderBook
from pytest_marketreplay.metrics import Meter

log = logging.getLogger("pytest_marketreplay.collect")
EARLY_MS, LATE_MS = 5000, 1000
"""A book's own time is checked to lie in [now - 5 s, now + 1 s]."""
_WARN_EVERY_S = 60.0
_MS = 1_000_000


class Checks:
    """What the checks of one feed share: its counts, its meter, and when it warned of what."""

    def __init__(self, venue: str, counts: Counter[str], meter: Meter) -> None:
        self.venue, self.counts, self.meter = venue, counts, meter
        self._warned: dict[str, float] = {}

    def warn(self, key: str, text: str) -> None:
        """Warn, of one thing not more than once a minute; the counts have all of them."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._warned.get(key, float("-inf")) >= _WARN_EVERY_S:
            self._warned[key] = now_s
            log.warning("%s", text)


class PairChecks:
    """The checks of one pair."""

    def __init__(self, shared: Checks, pair: str, platform: str) -> None:
        """`platform` is the venue's folder, by which metrics name it."""
        self._shared, self._pair, self._platform = shared, pair, platform
        self._update_id: int | None = None

    def look(self, book: OrderBook) -> None:
        """Check a book: its own time, its update id, its best prices."""
        counts, now_ms = self._shared.counts, clock.now_ns() // _MS
        if book.exchange_ms is not None and not now_ms - EARLY_MS <= book.exchange_ms <= now_ms + LATE_MS:
            counts["clock_checks"] += 1
            self.found("clock", f"the venue's time is {(book.exchange_ms - now_ms) / 1000:+.3f} s off")
        if book.update_id is not None:
            if self._update_id is not None and book.update_id < self._update_id:
                counts["backward_ids"] += 1
                self.found("update_id", f"the update id went back from {self._update_id} to {book.update_id}")
            self._update_id = book.update_id
        if book.bids and book.asks and book.bids[0].price >= book.asks[0].price:
            counts["crossed"] += 1
            self.found("crossed_book", f"crossed: bid {book.bids[0].price}, ask {book.asks[0].price}")

    def found(self, what: str, text: str) -> None:
        """Count a finding in the metrics, and warn of it."""
        self._shared.meter.checked(self._platform, what)
        self._shared.warn(f"{self._pair} {what}", f"{self._shared.venue} {self._pair}: {text}")
