"""What a request is: whose it is, where its answer stands, and its key. Taken apart once, remembered while it is polled."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Iterable
from typing import NamedTuple
from weakref import WeakKeyDictionary

from pytest_marketreplay.cassette import request as requests_
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.request import WEBSOCKET, Asked
from pytest_marketreplay.config import Settings, is_loopback
from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.replay import explain, keeping
from pytest_marketreplay.replay.matching import Key, Matcher
from pytest_marketreplay.venues.profile import Location, Venue
from pytest_marketreplay.venues.registry import Registry

_MOST_KNOWN = 512
_LONGEST_KNOWN = 4096
_MASK = 4095


class _Shared:
    """What all sessions of one registry know of names; a session of three requests would not earn it back."""

    def __init__(self) -> None:
        self.matchers: dict[tuple[str, frozenset[str]], Matcher] = {}
        self.headers: dict[str, dict[str | bytes, bool]] = {}


_SHARED: WeakKeyDictionary[Registry, _Shared] = WeakKeyDictionary()


class Known(NamedTuple):
    """A request, taken apart."""

    venue: Venue
    asked: Asked
    location: Location
    place: Place
    key: Key
    secrets: tuple[str, ...]
    """What in its URL and body is secret."""


class Recogniser:
    """Takes requests apart for one session. Safe under threads."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self.registry, self._settings = registry, settings
        shared = _SHARED.get(registry)
        if shared is None:
            shared = _SHARED[registry] = _Shared()
        self._matchers, self._headers = shared.matchers, shared.headers
        self._known: dict[tuple[str, str, bytes | None], Known | None] = {}
        self._seen = bytearray(_MASK + 1)
        self._hosts: dict[str, tuple[bool, Venue, Matcher]] = {}
        self._lock = threading.Lock()

    def recognise(self, method: str, url: str, body: bytes | str | None, *, unread: bool) -> Known | None:
        """Take a request apart; None where its host is no exchange's."""
        raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
        remember = not unread and (raw is None or len(raw) <= _LONGEST_KNOWN)
        if remember:
            try:
                return self._known[method, url, raw]
            except KeyError:
                pass
        asked = requests_.parse(method, url, raw, unread=unread)
        if method == WEBSOCKET:
            asked = requests_.without_stream_keys(asked)
        known = None
        host = self._hosts.get(asked.host)
        if host is None:
            venue = self.registry.of(asked.host)
            host = self._hosts[asked.host] = (self.covers(asked.host), venue, self.matcher(venue))
        covered, venue, matcher = host
        if covered:
            websocket = method == WEBSOCKET
            location = venue.locate_stream(asked) if websocket else venue.locate(asked)
            place = Place(*explain.place_of(venue.name, location.endpoint, location.symbol, websocket=websocket))
            known = Known(venue, asked, location, place, matcher.of_request(asked), matcher.secrets(asked))
        if remember:
            # remembered at the second time: a client that polls asks again, one that pages through history never does
            again = hash((method, url, raw)) & _MASK
            if self._seen[again]:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[method, url, raw] = known
            self._seen[again] = 1
        return known

    def secrets(
        self, known: Known, headers: Iterable[tuple[str | bytes, str | bytes]]
    ) -> tuple[tuple[str, ...], dict[str, str] | None]:
        """Return the secrets that a request carries, and those of its headers that may be stored (None: none may)."""
        noted = self._headers.get(known.venue.name)
        if noted is None:
            noted = self._headers[known.venue.name] = {}
        telling = []
        for pair in headers:
            name = pair[0]
            matters = noted.get(name)
            if matters is None:
                matters = noted[name] = keeping.header_matters(known.venue, name)
            if matters:
                telling.append(pair)
        if not telling:
            return known.secrets, None
        found, stored = keeping.header_secrets(known.venue, telling)
        return (*known.secrets, *found), stored

    def name_host(self, host: str, venue: str) -> None:
        """Take a host (`127.0.0.1:8080`) for a venue's from now on. Raises UsageMistake for an unknown venue."""
        if venue not in self.registry.venues:
            raise UsageMistake(f"no venue is named {venue!r}; known are {', '.join(sorted(self.registry.venues))}")
        with self._lock:
            self.registry = self.registry.with_host(host, self.registry.venues[venue])
            self._known.clear()
            self._hosts.clear()

    def covers(self, host: str) -> bool:
        """Tell whether a host (with its port) is an exchange's: what a user named, and all that is not on loopback."""
        bare = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
        return self.registry.is_named(host) or not (is_loopback(bare) or self.allows(host) or self.allows(bare))

    def allows(self, host: str) -> bool:
        """Tell whether `allow_hosts` opens a host."""
        return any(fnmatch.fnmatchcase(host.lower(), pattern) for pattern in self._settings.allow_hosts)

    def matcher(self, venue: Venue) -> Matcher:
        """Return what makes the keys of a venue."""
        matcher = self._matchers.get((venue.name, self._settings.ignore_params))
        if matcher is None:
            ignore_at = self.registry.ignore_params
            matcher = Matcher(venue, self._settings.ignore_params, ignore_at)
            self._matchers[venue.name, self._settings.ignore_params] = matcher
        return matcher

    def matcher_of_folder(self, folder: str) -> Matcher:
        """Return what makes the keys of the venue whose answers stand in this folder."""
        return self.matcher(self.registry.by_folder(folder))
