"""What the venues see of HTTP: a call and its answer, free of any HTTP library."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import parse_qsl

import orjson

if TYPE_CHECKING:
    from .streams import VenueStreams


@dataclass(frozen=True, slots=True)
class Call:
    """Hold one request exactly as it was sent: signatures are made over these very bytes."""

    method: str
    path: str
    query: str = ""
    """The raw query string, without the question mark."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""

    def form(self) -> list[tuple[str, str]]:
        """List the parameters of a form body, in order; a body that is no text has none."""
        try:
            text = self.body.decode()
        except UnicodeDecodeError:
            return []
        return parse_qsl(text, keep_blank_values=True)

    def query_pairs(self) -> list[tuple[str, str]]:
        """List the parameters of the query string, in order."""
        return parse_qsl(self.query, keep_blank_values=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """Hold what goes back: the status, the body's bytes and the headers."""

    status: int
    body: bytes
    headers: dict[str, str]


class Asked(NamedTuple):
    """Tell of one request that reached the exchange; `status` is None when it was dropped without an answer."""

    venue: str
    method: str
    path: str
    status: int | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Describe the next answer that is to be a failure; `retry_after` in seconds."""

    status: int
    retry_after: int
    message: str | None = None


class VenueSide(Protocol):
    """Answer calls as one venue does."""

    streams: VenueStreams
    """Its WebSocket side."""

    def answer(self, call: Call) -> Answer:
        """Answer one call."""
        ...

    def failure(self, failure: Failure) -> Answer:
        """Make the answer of a failure that was asked for."""
        ...


def compact_json(value: object) -> bytes:
    """Write JSON without spaces, keys in the order given, as both venues send it."""
    return orjson.dumps(value)


def without_parameter(text: bytes, name: str) -> bytes:
    """Cut one parameter out of a raw query or form, leaving every other byte as it was sent."""
    cut = re.sub(rb"(^|&)" + re.escape(name.encode()) + rb"=[^&]*", b"", text)
    return cut[1:] if cut.startswith(b"&") and not text.startswith(b"&") else cut
