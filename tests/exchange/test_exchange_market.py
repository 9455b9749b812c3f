"""The market model: deterministic, never crossed, chained."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.exchange import listing as listing_module
from pytest_marketreplay.exchange import market as market_module
from pytest_marketreplay.exchange.binance_market import INTERVALS
from pytest_marketreplay.exchange.book import OrderBook
from pytest_marketreplay.exchange.candles import candles
from pytest_marketreplay.exchange.decimals import decimal_e8, decimal_text
from pytest_marketreplay.exchange.instruments import BINANCE_INSTRUMENTS, KRAKEN_INSTRUMENTS
from pytest_marketreplay.exchange.market import START_MS, EventsForgotten, Market
from pytest_marketreplay.exchange.trades import PAST_TRADES

BTC = tuple(each for each in BINANCE_INSTRUMENTS if each.symbol == "BTCUSDT")
TIGHT = tuple(each for each in BINANCE_INSTRUMENTS if each.symbol == "ETHBTC")
few = settings(max_examples=6, deadline=None)

actions = st.lists(
    st.one_of(
        st.tuples(st.just("step"), st.integers(1, 15)),
        st.tuples(st.sampled_from(["buy", "sell"]), st.integers(1, 10**13)),
    ),
    max_size=8,
)


def play(market: Market, symbol: str, moves: list[tuple[str, int]]) -> None:
    for what, number in moves:
        if what == "step":
            market.advance(number)
        else:
            market.take(symbol, what == "buy", number)


def state(market: Market) -> object:
    return [
        (each.book.side(True), each.book.side(False), each.book.last_update_id, each.trades, list(each.quotes))
        for each in market.listings.values()
    ]


@few
@given(st.integers(), actions)
def test_the_same_seed_and_calls_give_the_same_market(seed: int, moves: list[tuple[str, int]]) -> None:
    first, second = Market(BTC, seed), Market(BTC, seed)
    play(first, "BTCUSDT", moves)
    play(second, "BTCUSDT", moves)
    assert state(first) == state(second)
    assert first.events_after(0) == second.events_after(0)


@few
@given(st.integers(), st.integers())
def test_different_seeds_give_different_markets(one: int, other: int) -> None:
    if one != other:
        assert state(Market(BTC, one)) != state(Market(BTC, other))


def test_looking_at_the_past_early_or_late_does_not_change_it() -> None:
    early, late = Market(BTC, 5), Market(BTC, 5)
    assert early.listings["BTCUSDT"].trades
    early.advance(50)
    late.advance(50)
    assert state(early) == state(late)


def test_a_seed_gives_the_same_market_on_every_platform_and_python() -> None:
    digest = hashlib.sha256()
    for instruments in (BINANCE_INSTRUMENTS, KRAKEN_INSTRUMENTS):
        market = Market(instruments, "golden")
        market.advance(100)
        digest.update(repr(state(market)).encode())
    assert digest.hexdigest() == "8c1243b83bd2478394de962d6bc3cef89050d27874d26ec3d87fc46bc83cae0b"


@few
@given(st.integers(), st.sampled_from([BTC, TIGHT]), actions)
def test_the_book_is_sorted_full_and_never_crossed(seed: int, listed: tuple, moves: list[tuple[str, int]]) -> None:
    market = Market(listed, seed)
    instrument = listed[0]
    for move in moves:
        play(market, instrument.symbol, [move])
        book = market.listings[instrument.symbol].book
        bids, asks = book.side(True), book.side(False)
        assert [level.tick for level in bids] == sorted({level.tick for level in bids}, reverse=True)
        assert [level.tick for level in asks] == sorted({level.tick for level in asks})
        assert 0 < bids[-1].tick <= bids[0].tick < asks[0].tick
        assert all(level.quantity > 0 for level in bids + asks)
        assert len(asks) == 1000
        assert len(bids) == 1000 or bids[-1].tick <= instrument.widest_gap  # there is no price below one tick


@few
@given(st.integers(), actions, actions)
def test_events_chain_and_lead_from_one_snapshot_to_the_next(
    seed: int, before: list[tuple[str, int]], after: list[tuple[str, int]]
) -> None:
    market = Market(BTC, seed)
    play(market, "BTCUSDT", before)
    book = market.listings["BTCUSDT"].book
    seen, last_id = market.sequence, book.last_update_id
    sides = [{level.tick: level.quantity for level in book.side(is_bid)} for is_bid in (True, False)]
    play(market, "BTCUSDT", after)
    for event in market.events_after(seen):
        assert event.sequence == seen + 1
        assert event.changes.first_update_id == last_id + 1
        assert event.changes.last_update_id >= last_id
        seen, last_id = event.sequence, event.changes.last_update_id
        for side, changed in zip(sides, (event.changes.bids, event.changes.asks), strict=True):
            side.update(changed)
    assert last_id == book.last_update_id
    for side, is_bid in zip(sides, (True, False), strict=True):
        alive = {tick: quantity for tick, quantity in side.items() if quantity}
        assert alive == {level.tick: level.quantity for level in book.side(is_bid)}


@few
@given(st.integers(), actions)
def test_trades_are_numbered_without_gaps_and_in_rising_time(seed: int, moves: list[tuple[str, int]]) -> None:
    market = Market(BTC, seed)
    play(market, "BTCUSDT", moves)
    trades = market.listings["BTCUSDT"].trades
    assert [trade.id for trade in trades] == list(range(trades[0].id, trades[0].id + len(trades)))
    assert all(one.time_ns < two.time_ns for one, two in itertools.pairwise(trades))
    assert all(one.aggregate_id <= two.aggregate_id for one, two in itertools.pairwise(trades))
    logged = [trade for event in market.events_after(0) for trade in event.trades]
    assert logged == trades[len(trades) - len(logged) :]


def test_the_past_ends_at_the_opening_price_before_the_start() -> None:
    market = Market(BTC, 3)
    trades = market.listings["BTCUSDT"].trades
    assert trades[-1].tick == BTC[0].opening_tick
    assert trades[-1].time_ms < START_MS
    assert START_MS - trades[0].time_ms > 400 * 86_400_000


def test_time_is_simulated_and_only_steps_move_it() -> None:
    market = Market(BTC, 1)
    assert market.now_ms() == market.now_ms() == START_MS
    assert datetime.fromtimestamp(START_MS / 1000, UTC).isoformat() == "2025-10-02T10:00:00+00:00"
    market.advance(7)
    assert market.now_ms() == START_MS + 700


def test_a_given_clock_stamps_the_market_and_never_goes_back() -> None:
    moments = iter([1000, 2000, 1500, 3000])
    now = 1000

    def clock() -> int:
        nonlocal now
        now = next(moments, now)
        return now

    market = Market(BTC, 1, clock=clock)
    market.advance(3)
    assert [event.time_ms for event in market.events_after(0)] == [2000, 2000, 3000]


def test_a_market_does_not_move_backwards() -> None:
    with pytest.raises(UsageMistake, match="only moves forward"):
        Market(BTC, 1).advance(-1)


def test_a_forgotten_event_is_an_error_and_not_a_silent_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_module, "_KEPT_EVENTS", 10)
    market = Market(BTC, 1)
    market.advance(30)
    assert len(market.events_after(20)) == 10
    assert market.events_after(30) == []
    with pytest.raises(EventsForgotten, match="event 20 is forgotten") as caught:
        market.events_after(19)
    assert (caught.value.asked, caught.value.oldest) == (20, 21)


def test_old_trades_are_forgotten_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_module, "_MOST_LIVE_TRADES", 100)
    market = Market(BTC, 1)
    market.advance(200)
    trades = market.listings["BTCUSDT"].trades
    assert len(trades) < PAST_TRADES
    assert [trade.id for trade in trades] == list(range(trades[0].id, trades[0].id + len(trades)))
    assert market.listings["BTCUSDT"].trades_from(trades[0].id - 5, 2) == trades[:2]
    assert market.listings["BTCUSDT"].trades_from(trades[3].id, 2) == trades[3:5]


def test_a_long_run_stays_near_where_it_began() -> None:
    market = Market(BTC + TIGHT, 9)
    market.advance(1500)
    for listing in market.listings.values():
        opening = listing.instrument.opening_tick
        assert abs(listing.book.best(True).tick - opening) < opening // 10
        assert {trade.buyer_is_maker for trade in listing.trades[-200:]} == {True, False}


def test_a_taker_eats_the_book_from_the_best_price_and_stops_at_its_limit() -> None:
    market = Market(BTC, 1)
    book = market.listings["BTCUSDT"].book
    asks = book.side(False, 5)
    wanted = sum(level.quantity for level in asks[:3]) + 1
    assert market.listings["BTCUSDT"].fillable(True, wanted, None)[0] == wanted
    trades = market.take("BTCUSDT", True, wanted, limit_tick=asks[2].tick)
    assert sum(trade.quantity for trade in trades) == wanted - 1
    assert {trade.tick for trade in trades} == {level.tick for level in asks[:3]}
    assert len({trade.aggregate_id for trade in trades}) == 3
    assert not any(trade.buyer_is_maker for trade in trades)
    assert book.best(False).tick > asks[2].tick


def test_a_price_never_falls_below_one_tick() -> None:
    cheap = replace(TIGHT[0], opening_tick=60)
    market = Market([cheap], 1)
    for _ in range(40):
        market.take("ETHBTC", False, 10**20)
        market.advance()
        bids = market.listings["ETHBTC"].book.side(True)
        assert bids[-1].tick >= 1
        assert len(bids) <= bids[0].tick


def test_removing_a_level_that_is_not_there_counts_no_update() -> None:
    book = OrderBook(7)
    book.put(True, 100, 0, 0)
    assert book.collect() == (8, 7, {}, {})


def test_no_taker_empties_the_book() -> None:
    market = Market(BTC, 1)
    for _ in range(3):
        trades = market.take("BTCUSDT", False, 10**20)
        assert trades
        assert market.listings["BTCUSDT"].book.count(True) == 1000


@few
@given(
    st.sampled_from(sorted(INTERVALS)),
    st.integers(1, 60),
    st.none() | st.integers(START_MS - 10**10, START_MS + 10**6),
    st.none() | st.integers(START_MS - 10**10, START_MS + 10**6),
)
def test_candles_follow_each_other_and_hold_exactly_their_trades(
    name: str, limit: int, start_ms: int | None, end_ms: int | None
) -> None:
    market = Market(BTC, 2)
    market.advance(20)
    listing = market.listings["BTCUSDT"]
    found = candles(
        listing.instrument,
        listing.trades,
        INTERVALS[name],
        now_ms=market.now_ms(),
        start_ms=start_ms,
        end_ms=end_ms,
        limit=limit,
    )
    assert len(found) <= limit
    for one, two in itertools.pairwise(found):
        assert one.close_ms + 1 == two.open_ms
        if not two.span.trade_count:
            assert two.span.open == two.span.close == one.span.close
    for candle in found:
        inside = [trade for trade in listing.trades if candle.open_ms <= trade.time_ms <= candle.close_ms]
        assert candle.span.trade_count == len(inside)
        assert candle.span.volume == sum(trade.quantity for trade in inside)
        assert candle.span.low <= min(candle.span.open, candle.span.close)
        assert candle.span.high >= max(candle.span.open, candle.span.close)
        assert start_ms is None or candle.open_ms >= start_ms
        assert candle.open_ms <= (min(end_ms, market.now_ms()) if end_ms is not None else market.now_ms())
    if start_ms is None and end_ms is None:
        assert found[-1].open_ms <= market.now_ms() <= found[-1].close_ms


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    for name, expected in {"1w": "2025-09-29", "1M": "2025-10-01", "3d": None, "1d": "2025-10-02"}.items():
        interval = INTERVALS[name]
        start = interval.start(START_MS)
        if expected is not None:
            assert datetime.fromtimestamp(start / 1000, UTC).isoformat() == f"{expected}T00:00:00+00:00"
        assert interval.before(interval.after(start)) == start
    assert INTERVALS["1M"].after(INTERVALS["1M"].start(START_MS)) == 1_761_955_200_000


@given(st.integers(0, 10**20))
def test_decimals_are_exact_both_ways(value: int) -> None:
    assert decimal_e8(decimal_text(value)) == value
    assert decimal_e8(decimal_text(value, 10)) == value


@pytest.mark.parametrize("text", ["", ".", "-1", "1e5", "0x1", "1.", "0.123456789", "1 ", "\u0661"])
def test_what_is_no_plain_decimal_is_not_read(text: str) -> None:
    assert decimal_e8(text) is None


def test_decimals_are_cut_and_never_rounded_up() -> None:
    assert decimal_text(199_999_999, 3) == "1.999"
    assert decimal_text(-100_000_000, 2) == "-1.00"
    assert decimal_text(5 * 10**8, 0) == "5"
