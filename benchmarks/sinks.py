"""The part that measures the collector's sinks alone: snapshots of 20 levels a side, from items to closed files."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import measure
from measure import Result
from tables import Table, Verdict, verdicts

LEVELS = 20
START_MS = 1_700_000_000_000
BATCH = 1_000
COLUMNS = (
    "exchange", "pair", "timestamp_ms", "side", "price", "quantity", "capture_latency_ms", "sequence_number", "update_id",
)  # fmt: skip
GOALS = {"local": 100_000, "parquet": 50_000}
BYTES_GOAL = 160
CASES = {
    "plain append of the lines, one write a batch": ("append", 0),
    "local": ("local", 0),
    "local, sealed with zstd": ("local-zst", 0),
    "pyarrow, ready arrays, 10,000 snapshots a file": ("pyarrow", 10_000),
    "pyarrow, the sink's tables ready, 100 a file, fsync and rename": ("floor", 100),
    "pyarrow, the sink's tables ready, 10,000 a file, fsync and rename": ("floor", 10_000),
    "parquet, 100 snapshots a file (the default)": ("parquet", 100),
    "parquet, 10,000 snapshots a file": ("parquet", 10_000),
}


def items(count: int) -> list[Any]:
    """Make a book that moves a little each time, with its line as a venue would say it."""
    from pytest_marketreplay.cassette.files import Place
    from pytest_marketreplay.market.structs import Level
    from pytest_marketreplay.sinks.items import Item, Snapshot

    chance = random.Random(1)
    place = Place("binance", "api_v3_depth", "BTCUSDT")
    middle, out = 6_700_000, []
    sizes = [chance.randrange(1, 10**6) for _ in range(2 * LEVELS)]
    for number in range(1, count + 1):
        middle += chance.choice((-1, 0, 0, 0, 1))
        for _ in range(4):
            sizes[chance.randrange(2 * LEVELS)] = chance.randrange(1, 10**6)
        sides = [
            tuple(
                Level(Decimal(middle + sign * (level + 1)).scaleb(-2), Decimal(sizes[level + shift]).scaleb(-5))
                for level in range(LEVELS)
            )
            for sign, shift in ((-1, 0), (1, LEVELS))
        ]
        text = [",".join(f'["{price}","{size}"]' for price, size in side) for side in sides]
        line = (
            f'{{"timestamp":{START_MS + number * 100},"endpoint":"/api/v3/depth","params":{{"symbol":"BTCUSDT"}},'
            f'"response":{{"lastUpdateId":{number * 7},"bids":[{text[0]}],"asks":[{text[1]}]}}}}\n'
        )
        book = Snapshot("binance", "BTC-USDT", START_MS + number * 100, *sides, 12.5, number, number * 7)
        out.append(Item(place, 0, line.encode(), book))
    return out


def sinks(folder: Path, quick: bool) -> tuple[list[Table], list[Verdict]]:
    """Write in fresh processes; the time is from the first item to the last closed, sealed or converted file.

    The goal's figure of `parquet` is that of the end: from the first snapshot handed over to the last file that is on the disk,
    was compared with what was written, and has no log any more. The repetitions go over all cases in turn, so that what the
    machine does meanwhile hits all.
    """
    rows, found = [], []
    count = 5_000 if quick else 50_000
    results: dict[str, list[Result]] = {case: [] for case in CASES}
    for repetition in range(1 if quick else 3):
        for case, (kind, most) in CASES.items():
            measure.say(f"sinks: {case} ({repetition + 1})")
            order: Result = {"folder": str(folder), "kind": kind, "most": most, "count": count}
            results[case].append(measure.child("sinks.py", order))
    for case, (kind, _) in CASES.items():
        result = measure.median(results[case])
        if "error" in result:
            rows.append([case, f"fails: {result['error'][:60]}", "", ""])
            continue
        speed, written = count / result["seconds"], count / result["write_seconds"]
        rows.append([case, written, speed, result["bytes"] / count])
        if kind in GOALS:
            found.append(Verdict(f"sinks, {case}", speed, GOALS[kind], "snapshots/s", at_least=True))
        if kind == "local-zst" or kind == "parquet":
            found.append(Verdict(f"sinks, {case}: disk", result["bytes"] / count, BYTES_GOAL, "bytes/snapshot"))
    columns = ["case", "acknowledged/s", "snapshots/s to the end", "bytes a snapshot"]
    note = f"{LEVELS} levels a side. To the end: closed, sealed or converted, read back and compared."
    return [Table("Sinks alone", columns, rows, note)], found


def run(kind: str, most: int, made: list[Any], folder: Path) -> tuple[float, float]:
    """Write all items; return the seconds until the last was acknowledged, and until all was done."""
    started = time.perf_counter()
    if kind == "append":
        with (folder / "plain.jsonl").open("ab", buffering=0) as file:
            for index in range(0, len(made), BATCH):
                file.write(b"".join([item.line for item in made[index : index + BATCH]]))
        seconds = time.perf_counter() - started
        return seconds, seconds
    from pytest_marketreplay.sinks.local import LocalSink, Rotation
    from pytest_marketreplay.sinks.parquet import ParquetSink

    if kind == "parquet":
        sink: Any = ParquetSink(folder, wal=folder / ".log", rotate_entries=most)
    else:
        sink = LocalSink(folder, rotation=Rotation(), seal="zst" if kind == "local-zst" else None)
    sink.open()
    started = time.perf_counter()
    for index in range(0, len(made), BATCH):
        sink.write(made[index : index + BATCH])
    written = time.perf_counter() - started
    sink.close()
    return written, time.perf_counter() - started


def ready(made: list[Any], most: int, folder: Path) -> float:
    """Write arrays that are there before the clock starts, with pyarrow alone; return seconds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for index in range(0, len(made), most):
        rows: dict[str, list[Any]] = {}
        for book in (item.snapshot for item in made[index : index + most]):
            for side, levels in (("bid", book.bids), ("ask", book.asks)):
                for level in levels:
                    row = (book.exchange, book.pair, book.timestamp_ms, side, str(level.price), str(level.size),
                           book.capture_latency_ms, book.sequence_number, book.update_id)  # fmt: skip
                    for name, value in zip(COLUMNS, row, strict=True):
                        rows.setdefault(name, []).append(value)
        tables.append(pa.table(rows))
    started = time.perf_counter()
    for number, table in enumerate(tables):
        pq.write_table(table, folder / f"{number}.parquet", compression="zstd")
    return time.perf_counter() - started


