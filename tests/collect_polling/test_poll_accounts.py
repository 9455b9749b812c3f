"""The feed's accounts where several things happen at once: pairs under way together, changes, and a stop in between."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from poll_lab import START_NS, Lab, answer, book

from pytest_marketreplay.collect.fetching import MOST_CONNECTIONS, Answer, Unanswered
from pytest_marketreplay.collect.limits import BAN_S, Limits, retry_after_s

START_MS = START_NS // 10**6
NAMES = [f"A{number}-USDT" for number in range(10)]


def stretches(lab: Lab) -> list[tuple[str, int, int, int]]:
    return [(gap.kind, gap.from_ms - START_MS, gap.to_ms - START_MS, gap.count) for gap in lab.gaps()]


def slow_once(number: int, seconds: float) -> float:
    return seconds if number == 2 else 0.01


# ---------------------------------------------------------------- limits, several pairs


@pytest.mark.parametrize(("status", "longest_s"), [(418, BAN_S + 1), (429, 2.0)])
def test_pairs_that_are_refused_together_are_refused_once(lab: Lab, status: int, longest_s: float) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep(0.1)
        return answer(b"{}", status)

    feed = lab.feed(script, *NAMES)
    lab.run(feed, 0.9)
    assert feed.limits.free_s - 1000 <= longest_s


def test_a_ban_after_a_rate_limit_of_the_same_moment_is_a_first_ban() -> None:
    limits = Limits(random.Random(1))
    limits.refused(429, None, 10.0, 9.0)
    limits.refused(418, None, 10.1, 9.0)
    assert limits.free_s == 10.1 + BAN_S


def test_a_good_answer_that_was_under_way_at_the_refusal_ends_no_series() -> None:
    limits = Limits(random.Random(1))
    limits.refused(418, None, 10.0, 9.9)
    limits.answered(None, 9.9)
    limits.refused(418, None, 140.0, 139.0)
    assert limits.free_s == 140.0 + 2 * BAN_S


def test_a_date_is_measured_on_the_venues_own_clock() -> None:
    until, sent = (datetime.fromtimestamp(START_NS / 1e9 + more, UTC) for more in (30, 0))
    said, date = format_datetime(until, usegmt=True), format_datetime(sent, usegmt=True)
    for wrong_s in (-3600, 3600, 86_400):
        assert retry_after_s(said, START_NS + wrong_s * 10**9, date) == 30.0
    assert retry_after_s(said, START_NS, "nonsense") == 30.0
    assert retry_after_s(said.replace("GMT", "-0000"), START_NS) == 30.0


def test_a_wall_clock_an_hour_ahead_shortens_no_ban(lab: Lab) -> None:
    lab.jump_ns = 3600 * 10**9

    async def script(number: int, url: str) -> Answer:
        sent = START_NS / 1e9 + lab.loop.now_s - 1000
        dates = [format_datetime(datetime.fromtimestamp(sent + more, UTC), usegmt=True) for more in (0, 20)]
        return answer(b"{}", 418, ("Date", dates[0]), ("Retry-After", dates[1]))

    lab.run(lab.feed(script), 30)
    assert [round(at) for at, _ in lab.asked] == [0, 20]


@pytest.mark.parametrize(("said", "seconds"), [("1.5", 1.5), ("0", 0.0), ("1.", None), (".5", None), ("1e3", None)])
def test_a_fraction_of_a_second_is_waited_for_too(said: str, seconds: float | None) -> None:
    assert retry_after_s(said, START_NS) == seconds


def test_what_waits_for_its_turn_is_not_sent_after_a_refusal(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        first = "A0USDT" in url
        await asyncio.sleep(0.1 if first else 0.4)
        return answer(b"{}", 429, ("Retry-After", "30")) if first else answer()

    names = [f"A{number}-USDT" for number in range(200)]
    stats = lab.run(lab.feed(script, *names), 5)
    assert (stats.requests, stats.stored, stats.failed) == (MOST_CONNECTIONS, MOST_CONNECTIONS - 1, 1)
    assert {at for at, _ in lab.asked} == {0.0}


def storm(lab: Lab, seed: int) -> None:
    """Three pairs at one venue that does everything wrong: no request begins before what was said last allows it."""
    rng = random.Random(seed)
    free = {"until": -1.0}
    broken: list[str] = []

    async def script(number: int, url: str) -> Answer:
        if lab.loop.now_s - 1000 < free["until"]:
            broken.append(f"asked at {lab.loop.now_s - 1000}, allowed from {free['until']}")
        kind = rng.choice(["well"] * 6 + ["429", "418", "silent 418", "5xx", "half-open", "reset", "garbage", "slow"])
        await asyncio.sleep(rng.uniform(0.001, 0.3))
        if kind == "slow":
            await asyncio.sleep(rng.uniform(0.5, 2.5))
        now = lab.loop.now_s - 1000
        if kind in ("429", "418", "silent 418"):
            wait = 120 if kind == "silent 418" else rng.randint(1, 20)
            free["until"] = max(free["until"], now + wait)
            headers = () if kind == "silent 418" else (("Retry-After", str(wait)),)
            return answer(b"{}", 429 if kind == "429" else 418, *headers)
        if kind == "5xx":
            return answer(b"oops", rng.choice([500, 502, 503, 504]))
        if kind == "half-open":
            await asyncio.sleep(1e6)
        if kind == "reset":
            raise Unanswered("reset")
        return answer(b"\xff<" if kind == "garbage" else book(number))

    stats = lab.run(lab.feed(script, "BTC-USDT", "ETH-USDT", "SOL-USDT", timeout_s=3.0), 240)
    assert not broken
    assert stats.ticks == 3 * 240
    for pair in ("BTC-USDT", "ETH-USDT", "SOL-USDT"):
        numbers = [each.sequence_number for each in lab.snapshots() if each.pair == pair]
        assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("seed", range(60))
def test_no_pair_asks_while_another_was_told_to_wait(lab: Lab, seed: int) -> None:
    storm(lab, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60, 500))
def test_no_pair_asks_while_another_was_told_to_wait_in_500_storms(lab: Lab, seed: int) -> None:
    storm(lab, seed)


# ---------------------------------------------------------------- ticks, numbers and ends


def test_ticks_under_a_slow_answer_are_declared_when_the_interval_changes(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep(slow_once(number, 6.0))
        return answer()

    feed = lab.feed(script)
    stats = lab.run(feed, 14, (6.6, lambda: feed.set_interval(2)))
    # the old grid's 3 to 6, the new one's 6.6; from 8.6 on it is met again
    assert stretches(lab) == [("missed", 3000, 6000, 4), ("missed", 6600, 6600, 1)]
    assert [round(at, 3) for at, _ in lab.asked] == [0, 1, 2, 8.6, 10.6, 12.6]
    assert (stats.ticks, stats.stored, stats.missed) == (11, 6, 5)


def test_ticks_under_a_slow_answer_are_declared_where_they_were_when_the_pair_is_removed(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep(slow_once(number, 4.0))
        return answer()

    feed = lab.feed(script)
    stats = lab.run(feed, 10, (5.3, lambda: feed.remove("BTC-USDT")))
    assert (stats.ticks, stats.stored) == (6, 3)
    assert stretches(lab) == [("missed", 3000, 5000, 3)]


def test_one_tick_under_the_last_answer_is_declared_at_its_own_time(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep(slow_once(number, 2.0))
        return answer()

    feed = lab.feed(script)
    lab.run(feed, 10, (3.3, lambda: feed.remove("BTC-USDT")))
    assert stretches(lab) == [("missed", 3000, 3000, 1)]


def test_a_pair_that_comes_back_while_its_last_answer_is_under_way_goes_on_counting(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep(0.5)
        return answer()

    feed = lab.feed(script)
    lab.run(feed, 8, (5.2, lambda: feed.remove("BTC-USDT")), (5.3, lambda: feed.add("BTC-USDT")))
    numbers = [each.sequence_number for each in lab.snapshots()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) == 9


def test_an_empty_book_between_two_failures_is_in_no_gap(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        if number in (2, 4):
            return answer(b"x", 500)
        return answer(book(number, bids=[], asks=[])) if number == 3 else answer()

    stats = lab.run(lab.feed(script), 7)
    assert stats.empty == 1
    assert stretches(lab) == [("failed", 2000, 2000, 1), ("failed", 4000, 4000, 1)]


def test_an_engine_that_waits_no_longer_still_gets_the_last_gap(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep(slow_once(number, 8.0))
        return answer()

    feed = lab.feed(script)

    async def go() -> None:
        stop = asyncio.Event()
        lab.loop.call_at(1003.5, stop.set)
        run = asyncio.create_task(feed.run(stop))
        await stop.wait()
        await asyncio.wait([run], timeout=1.0)
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
        assert run.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    lab.loop.run_until_complete(go())
    stats = feed.stats()
    assert (stats.ticks, stats.stored, stats.failed, stats.missed) == (4, 2, 1, 1)
    assert stretches(lab) == [("failed", 2000, 2000, 1), ("missed", 3000, 3000, 1)]


@pytest.mark.parametrize("stop_at", [8.0, 2.3])
def test_a_mistake_in_a_pair_that_was_removed_is_told(lab: Lab, stop_at: float) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep(0.5)
        if number == 2 and "BTC" in url:
            raise ZeroDivisionError
        return answer()

    feed = lab.feed(script, "BTC-USDT", "ETH-USDT")
    with pytest.raises(ZeroDivisionError):
        lab.run(feed, stop_at, (2.2, lambda: feed.remove("BTC-USDT")))
    assert feed.stats().failed >= 1


def test_the_numbers_tell_the_latency_and_how_long_the_venue_forbids(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep(0.25)
        return answer() if number == 0 else answer(b"{}", 429, ("Retry-After", "60"))

    feed = lab.feed(script)
    seen = []
    lab.run(feed, 4, (3.0, lambda: seen.append(feed.stats())))
    assert seen[0].last_latency_ms == 250.0
    assert seen[0].held
    assert seen[0].held_s == pytest.approx(58.25)
    assert not feed.stats().held
