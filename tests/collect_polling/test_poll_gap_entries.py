"""Gap entries stand among the data, and whatever reads a cassette passes over them (format, "Gap entries")."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import requests
from poll_lab import BOOK, START_NS, Lab, answer

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.cassette import reader
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.collect.fetching import Answer, Unanswered
from pytest_marketreplay.collect.gaps import place_gap_item
from pytest_marketreplay.collect.polling import PollFeed
from pytest_marketreplay.data.market import MarketData
from pytest_marketreplay.replay.matching import Matcher
from pytest_marketreplay.replay.stream.recorded import Lines
from pytest_marketreplay.sinks.items import Gap, Item
from pytest_marketreplay.sinks.local import LocalSink
from pytest_marketreplay.venues.registry import Registry

_SHARED = Path(os.environ.get("MARKETREPLAY_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))


def store(items: list[Item], root: Path) -> None:
    sink = LocalSink(root)
    sink.open()
    sink.write(items)
    sink.close()


def test_a_capture_with_gaps_replays_and_reads_as_if_they_were_not_there(lab: Lab, tmp_path: Path) -> None:
    async def script(number: int, url: str) -> Answer:
        if number in (0, 3, 4):
            raise Unanswered("down")
        return answer(BOOK.replace(b"431", b"43%d" % number))

    lab.run(lab.feed(script), 7)
    store(lab.items, tmp_path)
    assert [gap.count for gap in lab.gaps()] == [1, 2]
    files = sorted(tmp_path.rglob("*.jsonl"))
    found = [line for path in files for line in reader.check(path)]
    assert len(found) == 6, "four books and two gaps, none of them damage"
    with use_cassette(tmp_path):
        url = "https://api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=500"
        bodies = [requests.get(url, timeout=10).content for _ in range(4)]
    assert bodies == [BOOK.replace(b"431", b"43%d" % number) for number in (1, 2, 5, 6)]
    data = MarketData([tmp_path])
    books = list(data.books("binance", "BTCUSDT"))
    assert data.skipped == ()
    assert [each.bids[0].size for each in books] == [Decimal(f"43{number}.00000000") for number in (1, 2, 5, 6)]


def test_a_gap_in_a_folder_of_frames_is_passed_over(tmp_path: Path) -> None:
    place = Place("binance", "ws_ws_btcusdt@trade", "BTCUSDT")
    case = Path(__file__).parents[1] / "format_cases" / "valid" / "websocket_frame.jsonl"
    frames = case.read_bytes().splitlines(keepends=True)[:-1]  # the last is a REST entry
    gap = Gap("disconnected", START_NS // 10**6, START_NS // 10**6 + 5000, 0, "idle")
    line = place_gap_item(place, gap, START_NS).line
    assert line is not None
    assert json.loads(line)["meta"]["gap"]["kind"] == "disconnected"
    loaded = []
    for name, lines in (("plain", frames), ("gaps", [part for frame in frames for part in (line, frame)] + [line])):
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(b"".join(lines))
        index = Lines([path], Matcher(Registry().by_folder("binance")))
        index.load()
        loaded.append([[(each.meta, each.data()) for each in one.frames()] for one in index.connections])
        index.close()
    assert loaded[0] == loaded[1]
    assert loaded[0]


@pytest.fixture
def real_exchange(tmp_path: Path) -> Iterator[str]:
    """The data set's own server, that fails in all the ways it knows."""
    script = _SHARED / "tools" / "exchange_server.py"
    if not script.is_file() or not (_SHARED / "market-data" / "index.json").is_file():
        pytest.skip(f"the real data set is not here ({_SHARED}); MARKETREPLAY_SHARED names the folder that has it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(script), f"--port={port}", "--fail-429-next=1", "--retry-after=1", "--error-500-next=2"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    assert b"loopback exchange on" in said, said
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(10)
    process.stdout.close()


@pytest.mark.parametrize(
    ("venue", "pair"),
    [("binance", "LRC-BTC"), ("binance_us", "CRV-USDT"), ("binance_futures", "CTK-USDT"), ("bitstamp", "ADA-EUR")],
)
def test_the_data_sets_server_is_captured_through_its_faults(
    real_exchange: str, venue: str, pair: str, tmp_path: Path
) -> None:
    items: list[Item] = []

    async def go() -> PollFeed:
        stop = asyncio.Event()

        def emit(item: Item) -> None:
            items.append(item)
            if item.snapshot is not None and item.snapshot.sequence_number == 3:
                stop.set()

        base_url = f"{real_exchange}/v/{venue}"
        feed = PollFeed(Registry().venues[venue], [pair], 0.05, emit=emit, base_url=base_url, levels=1000)
        await asyncio.wait_for(feed.run(stop), 30)
        return feed

    feed = asyncio.run(go())
    stats = feed.stats()
    assert stats.stored >= 3, "the stop is seen at the next turn, and a slow machine has polled once more by then"
    assert stats.failed == 3, "a 429 and two 500"
    declared = [item.gap for item in items if item.gap is not None]
    assert sum(gap.count for gap in declared) == stats.failed + stats.missed
    assert stats.missed >= 17, "a second of Retry-After, on a grid of 50 ms"
    store(items, tmp_path)
    books = list(MarketData([tmp_path]).books(venue))
    assert [(each.bids, each.asks) for each in books] == [
        (item.snapshot.bids, item.snapshot.asks) for item in items if item.snapshot is not None
    ]
    assert len(books[0].bids) > 10
