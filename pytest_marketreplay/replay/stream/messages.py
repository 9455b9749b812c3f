"""What a client's message is: without its secrets, and without what is new in every run, so that two can be compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from pytest_marketreplay.cassette.frame import any_json
from pytest_marketreplay.cassette.redaction import PLACEHOLDER, SECRETS
from pytest_marketreplay.cassette.request import WHOLE, dump_json, hide_stream_keys, parse_json
from pytest_marketreplay.replay.matching import Matcher
from pytest_marketreplay.venues.profile import Venue

_LOGIN = re.compile(r"auth|log[_-]?(?:in|on)(?![a-z])|(?<![a-z])sign(?:in)?(?![a-z])", re.IGNORECASE)
"""Verbs that log in: `login`, `session.logon`, `authKeyExpires` (BitMEX), `user.auth` (Phemex), `server.sign` (CoinEx)."""
_GREETINGS = frozenset(("systemStatus", "status", "info", "welcome", "connected"))
_VERBS = ("op", "event", "method", "type", "action", "cmd", "command")
_NUMBER = re.compile(r"[+-]?[0-9]*\.?[0-9]+")
_TOKEN = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?=[^\d\W]*\d)(?=\d*[^\d\W])[\w~+/=]{16,}")
"""A UUID, or as many letters and digits as no name of a subprotocol has without a dot or a hyphen."""
_TIME = re.compile(r"1[0-9]{9}(?:[0-9]{3}){0,3}(?:\.[0-9]+)?")
"""Seconds to nanoseconds since 1970."""
_REQUEST_ID = rb'("%b"\s*:\s*)%b(?=\s*[,}])'


def redacted(venue: Venue, data: bytes) -> tuple[bytes, list[str]]:
    """Return a client's message without its secrets, and the secrets; without any, the message as it is.

    All that a login carries in a list without names is one (`{"op":"auth","args":["key",1662350400000,"signature"]}`).
    """
    try:
        value = parse_json(data)
    except ValueError:  # UnicodeDecodeError is one
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return data, []
        found: list[str] = []
        clean = venue.rules.redact_text(text, found)
        return (clean.encode(), _telling(found)) if found else (data, [])
    found = []
    hidden = hide_stream_keys(data.decode(), found)
    if found:
        value = parse_json(hidden)
    if isinstance(value, dict):
        clean_value: Any = dict(venue.rules.redact_params(tuple(value.items()), found))
        if _is_login(value):
            for name in ("args", "params", "param"):
                if isinstance(items := clean_value.get(name), list):
                    clean_value[name] = [_hidden(item, found) for item in items]
    else:
        ((_, clean_value),) = (
            venue.rules.redact_params(((WHOLE, value),), found) if not isinstance(value, str) else ((WHOLE, value),)
        )
    return (dump_json(clean_value).encode(), _telling(found)) if found else (data, [])


def _telling(found: list[str]) -> list[str]:
    """Leave out times (when a login expires, its nonce): hidden too, but frames of the market are full of such numbers."""
    return [secret for secret in found if not _TIME.fullmatch(secret)]


def _is_login(value: dict[str, Any]) -> bool:
    return any(isinstance(verb := value.get(name), str) and _LOGIN.search(verb) for name in _VERBS)


def _shape(value: Any) -> Any:
    """Return a value with nothing in it: two logins are the same whatever key, time and signature they carry."""
    if isinstance(value, dict):
        return {name: _shape(item) for name, item in value.items()}
    return [_shape(item) for item in value] if isinstance(value, list) else PLACEHOLDER


def _hidden(item: Any, found: list[str]) -> Any:
    if not isinstance(item, str | int) or isinstance(item, bool) or str(item).startswith(PLACEHOLDER):
        return item
    found.append(str(item))
    return PLACEHOLDER


def clean_subprotocol(name: str) -> tuple[str, list[str]]:
    """Return a subprotocol without a token in it, and the token: a browser's clients can give theirs nowhere else."""
    found = _TOKEN.findall(name)
    return SECRETS.scrub(_TOKEN.sub(PLACEHOLDER, name)), found


