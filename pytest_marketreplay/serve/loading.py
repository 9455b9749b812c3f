"""Reading cassettes for a server: everything once, so that damage is told at the start and not in the middle."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pytest_marketreplay.cassette import names
from pytest_marketreplay.config import Settings
from pytest_marketreplay.errors import CassetteNotFound, UsageMistake
from pytest_marketreplay.replay.recognise import Recogniser
from pytest_marketreplay.replay.tape import Tape
from pytest_marketreplay.venues.binance import BinanceFamily
from pytest_marketreplay.venues.profile import Venue
from pytest_marketreplay.venues.registry import Registry

from .answers import Answers
from .binance import Binance
from .joining import Joining
from .kraken import Kraken
from .native import Native
from .pace import Pace
from .rest import RestSide
from .seam import Faults
from .shared import Shared, utc
from .sockets import SocketSide
from .tally import Served, Tally
from .timeline import Timeline

_MS = 1_000_000


@dataclass
class Loaded:
    """What a server serves."""

    sides: dict[str, tuple[RestSide, SocketSide]]
    pace: Pace
    tally: Tally
    registry: Registry
    tape: Tape
    timelines: dict[str, Timeline]

    def close(self) -> None:
        """Close the files."""
        self.tape.close()
        for timeline in self.timelines.values():
            timeline.frames.close()


def native_of(venue: Venue) -> Native | None:
    """Return the side of a venue whose subscriptions are known here."""
    if isinstance(venue, BinanceFamily):
        return Binance()
    return Kraken() if venue.name == "kraken" else None


def load(
    cassettes: list[Path],
    registry: Registry | None,
    settings: Settings,
    venues: Iterable[Venue],
    *,
    speed: float | None,
    loop: bool,
    order: str,
    start_at: int | datetime | None,
    faults: Faults | None,
    patience_s: float,
    ended: Callable[[], None],
    local: Callable[[str], str | None],
) -> Loaded:
    """Read cassettes whole. Raises CassetteNotFound, DamagedCassette, UsageMistake."""
    registry = registry or Registry(venues, settings.hosts)
    recogniser = Recogniser(registry, settings)
    tape = Tape(cassettes, recogniser.matcher_of_folder)
    timelines: dict[str, Timeline] = {}
    found: dict[str, Venue] = {}
    span: list[int] = []
    try:
        for layer, place in tape.places():
            venue = registry.by_folder(place.venue)
            found[venue.name] = venue
            timeline = timelines.get(venue.name)
            if timeline is None:
                native = native_of(venue)
                timeline = timelines[venue.name] = Timeline(None if native is None else native.router())
            if names.endpoint_of(place.endpoint)[1]:
                timeline.load(cassettes[layer], place)
            elif len(index := tape.index(layer, place)):
                times = [index.time_ms(slot) for slots in index.slots.values() for slot in (slots[0], slots[-1])]
                span += (min(times) * _MS, max(times) * _MS)
        for timeline in timelines.values():
            timeline.finish()
            span += timeline.span_ns or ()
        if not span:
            raise CassetteNotFound(cassettes[0])
        start_ns, end_ns = min(span), max(span)
        if start_at is not None:
            asked_ns = int(start_at.timestamp() * 1_000_000_000) if isinstance(start_at, datetime) else start_at * _MS
            if not start_ns <= asked_ns <= end_ns:
                tape_is = f"{utc(start_ns // _MS)} to {utc(end_ns // _MS)}"
                raise UsageMistake(f"start_at is {utc(asked_ns // _MS)}; the tape goes from {tape_is}")
            start_ns = asked_ns
    except BaseException:
        tape.close()
        for timeline in timelines.values():
            timeline.frames.close()
        raise
    tally = Tally()
    shared = Shared(Pace(start_ns, end_ns, speed, loop=loop), tally, faults, patience_s, ended, local)
    sides = {}
    for name in sorted(found):
        matcher, served = recogniser.matcher(found[name]), tally.served.setdefault(name, Served())
        if isinstance(found[name], BinanceFamily):
            timelines[name].joins = Joining(tape, name, timelines[name]).start
        rest = RestSide(name, Answers(tape, matcher, order), served, shared)
        sides[name] = rest, SocketSide(matcher, timelines[name], native_of(found[name]), served, shared)
    return Loaded(sides, shared.pace, tally, registry, tape, timelines)
