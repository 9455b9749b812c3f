"""The sink `parquet` in a folder: rows, rotation, the log, conversion that is killed or fails."""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import random
import socket
import stat
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sink_parts import BTC, SECOND, START_NS, Clock, FailingWrites, Writer, item, snapshot

from pytest_marketreplay.errors import MissingExtra, SinkError, UsageMistake
from pytest_marketreplay.market.structs import Level
from pytest_marketreplay.metrics import Metrics
from pytest_marketreplay.sinks import arrow, registry, stores
from pytest_marketreplay.sinks.items import Item, Snapshot
from pytest_marketreplay.sinks.parquet import ParquetSink, default_wal

DAY = "orderbook_data/2026/01/02"
STEM = "orderbook_snapshots_20260102_030405"


def opened(root: Path, **options: object) -> ParquetSink:
    sink = ParquetSink(root, **options)  # type: ignore[arg-type]
    sink.open()
    return sink


def files(root: Path) -> list[Path]:
    return sorted((root / "orderbook_data").rglob("*.parquet"))


def logs(root: Path) -> list[Path]:
    return sorted((root / ".wal").iterdir())


def numbers(root: Path) -> list[int]:
    """The sequence numbers of all snapshots that the files hold, each as often as it is there."""
    out: list[int] = []
    for path in files(root):
        rows = pq.read_table(path).select(["sequence_number", "side", "price"]).to_pylist()
        for number, group in itertools.groupby(rows, lambda row: row["sequence_number"]):
            levels = list(group)
            assert len(levels) % 4 == 0, "a snapshot has four levels here"
            out += [number] * (len(levels) // 4)
    return sorted(out)


def items(start: int, end: int) -> list[Item]:
    return [item(number) for number in range(start, end)]


def test_a_row_is_a_level_with_exact_numbers(tmp_path: Path, clocks: Clock) -> None:
    sink = opened(tmp_path)
    sink.write([item(3), Item(BTC, 1, b"a frame\n"), item(4)])
    sink.close()
    (path,) = files(tmp_path)
    assert path == tmp_path / DAY / f"{STEM}.parquet"
    table = pq.read_table(path)
    assert [(field.name, str(field.type)) for field in table.schema] == [
        ("exchange", "string"),
        ("pair", "string"),
        ("timestamp_ms", "int64"),
        ("side", "string"),
        ("price", "string"),
        ("quantity", "string"),
        ("capture_latency_ms", "double"),
        ("sequence_number", "int64"),
        ("update_id", "int64"),
    ]
    want = [
        (book.exchange, book.pair, book.timestamp_ms, side, level.price, level.size, 12.25, book.sequence_number, 7)
        for book in (snapshot(3), snapshot(4))
        for side, levels in (("bid", book.bids), ("ask", book.asks))
        for level in levels
    ]
    got = [tuple(row.values()) for row in table.to_pylist()]
    assert [(*row[:4], Decimal(row[4]), Decimal(row[5]), *row[6:]) for row in got] == want
    assert got[0][5] == "0.125000000000000001"
    assert logs(tmp_path) == []


def test_prices_and_quantities_are_decimals_where_that_is_asked_for(tmp_path: Path) -> None:
    sink = opened(tmp_path, decimals=True)
    sink.write([item(3)])
    sink.close()
    table = pq.read_table(files(tmp_path)[0])
    assert table.schema.field("price").type == table.schema.field("quantity").type == pa.decimal128(38, 18)
    assert table["quantity"][0].as_py() == snapshot(3).bids[0].size


def test_odd_books_are_stored_as_they_are(tmp_path: Path) -> None:
    """One side empty, both, no update id, numbers in exponents, text that is not ASCII, deep books."""
    one = Snapshot("b", "Ü-\n\u2028", 1, (), (Level(Decimal("1E+3"), Decimal("1E-18")),), 0.1, 1)
    deep = snapshot(2, levels=5000)
    sink = opened(tmp_path)
    sink.write([Item(BTC, 1, snapshot=each) for each in (one, Snapshot("b", "p", 1, (), (), 0.1, 9), deep)])
    sink.close()
    rows = pq.read_table(files(tmp_path)[0]).to_pylist()
    assert len(rows) == 10_001
    assert (rows[0]["pair"], rows[0]["side"], rows[0]["update_id"]) == ("Ü-\n\u2028", "ask", None)
    assert (Decimal(rows[0]["price"]), Decimal(rows[0]["quantity"])) == one.asks[0]
    assert [Decimal(row["price"]) for row in rows[1:5001]] == [level.price for level in deep.bids]


def test_books_that_are_all_empty_make_a_file_without_rows(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    sink.write([Item(BTC, 1, snapshot=Snapshot("b", "p", 1, (), (), 0.1, 9))])
    sink.close()
    assert pq.read_table(files(tmp_path)[0]).num_rows == 0
    assert arrow.table(b"", "none", decimals=False).num_rows == 0


def test_a_file_holds_so_many_snapshots_or_those_of_so_much_time(tmp_path: Path, clocks: Clock) -> None:
    sink = opened(tmp_path, rotate_entries=10)
    sink.write(items(0, 25))
    assert files(tmp_path) == []
    sink.rotate(clocks.now_ns)
    assert [path.name for path in files(tmp_path)] == [f"{STEM}-1.parquet", f"{STEM}.parquet"]
    clocks.pass_s(299)
    sink.rotate(clocks.now_ns)
    assert len(files(tmp_path)) == 2
    clocks.pass_s(1)
    sink.rotate(clocks.now_ns)
    assert len(files(tmp_path)) == 3
    sink.write(items(25, 26))
    clocks.now_ns -= 3600 * SECOND  # a clock set back closes it too
    sink.rotate(clocks.now_ns)
    assert numbers(tmp_path) == list(range(26))
    sink.close()
    assert logs(tmp_path) == []


def test_no_file_is_ever_overwritten(tmp_path: Path, clocks: Clock) -> None:
    for start in range(3):
        sink = opened(tmp_path, rotate_entries=2)
        sink.write(items(start * 5, start * 5 + 5))
        sink.close()
    foreign = tmp_path / DAY / f"{STEM}-9.parquet"
    foreign.write_bytes(b"somebody else's")
    sink = opened(tmp_path)
    sink.write(items(15, 16))
    sink.close()
    assert foreign.read_bytes() == b"somebody else's"
    foreign.unlink()
    assert numbers(tmp_path) == list(range(16))


def test_files_and_folders_are_not_for_others_whatever_the_umask(tmp_path: Path) -> None:
    root = tmp_path / "books"
    for umask in (0o077, 0o000):
        before = os.umask(umask)
        try:
            sink = opened(root)
            sink.write(items(0, 1))
            for path in [root, *root.rglob("*")]:
                assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640), path
            sink.close()
        finally:
            os.umask(before)
        for path in [root, *root.rglob("*")]:
            assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640), path


