"""Drawn books, diffs, trades and candles, checked by code that shares nothing with what draws them."""

from __future__ import annotations

import time
import zlib
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.market.structs import Candle, DepthDiff, Level, OrderBook, Trade
from pytest_marketreplay.strategies import candles, candles_of, depth_diffs, order_books, trades

from .shrinking import smallest

few = settings(max_examples=80)

TICKS = st.sampled_from([Decimal("0.01"), Decimal("0.5"), Decimal("1"), Decimal("0.00000001")])
ONE_LEVEL = OrderBook(
    "binance", "BTCUSDT", 0, (Level(Decimal("9.99"), Decimal("1.0")),), (Level(Decimal("10.01"), Decimal("2.0")),), 7
)


def on_the_tick(price: Decimal, tick: Decimal) -> bool:
    return price % tick == 0 and -price.as_tuple().exponent == -tick.as_tuple().exponent  # type: ignore[operator]


def naive(book: OrderBook) -> tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]:
    return dict(book.bids), dict(book.asks)


def apply(sides: tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]], diff: DepthDiff) -> None:
    for side, levels in zip(sides, (diff.bids, diff.asks), strict=True):
        for price, size in levels:
            if size == 0:
                side.pop(price, None)
            else:
                side[price] = size


# ---------------------------------------------------------------- books


@few
@given(st.data())
def test_a_drawn_book_is_one_that_a_venue_could_send(data: st.DataObject) -> None:
    tick = data.draw(TICKS)
    low = data.draw(st.integers(1, 4))
    high = low + data.draw(st.integers(0, 6))
    book = data.draw(
        order_books("bybit", "ETHUSDT", levels=(low, high), tick=tick, lot=Decimal("0.001"), mid=tick * 300)
    )
    assert (book.venue, book.symbol) == ("bybit", "ETHUSDT")
    assert low <= len(book.bids) <= high
    assert low <= len(book.asks) <= high
    assert all(upper.price > lower.price for upper, lower in pairwise(book.bids))
    assert all(lower.price < upper.price for lower, upper in pairwise(book.asks))
    assert book.bids[-1].price > 0
    assert book.bids[0].price < book.asks[0].price
    for level in (*book.bids, *book.asks):
        assert on_the_tick(level.price, tick)
        assert level.size > 0
        assert level.size % Decimal("0.001") == 0
    assert book.exchange_ms == book.time_ns // 1_000_000


@few
@given(order_books(crossed=True))
def test_a_crossed_book_is_crossed_and_otherwise_in_order(book: OrderBook) -> None:
    assert book.bids[0].price >= book.asks[0].price
    assert all(upper.price > lower.price for upper, lower in pairwise(book.bids))
    assert all(lower.price < upper.price for lower, upper in pairwise(book.asks))
    assert book.asks[0].price > 0


def test_crossed_books_are_not_all_locked() -> None:
    smallest(order_books(crossed=True), lambda book: book.bids[0].price > book.asks[0].price)


@few
@given(order_books(levels=10, tick=Decimal(1), mid=Decimal(12)))
def test_a_price_near_zero_still_gives_ten_levels(book: OrderBook) -> None:
    assert len(book.bids) == len(book.asks) == 10
    assert book.bids[-1].price > 0


def test_a_failure_shrinks_to_one_level_a_side() -> None:
    book = smallest(order_books(), lambda book: book.asks[0].price - book.bids[0].price >= Decimal("0.05"))
    assert (len(book.bids), len(book.asks)) == (1, 1)
    assert book.asks[0].price - book.bids[0].price == Decimal("0.05")
    assert book.bids[0] == (Decimal("60000.00"), Decimal("0.00001"))
    crossed = smallest(order_books(crossed=True), lambda book: True)
    assert [len(crossed.bids), len(crossed.asks)] == [1, 1]
    assert crossed.bids[0].price == crossed.asks[0].price


@pytest.mark.parametrize(
    "arguments",
    [
        {"levels": 0},
        {"levels": (3, 2)},
        {"tick": Decimal(0)},
        {"lot": Decimal("NaN")},
        {"tick": 0.01},
        {"mid": Decimal("0.05")},
    ],
)
def test_a_book_that_cannot_be_is_a_mistake(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageMistake):
        order_books(**arguments)  # type: ignore[arg-type]


# ---------------------------------------------------------------- diffs


