"""What reads a capture passes over the entries of its gaps."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import requests
from poll_lab import Lab, answer, book

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.cassette import reader
from pytest_marketreplay.cassette.entry import Entry
from pytest_marketreplay.cassette.frame import Frame
from pytest_marketreplay.collect.fetching import Answer
from pytest_marketreplay.data import MarketData
from pytest_marketreplay.errors import RecordingExhausted
from pytest_marketreplay.sinks.local import LocalSink

URL = "https://api.binance.com/api/v3/depth"


@pytest.fixture
def tree(lab: Lab, tmp_path: Path) -> Path:
    """Nine books with a gap of each kind before, between and behind them."""

    async def script(number: int, url: str) -> Answer:
        if number in (0, 3, 9):
            return answer(b"<html>", 502)
        await asyncio.sleep(2.2 if number == 5 else 0.1)
        return answer(book(number + 1))

    def jump() -> None:
        lab.jump_ns = 7200 * 10**9

    stats = lab.run(lab.feed(script), 13, (8.5, jump))
    assert (stats.stored, stats.failed, stats.missed, stats.clock_jumps) == (9, 3, 1, 1)
    kinds = [gap.kind for gap in lab.gaps()]
    assert kinds == ["failed", "failed", "missed", "clock_jump", "failed"]
    sink = LocalSink(tmp_path)
    sink.open()
    sink.write(lab.items)
    sink.close()
    return tmp_path


def test_rest_replay_plays_the_books_and_no_gap(lab: Lab, tree: Path) -> None:
    stored = [(each.line or b"").partition(b'"response":')[2][:-2] for each in lab.items if each.snapshot is not None]
    params = {"symbol": "BTCUSDT", "limit": "500"}
    with use_cassette(tree):
        assert [requests.get(URL, params, timeout=5).content for _ in stored] == stored
    with pytest.raises(RecordingExhausted), use_cassette(tree):
        for _ in range(10):
            requests.get(URL, params, timeout=5)


def test_market_data_has_the_books_and_no_gap(lab: Lab, tree: Path) -> None:
    books = list(MarketData([tree]).books("binance", "BTCUSDT"))
    assert [each.update_id for each in books] == [each.update_id for each in lab.snapshots()]
    assert [each.bids for each in books] == [each.bids for each in lab.snapshots()]


def test_check_finds_nothing_to_say_of_a_capture_with_gaps(tree: Path) -> None:
    found = [each for path in sorted(tree.rglob("*.jsonl")) for each in reader.check(path)]
    assert [type(each) for each in found].count(Entry) == 9
    assert [type(each) for each in found].count(Frame) == 5
    assert len(found) == 14
