"""What the collector hands to a sink, and what a sink is.

A capture is made of items. Each belongs to one place of the tree. Those with a `line` are what the tree holds: a polled
answer, a WebSocket frame, a gap. Those with a `snapshot` are order-book snapshots, for sinks that store books as rows.
A polled order book is both. A book that was rebuilt from a stream is a snapshot only: the tree has its frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import msgspec

from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.market.structs import Level


class Snapshot(msgspec.Struct, frozen=True):
    """Bids and asks of one pair at one moment, with exact decimals."""

    exchange: str
    pair: str
    """In the form it was asked for, `BTC-USDT`."""
    timestamp_ms: int
    """Unix epoch in milliseconds, UTC, when the book was asked for (polled) or read off (streamed)."""
    bids: tuple[Level, ...]
    """From the highest price down."""
    asks: tuple[Level, ...]
    """From the lowest price up."""
    capture_latency_ms: float
    """Polled: from sending the request to having the whole answer. Streamed: age of the book's last update."""
    sequence_number: int
    """Counts the snapshots of one pair in one session, from 1, without a hole."""
    update_id: int | None = None
    """The venue's number of the last update in the book, where it has one."""


class Gap(msgspec.Struct, frozen=True):
    """A stretch of time in which something that should be in the capture is not."""

    kind: str
    """`missed` (ticks of the grid), `failed` (requests), `sequence` (of the stream), `disconnected`, `sink` (not written),
    `clock_jump` (the wall clock moved)."""
    from_ms: int
    to_ms: int
    """Unix epoch in milliseconds, both ends inclusive."""
    count: int
    """How many ticks, requests or items are missing; 0 where that cannot be known."""
    reason: str = ""


class Item(msgspec.Struct, frozen=True):
    """One thing that was captured."""

    place: Place
    time_ns: int
    """Unix epoch in nanoseconds, UTC."""
    line: bytes | None = None
    """A whole line of the cassette format, line feed included."""
    snapshot: Snapshot | None = None
    gap: Gap | None = None
    """Set on the entry of a gap, beside its `line`."""


class Sink(Protocol):
    """Where a capture goes. The collector calls a sink from one thread only, and from no other while a call lasts.

    What `write` returned from is acknowledged: no kill of the process loses it. A sink raises `SinkError` where it could
    not write; nothing of that batch counts as written then, and the same batch may come again.
    """

    name: ClassVar[str]
    """By which `--storage` chooses it."""

    def open(self) -> None:
        """Make ready, and finish what a killed process left behind. Raises SinkError."""

    def write(self, items: Sequence[Item]) -> None:
        """Store items, in order. Raises SinkError."""

    def rotate(self, now_ns: int) -> None:
        """Close what is due to be closed by time; called about once a second. Raises SinkError."""

    def close(self) -> None:
        """Flush and close everything. Raises SinkError."""
