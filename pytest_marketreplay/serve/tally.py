"""What a server counts: what it served, and what was asked that nothing recorded answers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal, NamedTuple

log = logging.getLogger("pytest_marketreplay.serve")

_MOST_KEPT = 1_000


class Miss(NamedTuple):
    """Something that a client asked and nothing recorded answers. Secrets never stand in it."""

    venue: str
    kind: Literal["rest", "websocket"]
    asked: str
    explanation: str
    """The nearest that is recorded, and what differs."""


@dataclass
class Served:
    """What one venue served so far."""

    answers: int = 0
    """REST answers out of the recording."""
    frames: int = 0
    """WebSocket messages, acknowledgements included."""
    connections: int = 0
    """WebSocket connections that were opened."""
    missed: int = 0
    """Requests, connections and messages that nothing recorded answers."""
    slow: int = 0
    """Connections that were cut because their client did not read."""
    unrouted: int = 0
    """Recorded messages of which nobody can tell which stream they belong to; no subscription gets them."""


class Tally:
    """The counts of all venues, and the misses. Written by the server's thread alone."""

    def __init__(self) -> None:
        self.served: dict[str, Served] = {}
        self.misses: list[Miss] = []
        """The first thousand; `Served.missed` counts all."""

    def miss(self, miss: Miss) -> Miss:
        """Note a miss and log it."""
        self.served[miss.venue].missed += 1
        if len(self.misses) < _MOST_KEPT:
            self.misses.append(miss)
        log.warning("%s: not recorded: %s\n%s", miss.venue, miss.asked, miss.explanation)
        return miss