@pytest.mark.parametrize("how", ["short", "full"])
def test_a_batch_that_could_not_be_written_is_taken_back_and_may_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    draw = random.Random(3)
    FailingWrites(monkeypatch, lambda _: draw.choice(("full", how, None, None, None)))
    sink = opened(tmp_path, rotate_entries=4)
    failed = 0
    for start in range(0, 90, 9):
        for _ in range(200):
            try:
                sink.write(items(start, start + 9))
                break
            except SinkError:
                failed += 1
        else:
            pytest.fail("the batch never came through")
    monkeypatch.undo()
    sink.close()
    assert failed >= 5
    assert numbers(tmp_path) == list(range(90))
    assert len(files(tmp_path)) == 23
    assert logs(tmp_path) == []


def test_what_cannot_be_taken_back_at_once_is_taken_back_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sink = opened(tmp_path, rotate_entries=4)
    sink.write(items(0, 2))
    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        FailingWrites(patch, lambda count: (None, "full")[count % 2 == 0])
        for _ in range(2):
            with pytest.raises(SinkError, match="cannot write to the log"):
                sink.write(items(2, 9))
        assert "cannot be taken back yet" in caplog.text
        with pytest.raises(SinkError, match="cannot take back"):
            sink.rotate(START_NS)
    sink.write(items(2, 9))
    sink.close()
    assert numbers(tmp_path) == list(range(9))


