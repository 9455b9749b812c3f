"""What a capture takes on the disk is among the metrics."""

from __future__ import annotations

import logging
import time
import urllib.request
from pathlib import Path

import msgspec
import pytest
from engine_lab import Lab

from pytest_marketreplay.collect import disk
from pytest_marketreplay.metrics import Metrics


def fill(root: Path, sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * size)


def test_bytes_and_files_of_each_platform_are_told_and_those_of_several_trees_added(tmp_path: Path) -> None:
    fill(tmp_path, {"a/binance/depth/BTCUSDT/1.jsonl": 10, "a/binance/depth/ETHUSDT/1.jsonl.zst": 5, "a/top.txt": 99})
    fill(tmp_path, {"a/.hidden/1": 7, "b/binance/trades/BTCUSDT/1.jsonl": 100, "b/kraken/0_public_Depth/XBTUSD/1": 1})
    (tmp_path / "a" / "binance" / "depth" / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    metrics = Metrics()
    disk.tell_sizes([tmp_path / "a", tmp_path / "b", tmp_path / "missing"], metrics)
    told = metrics.registry.get_sample_value
    link = len(str(tmp_path / "nowhere"))  # a link takes its own bytes, not those it points to
    assert told("storage_size_bytes", {"platform": "binance"}) == 115.0 + link
    assert told("storage_file_count", {"platform": "binance"}) == 4.0
    assert told("storage_size_bytes", {"platform": "kraken"}) == 1.0
    assert told("storage_size_bytes", {"platform": ".hidden"}) is None


def test_a_file_that_vanishes_between_listing_and_looking_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, {"binance/depth/BTCUSDT/1.jsonl": 10, "binance/depth/BTCUSDT/2.jsonl": 20})
    real = disk.os.walk

    def late(folder: Path) -> object:  # the moment between the two cannot be met by a real process
        for here, folders, names in real(folder):
            if "1.jsonl" in names:
                (Path(here) / "1.jsonl").unlink()
            yield here, folders, names

    monkeypatch.setattr(disk.os, "walk", late)
    metrics = Metrics()
    disk.tell_sizes([tmp_path], metrics)
    assert metrics.registry.get_sample_value("storage_size_bytes", {"platform": "binance"}) == 20.0
    assert metrics.registry.get_sample_value("storage_file_count", {"platform": "binance"}) == 1.0


def scraped(lab: Lab, wanted: str) -> str:
    base = lab.ask(do="status")["metrics"]
    until = time.monotonic() + 8
    while True:
        with urllib.request.urlopen(f"{base}/metrics") as answer:
            text = str(answer.read().decode())
        if wanted in text or time.monotonic() > until:
            return text
        time.sleep(0.005)


def test_a_session_looks_at_its_tree_while_it_runs(lab: Lab, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    fill(tree, {"binance/depth/BTCUSDT/1.jsonl": 10})
    lab.settings = msgspec.structs.replace(lab.settings, metrics_port=0, to={"local": str(tree), "parquet": "/nowhere"})
    _, text = lab.run(lambda lab: scraped(lab, "storage_size_bytes{"))
    assert 'storage_size_bytes{platform="binance"} 10.0' in text
    assert 'storage_file_count{platform="binance"} 1.0' in text


def test_a_tree_that_cannot_be_looked_at_is_said_in_the_log_and_ends_nothing(
    lab: Lab, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    lab.settings = msgspec.structs.replace(lab.settings, metrics_port=0, to={"local": str(tmp_path / "file")})

    def wait(lab: Lab) -> None:
        until = time.monotonic() + 8
        while "cannot be told" not in caplog.text and time.monotonic() < until:
            time.sleep(0.005)

    with caplog.at_level(logging.WARNING):
        last, _ = lab.run(wait)
    assert "the size of the capture cannot be told" in caplog.text
    assert last.status == "ended"
