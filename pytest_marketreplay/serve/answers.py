"""REST answers: the newest recorded answer not later than the tape's now, or the recorded ones one after the other."""

from __future__ import annotations

from typing import NamedTuple

from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.redaction import SECRETS
from pytest_marketreplay.cassette.request import Asked, parse
from pytest_marketreplay.replay import explain, keeping
from pytest_marketreplay.replay.answer import Answer
from pytest_marketreplay.replay.matching import Key, Matcher, show
from pytest_marketreplay.replay.tape import Slot, Tape
from pytest_marketreplay.venues.profile import Location


class Question(NamedTuple):
    """A request, taken apart."""

    asked: Asked
    location: Location
    place: Place
    key: Key


class NotYet(NamedTuple):
    """The answer is recorded later than now."""

    first_ms: int


class Answers:
    """The REST side of one venue."""

    def __init__(self, tape: Tape, matcher: Matcher, order: str) -> None:
        self._tape, self._matcher, self._order = tape, matcher, order

    def question(self, method: str, raw_path: str, body: bytes, headers: list[tuple[str, str]]) -> Question:
        """Take a request apart, whatever host it was sent to. Its secrets are shown nowhere from now on."""
        venue = self._matcher.venue
        asked = parse(method, f"https://{venue.name}.invalid{raw_path}", body or None)
        secrets, _ = keeping.request_secrets(venue, asked, headers)
        SECRETS.add(secrets)
        location = venue.locate(asked)
        place = Place(*explain.place_of(venue.name, location.endpoint, location.symbol))
        return Question(asked, location, place, self._matcher.of_request(asked))

    def find(self, question: Question, now_ms: int) -> Answer | NotYet | None:
        """Return the answer; None where none is recorded. Raises DamagedCassette."""
        if self._order == "sequence":
            slot = self._tape.take(question.place, question.key, "last")
        else:
            found = self._by_time(question, now_ms)
            if isinstance(found, NotYet):
                return found
            slot = found
        return None if slot is None else Answer(*self._tape.answer(slot))

    def _by_time(self, question: Question, now_ms: int) -> Slot | NotYet | None:
        slot = self._tape.as_of(question.place, question.key, now_ms)
        if slot is None or question.location.endpoint in self._matcher.venue.reference:
            return slot  # what hardly changes was as true before it was asked for
        first_ms = self._tape.time_ms(slot)
        return slot if first_ms <= now_ms else NotYet(first_ms)

    def show(self, question: Question) -> str:
        """Return a request in one line, without its secrets."""
        params = self._matcher.venue.rules.redact_params(question.asked.params)
        return SECRETS.scrub(show(question.asked.method, question.asked.path, params))

    def explain(self, question: Question) -> str:
        """Tell the nearest recorded requests and what differs in each."""
        text = explain.explain(self._tape, question.place, question.key, "", "serve")
        return SECRETS.scrub(text.rpartition("\n")[0])
