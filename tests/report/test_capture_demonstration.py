"""The demonstration of `benchmarks/capture.py`, shorter: a capture by the command line, and the report's verdict on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("MARKETREPLAY_SHARED", ROOT.parent / "shared"))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["simulated", "recorded"])
def test_two_pairs_for_twenty_seconds_are_whole_and_the_report_says_so(source: str) -> None:
    command = [sys.executable, "benchmarks/capture.py", "--duration", "20s", "--json"]
    if source == "recorded":
        server = SHARED / "tools" / "exchange_server.py"
        if not server.is_file():
            pytest.skip(f"the server of recorded payloads is not there: {server}")
        command += ["--server", str(server), "--data", str(SHARED / "market-data"), "--pairs", "BTC-USDT,BTC-USDC"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, env={**os.environ, "PATH": path}
    )
    report = json.loads(done.stdout[done.stdout.index("\n{") :])
    assert len(report["series"]) == 2
    for series in report["series"]:
        # how many ticks a loaded machine meets is measured by the command; here none may be lost without a word
        assert series["stored"] + series["declared"] == series["expected"]
        assert series["undeclared"] == 0
        assert series["sequence_holes"] == 0
        assert series["stored"] >= 0.9 * series["expected"]
