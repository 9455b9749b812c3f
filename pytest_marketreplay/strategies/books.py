"""Order books, and depth diffs that chain to a book."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from decimal import Decimal

from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.market.structs import DepthDiff, Level, OrderBook
from pytest_marketreplay.strategies.draws import START_NS, Count, Grid, SearchStrategy, count_of, st

TICK = Decimal("0.01")
LOT = Decimal("0.00001")
MID = Decimal("60000")
PACE_NS = 100_000_000
"""Time between two diffs at the least: Binance's `@depth@100ms`."""

_MS = 1_000_000
_MOST_LOTS = 10_000_000
_WIDEST_GAP = 20
_FARTHEST_SHIFT = 500
_CHECKED_LEVELS = 10  # Kraken, "Book checksum": ten asks, then ten bids

Side = dict[int, Decimal]
"""Sizes by price, the price as a number of ticks."""

LOTS = st.integers(1, _MOST_LOTS)
_BID, _ASK = 0, 1
_CHANGE_KNOWN, _ADD, _REMOVE_KNOWN, _REMOVE_UNKNOWN = range(4)
_WHATS = tuple((side, what) for what in range(4) for side in (_BID, _ASK))
_CHANGE = st.tuples(st.sampled_from(_WHATS), st.integers(0, 24), LOTS)
Change = tuple[tuple[int, int], int, int]
"""Side and what happens, where, how many lots."""
Step = tuple[list[Change], int, int]
"""The changes of one diff, how many more update ids it has, milliseconds that it comes late."""


