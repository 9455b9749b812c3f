"""What a streaming feed is doing, how patient it is, and what it has seen."""

from __future__ import annotations

import enum
import random
from collections import Counter

import msgspec


class State(enum.Enum):
    """Where a feed stands."""

    UNSUBSCRIBED = "unsubscribed"
    """It has no pairs, or does not run."""
    CONNECTING = "connecting"
    """The first time since it has pairs."""
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    """After a connection was lost, or could not be had; waiting included."""


class Patience(msgspec.Struct, frozen=True):
    """How long a feed waits for what, in seconds."""

    handshake_s: float = 10.0
    acknowledgement_s: float = 10.0
    """For the answer to a subscription, and for the book that follows it."""
    heartbeat_s: float | None = None
    """Silence after which the venue is pinged; None for the venue's own."""
    silent_beats: float = 2.5
    """After how many heartbeats of silence a connection is dead."""
    proven_s: float = 60.0
    """How long data must have come before a connection counts as good, and the next wait is a short one again."""
    backoff_s: float = 1.0
    backoff_cap_s: float = 60.0
    lifetime_s: float | None = None
    """After which the venue cuts a connection; None for the venue's own."""
    renew_before_s: float = 300.0
    """How long before that cut the next connection is opened."""
    overlap_s: float = 30.0
    """How long the old one is kept at most while the new one gets its books."""
    book_pause_s: float = 1.0
    """The least time between two snapshots, or two subscriptions, for one pair's book."""
    rest_s: float = 10.0
    """For a snapshot's answer."""
    close_s: float = 2.0
    """For the answer to a close frame."""


class Backoff:
    """Waits that double up to a cap; each is drawn between half of it and the whole, so that clients do not march in step."""

    def __init__(self, first_s: float, cap_s: float, rng: random.Random) -> None:
        self._first_s, self._cap_s, self._rng = first_s, cap_s, rng
        self.failures = 0

    def next_s(self) -> float:
        """Return how long to wait now."""
        whole = min(self._cap_s, self._first_s * 2.0 ** min(self.failures, 60))
        self.failures += 1
        return whole * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin with a short wait again."""
        self.failures = 0


class PairStats(msgspec.Struct, frozen=True):
    """One pair of a feed."""

    ready: bool
    """Whether there is a book that can be relied on."""
    sequence_number: int
    """Of the last snapshot; as many were emitted."""
    missed: int
    """Ticks of the grid without a snapshot, those with an empty book included."""
    empty: int
    age_s: float | None
    """Since the book's last update; None where there is no book."""
    problem: str
    """What the venue said when it refused the subscription; empty where it did not."""


class StreamStats(msgspec.Struct, frozen=True):
    """What a feed has done so far."""

    state: State
    since_ns: int
    """When it entered the state, Unix epoch in nanoseconds."""
    failures: int
    """Attempts to connect since a connection proved itself."""
    pairs: dict[str, PairStats]
    counts: Counter[str]
    """`frames`, `bytes`, `connections` (handshakes that went well), `handshakes_failed`, `dead` (silent), `renewals`,
    `sequence_gap`, `sequence_duplicate`, `sequence_reorder`, `checksum`, `unreadable`, `refused`, `book_requests`,
    `book_failures`, `resubscriptions`, `clock_jumps`, `snapshots`, `missed` (as far as their gaps are told), `empty`, `depth`, `trades`."""
