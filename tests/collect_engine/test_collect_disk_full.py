"""A disk that is full for a while: nothing crashes, what is lost is declared exactly, and writing goes on at once."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from engine_doubles import OTHER, PLACE
from engine_processes import until

from pytest_marketreplay.cassette import entry, files
from pytest_marketreplay.collect import building
from pytest_marketreplay.collect.engine import Engine
from pytest_marketreplay.collect.queueing import SinkQueue
from pytest_marketreplay.collect.settings import CollectSettings
from pytest_marketreplay.sinks.items import Item

SIZE = 2 << 20
QUEUE = 200


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(disk)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def line_of(number: int) -> bytes:
    return entry.splice(number, "/api/v3/depth", b'{"symbol":"X"}', b'{"status":200}', b'"' + b"x" * 1_000 + b'"')


def fill(disk: Path) -> Path:
    """Take all the room that is left."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue
    return ballast


def numbers_and_gaps(root: Path, symbol: str) -> tuple[list[int], list[dict[str, int]]]:
    """Every line must be a good one."""
    numbers, gaps = [], []
    for file in files.all_files(root):
        if file.parent.name != symbol:
            continue
        with files.open_binary(file) as stream:
            for line in files.lines(stream):
                assert line.ended
                head = entry.read_head(line.data)
                if head.meta.dir == "gap":
                    gaps.append(orjson.loads(line.data)["meta"]["gap"])
                else:
                    numbers.append(head.timestamp)
    return numbers, gaps


def test_a_full_disk_is_a_gap_with_exact_ends_and_writing_goes_on_within_five_seconds(
    small_disk: Path, tmp_path: Path
) -> None:
    root = small_disk / "captures"
    settings = CollectSettings({"binance": ["BTC-USDT"]}, "s", str(tmp_path), to={"local": str(root)})
    (sink,) = building.make_sinks(settings)
    queue = SinkQueue(sink, max_items=QUEUE)
    engine = Engine([queue])
    engine.open()
    number = 0

    def emit(count: int) -> None:
        nonlocal number
        for _ in range(count):
            number += 1
            place = PLACE if number % 2 else OTHER
            queue.put(Item(place, number * 1_000_000, line_of(number)))
            assert queue.stats().items <= QUEUE + 2

    emit(100)
    until(lambda: queue.stats().written == 100)
    ballast = fill(small_disk)
    emit(1_000)
    until(lambda: queue.stats().failures >= 3)
    dropped = queue.stats().dropped
    assert dropped >= 1_000 - QUEUE - 50
    ballast.unlink()
    freed = time.monotonic()
    until(lambda: queue.stats().gaps == 2 and queue.stats().items == 0)
    assert time.monotonic() - freed < 5
    emit(100)
    assert engine.drain() == {}

    for symbol, odd in (("BTCUSDT", 1), ("ETHUSDT", 0)):
        written, gaps = numbers_and_gaps(root, symbol)
        (gap,) = gaps
        assert gap["kind"] == "sink"
        missing = [each for each in range(1, number + 1) if each % 2 == odd and each not in set(written)]
        assert (gap["from_ms"], gap["to_ms"], gap["count"]) == (missing[0], missing[-1], len(missing))
        assert len(written) == len(set(written))
        assert written == sorted(written)
        assert len(written) + gap["count"] == number // 2
