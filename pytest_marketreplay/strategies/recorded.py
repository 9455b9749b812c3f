"""Recorded answers as a strategy: as they are, or mutated within the shape that the recording shows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import files, names, reader
from pytest_marketreplay.cassette.entry import Head, Headers, JsonValue, Meta, NotAnEntry, header_pairs
from pytest_marketreplay.cassette.files import Line, Place
from pytest_marketreplay.cassette.frame import DATA, read_frame
from pytest_marketreplay.cassette.request import parse_json
from pytest_marketreplay.errors import CassetteNotFound, DamagedCassette, UsageMistake
from pytest_marketreplay.strategies import json_tree
from pytest_marketreplay.strategies.draws import SearchStrategy, st
from pytest_marketreplay.strategies.json_tree import Node
from pytest_marketreplay.strategies.mutation import Draw, mutated
from pytest_marketreplay.strategies.shown import Shown, signature
from pytest_marketreplay.venues.registry import Registry

_LONGEST_SHOWN = 2_000


class RecordedAnswer(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """One answer or frame, as recorded or mutated, and the request that it answers."""

    venue: str
    symbol: str | None
    method: str
    endpoint: str
    """The path as it was asked."""
    params: dict[str, JsonValue]
    status: int | None
    """None for a frame of a WebSocket."""
    headers: tuple[tuple[str, str], ...]
    """As recorded, the content length that of `body`."""
    body: bytes
    mutated: bool
    timestamp_ms: int
    place: Place
    meta: Meta
    """Of the recorded entry; the default for a frame."""

    @property
    def value(self) -> Any:
        """The parsed body, other numbers than integers as Decimal. Raises ValueError where it is not JSON."""
        return parse_json(self.body)

    def __repr__(self) -> str:
        kind = "mutated" if self.mutated else "recorded"
        body = self.body if len(self.body) <= _LONGEST_SHOWN else self.body[:_LONGEST_SHOWN] + b"..."
        return f"<{kind} {self.venue} {self.method} {self.endpoint} {self.params} -> {self.status} {body!r}>"


def from_cassette(
    *cassettes: str | os.PathLike[str],
    venue: str | None = None,
    endpoint: str | None = None,
    symbol: str | None = None,
    mutate: bool = True,
    limit: int = 200,
) -> SearchStrategy[RecordedAnswer]:
    """Draw recorded answers and received frames of cassettes, and mutate them within their shape.

    A mutated answer has the same keys in the same order; numbers keep quotes, decimals and sign, and are a tenth to ten
    times what they were; words come from those seen at the same path, where they repeat there; lists have fewer or a few
    more items, at least one where none was recorded empty. Where the recording shows that a column of a list goes up or
    down it still does, and so do the prices of a book, whose best bid stays below the best ask. What an answer says of
    another one (a checksum, update ids that chain from frame to frame) is not kept.

    The simplest example is the first recorded answer, unchanged; a mutated one shrinks towards few items of recorded
    values. `venue`, `endpoint` (`/api/v3/depth`) and `symbol` (`BTCUSDT`, `BTC-USD`) choose; `limit` is the most that is
    read of each place. Bodies that are not JSON are drawn as they are, failures of the connection are not.

    Raises CassetteNotFound, DamagedCassette, UsageMistake where nothing is chosen.
    """
    if not cassettes:
        raise UsageMistake("from_cassette() needs the folder of a cassette, as in from_cassette('cassettes/btc_crash')")
    if limit < 1:
        raise UsageMistake(f"limit={limit}: wanted is a number from 1 on")
    answers = [
        answer for cassette in cassettes for answer in _answers(Path(cassette), _Wanted(venue, endpoint, symbol), limit)
    ]
    if not answers:
        wanted = ", ".join(
            f"{name}={value!r}"
            for name, value in (("venue", venue), ("endpoint", endpoint), ("symbol", symbol))
            if value is not None
        )
        raise UsageMistake(
            f"{', '.join(map(str, cassettes))}: no answer is recorded{' for ' + wanted if wanted else ''}"
        )
    recorded = st.sampled_from(answers)
    if not mutate:
        return recorded
    tape = _Tape(answers)
    draw_mutated: SearchStrategy[RecordedAnswer] = _mutated(tape, recorded)
    return recorded | draw_mutated


@st.composite
def _mutated(draw: Draw, tape: _Tape, recorded: SearchStrategy[RecordedAnswer]) -> RecordedAnswer:
    answer: RecordedAnswer = draw(recorded)
    known = tape.of(answer)
    if known is None:
        return answer
    tree, shown = known
    body = mutated(draw, tree, shown).written().encode()
    if body == answer.body.strip(b" \t\r\n"):
        return answer
    return msgspec.structs.replace(answer, body=body, headers=_measured(answer.headers, len(body)), mutated=True)


def _measured(headers: Iterable[tuple[str, str]], length: int) -> tuple[tuple[str, str], ...]:
    """Return headers whose content length is that of the body."""
    return tuple((name, str(length) if name.lower() == "content-length" else value) for name, value in headers)


class _Tape:
    """The trees of recorded answers, and what those of one shape show; made when they are first drawn."""

    def __init__(self, answers: list[RecordedAnswer]) -> None:
        self._answers = answers
        self._trees: dict[int, Node | None] = {}
        self._groups: dict[object, list[RecordedAnswer]] = {}
        self._shown: dict[object, Shown] = {}

    def of(self, answer: RecordedAnswer) -> tuple[Node, Shown] | None:
        tree = self._tree(answer)
        if tree is None:
            return None
        place = answer.place[:2]
        kind = (place, signature(tree))
        shown = self._shown.get(kind)
        if shown is None:
            alike = [other for other in self._answers if other.place[:2] == place]
            trees = [known for other in alike if (known := self._tree(other)) and signature(known) == kind[1]]
            trees.sort(key=lambda known: known is not tree)  # its own first, should there be too much to look at
            shown = self._shown[kind] = Shown(trees)
        return tree, shown

    def _tree(self, answer: RecordedAnswer) -> Node | None:
        known = id(answer)  # the answers are held as long as the strategy is
        if known not in self._trees:
            try:
                self._trees[known] = json_tree.parse(answer.body)
            except ValueError:  # no JSON: an error page of a proxy, a plain text
                self._trees[known] = None
        return self._trees[known]


# ---------------------------------------------------------------- reading


class _Wanted:
    """Which places are chosen."""

    def __init__(self, venue: str | None, endpoint: str | None, symbol: str | None) -> None:
        self.venue = names.venue_folder(venue) if venue is not None else None
        self.endpoint = endpoint
        self.symbol = names.symbol_folder(symbol) if symbol is not None else None
        self.registry = Registry()

    def __call__(self, place: Place) -> bool:
        if self.venue not in (None, place.venue) or self.symbol not in (None, place.symbol):
            return False
        if self.endpoint is None:
            return True
        rest = names.endpoint_folder(self.registry.by_folder(place.venue).endpoint(self.endpoint))
        return place.endpoint in (rest, names.endpoint_folder(self.endpoint, websocket=True))


def _answers(root: Path, wanted: _Wanted, limit: int) -> Iterator[RecordedAnswer]:
    if not files.exists(root):
        raise CassetteNotFound(root)
    for place in files.places(root):
        if not wanted(place):
            continue
        left = limit
        for path in files.files_in(place.within(root)):
            for line, head in reader.heads(path):
                try:
                    answer = _answer(place, line, head)
                except NotAnEntry as error:
                    raise DamagedCassette(path, line.number, line.offset + error.byte, error.reason) from None
                if answer is not None:
                    yield answer
                    left -= 1
                    if not left:
                        break
            if not left:
                break


def _answer(place: Place, line: Line, head: Head) -> RecordedAnswer | None:
    """Return the answer of a line, or None where it is none: a failure, a frame that was sent, a ping."""
    venue, symbol = place.venue.replace("%3A", ":"), names.symbol_of(place.symbol)
    if head.meta.dir is not None:
        frame = read_frame(line.data)
        if frame.meta.dir != "recv" or frame.meta.opcode not in DATA:
            return None
        return RecordedAnswer(
            venue, symbol, "", frame.endpoint, {}, None, (), frame.data(), False, frame.timestamp, place, Meta()
        )
    entry = entries.read_entry(line.data)
    if entry.meta.error is not None:
        return None
    body = entry.body()
    headers: Headers = header_pairs(entry.meta.headers) or [("content-type", "application/json")]
    return RecordedAnswer(
        venue,
        symbol,
        entry.meta.method,
        entry.endpoint,
        entry.params,
        entry.meta.status,
        _measured(headers, len(body)),
        body,
        False,
        entry.timestamp,
        place,
        entry.meta,
    )