@few
@given(st.data())
def test_diffs_chain_and_leave_the_book_uncrossed(data: st.DataObject) -> None:
    tick = data.draw(st.sampled_from([Decimal("0.01"), Decimal("0.5")]))
    book = data.draw(order_books(levels=(1, 4), tick=tick))
    drawn = data.draw(depth_diffs(book, length=(1, 5), tick=tick))
    sides = naive(book)
    last, time_ns = book.update_id, book.time_ns
    for diff in drawn:
        assert last is not None
        assert diff.last_id is not None
        assert diff.first_id == last + 1
        assert diff.last_id >= diff.first_id + len(diff.bids) + len(diff.asks) - 1
        assert diff.time_ns > time_ns
        assert diff.bids or diff.asks
        assert len(dict(diff.bids)) == len(diff.bids)
        assert len(dict(diff.asks)) == len(diff.asks)
        apply(sides, diff)
        assert sides[0]
        assert sides[1]
        assert min(sides[0]) > 0
        assert max(sides[0]) < min(sides[1])
        assert all(on_the_tick(price, tick) for side in sides for price in side)
        last, time_ns = diff.last_id, diff.time_ns


@few
@given(st.data())
def test_futures_diffs_chain_by_the_id_before(data: st.DataObject) -> None:
    book = data.draw(order_books("binance_futures", levels=(1, 4)))
    drawn = data.draw(depth_diffs(book, length=(1, 5)))
    first = drawn[0]
    assert book.update_id is not None
    assert first.first_id is not None
    assert first.last_id is not None
    assert first.first_id <= book.update_id <= first.last_id
    for before, diff in pairwise(drawn):
        assert before.last_id is not None
        assert diff.first_id is not None
        assert diff.last_id is not None
        assert diff.previous_id == before.last_id
        assert before.last_id < diff.first_id <= diff.last_id


@few
@given(st.data())
def test_kraken_diffs_carry_the_checksum_of_the_book_after_them(data: st.DataObject) -> None:
    book = data.draw(order_books("kraken", "BTC-USD", levels=(1, 12), tick=Decimal("0.1"), lot=Decimal("0.00000001")))
    sides = naive(book)
    for diff in data.draw(depth_diffs(book)):
        apply(sides, diff)
        text = ""
        for levels in (sorted(sides[1].items())[:10], sorted(sides[0].items(), reverse=True)[:10]):
            for price, size in levels:
                text += str(int(f"{price:.1f}".replace(".", ""))) + str(int(f"{size:.8f}".replace(".", "")))
        assert diff.checksum == zlib.crc32(text.encode())
        assert diff.first_id is diff.last_id is None


@pytest.mark.parametrize("known", [True, False])
def test_there_are_removals_of_levels_that_the_book_has_and_has_not(known: bool) -> None:
    book = smallest(order_books(levels=3), lambda book: True)

    def removes(diffs: list[DepthDiff]) -> bool:
        has = {price for price, _ in (*book.bids, *book.asks)}
        return any(
            size == 0 and (price in has) is known for diff in diffs[:1] for price, size in (*diff.bids, *diff.asks)
        )

    drawn = smallest(depth_diffs(book), removes)
    assert [len(diff.bids) + len(diff.asks) for diff in drawn] == [1]


def test_diffs_shrink_to_one_change_of_the_best_level() -> None:
    drawn = smallest(depth_diffs(ONE_LEVEL), lambda diffs: len(diffs) > 0)
    assert drawn == [
        DepthDiff(
            "binance",
            "BTCUSDT",
            100_000_000,
            (Level(Decimal("9.99"), Decimal("0.1")),),
            (),
            first_id=8,
            last_id=8,
            exchange_ms=100,
        )
    ]


def test_a_book_that_nothing_can_follow_is_a_mistake() -> None:
    crossed = smallest(order_books(crossed=True), lambda book: True)
    with pytest.raises(UsageMistake, match="below the best ask"):
        depth_diffs(crossed)
    with pytest.raises(UsageMistake, match="update id"):
        depth_diffs(OrderBook("binance", "X", 0, ONE_LEVEL.bids, ONE_LEVEL.asks))
    with pytest.raises(UsageMistake, match="no multiple"):
        depth_diffs(ONE_LEVEL, tick=Decimal("0.5"))
    with pytest.raises(UsageMistake, match="above 0"):
        low = OrderBook("binance", "X", 0, (Level(Decimal(0), Decimal(1)),), ONE_LEVEL.asks, 1)
        depth_diffs(low)


# ---------------------------------------------------------------- trades and candles


@few
@given(st.data())
def test_times_and_ids_of_trades_ascend(data: st.DataObject) -> None:
    drawn = data.draw(trades("okx", "BTC-USDT", tick=Decimal("0.5"), mid=Decimal(3)))
    for before, trade in pairwise(drawn):
        assert before.time_ns < trade.time_ns
        assert int(before.trade_id or 0) < int(trade.trade_id or 0)
        assert abs(trade.price - before.price) <= Decimal("2.5")
    for trade in drawn:
        assert trade.price > 0
        assert trade.size > 0
        assert trade.price % Decimal("0.5") == 0
        assert trade.side in ("buy", "sell")


@few
@given(st.data())
def test_trades_near_a_book_are_on_the_side_of_their_taker(data: st.DataObject) -> None:
    book = data.draw(order_books(levels=2))
    for trade in data.draw(trades(book=book)):
        away = trade.price - book.asks[0].price if trade.side == "buy" else book.bids[0].price - trade.price
        assert Decimal(0) <= away <= Decimal("0.05")
        assert trade.time_ns > book.time_ns


