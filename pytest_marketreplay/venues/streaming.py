"""What a venue's WebSocket side is to this package: the messages that ask for streams, and those that answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

if TYPE_CHECKING:
    from pytest_marketreplay.venues.profile import Venue

Channel = Literal["depth", "trades"]


class Message(NamedTuple):
    """What a client sends, and the acknowledgements it waits for."""

    text: str
    expects: tuple[str, ...] = ()
    """Keys, as `Streaming.verdict` finds them in the venue's answer."""


class Verdict(NamedTuple):
    """An acknowledgement, or a refusal."""

    key: str
    problem: str | None = None


class Streaming:
    """One venue's WebSocket side. Subclass it in a venue of your own, and return it from `Venue.streaming`."""

    ws: ClassVar[str]
    """Base URL; a feed may be pointed at another."""
    rest: ClassVar[str | None] = None
    """Base URL of the REST side, where a book joins a snapshot of it."""
    heartbeat_s: ClassVar[float] = 10.0
    """After how many seconds of silence the client asks whether the venue is there."""
    lifetime_s: ClassVar[float | None] = None
    """After how many seconds the venue cuts a connection."""
    most_pairs: ClassVar[int] = 100
    """How many pairs one connection takes here; well under what the venues allow, so that one does not become too much."""
    depths: ClassVar[tuple[int, ...]] = ()
    """How many levels a side can be asked for, in rising order; empty where there is no choice."""
    trade_ids: ClassVar[Literal["contiguous", "rising"] | None] = None
    """What a pair's trade ids do; None where they say nothing of the order, or there are none."""

    def __init__(self, levels: int | None = None) -> None:
        """Ask for at least this many levels a side; None for the most that there are."""
        self.levels = next((depth for depth in self.depths if levels is not None and depth >= levels), None)
        if self.levels is None and self.depths:
            self.levels = self.depths[-1]

    def wire(self, pair: str) -> str:
        """Return a pair (`BTC-USDT`) as the stream names it."""
        return pair.upper()

    def path(self, pairs: Sequence[str], channels: Sequence[Channel]) -> str:
        """Return path and query to connect to."""
        return "/"

    def subscribe(
        self, pairs: Sequence[str], channels: Sequence[Channel], number: int, *, opening: bool = False
    ) -> list[Message]:
        """Return what asks for streams; `opening` says that the connection's URL has just named them."""
        raise NotImplementedError

    def unsubscribe(self, pairs: Sequence[str], channels: Sequence[Channel], number: int) -> list[Message]:
        """Return what ends streams."""
        raise NotImplementedError

    def verdict(self, message: Any) -> Verdict | None:
        """Return what a parsed message says to a subscription; None for any other message."""
        raise NotImplementedError

    def ping(self, number: int) -> str | None:
        """Return the venue's own ping message; None where a ping frame of the protocol does."""
        return None

    def farewell(self, message: Any) -> str | None:
        """Tell why the venue asks to connect anew; None where it does not."""
        return None

    def snapshot(self, pair: str) -> str | None:
        """Return path and query of the REST snapshot that diffs join; None where the stream sends its own."""
        return None


def of(venue: Venue) -> type[Streaming] | None:
    """Return how a packaged venue streams; None where nobody has described it."""
    from pytest_marketreplay.venues.streaming_venues import STREAMING

    return STREAMING.get(venue.name)
