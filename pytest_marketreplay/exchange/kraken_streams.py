"""Speak WebSocket as Kraken does: version 1 at `/` and `/ws`, version 2 at `/v2`.

Rules: "Spot WebSocket" of the Kraken API documentation; heartbeats follow the market's time, so that they are the same
in every run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from .connection import Connection
from .market import Market
from .streams import Moment, VenueStreams
from .wire import compact_json

_HEARTBEAT_MS = 1000


class Subject(NamedTuple):
    """Name what can be subscribed to."""

    channel: str
    symbol: str = ""
    """The pair by its REST name; empty where a channel knows no pairs."""
    argument: int | str = ""
    """The depth of a book, the minutes of a candle, the trigger of a ticker."""


class KrakenFeed(Protocol):
    """Turn moments into the frames of one subject."""

    def snapshot(self) -> list[object]:
        """Give the frames that a new subscriber gets first."""
        ...

    def updates(self, moment: Moment) -> list[object]:
        """Give what a moment brings."""
        ...


class Talk(Protocol):
    """What a dialect does to a connection while it answers."""

    @property
    def subjects(self) -> Collection[Subject]:
        """List what the connection is subscribed to."""
        ...

    def send(self, frame: object) -> None:
        """Send a frame."""
        ...

    def subscribe(self, subject: Subject, *, snapshot: bool) -> None:
        """Begin to send a subject."""
        ...

    def unsubscribe(self, subject: Subject) -> None:
        """Stop."""
        ...


class Dialect(Protocol):
    """Speak one version of the protocol."""

    heartbeat: object

    def greeting(self, number: int) -> object:
        """Give the first frame of a connection."""
        ...

    def feed(self, subject: Subject) -> KrakenFeed:
        """Make the feed of a subject, which begins now."""
        ...

    def heard(self, talk: Talk, text: str) -> None:
        """Answer a text frame."""
        ...

    def label(self, subject: Subject) -> str:
        """Name a subject as the venue does."""
        ...


@dataclass(slots=True)
class _Talk:
    """Hold what one connection subscribed to."""

    connection: Connection
    dialect: Dialect
    streams: KrakenStreams
    sent_ms: int
    subjects: dict[Subject, None] = field(default_factory=dict)

    def send(self, frame: object) -> None:
        self.connection.send(compact_json(frame))

    def subscribe(self, subject: Subject, *, snapshot: bool) -> None:
        self.subjects[subject] = None
        feed = self.streams.feed(self.dialect, subject)
        for frame in feed.snapshot() if snapshot else ():
            self.send(frame)

    def unsubscribe(self, subject: Subject) -> None:
        self.subjects.pop(subject, None)
        self.streams.prune()


class KrakenStreams(VenueStreams):
    """Serve both versions of Kraken's public channels."""

    def __init__(self, market: Market) -> None:
        from .kraken_v1 import KrakenV1  # both dialects build on what stands above
        from .kraken_v2 import KrakenV2

        super().__init__(market)
        dialects: tuple[Dialect, Dialect] = KrakenV1(market), KrakenV2(market)
        first, second = dialects
        self._dialects: Mapping[str, Dialect] = {"": first, "/": first, "/ws": first, "/v2": second, "/v2/": second}
        self._talks: dict[Connection, _Talk] = {}
        self._feeds: dict[tuple[Dialect, Subject], KrakenFeed] = {}

    def serves(self, path: str) -> bool:
        """Know the paths of the two versions."""
        return path in self._dialects

    def opened(self, connection: Connection, query: str) -> None:
        """Greet a new connection."""
        dialect = self._dialects[connection.path]
        self.flush()
        self.connections.append(connection)
        talk = self._talks[connection] = _Talk(connection, dialect, self, self._market.now_ms())
        talk.send(dialect.greeting(connection.number))

    def heard(self, connection: Connection, text: str) -> None:
        """Answer a message, in the dialect of the path."""
        self.flush()  # so that a snapshot stands where the updates stand
        talk = self._talks[connection]
        talk.dialect.heard(talk, text)

    def subscriptions(self, connection: Connection) -> Iterable[str]:
        """List channels and pairs, such as `book-10 XBT/USD`."""
        talk = self._talks[connection]
        return tuple(talk.dialect.label(subject) for subject in talk.subjects)

    def ponged(self, connection: Connection) -> None:
        """Do nothing: Kraken's server sends no pings of the protocol."""

    def tick(self) -> None:
        """Do nothing: heartbeats follow the market's time."""

    def left(self, connection: Connection) -> None:
        """Forget a connection, and the feeds that nobody listens to any more."""
        super().left(connection)
        self._talks.pop(connection, None)
        self.prune()

    def feed(self, dialect: Dialect, subject: Subject) -> KrakenFeed:
        """Give the feed of a subject, which all its subscribers share."""
        key = dialect, subject
        if key not in self._feeds:
            self._feeds[key] = dialect.feed(subject)
        return self._feeds[key]

    def prune(self) -> None:
        """Forget feeds without subscribers."""
        wanted = {(talk.dialect, subject) for talk in self._talks.values() for subject in talk.subjects}
        self._feeds = {key: feed for key, feed in self._feeds.items() if key in wanted}

    def publish(self, moment: Moment) -> None:
        """Send what every feed has to say, and a heartbeat to who heard nothing for a second."""
        by_symbol: dict[str, Moment] = {symbol: moment.only(symbol) for symbol in self._market.listings}
        said = {
            key: [compact_json(frame) for frame in feed.updates(by_symbol.get(key[1].symbol, moment))]
            for key, feed in self._feeds.items()
        }
        for connection in self.connections:
            talk = self._talks[connection]
            frames = [frame for subject in talk.subjects for frame in said[talk.dialect, subject]]
            if not frames and talk.subjects and moment.now_ms - talk.sent_ms >= _HEARTBEAT_MS:
                frames = [compact_json(talk.dialect.heartbeat)]
            for frame in frames:
                connection.send(frame)
                talk.sent_ms = moment.now_ms
