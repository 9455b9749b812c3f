"""The wall clock, `time.sleep` and `time.monotonic` in code without an event loop; and what is left afterwards."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import subprocess
import sys
import threading
import time
import warnings
from datetime import UTC, date, datetime
from time import monotonic as early_monotonic
from time import sleep as early_sleep

import pytest

from pytest_marketreplay.intercept.install import PATCHES
from pytest_marketreplay.replay.marketclock import ClockFallback, MarketClock, in_play

from .conftest import START_NS, Opened, Script

real_time = time.perf_counter


def test_the_wall_clock_tells_the_recordings_time_and_stands_still(clock: MarketClock) -> None:
    assert time.time_ns() == START_NS == clock.now_ns
    assert time.time() == clock.time() == 1_759_399_200.123
    assert datetime.now(UTC) == clock.now() == datetime(2025, 10, 2, 10, 0, 0, 123000, UTC)
    assert date.today() == datetime.fromtimestamp(clock.time()).date()
    assert time.gmtime()[:5] == (2025, 10, 2, 10, 0)
    assert time.clock_gettime_ns(time.CLOCK_REALTIME) == START_NS


def test_sleeping_moves_every_clock_and_takes_no_time(clock: MarketClock) -> None:
    started, monotonic, wall = real_time(), time.monotonic(), time.time()
    time.sleep(90)
    early_sleep(10.5)
    assert real_time() - started < 1
    assert clock.now_ns == START_NS + 100_500_000_000
    assert time.time() - wall == 100.5
    assert time.monotonic() - monotonic == early_monotonic() - monotonic == pytest.approx(100.5)
    assert time.monotonic_ns() // 10**9 == int(time.monotonic())


def test_time_never_goes_back(clock: MarketClock) -> None:
    clock.move_to(START_NS + 5 * 10**9)
    clock.move_to(START_NS + 3 * 10**9)
    assert clock.now_ns == time.time_ns() == START_NS + 5 * 10**9
    with pytest.raises(ValueError, match="never goes back"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="non-negative"):
        time.sleep(-1)
    with pytest.raises(TypeError):
        time.sleep("1")  # type: ignore[arg-type]


@pytest.mark.parametrize("step_ns", [1, 999, 10**9 - 1, 86_400 * 10**9 + 1, 4_000 * 86_400 * 10**9 + 7])
def test_every_nanosecond_counts(clock: MarketClock, step_ns: int) -> None:
    for number in range(1, 4):
        clock.move_to(START_NS + number * step_ns)
        assert time.time_ns() == START_NS + number * step_ns


def test_a_poll_with_sleeps_ends_at_its_deadline(clock: MarketClock) -> None:
    polls, deadline = 0, time.monotonic() + 30
    while time.monotonic() < deadline:
        polls += 1
        time.sleep(0.5)
    assert polls == 60


def test_who_waits_in_real_time_for_a_monotonic_deadline_meets_it(clock: MarketClock) -> None:
    """The clock stands still, but `time.monotonic` does not for ever."""
    event, deadline, started = threading.Event(), time.monotonic() + 0.1, real_time()
    while time.monotonic() < deadline:
        event.wait(0.01)
        assert real_time() - started < 5
    assert clock.now_ns == START_NS


def test_the_standard_library_waits_for_real_things_in_real_time(clock: MarketClock) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.2)"])
    assert child.wait(timeout=30) == 0
    with concurrent.futures.ThreadPoolExecutor() as pool:
        future = pool.submit(threading.Event().wait, 0.3)
        with pytest.raises(TimeoutError):
            list(concurrent.futures.as_completed([future], timeout=0.05))
    ours, _theirs = multiprocessing.Pipe()
    assert not ours.poll(0.05)
    assert clock.now_ns == START_NS


def test_a_sleep_stops_where_a_thread_has_something_to_take(clock: MarketClock) -> None:
    """Events of threads are not played by a sleep; they are due, and their thread takes them at their moment."""
    taken = []
    script = Script(clock, [1.0, 2.0, 7.0], lambda _: taken.append(clock.now_ns - START_NS))
    clock.add(script)
    over = threading.Event()

    def client() -> None:
        while not over.wait(0.0005):
            due = script.next_ns()
            if due is not None and due <= clock.now_ns:
                script.play()

    thread = threading.Thread(target=client)
    thread.start()
    time.sleep(5)
    over.set()
    thread.join()
    assert taken == [10**9, 2 * 10**9]
    assert clock.now_ns == START_NS + 5 * 10**9


def test_sleeping_threads_wake_in_the_order_of_their_moments(clock: MarketClock) -> None:
    log = []

    def sleeper(every: float, times: int) -> None:
        for _ in range(times):
            time.sleep(every)
            log.append((clock.now_ns - START_NS, every))

    threads = [threading.Thread(target=sleeper, args=args) for args in ((0.3, 10), (0.7, 5), (1.1, 3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [at for at, _ in log] == sorted(round(every * 1e9) * (number + 1) for every, times in
                                          ((0.3, 10), (0.7, 5), (1.1, 3)) for number in range(times))  # fmt: skip


def test_a_thread_of_another_is_left_in_real_time(clocked: Opened) -> None:
    """It was there before the session and carries none; its wall clock is the process's, and so the recording's."""
    go, done = threading.Event(), threading.Event()
    took: list[float] = []

    def other() -> None:
        go.wait(10)
        started, monotonic = real_time(), time.monotonic()
        time.sleep(0.1)
        took.append(real_time() - started)
        took.append(time.monotonic() - monotonic)
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with clocked() as clock:
        go.set()
        time.sleep(1000)
        assert done.wait(10)
        assert clock.now_ns == START_NS + 10**12
    thread.join()
    assert took[0] > 0.09
    assert 0.09 < took[1] < 5


def test_everything_is_given_back(clocked: Opened) -> None:
    base = asyncio.BaseEventLoop
    before = (
        time.sleep,
        time.monotonic,
        time.monotonic_ns,
        base.run_forever,
        base.shutdown_default_executor,
        early_sleep,
    )
    names = PATCHES.names()
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        selector = loop._selector  # type: ignore[attr-defined]
        attributes = set(vars(loop)), set(vars(selector))
        with clocked() as clock:
            assert in_play() is clock
            assert time.sleep is not before[0]
            assert early_sleep is not before[-1]
            runner.run(asyncio.sleep(5))
            time.sleep(5)
        assert set(vars(selector)) == attributes[1]
        assert set(vars(loop)) - attributes[0] <= {"time"}
        assert "select" not in vars(selector)
        started = real_time()
        runner.run(asyncio.sleep(0.05))
        assert real_time() - started > 0.04
    assert (time.sleep, time.monotonic, time.monotonic_ns, base.run_forever, base.shutdown_default_executor, early_sleep) == before  # fmt: skip
    assert PATCHES.names() == names
    assert in_play() is None
    assert time.time() > 1_760_000_000
    assert abs(time.clock_gettime(time.CLOCK_MONOTONIC) - time.monotonic()) < 1


def test_a_session_without_a_clock_changes_no_time(clocked: Opened) -> None:
    with clocked(None):
        assert in_play() is None
        assert time.time() > 1_760_000_000
        for wait in (lambda: time.sleep(0.05), lambda: asyncio.run(asyncio.sleep(0.05))):
            started = real_time()
            wait()
            assert real_time() - started > 0.04


def test_nested_sessions_each_have_their_time(clocked: Opened) -> None:
    later = START_NS + 10**18 // 10
    with clocked() as outer:
        time.sleep(1)
        with clocked(later) as inner:
            assert time.time_ns() == later
            time.sleep(2)
            asyncio.run(asyncio.sleep(3))
            assert time.time_ns() == inner.now_ns == later + 5 * 10**9
            assert outer.now_ns == START_NS + 10**9
            with clocked(None):  # one without a clock is told the time of the one around it
                time.sleep(4)
                assert time.time_ns() == later + 9 * 10**9
        assert time.time_ns() == outer.now_ns == START_NS + 10**9
        asyncio.run(asyncio.sleep(1))
        assert time.time_ns() == START_NS + 2 * 10**9


def test_nested_sessions_in_one_running_loop(clocked: Opened) -> None:
    later = START_NS + 10**15

    async def main() -> None:
        loop = asyncio.get_running_loop()
        times = [loop.time()]
        with clocked() as outer:
            await asyncio.sleep(10)
            times.append(loop.time())
            with clocked(later) as inner:
                await asyncio.sleep(100)
                times.append(loop.time())
                assert (inner.now_ns, outer.now_ns) == (later + 10**11, START_NS + 10**10)
            await asyncio.sleep(10)
            times.append(loop.time())
            assert outer.now_ns == START_NS + 2 * 10**10
        assert times[3] - times[0] == pytest.approx(120, abs=4)
        assert times == sorted(times)

    asyncio.run(main())


def test_sessions_of_tasks_may_end_in_another_order_than_they_began(clocked: Opened) -> None:
    first, second = clocked(), clocked(START_NS * 2)
    first.__enter__()
    inner = second.__enter__()
    first.__exit__(None, None, None)
    assert time.time_ns() == inner.now_ns == START_NS * 2
    second.__exit__(None, None, None)
    assert 1_760_000_000 < time.time() < START_NS * 2 / 1e9


def test_the_clock_travels_inside_a_travel_of_the_test(clocked: Opened) -> None:
    import time_machine

    with time_machine.travel(1_000_000_000, tick=False):
        with clocked(), time_machine.travel(1_100_000_000, tick=False):
            assert time.time() == 1_100_000_000
        assert time.time() == 1_000_000_000


def test_uvloop_passes_in_real_time_and_says_so_once(clocked: Opened) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        clock = in_play()
        assert clock is not None
        started, wall, real = clock.now_ns, time.time(), real_time()
        await asyncio.sleep(0.05)
        time.sleep(0.05)
        assert not clock.is_virtual(asyncio.get_running_loop())
        passed = real_time() - real
        assert 0.09 < passed < 5
        for seen in (clock.now_ns - started) / 1e9, time.time() - wall:
            assert seen == pytest.approx(passed, abs=0.02)
        await clock.until(clock.now_ns + 3600 * 10**9)
        assert time.time() - wall > 3600

    def run_in_uvloop() -> None:
        loop = uvloop.new_event_loop()
        try:
            loop.run_until_complete(main())
        finally:
            loop.close()

    with clocked():
        with pytest.warns(ClockFallback, match=r"uvloop.Loop: it passes in real time") as caught:
            run_in_uvloop()
        assert len(caught) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run_in_uvloop()
    with clocked(), warnings.catch_warnings():
        warnings.simplefilter("error")
        run_in_uvloop()
    assert time.time() > 1_760_000_000


def test_a_loop_that_ran_before_the_session_falls_back(clocked: Opened) -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        with clocked() as clock:
            with pytest.warns(ClockFallback):
                assert not clock.is_virtual(loop)
            assert clock.ticks
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
