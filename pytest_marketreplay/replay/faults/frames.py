"""Faults of one replayed connection: what comes instead of each frame. Nothing is lost that was not dropped."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_marketreplay.cassette.frame import close_payload
from pytest_marketreplay.replay.faults import bodies
from pytest_marketreplay.replay.faults.plan import FRAMES, Fault
from pytest_marketreplay.replay.stream.messages import is_acknowledgement

if TYPE_CHECKING:
    from pytest_marketreplay.replay.stream.player import Event, Player

_MOST_BEFORE = 2


class Passing:
    """The frames of one connection on their way to its client."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self._held: tuple[Event, Callable[[], None]] | None = None
        self._before: deque[Event] = deque(maxlen=_MOST_BEFORE)
        self._pending: dict[int, list[Callable[[], None]]] = {}

    def able(self, rule: Fault, event: Event) -> bool:
        """Tell whether a fault can happen to a frame."""
        if rule.kind == "stale":
            return bool(self._before)
        if rule.kind == "reorder":
            return self._held is None
        if rule.kind == "crossed":
            return bodies.crossed(event.data) is not None
        return rule.kind in FRAMES

    def change(self, event: Event, rule: Fault | None, happened: Callable[[], None]) -> list[Event]:
        """Return what comes instead of a message; `happened` is called when the client gets it.

        An event that is made here is a new object, by which it is known again in `taken`.
        """
        kind = rule.kind if rule is not None else None
        if kind == "gap":
            happened()
            return []
        if kind == "reorder":
            self._held = event, happened
            return []
        if kind == "disconnect" and rule is not None:
            lost = _lost(event, rule)
            self._pending[id(lost)] = [happened, lambda: self._player.leave_to_the_next(event)]
            return [*self.release(), lost]
        out = [event]
        if kind == "duplicate":
            out.append(self._noted(event._replace(), happened))
        elif kind == "stale":
            out.insert(0, self._noted(self._before[0]._replace(time_ns=event.time_ns), happened))
        elif kind == "crossed":
            out = [self._noted(event._replace(data=bodies.crossed(event.data) or b""), happened)]
        if self._held is not None:
            late, swapped = self._held
            self._held = None
            out.append(self._noted(late._replace(time_ns=max(late.time_ns, event.time_ns)), swapped))
        for each in out:
            if not is_acknowledgement(each.data, self._player.known.venue.request_ids):
                self._before.append(each)
        return out

    def release(self) -> list[Event]:
        """Return a frame that was held back for a successor that does not come; then nothing has happened to it."""
        held, self._held = self._held, None
        return [] if held is None else [held[0]]

    def taken(self, event: Event) -> None:
        """Note that the client gets an event."""
        for act in self._pending.pop(id(event), ()):
            act()

    def _noted(self, event: Event, happened: Callable[[], None]) -> Event:
        self._pending[id(event)] = [happened]
        return event


def _lost(event: Event, rule: Fault) -> Event:
    code = rule.arguments.get("code")
    if code is None:
        return event._replace(opcode=None, data=b"", error="reset")
    return event._replace(opcode="close", data=close_payload(code))
