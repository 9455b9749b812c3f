"""The rules of a test: which faults act when, what has happened by them, and what makes exactly that happen again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.cassette.redaction import SECRETS
from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.replay.faults.plan import BOTH, FRAMES, KINDS, REQUESTS, Counter, Fault, Injected, Place

if TYPE_CHECKING:
    from pytest_marketreplay.replay.marketclock import MarketClock

_HARD = frozenset(("418", "skew"))


class Rules:
    """The rules of one test and what they did. Safe under threads."""

    def __init__(self, rules: Iterable[Fault], clock: MarketClock | None, *, is_recording: bool) -> None:
        self.injected: list[Injected] = []
        """What happened so far, in order."""
        self._clock, self._is_recording = clock, is_recording
        self._counters: list[Counter] = []
        self._lock = threading.RLock()
        self._numbers: dict[Place, int] = {}
        self._bans: list[tuple[Fault, int]] = []
        for rule in rules:
            self.inject(rule)

    # ---------------------------------------------------------------- rules

    def inject(
        self,
        kind: str | Fault,
        *,
        venue: str | None = None,
        endpoint: str | None = None,
        symbol: str | None = None,
        at: int = 1,
        times: int = 1,
        every: int | None = None,
        rate: float | None = None,
        seed: int = 0,
        number: int | None = None,
        **arguments: Any,
    ) -> Fault:
        """Add a rule (see `Fault`); it counts from now on. Returns it. Raises UsageMistake for a wrong kind or argument."""
        if isinstance(kind, Fault):
            given = (venue, endpoint, symbol, at, times, every, rate, seed, number, arguments)
            if given != (None, None, None, 1, 1, None, None, 0, None, {}):
                raise UsageMistake("inject() takes a Fault as it is; to change it, dataclasses.replace(fault, ...)")
            rule = kind
        else:
            rule = Fault(kind, venue, endpoint, symbol, at, times, every, rate, seed, number, arguments)
        with self._lock:
            if rule.kind == "skew" and "seconds" in rule.arguments:
                self._skew(rule)
            else:
                self._counters.append(Counter(rule))
        return rule

    def random(
        self,
        rate: float,
        seed: int = 0,
        kinds: Iterable[str] | None = None,
        *,
        venue: str | None = None,
        endpoint: str | None = None,
        symbol: str | None = None,
    ) -> list[Fault]:
        """Let something go wrong with about this share of all requests and frames, the same in every run of a seed.

        `kinds` shares the rate evenly; without it all kinds but `418` and `skew`. Returns the rules. Raises UsageMistake.
        """
        if isinstance(kinds, str):
            raise UsageMistake(f"kinds is the text {kinds!r}; give a tuple: ({kinds!r},)")
        chosen = list(dict.fromkeys(kinds)) if kinds is not None else [kind for kind in KINDS if kind not in _HARD]
        requests = sum(kind in REQUESTS or kind in BOTH for kind in chosen)
        frames = sum(kind in FRAMES or kind in BOTH for kind in chosen)
        rules = []
        for kind in chosen:
            most = requests if kind in REQUESTS else frames if kind in FRAMES else max(requests, frames)
            rules.append(Fault(kind, venue, endpoint, symbol, rate=rate / max(most, 1), seed=seed))
        for rule in rules:
            self.inject(rule)
        return rules

    def clear(self) -> None:
        """Remove all rules, bans and the skew of the clock; what was injected is still told."""
        with self._lock:
            self._counters.clear()
            self._bans.clear()
            if self._clock is not None:
                self._clock.skew(0)

    def _skew(self, rule: Fault) -> None:
        if self._is_recording:
            return
        if self._clock is None:
            raise UsageMistake(
                'the fault "skew" with seconds= moves the clock of the recording: mark clock="recording"'
            )
        seconds = rule.arguments["seconds"]
        self._clock.skew(seconds)
        where = f"the clock that the code sees, {seconds:+g} s from {moment(self._clock.now_ns)}"
        self.injected.append(Injected("skew", 1, where, rule, rule))

    # ---------------------------------------------------------------- what happened

    @property
    def unused(self) -> list[Fault]:
        """The rules that nothing has happened by so far."""
        with self._lock:
            return [counter.rule for counter in self._counters if not counter.happened]

    def exactly(self) -> list[Fault]:
        """Return rules that make the very faults of this run happen again: `for fault in ...: market_faults.inject(fault)`.

        They are to be injected where the test begins, without the rules that they were made by.
        """
        with self._lock:
            return [each.again for each in self.injected]

    def report(self) -> str:
        """Return what was injected as text, with the code that injects it again; empty where there were no rules."""
        with self._lock:
            lines = [f"{number}. {each.kind}: {each.where}" for number, each in enumerate(self.injected, 1)]
            again = [f"market_faults.inject({each.again.code()})" for each in self.injected]
            unused = [f"market_faults.inject({rule.code()})" for rule in self.unused]
        if lines:
            lines = ["injected:", *lines, "to inject exactly these again, and nothing else:", *again]
        if unused:
            lines += ["nothing happened by:", *unused]
        return SECRETS.scrub("\n".join(lines))

    # ---------------------------------------------------------------- acting

    def _number(self, place: Place) -> int:
        number = self._numbers[place] = self._numbers.get(place, 0) + 1
        return number

    def _acting(self, place: Place, number: int, able: Callable[[Fault], bool]) -> Fault | None:
        """Return the rule that acts on what came as number so many of its place.

        Every rule that fits counts it, also where another acts. Of several that would act the first does, and those that
        go by count do so at the next that they fit: all that was asked for happens.
        """
        acting: Counter | None = None
        for counter in self._counters:
            if not (counter.rule.fits(place) and able(counter.rule)):
                continue
            acts = counter.acts(place, number)
            if acting is not None:
                counter.owed += acts and counter.rule.rate is None and counter.rule.number is None
            elif acts or counter.owed:
                counter.owed -= not acts
                acting = counter
        return None if acting is None else acting.rule

    def acting(self, place: Place, able: Callable[[Fault], bool], where: str) -> Fault | None:
        """Count one more of a place, and return the rule that acts on it; it is noted."""
        with self._lock:
            number = self._number(place)
            rule = self._acting(place, number, able)
            if rule is not None:
                self._note(rule, place, number, where)
            return rule

    def _note(self, rule: Fault, place: Place, number: int, where: str) -> None:
        arguments = {name: value for name, value in rule.arguments.items() if name != "strict"}
        again = Fault(rule.kind, place.venue, place.endpoint, place.symbol, number=number, arguments=arguments)
        self.injected.append(Injected(rule.kind, number, SECRETS.scrub(where), rule, again))
        for counter in self._counters:
            counter.happened += counter.rule is rule


def moment(time_ns: int) -> str:
    """Return a moment for people, in milliseconds."""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds")
