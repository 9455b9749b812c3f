"""Fault rules: what happens, to which requests or frames, and how often."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

from pytest_marketreplay.errors import UsageMistake

REQUESTS: Mapping[str, str] = {
    "429": "rate limited, with Retry-After",
    "418": "banned, with Retry-After (Binance)",
    "500": "internal server error",
    "502": "bad gateway",
    "503": "unavailable",
    "504": "gateway timeout",
    "timeout": "no answer before the client's timeout",
    "refused": "the connection is refused",
    "reset": "the connection is reset instead of an answer",
    "truncated": "the body breaks off in the middle",
    "skew": "the client's clock is off: the venue refuses its timestamp or nonce",
}
"""Faults of requests. The recorded answer is not used up: it plays when the client asks again."""

UPGRADES = frozenset(("429", "418", "500", "502", "503", "504", "timeout", "refused", "reset"))
"""Faults of requests that also happen to the upgrade to a WebSocket, which is a request."""

FRAMES: Mapping[str, str] = {
    "disconnect": "the connection is lost; a client that connects again goes on where it was",
    "gap": "the frame is dropped",
    "duplicate": "the frame comes twice",
    "reorder": "the frame comes after its successor",
}
"""Faults of WebSocket frames that carry a message."""

BOTH: Mapping[str, str] = {
    "stale": "what was said before comes again: a request gets its previous answer, a frame comes after an older one",
    "crossed": "the best bid and the best ask of a book change places",
}
"""Faults of either; what they cannot happen to (no book, nothing said before) they pass over."""

KINDS: Mapping[str, str] = {**REQUESTS, **FRAMES, **BOTH}
ALL = "_all"
"""The symbol of what belongs to no single one, as in the tree."""


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9


def _offset(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _close_code(value: Any) -> bool:
    # RFC 6455, 7.4: 1004 to 1006 and 1015 never stand in a close frame
    return _count(value) and (value in (1000, 1001, 1002, 1003) or 1007 <= value <= 1014 or 3000 <= value <= 4999)


class _Argument(NamedTuple):
    is_right: Callable[[Any], bool]
    wanted: str


_RETRY_AFTER = _Argument(lambda value: value is None or _count(value), "whole seconds, or None for no Retry-After")
_STRICT = _Argument(lambda value: isinstance(value, bool), "True or False")
_ARGUMENTS: Mapping[str, Mapping[str, _Argument]] = {
    "429": {"retry_after": _RETRY_AFTER, "strict": _STRICT},
    "418": {"retry_after": _RETRY_AFTER, "strict": _STRICT},
    "503": {"retry_after": _RETRY_AFTER, "strict": _STRICT},
    "timeout": {"seconds": _Argument(_seconds, "seconds above 0")},
    "truncated": {"keep": _Argument(_count, "a number of bytes")},
    "disconnect": {"code": _Argument(lambda value: value is None or _close_code(value), "a close code that is sent")},
    "skew": {"seconds": _Argument(_offset, "seconds, below 0 for a clock that is behind")},
}


@dataclass(frozen=True)
class Fault:
    """One rule.

    It counts the requests or frames that it fits and that it can happen to, from 1, and acts on number `at` and the
    `times - 1` after it; with `every`, again after each so many; with `rate`, on each with this probability, drawn from
    `seed` (then `at`, `times` and `every` mean nothing). Where another rule acts already, one that counts waits for the
    next.
    """

    kind: str
    venue: str | None = None
    endpoint: str | None = None
    """The path, as it is asked or as it stands in the entries: `/api/v3/depth`; for a connection that of its URL. None:
    all."""
    symbol: str | None = None
    """As in the tree: `BTCUSDT`, `BTC-USD`, `_all` for what belongs to no single one. None: all."""
    at: int = 1
    times: int = 1
    every: int | None = None
    rate: float | None = None
    seed: int = 0
    number: int | None = None
    """Instead of all these: exactly this request or frame of its venue, endpoint and symbol, as `exactly()` tells it."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """`retry_after` in whole seconds, `strict`, `seconds`, `keep` in bytes, `code` a close code instead of a lost
    connection."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageMistake(f"no fault is named {self.kind!r}; there are {', '.join(KINDS)}")
        for name in ("at", "times", "every", "number"):
            value = getattr(self, name)
            if not (_count(value) and value) and not (value is None and name in ("every", "number")):
                raise UsageMistake(f"a fault counts from 1: {name}={value!r}")
        if self.every is not None and self.every < self.times:
            raise UsageMistake(f"every={self.every} is less than times={self.times}: that is always")
        if self.rate is not None and (not isinstance(self.rate, int | float) or not 0 <= self.rate <= 1):
            raise UsageMistake(f"rate={self.rate!r} is no probability; it is between 0 and 1")
        for name in ("venue", "endpoint", "symbol"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value):
                raise UsageMistake(f"{name}={value!r} is no name; None means all")
        if self.endpoint is not None and not self.endpoint.startswith("/"):
            raise UsageMistake(f"endpoint={self.endpoint!r} is no path: it begins with a slash, as in '/api/v3/depth'")
        known = _ARGUMENTS.get(self.kind, {})
        for name, value in self.arguments.items():
            if name not in known:
                names = ", ".join(sorted(known)) or "no arguments"
                raise UsageMistake(f"the fault {self.kind!r} has no argument {name!r}; it has {names}")
            if not known[name].is_right(value):
                raise UsageMistake(f"{name}={value!r} of the fault {self.kind!r}: wanted is {known[name].wanted}")

    def fits(self, place: Place) -> bool:
        """Tell whether it is about this venue, endpoint and symbol."""
        return (
            self.venue in (None, place.venue)
            and (self.endpoint is None or self.endpoint in (place.endpoint, place.path))
            and (self.symbol is None or self.symbol.casefold() == place.symbol.casefold())
        )

    def code(self) -> str:
        """Return the arguments of `inject` that make this rule, as Python."""
        parts = [repr(self.kind)]
        usual = {"at": 1, "times": 1, "seed": 0}
        for name in ("venue", "endpoint", "symbol", "number", "at", "times", "every", "rate", "seed"):
            value = getattr(self, name)
            if value != usual.get(name):
                parts.append(f"{name}={value!r}")
        parts += [f"{name}={value!r}" for name, value in self.arguments.items()]
        return ", ".join(parts)


