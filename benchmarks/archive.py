"""How fast a tree of captures is packed, surveyed, verified and unpacked, beside other tools that are installed.

`python benchmarks/archive.py`, or `--size 100` (MB) for a quick run. Every tool runs once in each round, in turn, in a process
of its own, and its files are removed; told are the medians, and ratios to ours of the same round.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from measure import environment

LEVELS = 20
SYMBOLS = 40
SEGMENT_BYTES = 2_000_000
OURS = {
    "marketreplay pack": "from pytest_marketreplay.archive.packing import pack; pack(tree, archive)",
    "marketreplay pack, level 1": "from pytest_marketreplay.archive.packing import pack; pack(tree, archive, level=1)",
    "marketreplay survey": "from pytest_marketreplay.archive.packing import survey; survey(tree)",
    "marketreplay check and verify": (
        "from pytest_marketreplay.archive.checking import check; from pytest_marketreplay.archive.extracting import verify\n"
        "with open(archive, 'rb') as file: verify(file, check(file, archive.name))"
    ),
    "marketreplay extract": (
        "from pytest_marketreplay.archive.checking import check; from pytest_marketreplay.archive.extracting import extract\n"
        "(archive.parent / 'out').mkdir()\n"
        "with open(archive, 'rb') as file: extract(file, check(file, archive.name), None, archive.parent / 'out')"
    ),
}
RUN = "import re, sys; from pathlib import Path; tree, archive = map(Path, sys.argv[1:3])\n{}\n" + (
    "print(int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) / 1024)"
)


def plant(tree: Path, size: int, seed: int) -> int:
    """Make a tree of polled order books: each line a book of which a part has changed since the one before."""
    chance = random.Random(seed)
    made = number = 0
    while made < size:
        symbol = f"C{number % SYMBOLS:02d}USDT"
        folder = tree / "binance" / "api_v3_depth" / symbol
        folder.mkdir(parents=True, exist_ok=True)
        day, hour = divmod(number // SYMBOLS, 24)
        segment = folder / f"2026-{1 + day // 28:02d}-{1 + day % 28:02d}T{hour:02d}-00-00.jsonl"
        with open(segment, "wb") as file:
            made += book(file.write, symbol, min(SEGMENT_BYTES, size - made + 1), chance)
        number += 1
    return number


def book(write: Callable[[bytes], int], symbol: str, size: int, chance: random.Random) -> int:
    """Write one segment."""
    middle, update, written = chance.randrange(10**4, 10**7), chance.randrange(10**9), 0
    quantities = [chance.randrange(1, 10**8) for _ in range(2 * LEVELS)]
    at = 1_790_000_000_000 + chance.randrange(10**9)
    while written < size:
        at += 1000 + chance.randrange(40)
        update += chance.randrange(200)
        middle += chance.choice((-2, -1, 0, 0, 0, 1, 2))  # then every price of the line is another
        for _ in range(LEVELS):
            quantities[chance.randrange(2 * LEVELS)] = chance.randrange(1, 10**8)
        sides = [
            ",".join(
                f'["{(middle + sign * (level + 1)) / 100:.8f}","{quantities[level + shift] / 1e5:.8f}"]'
                for level in range(LEVELS)
            )
            for sign, shift in ((-1, 0), (1, LEVELS))
        ]
        written += write(
            (
                f'{{"timestamp":{at},"endpoint":"/api/v3/depth","params":{{"symbol":"{symbol}","limit":"{LEVELS}"}},'
                f'"meta":{{"method":"GET","status":200,"latency_ms":{chance.random() * 80:.1f},'
                f'"headers":{{"content-type":"application/json;charset=UTF-8","x-mbx-used-weight":"{update % 1200}"}}}},'
                f'"response":{{"lastUpdateId":{update},"bids":[{sides[0]}],"asks":[{sides[1]}]}}}}\n'
            ).encode()
        )
    return written


def others(tree: Path, folder: Path) -> dict[str, list[str]]:
    """Return the commands of other tools that are installed, each of which leaves its archive in `folder / "other"`."""
    target = folder / "other"
    found = {}
    if shutil.which("zip"):
        found["zip -r"] = ["sh", "-c", f"cd {tree} && zip -qr {target} . && mv {target}.zip {target}"]
        found["zip -r -1"] = ["sh", "-c", f"cd {tree} && zip -qr -1 {target} . && mv {target}.zip {target}"]
    if shutil.which("zstd"):
        found["tar and zstd"] = ["sh", "-c", f"tar -cf - -C {tree} . | zstd -q -T0 -o {target}"]
    if shutil.which("restic"):
        script = f"restic -q init -r {target} && restic -q backup -r {target} {tree}"
        found["restic backup"] = ["sh", "-c", script]
    return found


def timed(command: list[str]) -> tuple[float, str]:
    """Return the seconds that a command takes, and what it says."""
    began = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment({"RESTIC_PASSWORD": "benchmark"})
    )
    took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{command[:2]}: {done.stderr[-500:]}")
    return took, done.stdout


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
    )


def remove(path: Path) -> None:
    """Remove a file or a folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1000, help="MB of the tree")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where to work, instead of the system's folder for temporary files")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {}
    notes: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="marketreplay-bench-", dir=options.folder) as name:
        folder = Path(name)
        tree, archive = folder / "tree", folder / "archive.zip"
        files = plant(tree, options.size * 10**6, options.seed)
        size = size_of(tree)
        foreign = others(tree, folder)
        print(f"A tree of {size / 1e6:.0f} MB in {files} files, {options.rounds} rounds, {os.cpu_count()} cores, "
              f"load {os.getloadavg()[0]:.1f}\n")  # fmt: skip
        for _ in range(options.rounds):
            for tool, statement in OURS.items():
                if " pack" in tool:
                    remove(archive)
                took, said = timed([sys.executable, "-c", RUN.format(statement), str(tree), str(archive)])
                seconds.setdefault(tool, []).append(took)
                notes[tool] = f"{float(said):.0f} MiB of memory"
                if " pack" in tool:
                    notes[tool] = f"{size_of(archive) / size:.3f} of the size, {notes[tool]}"
                remove(folder / "out")
            for tool, command in foreign.items():
                seconds.setdefault(tool, []).append(timed(command)[0])
                notes[tool] = f"{size_of(folder / 'other') / size:.3f} of the size"
                remove(folder / "other")
    ours = seconds["marketreplay pack"]
    print("| | seconds | of our packing | |\n| --- | --- | --- | --- |")
    for tool, took in seconds.items():
        ratio = statistics.median(one / mine for one, mine in zip(took, ours, strict=True))
        print(
            f"| {tool} | {statistics.median(took):.1f} ({min(took):.1f} to {max(took):.1f}) | {ratio:.2f} | {notes[tool]} |"
        )
    for tool in sorted({"zip", "zstd", "restic"} - {part for name in foreign for part in name.split()}):
        print(f"\n{tool} is not installed, and was left out.")
    print(f"\nLoad at the end {os.getloadavg()[0]:.1f}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
