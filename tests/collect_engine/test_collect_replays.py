"""A capture is a cassette: what the collector wrote plays in a test, unchanged, by sequence and by time."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests
from engine_processes import Cli, commands

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.cassette import entry, files, names
from pytest_marketreplay.cassette.entry import Entry
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.collect.gaps import place_gap_item
from pytest_marketreplay.errors import RecordingExhausted
from pytest_marketreplay.sinks.items import Gap

PLACE = Place("binance", "api_v3_depth", "BTCUSDT")


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What a short capture left."""
    with commands(tmp_path_factory.mktemp("capture")) as cli:
        yield _captured(cli)


@pytest.fixture
def capture(captured: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(captured, tmp_path / "captured"))


def _captured(cli: Cli) -> Path:
    child = cli.begin(*cli.arguments())
    cli.captured(12)
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == 0
    return cli.captures


def depth(root: Path, symbol: str) -> list[Entry]:
    """The recorded order books of a symbol."""
    out = []
    for file in files.files_in(Place("binance", "api_v3_depth", symbol).within(root)):
        with files.open_binary(file) as stream:
            lines = [line.data for line in files.lines(stream)]
        out.extend(entry.read_entry(line) for line in lines if entry.read_head(line).meta.dir is None)
    return out


def ask(recorded: Entry) -> requests.Response:
    """Ask as the collector did, but of the exchange's own host, which nothing here can reach."""
    params: dict[str, Any] = recorded.params
    return requests.get(f"https://api.binance.com{recorded.endpoint}", params=params, timeout=5)


@pytest.mark.parametrize("has_gap", [False, True])
def test_a_capture_plays_by_sequence_byte_for_byte_and_gaps_are_passed_over(capture: Path, has_gap: bool) -> None:
    recorded = depth(capture, "BTCUSDT")
    assert len(recorded) >= 3
    if has_gap:
        last_ns = (recorded[-1].timestamp + 1) * 1_000_000
        gap = place_gap_item(PLACE, Gap("sink", 1, 2, 3, "the disk was full"), last_ns)
        assert gap.line is not None
        file = PLACE.within(capture) / f"{names.file_stem(last_ns + 10**9)}.jsonl"
        file.write_bytes(gap.line)
    with use_cassette(capture):
        for each in recorded:
            answer = ask(each)
            assert answer.content == each.body()
            assert orjson.loads(answer.content)["bids"]
    with pytest.raises(RecordingExhausted), use_cassette(capture):
        for each in [*recorded, recorded[-1]]:
            ask(each)


def test_a_capture_plays_by_time(capture: Path) -> None:
    recorded = depth(capture, "BTCUSDT")
    with use_cassette(capture, order="time", clock="recording") as session:
        clock = session.clock
        assert clock is not None
        for each in recorded:
            at_ns = int((each.timestamp + (each.meta.latency_ms or 0) + 1) * 1_000_000)
            clock.move_to(max(at_ns, clock.now_ns))
            newest = [
                other
                for other in recorded
                if other.timestamp * 1_000_000 <= clock.now_ns  # "recorded at" is when it was asked for
            ][-1]
            assert ask(each).content == newest.body()
