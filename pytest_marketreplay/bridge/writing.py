"""From interactions to lines: times, places and redaction are those of a live recording."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from pytest_marketreplay.bridge.interaction import Interaction
from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import payload
from pytest_marketreplay.cassette import request as requests_
from pytest_marketreplay.cassette.entry import Meta
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.redaction import SECRETS, SHORTEST
from pytest_marketreplay.cassette.request import Asked
from pytest_marketreplay.replay import explain, keeping
from pytest_marketreplay.venues.profile import Venue
from pytest_marketreplay.venues.registry import Registry

_WORDS = tuple(
    re.compile(pattern % SHORTEST)
    for pattern in (rb'"((?:[^"\\]|\\.){%d,})"', rb"[\w.~%%+-]{%d,}", rb"[\w.~%%+/=-]{%d,}")
)
"""A secret in a text is a quoted value, a plain word, or base64."""


def times(moments: Sequence[int | None], saved_ms: int) -> list[int]:
    """Return a time (epoch milliseconds) for each interaction, always later than that of the one before.

    One that does not say its time comes a millisecond after the one before it; where none says it, the last was
    recorded when the cassette was saved.
    """
    first = next((number for number, moment in enumerate(moments) if moment is not None), None)
    if first is None:
        latest = saved_ms - len(moments)
    else:
        latest = (moments[first] or 0) - first - 1
    out = []
    for moment in moments:
        latest = latest + 1 if moment is None else max(moment, latest + 1)
        out.append(latest)
    return out


class Told(NamedTuple):
    """An interaction whose request is taken apart."""

    interaction: Interaction
    asked: Asked
    venue: Venue
    secrets: list[str]
    request_headers: dict[str, str] | None
    """Those that the venue allows to be stored."""


class Written(NamedTuple):
    """A line and where it belongs."""

    place: Place
    line: bytes
    redacted: bool


def tell(interaction: Interaction, registry: Registry) -> Told:
    """Take a request apart."""
    asked = requests_.parse(interaction.method, interaction.url, interaction.request_body)
    venue = registry.of(asked.host)
    found, stored = keeping.request_secrets(venue, asked, interaction.request_headers)
    return Told(interaction, asked, venue, found, stored)


class Writer:
    """Makes lines of one cassette's interactions.

    A live recording can only look for secrets that were sent before; here all are known, so that the answer of a login
    loses the token that later requests carry.
    """

    def __init__(self, told: Sequence[Told]) -> None:
        self._secrets = {
            secret.encode("utf-8", "surrogatepass"): secret for one in told for secret in one.secrets if secret
        }

    def write(self, told: Told, timestamp_ms: int, meta_of: Callable[[Told], Meta] = lambda _: Meta()) -> Written:
        """Return the line of an interaction; `meta_of` gives the `meta` to fill, once its secrets are known."""
        interaction, asked, venue = told.interaction, told.asked, told.venue
        self._remember(told)
        clean = keeping.clean_path(asked)
        kept = keeping.redact_answer(
            venue, venue.locate(clean).endpoint, interaction.reason, interaction.headers, interaction.body
        )
        line = keeping.line(
            venue,
            clean,
            timestamp_ms,
            msgspec.structs.replace(
                meta_of(told),
                method=asked.method,
                status=interaction.status,
                reason=kept.reason if kept.reason != entries.standard_reason(interaction.status) else None,
                version=interaction.version if interaction.version != "1.1" else None,
                headers=entries.header_object(kept.headers),
                request_headers=told.request_headers,
                body=asked.body_kind,
                content_encoding=interaction.content_encoding,
                redacted=kept.replaced or None,
            ),
            payload.encode(kept.body),
        )
        location = venue.locate(clean)
        place = Place(*explain.place_of(venue.name, location.endpoint, location.symbol))
        return Written(place, line, bool(told.secrets or kept.replaced or kept.headers != interaction.headers))

    def _remember(self, told: Told) -> None:
        """Have this request's secrets looked for, and those of the cassette's other requests that its text holds."""
        if not self._secrets:
            return
        texts = [told.interaction.body, told.interaction.url.encode("utf-8", "replace"), told.interaction.request_body]
        texts += [value.encode("utf-8", "replace") for _, value in told.interaction.headers]
        words = {word for text in texts if text for pattern in _WORDS for word in pattern.findall(text)}
        others = [self._secrets[word] for word in words & self._secrets.keys()]
        SECRETS.add([*others, *told.secrets])
