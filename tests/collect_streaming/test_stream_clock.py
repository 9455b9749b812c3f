"""C4 of a stream: the wall clock is set while it runs; no point is doubled or missed, and the jump stands in the tree."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import time
from typing import Any

import msgspec
import orjson
import pytest
from aiohttp import web

from pytest_marketreplay import clock

from .scripted import QUICK, Scripted, Talk, diff, running
from .test_stream_life import endless

HOUR_MS = 3_600_000
JUMPS = pytest.mark.parametrize("moved_ms", [-HOUR_MS, HOUR_MS, 24 * HOUR_MS], ids=["-1h", "+1h", "+1d"])


class Wall:
    """The wall clock, as somebody sets it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.moved_ms = 0
        monkeypatch.setattr(clock, "now_ns", lambda: time.time_ns() + self.moved_ms * 10**6)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    return Wall(monkeypatch)


def endings(run: Any, kind: str) -> list[tuple[int, int]]:
    return [(gap.from_ms, gap.to_ms) for gap in run.caught.gaps if gap.kind == kind]


@JUMPS
def test_a_wall_clock_that_is_set_doubles_and_misses_no_point_of_the_grid(
    wall: Wall, moved_ms: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        venue = Scripted(endless)
        async with venue.serve() as address, running(address, ("BTC-USDT", "ETH-USDT"), interval_s=0.02) as run:
            await run.until(lambda: run.count("snapshots") >= 10)
            before_ms = clock.now_ns() // 10**6
            wall.moved_ms = moved_ms
            await run.until(lambda: run.count("renewals") == 1 and run.count("clock_jumps") == 1)
            seen = run.count("snapshots")
            await run.until(lambda: run.count("snapshots") >= seen + 20)
        ((from_ms, to_ms),) = endings(run, "clock_jump")
        assert abs(from_ms - before_ms) < 2000
        assert abs(to_ms - from_ms - moved_ms) <= 2
        # numbered without a hole, and each point once by the monotonic clock: those of the old time, then those of the new
        for pair in ("BTC-USDT", "ETH-USDT"):
            mine = [each for each in run.caught.snapshots if each.pair == pair]
            assert [each.sequence_number for each in mine] == list(range(1, len(mine) + 1))
            steps = [after.timestamp_ms - before.timestamp_ms for before, after in itertools.pairwise(mine)]
            assert sum(abs(step - moved_ms) < 5000 for step in steps) == 1
            assert sum(-2 <= step < 5000 for step in steps) == len(steps) - 1
        missed = sum(gap.count for gap in run.caught.gaps if gap.kind == "missed")
        assert missed == run.count("missed")
        # the entry of the jump comes before the first snapshot of the new time
        kinds = [
            "jump" if item.gap and item.gap.kind == "clock_jump" else item.snapshot and item.snapshot.timestamp_ms
            for item in run.caught.items
        ]
        after = kinds[kinds.index("jump") :]
        assert all(abs(each - to_ms) < 20_000 for each in after if isinstance(each, int))
        # the frames that follow are of a connection of the new time, and nothing was lost in between
        assert abs(run.caught.frames[-1].time_ns // 10**6 - to_ms) < 20_000
        assert endings(run, "disconnected") == []

    with caplog.at_level(logging.WARNING, "pytest_marketreplay.collect"):
        asyncio.run(story())
    assert [re.sub(r"[\d.]+", "N", each.message) for each in caplog.records if "moved" in each.message] == [
        f"binance: the wall clock moved by {'-' if moved_ms < 0 else '+'}N s"
    ]


@JUMPS
def test_a_hole_during_which_the_clock_is_set_has_each_part_by_one_clock(wall: Wall, moved_ms: int) -> None:
    async def cut(talk: Talk) -> None:
        await talk.diffs(1, 2)
        talk.cut()

    async def story() -> None:
        venue = Scripted(cut, endless)
        patience = msgspec.structs.replace(QUICK, backoff_s=0.3, backoff_cap_s=0.3)
        async with venue.serve() as address, running(address, patience=patience, interval_s=0.01) as run:
            await run.until(lambda: run.feed.stats().state.name == "RECONNECTING")
            wall.moved_ms = moved_ms
            await run.until(lambda: run.count("connections") == 2 and run.feed.stats().pairs["BTC-USDT"].ready)
        ((from_ms, to_ms),) = endings(run, "clock_jump")
        before, after = endings(run, "disconnected")
        assert before[0] <= before[1] == from_ms
        assert to_ms == after[0] <= after[1]
        assert before[1] - before[0] + after[1] - after[0] < 20_000
        for start, end in endings(run, "missed"):
            assert 0 <= end - start < 20_000

    asyncio.run(story())


@JUMPS
def test_a_connection_of_the_old_time_that_is_lost_leaves_a_hole_of_the_new_time(wall: Wall, moved_ms: int) -> None:
    async def story() -> None:
        gone = asyncio.Event()

        async def first(talk: Talk) -> None:
            await talk.say(diff(1), diff(2))
            await gone.wait()
            talk.cut()

        venue = Scripted(first, endless)
        async with venue.serve() as address, running(address) as run:
            await run.until(lambda: run.count("depth") == 2)
            venue.refusals = [web.Response(status=503)] * 2  # so that the old one is not followed at once
            wall.moved_ms = moved_ms
            await run.until(lambda: run.count("clock_jumps") == 1)
            gone.set()
            await run.until(lambda: run.count("connections") == 2 and run.count("depth") > 4)
        ((_, to_ms),) = endings(run, "clock_jump")
        for start, end in endings(run, "disconnected"):
            assert abs(start - to_ms) < 20_000
            assert 0 <= end - start < 20_000

    asyncio.run(story())


@JUMPS
def test_a_hole_that_ends_on_a_connection_of_the_old_time_ends_by_the_new_one(wall: Wall, moved_ms: int) -> None:
    async def story() -> None:
        speak = asyncio.Event()

        async def cut(talk: Talk) -> None:
            await talk.diffs(1)
            talk.cut()

        async def late(talk: Talk) -> None:
            await speak.wait()
            await endless(talk)

        venue = Scripted(cut, late, endless)
        async with venue.serve() as address, running(address) as run:
            await run.until(lambda: run.count("connections") == 2)
            venue.refusals = [web.Response(status=503)] * 50  # so that the second is not followed
            wall.moved_ms = moved_ms
            await run.until(lambda: run.count("clock_jumps") == 1)
            speak.set()
            await run.until(lambda: run.count("depth") > 4)
        ((_, to_ms),) = endings(run, "clock_jump")
        start, end = endings(run, "disconnected")[1]
        assert start == to_ms
        assert 0 <= end - start < 20_000

    asyncio.run(story())


def test_a_clock_that_is_set_while_nothing_is_streamed_is_told_as_well(wall: Wall) -> None:
    async def story() -> None:
        venue = Scripted(endless)
        async with venue.serve() as address, running(address, ()) as run:
            await asyncio.sleep(0)
            wall.moved_ms = HOUR_MS
        assert len(endings(run, "clock_jump")) == 1

    asyncio.run(story())


def test_a_snapshot_that_fails_while_the_clock_is_set_has_no_hour_in_its_gap(wall: Wall) -> None:
    async def story() -> None:
        venue = Scripted(endless)
        venue.book_answers = [web.Response(status=503)]
        slow = venue._book

        async def answer(request: web.Request) -> web.Response:
            wall.moved_ms = -HOUR_MS
            return await slow(request)

        venue._book = answer  # type: ignore[method-assign]
        async with venue.serve() as address, running(address) as run:
            await run.until(lambda: run.count("book_failures") == 1 and run.feed.stats().pairs["BTC-USDT"].ready)
        ((start, end),) = endings(run, "failed")
        assert 0 <= end - start < 5000
        line = next(item.line for item in run.caught.items if item.gap is not None and item.gap.kind == "failed")
        assert orjson.loads(line or b"")["meta"]["gap"]["to_ms"] == end

    asyncio.run(story())


def test_a_hole_that_lasts_is_told_in_parts(wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a killed process leaves a minute undeclared at most; here 50 ms."""

    async def cut(talk: Talk) -> None:
        await talk.diffs(1)
        talk.cut()

    async def story() -> None:
        monkeypatch.setattr("pytest_marketreplay.collect.grid.OpenGap.LONGEST_MS", 50)
        monkeypatch.setattr("pytest_marketreplay.collect.streaming._LOOK_S", 0.01)
        venue = Scripted(cut, endless)
        async with venue.serve() as address, running(address, interval_s=0.01) as run:
            await run.until(lambda: run.feed.stats().state.name == "RECONNECTING")
            venue.refusals = [web.Response(status=503)] * 10**6
            await run.until(lambda: len(endings(run, "disconnected")) >= 2 and len(endings(run, "missed")) >= 2)
            venue.refusals = []
            await run.until(lambda: run.feed.stats().pairs["BTC-USDT"].ready)
        parts = endings(run, "disconnected")
        assert all(before[1] == after[0] for before, after in itertools.pairwise(parts))
        assert run.count("missed") == sum(gap.count for gap in run.caught.gaps if gap.kind == "missed")

    asyncio.run(story())
