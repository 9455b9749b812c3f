"""Measure this project beside its peers: `python benchmarks/run.py`. Tables go to standard output, as Markdown."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import books
import measure
import peers
import recording
import replaying
import sinks
import streaming
import suites
from tables import Table, Verdict, verdicts

LAST_RUN = "## The last run"
PARTS = ("replay", "load", "memory", "record", "startup", "suite", "frames", "books", "sinks")
PACKAGES = (
    "requests", "urllib3", "aiohttp", "pytest", "msgspec", "orjson", "vcrpy", "PyYAML", "cassetter", "betamax",
    "pytest-recording", "websockets",
)  # fmt: skip


def machine() -> str:
    """Describe what the figures were taken on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} x {model}, {memory:.0f} GiB, Python {platform.python_version()}, load {load}"


def versions() -> str:
    """Name what was installed."""
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


def part(name: str, cassettes: replaying.Cassettes, tools: list[str], quick: bool) -> tuple[list[Table], list[Verdict]]:
    """Run one part."""
    if name == "record":
        return recording.recording(cassettes.folder, tools, quick)
    if name == "books":
        return books.books(cassettes.folder, quick)
    if name == "sinks":
        return sinks.sinks(cassettes.folder, quick)
    if name == "startup":
        return suites.startup(cassettes.folder, quick)
    if name == "frames":
        return streaming.streaming(cassettes.folder, quick)
    if name == "suite":
        return suites.suite(cassettes.folder, quick)
    return {"replay": replaying.replay, "load": replaying.load, "memory": replaying.memory}[name](
        cassettes, tools, quick
    )


def main() -> int:
    """Run what was asked for; the exit code tells nothing of the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small cassettes, few repetitions")
    parser.add_argument("--only", choices=PARTS, action="append", help="one part (can be given several times)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write tables and verdicts as JSON too")
    parser.add_argument("--readme", action="store_true", help='put the tables into README.md, under "The last run"')
    options = parser.parse_args()
    said: list[str] = []

    def show(text: str) -> None:
        said.append(text)
        print(text, flush=True)

    tools, missing = peers.installed()
    if peers.OURS not in tools:
        sys.path.insert(0, str(measure.HERE.parent))
        tools, missing = peers.installed()
    started = time.time()
    show(f"Machine: {machine()}\n\n{versions()}\n")
    for name in missing:
        show(f"**{name} is not installed and is left out.**\n")
    tables: list[Table] = []
    found: list[Verdict] = []
    with tempfile.TemporaryDirectory(prefix="marketreplay-bench-") as folder:
        cassettes = replaying.Cassettes(Path(folder))  # built once for all parts
        for name in options.only or PARTS:
            more, judged = part(name, cassettes, tools, options.quick)
            for table in more:
                show(table.markdown() + "\n")
            tables += more
            found += judged
    tables.append(verdicts(found))
    show(tables[-1].markdown())
    show(f"\nTook {time.time() - started:.0f} s; load average at the end {os.getloadavg()[0]:.1f}.")
    if options.readme:
        readme = measure.HERE / "README.md"
        kept = readme.read_text().partition(LAST_RUN)[0]
        readme.write_text(f"{kept}{LAST_RUN}\n\n" + "\n".join(said) + "\n")
    if options.json:
        document = {
            "machine": machine(),
            "versions": versions(),
            "tables": [table._asdict() for table in tables],
            "verdicts": [{**verdict._asdict(), "reached": verdict.reached} for verdict in found],
        }
        options.json.write_text(json.dumps(document, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
