"""What an injected fault says: the bodies of errors, and books that are crossed."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from itertools import islice

import msgspec
import orjson

from pytest_marketreplay.cassette.entry import Meta
from pytest_marketreplay.replay.answer import Answer
from pytest_marketreplay.replay.faults.plan import Fault
from pytest_marketreplay.venues.profile import Venue

_NUMBER = rb'"[-+0-9.eE]+"'
_FIRST = rb'"%b"\s*:\s*(?:\[\s*(\[[^][{}]*\]|\{[^][{}]*\}|' + _NUMBER + rb")|(" + _NUMBER + rb"%b))"
# only fields with a long name may hold a bare number: `a` and `b` of a trade are the ids of its orders
_SIDES = [
    tuple(re.compile(_FIRST % (name, rb"|[-+0-9.eE]+" if len(name) > 2 else b"")) for name in names)
    for names in ((b"bids", b"asks"), (b"b", b"a"), (b"bs", b"as"), (b"bidPrice", b"askPrice"), (b"bid", b"ask"))
]
_MOST_TRIED = 8
_RETRY_AFTER_S = 1
_TIMEOUT_S = 10.0
_BRACKETS = re.compile(rb"[][{}]")


def said(rule: Fault, venue: Venue) -> Answer:
    """Return what a request gets by a rule, where that does not depend on what is recorded."""
    if rule.kind == "skew":
        return _error(*venue.clock_error(), None)
    if rule.kind in ("timeout", "refused", "reset"):
        seconds = float(rule.arguments.get("seconds", _TIMEOUT_S)) if rule.kind == "timeout" else 0.0
        return _failing(rule.kind, seconds)
    return _error(int(rule.kind), venue.error_body(int(rule.kind)), retry_after(rule))


def retry_after(rule: Fault) -> int | None:
    """Return what stands in `Retry-After`, in seconds; None: there is none."""
    seconds: int | None = rule.arguments.get("retry_after", _RETRY_AFTER_S if rule.kind in ("429", "418") else None)
    return seconds


def _failing(kind: str, seconds: float) -> Answer:
    """Return a failure instead of an answer."""
    error = {"timeout": "read_timeout", "refused": "connect", "reset": "reset"}[kind]
    return Answer(Meta(method="GET", status=0, latency_ms=seconds * 1000, error=error), b"")


def _error(status: int, value: object, retry_after: int | None) -> Answer:
    body = orjson.dumps(value)
    headers: dict[str, str | list[str]] = {"content-type": "application/json", "content-length": str(len(body))}
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    return Answer(Meta(method="GET", status=status, headers=headers), body)


def truncated(answer: Answer, keep: int | None) -> Answer:
    """Return an answer whose body breaks off after so many bytes (None: half of it)."""
    size = len(answer.body) // 2 if keep is None else min(keep, len(answer.body) - 1)
    return Answer(msgspec.structs.replace(answer.meta, error="incomplete"), answer.body[:size])


def crossed(data: bytes) -> bytes | None:
    """Return a payload whose first book (or ticker) has its best bid and best ask exchanged; None where it has none.

    The two change places as they are written; everything else, white space included, stays as it is.
    """
    for names in _SIDES:
        for bid in islice(names[0].finditer(data), _MOST_TRIED):
            ask = _beside(names[1], data, bid)
            if ask is None or bid.lastindex != ask.lastindex:
                continue
            first, second = sorted((_span(bid), _span(ask)))
            swapped = data[second[0] : second[1]], data[first[1] : second[0]], data[first[0] : first[1]]
            return data[: first[0]] + b"".join(swapped) + data[second[1] :]
    return None


def _span(match: re.Match[bytes]) -> tuple[int, int]:
    return match.span(match.lastindex or 0)


def _beside(pattern: re.Pattern[bytes], data: bytes, other: re.Match[bytes]) -> re.Match[bytes] | None:
    """Return the other side of the same book: a field of the same object, before or after."""
    for match in _near(pattern, data, other):
        first, second = sorted((match, other), key=lambda each: each.start())
        # what the first field opens is closed before the second begins, and their object is not left
        depth = 0
        for bracket in _BRACKETS.finditer(data, first.start(), second.start()):
            depth += 1 if bracket[0] in b"[{" else -1
            if depth < 0:
                break
        if depth == 0:
            return match
    return None


def _near(pattern: re.Pattern[bytes], data: bytes, other: re.Match[bytes]) -> Iterator[re.Match[bytes]]:
    after = pattern.search(data, other.end())
    if after is not None:
        yield after
    yield from deque(pattern.finditer(data, 0, other.start()), maxlen=1)
