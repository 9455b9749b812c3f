"""Counts one series of order books as they come: what is wrong with a book, how wide its spread and how deep it is."""

from __future__ import annotations

from pathlib import Path

from pytest_marketreplay.market.structs import OrderBook
from pytest_marketreplay.report.figures import SHARES, Curve, Histogram
from pytest_marketreplay.report.grid import Declared, Grid
from pytest_marketreplay.report.lines import LineMeta
from pytest_marketreplay.report.result import Bar, Cell, Series, Spread
from pytest_marketreplay.report.words import encodable

LEVELS = 10
"""Within how many levels a side the depth is measured."""
_HOUR_MS = 3_600_000
_BARS = 30


class NotFinite(ValueError):
    """A price or a size that is no number."""


class Tally:
    """One series in the making; memory does not grow with its length."""

    def __init__(self, venue: str, symbol: str, grid: Grid, declared: Declared, *, estimated: bool) -> None:
        self.venue, self.symbol, self.grid = venue, symbol, grid
        self._declared, self._estimated = declared, estimated
        self.stream: str | None = None
        self.endpoint: str | None = None
        self.streamed = False
        self.folder: Path | None = None
        """Where its first answer stands."""
        self.first_ms: int | None = None
        self.last_ms: int | None = None
        self.snapshots = self.failed = self.breaks = 0
        self._crossed = self._empty = self._same_answers = self._same_ids = self._backwards = 0
        self._sequence: int | None = None
        self._stray: int | None = None
        self._sequence_holes = self._sequence_repeats = self._sessions = 0
        self._update_id: int | None = None
        self._digest: int | None = None
        self._latency, self._spread = Histogram(), Histogram()
        self._size, self._quote = Histogram(), Histogram()
        width = grid.interval_ms
        self._latency_curve, self._spread_curve, self._depth_curve = Curve(width), Curve(width), Curve(width)

    def answered(self, time_ms: int, meta: LineMeta, digest: int) -> None:
        """Count an answer with an order book: its tick, latency and sequence."""
        self.saw(time_ms)
        self.grid.add(time_ms)
        latency = meta.latency
        if latency is not None and 0 <= latency < float("inf"):
            self._latency.add(latency)
            self._latency_curve.add(time_ms, latency)
        if meta.sequence_number is not None:
            self._count_sequence(meta.sequence_number)
        self._same_answers += digest == self._digest
        self._digest = digest

    def saw(self, time_ms: int) -> None:
        """Note that there was something at a time."""
        self.first_ms = time_ms if self.first_ms is None else min(self.first_ms, time_ms)
        self.last_ms = time_ms if self.last_ms is None else max(self.last_ms, time_ms)

    def look(self, time_ms: int, book: OrderBook) -> None:
        """Look at a book: empty or crossed, its spread and depth."""
        bids, asks = book.bids[:LEVELS], book.asks[:LEVELS]
        if not bids or not asks:
            self._empty += 1
            return
        if bids[0].price >= asks[0].price:
            self._crossed += 1
        else:
            bid, ask = float(bids[0].price), float(asks[0].price)
            spread = (ask - bid) / ((ask + bid) / 2) * 10_000
            if spread >= 0:  # of negative prices there is none in basis points
                self._spread.add(spread)
                self._spread_curve.add(time_ms, spread)
        levels = [(float(price), float(size)) for price, size in (*bids, *asks)]
        self._size.add(sum(size for _, size in levels))
        value = abs(sum(price * size for price, size in levels))
        self._quote.add(value)
        self._depth_curve.add(time_ms, value)

    def update(self, update_id: int | None) -> None:
        """Compare the venue's number of the last update with the one before."""
        before = self._update_id
        if update_id is None:
            return
        if before is not None:
            self._same_ids += update_id == before
            self._backwards += update_id < before
        self._update_id = update_id

    def _count_sequence(self, number: int) -> None:
        last = self._sequence
        if number == 1 and last != 1:
            self._sessions += 1
        elif last is not None:
            if number <= last:
                self._sequence_repeats += 1
                # the number that is due stays due, unless these go on: a session whose start is not in the capture
                if number - 1 != self._stray:
                    self._stray = number
                    return
            else:
                self._sequence_holes += number - last - 1
        self._sequence, self._stray = number, None

    @property
    def sequenced(self) -> bool:
        """Whether a snapshot had a sequence number."""
        return self._sequence is not None

    def result(self, size_bytes: int) -> Series:
        """Return what was counted."""
        grid = self.grid
        grid.finish()
        first = self._declared.first_ms or 0 if self.first_ms is None else self.first_ms
        last = self._declared.last_ms or 0 if self.last_ms is None else self.last_ms
        hours = (last - first) / _HOUR_MS
        per_hour = size_bytes / hours if hours > 0 and size_bytes else None
        stored = grid.stored if self.streamed else self.snapshots
        return Series(
            venue=encodable(self.venue),
            symbol=encodable(self.symbol),
            source="streamed" if self.streamed else "polled",
            endpoint=None if self.endpoint is None else encodable(self.endpoint),
            stream=self.stream,
            first_ms=first,
            last_ms=last,
            interval_ms=grid.interval_ms,
            interval_estimated=self._estimated,
            expected=grid.expected,
            stored=grid.stored,
            completeness=percent(grid.stored, grid.expected) if grid.stored else 0.0,
            declared=grid.declared,
            undeclared=grid.undeclared,
            hole_count=grid.hole_count,
            holes=grid.holes,
            doubled=grid.doubled,
            segments=grid.segments,
            gaps=self._declared.by_kind,
            snapshots=self.snapshots,
            failed=self.failed,
            sequenced=self.sequenced,
            sequence_holes=self._sequence_holes,
            sequence_repeats=self._sequence_repeats,
            sessions=self._sessions,
            breaks=self.breaks,
            same_answers=self._same_answers,
            same_update_ids=self._same_ids,
            update_ids_backwards=self._backwards,
            crossed=self._crossed,
            empty=self._empty,
            latency_ms=summary(self._latency),
            spread_bp=summary(self._spread),
            depth_size=summary(self._size),
            depth_quote=summary(self._quote),
            size_bytes=size_bytes,
            bytes_per_snapshot=size_bytes / stored if stored and size_bytes else None,
            bytes_per_hour=per_hour,
            bytes_per_day=None if per_hour is None else per_hour * 24,
            timeline=tuple(
                Cell(start, start + grid.strip.width_ms, cell.stored, cell.declared, cell.undeclared)
                for start, cell in grid.strip.ordered()
            ),
            latency_bars=tuple(Bar(*bar) for bar in self._latency.bars(_BARS)),
            latency_curve=tuple(self._latency_curve.points()),
            spread_curve=tuple(self._spread_curve.points()),
            depth_curve=tuple(self._depth_curve.points()),
        )


def percent(part: int, whole: int) -> float:
    """Return a share in percent; nothing of nothing is all of it."""
    return 100.0 * part / whole if whole else 100.0


def summary(values: Histogram) -> Spread:
    """Return mean, percentiles and maximum."""
    p50, p90, p99 = values.percentiles(*SHARES)
    return Spread(values.mean, p50, p90, p99, values.largest if values.count else None)


def check_finite(book: OrderBook) -> None:
    """Raise NotFinite where a price or a size is no number, as a hostile answer may have it."""
    for price, size in (*book.bids, *book.asks):
        if not (price.is_finite() and size.is_finite() and price < 10**30 and size < 10**30):
            raise NotFinite(f"a level of {price} at {size}")