def test_a_conversion_that_fails_keeps_the_log_and_comes_again(
    tmp_path: Path, clocks: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = opened(tmp_path, rotate_entries=3)
    sink.write(items(0, 7))
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        for _ in range(3):
            with pytest.raises(SinkError, match="No space left"):
                sink.rotate(clocks.now_ns)
            sink.write([])
        sink.write(items(7, 8))  # the feed goes on
    assert len(logs(tmp_path)) == 3
    sink.rotate(clocks.now_ns)
    assert numbers(tmp_path) == list(range(6))
    assert len(logs(tmp_path)) == 1
    sink.close()
    assert numbers(tmp_path) == list(range(8))
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("price", ["1e30", "1e20", "123456789012345678901234567890", "1e-19", "NaN"])
def test_what_does_not_fit_into_a_decimal_stays_in_the_log_and_keeps_nothing_else_from_it(
    tmp_path: Path, clocks: Clock, price: str
) -> None:
    sink = opened(tmp_path, rotate_entries=1, decimals=True)
    huge = Snapshot("b", "p", 1, (Level(Decimal(price), Decimal(1)),), (), 0.1, 9)
    sink.write([Item(BTC, 1, snapshot=huge), item(1)])
    for _ in range(3):
        with pytest.raises(SinkError, match="cannot store"):
            sink.rotate(clocks.now_ns)
    assert numbers(tmp_path) == [1]
    with pytest.raises(SinkError):
        sink.close()
    sink = opened(tmp_path)  # as strings
    sink.close()
    assert logs(tmp_path) == []


@pytest.mark.parametrize("error", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_links_is_written_all_the_same(
    tmp_path: Path, clocks: Clock, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(error, "no links")))
    sink = opened(tmp_path, rotate_entries=2)
    sink.write(items(0, 5))
    sink.close()
    assert numbers(tmp_path) == list(range(5))


def test_a_name_that_is_taken_at_the_last_moment_is_not_overwritten(
    tmp_path: Path, clocks: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / DAY / f"{STEM}.parquet"
    taken.parent.mkdir(parents=True)
    real = os.link
    for error in (errno.EEXIST, errno.EPERM):

        def link(source: str, target: Path, error: int = error) -> None:
            if target == taken:
                taken.write_bytes(b"theirs")
                raise OSError(error, "there is one")
            real(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "link", link)
            sink = opened(tmp_path)
            sink.write(items(error, error + 1))
            sink.close()
        assert taken.read_bytes() == b"theirs"
        taken.unlink()
    assert numbers(tmp_path) == [errno.EPERM, errno.EEXIST]


def test_a_file_that_does_not_read_back_as_it_was_written_keeps_its_log(
    tmp_path: Path, clocks: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = opened(tmp_path)
    sink.write(items(0, 3))
    with monkeypatch.context() as patch:
        patch.setattr(stores.FolderStore, "put", lambda *_: True)  # a store that says yes and keeps nothing
        with pytest.raises(SinkError, match="not there after it was written"):
            sink.close()
    real = stores.FolderStore.stage
    with monkeypatch.context() as patch:

        def stage(self: stores.FolderStore, part: str, data: bytes) -> None:
            rows = arrow.table(b"", arrow.segment_of(data) or "", decimals=False)
            real(self, part, arrow.encode(rows))

        patch.setattr(stores.FolderStore, "stage", stage)
        sink = opened(tmp_path)
        with pytest.raises(SinkError, match="does not read back"):
            sink.close()
        assert len(logs(tmp_path)) == 1
    (bad,) = files(tmp_path)
    bad.unlink()
    opened(tmp_path).close()
    assert numbers(tmp_path) == [0, 1, 2]


def test_a_kill_at_any_step_of_a_conversion_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Each process ends right before its n-th step on files; the next `open` makes files of the rest."""
    script = Path(__file__).with_name("sink_converter.py")
    done = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, check=True, timeout=120)
    ends = dict(line.split() for line in done.stdout.splitlines())
    assert list(ends.values()).count("killed") >= 12
    states = set()
    for name in ends:
        root = tmp_path / name
        states.add((len(files(root)), len(logs(root))))
        opened(root).close()
        assert numbers(root) == list(range(4)), name
        assert logs(root) == [], name
        assert not list(root.rglob("*.tmp")), name
    assert {(0, 2), (1, 2), (2, 2), (2, 1), (2, 0)} <= states, "the kills came at different moments"


def test_a_torn_line_of_the_log_was_not_acknowledged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = opened(tmp_path)
    sink.write(items(0, 2))
    (path,) = logs(tmp_path)
    data = path.read_bytes()
    sink._release()  # as a kill does
    path.write_bytes(data + data[:50])
    only_torn = path.with_name("20260102_030405-0000000000000000-000000000000.jsonl")
    only_torn.write_bytes(data[:20])
    opened(tmp_path).close()
    assert numbers(tmp_path) == [0, 1]
    assert logs(tmp_path) == []
    assert "a line that a kill tore" in caplog.text


def test_a_damaged_log_is_kept_and_told_and_the_others_are_converted(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    damaged = tmp_path / ".wal" / "20260102_030405-0000000000000000-000000000000.jsonl"
    damaged.write_bytes(b'{"exchange": "b", "nonsense": 1}\n')
    sink.write(items(0, 2))
    sink._release()
    sink = ParquetSink(tmp_path)
    sink.open()
    with pytest.raises(SinkError, match="cannot store"):
        sink.close()
    assert logs(tmp_path) == [damaged]
    assert numbers(tmp_path) == [0, 1]


def test_the_log_of_a_process_that_still_writes_is_left_alone(tmp_path: Path) -> None:
    one = opened(tmp_path)
    one.write(items(0, 2))
    opened(tmp_path).close()
    assert len(logs(tmp_path)) == 1
    one.write(items(2, 4))
    one.close()
    assert numbers(tmp_path) == [0, 1, 2, 3]


@pytest.mark.parametrize("where", ["to", "wal"])
def test_a_place_where_nothing_can_be_stored_is_told_at_once(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    options = {"to": tmp_path / "books", "wal": tmp_path / "wal"} | {where: tmp_path / "file" / "below"}
    with pytest.raises(SinkError, match="file"):
        ParquetSink(**options).open()


def test_rotations_that_cannot_be_are_refused(tmp_path: Path) -> None:
    for options in ({"rotate_entries": 0}, {"rotate_s": 0}):
        with pytest.raises(UsageMistake, match="at least one snapshot"):
            ParquetSink(tmp_path, **options)  # type: ignore[arg-type]


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtra, match=r"pytest-marketreplay\[parquet\]"):
        registry.make("parquet", {"to": tmp_path})


def test_the_log_is_beside_a_folder_and_in_the_users_state_for_a_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_wal("some/books") == Path("some/books/.wal")
    assert default_wal("s3://bucket/a/b/") == tmp_path / "marketreplay" / "wal" / "bucket%2Fa%2Fb"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path in default_wal("s3://bucket").parents


def test_a_bucket_is_named_by_a_url() -> None:
    with pytest.raises(UsageMistake, match="s3://bucket/prefix"):
        registry.make("s3", {"to": "captures-s3"})


def test_a_bucket_that_cannot_be_reached_does_not_keep_a_capture_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "AKTEST123",
        "AWS_SECRET_ACCESS_KEY": "SKTEST12345",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    sink = registry.make("s3", {"to": "s3://captures/desk", "wal": tmp_path, "rotate_entries": 2})
    sink.open()
    assert "waits in" in caplog.text
    sink.write(items(0, 5))
    with pytest.raises(SinkError, match="captures/desk") as caught:
        sink.close()
    assert "SKTEST12345" not in str(caught.value)
    assert len(list(tmp_path.glob("*.jsonl"))) == 3


def test_a_log_that_another_process_has_just_made_a_file_of_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = opened(tmp_path)
    sink.write(items(0, 2))
    (path,) = logs(tmp_path)
    sink._release()
    real = fcntl.flock

    def flock(fd: int, how: int) -> None:
        real(fd, how)
        path.unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    opened(tmp_path).close()
    assert files(tmp_path) == []


def test_secrets_do_not_stand_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SKTEST12345")
    assert stores.explain(OSError("signed with SKTEST12345")) == "signed with <AWS_SECRET_ACCESS_KEY>"


def test_where_a_segment_cannot_be_told_a_file_is_somebody_elses() -> None:
    assert arrow.segment_of(b"not Parquet") is None
    assert arrow.segment_of(arrow.encode(pa.table({"a": [1]}))) is None


def test_kill_9_loses_and_doubles_no_acknowledged_row(tmp_path: Path) -> None:
    draw = random.Random(1)
    kill_storm(tmp_path, [draw.randrange(1, 1500) for _ in range(2)])


@pytest.mark.slow
def test_thirty_kills_lose_and_double_no_acknowledged_row(tmp_path: Path) -> None:
    draw = random.Random(30)
    kill_storm(tmp_path, [draw.randrange(1, 5000) for _ in range(30)])


def kill_storm(root: Path, moments: list[int]) -> None:
    first = 0
    acknowledged: list[int] = []
    options = json.dumps({"to": str(root), "rotate_entries": 20})
    for moment in moments:
        said = list(Writer("sink_writer.py", "parquet", options, str(first), "7").acknowledged(first + moment))
        acknowledged += range(first, said[-1] + 1)
        first = (said[-1] // 100_000 + 1) * 100_000
    opened(root).close()
    stored = numbers(root)
    assert len(stored) == len(set(stored)), "something is doubled"
    assert set(acknowledged) <= set(stored)
    assert logs(root) == []


def test_files_and_the_rows_that_were_read_back_are_among_the_metrics(tmp_path: Path) -> None:
    metrics = Metrics()
    sink = opened(tmp_path, rotate_entries=2, meter=metrics)
    sink.write(items(0, 5))
    sink.close()
    told = metrics.registry.get_sample_value
    sizes = [path.stat().st_size for path in files(tmp_path)]
    platform = {"platform": "orderbook_data"}
    assert told("storage_file_size_bytes_count", platform) == len(sizes) == 3
    assert told("storage_file_size_bytes_sum", platform) == sum(sizes)
    labels = platform | {"endpoint": "orderbook_snapshots", "sink": "parquet", "status": "ok"}
    assert told("storage_read_operations_total", labels) == 5 * 4
