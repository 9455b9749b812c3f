"""The parts that run pytest: what an unused plugin adds to its start, and a suite of 500 tests with 3 requests each.

The same interpreter runs every variant. `PYTEST_DISABLE_PLUGIN_AUTOLOAD` keeps every installed plugin out, and `-p` loads
the one that is measured, so no two of them meet (pytest-recording and cassetter cannot).
"""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import measure
import payloads
from peers import OURS, TOOLS
from tables import Table, Verdict

PLUGIN = "pytest_marketreplay.plugin"
RECORDING = "pytest_recording.plugin"
CASSETTER = "cassetter.pytest_plugin"
EMPTY = "empty_plugin"
"""Stands where no plugin is measured: `-p` itself has pytest search all installed packages, 4 to 15 ms."""

HEAD = """\
import pytest
import requests

URLS = {urls!r}
"""
TEST = """

{marker}def test_{number:03d}():
    with requests.Session() as session:
{mount}        for url in URLS:
            assert session.get(url).json()
"""
ADAPTER = """
BODIES = {bodies!r}


class Memory(requests.adapters.BaseAdapter):
    def send(self, request, **_):
        response = requests.Response()
        response.status_code, response.reason, response.encoding = 200, "OK", "utf-8"
        response.url, response.request = request.url, request
        response.headers.update({headers!r})
        response._content = BODIES[request.url]
        return response

    def close(self):
        pass
"""


class Variant(NamedTuple):
    """One way to run the same tests."""

    name: str
    folder: Path
    plugin: str | None = None
    options: tuple[str, ...] = ()


class Took(NamedTuple):
    """What one run took, in seconds: by the wall clock, and of processor time, which other processes disturb less."""

    wall: float
    processor: float


