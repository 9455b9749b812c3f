"""What reads a venue's payloads as market data: one decoder for a REST endpoint, or for one WebSocket connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import msgspec

from pytest_marketreplay.market.book import Book
from pytest_marketreplay.market.structs import Record

NOTHING = msgspec.Raw(b"")
"""Stands where a message leaves a field out; false."""

UNREADABLE = (ValueError, LookupError, TypeError, ArithmeticError, AttributeError, RecursionError)
"""What a decoder raises for a payload that is not of its shape (msgspec's errors are ValueErrors)."""


class Source(NamedTuple):
    """Where a payload comes from."""

    time_ns: int
    """When it arrived, Unix epoch in nanoseconds."""
    symbol: str | None = None
    """Of the place it stands in; None where it belongs to no single symbol."""
    params: Mapping[str, Any] = MappingProxyType({})
    """Of a REST request."""


class Decoder:
    """Reads the answers of one REST endpoint, or the frames of one connection in their order."""

    joins: ClassVar[bool] = False
    """Whether depth diffs of this connection join a REST snapshot of the same symbol by its update id."""

    def __init__(self, venue: str, checksum: Callable[[Book], int] | None = None) -> None:
        self.venue = venue
        self.checksum = checksum
        """What makes the venue's checksum of a book, where its diffs carry one."""

    def read(self, payload: bytes, source: Source) -> Sequence[Record]:
        """Return what a payload says of the market; nothing for an acknowledgement, an error or another topic.

        Raises one of `UNREADABLE` where it is market data in another shape than the venue documents.
        """
        return ()


class Rest(Decoder):
    """Reads the answers of one REST endpoint by a function."""

    def __init__(self, venue: str, function: Callable[[str, bytes, Source], Sequence[Record]]) -> None:
        super().__init__(venue)
        self._function = function

    def read(self, payload: bytes, source: Source) -> Sequence[Record]:
        """Return what an answer says."""
        return self._function(self.venue, payload, source)


def iso_ms(text: str) -> int:
    """Return the milliseconds of an ISO 8601 time; one without a zone is UTC."""
    if text.endswith("Z") or "+" in text[10:]:
        moment = datetime.fromisoformat(text)
    else:
        moment = datetime.fromisoformat(text + "+00:00")
    # in integers: the float of `timestamp()` loses the last digit of some microseconds
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def seconds_ms(seconds: str | Decimal | int) -> int:
    """Return the milliseconds of Unix seconds with a fraction: `1618678163.323225` -> 1618678163323."""
    return int(Decimal(seconds) * 1000)


def number(text: str) -> Decimal | None:
    """Return a number, or None for the empty text that some venues send where there is none."""
    return Decimal(text) if text else None


def side_of(text: str | None) -> str | None:
    """Return `buy` or `sell` of a venue's `BUY`, `Sell`, `b`, `s`; None for anything else."""
    if not text:
        return None
    return {"b": "buy", "s": "sell", "buy": "buy", "sell": "sell"}.get(text.lower())


def other_side(text: str | None) -> str | None:
    """Return the taker's side where the venue says the maker's (Coinbase)."""
    return {"buy": "sell", "sell": "buy"}.get(side_of(text) or "")


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
