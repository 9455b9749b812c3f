"""Clocks that are used before they run, after they fell back, and by code that blocks."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from pytest_marketreplay.replay import marketclock
from pytest_marketreplay.replay.marketclock import ClockFallback, MarketClock
from pytest_marketreplay.replay.resting import Standing, look

from .conftest import START_NS


def test_a_clock_moves_and_is_skewed_before_it_is_in_play() -> None:
    clock = MarketClock(START_NS)
    clock.advance(1.5)
    clock.skew(2)
    assert clock.now_ns == START_NS + 1_500_000_000
    before = time.time()
    assert before > START_NS / 1e9 + 1000, "the wall clock is the machine's"
    clock.start()
    try:
        assert time.time_ns() == START_NS + 3_500_000_000
    finally:
        clock.stop()


def test_a_clock_that_fell_back_before_it_is_in_play_passes_in_real_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marketclock, "early_names", None)
    clock = MarketClock(START_NS)
    with pytest.warns(ClockFallback, match="a loop in C"):
        clock.fall_back("a loop in C")
    clock.start()
    try:
        began, real = time.time(), time.perf_counter()
        assert abs(began - START_NS / 1e9) < 60
        clock.sleep(0.02)
        assert time.perf_counter() - real >= 0.02
        assert time.time() > began
    finally:
        clock.stop()


def test_a_sleep_that_blocks_its_own_loop_takes_no_real_time(clock: MarketClock) -> None:
    async def blocks() -> None:
        time.sleep(3600)

    real = time.perf_counter()
    asyncio.run(blocks())
    assert clock.now_ns == START_NS + 3600 * 10**9
    assert time.perf_counter() - real < 5


def test_an_executor_of_ones_own_is_waited_for(clock: MarketClock) -> None:
    class InThread(Executor):
        def submit(self, fn: Any, /, *args: Any, **more: Any) -> Future[Any]:
            future: Future[Any] = Future()
            threading.Thread(target=lambda: future.set_result(fn(*args, **more))).start()
            return future

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(loop.run_in_executor(InThread(), sum, (1, 2)), 3600)

    assert asyncio.run(main()) == 3
    assert clock.now_ns < START_NS + 3600 * 10**9


def test_where_the_system_tells_no_processor_time_a_thread_rests_that_stands_still() -> None:
    before = Standing(False, -1, 1, 2)
    assert before.rests_since(before)
    assert not Standing(False, -1, 1, 4).rests_since(before)
    assert not before.rests_since(None)
    assert look([threading.Thread()]) == {}
