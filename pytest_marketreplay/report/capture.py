"""Reads a capture: the gaps of each place first, then its answers, then its streams; one line at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pytest_marketreplay.cassette import files
from pytest_marketreplay.cassette.reader import Damage
from pytest_marketreplay.data.tape import Place
from pytest_marketreplay.errors import CassetteNotFound, UsageMistake
from pytest_marketreplay.market.decoding import UNREADABLE, Decoder, Source
from pytest_marketreplay.market.structs import OrderBook
from pytest_marketreplay.report.books import Tally, check_finite, percent
from pytest_marketreplay.report.grid import CLOCK_JUMP, Declared, Grid
from pytest_marketreplay.report.lines import CaptureLine, read_file
from pytest_marketreplay.report.places import SECOND_MS, Files, estimate_ms, letters, open_place
from pytest_marketreplay.report.result import VERSION, BadLine, Goals, Report, Series, Totals
from pytest_marketreplay.report.streams import Streams
from pytest_marketreplay.report.verdicts import judge, remarks
from pytest_marketreplay.report.words import encodable
from pytest_marketreplay.venues.registry import Registry

_MS = 1_000_000
_NAMED = 20
_NEVER = 2**64

Advance = Callable[[int], None]
_Key = tuple[str, str, str]
"""Venue, endpoint, symbol of polled books."""


class Capture:
    """A capture that is being read."""

    def __init__(self, root: Path, interval_ms: int | None, advance: Advance) -> None:
        """Raises CassetteNotFound where nothing is recorded."""
        self._root, self._interval_ms, self._advance = root, interval_ms, advance
        self._registry = Registry()
        self._places = [open_place(root, found) for found in files.places(root)]
        if not self._places:
            raise CassetteNotFound(root)
        self._polled: dict[_Key, Tally] = {}
        self._silent: dict[Place, tuple[int, list[int]]] = {}
        """Places that should have market data and have none: how many answers failed, the first and last moment."""
        self._jumps: dict[tuple[Path, int], int] = {}
        """By how many milliseconds the wall clock was moved while a stream was captured."""
        self._lines = self._damaged = 0
        self._damage: list[BadLine] = []
        self._first_ms: int | None = None
        self._last_ms: int | None = None

    def read(self, goals: Goals) -> Report:
        """Read everything and judge it."""
        for found in self._places:
            self._read_place(found)
        venues = dict.fromkeys(found.place.venue for found in self._places)
        streamed = [tally for venue in venues for tally in self._streamed(venue)]
        followed = {(tally.venue, tally.symbol) for tally in streamed}
        # a few answers that no poller numbered are the snapshots that a stream was joined to
        polled = [
            tally for tally in self._polled.values() if tally.sequenced or (tally.venue, tally.symbol) not in followed
        ]
        silent = list(self._without_books({(tally.venue, tally.symbol) for tally in (*polled, *streamed)}))
        series = tuple(
            tally.result(self._size(tally))
            for tally in sorted(
                (*polled, *streamed, *silent), key=lambda each: (each.venue, each.symbol, each.stream or "")
            )
        )
        verdicts, passed = judge(series, goals)
        return Report(
            VERSION,
            encodable(str(self._root)),
            goals,
            verdicts,
            passed,
            (*remarks(series, self._damaged, self._last_ms), *self._failures_of_no_pair()),
            self._totals(series),
            tuple(self._damage),
            series,
        )

    # Answers ------------------------------------------------------------------------------------------------------

    def _read_place(self, found: Files) -> None:
        place = found.place
        decoders: dict[str, Decoder | None] = {}
        failed = good = 0
        first, last = _NEVER, -_NEVER
        for path in found.paths:
            for item in read_file(path):
                if isinstance(item, Damage):
                    self._bad(item)
                    continue
                self._lines += 1
                if item.meta.dir == "gap":
                    self._gap(place, item)
                    continue
                first, last = min(first, item.timestamp), max(last, item.timestamp)
                if place.websocket or item.meta.dir is not None:
                    good += item.meta.dir == "recv"
                    continue
                if item.endpoint not in decoders:
                    venue = self._registry.by_folder(place.venue)
                    decoders[item.endpoint] = venue.market(item.endpoint, websocket=False)
                decoder = decoders[item.endpoint]
                if decoder is not None:
                    is_good = self._answer(found, item, decoder)
                    good, failed = good + is_good, failed + (not is_good)
            self._advance(path.stat().st_size)
        for tally in self._polled_in(place):
            if tally.folder == place.folder:
                tally.failed += failed
        if not good and (failed or found.gaps):
            self._silent[place] = failed, [first, last] if first <= last else []
        if first <= last:
            self._first_ms = first if self._first_ms is None else min(first, self._first_ms)
            self._last_ms = last if self._last_ms is None else max(last, self._last_ms)

    def _gap(self, place: Place, line: CaptureLine) -> None:
        gap = line.meta.gap
        if gap is None or gap.kind != CLOCK_JUMP:
            return
        if place.websocket:
            self._jumps[place.folder, line.timestamp] = gap.to_ms - gap.from_ms
            return
        for tally in self._polled_in(place):
            tally.grid.jump()

    def _polled_in(self, place: Place) -> Iterator[Tally]:
        for (venue, endpoint, symbol), tally in self._polled.items():
            if (venue, endpoint) == (place.venue, place.endpoint) and place.symbol in (None, symbol):
                yield tally

    def _answer(self, found: Files, line: CaptureLine, decoder: Decoder) -> bool:
        """Count the books of an answer; false where it is none that can be read."""
        meta, place = line.meta, found.place
        if meta.error is not None or not 200 <= meta.status < 300:
            return False
        try:
            payload = line.body()
            source = Source(line.timestamp * _MS, place.symbol, line.params)
            records = decoder.read(payload, source)
            books = [record for record in records if isinstance(record, OrderBook)]
            for book in books:
                check_finite(book)
        except UNREADABLE:
            return False
        for book in books:
            tally = self._tally(found, place.symbol or book.symbol)
            tally.snapshots += 1
            tally.answered(line.timestamp, meta, hash(payload))
            tally.update(book.update_id)
            tally.look(line.timestamp, book)
        return bool(records)

    def _tally(self, found: Files, symbol: str) -> Tally:
        key = found.place.venue, found.place.endpoint, symbol
        if key not in self._polled:
            interval = self._interval_ms or estimate_ms(found.paths)
            tally = self._new(key, interval, websocket=False, estimated=self._interval_ms is None)
            tally.folder = found.place.folder
            self._polled[key] = tally
        return self._polled[key]

    def _new(self, key: tuple[str, str | None, str], interval_ms: int, *, websocket: bool, estimated: bool) -> Tally:
        """Return a new series; endpoint None: all of the venue's streams."""
        venue, endpoint, symbol = key
        gaps = [
            gap
            for found in self._places
            if found.place.venue == venue
            and found.place.websocket == websocket
            and endpoint in (None, found.place.endpoint)
            and found.place.symbol in (None, symbol)
            for gap, pair in found.gaps
            if not pair or letters(pair) == letters(symbol)
        ]
        declared = Declared(gaps)
        grid = Grid(interval_ms, declared, fixed=not estimated)
        tally = Tally(venue, symbol, grid, declared, estimated=estimated)
        tally.endpoint, tally.streamed = endpoint, websocket
        return tally

    def _without_books(self, known: set[tuple[str, str]]) -> Iterator[Tally]:
        """Give a series for each place where there should be books and nothing else was captured either."""
        for place, (failed, moments) in self._silent.items():
            symbol = place.symbol
            if symbol is None or (place.venue, symbol) in known:
                continue
            interval = self._interval_ms or SECOND_MS
            tally = self._new(
                (place.venue, place.endpoint, symbol), interval, websocket=place.websocket, estimated=False
            )
            tally.failed = failed
            for time_ms in moments:
                tally.saw(time_ms)
            yield tally

    def _failures_of_no_pair(self) -> Iterator[str]:
        for place, (failed, _) in self._silent.items():
            if place.symbol is None and failed:
                yield f"{encodable(place.venue)} {encodable(place.endpoint)}: {failed} failed answers, and none that can be read"

    def _size(self, tally: Tally) -> int:
        return sum(
            found.size_bytes
            for found in self._places
            if (found.place.venue, found.place.symbol) == (tally.venue, tally.symbol)
            and found.place.websocket == tally.streamed
            and tally.endpoint in (None, found.place.endpoint)
        )

    # Streams ------------------------------------------------------------------------------------------------------

    def _streamed(self, venue: str) -> list[Tally]:
        mine = [found.place for found in self._places if found.place.venue == venue]
        profile = self._registry.by_folder(venue)
        market = [place for place in mine if profile.market(place.endpoint, websocket=place.websocket) is not None]
        if not any(place.websocket for place in market):
            return []

        def new(symbol: str) -> Tally:
            return self._new((venue, None, symbol), self._interval_ms or SECOND_MS, websocket=True, estimated=False)

        streams = Streams(new, self._registry.by_folder, self._unreadable, self._jumps)
        return streams.read(market)

    # What is wrong, and all together ------------------------------------------------------------------------------

    def _unreadable(self, path: Path, line: int, reason: str) -> None:
        self._bad(Damage(path, line, 0, reason))

    def _bad(self, damage: Damage) -> None:
        self._damaged += 1
        if len(self._damage) < _NAMED:
            path = damage.path.relative_to(self._root).as_posix()
            self._damage.append(BadLine(encodable(path), damage.line, damage.byte, damage.reason))

    def _totals(self, series: tuple[Series, ...]) -> Totals:
        size = sum(found.size_bytes for found in self._places)
        stored = sum(each.stored for each in series)
        expected = sum(each.expected for each in series)
        first, last = self._first_ms, self._last_ms
        hours = 0.0 if first is None or last is None else (last - first) / 3_600_000
        return Totals(
            series=len(series),
            files=sum(len(found.paths) for found in self._places),
            size_bytes=size,
            lines=self._lines,
            damaged=self._damaged,
            first_ms=first,
            last_ms=last,
            expected=expected,
            stored=stored,
            completeness=percent(stored, expected) if series else None,
            declared=sum(each.declared for each in series),
            undeclared=sum(each.undeclared for each in series),
            snapshots=sum(each.snapshots for each in series),
            bytes_per_snapshot=size / stored if stored else None,
            bytes_per_hour=size / hours if hours else None,
            bytes_per_day=size / hours * 24 if hours else None,
        )


def read_capture(
    root: Path,
    *,
    goals: Goals | None = None,
    interval_ms: int | None = None,
    advance: Advance = lambda size_bytes: None,
) -> Report:
    """Read a capture and judge it against goals.

    `interval_ms` is the step of the grid; without it that of polled pairs is estimated as the median step, and a stream is
    looked at each second. `advance` is told how many bytes were read. Damaged lines are passed over, and counted.
    Raises CassetteNotFound, UsageMistake for a step that is not above 0.
    """
    if interval_ms is not None and interval_ms < 1:
        raise UsageMistake(f"the interval is {interval_ms} ms; it has to be 1 at least")
    return Capture(root, interval_ms, advance).read(goals or Goals())
