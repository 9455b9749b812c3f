"""What backups tell Prometheus, well or not; and the schedule of a terminal."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from doubles import FolderRemote, Wall
from prometheus_client.parser import text_string_to_metric_families as parse

from pytest_marketreplay.archive.backup import Backup
from pytest_marketreplay.cli import backup_schedule, cli
from pytest_marketreplay.errors import RemoteError
from pytest_marketreplay.metrics import Metrics
from pytest_marketreplay.metrics.backups import BackupMetrics


def values(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Return what is told of backups, by name and the values of the labels in the order of their names."""
    text = metrics.exposed()[0].decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in parse(text)
        if family.name.startswith("storage_backup")
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created"))
    }


def test_what_is_done_and_what_fails_is_counted(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Wall(monkeypatch)
    metrics = Metrics()
    remote = FolderRemote(tmp_path / "far")
    backup = Backup(remote, "host", tree, meter=BackupMetrics(metrics))
    made = backup.run()
    at_s = clock.ns / 1e9
    clock.go(3600)
    backup.verify([made.name])

    def down(operation: str, file: str) -> None:
        raise RemoteError("far", operation, "down", "refused", "Try")

    remote.before = down
    with pytest.raises(RemoteError):
        backup.run()
    found = values(metrics)
    assert found.pop(("storage_backup_duration_seconds_sum", "host")) > 0
    assert found == {
        ("storage_backup_operations_total", "host", "backup", "ok"): 1,
        ("storage_backup_operations_total", "host", "verify", "ok"): 1,
        ("storage_backup_operations_total", "host", "backup", "failed"): 1,
        ("storage_backup_failures_total", "down", "host", "backup"): 1,
        ("storage_backup_last_timestamp_seconds", "host"): at_s,
        ("storage_backup_last_verified_timestamp_seconds", "host"): at_s + 3600,
        ("storage_backup_size_bytes", "host"): made.size_bytes,
        ("storage_backup_duration_seconds_count", "host"): 1,
    }


def test_what_is_known_from_before_is_told_and_what_is_not_is_left_out() -> None:
    metrics = Metrics()
    meter = BackupMetrics(metrics)
    meter.known("none", None, None, 0)
    meter.known("host", 5000, 6000, 7)
    assert values(metrics) == {
        ("storage_backup_last_timestamp_seconds", "host"): 5,
        ("storage_backup_last_verified_timestamp_seconds", "host"): 6,
        ("storage_backup_size_bytes", "host"): 7,
    }


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Prometheus")
def test_promtool_has_nothing_to_say_of_these_names() -> None:
    metrics = Metrics()
    meter = BackupMetrics(metrics)
    meter.done("host", "backup")
    meter.failed("host", "backup", "down")
    meter.backed_up("host", 1.0, 2, 3.0)
    meter.verified("host", 1.0)
    text = metrics.exposed()[0].decode()
    # storage_file_count is the one that it dislikes, and that stays (DESIGN 11); it is not of backups
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert "storage_backup" not in checked.stdout + checked.stderr


@pytest.fixture
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers")
@pytest.mark.parametrize("more", [[], ["--metrics-port", "0"]])
def test_a_schedule_says_what_fails_and_ends_at_a_signal(
    more: list[str], tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ending:
        """An event in whose first wait the signal comes."""

        def wait(self, seconds: float) -> bool:
            os.kill(os.getpid(), signal.SIGTERM)
            return False

    monkeypatch.setattr(backup_schedule.threading, "Event", Ending, raising=True) if not more else None
    if more:
        monkeypatch.setattr(backup_schedule.Schedule, "_waited", lambda schedule, due_s: Ending().wait(0.0))
    result = CliRunner().invoke(cli, ["backup", "schedule", str(tree), "--to", "nowhere:x", "--label", "host", *more])
    assert result.exit_code == 0, result.output
    assert "failed, 1 times in a row" in result.output
    assert result.output.endswith("ended by a signal\n")
