"""The faults of a test in what is served to other processes (`market_server`): the same rules, where they can happen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_marketreplay.cassette.frame import DATA, Opcode, close_payload
from pytest_marketreplay.replay.faults import bodies
from pytest_marketreplay.replay.faults.plan import ALL, Fault, Place

if TYPE_CHECKING:
    from pytest_marketreplay.cassette.entry import Headers
    from pytest_marketreplay.replay.faults.injector import Faults
    from pytest_marketreplay.venues.registry import Registry

_ANSWERS = frozenset(("429", "418", "500", "502", "503", "504", "timeout", "refused", "reset", "skew", "crossed"))
_FRAMES = frozenset(("gap", "duplicate", "disconnect", "crossed"))
_SERVICE_RESTART = 1012


class ServedFaults:
    """What a server asks before it sends. It knows no symbols: rules that name one do not fit.

    `timeout`, `refused` and `reset` drop the connection; `disconnect` without a code closes with 1012. What a server
    cannot do (`truncated`, `stale`, `reorder`) never happens, and stands in `Faults.unused`.
    """

    def __init__(self, faults: Faults, registry: Registry) -> None:
        self._faults, self._registry = faults, registry

    def answer(
        self, venue: str, endpoint: str, status: int, headers: Headers, body: bytes
    ) -> tuple[int, Headers, bytes] | None:
        """Return the REST answer to send in place of this one; None drops the connection without an answer."""

        def able(rule: Fault) -> bool:
            return rule.kind in _ANSWERS and (rule.kind != "crossed" or bodies.crossed(body) is not None)

        rule = self._faults.acting(
            Place("request", venue, endpoint, ALL, endpoint), able, f"served: {venue} {endpoint}"
        )
        if rule is None:
            return status, headers, body
        if rule.kind == "crossed":
            return status, headers, bodies.crossed(body) or body
        said = bodies.said(rule, self._registry.venues.get(venue) or self._registry.by_folder(venue))
        return None if said.fails else (said.status, said.headers, said.body)

    def frames(self, venue: str, endpoint: str, opcode: Opcode, data: bytes) -> Iterable[tuple[Opcode, bytes]]:
        """Return the frames to send in place of this one: none, it or several."""

        def able(rule: Fault) -> bool:
            return rule.kind in _FRAMES and (rule.kind != "crossed" or bodies.crossed(data) is not None)

        if opcode not in DATA:
            return [(opcode, data)]
        place = Place("frame", venue, endpoint, ALL, endpoint)
        rule = self._faults.acting(place, able, f"served: WebSocket {venue} {endpoint}")
        match rule.kind if rule is not None else None:
            case "gap":
                return []
            case "duplicate":
                return [(opcode, data)] * 2
            case "crossed":
                return [(opcode, bodies.crossed(data) or data)]
            case "disconnect":
                code = rule.arguments.get("code") if rule is not None else None
                return [("close", close_payload(code or _SERVICE_RESTART))]
        return [(opcode, data)]