def chosen_subprotocol(recorded: str | None, offered: str) -> str | None:
    """Return the subprotocol that the exchange chooses: of those that the client offers now, the recorded one.

    `offered` is the client's header. One that carries a token was stored without it, and has this run's token again.
    """
    mine = (name.strip() for name in offered.split(","))
    known = recorded.lower() if recorded is not None else None
    return next((name for name in mine if clean_subprotocol(name)[0].lower() == known), recorded)


class Message:
    """One message of a client, as it is compared."""

    __slots__ = ("ids", "is_keepalive", "text")

    def __init__(self, matcher: Matcher, data: bytes, *, binary: bool = False) -> None:
        venue = matcher.venue
        clean, _ = redacted(venue, data)
        self.ids: dict[str, bytes] = {}
        """Top-level names that number the message, and the numbers as they are spelt."""
        try:
            value = parse_json(clean)
        except ValueError:
            text = clean.hex() if binary else clean.decode("utf-8", "backslashreplace")
            self.text, self.is_keepalive = text, venue.is_keepalive(text)
            return
        if isinstance(value, dict):
            if _is_login(value):
                value = {name: item if name in _VERBS else _shape(item) for name, item in value.items()}
            raws = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
            self.ids = {name: bytes(raw) for name, raw in raws.items() if name.lower() in venue.request_ids}
        self.text = dump_json(_ordered(matcher.without_volatile(value), venue.request_ids), canonical=True)
        self.is_keepalive = venue.is_keepalive(value)


def _ordered(value: Any, ids: frozenset[str], depth: int = 0) -> Any:
    """Return a value without the ids of requests, and with lists of texts sorted: clients keep subscriptions in sets.

    A plain `id` numbers the message only at its top: below, it names what is meant (`[0, "oc", null, {"id": 7}]` cancels
    order 7). In a list with a number in it (`["BTCUSDT", "10", "20"]`) the place of each item may say what it is.
    """
    if isinstance(value, dict):
        return {
            name: _ordered(item, ids, depth + 1)
            for name, item in value.items()
            if not _numbers(name.lower(), ids, depth)
        }
    if isinstance(value, list):
        items = [_ordered(item, ids, depth + 1) for item in value]
        is_set = all(isinstance(item, str) and not _NUMBER.fullmatch(item) for item in items)
        return sorted(items) if is_set else items
    return value


def _numbers(name: str, ids: frozenset[str], depth: int) -> bool:
    """Tell whether a name at this depth numbers the message (Gate.io has its `req_id` in the `payload`)."""
    return name in ids and (depth == 0 or (depth == 1 and name != "id"))


def is_acknowledgement(data: bytes, ids: frozenset[str]) -> bool:
    """Tell whether a frame answers a message of the client, or greets it: it is no market data."""
    value = any_json(data)
    if not isinstance(value, dict):
        return False
    if any(name in ids for name in value):
        return True
    kinds = (value.get(verb) for verb in ("event", "method", "op", "type", "channel"))
    return any(isinstance(kind, str) and ("subscri" in kind or kind in _GREETINGS) for kind in kinds)


def renumbered(data: bytes, ids: Mapping[tuple[str, bytes], bytes]) -> bytes:
    """Return an acknowledgement with the number that the client gave in this run.

    `ids` maps a top-level name and the recorded number to the client's. Nothing else of the payload is changed; what is
    no acknowledgement of these stays as it is.
    """
    if not any(b'"%b"' % name.encode() in data for name, _ in ids):
        return data
    try:
        raws = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        return data
    for (name, old), new in ids.items():
        if name not in raws or bytes(raws[name]) != old:
            continue
        pattern = re.compile(_REQUEST_ID % (re.escape(name.encode()), re.escape(old)))
        for match in pattern.finditer(data):
            changed = data[: match.start()] + match[1] + new + data[match.end() :]
            now = msgspec.json.decode(changed, type=dict[str, msgspec.Raw])
            if bytes(now[name]) == new:  # else it was one further down, of the same name
                return changed
    return data
