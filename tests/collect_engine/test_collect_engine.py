"""The engine: what breaks stays where it broke, starts again, and is declared."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from engine_doubles import MS, OTHER, HandFeed, ListSink, VirtualLoop, full, item

from pytest_marketreplay import clock
from pytest_marketreplay.collect.engine import Engine
from pytest_marketreplay.collect.lag import LagSampler
from pytest_marketreplay.collect.queueing import SinkQueue
from pytest_marketreplay.errors import CollectError, SinkError
from pytest_marketreplay.sinks.items import Gap

Run = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]


@pytest.fixture
def virtually(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a coroutine in a loop whose time is made up, and the package's clock with it."""
    loop = VirtualLoop()
    monkeypatch.setattr(clock, "now_ns", lambda: round(loop.now * 1e9))
    yield lambda make: loop.run_until_complete(make())
    loop.close()


def engine_of(*sinks: ListSink, **options: Any) -> Engine:
    engine = Engine([SinkQueue(sink, first_pause=0.001, longest_pause=0.01) for sink in sinks], **options)
    engine.open()
    return engine


async def counting(feed: HandFeed, stop: asyncio.Event) -> None:
    """Ten items a second, and then wait."""
    for number in range(10):
        feed.emit(item(number, OTHER))
        await asyncio.sleep(0.1)
    await stop.wait()


def test_items_of_every_feed_go_to_every_sink(virtually: Run) -> None:
    sinks = ListSink(), ListSink()
    engine = engine_of(*sinks)
    for name in ("binance", "kraken"):
        engine.add_feed(name, lambda emit: HandFeed(emit, counting))

    async def main() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(5, stop.set)
        await engine.run(stop)

    virtually(main)
    assert engine.drain() == {}
    assert [sorted(sink.numbers) for sink in sinks] == [sorted([*range(10)] * 2)] * 2
    assert (engine.items, engine.restarts, engine.last_error) == (20, 0, "")