def run_pytest(variant: Variant) -> tuple[Took, str]:
    """Run a folder's tests; returns what that took, and the last line said."""
    plugins = ("-p", variant.plugin) if variant.plugin else ()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugins, *variant.options]
    environment = measure.environment({"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
    environment.pop("PYTEST_ADDOPTS", None)
    before, used = time.perf_counter(), _processor()
    done = subprocess.run(
        command, cwd=variant.folder, capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    took = Took(time.perf_counter() - before, _processor() - used)
    said = (done.stdout + done.stderr).strip().splitlines() or [""]
    return took, said[-1] if not done.returncode else f"FAILS (exit code {done.returncode}): {said[-1][:100]}"


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def interleaved(variants: list[Variant], times: int) -> dict[str, tuple[list[Took], str]]:
    """Run all variants in turn, several times; a first round warms byte code and page cache and does not count."""
    out: dict[str, tuple[list[Took], str]] = {variant.name: ([], "") for variant in variants}
    for repetition in range(-1, times):
        for variant in measure.rotated(variants, repetition):
            measure.say(f"pytest: {variant.name} ({repetition + 1}/{times})")
            took, said = run_pytest(variant)
            seconds, _ = out[variant.name]
            if repetition >= 0:
                seconds.append(took)
            out[variant.name] = (seconds, said)
    return out


def _folder(root: Path, name: str, test: str) -> Path:
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / f"{EMPTY}.py").write_text("")
    (folder / "test_suite.py").write_text(test)
    return folder


def _there(plugin: str) -> bool:
    return importlib.util.find_spec(plugin.partition(".")[0]) is not None


def startup(root: Path, quick: bool) -> tuple[list[Table], list[Verdict]]:
    """Measure pytest with one empty test, with each plugin loaded and unused."""
    folder = _folder(root, "startup", "def test_nothing():\n    pass\n")
    bare = Variant("an empty plugin", folder, EMPTY)
    variants = [bare, *(Variant(plugin, folder, plugin) for plugin in (PLUGIN, RECORDING, CASSETTER) if _there(plugin))]
    times = 7 if quick else 21
    found = interleaved(variants, times)
    plain, _ = found[bare.name]
    rows: list[list[object]] = []
    for name, (took, said) in found.items():
        adds = statistics.median(mine.wall - other.wall for mine, other in zip(took, plain, strict=True)) * 1e3
        used = (
            statistics.median(mine.processor - other.processor for mine, other in zip(took, plain, strict=True)) * 1e3
        )
        wall = [one.wall for one in took]
        least = (min(wall) - min(other.wall for other in plain)) * 1e3
        rows.append([name, statistics.median(wall) * 1e3, min(wall) * 1e3, adds, least, used, said])
    table = Table(
        f"Start of pytest with one empty test ({times} rounds)",
        [
            "plugin",
            "median ms",
            "least ms",
            "adds ms (median of the rounds)",
            "adds ms (least against least)",
            "adds ms of processor time",
            "pytest said",
        ],
        rows,
    )
    ours = next(row for row in rows if row[0] == PLUGIN)
    assert isinstance(ours[3], float)
    remark = f"(least against least: {ours[4]:.1f} ms; processor time: {ours[5]:.1f} ms)"
    return [table], [Verdict("an unused plugin adds to pytest's start", ours[3], 10.0, "ms", remark=remark)]


def suite(root: Path, quick: bool) -> tuple[list[Table], list[Verdict]]:
    """Measure tests that each make three requests in a session of their own, and each have a cassette of their own."""
    count = 100 if quick else 500
    times = 3 if quick else 5
    urls = [payloads.book_url(0, "polled"), payloads.ticker_url(0), payloads.ticker_url(1)]
    bodies = dict(zip(urls, [*payloads.books(1), *payloads.tickers(2)], strict=True))
    head = HEAD.format(urls=urls)
    memory = head + ADAPTER.format(bodies=bodies, headers=payloads.RESPONSE_HEADERS)
    mounted = _tests(count, "", '        session.mount("https://", Memory())\n')
    floor = Variant("floor: an in-memory adapter", _folder(root, "suite-floor", memory + mounted), EMPTY)
    empty = "".join(f"\n\ndef test_{number:03d}():\n    pass\n" for number in range(count))
    variants = [Variant("empty tests", _folder(root, "suite-empty", head + empty), EMPTY), floor]
    ours = Variant(
        "marketreplay: a marker for each test",
        _folder(root, "suite-marketreplay", head + _tests(count, "@pytest.mark.marketreplay\n", "")),
        PLUGIN,
    )
    _cassettes(OURS, ours.folder / "cassettes" / "test_suite", bodies, count, "")
    variants += [ours, Variant("floor, with marketreplay loaded and unused", floor.folder, PLUGIN)]
    marked = head + _tests(count, "@pytest.mark.vcr\n", "")
    for plugin, tool, ending in ((RECORDING, "vcrpy-yaml", ".yaml"), (CASSETTER, "cassetter-yaml", ".yaml")):
        if _there(plugin):
            folder = _folder(root, f"suite-{tool}", marked)
            _cassettes(tool, folder / "cassettes" / "test_suite", bodies, count, ending)
            variants.append(Variant(plugin, folder, plugin, ("--record-mode=none",)))
    found = interleaved(variants, times)
    base, _ = found[floor.name]
    rows: list[list[object]] = []
    ratios: dict[str, tuple[float, float]] = {}
    for name, (took, said) in found.items():
        pairs = list(zip(took, base, strict=True))
        ratios[name] = (
            statistics.median(mine.wall / other.wall for mine, other in pairs),
            statistics.median(mine.processor / other.processor for mine, other in pairs),
        )
        extra = statistics.median(mine.wall - other.wall for mine, other in pairs) / count * 1e3
        wall = [one.wall for one in took]
        rows.append([name, statistics.median(wall), min(wall), extra, *ratios[name], said])
    columns = [
        "suite", "median s", "least s", "more than the floor, ms a test", "x floor", "x floor, processor time", "pytest said",
    ]  # fmt: skip
    verdict = Verdict(
        f"{count} tests with 3 interactions each: times the suite on in-memory adapters",
        ratios[ours.name][0],
        1.15,
        "x",
        remark=f"(processor time: {ratios[ours.name][1]:.2f})",
    )
    return [Table(f"{count} tests, 3 requests each ({times} rounds, start of pytest included)", columns, rows)], [
        verdict
    ]


def _tests(count: int, marker: str, mount: str) -> str:
    return "".join(TEST.format(marker=marker, number=number, mount=mount) for number in range(count))


def _cassettes(tool: str, folder: Path, bodies: dict[str, bytes], count: int, ending: str) -> None:
    """Give every test a cassette with the same three answers."""
    folder.mkdir(parents=True)
    if tool == "cassetter-yaml":
        TOOLS[tool].build(folder / "test_000", bodies.items())  # adds the ending itself
    else:
        TOOLS[tool].build(folder / f"test_000{ending}", bodies.items())
    first = folder / f"test_000{ending}"
    for number in range(1, count):
        other = folder / f"test_{number:03d}{ending}"
        if first.is_dir():
            shutil.copytree(first, other)
        else:
            os.link(first, other)
