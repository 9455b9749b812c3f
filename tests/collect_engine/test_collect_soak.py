"""A day of capturing in virtual time: two venues, ten pairs each, into a real tree, with failures on the way.

The engine, the polling feeds, the queue with its thread, the local sink and the files are real; time and the exchange's answers are made up.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from engine_doubles import VirtualLoop

from pytest_marketreplay import clock
from pytest_marketreplay.cassette import entry, files
from pytest_marketreplay.collect import building
from pytest_marketreplay.collect.engine import Engine
from pytest_marketreplay.collect.fetching import Answer, Unanswered
from pytest_marketreplay.collect.polling import PollFeed
from pytest_marketreplay.collect.queueing import SinkQueue
from pytest_marketreplay.collect.settings import CollectSettings
from pytest_marketreplay.errors import SinkError
from pytest_marketreplay.sinks.items import Item, Sink
from pytest_marketreplay.venues.registry import Registry

HOURS, INTERVAL_S = 24, 10.0
PAIRS = [f"P{number}-USDT" for number in range(10)]
BINANCE = b'{"lastUpdateId":%d,"bids":[["1.0","2.0"]],"asks":[["1.1","2.0"]]}'
KRAKEN = b'{"error":[],"result":{"X":{"asks":[["1.1","2.0",1]],"bids":[["1.0","2.0",%d]]}}}'


class Exchange:
    """Answers after up to 300 ms; some answers are refusals, some never come, and once in a while a feed meets a bug."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.number = 0

    async def __call__(self, url: str) -> Answer:
        self.number += 1
        await asyncio.sleep(self.rng.uniform(0.01, 0.3))
        chance = self.rng.random()
        if chance < 0.001:
            raise Unanswered("reset")
        if chance < 0.002:
            return Answer(503, None, [], b"")
        if chance < 0.0021:
            raise ZeroDivisionError("a bug")
        return Answer(200, None, [], (BINANCE if "/api/v3/" in url else KRAKEN) % self.number)


class Flaky:
    """The local sink, whose disk is full for ten minutes of every six hours."""

    name = "local"

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.open, self.rotate, self.close = sink.open, sink.rotate, sink.close

    def write(self, items: list[Item]) -> None:
        if (clock.now_ns() // 10**9 + 10_000) % 21_600 < 600:
            raise SinkError("no space left on the device")
        self.sink.write(items)


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def counted(root: Path) -> tuple[int, int]:
    """How many books are in a tree, and how many are declared to be missing; each line must be a good one."""
    written = missing = 0
    for file in files.all_files(root):
        with files.open_binary(file) as stream:
            for line in files.lines(stream):
                assert line.ended
                if entry.read_head(line.data).meta.dir is None:
                    written += 1
                else:
                    missing += orjson.loads(line.data)["meta"]["gap"]["count"]
    return written, missing


@pytest.mark.slow
def test_a_day_loses_nothing_undeclared_and_grows_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = VirtualLoop()
    monkeypatch.setattr(clock, "counter_ns", lambda: round(loop.now * 1e9))
    monkeypatch.setattr(clock, "now_ns", lambda: 1_759_363_200 * 10**9 + round((loop.now - 1_000) * 1e9))
    # into a file, as in use: pytest keeps what it captures in memory
    monkeypatch.setattr(logging.getLogger("pytest_marketreplay.collect"), "propagate", False)
    settings = CollectSettings({}, "s", str(tmp_path), to={"local": str(tmp_path / "captures")}, seal="gz")
    (local,) = building.make_sinks(settings)
    queue = SinkQueue(Flaky(local), max_items=1_000, first_pause=0.001, longest_pause=0.01)
    engine = Engine([queue])
    feeds: list[PollFeed] = []

    def maker(venue: str) -> Callable[[Callable[[Item], None]], PollFeed]:
        def make(emit: Callable[[Item], None]) -> PollFeed:
            profile = Registry().venues[venue]
            rng = random.Random(venue)
            feeds.append(PollFeed(profile, PAIRS, INTERVAL_S, emit=emit, fetch=Exchange(len(feeds)), rng=rng))
            return feeds[-1]

        return make

    for venue in ("binance", "kraken"):
        engine.add_feed(venue, maker(venue))
    engine.open()
    seen: dict[int, tuple[int, int, int]] = {}

    async def watch(stop: asyncio.Event) -> None:
        """Look at the process each hour, between two ticks; and let the thread keep up, as time is made up for it."""
        for step in range(HOURS * 60):
            await asyncio.sleep(60)
            until = time.monotonic() + 5
            while queue.stats().items > 300 and not queue.stats().failing and time.monotonic() < until:
                time.sleep(0.001)
            if step % 60 == 59:
                gc.collect()
                tasks = sum(not task.get_name().startswith("Task-") for task in asyncio.all_tasks())
                seen[step // 60 + 1] = (resident_kib(), len(os.listdir("/proc/self/fd")), tasks)
        stop.set()

    async def main() -> None:
        stop = asyncio.Event()
        await asyncio.gather(engine.run(stop), watch(stop))

    began = time.monotonic()
    with building.logging_to(tmp_path / "log.txt"):
        loop.run_until_complete(main())
        assert engine.drain() == {}
    took = time.monotonic() - began
    loop.close()

    written, missing = counted(tmp_path / "captures")
    expected = sum(feed.stats().ticks for feed in feeds)
    assert expected == pytest.approx(HOURS * 3600 / INTERVAL_S * 20, rel=0.005)
    assert written + missing == expected
    assert queue.stats().dropped > 1_000
    assert engine.restarts > 3
    memory, descriptors, tasks = zip(*(seen[hour] for hour in range(2, HOURS + 1)), strict=True)
    assert max(memory) < memory[0] * 1.1
    assert max(descriptors) <= descriptors[0] + 2  # the sink may hold a file that it seals just now, and the sealed one
    assert min(descriptors[-5:]) <= descriptors[0]
    assert len(set(tasks)) == 1
    assert took < 60
