"""The top of a Kraken book as a client keeps it: truncated to its depth, checked by a CRC-32.

Rules: "Book checksum" (v1 and v2) of the Kraken WebSocket guides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

from .book import Level
from .listing import Listing
from .streams import Moment

DEPTHS = (10, 25, 100, 500, 1000)
"""Levels of each side that a client may ask for."""
_CHECKED = 10  # levels that the checksum covers, whatever the depth


class LevelChange(NamedTuple):
    """Tell of one level that a client has to change; `again` when only its place in the book is new to it."""

    level: Level
    again: bool


class BookView:
    """Follow the best levels of both sides, and tell what changes in the copy of a client that truncates its own."""

    def __init__(self, listing: Listing, depth: int) -> None:
        self._listing = listing
        self._depth = depth
        self._seen = [self._current(is_bid) for is_bid in (True, False)]

    def side(self, is_bid: bool) -> list[Level]:
        """List the levels that a client has, from the best outwards."""
        return list(self._seen[0 if is_bid else 1].values())

    def changes(self, moment: Moment) -> tuple[list[LevelChange], list[LevelChange]]:
        """Take the book as it is now; gives what changed in the bids and in the asks, removed levels first."""
        bids, asks = (self._side_changes(is_bid, moment) for is_bid in (True, False))
        return bids, asks

    def _current(self, is_bid: bool) -> dict[int, Level]:
        return {level.tick: level for level in self._listing.book.side(is_bid, self._depth)}

    def _side_changes(self, is_bid: bool, moment: Moment) -> list[LevelChange]:
        touched: set[int] = set()
        for event in moment.events:
            touched.update(event.changes.bids if is_bid else event.changes.asks)
        before = self._seen[0 if is_bid else 1]
        if not touched:
            return []
        after = self._seen[0 if is_bid else 1] = self._current(is_bid)
        worst = next(reversed(after)) if len(after) == self._depth else None
        changes = [
            LevelChange(Level(tick, 0, moment.now_ms), False)
            for tick in before
            if tick not in after and not _beyond(tick, worst, is_bid)
        ]
        for tick, level in after.items():
            known = before.get(tick)
            if known is None or known.quantity != level.quantity:
                changes.append(LevelChange(level, again=tick not in touched))
        return changes


def _beyond(tick: int, worst: int | None, is_bid: bool) -> bool:
    """Tell whether a client's copy loses a level by being truncated: it is not told of it."""
    return worst is not None and (tick < worst if is_bid else tick > worst)


def checksum(asks: Sequence[Sequence[str]], bids: Sequence[Sequence[str]]) -> int:
    """Compute the CRC-32 over the ten best asks, then bids: prices and quantities as they are sent, without points
    and leading zeros.
    """
    rows = [*asks[:_CHECKED], *bids[:_CHECKED]]
    return crc32("".join(number.replace(".", "").lstrip("0") for row in rows for number in row[:2]).encode())
