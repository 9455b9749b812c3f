"""Injects faults into a replay: into answers, upgrades to WebSocket and frames."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.cassette.frame import DATA
from pytest_marketreplay.cassette.redaction import SECRETS
from pytest_marketreplay.replay.answer import Answer
from pytest_marketreplay.replay.faults import bodies
from pytest_marketreplay.replay.faults.frames import Passing
from pytest_marketreplay.replay.faults.plan import ALL, BOTH, REQUESTS, UPGRADES, Fault, Place
from pytest_marketreplay.replay.faults.rules import Rules, moment
from pytest_marketreplay.replay.matching import show

if TYPE_CHECKING:
    from pytest_marketreplay.replay.marketclock import MarketClock
    from pytest_marketreplay.replay.recognise import Known
    from pytest_marketreplay.replay.stream.player import Event, Player

_MOST_BEFORE = 512
_STAMPS = frozenset(("timestamp", "nonce"))
_WINDOW_MS, _AHEAD_MS = 5000, 1000
"""Binance, "Timing security": a timestamp may be so old (`recvWindow`), and so far ahead."""


class Faults(Rules):
    """The faults of one test. Safe under threads.

    They happen to what is replayed only: what goes to the network is recorded as the exchange said it.
    """

    def __init__(
        self, rules: Iterable[Fault] = (), *, clock: MarketClock | None = None, is_recording: bool = False
    ) -> None:
        """`clock` is that of the recording, which `skew` needs; where `is_recording`, nothing happens at all."""
        self._before: OrderedDict[Any, Answer] = OrderedDict()
        self._crossing: dict[tuple[Place, int], Fault] = {}
        self._passing: dict[Player, Passing] = {}
        super().__init__(rules, clock, is_recording=is_recording)

    # ---------------------------------------------------------------- requests

    def request(self, known: Known, peek: Callable[[], Answer | None], now_ns: int) -> tuple[Answer | None, int]:
        """Return what a request gets instead of its answer, which stays for the next time (None: the answer), and its number.

        `peek` gives the recorded answer without taking it; where there is none, nothing is injected. `now_ns` is any
        clock that does not go back.
        """
        with self._lock:
            place = _place("request", known)
            number = self._number(place)
            rule = self._acting(place, number, lambda rule: self._able(rule, known, peek))
            banned = self._banned(place, now_ns)
            if rule is None and banned is not None:
                rule = banned
            if rule is None and self._is_out_of_window(known):
                rule = Fault("skew")
            if rule is None or (recorded := peek()) is None:
                return None, number
            if rule.kind == "crossed":
                self._crossing[place, number] = rule
                return None, number
            answer = self._made(rule, known, recorded, now_ns)
            self._note(rule, place, number, _request(known))
            return answer, number

    def upgrade(self, known: Known, now_ns: int) -> Answer | None:
        """Return what the upgrade to a WebSocket gets instead of the recorded answer, or None."""
        with self._lock:
            place = _place("request", known)
            number = self._number(place)
            rule = self._acting(place, number, lambda rule: rule.kind in UPGRADES) or self._banned(place, now_ns)
            if rule is None:
                return None
            self._note(rule, place, number, f"WebSocket {_request(known).partition(' ')[2]}")
            return self._made(rule, known, None, now_ns)

    def answer(self, known: Known, answer: Answer, number: int) -> Answer:
        """Return an answer that was taken, changed where a rule says so; it may come again as a stale one."""
        with self._lock:
            if any(counter.rule.kind == "stale" for counter in self._counters):
                self._before[known.place, known.key] = answer
                self._before.move_to_end((known.place, known.key))
                if len(self._before) > _MOST_BEFORE:
                    self._before.popitem(last=False)
            place = _place("request", known)
            rule = self._crossing.pop((place, number), None)
            body = bodies.crossed(answer.body) if rule is not None else None
            if rule is None or body is None:
                return answer
            self._note(rule, place, number, _request(known))
            return Answer(answer.meta, body)

    def _able(self, rule: Fault, known: Known, peek: Callable[[], Answer | None]) -> bool:
        if rule.kind not in REQUESTS and rule.kind not in BOTH:
            return False
        if rule.kind == "stale":
            return (known.place, known.key) in self._before
        if rule.kind == "skew":
            return rule.endpoint is not None or any(name.lower() in _STAMPS for name, _ in known.asked.params)
        if rule.kind in ("truncated", "crossed"):
            answer = peek()
            if answer is None or answer.error is not None or not answer.body:
                return False
            return rule.kind == "truncated" or bodies.crossed(answer.body) is not None
        return True

    def _made(self, rule: Fault, known: Known, recorded: Answer | None, now_ns: int) -> Answer:
        if rule.kind == "stale":
            before = self._before[known.place, known.key]
            return Answer(before.meta, before.body)
        if rule.kind == "truncated" and recorded is not None:
            return bodies.truncated(recorded, rule.arguments.get("keep"))
        if rule.arguments.get("strict") and (seconds := bodies.retry_after(rule)):
            self._bans.append((rule, now_ns + seconds * 10**9))
        return bodies.said(rule, known.venue)

    def _banned(self, place: Place, now_ns: int) -> Fault | None:
        """Return what a request gets that comes before `Retry-After` is over, where the rule is strict."""
        self._bans = [(rule, until_ns) for rule, until_ns in self._bans if until_ns > now_ns]
        for rule, until_ns in self._bans:
            if rule.fits(place):
                return replace(rule, arguments={"retry_after": -((now_ns - until_ns) // 10**9)})
        return None

    def _is_out_of_window(self, known: Known) -> bool:
        """Tell whether a request's timestamp shows the skew of the clock, and is beyond what exchanges take."""
        if self._clock is None or not self._clock.skew_ns:
            return False
        params = {name.lower(): str(value) for name, value in known.asked.params}
        stamp, window = params.get("timestamp", ""), params.get("recvwindow", "")
        if not stamp.isdigit():
            return False
        ahead_ms = int(stamp) - self._clock.now_ns // 1_000_000
        return ahead_ms >= _AHEAD_MS or -ahead_ms > (int(window) if window.isdigit() else _WINDOW_MS)

    # ---------------------------------------------------------------- frames

    def frames(self, player: Player, event: Event) -> list[Event]:
        """Return what comes instead of a frame: nothing, itself, or several; a frame that is held back comes later."""
        with self._lock:
            passing = self._passing.get(player)
            if passing is None:
                passing = self._passing[player] = Passing(player)
            if event.opcode not in DATA:
                # what is held back for its successor waits for it, unless the connection ends here
                return [event] if event.opcode in ("ping", "pong") else [*passing.release(), event]
            place = _place("frame", player.known)
            number = self._number(place)
            rule = self._acting(place, number, lambda rule: passing.able(rule, event))
            where = f"{player.url}, frame of {moment(event.time_ns)}"
            return passing.change(event, rule, lambda: None if rule is None else self._note(rule, place, number, where))

    def held(self, player: Player) -> list[Event]:
        """Return a frame that was held back for its successor, where none comes."""
        with self._lock:
            passing = self._passing.get(player)
            return [] if passing is None else passing.release()

    def taken(self, player: Player, event: Event) -> None:
        """Note that a client gets an event that `frames` returned."""
        with self._lock:
            if (passing := self._passing.get(player)) is not None:  # pragma: no branch - `frames` has made it
                passing.taken(event)


def _place(side: str, known: Known) -> Place:
    location = known.location
    return Place(side, known.venue.name, location.endpoint or "/", location.symbol or ALL, known.asked.path or "/")


def _request(known: Known) -> str:
    asked = known.asked
    params = known.venue.rules.redact_params(asked.params)
    return SECRETS.scrub(show(asked.method, f"{asked.scheme}://{asked.host}{asked.path}", params))
