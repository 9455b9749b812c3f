"""When a request and a recorded one are the same: method, endpoint and parameters, without what is new in every call.

Names are compared without case, the order of parameters does not count, nor whether they stood in the query or in the
body. A secret matches any other value of the same name, so that signed requests replay with other credentials.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.cassette.redaction import PLACEHOLDER, placeholder
from pytest_marketreplay.cassette.request import WHOLE, Params, dump_json, stored_params
from pytest_marketreplay.replay import keeping

if TYPE_CHECKING:
    from pytest_marketreplay.cassette.entry import Head
    from pytest_marketreplay.cassette.request import Asked
    from pytest_marketreplay.venues.profile import Venue

Key = tuple[str, str, tuple[tuple[str, str], ...]]
"""Method, endpoint, sorted parameters (lower-case name, value)."""

_SKIP, _KEEP = 0, 1
_MOST_NAMES = 10_000


class Matcher:
    """Makes keys for one venue."""

    def __init__(
        self, venue: Venue, ignore: Iterable[str] = (), ignore_at: Callable[..., frozenset[str]] | None = None
    ) -> None:
        """Make keys without the venue's volatile parameters and without `ignore` (lower case).

        `ignore_at` gives more names for one endpoint: it is called with `venue` and `endpoint`.
        """
        self.venue = venue
        self._ignore_at = ignore_at
        self._ignored_at: dict[str, frozenset[str]] = {}
        self._ignored = venue.volatile | frozenset(ignore)
        self._names: dict[str, tuple[str, int | str]] = {}
        self._innocent: dict[str, bool] = {}

    def _name(self, name: str) -> tuple[str, int | str]:
        """Return the lower-case name and what to do with its value: skip, keep, or how it is redacted."""
        known = self._names.get(name)
        if known is None:
            lower = name.lower()
            rule: int | str = (
                _SKIP if lower in self._ignored else (self.venue.rules.kind(name) if name else None) or _KEEP
            )
            known = (lower, rule)
            if len(self._names) < _MOST_NAMES:
                self._names[name] = known
        return known

    def secrets(self, asked: Asked) -> tuple[str, ...]:
        """Return the secrets in a request's URL and body."""
        innocent = self._innocent
        for name, value in asked.params:
            known = innocent.get(name)
            if known is None:
                known = name != WHOLE and self.venue.rules.kind(name) is None
                if len(innocent) < _MOST_NAMES:
                    innocent[name] = known
            if not known or type(value) is not str:
                break
        else:
            if not asked.userinfo and not asked.path_secrets:
                return ()  # what nearly every call for market data is: no name in it is suspicious
        return tuple(keeping.url_secrets(self.venue, asked))

    def of_request(self, asked: Asked) -> Key:
        """Return the key of a request."""
        endpoint = self.venue.endpoint(asked.path)
        return asked.method, endpoint, self._params(endpoint, asked.params)

    def of_head(self, head: Head) -> Key:
        """Return the key of a recorded entry."""
        params = head.params
        meta = head.meta
        pairs: Any = params.items()
        if meta.body is not None:
            pairs = stored_params(params, meta.body)
        else:
            for value in params.values():  # a loop: `all` over a generator takes three times as long, line by line
                if type(value) is not str:
                    pairs = stored_params(params, None)
                    break
        endpoint = self.venue.endpoint(head.endpoint)
        return meta.method.upper(), endpoint, self._params(endpoint, pairs)

    def without_volatile(self, value: Any) -> Any:
        """Return a JSON value without volatile fields, and with placeholders for secrets."""
        return self._strip(value)

    def _params(self, endpoint: str, params: Collection[tuple[str, Any]]) -> tuple[tuple[str, str], ...]:
        out = []
        if self._ignore_at is not None:
            names = self._ignored_at.get(endpoint)
            if names is None:
                names = self._ignored_at[endpoint] = self._ignore_at(venue=self.venue.name, endpoint=endpoint)
            params = [pair for pair in params if pair[0].lower() not in names]
        names_known = self._names
        for name, value in params:
            lower, rule = names_known.get(name) or self._name(name)
            if rule == _KEEP:
                if type(value) is str and lower != "id":  # nearly all there is
                    out.append((lower, value if lower else self.venue.rules.redact_text(value)))
                elif lower != "id" or not any(name == "jsonrpc" for name, _ in params):  # JSON-RPC numbers its calls
                    out.append(
                        (lower, value if type(value) is str else "\0" + dump_json(self._strip(value), canonical=True))
                    )
            elif rule != _SKIP:
                out.append((lower, self._secret(value, str(rule))))
        out.sort()
        return tuple(out)

    def _secret(self, value: Any, kind: str) -> str:
        if isinstance(value, str):
            return _placeholder(value, kind)
        if isinstance(value, dict | list):
            return "\0" + dump_json(self._strip(value, kind), canonical=True)
        return str(value) if value is None or isinstance(value, bool) else placeholder(str(value), kind)

    def _strip(self, value: Any, kind: str | None = None) -> Any:
        """Return a JSON value without volatile fields, and with placeholders for secrets."""
        if isinstance(value, dict):
            out = {}
            for name, item in value.items():
                lower, rule = self._name(name)
                if rule != _SKIP and not (lower == "id" and "jsonrpc" in value):
                    out[name] = self._strip(item, kind if rule == _KEEP else str(rule))
            return out
        if isinstance(value, list):
            return [self._strip(item, kind) for item in value]
        if kind and value not in (None, "") and not isinstance(value, bool):
            return _placeholder(str(value), kind)
        return value


def _placeholder(text: str, kind: str) -> str:
    # a listen key out of an answer that was played is a placeholder of its own length; stored is the short one
    return text if kind != "certain" and text.startswith(PLACEHOLDER) else placeholder(text, kind)


def differences(asked: tuple[tuple[str, str], ...], recorded: tuple[tuple[str, str], ...]) -> list[str]:
    """Tell in words how two lists of parameters differ."""
    out = []
    left, right = _grouped(asked), _grouped(recorded)
    for name in sorted(left.keys() | right.keys()):
        mine, theirs = left.get(name), right.get(name)
        label = name or "the body"
        if mine == theirs:
            continue
        if theirs is None:
            out.append(f"{label}: {mine} asked, not in the recording")
        elif mine is None:
            out.append(f"{label}: {theirs} recorded, not asked")
        else:
            out.append(f"{label}: {mine} asked, {theirs} recorded")
    return out


def _grouped(params: tuple[tuple[str, str], ...]) -> dict[str, str]:
    out: dict[str, list[str]] = {}
    for name, value in params:
        out.setdefault(name, []).append(_shown(value))
    return {name: ", ".join(values) for name, values in out.items()}


def _shown(value: str) -> str:
    text = value.removeprefix("\0")
    return repr(text) if len(text) <= 80 else repr(text[:77] + "...")


def show(method: str, target: str, params: Params | tuple[tuple[str, str], ...]) -> str:
    """Return a request in one line for people; parameters are expected redacted."""
    shown = "&".join(
        f"{name}={str(value).removeprefix(chr(0))}" if name != WHOLE else _shown(str(value)) for name, value in params
    )
    return f"{method} {target}{'?' + shown if shown else ''}"
