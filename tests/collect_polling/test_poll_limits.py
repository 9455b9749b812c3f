"""What a venue allows: `Retry-After` and bans to the letter, whatever storm it sends."""

from __future__ import annotations

import asyncio
import itertools
import random
from email.utils import formatdate

import pytest
from poll_lab import START_NS, Lab, answer, book

from pytest_marketreplay.collect.fetching import Answer, Unanswered
from pytest_marketreplay.collect.grid import ClockWatch, Grid, OpenGap
from pytest_marketreplay.collect.limits import BAN_S, LONGEST_BAN_S, Limits, retry_after_s


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, None),
        ("17", 17.0),
        (" 0 ", 0.0),
        ("soon", None),
        ("-5", None),
        ("١٢", None),
        (formatdate(START_NS / 1e9 + 90, usegmt=True), 90.0),
        (formatdate(START_NS / 1e9 - 90, usegmt=True), 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(said: str | None, seconds: float | None) -> None:
    assert retry_after_s(said, START_NS) == seconds


def test_a_ban_that_says_no_time_is_taken_for_two_minutes_and_doubles_to_three_days() -> None:
    limits = Limits(random.Random(1))
    waits = []
    for _ in range(20):
        limits.refused(418, None, 0.0)
        waits.append(limits.free_s)
    assert waits[:3] == [BAN_S, 2 * BAN_S, 4 * BAN_S]
    assert waits[-1] == LONGEST_BAN_S
    limits.answered("1200")
    assert limits.used_weight == 1200
    limits.refused(418, None, limits.free_s)
    assert limits.free_s == LONGEST_BAN_S + BAN_S


def test_a_rate_limit_that_says_no_time_backs_off_with_jitter_up_to_a_cap() -> None:
    limits = Limits(random.Random(1))
    now = 0.0
    waits = []
    for _ in range(30):
        limits.refused(429, None, now)
        waits.append(limits.free_s - now)
        now = limits.free_s
    assert all(0.5 * min(60, 2.0**n) <= wait <= min(60, 2.0**n) for n, wait in enumerate(waits))
    assert len(set(waits)) == 30


def test_a_shorter_hold_never_undoes_a_longer_one() -> None:
    limits = Limits(random.Random(1))
    limits.hold(100.0, "long")
    limits.hold(50.0, "short")
    assert (limits.free_s, limits.reason) == (100.0, "long")
    assert not limits.may_ask(99.9)
    assert limits.may_ask(100.0)
    limits.answered("much")
    assert limits.used_weight is None


def test_a_grid_of_a_million_points_does_not_drift() -> None:
    grid = Grid(0.1, 5.0)
    taken = 0
    for number in range(0, 1_000_000, 7):
        now = 5.0 + number * 0.1 + 0.001
        tick = grid.take(now)
        assert tick is not None
        assert tick.number == number
        assert tick.missed == (6 if number else 0)
        taken += 1 + tick.missed
        assert grid.take(now) is None
    assert taken == grid._next


def test_a_clock_that_only_drifts_is_no_jump() -> None:
    watch = ClockWatch(0, 0)
    assert watch.look(10_000_000_000, 9_500_000_000) is None
    assert watch.look(10_000_000_000, 10_400_000_000) is None
    jump = watch.look(11_000_000_000, 9_400_000_000)
    assert jump is not None
    assert (jump.from_ms, jump.to_ms) == (9000, 11000)


def test_a_gap_of_another_kind_ends_the_one_before() -> None:
    gap = OpenGap()
    assert gap.end() == []
    assert gap.add("missed", 1, 2, 2, "late") == []
    (first,) = gap.add("failed", 3, 3, 1, "down")
    assert (first.kind, first.from_ms, first.to_ms, first.count) == ("missed", 1, 2, 2)
    assert [each.kind for each in gap.end()] == ["failed"]


def test_what_one_pair_is_told_holds_for_all_of_the_venue(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        if "BTC" in url and number == 2:
            return answer(b'{"code":-1003,"msg":"Too many requests"}', 429, ("Retry-After", "10"))
        return answer(book(number), 200, ("x-mbx-used-weight-1m", "77"))

    feed = lab.feed(script, "BTC-USDT", "ETH-USDT")
    stats = lab.run(feed, 30)
    late = {round(at, 3) for at, _ in lab.asked if 2 < at < 12}
    assert late == set()
    assert stats.used_weight == 77
    assert {gap.reason.partition(": ")[2] for gap in lab.gaps() if gap.kind == "missed"} == {"rate limited (429)"}


@pytest.mark.parametrize(
    ("venue", "said"),
    [
        ("kraken", answer(b'{"error":["EAPI:Rate limit exceeded"]}')),
        ("kraken", answer(b'{"error":["EGeneral:Temporary lockout"]}')),
        ("bybit", answer(b'{"retCode":10006,"retMsg":"Too many visits!","result":{}}')),
    ],
)
def test_a_limit_that_comes_with_another_status_counts_too(lab: Lab, venue: str, said: Answer) -> None:
    async def script(number: int, url: str) -> Answer:
        return said

    feed = lab.feed(script, "BTC-USD", venue=venue, interval_s=0.1)
    stats = lab.run(feed, 60)
    assert stats.requests < 20
    assert stats.stored == 0


def test_a_503_that_says_when_is_obeyed(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        return answer(b"busy", 503, ("retry-after", "7"))

    lab.run(lab.feed(script), 20)
    assert [round(at) for at, _ in lab.asked] == [0, 7, 14]


def storm(lab: Lab, seed: int) -> None:
    """Send everything a venue can do wrong at one feed, and check at each request that it was allowed."""
    rng = random.Random(seed)
    free = {"until": -1.0}
    broken: list[str] = []

    async def script(number: int, url: str) -> Answer:
        now = lab.loop.now_s - 1000
        if now < free["until"]:
            broken.append(f"asked at {now}, allowed from {free['until']}")
        kind = rng.choice(["well", "well", "429", "418", "5xx", "timeout", "reset", "garbage", "half", "slow"])
        await asyncio.sleep(rng.uniform(0.001, 0.2))
        now = lab.loop.now_s - 1000
        if kind in ("429", "418"):
            wait = rng.randint(1, 30)
            free["until"] = max(free["until"], now + wait)
            return answer(b"{}", int(kind), ("Retry-After", str(wait)))
        if kind == "5xx":
            return answer(b"oops", rng.choice([500, 502, 503]))
        if kind in ("timeout", "half"):
            await asyncio.sleep(1e6)
        if kind == "slow":
            await asyncio.sleep(rng.uniform(0.5, 2.5))
        if kind == "reset":
            raise Unanswered("reset")
        return answer(b"\xff<" if kind == "garbage" else book(number))

    # one pair: a second may be on its way when the first is told to wait
    feed = lab.feed(script, timeout_s=3.0)
    stats = lab.run(feed, 300)
    assert not broken
    assert stats.ticks == 300
    assert stats.stored > 0
    asked = [at for at, _ in lab.asked]
    gaps = [after - before for before, after in itertools.pairwise(asked)]
    assert max(gaps) <= 30 + 2 + 3, "the feed comes back within two polls"


@pytest.mark.parametrize("seed", range(40))
def test_no_request_is_sent_before_the_venue_allows_it(lab: Lab, seed: int) -> None:
    storm(lab, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40, 500))
def test_no_request_is_sent_before_the_venue_allows_it_in_500_storms(lab: Lab, seed: int) -> None:
    storm(lab, seed)


def test_one_venues_storm_delays_no_other(lab: Lab) -> None:
    async def wild(number: int, url: str) -> Answer:
        await asyncio.sleep(2.9)
        return answer(b"{}", 418, ("Retry-After", "5")) if number % 3 else answer(b"[" * 50_000)

    async def calm(number: int, url: str) -> Answer:
        return answer(b'{"error":[],"result":{"XXBTZUSD":{"asks":[["5","1",1]],"bids":[["4","1",1]]}}}')

    loud, quiet = lab.feed(wild, "A-B", "C-D", "E-F"), lab.feed(calm, "BTC-USD", venue="kraken")

    async def both() -> None:
        stop = asyncio.Event()
        lab.loop.call_at(1060 - 0.001, stop.set)
        await asyncio.gather(loud.run(stop), quiet.run(stop))

    lab.loop.run_until_complete(both())
    assert [round(at, 3) for at, url in lab.asked if "kraken" in url] == [float(second) for second in range(60)]
