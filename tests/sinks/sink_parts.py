"""What the tests of sinks share: items, what a tree holds, processes that write until they are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from pytest_marketreplay.cassette import files
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.reader import read_line
from pytest_marketreplay.market.structs import Level
from pytest_marketreplay.sinks.items import Item, Snapshot

START_NS = 1_767_323_045_000_000_000
"""2026-01-02T03:04:05Z."""
SECOND = 1_000_000_000
BTC = Place("binance", "api_v3_depth", "BTCUSDT")
ETH = Place("binance", "api_v3_depth", "ETHUSDT")


def snapshot(number: int, *, pair: str = "BTC-USDT", levels: int = 2, update_id: int | None = 7) -> Snapshot:
    """A book of which every value tells its number; the decimals are such as a float would change."""
    base = Decimal("50000.10") + number
    step = Decimal("0.000000000000000001")
    bids = tuple(Level(base - each, Decimal(each + 1) / 8 + step) for each in range(levels))
    asks = tuple(Level(base + 1 + each, Decimal("1.50")) for each in range(levels))
    return Snapshot("binance", pair, START_NS // 1_000_000 + number, bids, asks, 12.25, number, update_id)


def item(number: int, place: Place = BTC, *, pad: int = 0) -> Item:
    """An item with a line and a snapshot."""
    line = b'{"venue":"binance","endpoint":"/api/v3/depth","symbol":"%s","number":%d%s}\n' % (
        place.symbol.encode(),
        number,
        b',"pad":"%s"' % (b"x" * pad) if pad else b"",
    )
    return Item(place, START_NS + number, line, snapshot(number))


def numbers(root: Path, place: Place = BTC) -> list[int]:
    """Return the numbers of the items that a place holds, as readers of cassettes see them."""
    out = []
    for path in files.files_in(place.within(root)):
        with files.open_binary(path) as stream:
            for line in files.lines(stream):
                assert line.ended, f"{path} ends with a torn line"
                out.append(int(line.data.split(b'"number":')[1].split(b",")[0].rstrip(b"}")))
    return out


def names(root: Path, place: Place = BTC) -> list[str]:
    """Return all files of a place, sorted, hidden ones too."""
    return sorted(os.listdir(place.within(root)))


def is_entry(line: bytes) -> bool:
    """Tell whether a line is an entry."""
    return read_line(line) is not None


class Clock:
    """A wall clock and a counter that move when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = START_NS
        self.counter_ns = 5 * SECOND
        monkeypatch.setattr("pytest_marketreplay.clock.now_ns", lambda: self.now_ns)
        monkeypatch.setattr("pytest_marketreplay.clock.counter_ns", lambda: self.counter_ns)

    def pass_s(self, seconds: float) -> None:
        """Let time go by on both."""
        self.now_ns += int(seconds * SECOND)
        self.counter_ns += int(seconds * SECOND)


class FailingWrites:
    """Makes every n-th `os.write` into one tree take half of its bytes, or none, with ENOSPC."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: Callable[[int], str | None]) -> None:
        self.count = 0
        real = os.write

        def write(fd: int, data: bytes | memoryview) -> int:
            self.count += 1
            how = fails(self.count)
            if how == "short":
                return real(fd, bytes(data)[: max(1, len(data) // 2)])
            if how == "full":
                raise OSError(28, "No space left on device")
            return real(fd, data)

        monkeypatch.setattr(os, "write", write)


class Writer:
    """Another process that runs a script of this folder, until it is killed."""

    def __init__(self, script: str, *arguments: str, env: Mapping[str, str] = os.environ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name(script)), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
        )

    def acknowledged(self, until: int) -> Iterator[int]:
        """Yield the numbers that the process acknowledged, up to one; then kill it and yield what it still said."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            yield int(line)
            if int(line) >= until:
                self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        said = self.process.stderr.read().decode()
        self.process.stdout.close()
        self.process.stderr.close()
        assert self.process.returncode == -9, said
