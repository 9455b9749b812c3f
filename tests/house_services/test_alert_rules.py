"""The alerts of the documentation: rules that Prometheus reads, on names that the collector serves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pytest_marketreplay.metrics import Metrics

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "operate-the-collector.md"


@pytest.fixture(scope="module")
def rules() -> str:
    found = re.search(r'```yaml title="alerts.yml"\n(.*?)```', PAGE.read_text(), re.S)
    assert found is not None
    return found[1]


def test_promtool_reads_the_rules(rules: str, tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        assert not os.environ.get("CI"), "in CI promtool must be there: Debian's package prometheus"
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    (tmp_path / "alerts.yml").write_text(rules)
    done = subprocess.run([promtool, "check", "rules", "alerts.yml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "4 rules found" in done.stdout


def test_every_name_in_the_rules_is_one_that_is_served(rules: str) -> None:
    metrics = Metrics()
    metrics.wrote("binance", "api_v3_depth", "local", 1, 0.001, "ok")
    metrics.gap("binance", "missed", 1)
    metrics.queue("local", 1)
    body, _ = metrics.exposed("")
    served = {sample.name for family in text_string_to_metric_families(body.decode()) for sample in family.samples}
    named = set(re.findall(r"\b(?:storage|collect)_\w+", rules))
    assert named
    assert named <= served
