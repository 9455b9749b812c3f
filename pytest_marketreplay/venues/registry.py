"""The venues that are known, and which of them a host belongs to.

Venues come from this package, from entry points of the group `marketreplay` (a module or object with the hook), and in a
test run from any plugin or `conftest.py` that implements `pytest_marketreplay_venues`.
"""

from __future__ import annotations

import copy
import fnmatch
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import pluggy

from pytest_marketreplay.errors import UsageMistake

if TYPE_CHECKING:
    from pytest_marketreplay.venues.profile import Venue

hookspec = pluggy.HookspecMarker("pytest")
hookimpl = pluggy.HookimplMarker("pytest")


class Hooks:
    """The hooks that third parties implement, in a plugin or a `conftest.py`."""

    @hookspec
    def pytest_marketreplay_venues(self) -> Iterable[Venue]:
        """Return venues to add; one with the name of a built-in venue takes its place."""
        return ()  # pragma: no cover - pluggy calls implementations, never the specification

    @hookspec
    def pytest_marketreplay_ignore_params(self, venue: str, endpoint: str) -> Iterable[str]:
        """Return names of parameters to leave out of a match, for one venue and endpoint."""
        return ()  # pragma: no cover - as above

    @hookspec
    def pytest_marketreplay_secret_params(self, venue: str) -> Iterable[str]:
        """Return names of parameters and headers to redact, on top of the venue's own."""
        return ()  # pragma: no cover - as above


@lru_cache(maxsize=1)
def _packaged() -> tuple[Venue, ...]:
    """Venues of this package and of entry points, once a process."""
    from pytest_marketreplay.venues import binance, bitstamp, bybit, coinbase, deribit, kraken, okx

    manager = pluggy.PluginManager("pytest")
    manager.add_hookspecs(Hooks)
    for module in (binance, kraken, coinbase, bybit, okx, bitstamp, deribit):
        manager.register(module)
    manager.load_setuptools_entrypoints("marketreplay")
    # pluggy calls the last registered first: turned round, a later venue of the same name replaces an earlier one
    return tuple(venue for group in reversed(manager.hook.pytest_marketreplay_venues()) for venue in group)


def _is_pattern(host: str) -> bool:
    return "*" in host or "?" in host or "[" in host[1:]  # `[::1]:8080` is an address


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


class Registry:
    """Which venue a host belongs to."""

    def __init__(
        self,
        more: Iterable[Venue] = (),
        hosts: Mapping[str, str] | None = None,
        *,
        ignore_params: Callable[..., frozenset[str]] | None = None,
        secret_params: Callable[..., frozenset[str]] | None = None,
    ) -> None:
        """Know the packaged venues and `more`; `hosts` maps a host (or pattern) to the name of a venue.

        A host without a port is meant for all of its ports. A name that no venue has is a new one with a generic profile.
        `ignore_params` and `secret_params` ask the hooks of the same names (lower-case names). Raises UsageMistake for an
        empty host or name, and for a URL in place of a host.
        """
        self.ignore_params = ignore_params
        self.secret_params = secret_params
        from pytest_marketreplay.venues.profile import Generic, Venue

        self._generic: type[Generic] = Generic
        self.venues: dict[str, Venue] = {venue.name: self._informed(venue) for venue in (*_packaged(), *more)}
        self._exact: dict[str, Venue] = {}
        self._patterns: list[tuple[str, Venue]] = []
        self.named: dict[str, Venue] = {}
        """Hosts that a user named; they are the network, even on loopback."""
        for host, name in (hosts or {}).items():
            if not host or not name:
                raise UsageMistake(f"marketreplay_hosts: {host!r} = {name!r} names no host or no venue")
            if "/" in host:  # it would match nothing, and everything would go out live and unrecorded
                raise UsageMistake(f"marketreplay_hosts: {host!r} is no host; say it without scheme and path")
            self.name(host, self.venues.get(name) or self.venues.setdefault(name, self._informed(Venue(name, ()))))
        for venue in self.venues.values():
            for host in venue.hosts:
                self._add(host.lower(), venue)

    def with_host(self, host: str, venue: Venue) -> Registry:
        """Return a registry that takes a host for a venue's; this one, which others may use too, stays as it is."""
        out = copy.copy(self)
        out.named, out._exact, out._patterns = dict(self.named), dict(self._exact), list(self._patterns)
        out.name(host, venue)
        return out

    def name(self, host: str, venue: Venue) -> None:
        """Take a host (or pattern) for a venue's, even on loopback."""
        self.named[host.lower()] = venue
        self._exact.pop(host.lower(), None)
        self._add(host.lower(), venue)

    def _add(self, host: str, venue: Venue) -> None:
        if _is_pattern(host):
            self._patterns.append((host, venue))
        else:
            self._exact.setdefault(host, venue)

    def of(self, host: str) -> Venue:
        """Return the venue of a host (`api.binance.com`, `127.0.0.1:8080`); a generic one for an unknown host."""
        venue = self._exact.get(host) or self.named.get(_without_port(host))
        if venue is None:
            for pattern, candidate in self._patterns:
                if fnmatch.fnmatchcase(host, pattern):
                    venue = candidate
                    break
            else:
                venue = self._informed(self._generic(host))
            self._exact[host] = venue
        return venue

    def _informed(self, venue: Venue) -> Venue:
        """Return a venue that takes what the hook names for secrets; a copy, because others use the venue too."""
        if self.secret_params is None:
            return venue
        mine = copy.copy(venue)
        mine.rules = copy.copy(venue.rules)
        mine.rules.add(self.secret_params(venue=venue.name))
        return mine

    def is_named(self, host: str) -> bool:
        """Tell whether a user named this host as a venue's; a name without a port is meant for all ports."""
        if host in self.named or _without_port(host) in self.named:
            return True
        return any(_is_pattern(pattern) and fnmatch.fnmatchcase(host, pattern) for pattern in self.named)

    def by_folder(self, folder: str) -> Venue:
        """Return the venue whose answers stand in this folder of the tree."""
        from pytest_marketreplay.cassette.names import venue_folder

        for venue in self.venues.values():
            if venue_folder(venue.name) == folder:
                return venue
        return self._generic(folder.replace("%3A", ":"))
