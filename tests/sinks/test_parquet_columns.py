"""Lines of the log as columns, held against rows made one by one; and work that is done ahead of storing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sink_parts import START_NS, Clock, item, snapshot

from pytest_marketreplay.errors import SinkError
from pytest_marketreplay.market.structs import Level
from pytest_marketreplay.sinks import arrow, lines, stores
from pytest_marketreplay.sinks.ahead import ahead
from pytest_marketreplay.sinks.items import Snapshot
from pytest_marketreplay.sinks.parquet import ParquetSink

int64 = st.integers(-(2**63), 2**63 - 1)
levels = st.lists(st.builds(Level, st.decimals(), st.decimals()), max_size=4).map(tuple)
books = st.builds(
    Snapshot,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    st.sampled_from(["BTC-USDT", "Ü-\n\u2028", '"levels":[[', "[],"]),
    int64,
    levels,
    levels,
    st.floats(allow_nan=False, allow_infinity=False),
    int64,
    st.none() | int64,
)


def rows_of(snapshots: list[Snapshot]) -> list[tuple[object, ...]]:
    return [
        (
            book.exchange,
            book.pair,
            book.timestamp_ms,
            side,
            str(level.price),
            str(level.size),
            book.capture_latency_ms,
            book.sequence_number,
            book.update_id,
        )
        for book in snapshots
        for side, side_levels in (("bid", book.bids), ("ask", book.asks))
        for level in side_levels
    ]


@given(st.lists(books, max_size=12))
@settings(max_examples=200, deadline=None)
def test_the_file_that_is_made_of_a_log_has_the_rows_of_its_snapshots(snapshots: list[Snapshot]) -> None:
    table = arrow.table(b"".join(map(lines.line, snapshots)), "s", decimals=False)
    packed = arrow.pack(table)
    read = pq.read_table(pa.BufferReader(packed.data))
    assert [tuple(row.values()) for row in read.to_pylist()] == rows_of(snapshots)
    assert (packed.segment, packed.rows) == ("s", read.num_rows)
    assert [str(field.type) for field in read.schema] == [
        "string", "string", "int64", "string", "string", "string", "double", "int64", "int64",
    ]  # fmt: skip


def test_a_latency_that_is_no_number_is_null() -> None:
    book = Snapshot("b", "p", 1, (Level(Decimal(1), Decimal(2)),), (), float("nan"), 1)
    assert arrow.table(lines.line(book), "s", decimals=False)["capture_latency_ms"].to_pylist() == [None]


@pytest.mark.parametrize(
    "change",
    [
        {"levels": [["1"]]},
        {"levels": [["1", "2", "3"]]},
        {"levels": [["1", "2"], []]},
        {"levels": [[1, 2]]},
        {"levels": [["1", None]]},
        {"levels": [["1", "2x"]]},
        {"levels": "12"},
        {"levels": {}},
        {"levels": None},
        {"bids": 2},
        {"bids": -1},
        {"timestamp_ms": 2**63},
        {"exchange": None},
        {"more": 1},
    ],
)
def test_a_line_that_is_not_what_was_written_is_refused(change: dict[str, object]) -> None:
    whole = {
        "exchange": "b", "pair": "p", "timestamp_ms": 1, "levels": [["1", "2"]], "bids": 1,
        "capture_latency_ms": 0.5, "sequence_number": 1, "update_id": None,
    }  # fmt: skip

    def text(line: object) -> bytes:
        return json.dumps(line, separators=(",", ":")).encode() + b"\n"

    assert arrow.table(text(whole), "s", decimals=False).num_rows == 1
    with pytest.raises(pa.ArrowInvalid, match="a line of the log is damaged"):
        arrow.table(text(whole) + text(whole | change), "s", decimals=False)


def test_what_is_made_of_a_log_after_a_kill_is_byte_for_byte_what_would_have_been_made_of_it(
    tmp_path: Path, clocks: Clock
) -> None:
    def written(root: Path) -> ParquetSink:
        clocks.now_ns = START_NS
        sink = ParquetSink(root, rotate_entries=5)
        sink.open()
        for first in range(0, 20, 5):
            sink.write([item(number) for number in range(first, first + 5)])
            clocks.pass_s(0.5)
        return sink

    def made(root: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in root.rglob("*.parquet")}

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    sink = written(whole)
    names = sorted(path.name for path in (whole / ".wal").iterdir())
    sink.close()
    written(killed)._release()
    for path, name in zip(sorted((killed / ".wal").iterdir()), names, strict=True):
        path.rename(path.with_name(name))  # a part of the names is random, and stands in the files
    sink = ParquetSink(killed)
    sink.open()
    sink.close()
    assert len(made(whole)) == 4
    assert made(whole) == made(killed)


def test_names_that_cannot_be_brought_to_the_disk_keep_the_logs_and_double_nothing(
    tmp_path: Path, clocks: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = ParquetSink(tmp_path, rotate_entries=1)
    sink.open()
    sink.write([item(number) for number in range(20)])
    with monkeypatch.context() as patch:
        patch.setattr(stores, "sync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        for _ in range(2):
            with pytest.raises(SinkError, match="Input/output error"):
                sink.rotate(clocks.now_ns)
    assert len(list((tmp_path / ".wal").iterdir())) == 20
    sink.close()
    found = [pq.read_table(path)["sequence_number"][0].as_py() for path in tmp_path.rglob("*.parquet")]
    assert sorted(found) == list(range(20))
    assert list((tmp_path / ".wal").iterdir()) == []


def test_a_file_that_another_version_made_of_a_log_is_not_made_again(tmp_path: Path, clocks: Clock) -> None:
    """Its bytes are others; its rows are counted."""
    sink = ParquetSink(tmp_path)
    sink.open()
    sink.write([item(1), item(2)])
    sink._release()
    (log,) = (tmp_path / ".wal").iterdir()
    path = tmp_path / "orderbook_data/2026/01/02/orderbook_snapshots_20260102_030405.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(arrow.table(log.read_bytes(), log.stem, decimals=False), path, compression="snappy")
    theirs = path.read_bytes()
    sink = ParquetSink(tmp_path)
    sink.open()
    sink.close()
    assert [each.read_bytes() for each in tmp_path.rglob("*.parquet")] == [theirs]
    assert not log.exists()


def test_a_file_that_does_not_read_as_it_was_made_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = arrow.table(lines.line(snapshot(1)), "s", decimals=False)
    monkeypatch.setattr(arrow, "encode", lambda _, real=arrow.encode: real(rows.slice(0, 1)))
    with pytest.raises(SinkError, match="does not read as it was written"):
        arrow.pack(rows)


def test_pandas_is_not_imported_for_a_file(tmp_path: Path) -> None:
    code = (
        "import sys; from sink_parts import item; from pytest_marketreplay.sinks.parquet import ParquetSink\n"
        f"sink = ParquetSink({str(tmp_path)!r}); sink.open(); sink.write([item(1)]); sink.close()\n"
        "print('pandas' in sys.modules)"
    )
    path = [str(Path(__file__).parent), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False"]
    assert list(tmp_path.rglob("*.parquet"))


def test_what_is_done_ahead_comes_in_order_and_is_bounded_by_bytes() -> None:
    lock = threading.Lock()
    sizes = {5: 100}
    held, most, threads = 0, 0, set()

    def make(job: int) -> int:
        nonlocal held, most
        with lock:
            threads.add(threading.current_thread())
            held += sizes.get(job, 10)
            if job != 5:
                most = max(most, held)
        return job * 2

    taken = []
    for job, made in ahead(make, range(1, 30), lambda job: sizes.get(job, 10), 40):
        taken.append((job, made()))
        with lock:
            held -= sizes.get(job, 10)
    assert taken == [(job, job * 2) for job in range(1, 30)]
    assert most <= 40 + 10, "of those that are begun, and the one that is being taken"
    assert threading.main_thread() not in threads
    assert not any(thread.is_alive() for thread in threads)


def test_a_single_job_is_done_without_a_thread() -> None:
    ((job, made),) = ahead(lambda job: (job, threading.current_thread()), [7], int, 0)
    assert (job, made()) == (7, (7, threading.current_thread()))
    assert list(ahead(str, [], int, 0)) == []


def test_a_job_that_fails_does_so_when_it_is_its_turn() -> None:
    def make(job: int) -> int:
        if job == 2:
            raise OSError(job)
        return job

    done = []
    for job, made in ahead(make, [1, 2, 3], lambda _: 1, 10):
        if job == 2:
            with pytest.raises(OSError, match="2"):
                made()
        else:
            done.append(made())
    assert done == [1, 3]


def test_after_an_early_end_nothing_more_is_begun() -> None:
    begun: list[int] = []
    jobs = ahead(begun.append, list(range(100)), lambda _: 1, 100)
    next(jobs)
    jobs.close()
    assert 0 < len(begun) <= 8


def test_a_snapshot_without_levels_has_no_row_among_others() -> None:
    empty = Snapshot("b", "p", 1, (), (), 0.1, 5)
    text = b"".join(map(lines.line, [snapshot(1), empty, snapshot(2)]))
    assert arrow.table(text, "s", decimals=True)["sequence_number"].to_pylist() == [1] * 4 + [2] * 4
