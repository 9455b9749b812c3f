"""What hostile archives, and honest ones that are large, cost in memory: each is read in a process of its own.

Measured is VmHWM, the most that a process itself had, over what it has after its imports. (`ru_maxrss` would keep what
the process that started it had before the exec.)
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from archive_lab import Part, forge, plant

from pytest_marketreplay.archive import layout
from pytest_marketreplay.archive.layout import Ends, Entry
from pytest_marketreplay.archive.manifest import MEMBER
from pytest_marketreplay.archive.packing import pack

MIB = 1 << 20
SCRIPT = """
import re, sys
from pathlib import Path
from pytest_marketreplay.archive.checking import check, digest
from pytest_marketreplay.archive.extracting import extract, verify
from pytest_marketreplay.archive.packing import pack, survey
from pytest_marketreplay.errors import DamagedArchive

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

before = peak()
path, folder = Path(sys.argv[2]), Path(sys.argv[3])
try:
    if sys.argv[1] == "pack":
        pack(folder, path)
        survey(folder)
    else:
        with open(path, "rb") as file:
            checked = check(file, path.name)
            verify(file, checked)
            extract(file, checked, None, folder)
    print(peak() - before, "done")
except DamagedArchive as error:
    print(peak() - before, error.reason)
"""


def measured(what: str, path: Path, folder: Path) -> tuple[float, str]:
    """Return the MiB that it took, and how it ended."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, what, path, folder], capture_output=True, text=True, check=True, timeout=300
    )
    mib, _, said = done.stdout.strip().partition(" ")
    return float(mib), said


def directory_of(count: int, length: int) -> bytes:
    """Return an archive of a directory alone."""
    entry = layout.directory_entry(b"x" * length, 4, 0o640, Entry(0, 4, 0, True))
    last = layout.directory_entry(MEMBER.encode(), 100, layout.MANIFEST_MODE, Entry(0, 100, 0, False))
    size = len(entry) * count + len(last)
    return b"\0" * 200 + entry * count + last + layout.end_records(Ends(count + 1, 200, size))


def crowd(inner: bytes, times: int) -> bytes:
    """Return an archive whose manifest has one thing many times, which packs badly enough to be no bomb."""
    noise = random.Random(5)
    many = b",".join(inner % f"{noise.getrandbits(160):040x}".encode() for _ in range(times))
    return forge(manifest=lambda raw: raw.replace(b'"members":[]', b'"members":[' + many + b"]"))


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a directory of a million": (lambda: directory_of(1_000_000, 30), "its directory has 1000001 entries"),
    "a directory of long names": (lambda: directory_of(149_000, 1000), "the offset in its directory entry"),
    "a bomb of 1 GiB": (
        lambda: forge(Part("x", bytes(MIB), size=1 << 30)), "nothing that was packed here",
    ),
    "a bomb that lies of its size": (lambda: forge(Part("x", bytes(200 * MIB), size=400_000)), "inflates to more than"),
    "a manifest of 39 MiB that says nothing": (
        lambda: forge(manifest=lambda raw: raw + random.Random(3).randbytes(39 * MIB)), "something else wrote it",
    ),
    "a manifest of small lies": (lambda: crowd(b'{"path":"%s"}', 600_000), "something else wrote it"),
    "a manifest of arrays": (lambda: crowd(b'["%s"]', 600_000), "something else wrote it"),
    "a manifest of one long name": (
        lambda: forge(manifest=lambda raw: raw.replace(
            b"[]", b'[{"path":"' + random.Random(4).randbytes(15 * MIB).hex().encode() + b'"}]', 1
        )),
        "something else wrote it",
    ),
    "a manifest of more than can be": (
        lambda: crowd(b'{"path":"%s","size":1,"sha256":"","mode":1}', 151_000), "more than 150000 files and folders",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("make", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_archive_takes_less_than_64_mib(tmp_path: Path, make: Callable[[], bytes], reason: str) -> None:
    path = tmp_path / "hostile.zip"
    path.write_bytes(make())
    mib, said = measured("read", path, plant(tmp_path / "staging", {}))
    print(f"{mib:.1f} MiB: {said}")
    assert said != "done"
    assert re.search(reason, said)
    assert mib < 64


@pytest.mark.slow
def test_large_files_take_little_memory(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    noise, line = random.Random(6), b'{"timestamp":%d,"response":{"bids":[["%d.00","%d"]]}}\n'
    lines = b"".join(line % (n, n * 7919 % 9973, noise.getrandbits(60)) for n in range(150_000))
    plant(tree, {"lines": lines * 30, "noise": noise.randbytes(MIB) * 100, "zeros": bytes(100 * MIB)})
    mib, said = measured("pack", tmp_path / "archive.zip", tree)
    print(f"packing {mib:.1f} MiB")
    assert (mib < 100, said) == (True, "done")
    mib, said = measured("read", tmp_path / "archive.zip", plant(tmp_path / "out", {}))
    print(f"reading {mib:.1f} MiB")
    assert (mib < 64, said) == (True, "done")


@pytest.mark.slow
def test_as_many_files_as_there_may_be_take_less_than_120_mib(tmp_path: Path) -> None:
    tree, share = tmp_path / "tree", 5  # a fifth of them: what is taken for each is the same
    count = layout.MOST_ENTRIES // share
    for number in range(count):
        symbol = tree / f"binance/api_v3_depth/SYMBOL{number // 1000:03d}USDT"
        symbol.mkdir(parents=True, exist_ok=True)
        open(symbol / f"2026-11-28T08-{number:06d}.jsonl", "wb").close()
    mib, said = measured("pack", tmp_path / "archive.zip", tree)
    print(f"packing {mib:.1f} MiB")
    assert (mib * share < 120, said) == (True, "done")
    mib, said = measured("read", tmp_path / "archive.zip", plant(tmp_path / "out", {}))
    print(f"reading {mib:.1f} MiB")
    assert (mib * share < 120, said) == (True, "done")


def test_a_megabyte_of_nothing_is_packed_so_that_it_is_no_bomb(tmp_path: Path) -> None:
    plant(tmp_path / "tree", {"zeros": bytes(3 * MIB)})
    assert pack(tmp_path / "tree", tmp_path / "archive.zip", level=9).size_bytes > 3 * MIB
