"""A suite of pytest-recording's, in a pytest of its own, whose recordings stay in our tree; and what the bridge costs."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest
from bridge_server import Server

CONFTEST = """
from pytest_marketreplay.bridge.persister import MarketReplayPersister

def pytest_recording_configure(config, vcr):
    MarketReplayPersister.register(vcr)
"""
SUITE = """
import pytest
import requests

@pytest.mark.vcr
def test_count():
    answers = [requests.get("{url}/count", headers={{"X-MBX-APIKEY": "hdr-4c7e1f0a9b8d"}}).json()["n"] for _ in range(3)]
    assert answers == [1, 2, 3]

class TestOrders:
    @pytest.mark.vcr("shared.yaml")
    def test_signed(self):
        assert requests.get("{url}/json").status_code == 200
        assert requests.get("{url}/text").text.startswith("Zeile")

    @pytest.mark.vcr(match_on=["marketreplay"])
    def test_matched(self):
        import uuid
        assert requests.get("{url}/json?signature=" + uuid.uuid4().hex).status_code == 200
"""


# not imported here: it warns where vcr was imported before it
needs_it = pytest.mark.skipif(find_spec("pytest_recording") is None, reason="pytest-recording is not installed")


def loading() -> tuple[str, ...]:
    """Return what loads our plugin beside pytest-recording, where it is only on the path and not installed."""
    installed = any(point.name == "marketreplay" for point in entry_points(group="pytest11"))
    return () if installed else ("-p", "pytest_marketreplay.plugin")


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider"]
    command += ["-p", "no:cassetter", *loading(), *arguments]  # it and pytest-recording stop each other's pytest
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@needs_it
def test_a_suite_of_pytest_recording_keeps_its_recordings_in_the_tree(server: Server, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(SUITE.format(url=server.url))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    first = run(tmp_path, "--record-mode=once")
    assert first.returncode == 0, first.stdout + first.stderr
    hits = len(server.hits)
    server.stop()
    again = run(tmp_path, "--block-network")
    assert again.returncode == 0, again.stdout + again.stderr

    assert re.search(r"3 passed", again.stdout)
    assert hits == len(server.hits)
    cassettes = tmp_path / "cassettes" / "test_it"
    assert sorted(path.name for path in cassettes.iterdir()) == [
        "TestOrders.test_matched",
        "TestOrders.test_signed",
        "test_count",
    ]
    written = [path for path in cassettes.rglob("*") if path.is_file()]
    assert {path.suffix for path in written} == {".jsonl"}
    assert not any(b"hdr-4c7e1f0a9b8d" in path.read_bytes() for path in written)


@needs_it
def test_cassettes_that_a_mark_names_are_read_after_the_tests_own(server: Server, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    suite = 'import pytest, requests\n@pytest.mark.vcr{mark}\ndef test_{name}():\n    assert requests.get("{url}/json").ok\n'
    (tmp_path / "test_it.py").write_text(suite.format(mark="", name="first", url=server.url))
    assert run(tmp_path, "--record-mode=once").returncode == 0
    server.stop()
    (tmp_path / "test_it.py").write_text(suite.format(mark='("test_first.yaml")', name="second", url=server.url))
    again = run(tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr


def test_the_bridge_imports_neither_vcr_nor_yaml_until_it_is_used() -> None:
    code = (
        "import sys, pytest_marketreplay.bridge, pytest_marketreplay.bridge.importing, "
        "pytest_marketreplay.bridge.persister; print([name for name in ('vcr', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