def floor(made: list[Any], most: int, folder: Path) -> float:
    """Write the sink's own tables, there before the clock starts, as safely as it does; return seconds.

    Each file is brought to the disk, renamed, and its folder's names are brought to the disk. In one thread, no log, nothing
    read back: what is left is pyarrow's and the file system's share.
    """
    import pyarrow.parquet as pq

    from pytest_marketreplay.sinks import arrow, lines
    from pytest_marketreplay.sinks.segment import sync

    arrow.pyarrow()
    books = [item.snapshot for item in made]
    tables = [
        arrow.table(b"".join(map(lines.line, books[index : index + most])), "floor", decimals=False)
        for index in range(0, len(books), most)
    ]
    started = time.perf_counter()
    for number, table in enumerate(tables):
        part = folder / f".{number}.tmp"
        with part.open("wb") as file:
            pq.write_table(table, file, compression="zstd", write_page_checksum=True, store_schema=False)
            file.flush()
            os.fsync(file.fileno())
        part.rename(folder / f"{number}.parquet")
        sync(folder)
    return time.perf_counter() - started


def main() -> None:
    """Measure one case, as the order in the first argument says; without one, measure all and print the tables."""
    import tempfile

    if len(sys.argv) < 2 or sys.argv[1] == "--quick":
        with tempfile.TemporaryDirectory() as name:
            tables, found = sinks(Path(name), quick=len(sys.argv) > 1)
        print("\n\n".join(table.markdown() for table in [*tables, verdicts(found)]))
        return
    order = json.loads(sys.argv[1])
    made = items(order["count"])
    with tempfile.TemporaryDirectory(dir=order["folder"]) as name:
        folder = Path(name)
        if order["kind"] == "pyarrow":
            written = seconds = ready(made, order["most"], folder)
        elif order["kind"] == "floor":
            written = seconds = floor(made, order["most"], folder)
        else:
            written, seconds = run(order["kind"], order["most"], made, folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(json.dumps({"seconds": seconds, "write_seconds": written, "bytes": size, "peak_mb": measure.peak_mb()}))


if __name__ == "__main__":
    main()
