"""What the WebSocket sides of the venues share: who is connected, and what happened since the last look."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

from .connection import Connection
from .market import Market, MarketEvent


class Moment(NamedTuple):
    """Hold what happened to one symbol, or to all, from `before_ms` (exclusive) to `now_ms`."""

    before_ms: int
    now_ms: int
    events: list[MarketEvent]

    def passed(self, period_ms: int) -> bool:
        """Tell whether a multiple of the period lies in this moment: streams of a fixed pace send then."""
        return self.now_ms // period_ms > self.before_ms // period_ms

    def only(self, symbol: str) -> Moment:
        """Give the same moment with the events of one symbol."""
        return self._replace(events=[event for event in self.events if event.symbol == symbol])


class VenueStreams(ABC):
    """Hold the open connections of one venue and send to them when its market moves.

    Every method is called with the exchange's lock held. Frames follow from the market and from what the clients
    sent, never from the wall clock; pings (`tick`) alone keep real time.
    """

    def __init__(self, market: Market) -> None:
        self._market = market
        self._seen = market.sequence
        self._before_ms = market.now_ms()
        self.connections: list[Connection] = []

    @abstractmethod
    def serves(self, path: str) -> bool:
        """Tell whether a WebSocket may be opened at a path."""

    @abstractmethod
    def opened(self, connection: Connection, query: str) -> None:
        """Take in a new connection: greet it, and subscribe it to what its URL names."""

    @abstractmethod
    def heard(self, connection: Connection, text: str) -> None:
        """Answer a text frame of a client."""

    @abstractmethod
    def subscriptions(self, connection: Connection) -> Iterable[str]:
        """List what a connection listens to, in the venue's words, in the order it was asked for."""

    @abstractmethod
    def publish(self, moment: Moment) -> None:
        """Send what a moment brought."""

    def left(self, connection: Connection) -> None:
        """Forget a connection that has ended; forgetting twice changes nothing."""
        if connection in self.connections:
            self.connections.remove(connection)

    def pinged(self, connection: Connection, payload: bytes) -> None:
        """Answer a ping with a copy of its payload."""
        connection.pong(payload)

    @abstractmethod
    def ponged(self, connection: Connection) -> None:
        """Note a pong."""

    @abstractmethod
    def tick(self) -> None:
        """Do what real time asks for; called about once a second."""

    def flush(self) -> None:
        """Send what happened since the last call."""
        for connection in [each for each in self.connections if each.ended]:  # closed for being too slow
            self.left(connection)
        now_ms, sequence = self._market.now_ms(), self._market.sequence
        if self.connections and (sequence != self._seen or now_ms != self._before_ms):
            moment = Moment(self._before_ms, now_ms, self._market.events_after(self._seen))
            self._seen, self._before_ms = sequence, now_ms
            self.publish(moment)
        else:
            self._seen, self._before_ms = sequence, now_ms
