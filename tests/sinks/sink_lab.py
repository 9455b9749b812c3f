"""Items made by number, sinks made by kind, what they stored read back, and a writer in a process that can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import orjson
import pyarrow.parquet as pq

from pytest_marketreplay.cassette import files
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.market.structs import Level
from pytest_marketreplay.sinks import registry
from pytest_marketreplay.sinks.items import Item, Sink, Snapshot
from pytest_marketreplay.sinks.local import LocalSink, Rotation
from pytest_marketreplay.sinks.parquet import ParquetSink

START_MS = 1_700_000_000_000
PLACES = (Place("binance", "api_v3_depth", "BTCUSDT"), Place("binance", "api_v3_depth", "ETHUSDT"))
LONG = Decimal("123456789012345.678901234567891")
KINDS = ("local", "local-zst", "local-gz", "parquet", "parquet-decimal")


def snapshot(number: int, price: Decimal = Decimal("100.10")) -> Snapshot:
    """Make a book with two bids and one ask."""
    bids = (Level(price, Decimal("1.50")), Level(price - 1, Decimal(number)))
    return Snapshot(
        "binance", ("BTC-USDT", "ETH-USDT")[number % 2], START_MS + number, bids, (Level(price + 1, Decimal("0.1")),),
        1.5, number, number * 10,
    )  # fmt: skip


def item(number: int, price: Decimal = Decimal("100.10")) -> Item:
    """Make a polled book with its line."""
    line = b'{"timestamp":%d,"endpoint":"/api/v3/depth","params":{},"response":{"price":"%s"}}\n'
    made = snapshot(number, price)
    filled = line % (made.timestamp_ms, str(price).encode())
    return Item(PLACES[number % 2], made.timestamp_ms * 1_000_000, filled, made)


def items(start: int, end: int) -> list[Item]:
    """Make items from start to before end."""
    return [item(number) for number in range(start, end)]


def make(kind: str, root: Path, most: int = 7) -> Sink:
    """Make a sink that closes a file after `most` entries."""
    if kind.startswith("local"):
        return LocalSink(root, rotation=Rotation(max_entries=most), seal=kind.partition("-")[2] or None)
    return ParquetSink(root, wal=root / ".log", rotate_entries=most, decimals=kind.endswith("decimal"))


def stored(kind: str, root: Path) -> list[int]:
    """Return the numbers of what is stored, by place (or file) and then in order."""
    if kind.startswith("local"):
        out = []
        for file in files.all_files(root):
            with files.open_binary(file) as stream:
                out += [orjson.loads(line.data)["timestamp"] - START_MS for line in files.lines(stream) if line.ended]
        return out
    numbers = []
    for file in parquet_files(root):
        table = pq.read_table(file, columns=["sequence_number", "side"])
        assert table.num_rows % 3 == 0
        rows = table.to_pylist()
        for index in range(0, len(rows), 3):
            assert [row["side"] for row in rows[index : index + 3]] == ["bid", "bid", "ask"]
            assert len({row["sequence_number"] for row in rows[index : index + 3]}) == 1
            numbers.append(rows[index]["sequence_number"])
    return numbers


def parquet_files(root: Path) -> list[Path]:
    """Return the Parquet files in the order in which they were begun."""

    def order(path: Path) -> tuple[str, int]:
        parts = path.stem.split("_", 2)[2].split("-")
        return parts[0], int(parts[1]) if len(parts) > 1 else 0

    return sorted((root / "orderbook_data").rglob("*.parquet"), key=order)


def writer(
    kind: str, target: Path | str, log: Path | None = None, start: int = 1, env: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process that writes for ever and says after each batch the last number that is acknowledged."""
    order = orjson.dumps({"kind": kind, "target": str(target), "log": log and str(log), "start": start}).decode()
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), order],
        stdout=subprocess.PIPE,
        env={**os.environ, **(env or {})},
    )


def main() -> None:
    """Write until killed."""
    order = orjson.loads(sys.argv[1])
    if order["log"]:
        sink: Sink = registry.make("s3", {"to": order["target"], "wal": order["log"], "rotate_entries": 20})
    else:
        sink = make(order["kind"], Path(order["target"]))
    sink.open()
    number = order["start"]
    while True:
        sink.write(items(number, number + 5))
        number += 5
        os.write(1, b"%d\n" % (number - 1))
        sink.rotate(0)


if __name__ == "__main__":
    main()