def order_books(
    venue: str = "binance",
    symbol: str = "BTCUSDT",
    *,
    levels: Count = (1, 10),
    tick: Decimal = TICK,
    lot: Decimal = LOT,
    mid: Decimal = MID,
    crossed: bool = False,
) -> SearchStrategy[OrderBook]:
    """Draw order books: bids fall, asks rise, prices on the tick around `mid`, sizes above 0.

    `levels` holds for each side. The best bid is below the best ask, or with `crossed=True` at or above it. Shrinks
    towards one level a side, a spread of one tick at `mid`, sizes of one lot. Raises UsageMistake.
    """
    low, high = count_of("levels", levels, 1)
    prices, sizes = Grid.of("tick", tick), Grid.of("lot", lot)
    middle = prices.nearest(mid)
    room = middle // (high + 2)  # what one level may take, so that the last bid is above 0
    if room < 1:
        raise UsageMistake(f"mid={mid} is too low for {high} levels of {tick}")
    gap = min(_WIDEST_GAP, room)
    shift = min(_FARTHEST_SHIFT, max(0, (middle - gap * (high + 1)) // 2))
    spread = st.integers(0, gap) if crossed else st.integers(1, gap)
    side = st.lists(st.tuples(st.integers(1, gap), LOTS), min_size=low, max_size=high)

    def build(drawn: tuple[int, int, list[tuple[int, int]], list[tuple[int, int]], int, int]) -> OrderBook:
        moved, between, bids, asks, update_id, late_ms = drawn
        best_bid = middle + moved
        best_ask = best_bid - between if crossed else best_bid + between
        time_ns = START_NS + late_ms * _MS
        return OrderBook(
            venue=venue,
            symbol=symbol,
            time_ns=time_ns,
            bids=_side(best_bid, -1, bids, prices, sizes),
            asks=_side(best_ask, 1, asks, prices, sizes),
            update_id=update_id,
            exchange_ms=time_ns // _MS,
        )

    return st.tuples(
        st.integers(-shift, shift), spread, side, side, st.integers(1, 2**40), st.integers(0, 86_400_000)
    ).map(build)


def _side(best: int, way: int, drawn: list[tuple[int, int]], prices: Grid, sizes: Grid) -> tuple[Level, ...]:
    out = []
    price = best
    for number, (gap, lots) in enumerate(drawn):
        if number:
            price += way * gap
        out.append(Level(prices.at(price), sizes.at(lots)))
    return tuple(out)


def depth_diffs(
    book: OrderBook,
    *,
    length: Count = (0, 5),
    changes: Count = (1, 4),
    tick: Decimal | None = None,
    lot: Decimal | None = None,
) -> SearchStrategy[list[DepthDiff]]:
    """Draw diffs that chain to a book and to each other, and never cross it or empty a side.

    The first follows the book: spot `U` is its update id plus one; futures (`binance_futures`) have `U <= id <= u` in the
    first diff, and `pu` is the `u` before (Binance, "How to manage a local order book correctly"). With `kraken`, each
    has the checksum of the book after it. A diff adds levels, changes sizes, and removes levels that the book has or has
    not. `tick` and `lot` are by default the finest decimals of the book. Raises UsageMistake for a crossed book, or one
    without an update id or with an empty side.
    """
    if not book.bids or not book.asks or book.bids[0].price >= book.asks[0].price:
        raise UsageMistake("diffs need a book with both sides, the best bid below the best ask")
    prices = Grid.of("tick", tick if tick is not None else _finest(level.price for level in (*book.bids, *book.asks)))
    sizes = Grid.of("lot", lot if lot is not None else _finest(level.size for level in (*book.bids, *book.asks)))
    state = sides_of(book, prices)
    if min(state[_BID]) < 1:
        raise UsageMistake("diffs need a book whose prices are above 0")
    if book.update_id is None and book.venue != "kraken":
        raise UsageMistake("diffs chain to the book's update id, which this book has not")
    return steps(length, changes).map(lambda drawn: chain(book, drawn, prices, sizes))


def _finest(values: object) -> Decimal:
    exponents = [value.as_tuple().exponent for value in values]  # type: ignore[attr-defined]
    return Decimal(1).scaleb(min(exponents))


def steps(length: Count, changes: Count) -> SearchStrategy[list[Step]]:
    """Draw what `chain` makes diffs of, whatever the book. Raises UsageMistake."""
    low, high = count_of("changes", changes, 1)
    fewest, most = count_of("length", length)
    step = st.tuples(st.lists(_CHANGE, min_size=low, max_size=high), st.integers(0, 5), st.integers(0, 50))
    return st.lists(step, min_size=fewest, max_size=most)


def sides_of(book: OrderBook, prices: Grid) -> tuple[Side, Side]:
    """Return bids and asks by tick. Raises UsageMistake where a price is not on the tick."""
    return (
        {prices.number("price", level.price): level.size for level in book.bids},
        {prices.number("price", level.price): level.size for level in book.asks},
    )


def chain(book: OrderBook, drawn: Sequence[Step], prices: Grid, sizes: Grid) -> list[DepthDiff]:
    """Make diffs that follow a book, one a step."""
    state = sides_of(book, prices)
    futures = book.venue == "binance_futures"
    kraken = book.venue == "kraken"
    last = book.update_id or 0
    time_ns = book.time_ns
    out: list[DepthDiff] = []
    for changes, more, late_ms in drawn:
        changed: tuple[Side, Side] = ({}, {})
        for change in changes:
            _apply(state, changed, change, sizes)
        previous = None
        first = last + 1
        if futures:  # ids are those of the whole venue: there are gaps, and `pu` is what chains
            first += more
            if out:
                previous = last
            else:
                first = max(1, last - more)
                previous = first - 1
        last = max(first, last) + len(changed[_BID]) + len(changed[_ASK]) - 1 + (1 if futures else more)
        time_ns += PACE_NS + late_ms * _MS
        out.append(
            DepthDiff(
                venue=book.venue,
                symbol=book.symbol,
                time_ns=time_ns,
                bids=levels_of(changed[_BID], prices, falling=True),
                asks=levels_of(changed[_ASK], prices, falling=False),
                first_id=None if kraken else first,
                last_id=None if kraken else last,
                previous_id=previous,
                checksum=kraken_checksum(state, prices) if kraken else None,
                exchange_ms=time_ns // _MS,
            )
        )
    return out


def levels_of(side: Mapping[int, Decimal], prices: Grid, *, falling: bool) -> tuple[Level, ...]:
    """Return a side as levels, from the best outwards."""
    return tuple(Level(prices.at(price), side[price]) for price in sorted(side, reverse=falling))


def _apply(state: tuple[Side, Side], changed: tuple[Side, Side], change: Change, sizes: Grid) -> None:
    """Do one change; what would cross the book or empty a side becomes the nearest that does not."""
    (number, what), place, lots = change
    side, other = state[number], state[1 - number]
    zero = sizes.at(0)
    if what == _REMOVE_KNOWN and len(side) == 1:
        what = _CHANGE_KNOWN
    if what in (_CHANGE_KNOWN, _REMOVE_KNOWN):
        ordered = sorted(side, reverse=number == _BID)
        price = ordered[place % len(ordered)]
    elif number == _BID:  # from one tick below the best ask downwards
        price = max(1, min(other) - 1 - place)
    else:
        price = max(other) + 1 + place
    if what == _REMOVE_KNOWN:
        del side[price]
        changed[number][price] = zero
    elif what == _REMOVE_UNKNOWN:
        if price not in side:
            changed[number][price] = zero
        else:
            side[price] = changed[number][price] = sizes.at(lots)
    else:
        side[price] = changed[number][price] = sizes.at(lots)


def kraken_checksum(state: tuple[Side, Side], prices: Grid) -> int:
    """Return Kraken's CRC-32 of a book: the ten best asks, then bids, price and volume without point and leading zeros.

    Source: Kraken WebSocket API v1, "Book checksum".
    """
    text = "".join(
        f"{value:f}".replace(".", "").lstrip("0")
        for side, falling in ((state[_ASK], False), (state[_BID], True))
        for price in sorted(side, reverse=falling)[:_CHECKED_LEVELS]
        for value in (prices.at(price), side[price])
    )
    return zlib.crc32(text.encode())
