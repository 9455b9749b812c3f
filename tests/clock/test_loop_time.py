"""An event loop on the recording's clock: timers, frames, threads and sockets."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from pytest_marketreplay.errors import ClockStuck
from pytest_marketreplay.replay.marketclock import MarketClock

from .conftest import START_NS, Opened, Script

real_time = time.perf_counter


def seconds(clock: MarketClock) -> float:
    """Return how far the clock is from its start."""
    return (clock.now_ns - START_NS) / 1e9


def run(main: Awaitable[object], at_most: float = 2.0) -> float:
    """Run a coroutine; returns the real seconds that it took."""
    started = real_time()
    asyncio.run(main)  # type: ignore[arg-type]
    took = real_time() - started
    assert took < at_most
    return took


def test_a_sleep_takes_its_time_on_the_clock_and_none_in_fact(clock: MarketClock) -> None:
    async def main() -> None:
        before = asyncio.get_running_loop().time()
        await asyncio.sleep(3600)
        assert asyncio.get_running_loop().time() - before == pytest.approx(3600)

    run(main())
    assert clock.now_ns == START_NS + 3600 * 10**9
    assert time.time_ns() == clock.now_ns


def test_loop_and_wall_clock_are_one(clock: MarketClock) -> None:
    seen = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for delay in (0.1, 0.25, 1e-3, 7.0, 1e-6):
            await asyncio.sleep(delay)
            seen.append((round(loop.time() - start, 9), (time.time_ns() - START_NS) / 1e9, datetime.now(UTC)))

    run(main())
    assert [each[0] for each in seen] == [0.1, 0.35, 0.351, 7.351, 7.351001]
    assert [each[1] for each in seen] == [0.1, 0.35, 0.351, 7.351, 7.351001]
    assert seen[-1][2] == datetime(2025, 10, 2, 10, 0, 7, 474001, UTC)


def test_frames_come_at_their_moment_and_in_order_with_timers(clock: MarketClock) -> None:
    log: list[tuple[str, float]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        clock.add(Script(clock, [0.5, 1.0, 1.5], lambda number: log.append((f"frame {number}", seconds(clock))), loop))
        for _ in range(4):
            await asyncio.sleep(0.4)
            log.append(("woke", seconds(clock)))

    run(main())
    assert log == [
        ("woke", 0.4),
        ("frame 0", 0.5),
        ("woke", 0.8),
        ("frame 1", 1.0),
        ("woke", 1.2),
        ("frame 2", 1.5),
        ("woke", 1.6),
    ]


def test_nothing_coalesces_each_frame_finds_its_reader_idle(clock: MarketClock) -> None:
    got: list[tuple[int, float]] = []

    async def main() -> None:
        queue: asyncio.Queue[int] = asyncio.Queue()
        clock.add(Script(clock, [0.1] * 5 + [0.2] * 5, queue.put_nowait, asyncio.get_running_loop()))
        for _ in range(10):
            number = await queue.get()
            assert queue.empty()
            await asyncio.sleep(0)
            got.append((number, seconds(clock)))

    run(main())
    assert got == [(number, 0.1 if number < 5 else 0.2) for number in range(10)]


def test_a_timeout_is_over_before_a_later_frame_and_not_before_an_earlier_one(clock: MarketClock) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        frames: list[asyncio.Future[int]] = [loop.create_future() for _ in range(2)]
        clock.add(Script(clock, [1.0, 10.0], lambda number: frames[number].set_result(number), loop))
        assert await asyncio.wait_for(frames[0], 2) == 0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(frames[1]), 2)
        assert seconds(clock) == 3.0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await frames[1]
        assert seconds(clock) == 4.0
        clock.remove(clock._sources[0])

    run(main())


def test_tasks_interleave_by_their_timers(clock: MarketClock) -> None:
    log = []

    async def poll(name: str, every: float) -> None:
        for _ in range(3):
            await asyncio.sleep(every)
            log.append((name, seconds(clock)))

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.25, lambda: log.append(("later", seconds(clock))))
        await asyncio.gather(poll("a", 0.1), poll("b", 0.15))

    run(main())
    assert log == [("a", 0.1), ("b", 0.15), ("a", 0.2), ("later", 0.25), ("a", 0.3), ("b", 0.3), ("b", 0.45)] or (
        log == [("a", 0.1), ("b", 0.15), ("a", 0.2), ("later", 0.25), ("b", 0.3), ("a", 0.3), ("b", 0.45)]
    )


def test_work_in_a_thread_takes_no_time_on_the_clock(clock: MarketClock) -> None:
    def work() -> int:
        return sum(range(200_000))

    async def main() -> None:
        keepalive = asyncio.get_running_loop().call_later(20, lambda: None)
        for _ in range(5):
            await asyncio.to_thread(work)
        assert seconds(clock) == 0.0
        keepalive.cancel()

    run(main())


def test_work_that_takes_long_counts_after_a_second(clock: MarketClock) -> None:
    """A timeout around it is neither over at once nor never."""
    held = threading.Event()

    async def main() -> None:
        work = asyncio.get_running_loop().run_in_executor(None, held.wait, 10)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(work), 0.2)
        held.set()
        await work
        assert 0.2 <= seconds(clock) < 0.5

    started = real_time()
    asyncio.run(main())
    assert 1.0 < real_time() - started < 4.0


def test_threads_that_sleep_for_a_task_sleep_on_the_clock(clock: MarketClock) -> None:
    """Also more of them than the pool has workers."""
    log = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(2) as pool:
            sleeps = [loop.run_in_executor(pool, time.sleep, 1) for _ in range(4)]
            for _ in range(4):
                await asyncio.sleep(0.5)
                log.append(seconds(clock))
            await asyncio.gather(*sleeps, asyncio.to_thread(time.sleep, 0.25))

    run(main())
    assert log == [0.5, 1.0, 1.5, 2.0]
    assert seconds(clock) == 2.25


def test_a_queue_is_fed_by_a_thread_before_the_timeout_that_waits_for_it(clock: MarketClock) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[int] = asyncio.Queue()

        def feed() -> None:
            for number in range(20):
                sum(range(50_000))
                loop.call_soon_threadsafe(queue.put_nowait, number)

        thread = threading.Thread(target=feed)
        thread.start()
        assert [await asyncio.wait_for(queue.get(), 10) for _ in range(20)] == list(range(20))
        thread.join()

    run(main())
    assert seconds(clock) == 0.0


def test_a_server_of_the_test_in_the_same_loop_is_waited_for_in_real_time(clock: MarketClock) -> None:
    async def main() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"you said " + await reader.readline())
            await asyncio.sleep(0.05)
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            for _ in range(3):
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.write(b"hello\n")
                assert await asyncio.wait_for(reader.read(), 10) == b"you said hello\n"
                writer.close()
                await writer.wait_closed()

    took = run(main(), 5)
    assert 0.15 <= seconds(clock) <= took


def test_an_answer_is_waited_for_until_its_moment(clock: MarketClock) -> None:
    order = []

    async def ask(at: float) -> None:
        await clock.until(START_NS + round(at * 1e9))
        order.append((at, seconds(clock)))

    async def main() -> None:
        await asyncio.gather(ask(0.3), ask(0.1), ask(0.2000000009), ask(0))
        await ask(0.05)

    run(main())
    assert order == [(0, 0.0), (0.1, 0.1), (0.2000000009, 0.200000001), (0.3, 0.3), (0.05, 0.3)]


def test_a_loop_that_spins_moves_on(clock: MarketClock) -> None:
    async def main() -> None:
        got: list[int] = []
        clock.add(Script(clock, [1.0], got.append, asyncio.get_running_loop()))
        while not got:
            await asyncio.sleep(0)

    run(main())
    assert seconds(clock) == 1.0


def test_waiting_for_nothing_is_an_error_that_says_who_waits(clock: MarketClock) -> None:
    async def wait_for_a_frame() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(ClockStuck, match=r"wait_for_a_frame at .*test_loop_time.py:\d+") as caught:
        run(wait_for_a_frame(), 1.5)
    assert len(caught.value.waiting) == 1


def test_a_keepalive_that_goes_on_for_ever_is_an_error(clock: MarketClock) -> None:
    async def main() -> None:
        async def keepalive() -> None:
            while True:
                await asyncio.sleep(20)

        task = asyncio.create_task(keepalive())
        await asyncio.get_running_loop().create_future()
        task.cancel()

    started = real_time()
    with pytest.raises(ClockStuck, match="only timers fire"):
        asyncio.run(main())
    assert real_time() - started < 4


def test_the_clock_moves_exactly_on_a_machine_that_has_been_up_for_years(clocked: Opened) -> None:
    """A float of seconds does not tell nanoseconds apart there."""
    log = []

    async def main(clock: MarketClock) -> None:
        for _ in range(1000):
            await asyncio.sleep(0.001)
            log.append(clock.now_ns - START_NS)

    with clocked() as clock, asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.time = lambda: 98_765_432.123456  # type: ignore[method-assign]
        runner.run(main(clock))
    assert log == [number * 1_000_000 for number in range(1, 1001)]


def test_the_time_of_a_loop_never_goes_back_and_its_timers_keep_their_distance(clocked: Opened) -> None:
    """From real time into a session, and into another, and out again."""
    times = []
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        fired: list[float] = []

        async def note() -> None:
            times.append(loop.time())
            await asyncio.sleep(0.01)
            times.append(loop.time())

        runner.run(note())
        loop.call_later(100, lambda: fired.append(loop.time()))
        for _ in range(2):
            with clocked():
                runner.run(note())
                runner.run(asyncio.sleep(30))
        runner.run(note())
        assert not fired
        before = loop.time()
        with clocked() as clock:
            runner.run(asyncio.sleep(60))
            assert len(fired) == 1
            assert 39 < fired[0] - before < 42
            assert seconds(clock) == 60
    assert times == sorted(times)


def test_a_session_that_begins_in_a_running_loop_drives_it(clocked: Opened) -> None:
    async def main() -> None:
        await asyncio.sleep(0.01)
        with clocked() as clock:
            assert clock.is_virtual(asyncio.get_running_loop())
            await asyncio.sleep(500)
            assert seconds(clock) == 500
        started = real_time()
        await asyncio.sleep(0.05)
        assert real_time() - started > 0.04

    run(main())


def test_a_hundred_frames_of_twelve_seconds_take_no_time(clock: MarketClock) -> None:
    got: list[int] = []

    async def main() -> None:
        clock.add(Script(clock, [number * 0.12 for number in range(1, 101)], got.append, asyncio.get_running_loop()))
        await asyncio.sleep(12)

    took = run(main())
    print(f"12 s of recording, 100 frames: {took * 1000:.1f} ms")
    assert got == list(range(100))


async def strategy(clock: MarketClock, log: list[str]) -> None:
    """Poll, stream, sleep, work in threads and time out, at once."""
    loop = asyncio.get_running_loop()
    frames: asyncio.Queue[int] = asyncio.Queue()
    clock.add(Script(clock, [0.013 * number for number in range(1, 60)], frames.put_nowait, loop))

    def note(what: object) -> None:
        log.append(f"{time.time_ns()} {time.monotonic_ns() - started} {what}")

    async def poll() -> None:
        for number in range(8):
            await clock.until(clock.now_ns + 41_700_000)
            note(f"answer {number}")
            await asyncio.sleep(0.05)

    async def stream() -> None:
        with contextlib.suppress(TimeoutError):
            while True:
                note(f"frame {await asyncio.wait_for(frames.get(), 0.5)}")
        note("no more")

    async def work() -> None:
        for number in range(4):
            note(f"slept {await asyncio.to_thread(lambda each: time.sleep(0.1) or each, number)}")

    started = time.monotonic_ns()
    await asyncio.gather(poll(), stream(), work())


def logged(clocked: Opened, story: Callable[[MarketClock, list[str]], Awaitable[None]]) -> str:
    log: list[str] = []
    with clocked() as clock:
        asyncio.run(story(clock, log))  # type: ignore[arg-type]
    return "\n".join(log)


def test_the_log_of_a_strategy_is_the_same_in_thirty_runs(clocked: Opened) -> None:
    first = logged(clocked, strategy)
    assert first.count("frame") == 59
    for _ in range(29):
        assert logged(clocked, strategy) == first


def test_the_log_is_the_same_while_the_machine_is_busy(clocked: Opened) -> None:
    first = logged(clocked, strategy)
    code = "import time\nend = time.monotonic() + 20\nwhile time.monotonic() < end: pass"
    others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    try:
        for _ in range(8):
            assert logged(clocked, strategy) == first
    finally:
        for other in others:
            other.kill()
            other.wait()
