"""`MarketData`: what a tape says of the market, for a venue, a symbol and a window of time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar, cast

from pytest_marketreplay.cassette import files, names
from pytest_marketreplay.cassette.reader import Damage
from pytest_marketreplay.config import one_of
from pytest_marketreplay.data.decoded import Reader
from pytest_marketreplay.data.rebuilding import Rebuilder, Step
from pytest_marketreplay.data.records import Records
from pytest_marketreplay.data.summary import PlaceSummary, summarise
from pytest_marketreplay.data.tape import Place, Recorded, merged
from pytest_marketreplay.data.window import Time, Window, time_ns
from pytest_marketreplay.errors import BookGap, CassetteNotFound, UnreadablePayload, UsageMistake
from pytest_marketreplay.market.structs import Candle, DepthDiff, OrderBook, Record, Ticker, Trade
from pytest_marketreplay.venues.profile import Venue
from pytest_marketreplay.venues.registry import Registry

R = TypeVar("R", bound=Record)


class MarketData:
    """The market as cassettes have it. Nothing is read before it is asked for, and nothing is held after.

    Each method reads the files anew, in the order their lines arrived, one line at a time. What it gives can be iterated as
    often as wanted, and turned into a table: `.to_arrow()`, `.to_pandas()`, `.to_polars()`.

    Windows go from `start` to before `end`: a `datetime` or ISO text (without a zone: UTC), or Unix epoch in milliseconds.
    A symbol can be spelled as the venue's requests spell it.
    """

    def __init__(
        self,
        cassettes: Iterable[Path],
        registry: Registry | None = None,
        *,
        damaged: str = "error",
        gaps: str = "error",
    ) -> None:
        """Read these cassettes, all together.

        `damaged="skip"` passes over lines that are no entries and payloads that are not what the venue documents; `skipped`
        tells which. `gaps="report"` rebuilds order books again from the next snapshot after a gap; `gaps` tells which.
        Raises UsageMistake for another word.
        """
        self.cassettes = tuple(Path(cassette) for cassette in cassettes)
        self._registry = registry
        self._damaged = one_of("damaged", damaged, ("error", "skip"))
        self._gaps = one_of("gaps", gaps, ("error", "report"))
        self._skipped: dict[tuple[Path, int], Damage] = {}
        self._gap_list: dict[tuple[Path, int, str], BookGap] = {}
        self._venue = lru_cache(maxsize=None)(self._find_venue)

    def __repr__(self) -> str:
        return f"MarketData({[str(cassette) for cassette in self.cassettes]})"

    @property
    def skipped(self) -> tuple[Damage, ...]:
        """Return what was passed over so far, each line once: file, line, byte and reason."""
        return tuple(self._skipped.values())

    @property
    def gaps(self) -> tuple[BookGap, ...]:
        """Return the gaps that were met so far, each once."""
        return tuple(self._gap_list.values())

    # What there is ------------------------------------------------------------------------------------------------

    def places(
        self, venue: str | None = None, symbol: str | None = None, endpoint: str | None = None
    ) -> tuple[Place, ...]:
        """Return the folders that can hold what is asked for; those of `_all` can hold any symbol.

        Raises CassetteNotFound where nothing is recorded, UsageMistake where nothing of that name is.
        """
        found = [Place.of(root, place) for root in self.cassettes for place in files.places(root)]
        if not found:
            raise CassetteNotFound(self.cassettes[0] if self.cassettes else Path())
        if venue is not None:
            found = self._narrowed(found, "venue", venue, lambda place: place.venue == names.venue_folder(venue))
        if symbol is not None:
            found = self._narrowed(
                found, "symbol", symbol, lambda place: place.symbol in (None, self._symbol(place.venue, symbol))
            )
        if endpoint is not None:
            found = self._narrowed(found, "endpoint", endpoint, lambda place: self._is_endpoint(place, endpoint))
        return tuple(found)

    def summary(self) -> tuple[PlaceSummary, ...]:
        """Count the entries of each place, and tell its first and last moment; reads every file once."""
        return tuple(summarise(place, self._lines([place])) for place in self.places())

    # What was recorded --------------------------------------------------------------------------------------------

    def entries(
        self,
        venue: str | None = None,
        endpoint: str | None = None,
        symbol: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
    ) -> Iterator[Recorded]:
        """Give REST answers and WebSocket frames, sent ones too, in the order they arrived.

        Raises DamagedCassette, UsageMistake.
        """
        window = Window.of(start, end)
        places = self.places(venue, symbol, endpoint)
        return (recorded for recorded in self._lines(places, window) if window.has(recorded.time_ns))

    def trades(
        self,
        venue: str | None = None,
        symbol: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        endpoint: str | None = None,
    ) -> Records[Trade]:
        """Give the trades as they arrived. One that was polled twice, or came by REST and by stream, is there twice."""
        return self._records(Trade, venue, symbol, endpoint, start, end)

    def candles(
        self,
        venue: str | None = None,
        symbol: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        endpoint: str | None = None,
    ) -> Records[Candle]:
        """Give the candles as they arrived; a stream sends the one that is open again and again."""
        return self._records(Candle, venue, symbol, endpoint, start, end)

    def tickers(
        self,
        venue: str | None = None,
        symbol: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        endpoint: str | None = None,
    ) -> Records[Ticker]:
        """Give best bids and asks as they arrived."""
        return self._records(Ticker, venue, symbol, endpoint, start, end)

    def diffs(
        self,
        venue: str | None = None,
        symbol: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        endpoint: str | None = None,
    ) -> Records[DepthDiff]:
        """Give depth diffs as they arrived, not checked, with the snapshots that a stream sends itself."""
        return self._records(DepthDiff, venue, symbol, endpoint, start, end)

    def books(
        self,
        venue: str | None = None,
        symbol: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        endpoint: str | None = None,
    ) -> Records[OrderBook]:
        """Give the snapshots as they were recorded, polled or from a stream."""
        return self._records(OrderBook, venue, symbol, endpoint, start, end)

    # What can be made of it ---------------------------------------------------------------------------------------

    def rebuilt(
        self,
        venue: str,
        symbol: str | None = None,
        start: Time | None = None,
        end: Time | None = None,
        endpoint: str | None = None,
        depth: int | None = None,
    ) -> Records[OrderBook]:
        """Give a book after each depth diff, each diff checked by update ids or checksum; `depth` gives its best levels only.

        The tape is read from its beginning, whatever the window. Diffs that come before their snapshot wait for it. Every
        stream of every connection has its own book, told apart by `stream`. Raises BookGap (or lists it, see the
        constructor), and UsageMistake where the symbol is streamed by several endpoints and none is named.
        """
        if depth is not None and depth < 1:
            raise UsageMistake(f"depth is {depth}; a book has at least one level, or None for all")
        window = Window.of(start, end)
        self._market_places(venue, symbol, endpoint)
        return Records(OrderBook, partial(self._rebuilt, venue, symbol, window, endpoint, depth))

    def steps(
        self, venue: str, symbol: str | None = None, end: Time | None = None, endpoint: str | None = None
    ) -> Iterator[Step]:
        """Give the book itself after each depth diff, as `rebuilt` does, and copy nothing of it.

        `step.follower.book` changes with the next step; `step.book(depth)` copies what is to be kept.
        """
        return self._steps(venue, symbol, Window.of(None, end), endpoint, self._gap)

    def book_at(
        self, venue: str, symbol: str, time: Time, endpoint: str | None = None, depth: int | None = None
    ) -> OrderBook | None:
        """Return the book as it was known at a moment: rebuilt, or recorded where that is newer; None before the first.

        Raises BookGap where the rebuilt book was lost at that moment and nothing was recorded since.
        """
        moment = time_ns(time)
        window = Window(end=moment + 1)
        gaps: list[BookGap] = []
        streams: dict[int, Step] = {}
        for step in self._steps(venue, symbol, window, endpoint, gaps.append):
            streams[id(step.follower)] = step
        book = max(
            (step.book(depth) for step in streams.values() if step.follower.ready),
            key=lambda book: book.time_ns,
            default=None,
        )
        for recorded in self._of(OrderBook, venue, symbol, window, endpoint):
            if book is None or recorded.time_ns > book.time_ns:
                book = recorded if depth is None else _cut(recorded, depth)
        lost = max(gaps, key=lambda gap: gap.time_ns, default=None)
        if lost is not None and lost.kind != "join" and (book is None or book.time_ns < lost.time_ns):
            raise lost
        return book

    # How it is done -----------------------------------------------------------------------------------------------

    def _records(
        self,
        kind: type[R],
        venue: str | None,
        symbol: str | None,
        endpoint: str | None,
        start: Time | None,
        end: Time | None,
    ) -> Records[R]:
        window = Window.of(start, end)
        self._market_places(venue, symbol, endpoint)
        return Records(kind, partial(self._of, kind, venue, symbol, window, endpoint))

    def _of(
        self, kind: type[R], venue: str | None, symbol: str | None, window: Window, endpoint: str | None
    ) -> Iterator[R]:
        places = self._market_places(venue, symbol, endpoint)
        for decoded in self._reader().read(self._lines(places, window)):
            wanted = None if symbol is None else self._symbol(decoded.recorded.venue, symbol)
            for record in decoded.records:
                if (wanted is None or record.symbol == wanted) and window.has(record.time_ns):
                    if isinstance(record, kind):
                        yield record
                    elif kind is OrderBook and isinstance(record, DepthDiff) and record.snapshot:
                        yield cast("R", _as_book(record))

    def _rebuilt(
        self, venue: str, symbol: str | None, window: Window, endpoint: str | None, depth: int | None
    ) -> Iterator[OrderBook]:
        for step in self._steps(venue, symbol, window, endpoint, self._gap):
            if window.has(step.follower.time_ns):
                yield step.book(depth)

    def _steps(
        self, venue: str, symbol: str | None, window: Window, endpoint: str | None, gap: Callable[[BookGap], None]
    ) -> Iterator[Step]:
        # an endpoint names the stream; the REST snapshots that its diffs join stand elsewhere
        places = [
            place
            for place in self._market_places(venue, symbol)
            if endpoint is None or not place.websocket or self._is_endpoint(place, endpoint)
        ]
        wanted = None if symbol is None else self._symbol(names.venue_folder(venue), symbol)
        rebuilder = Rebuilder(self._reader(), gap, wanted, several=endpoint is not None)
        until = (recorded for recorded in self._lines(places, window) if recorded.time_ns < window.end)
        return rebuilder.steps(until)

    def _lines(self, places: Iterable[Place], window: Window | None = None) -> Iterator[Recorded]:
        end = (window or Window()).end
        return merged(list(places), "skip" if self._damaged == "skip" else "error", self._skip, end)

    def _reader(self) -> Reader:
        return Reader(self._venue, self._unreadable)

    def _market_places(self, venue: str | None, symbol: str | None, endpoint: str | None = None) -> tuple[Place, ...]:
        found = self.places(venue, symbol, endpoint)
        reader = self._reader()
        market = tuple(place for place in found if reader.of(place) is not None)
        if not market:
            raise UsageMistake(
                f"nothing in {', '.join(sorted({str(place.folder) for place in found}))} is known as market data: "
                "a venue says what its answers mean in Venue.market()"
            )
        return market

    def _is_endpoint(self, place: Place, endpoint: str) -> bool:
        wanted = self._venue(place.venue).endpoint(endpoint)
        return place.folder.parent.name == names.endpoint_folder(wanted, websocket=place.websocket)

    def _narrowed(self, places: list[Place], what: str, given: str, fits: Callable[[Place], bool]) -> list[Place]:
        found = [place for place in places if fits(place)]
        if not found:
            there = sorted({str(getattr(place, what) or names.ALL) for place in places})
            raise UsageMistake(f"the tape has no {what} {given!r}; it has {', '.join(there)}")
        return found

    def _symbol(self, venue_folder: str, symbol: str) -> str:
        return self._venue(venue_folder).symbol(symbol) or symbol

    def _find_venue(self, folder: str) -> Venue:
        if self._registry is None:
            self._registry = Registry()
        return self._registry.by_folder(folder)

    def _skip(self, damage: Damage) -> None:
        self._skipped.setdefault((damage.path, damage.line), damage)

    def _unreadable(self, error: UnreadablePayload) -> None:
        if self._damaged == "error":
            raise error
        self._skip(Damage(error.path, error.line, 0, error.reason))

    def _gap(self, gap: BookGap) -> None:
        self._gap_list.setdefault((gap.path, gap.line, gap.symbol), gap)
        if self._gaps == "error":
            raise gap


def _as_book(diff: DepthDiff) -> OrderBook:
    return OrderBook(
        diff.venue,
        diff.symbol,
        diff.time_ns,
        diff.bids,
        diff.asks,
        diff.last_id,
        diff.exchange_ms,
        stream=diff.stream,
    )


def _cut(book: OrderBook, depth: int) -> OrderBook:
    return OrderBook(
        book.venue,
        book.symbol,
        book.time_ns,
        book.bids[:depth],
        book.asks[:depth],
        book.update_id,
        book.exchange_ms,
        book.checked,
        book.stream,
    )
