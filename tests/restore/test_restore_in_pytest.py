"""`pytest --restore-cassettes`: once, before collection, by the controller only."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from restore_lab import EIGHT, make_tree, publish

from pytest_marketreplay.archive.packing import survey
from pytest_marketreplay.archive.restored import FILE

# an in-process run forgets what it imported, and extension modules do not like to be imported twice
for _name in ("requests", "aiohttp", "httpx", "filelock", "pytest_marketreplay.plugin.play", "vcr"):
    importlib.import_module(_name)

TESTS = """
import pathlib
import sys
import pytest
import requests

with open(pathlib.Path(__file__).with_name("collected.txt"), "a") as out:  # as it was at collection
    by = "yes" if "pytest_marketreplay.plugin.restoring" in sys.modules else "no"
    count = len(list(pathlib.Path("cassettes").rglob("*.jsonl")))
    out.write(f"{count} files, by this process: {by}\\n")

@pytest.mark.marketreplay("capture", unplayed="ignore")
@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_it_replays(symbol):
    answer = requests.get("https://api.binance.com/api/v3/depth", params={"symbol": symbol, "limit": "5"}, timeout=5)
    assert answer.json()["lastUpdateId"] == 0
"""


def loading() -> list[str]:
    """Return what loads the plugin where it is only on the path and not installed."""
    quiet = [
        "-p",
        "no:recording",
        "-p",
        "no:cassetter",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:hypothesispytest",
        "-p",
        "no:anyio",
    ]
    if any(point.name == "marketreplay" for point in importlib.metadata.entry_points(group="pytest11")):
        return quiet
    return [*quiet, "-p", "pytest_marketreplay.plugin", "-W", "ignore::pytest.PytestAssertRewriteWarning"]


@pytest.fixture
def suite(pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A suite whose cassettes are a snapshot in its folder `backups`."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    make_tree(tmp_path / "recorded" / "capture")
    name = publish(tmp_path / "recorded", pytester.path / "backups")
    pytester.makepyfile(test_it=TESTS)
    pytester.makeini(f"[pytest]\nmarketreplay_restore = backups\nmarketreplay_restore_snapshot = {name.short}\n")
    return pytester


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_a_suite_replays_what_was_restored_before_its_collection(suite, workers, tmp_path):
    headers = ("cassettes: 4 files restored from desk-*.zip", "cassettes: desk-*.zip is there already")
    for header in headers[: 1 if workers else 2]:
        result = suite.runpytest_subprocess(*loading(), *workers, "--restore-cassettes")
        result.assert_outcomes(passed=2)
        result.stdout.fnmatch_lines([header])
        shutil.rmtree(suite.path / "backups", ignore_errors=True)  # a pinned snapshot that is there needs no remote
    assert survey(suite.path / "cassettes") == survey(tmp_path / "recorded")
    restored_by = "no" if workers else "yes"
    assert set((suite.path / "collected.txt").read_text().splitlines()) == {f"4 files, by this process: {restored_by}"}


def test_without_the_option_nothing_is_restored(suite):
    suite.runpytest_inprocess(*loading()).assert_outcomes(failed=2)
    assert not (suite.path / "cassettes").exists()


def test_an_ini_key_asks_for_it_in_every_run_and_the_latest_is_the_default(suite, tmp_path):
    make_tree(tmp_path / "lab" / "other", seed=9)
    publish(tmp_path / "lab", suite.path / "backups", label="lab", created_s=EIGHT + 60)
    ini = suite.path / "tox.ini"
    ini.write_text("[pytest]\nmarketreplay_restore = backups\nmarketreplay_restore_always = yes\n")
    result = suite.runpytest_inprocess(*loading())
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --restore-cassettes: * has snapshots of desk, lab: say of which *"])
    ini.write_text(ini.read_text() + "marketreplay_restore_label = desk\n")
    suite.runpytest_inprocess(*loading()).assert_outcomes(passed=2)
    (suite.path / "cassettes" / "mine.jsonl").write_text("")
    result = suite.runpytest_inprocess(*loading())
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --restore-cassettes: *its files were changed since desk-*was restored there*"])
    assert result.stderr.str().count("\n") <= 2


def test_a_place_is_to_be_said(suite):
    (suite.path / "tox.ini").write_text("[pytest]\n")
    result = suite.runpytest_inprocess(*loading(), "--restore-cassettes")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --restore-cassettes needs a place for snapshots: set the ini key *"])


def test_a_remote_that_cannot_be_reached_is_one_line(suite):
    (suite.path / "tox.ini").write_text("[pytest]\nmarketreplay_restore = nosuchremote:backups\n")
    result = suite.runpytest_inprocess(*loading(), "--restore-cassettes")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    errors = [line for line in result.errlines if line.strip()]
    assert len(errors) == 1
    assert errors[0].startswith("ERROR: --restore-cassettes: nosuchremote:backups: list: ")
    assert not (suite.path / "cassettes").exists()


def test_help_restores_nothing(suite):
    assert suite.runpytest_inprocess(*loading(), "--restore-cassettes", "--help").ret == 0
    assert not (suite.path / "cassettes").exists()


def test_a_run_that_does_not_restore_imports_nothing_for_it():
    code = (
        "import sys, pytest, pytest_marketreplay.plugin\n"
        "print([name for name in sys.modules if '.archive' in name or name.endswith('plugin.restoring')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_the_restored_tree_tells_what_it_is_in_a_hidden_file(suite):
    suite.runpytest_inprocess(*loading(), "--restore-cassettes").assert_outcomes(passed=2)
    record = json.loads((suite.path / "cassettes" / FILE).read_text())
    assert record["kind"] == "marketreplay restore"
    assert record["data"]["snapshot"].startswith("desk-20251128T080000Z-")