def test_a_feed_that_breaks_starts_again_after_growing_pauses_with_its_gap_declared_and_others_go_on(
    virtually: Run, caplog: pytest.LogCaptureFixture
) -> None:
    sink = ListSink()
    restarted: list[str] = []
    engine = engine_of(sink, on_restart=restarted.append)
    began: list[float] = []

    async def breaking(feed: HandFeed, stop: asyncio.Event) -> None:
        began.append(asyncio.get_running_loop().time())
        feed.emit(item(clock.now_ns() // MS))
        if feed.runs < 4:
            raise ZeroDivisionError("a bug")
        await stop.wait()

    engine.add_feed("binance", lambda emit: HandFeed(emit, breaking))
    engine.add_feed("kraken", lambda emit: HandFeed(emit, counting))

    async def main() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(30, stop.set)
        await engine.run(stop)

    with caplog.at_level(logging.ERROR):
        virtually(main)
    assert engine.drain() == {}
    assert [round(b - a, 3) for a, b in itertools.pairwise(began)] == [1.0, 2.0, 4.0]
    assert sum(record.exc_info is not None for record in caplog.records) == 3
    assert sink.gaps == [
        ("BTCUSDT", Gap("failed", 1_000_001, 1_001_000, 0, "ZeroDivisionError: a bug")),
        ("BTCUSDT", Gap("failed", 1_001_001, 1_003_000, 0, "ZeroDivisionError: a bug")),
        ("BTCUSDT", Gap("failed", 1_003_001, 1_007_000, 0, "ZeroDivisionError: a bug")),
    ]
    assert engine.gaps == {"failed": 3}
    assert restarted == ["binance"] * 3
    assert engine.restarts == 3
    assert engine.last_error == "feed binance: ZeroDivisionError: a bug"
    assert len([each for each in sink.items if each.place == OTHER]) == 10


def test_a_feed_that_ran_long_begins_with_the_shortest_pause_again(virtually: Run) -> None:
    engine = engine_of(ListSink())
    ends: list[float] = []
    begins: list[float] = []

    async def breaking(feed: HandFeed, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        begins.append(loop.time())
        await asyncio.sleep(0 if feed.runs < 3 else 301)
        ends.append(loop.time())
        raise ValueError

    engine.add_feed("binance", lambda emit: HandFeed(emit, breaking))

    async def main() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(400, stop.set)
        await engine.run(stop)

    virtually(main)
    engine.drain()
    assert [round(begin - end, 3) for end, begin in zip(ends, begins[1:], strict=False)] == [1.0, 2.0, 1.0]


def test_a_feed_that_ends_by_itself_is_started_again(virtually: Run) -> None:
    engine = engine_of(ListSink())

    async def ending(feed: HandFeed, stop: asyncio.Event) -> None:
        if feed.runs > 1:
            await stop.wait()

    engine.add_feed("binance", lambda emit: HandFeed(emit, ending))

    async def main() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(10, stop.set)
        await engine.run(stop)

    virtually(main)
    engine.drain()
    assert engine.restarts == 1
    assert engine.last_error == "feed binance: the feed ended by itself"


def test_a_stop_during_a_pause_ends_at_once(virtually: Run) -> None:
    engine = engine_of(ListSink(), first_pause=1_000.0)

    async def breaking(feed: HandFeed, stop: asyncio.Event) -> None:
        raise ValueError("no")

    engine.add_feed("binance", lambda emit: HandFeed(emit, breaking))

    async def main() -> float:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(1, stop.set)
        await engine.run(stop)
        return asyncio.get_running_loop().time()

    assert virtually(main) < 1_002
    engine.drain()


def test_a_feed_that_does_not_end_is_cancelled_after_its_grace(
    virtually: Run, caplog: pytest.LogCaptureFixture
) -> None:
    engine = engine_of(ListSink())

    async def deaf(feed: HandFeed, stop: asyncio.Event) -> None:
        await asyncio.sleep(1e6)

    engine.add_feed("binance", lambda emit: HandFeed(emit, deaf))

    async def main() -> float:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        began = loop.time()
        loop.call_later(5, stop.set)
        await engine.run(stop)
        return loop.time() - began

    assert virtually(main) == pytest.approx(6.0)
    assert "is cancelled" in caplog.text
    engine.drain()


def test_an_engine_that_is_cancelled_leaves_no_task_behind(virtually: Run) -> None:
    engine = engine_of(ListSink())
    engine.add_feed("binance", lambda emit: HandFeed(emit, counting))

    async def main() -> int:
        task = asyncio.create_task(engine.run(asyncio.Event()))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return len(asyncio.all_tasks())

    assert virtually(main) == 1
    engine.drain()


def test_a_sink_that_fails_never_keeps_another_from_writing(virtually: Run) -> None:
    good, bad = ListSink(), ListSink()
    bad.problem = full()
    engine = engine_of(good, bad, drain=0.05)
    engine.add_feed("binance", lambda emit: HandFeed(emit, counting))

    async def main() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(2, stop.set)
        await engine.run(stop)
        bad.wait_for(lambda: bad.tries)

    virtually(main)
    assert engine.last_error == "sink list: no space left on the device"
    assert engine.drain() == {"list": 10}
    assert good.numbers == list(range(10))


def test_sinks_are_opened_all_or_none() -> None:
    good, bad = ListSink(), ListSink()
    bad.open_problem = full()
    engine = Engine([SinkQueue(good), SinkQueue(bad)])
    with pytest.raises(SinkError):
        engine.open()
    assert good.closed == 1


def test_an_engine_without_anything_ends_when_it_is_told_to(virtually: Run) -> None:
    engine = Engine([])

    async def main() -> None:
        stop = asyncio.Event()
        stop.set()
        await engine.run(stop)

    virtually(main)
    assert engine.drain() == {}


def test_an_unknown_feed_is_refused_with_the_names_of_those_there_are() -> None:
    engine = Engine([])
    engine.add_feed("binance", lambda emit: HandFeed(emit, counting))
    engine.add_feed("kraken", lambda emit: HandFeed(emit, counting))
    with pytest.raises(CollectError, match="'okx'; it captures binance, kraken"):
        engine.feed("okx")
    assert list(engine.feeds) == ["binance", "kraken"]


def test_after_a_pair_is_removed_a_restart_declares_nothing_for_places_that_no_longer_come(virtually: Run) -> None:
    sink = ListSink()
    engine = engine_of(sink)

    async def breaking(feed: HandFeed, stop: asyncio.Event) -> None:
        if feed.runs > 1:
            await stop.wait()
        feed.emit(item(1))
        engine.forget("binance")
        raise ValueError

    engine.add_feed("binance", lambda emit: HandFeed(emit, breaking))

    async def main() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(5, stop.set)
        await engine.run(stop)

    virtually(main)
    engine.drain()
    assert sink.gaps == []


def test_the_lag_of_a_loop_that_was_held_up_is_seen() -> None:
    told: list[float] = []
    sampler = LagSampler(every=0.001, on_sample=told.append)
    assert sampler.percentile_ms(99) == 0.0

    async def main() -> None:
        task = asyncio.create_task(sampler.run())
        await asyncio.sleep(0)
        until = clock.counter_ns() + 30 * MS
        while clock.counter_ns() < until:
            pass
        while not told:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())
    assert sampler.percentile_ms(99) >= 20
    assert max(told) >= 0.02