def check_candles(drawn: list[Candle], length_ms: int) -> None:
    for candle in drawn:
        assert candle.low <= min(candle.open, candle.close)
        assert candle.high >= max(candle.open, candle.close)
        assert candle.low > 0
        assert candle.open_ms % length_ms == 0
        assert (candle.volume == 0) is (candle.trades == 0)
        if not candle.volume:
            assert candle.open == candle.high == candle.low == candle.close
    for before, candle in pairwise(drawn):
        assert candle.open_ms == before.open_ms + length_ms
        assert before.closed


@few
@given(candles(interval="5m", tick=Decimal("0.5"), mid=Decimal(4)))
def test_candles_follow_each_other(drawn: list[Candle]) -> None:
    check_candles(drawn, 300_000)
    assert all(candle.open == before.close for before, candle in pairwise(drawn))


@few
@given(trades(length=(0, 30)), st.sampled_from([("1s", 1_000), ("5s", 5_000), ("1m", 60_000)]))
def test_candles_of_trades_say_what_the_trades_say(drawn: list[Trade], interval: tuple[str, int]) -> None:
    name, length_ms = interval
    made = candles_of(drawn, name)
    check_candles(made, length_ms)
    assert sum(candle.trades or 0 for candle in made) == len(drawn)
    assert sum(candle.volume for candle in made) == sum(trade.size for trade in drawn)
    for candle in made:
        inside = [
            trade.price for trade in drawn if candle.open_ms <= (trade.exchange_ms or 0) < candle.open_ms + length_ms
        ]
        if inside:
            assert (candle.open, candle.close) == (inside[0], inside[-1])
            assert (candle.low, candle.high) == (min(inside), max(inside))
    assert [candle.closed for candle in made[-1:]] == [False] * bool(drawn)


def test_weeks_begin_on_monday() -> None:
    (candle,) = candles_of([Trade("binance", "X", 1_759_399_200_000_000_000, Decimal(1), Decimal(1))], "1w")
    assert candle.open_ms == 1_759_104_000_000  # Monday, 2025-09-29


def test_trades_and_candles_shrink_to_one_flat_price() -> None:
    assert smallest(trades(), lambda drawn: len(drawn) > 1) == [
        Trade(
            "binance",
            "BTCUSDT",
            1_759_399_200_000_000_000 + number,
            Decimal("60000.00"),
            Decimal("0.00001"),
            "buy",
            str(number),
            1_759_399_200_000,
        )
        for number in (1, 2)
    ]
    (candle,) = smallest(candles(), lambda drawn: len(drawn) > 0)
    assert (candle.open, candle.volume, candle.trades) == (Decimal("60000.00"), 0, 0)
    (candle,) = smallest(candles(), lambda drawn: any(candle.high > candle.low for candle in drawn))
    assert candle.high - candle.low == Decimal("0.01")


@pytest.mark.parametrize("interval", ["", "m", "0m", "1y", "-1m", "1.5h", "\u0661m"])
def test_an_interval_that_no_venue_has_is_a_mistake(interval: str) -> None:
    with pytest.raises(UsageMistake, match="interval"):
        candles(interval=interval)
    with pytest.raises(UsageMistake, match="interval"):
        candles_of([], interval)


def test_trades_out_of_order_make_no_candles() -> None:
    late, early = (Trade("binance", "X", time_ns, Decimal(1), Decimal(1)) for time_ns in (10**12, 0))
    with pytest.raises(UsageMistake, match="in order of time"):
        candles_of([late, early], "1s")


# ---------------------------------------------------------------- all of them


def examples(strategy: st.SearchStrategy[object], count: int) -> list[object]:
    """Return what a derandomized test sees, with every health check on."""
    seen: list[object] = []

    @settings(max_examples=count, derandomize=True, database=None, deadline=None, suppress_health_check=())
    @given(strategy)
    def look(drawn: object) -> None:
        seen.append(drawn)

    look()
    return seen


@pytest.mark.parametrize(
    "strategy",
    [order_books(), order_books(crossed=True), depth_diffs(ONE_LEVEL), trades(), candles()],
    ids=["books", "crossed", "diffs", "trades", "candles"],
)
def test_every_run_sees_the_same_and_no_health_check_fails(strategy: st.SearchStrategy[object]) -> None:
    first = examples(strategy, 60)
    assert len(first) == 60  # nothing is filtered out
    assert first == examples(strategy, 60)
    assert len({repr(each) for each in first}) > 40


def test_small_books_are_drawn_by_the_hundred_in_a_second() -> None:
    examples(order_books(levels=(1, 5)), 10)
    started = time.process_time()
    examples(order_books(levels=(1, 5)), 200)
    assert time.process_time() - started < 2  # 0.3 s where this was written: a wide margin, for a busy machine
