"""The feed that polls: every tick of the grid is stored or declared, whatever the venue does."""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal
from typing import Any

import orjson
import pytest
from poll_lab import BOOK, START_NS, Lab, answer, book

from pytest_marketreplay.collect.fetching import Answer, Unanswered
from pytest_marketreplay.collect.polling import PollFeed
from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.venues.profile import Venue
from pytest_marketreplay.venues.registry import Registry


async def well(number: int, url: str) -> Answer:
    return answer(book(number + 1))


def test_each_tick_is_stored_as_the_venue_said_it_and_as_a_snapshot(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep(0.05)
        return answer(BOOK)

    stats = lab.run(lab.feed(script), 10)
    assert (stats.ticks, stats.stored, stats.requests) == (10, 10, 10)
    first = lab.items[0]
    entry = orjson.loads(first.line or b"")
    assert first.line is not None
    assert first.line.endswith(b'"response":' + BOOK + b"}\n")
    assert (entry["timestamp"], entry["endpoint"]) == (START_NS // 10**6, "/api/v3/depth")
    assert entry["params"] == {"symbol": "BTCUSDT", "limit": "500"}
    assert entry["meta"] == {
        "method": "GET",
        "status": 200,
        "latency_ms": 50.0,
        "headers": {"content-type": "application/json"},
        "sequence_number": 1,
    }
    assert tuple(first.place) == ("binance", "api_v3_depth", "BTCUSDT")
    snapshot = first.snapshot
    assert snapshot is not None
    assert (snapshot.exchange, snapshot.pair, snapshot.timestamp_ms) == ("binance", "BTC-USDT", START_NS // 10**6)
    assert snapshot.bids == ((Decimal("4.00000000"), Decimal("431.00000000")),)
    assert (snapshot.capture_latency_ms, snapshot.update_id) == (50.0, 7)
    assert [each.sequence_number for each in lab.snapshots()] == list(range(1, 11))


def test_ticks_stay_on_the_grid_however_long_each_answer_takes(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep((number * 37 % 90) / 100)
        return answer()

    lab.run(lab.feed(script), 1000)
    assert [round(at, 6) for at, _ in lab.asked] == [float(second) for second in range(1000)]


def test_an_answer_that_takes_longer_than_the_interval_costs_exactly_the_ticks_it_covers(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep(3.5 if number == 2 else 0.1)
        return answer()

    stats = lab.run(lab.feed(script), 10)
    assert (stats.stored, stats.missed) == (7, 3)
    (gap,) = lab.gaps()
    start = START_NS // 10**6
    assert (gap.kind, gap.from_ms - start, gap.to_ms - start, gap.count) == ("missed", 3000, 5000, 3)


def test_a_slow_pair_delays_no_other(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep(30 if "ETH" in url else 0.01)
        return answer()

    lab.run(lab.feed(script, "BTC-USDT", "ETH-USDT", timeout_s=8), 20)
    assert [round(at, 6) for at, url in lab.asked if "BTC" in url] == [float(second) for second in range(20)]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (answer(b"<html>502 Bad Gateway</html>", 502), "HTTP 502"),
        (answer(b"<html>maintenance</html>"), "the answer is no order book"),
        (answer(BOOK[:30]), "the answer is no order book"),
        (answer(b"[]"), "the answer is no order book"),
        (answer(b"[" * 100_000), "the answer is no order book"),
        (answer(b'{"code":-1121,"msg":"Invalid symbol."}', 400), "HTTP 400: -1121 Invalid symbol."),
        (Unanswered("ClientOSError: reset"), "ClientOSError: reset"),
        (TimeoutError(), "no answer in time"),
    ],
    ids=range(8),
)
def test_a_failure_is_a_gap_with_its_reason_and_the_next_tick_goes_on(lab: Lab, said: Any, reason: str) -> None:
    async def script(number: int, url: str) -> Answer:
        if number in (3, 4):
            if isinstance(said, Exception):
                raise said
            return said  # type: ignore[no-any-return]
        return answer()

    stats = lab.run(lab.feed(script), 10)
    assert (stats.stored, stats.failed) == (8, 2)
    (gap,) = lab.gaps()
    start = START_NS // 10**6
    assert (gap.kind, gap.from_ms - start, gap.to_ms - start, gap.count) == ("failed", 3000, 4000, 2)
    assert gap.reason.startswith("BTC-USDT: ")
    assert reason in gap.reason
    line = next(each.line for each in lab.items if each.gap is not None)
    assert orjson.loads(line or b"")["meta"]["gap"]["count"] == 2


def test_an_answer_that_never_comes_is_given_up_in_time(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep(10_000)
        return answer()

    stats = lab.run(lab.feed(script, timeout_s=2.5), 9)
    assert (stats.stored, stats.failed, stats.missed) == (0, 3, 6)
    assert "no answer in time" in lab.gaps()[0].reason


def test_a_long_gap_is_told_in_parts_so_that_a_kill_leaves_little_untold(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        raise Unanswered("down")

    lab.run(lab.feed(script), 200)
    assert [gap.count for gap in lab.gaps()] == [61, 61, 61, 17]


def test_empty_books_are_skipped_and_one_sided_ones_kept(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        return answer(book(number, bids=[], asks=[] if number % 2 else [["5", "1"]]))

    stats = lab.run(lab.feed(script), 10)
    assert (stats.stored, stats.empty) == (5, 5)
    assert [each.sequence_number for each in lab.snapshots()] == [1, 2, 3, 4, 5]


def test_what_is_odd_is_counted_stored_and_warned_of_once_a_minute(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    async def script(number: int, url: str) -> Answer:
        return answer(book(1000 - number, bids=[["9", "1"]], E=1))

    with caplog.at_level(logging.WARNING, "pytest_marketreplay.collect"):
        stats = lab.run(lab.feed(script, venue="binance_futures"), 130)
    assert (stats.stored, stats.crossed, stats.backward_ids, stats.clock_checks) == (130, 130, 129, 130)
    texts = [record.getMessage() for record in caplog.records]
    assert len([text for text in texts if "crossed" in text]) == 3
    assert len([text for text in texts if "went back" in text]) == 3
    assert len([text for text in texts if "venue's time" in text]) == 3


def test_a_venue_time_within_five_seconds_before_and_one_after_is_well(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        now_ms = START_NS // 10**6 + number * 1000
        return answer(book(number, E=now_ms + [-5001, -5000, 0, 1000, 1001][number]))

    stats = lab.run(lab.feed(script, venue="binance_futures"), 5)
    assert stats.clock_checks == 2


@pytest.mark.parametrize("jump_s", [-3600, 3600, 86_400])
def test_a_wall_clock_that_is_set_doubles_and_misses_no_tick(lab: Lab, jump_s: int) -> None:
    def jump() -> None:
        lab.jump_ns = jump_s * 10**9

    stats = lab.run(lab.feed(well, "BTC-USDT", "ETH-USDT"), 20, (10.5, jump))
    assert (stats.stored, stats.missed, stats.clock_jumps) == (40, 0, 2)
    gaps = lab.gaps()
    assert [gap.kind for gap in gaps] == ["clock_jump", "clock_jump"]
    assert gaps[0].to_ms - gaps[0].from_ms == jump_s * 1000
    assert f"{jump_s:+d}.000 s" in gaps[0].reason


def test_pairs_come_and_go_and_the_interval_changes_while_it_runs(lab: Lab) -> None:
    feed = lab.feed(well)
    lab.run(
        feed,
        20,
        (2.5, lambda: feed.add("ETH-USDT")),
        (2.6, lambda: feed.add("ETH-USDT")),
        (5.2, lambda: feed.remove("BTC-USDT")),
        (5.3, lambda: feed.remove("BTC-USDT")),
        (10.1, lambda: feed.set_interval(5)),
        (18.0, lambda: feed.add("BTC-USDT")),
    )
    times = {name: [round(at, 3) for at, url in lab.asked if name in url] for name in ("BTC", "ETH")}
    assert times["BTC"] == [0, 1, 2, 3, 4, 5, 18.0]
    assert times["ETH"] == [2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5, 10.1, 15.1]
    numbers = [each.sequence_number for each in lab.snapshots() if each.pair == "BTC-USDT"]
    assert numbers == [1, 2, 3, 4, 5, 6, 7]


def test_what_is_changed_before_it_runs_holds(lab: Lab) -> None:
    feed = lab.feed(well)
    feed.add("ETH-USDT")
    feed.remove("BTC-USDT")
    feed.set_interval(2)
    assert feed.stats().ticks == 0
    lab.run(feed, 9)
    assert [round(at) for at, _ in lab.asked] == [0, 2, 4, 6, 8]
    assert all("ETHUSDT" in url for _, url in lab.asked)


def test_an_answer_under_way_at_the_stop_is_waited_for_shortly(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep(1.5 if "BTC" in url else 100)
        return answer()

    stats = lab.run(lab.feed(script, "BTC-USDT", "ETH-USDT", interval_s=60), 1)
    assert (stats.stored, stats.failed) == (1, 1)
    assert "not finished" in lab.gaps()[0].reason


def test_a_mistake_of_ours_ends_the_feed_and_the_tick_is_declared(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        if number == 2:
            raise ZeroDivisionError
        return answer()

    feed = lab.feed(script)
    with pytest.raises(ZeroDivisionError):
        lab.run(feed, 10)
    stats = feed.stats()
    assert (stats.ticks, stats.stored, stats.failed) == (3, 2, 1)
    assert [gap.count for gap in lab.gaps()] == [1]


@pytest.mark.parametrize("interval", [0, 0.001, -1, 100_000, float("nan")])
def test_an_interval_that_cannot_be_is_refused(lab: Lab, interval: float) -> None:
    with pytest.raises(UsageMistake, match="interval"):
        lab.feed(well, interval_s=interval)


def test_a_venue_that_nobody_described_is_refused() -> None:
    with pytest.raises(UsageMistake, match=r"Venue\.polling"):
        PollFeed(Venue("nowhere", ()), ["BTC-USDT"], emit=lambda item: None)


BODIES = {
    "binance": b'{"lastUpdateId":7,"bids":[["4","1"]],"asks":[["5","1"]]}',
    "binance_us": b'{"lastUpdateId":7,"bids":[["4","1"]],"asks":[["5","1"]]}',
    "binance_futures": b'{"lastUpdateId":7,"E":1,"T":1,"bids":[["4","1"]],"asks":[["5","1"]]}',
    "kraken": b'{"error":[],"result":{"XXBTZUSD":{"asks":[["5","1",1616663113]],"bids":[["4","1",1616663113]]}}}',
    "coinbase": b'{"pricebook":{"product_id":"BTC-USD","bids":[{"price":"4","size":"1"}],"asks":[{"price":"5","size":"1"}],'
    b'"time":"2025-10-02T10:00:00Z"}}',
    "bybit": b'{"retCode":0,"retMsg":"OK","result":{"s":"BTCUSD","b":[["4","1"]],"a":[["5","1"]],"ts":1,"u":7},"time":1}',
    "okx": b'{"code":"0","msg":"","data":[{"asks":[["5","1","0","1"]],"bids":[["4","1","0","1"]],"ts":"1759399200000"}]}',
    "bitstamp": b'{"timestamp":"1759399200","microtimestamp":"1759399200000000","bids":[["4","1"]],"asks":[["5","1"]]}',
}
PLACES = {
    "kraken": ("public_Depth", "BTC-USD"),
    "coinbase": ("api_v3_brokerage_market_product%5Fbook", "BTC-USD"),
    "okx": ("api_v5_market_books", "BTC-USD"),
}


@pytest.mark.parametrize("venue", BODIES)
def test_every_venue_is_polled_and_read(lab: Lab, venue: str) -> None:
    async def script(number: int, url: str) -> Answer:
        return answer(BODIES[venue])

    stats = lab.run(lab.feed(script, "BTC-USD", venue=venue), 2)
    assert stats.stored == 2, lab.gaps()
    snapshot = lab.snapshots()[0]
    assert (snapshot.bids[0].price, snapshot.asks[0].price) == (4, 5)
    if venue in PLACES:
        assert tuple(lab.items[0].place)[1:] == PLACES[venue]
    url = Registry().venues[venue].polling()
    assert url is not None
    assert lab.asked[0][1].startswith(url.rest)
