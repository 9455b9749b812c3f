"""Storms that a venue sends at several pairs at once, beside a venue that is well."""

from __future__ import annotations

import asyncio
import random

import pytest
from poll_lab import Lab, answer, book

from pytest_marketreplay.collect.fetching import Answer, Unanswered

SECONDS = 200
PAIRS = ("A-USDT", "B-USDT", "C-USDT", "D-USDT")
CALM = b'{"error":[],"result":{"XXBTZUSD":{"asks":[["5","1",1]],"bids":[["4","1",1]]}}}'
KINDS = ("well", "well", "well", "429", "418", "5xx", "timeout", "reset", "garbage", "cut", "slow")


def storm(lab: Lab, seed: int) -> None:
    """Send everything a venue can do wrong at four pairs; check each request, and that another venue notices nothing."""
    rng = random.Random(seed)
    holds: list[tuple[float, float]] = []
    under_way: dict[str, list[tuple[float, float]]] = {}
    broken: list[str] = []

    async def wild(number: int, url: str) -> Answer:
        asked = lab.loop.now_s - 1000
        # an answer of the same instant may not have been read yet
        broken.extend(f"asked at {asked}, held from {told} to {until}" for told, until in holds if told < asked < until)
        try:
            return await said(number)
        finally:
            under_way.setdefault(url, []).append((asked, lab.loop.now_s - 1000))

    async def said(number: int) -> Answer:
        kind = rng.choice(KINDS)
        await asyncio.sleep(rng.uniform(0.001, 0.4))
        if kind in ("429", "418"):
            now, wait = lab.loop.now_s - 1000, rng.randint(1, 20)
            holds.append((now, now + wait))
            return answer(b"{}", int(kind), ("Retry-After", str(wait)))
        if kind == "timeout":
            await asyncio.sleep(1e6)
        if kind == "slow":
            await asyncio.sleep(rng.uniform(0.5, 2.5))
        if kind == "reset":
            raise Unanswered("reset")
        if kind == "5xx":
            return answer(b"oops", rng.choice([500, 502, 503]))
        return answer({"garbage": b"\xff<", "cut": book(number)[:-9]}.get(kind, book(number)))

    async def calm(number: int, url: str) -> Answer:
        return answer(CALM)

    loud = lab.feed(wild, *PAIRS, timeout_s=3.0)
    quiet = lab.feed(calm, "BTC-USD", venue="kraken")

    async def both() -> None:
        stop = asyncio.Event()
        lab.loop.call_at(1000 + SECONDS - 0.001, stop.set)
        await asyncio.gather(loud.run(stop), quiet.run(stop))

    lab.loop.run_until_complete(both())
    assert not broken
    assert [round(at, 3) for at, url in lab.asked if "kraken" in url] == [float(second) for second in range(SECONDS)]
    stats = loud.stats()
    assert stats.ticks == len(PAIRS) * SECONDS == stats.stored + stats.empty + stats.failed + stats.missed
    assert sum(gap.count for gap in lab.gaps() if gap.kind in ("missed", "failed")) == stats.failed + stats.missed
    for pair in PAIRS:
        numbers = [each.sequence_number for each in lab.snapshots() if each.pair == pair]
        assert numbers == list(range(1, len(numbers) + 1))
    for url, spans in under_way.items():
        times = [at for at, each in lab.asked if each == url]
        for _, until in holds:
            if until > SECONDS - 3 or any(told < until < end for told, end in holds):
                continue  # held on by another answer, or the end
            begin = max([until, *(end for start, end in spans if start <= until < end)])
            later = [(told, end) for told, end in holds if until <= told <= begin + 2]
            if not later:
                assert any(until <= at <= begin + 2 for at in times) or begin > SECONDS - 3, (url, until)


@pytest.mark.parametrize("seed", range(60))
def test_no_pair_asks_while_the_venue_forbids_it_and_each_is_back_within_two_polls(lab: Lab, seed: int) -> None:
    storm(lab, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60, 500))
def test_no_pair_asks_while_the_venue_forbids_it_in_500_storms(lab: Lab, seed: int) -> None:
    storm(lab, seed)
