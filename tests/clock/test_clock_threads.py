"""Several loops and threads on one clock: in the order of time, and never stuck."""

from __future__ import annotations

import asyncio
import threading
import time
import unittest
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from pytest_marketreplay.exchange import SimulatedExchange
from pytest_marketreplay.replay.marketclock import MarketClock
from pytest_marketreplay.replay.turns import Waiter

from .conftest import START_NS, Opened, Script

real_time = time.perf_counter


@contextmanager
def background_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run a loop in a thread of the test."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        assert not thread.is_alive()
        loop.close()


def test_loops_in_threads_take_turns_in_the_order_of_time(clock: MarketClock) -> None:
    log: list[int] = []
    started = real_time()

    async def main(every: float, times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(every)
            log.append(clock.now_ns - START_NS)

    stories = ((0.3, 20), (0.5, 12), (0.7, 8))
    threads = [threading.Thread(target=lambda story=story: asyncio.run(main(*story))) for story in stories]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(log) == log
    # a loop may only begin after another one has moved the clock: how far each one goes is what holds
    assert len(log) == 40
    assert log[-1] >= 6 * 10**9
    assert real_time() - started < 5


def test_a_loop_in_the_background_that_has_nothing_to_do_waits(clock: MarketClock) -> None:
    with background_loop() as loop:
        time.sleep(0)
        threading.Event().wait(0.8)  # longer than a stuck test is given
        future = asyncio.run_coroutine_threadsafe(asyncio.sleep(30, "done"), loop)
        assert future.result(5) == "done"
    assert clock.now_ns >= START_NS + 30 * 10**9


def test_a_loop_in_the_background_plays_while_the_test_sleeps(clock: MarketClock) -> None:
    log: list[tuple[int, int]] = []
    with background_loop() as loop:
        clock.add(Script(clock, [1, 2, 3, 9], lambda number: log.append((number, clock.now_ns - START_NS)), loop))
        time.sleep(5)
        assert clock.now_ns == START_NS + 5 * 10**9
        assert log == [(0, 10**9), (1, 2 * 10**9), (2, 3 * 10**9)]
        time.sleep(5)
        assert log[-1] == (3, 9 * 10**9)


def test_a_busy_test_is_not_overtaken_by_a_keepalive_in_the_background(clock: MarketClock) -> None:
    async def keepalive() -> None:
        while True:
            await asyncio.sleep(20)

    with background_loop() as loop:
        task = asyncio.run_coroutine_threadsafe(keepalive(), loop)
        ends, total = real_time() + 0.3, 0
        while real_time() < ends:
            total += sum(range(1000))
        assert clock.now_ns <= START_NS + 60 * 10**9
        task.cancel()


def test_a_loop_that_blocks_on_another_does_not_stop_it(clock: MarketClock) -> None:
    """The first loop neither sleeps nor rests: it is passed over after a second."""
    started = real_time()

    async def main() -> None:
        with background_loop() as other:
            for _ in range(3):
                assert asyncio.run_coroutine_threadsafe(asyncio.sleep(10, 1), other).result(5) == 1

    asyncio.run(main())
    assert clock.now_ns == START_NS + 30 * 10**9
    assert real_time() - started < 5


def test_a_thread_that_calls_back_into_a_waiting_loop_gets_its_answer(clock: MarketClock) -> None:
    """The loop waits for a thread, and the thread for a timer of the loop."""

    async def main() -> str:
        loop = asyncio.get_running_loop()
        return await asyncio.to_thread(
            lambda: asyncio.run_coroutine_threadsafe(asyncio.sleep(0.2, "done"), loop).result(10)
        )

    started = real_time()
    assert asyncio.run(main()) == "done"
    assert real_time() - started < 5


def test_a_session_may_end_while_a_loop_in_the_background_waits(clocked: Opened) -> None:
    with clocked():
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        asyncio.run_coroutine_threadsafe(asyncio.sleep(10), loop).result(5)
        waits = asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01, "done"), loop)
    assert waits.result(5) == "done"
    assert asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01, "real"), loop).result(5) == "real"
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def test_test_cases_of_unittest_run_on_the_clock(clock: MarketClock) -> None:
    class Case(unittest.IsolatedAsyncioTestCase):
        async def asyncSetUp(self) -> None:
            await asyncio.sleep(100)

        async def test_a_day(self) -> None:
            await asyncio.sleep(86_400)

    result = unittest.TestResult()
    Case("test_a_day").run(result)
    assert result.wasSuccessful()
    assert clock.now_ns == START_NS + 86_500 * 10**9


def test_anyio_runs_on_the_clock(clock: MarketClock) -> None:
    anyio = pytest.importorskip("anyio")

    async def main() -> None:
        with anyio.move_on_after(60) as scope:
            await anyio.sleep(3600)
        assert scope.cancelled_caught
        assert await anyio.to_thread.run_sync(lambda: time.sleep(40) or 1) == 1

    started = real_time()
    anyio.run(main)
    assert clock.now_ns == START_NS + 100 * 10**9
    assert real_time() - started < 3


def test_the_exchange_in_the_box_stays_in_real_time_and_holds_nobody(clock: MarketClock) -> None:
    """Its loop has sockets and timers of its own; to a test it is the outside world."""
    with SimulatedExchange() as exchange:
        assert requests.get(exchange.url("binance") + "/api/v3/ping", timeout=10).status_code == 200
        started, before = real_time(), clock.now_ns
        asyncio.run(asyncio.sleep(3600))
        assert clock.now_ns == before + 3600 * 10**9
        assert real_time() - started < 3


def test_a_server_of_the_test_in_another_thread_holds_no_sleep(clock: MarketClock) -> None:
    """Its timers are far away, and it has a socket open: others need not wait for either."""
    with background_loop() as loop:
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(lambda *_: None, "127.0.0.1", 0), loop).result(5)
        loop.call_soon_threadsafe(loop.call_later, 900, print)
        started, before = real_time(), clock.now_ns
        time.sleep(3600)
        assert clock.now_ns >= before + 3600 * 10**9
        assert real_time() - started < 3
        loop.call_soon_threadsafe(server.close)


def test_a_turn_is_not_taken_where_one_that_slept_has_woken_meanwhile(clocked: Opened) -> None:
    ends = threading.Event()
    with clocked() as clock:
        rests = threading.Thread(target=ends.wait)
        rests.start()
        turns, me = clock.turns, Waiter(lambda: None)
        turns.join(me)

        def another_wakes(_: float) -> bool:
            with turns.sleeper():
                return False

        later = clock.now_ns + 1_000_000
        try:
            assert not turns.take(me, later, another_wakes)
            assert clock.now_ns == later - 1_000_000
            assert turns.take(me, later, lambda seconds: ends.wait(seconds))
            assert clock.now_ns == later
        finally:
            turns.leave(me)
            ends.set()
            rests.join()
