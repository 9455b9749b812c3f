"""What the native sides of venues share: a session reads a client's messages and answers in the venue's shape."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from urllib.parse import unquote

import orjson

from pytest_marketreplay.cassette.frame import any_json
from pytest_marketreplay.cassette.redaction import SECRETS
from pytest_marketreplay.cassette.request import query_pairs

from .client import Client
from .pump import Pump, Render
from .tally import Miss, Tally
from .timeline import Route, Router, Timeline

_MOST_NEAR = 5
_LONGEST_SHOWN = 200


class Session(Protocol):
    """One client's connection to a venue whose protocol is known."""

    async def start(self) -> None:
        """Say what the venue says first, and subscribe to what the URL names."""
        ...

    async def message(self, data: bytes) -> None:
        """Answer a message of the client."""
        ...


class Native(Protocol):
    """A venue's side: how its messages are told apart, and how clients subscribe."""

    def router(self) -> Router:
        """Make a router for one timeline."""
        ...

    def names(self, path: str, query: str) -> list[Route] | None:
        """Return the streams that a URL names; None where the path is not one that clients subscribe on."""
        ...

    def session(self, path: str, names: list[Route], client: Client, pump: Pump, desk: Desk) -> Session:
        """Make the session of one connection."""
        ...

    def render(self, path: str) -> Render:
        """Return what gives a message the form of an endpoint."""
        ...


class Desk:
    """Where a session looks up what is recorded, and notes what is not."""

    def __init__(self, venue: str, timeline: Timeline, router: Router, tally: Tally, now_ns: Callable[[], int]) -> None:
        self.venue, self.timeline, self.router = venue, timeline, router
        self._tally, self.now_ns = tally, now_ns

    def has(self, route: Route) -> bool:
        """Tell whether a stream is recorded; one that was subscribed and stayed silent is."""
        return route in self.timeline.streams

    def miss(self, asked: str, route: Route | None = None) -> str:
        """Note that something is not recorded; returns the explanation."""
        return self._tally.miss(Miss(self.venue, "websocket", shown(asked), self.explain(route))).explanation

    def explain(self, route: Route | None) -> str:
        """Tell what is recorded that is nearest to a stream."""
        recorded = sorted(" ".join(one) for one in self.timeline.streams)
        if not recorded:
            return "no stream of this venue is recorded"
        near = difflib.get_close_matches(" ".join(route or ()), recorded, _MOST_NEAR, 0.3) or recorded[:_MOST_NEAR]
        more = f" (and {len(recorded) - len(near)} more)" if len(recorded) > len(near) else ""
        return f"not in this recording; recorded: {', '.join(near)}{more}"


def shown(text: str) -> str:
    """Return what a client sent for people: no secret that is known, not too long."""
    return SECRETS.scrub(text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "...")


def dumps(value: Any) -> bytes:
    """Write JSON as exchanges do: compact."""
    return orjson.dumps(value)


def message_object(data: bytes) -> dict[str, Any] | None:
    """Read a client's message; None where it is no JSON object."""
    value = any_json(data)
    return value if isinstance(value, dict) else None


def texts(value: Any) -> list[str]:
    """Return the texts of a list; a single text is one too."""
    items: Iterable[Any] = value if isinstance(value, list) else () if value is None else (value,)
    return [str(item) for item in items]


def url_names(path_part: str, query: str) -> list[str]:
    """Return the names between slashes in a path's end, and in the parameter `streams`."""
    named = [unquote(path_part), *(value for name, value in query_pairs(query) if name == "streams")]
    return [name for part in named for name in part.split("/") if name]
