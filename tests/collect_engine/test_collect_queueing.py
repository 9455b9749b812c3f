"""The queue in front of a sink: bounded, exact in what it drops, and never in the way of others."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
from engine_doubles import MS, OTHER, PATIENCE_S, PLACE, ListSink, full, item

from pytest_marketreplay import clock
from pytest_marketreplay.cassette import entry
from pytest_marketreplay.collect.queueing import SinkQueue, weight
from pytest_marketreplay.errors import SinkError
from pytest_marketreplay.market.structs import Level
from pytest_marketreplay.sinks.items import Gap, Item, Snapshot


def queue_of(sink: ListSink, **options: Any) -> SinkQueue:
    queue = SinkQueue(sink, first_pause=0.001, longest_pause=0.02, **options)
    queue.start()
    return queue


def blocked(sink: ListSink, **options: Any) -> SinkQueue:
    """A queue whose thread is inside `write`, with item 0."""
    sink.may_write.clear()
    queue = queue_of(sink, **options)
    assert queue.put(item(0))
    assert sink.entered.acquire(timeout=PATIENCE_S)
    return queue


def test_items_are_written_in_order_from_one_thread_that_is_not_the_callers() -> None:
    sink = ListSink()
    queue = queue_of(sink, batch_items=7)
    for number in range(100):
        assert queue.put(item(number))
    assert queue.drain(PATIENCE_S) == 0
    assert sink.numbers == list(range(100))
    assert max(len(batch) for batch in sink.batches) <= 7
    assert (sink.closed, queue.is_closed) == (1, True)
    assert len(sink.threads) == 1
    assert threading.get_ident() not in sink.threads


def test_the_same_batch_comes_again_after_a_failure() -> None:
    sink = ListSink()
    sink.problem = full()
    queue = queue_of(sink)
    queue.put(item(1))
    sink.wait_for(lambda: len(sink.tries) >= 3)
    stats = queue.stats()
    assert stats.failing
    assert stats.last_error == "no space left on the device"
    assert stats.items == 1
    sink.problem = None
    assert queue.drain(PATIENCE_S) == 0
    assert [[each.time_ns // MS for each in batch] for batch in sink.tries[:3]] == [[1], [1], [1]]
    assert sink.numbers == [1]
    assert not queue.stats().failing
    assert queue.stats().failures >= 3


def test_a_sink_that_breaks_on_a_bug_is_logged_with_its_traceback_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = ListSink()
    sink.problem = ZeroDivisionError("oh")
    queue = queue_of(sink)
    with caplog.at_level(logging.INFO):
        queue.put(item(1))
        sink.wait_for(lambda: sink.tries)
        sink.problem = None
        assert queue.drain(PATIENCE_S) == 0
    assert sink.numbers == [1]
    assert any(record.exc_info for record in caplog.records)
    assert queue.stats().last_error == "ZeroDivisionError: oh"


def test_what_is_dropped_at_each_place_is_one_gap_with_exact_ends_and_count() -> None:
    sink = ListSink()
    queue = blocked(sink, max_items=4)
    taken = [queue.put(item(number, PLACE if number % 2 else OTHER)) for number in range(1, 11)]
    assert taken == [True] * 3 + [False] * 7
    assert queue.stats().items == 4
    sink.may_write.set()
    sink.wait_for(lambda: len(sink.gaps) == 2)
    assert queue.put(item(11))
    assert queue.drain(PATIENCE_S) == 0
    assert sink.numbers == [0, 1, 2, 3, 11]
    assert dict(sink.gaps) == {
        "BTCUSDT": Gap("sink", 5, 9, 3, "the sink is slow"),
        "ETHUSDT": Gap("sink", 4, 10, 4, "the sink is slow"),
    }
    assert [each.gap is None for each in sink.items] == [True] * 4 + [False] * 2 + [True]
    stats = queue.stats()
    assert (stats.accepted, stats.dropped, stats.gaps, stats.written) == (5, 7, 2, 7)


def test_a_gap_that_is_dropped_counts_for_what_is_missing_in_it() -> None:
    sink = ListSink()
    queue = blocked(sink, max_items=1)
    gap = Gap("missed", 3, 9, 5)
    queue.put(Item(PLACE, 10 * MS, b"gap\n", gap=gap))
    queue.put(item(11))
    sink.may_write.set()
    sink.wait_for(lambda: sink.gaps)
    assert queue.drain(PATIENCE_S) == 0
    assert sink.gaps == [("BTCUSDT", Gap("sink", 3, 11, 6, "the sink is slow"))]
    assert queue.stats().dropped == 2


def test_the_entry_of_a_gap_is_a_line_of_the_format_that_no_request_asks_for() -> None:
    sink = ListSink()
    queue = blocked(sink, max_items=1)
    queue.put(item(7))
    sink.may_write.set()
    sink.wait_for(lambda: sink.gaps)
    queue.drain(PATIENCE_S)
    line = sink.items[-1].line
    assert line is not None
    assert line.endswith(b"\n")
    head = entry.read_head(line[:-1])
    assert (head.endpoint, head.meta.dir, head.timestamp) == ("/api/v3/depth", "gap", 7)
    assert b'"gap":{"kind":"sink","from_ms":7,"to_ms":7,"count":1' in line


def test_nothing_is_lost_that_was_not_dropped_whatever_the_sink_does() -> None:
    """Each number is either written or within the declared gap of its place."""
    sink = ListSink()
    queue = queue_of(sink, max_items=50, batch_items=10)
    for number in range(5_000):
        if number % 500 == 100:
            sink.problem = full()
        if number % 500 == 400:
            sink.problem = None
            if number % 1_000 == 900:
                before = len(sink.batches)
                sink.wait_for(lambda: len(sink.batches) > before)
        queue.put(item(number))
        assert queue.stats().items <= 51  # one gap beside the 50
    sink.problem = None
    assert queue.drain(PATIENCE_S) == 0
    missing = sum(gap.count for _, gap in sink.gaps)
    assert missing == queue.stats().dropped > 0
    assert len(sink.numbers) + missing == 5_000
    written = set(sink.numbers)
    for _, gap in sink.gaps:
        assert not written & set(range(gap.from_ms, gap.to_ms + 1))
        assert gap.count == gap.to_ms - gap.from_ms + 1


def test_bytes_are_bounded_too_and_one_item_that_is_larger_still_goes_through() -> None:
    sink = ListSink()
    queue = blocked(sink, max_bytes=10_000)
    for number in range(1, 100):
        queue.put(item(number, size=1_000))
    stats = queue.stats()
    assert stats.size_bytes <= 10_000
    assert stats.dropped == 99 - (stats.items - 1)
    sink.may_write.set()
    assert queue.drain(PATIENCE_S) == 0
    sink = ListSink()
    queue = queue_of(sink, max_bytes=1_000)
    assert queue.put(item(1, size=50_000))
    assert queue.drain(PATIENCE_S) == 0
    assert sink.numbers == [1]


def test_a_batch_is_cut_by_bytes_and_large_items_go_alone() -> None:
    sink = ListSink()
    queue = blocked(sink)
    for number in range(1, 4):
        queue.put(item(number, size=3 << 20))
    sink.may_write.set()
    assert queue.drain(PATIENCE_S) == 0
    assert [len(batch) for batch in sink.batches] == [1, 1, 1, 1]


def test_a_snapshot_weighs_by_its_levels() -> None:
    level = Level(1, 1)  # type: ignore[arg-type]
    snapshot = Snapshot("binance", "BTC-USDT", 1, (level,) * 10, (level,) * 5, 1.0, 1)
    assert weight(Item(PLACE, 1, snapshot=snapshot)) > weight(Item(PLACE, 1)) + 1_000


def test_drain_tells_how_many_items_a_failing_sink_did_not_take_and_still_closes_it() -> None:
    sink = ListSink()
    sink.problem = full()
    queue = queue_of(sink, max_items=3)
    for number in range(5):
        queue.put(item(number))
    assert queue.drain(0.05) == 5
    assert sink.closed == 1
    assert not queue.put(item(6))


def test_drain_gives_up_on_a_sink_that_hangs() -> None:
    sink = ListSink()
    queue = blocked(sink)
    assert queue.drain(0.01) == 1
    assert not queue.is_closed
    sink.may_write.set()
    queue._thread.join(PATIENCE_S)
    assert queue.is_closed


def test_a_long_pause_ends_when_the_queue_is_drained() -> None:
    sink = ListSink()
    sink.problem = full()
    queue = SinkQueue(sink, first_pause=0.01, longest_pause=1_000)
    queue._first_pause = 1_000  # as after many failures
    queue.start()
    queue.put(item(1))
    sink.wait_for(lambda: sink.tries)
    sink.problem = None
    queue._first_pause = 0.01
    assert queue.drain(PATIENCE_S) == 0
    assert sink.numbers == [1]


def test_a_sink_that_cannot_be_opened_says_so_to_whoever_starts_it() -> None:
    sink = ListSink()
    sink.open_problem = full()
    with pytest.raises(SinkError):
        SinkQueue(sink).start()
    assert sink.closed == 0


def test_a_sink_rotates_about_once_a_second_with_nothing_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_marketreplay.collect.queueing.ROTATE_EVERY_S", 0.001)
    sink = ListSink()
    queue = queue_of(sink)
    sink.wait_for(lambda: sink.rotations >= 2)
    queue.drain(PATIENCE_S)


def test_each_write_is_told_with_its_time_and_outcome() -> None:
    told: list[tuple[str, int, str]] = []
    sink = ListSink()
    sink.problem = full()
    queue = queue_of(sink, on_write=lambda name, batch, took, how: told.append((name, len(batch), how)))
    queue.put(item(1))
    sink.wait_for(lambda: len(sink.tries) >= 2)
    sink.problem = None
    queue.drain(PATIENCE_S)
    assert told[0] == ("list", 1, "error")
    assert told[-1] == ("list", 1, "ok")


def test_a_sink_that_works_again_has_the_gap_within_five_seconds() -> None:
    """With the pauses as they are in use, after failures for long enough that the longest pause is reached."""
    sink = ListSink()
    sink.problem = full()
    queue = SinkQueue(sink, max_items=10)
    queue.start()
    for number in range(20):
        queue.put(item(number))
    sink.wait_for(lambda: len(sink.tries) >= 4)
    sink.problem = None
    mended = clock.counter_ns()
    sink.wait_for(lambda: sink.gaps)
    assert clock.counter_ns() - mended < 5e9
    assert sink.gaps[0][1] == Gap("sink", 10, 19, 10, "the sink list could not write: no space left on the device")
    assert queue.drain(PATIENCE_S) == 0
