"""What every sink keeps, whatever it is."""

from __future__ import annotations

import os
import random
import resource
import stat
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sink_lab

from pytest_marketreplay.cassette import files
from pytest_marketreplay.errors import SinkError
from pytest_marketreplay.sinks.items import Item

pytestmark = pytest.mark.parametrize("kind", sink_lab.KINDS)


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let no file grow beyond a limit, as a full disk would (the signal is ignored, so that `write` fails)."""
    import signal

    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def by_pair(numbers: list[int]) -> list[list[int]]:
    return [[each for each in numbers if each % 2 == odd] for odd in (0, 1)]


def test_order_is_kept_within_each_place(kind: str, tmp_path: Path) -> None:
    sink = sink_lab.make(kind, tmp_path)
    sink.open()
    for start in range(1, 101, 10):
        sink.write(sink_lab.items(start, start + 10))
    sink.close()
    assert by_pair(sink_lab.stored(kind, tmp_path)) == by_pair(list(range(1, 101)))


def test_a_full_file_is_followed_by_another_and_none_is_overwritten(kind: str, tmp_path: Path) -> None:
    sink = sink_lab.make(kind, tmp_path)
    sink.open()
    sink.write(sink_lab.items(1, 50))
    sink.close()
    found = files.all_files(tmp_path) if kind.startswith("local") else sink_lab.parquet_files(tmp_path)
    assert len(found) == (8 if kind.startswith("local") else 7)
    if "-" in kind and kind.startswith("local"):
        assert {file.suffix for file in found} == {"." + kind.partition("-")[2]}
    assert {stat.S_IMODE(file.stat().st_mode) for file in found} == {0o640}
    assert stat.S_IMODE(found[0].parent.stat().st_mode) == 0o750


def test_a_sink_that_is_opened_again_goes_on(kind: str, tmp_path: Path) -> None:
    for start in (1, 21, 41):
        sink = sink_lab.make(kind, tmp_path)
        sink.open()
        sink.write(sink_lab.items(start, start + 20))
        sink.close()
    assert sorted(sink_lab.stored(kind, tmp_path)) == list(range(1, 61))


def test_an_empty_batch_and_items_of_no_use_store_nothing(kind: str, tmp_path: Path) -> None:
    sink = sink_lab.make(kind, tmp_path)
    sink.open()
    sink.write([])
    sink.write([Item(sink_lab.PLACES[0], 1)])
    sink.rotate(1)
    sink.close()
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".writing"] == []


def test_two_sinks_at_once_lose_and_double_nothing(kind: str, tmp_path: Path) -> None:
    one, two = sink_lab.make(kind, tmp_path), sink_lab.make(kind, tmp_path)
    one.open()
    one.write(sink_lab.items(1, 4))
    two.open()
    for start in range(4, 100, 6):
        one.write(sink_lab.items(start, start + 3))
        two.write(sink_lab.items(start + 3, start + 6))
    two.close()
    one.close()
    assert sorted(sink_lab.stored(kind, tmp_path)) == list(range(1, 100))


def test_numbers_of_thirty_digits_come_back_exactly(kind: str, tmp_path: Path) -> None:
    sink = sink_lab.make(kind, tmp_path)
    sink.open()
    sink.write([sink_lab.item(1, sink_lab.LONG)])
    sink.close()
    if kind.startswith("local"):
        with files.open_binary(files.all_files(tmp_path)[0]) as stream:
            assert str(sink_lab.LONG).encode() in next(files.lines(stream)).data
    else:
        (file,) = sink_lab.parquet_files(tmp_path)
        prices = pq.read_table(file)["price"].to_pylist()
        assert [Decimal(each) for each in prices] == [sink_lab.LONG, sink_lab.LONG - 1, sink_lab.LONG + 1]


def test_a_batch_that_failed_is_taken_back_and_can_come_again(kind: str, tmp_path: Path, small_files: None) -> None:
    sink = sink_lab.make(kind, tmp_path, most=1000)
    sink.open()
    sink.write(sink_lab.items(1, 6))
    sizes = {path: path.stat().st_size for path in tmp_path.rglob("*.jsonl")}
    for _ in range(3):
        with pytest.raises(SinkError, match="File too large"):
            sink.write(sink_lab.items(6, 200))
        assert {path: path.stat().st_size for path in tmp_path.rglob("*.jsonl")} == sizes
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit[1], limit[1]))
    sink.write(sink_lab.items(6, 200))
    sink.close()
    assert sorted(sink_lab.stored(kind, tmp_path)) == list(range(1, 200))


def test_a_full_disk_costs_nothing_that_was_acknowledged(kind: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        sink = sink_lab.make(kind, disk, most=1_000_000)
        sink.open()
        sink.write(sink_lab.items(1, 101))
        ballast = disk / "ballast"
        with pytest.raises(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                if file.write(b"x" * 4096) < 4096:
                    raise OSError
        for _ in range(3):
            with pytest.raises(SinkError, match="No space left"):
                sink.write(sink_lab.items(101, 1001))
        ballast.unlink()
        sink.write(sink_lab.items(101, 1001))
        sink.close()
        assert sorted(sink_lab.stored(kind, disk)) == list(range(1, 1001))
    finally:
        subprocess.run(["umount", disk], check=True)


def kill_storm(kind: str, root: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged: list[int] = []
    start = 1
    for _ in range(kills):
        with sink_lab.writer(kind, root, start=start) as process:
            assert process.stdout is not None
            wanted = chance.randrange(1, 40)
            said = [int(process.stdout.readline()) for _ in range(wanted)]
            process.kill()
            said += [int(line) for line in process.stdout.read().split(b"\n") if line]
        acknowledged += range(start, said[-1] + 1)
        start = said[-1] + 1_000  # what was written and not acknowledged must not be taken for the next
    sink = sink_lab.make(kind, root)
    sink.open()
    sink.close()
    found = sink_lab.stored(kind, root)
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)


def test_what_was_acknowledged_survives_kills(kind: str, tmp_path: Path) -> None:
    kill_storm(kind, tmp_path, 2, seed=1)


@pytest.mark.slow
def test_what_was_acknowledged_survives_twenty_kills(kind: str, tmp_path: Path) -> None:
    kill_storm(kind, tmp_path, 20, seed=2)