class Place(NamedTuple):
    """What is counted apart: the requests, upgrades and frames of one endpoint and symbol."""

    side: str
    """`request` or `frame`."""
    venue: str
    endpoint: str
    symbol: str
    path: str
    """The endpoint as it was asked for."""


@dataclass(frozen=True)
class Injected:
    """One fault that happened."""

    kind: str
    number: int
    """Which request or frame of its venue, endpoint and symbol it was, from 1."""
    where: str
    """What it happened to: the request, or the connection and the frame."""
    rule: Fault
    """What made it happen."""
    again: Fault
    """The rule that makes this very fault happen again, whatever the seed and whatever else is injected."""


class Counter:
    """One rule and how far it has counted."""

    def __init__(self, rule: Fault) -> None:
        self.rule = rule
        self.count = 0
        self.happened = 0
        """How often it acted."""
        self.owed = 0
        """How often another rule acted in its place."""

    def acts(self, place: Place, number: int) -> bool:
        """Count one more, and tell whether the fault happens to it: number so many of its place."""
        rule = self.rule
        self.count += 1
        if rule.number is not None:
            return number == rule.number
        if rule.rate is not None:
            return _draw(rule, place, number) < rule.rate
        past = self.count - rule.at
        if rule.every is not None and past >= 0:
            past %= rule.every
        return 0 <= past < rule.times


def _draw(rule: Fault, place: Place, number: int) -> float:
    """Return a number from 0 to 1 that only the seed and the place make: in threads the order of requests varies."""
    what = repr((rule.seed, rule.kind, place.side, place.venue, place.endpoint, place.symbol, number))
    return int.from_bytes(blake2b(what.encode(), digest_size=7).digest(), "big") / float(1 << 56)
