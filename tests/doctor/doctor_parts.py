"""What the tests of the doctor share: captures by the real sinks, whole and killed, and what is said of them."""

from __future__ import annotations

import importlib
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from pytest_marketreplay.cassette import entry
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.doctor import Health, Limits, examine
from pytest_marketreplay.market.structs import Level
from pytest_marketreplay.sinks import arrow
from pytest_marketreplay.sinks.items import Item, Snapshot
from pytest_marketreplay.sinks.local import LocalSink, Rotation

BTC = Place("binance", "api_v3_depth", "BTCUSDT")
DAY_S = 86_400
DAY_MS = DAY_S * 1000
LIMITS = Limits(min_free_share=0.0, min_days=0.0)
"""What the machine's own disk has is not what is tested."""


def line(time_ms: int, *, pad: int = 0, params: bytes = b'{"symbol":"BTCUSDT"}', meta: bytes = b"{}") -> bytes:
    """Make a whole line."""
    return entry.splice(time_ms, "/api/v3/depth", params, meta, b'{"bids":[["1","2"]],"pad":"%s"}' % (b"x" * pad))


def item(number: int, *, time_ms: int | None = None, place: Place = BTC, **more: object) -> Item:
    """Make a polled book of now."""
    at = int(time.time() * 1000) + number if time_ms is None else time_ms
    book = Snapshot("binance", "BTC-USDT", at, (Level(Decimal(1), Decimal(2)),), (), 1.0, number + 1, None)
    return Item(place, at * 1_000_000, line(at, **more), book)  # type: ignore[arg-type]


def items(start: int, end: int) -> list[Item]:
    """Make items."""
    return [item(number) for number in range(start, end)]


def capture(root: Path, made: list[Item], *, seal: str | None = None, most: int | None = None) -> list[Path]:
    """Write a tree with the sink; returns its files."""
    sink = LocalSink(root, seal=seal, rotation=Rotation(max_entries=most))
    sink.open()
    sink.write(made)
    sink.close()
    return sorted(root.glob("*/*/*/*.jsonl*"))


def killed(how: str, root: Path, *more: str) -> None:
    """Run a sink in a process that ends in the middle of its work."""
    script = str(Path(__file__).with_name("doctor_killed.py"))
    done = subprocess.run([sys.executable, script, how, str(root), *more], capture_output=True, check=False, timeout=60)
    assert done.returncode == -9, done.stderr.decode()


def age(path: Path, seconds: float) -> None:
    """Make a file or folder as old as if nobody had touched it since."""
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)


class Doctor:
    """Examines with a state folder of its own."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.state_dir = tmp_path / "state"

    def look(self, *trees: Path, fix: bool = False, **limits: object) -> Health:
        """Examine, with what limits differ."""
        made = Limits(**{"min_free_share": 0.0, "min_days": 0.0, **limits})  # type: ignore[arg-type]
        return examine(trees, state_dir=self.state_dir, limits=made, fix=fix)

    def codes(self, *trees: Path, **limits: object) -> set[str]:
        """Examine, and return the codes that were found; nothing may have changed by it."""
        before = snapshot(self.tmp_path)
        found = set(self.look(*trees, **limits).counts)
        assert snapshot(self.tmp_path) == before
        return found

    def mends(self, code: str, *trees: Path, **limits: object) -> Health:
        """Mend a finding: it is gone then, and a second time nothing is changed."""
        assert any(each.code == code and each.fixable for each in self.look(*trees, **limits).findings)
        first = self.look(*trees, fix=True, **limits)
        assert first.fixed[code] >= 1
        assert code not in first.counts
        before = snapshot(self.tmp_path)
        second = self.look(*trees, fix=True, **limits)
        assert second.fixed == {}
        assert code not in second.counts
        assert snapshot(self.tmp_path) == before
        return first


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Return what is below a folder: names, modes, times of change, sizes, bytes."""
    out: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        about = path.lstat()
        data = path.read_bytes() if stat.S_ISREG(about.st_mode) else None
        out[str(path)] = (about.st_mode, about.st_mtime_ns, about.st_ctime_ns, about.st_size, data)
    return out


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be a user without root's rights for a while."""
    for late in ("gzip", "zstandard", "_strptime"):  # nobody may read where they are installed
        importlib.import_module(late)
    arrow.pyarrow()
    if os.geteuid() != 0:
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
