"""A schedule on a clock of the test: restarts, lost states, jumps, failures; and as a process, with signals and metrics."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from doubles import FolderRemote, Wall, snapshots

from pytest_marketreplay.archive.backup import Backup
from pytest_marketreplay.archive.schedule import Event, Schedule
from pytest_marketreplay.errors import RemoteError, UsageMistake

HOUR = 3600.0
DAY = 24 * HOUR


class Run:
    """A schedule whose waits move the clock, until `hours` are over; `jumps` move it by so much at an hour."""

    def __init__(self, clock: Wall, backup: Backup, hours: float, jumps: dict[float, float] | None = None) -> None:
        self.clock, self.jumps, self.left = clock, dict(jumps or {}), hours * HOUR
        self.passed = 0.0
        self.events: list[Event] = []
        self.made_at: list[float] = []
        self.schedule = Schedule(backup, DAY, self.wait, self.tell)
        self.schedule.run()

    def wait(self, seconds: float) -> bool:
        assert 0 <= seconds <= 30
        self.clock.go(seconds)
        self.passed += seconds
        for at in [at for at in self.jumps if at * HOUR <= self.passed]:
            self.clock.go(self.jumps.pop(at) * HOUR)
        return self.passed >= self.left

    def tell(self, event: Event) -> None:
        self.events.append(event)
        if event.made is not None:
            self.made_at.append(round(self.passed / HOUR, 1))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Wall:
    return Wall(monkeypatch)


@pytest.fixture
def backup(tmp_path: Path, tree: Path) -> Backup:
    return Backup(FolderRemote(tmp_path / "remote"), "host", tree, state_dir=tmp_path / "state")


def test_a_backup_is_made_at_once_and_then_every_day(clock: Wall, backup: Backup) -> None:
    assert Run(clock, backup, 73).made_at == [0, 24, 48, 72]


def test_a_restart_waits_out_the_rest_of_the_interval(clock: Wall, backup: Backup) -> None:
    Run(clock, backup, 30)
    assert Run(clock, backup, 50).made_at == [18, 42]


def test_a_restart_after_the_interval_makes_one_backup_at_once(clock: Wall, backup: Backup) -> None:
    Run(clock, backup, 1)
    clock.go(3 * DAY)
    assert Run(clock, backup, 25).made_at == [0, 24]


def test_a_lost_state_is_made_anew_from_the_names_and_the_rest_is_waited_out(clock: Wall, backup: Backup) -> None:
    Run(clock, backup, 10)
    backup.document.remove()
    assert Run(clock, backup, 20).made_at == [14]


def test_a_damaged_state_is_made_anew_too(clock: Wall, backup: Backup, caplog: pytest.LogCaptureFixture) -> None:
    Run(clock, backup, 10)
    backup.path.write_bytes(b"{")
    backup.document.backup.write_bytes(b"{")
    assert Run(clock, backup, 20).made_at == [14]
    assert "the state of backups is made anew" in caplog.text


def test_a_jump_ahead_is_followed_by_the_wall_clock(clock: Wall, backup: Backup) -> None:
    assert Run(clock, backup, 30, {5.0: 10.0}).made_at == [0, 14]
    assert Run(clock, backup, 1, {0.5: 100.0}).made_at == [0.5]


def test_a_jump_back_beyond_the_last_backup_makes_one_and_goes_on_from_there(clock: Wall, backup: Backup) -> None:
    assert Run(clock, backup, 40, {5.0: -48.0}).made_at == [0, 5, 29]


def test_a_small_step_back_changes_nothing(clock: Wall, backup: Backup) -> None:
    assert Run(clock, backup, 25, {5.0: -1 / 60}).made_at == [0, 24]


def test_a_backup_from_the_future_is_not_counted_after_a_restart(
    clock: Wall, backup: Backup, caplog: pytest.LogCaptureFixture
) -> None:
    Run(clock, backup, 1)
    clock.go(-10 * DAY)
    assert Run(clock, backup, 25).made_at == [0, 24]
    assert "lies in the future" in caplog.text
    backup.document.remove()
    assert backup.state().last_backup_ms is not None
    assert backup.state().last_backup_ms < clock.ns / 1e6


def test_after_a_failure_it_goes_on_with_longer_pauses_and_says_so(
    clock: Wall, backup: Backup, caplog: pytest.LogCaptureFixture
) -> None:
    remote = backup.remote
    assert isinstance(remote, FolderRemote)
    clock_began = clock.ns

    def fails(operation: str, file: str) -> None:
        if operation == "upload" and clock.ns < clock_began + int(5 * HOUR * 1e9):
            raise RemoteError(remote.name, "upload", "down", "connection refused", "Is it running?")

    remote.before = fails
    run = Run(clock, backup, 30)
    pauses = [
        round(event.next_s - (before.next_s if before.error else clock_began / 1e9))
        for before, event in zip(run.events, run.events[1:], strict=False)
        if event.error
    ]
    assert pauses[:9] == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert [event.failures for event in run.events if event.error] == list(range(1, len(pauses) + 1))
    assert len(run.made_at) == 2
    assert 5 <= run.made_at[0] < 6.1
    assert run.made_at[1] == pytest.approx(run.made_at[0] + 24, abs=0.11)
    assert "connection refused" in caplog.text
    assert run.schedule.health()["ok"] is True


def test_a_remote_that_is_down_when_the_state_is_lost_is_asked_again(clock: Wall, backup: Backup) -> None:
    remote = backup.remote
    assert isinstance(remote, FolderRemote)
    calls = iter(range(3))

    def down(operation: str, file: str) -> None:
        if operation == "list" and next(calls, None) is not None:
            raise RemoteError(remote.name, "list", "down", "connection refused", "Is it running?")

    remote.before = down
    run = Run(clock, backup, 1)
    assert [event.failures for event in run.events if event.error] == [1, 2, 3]
    assert run.made_at == [0.1]


def test_where_only_the_retention_fails_no_other_backup_is_made_in_haste(clock: Wall, backup: Backup) -> None:
    remote = backup.remote
    assert isinstance(remote, FolderRemote)
    backup.keep, backup.keep_min = 1, 1
    Run(clock, backup, 1)

    def refuses(operation: str, file: str) -> None:
        if operation == "delete":
            raise RemoteError(remote.name, "delete", "auth", "forbidden", "Check the rights")

    remote.before = refuses
    run = Run(clock, backup, 30)
    assert [event.error is not None for event in run.events] == [False, True]
    assert len(snapshots(remote.folder)) == 2
    assert run.schedule.health()["ok"] is False
    state = backup.known()
    assert state is not None
    assert "forbidden" in state.last_error


def test_mistakes_end_a_schedule(clock: Wall, backup: Backup, tree: Path) -> None:
    with pytest.raises(UsageMistake, match="--every is 0 s"):
        Schedule(backup, 0, lambda seconds: True)
    shutil.rmtree(tree)
    with pytest.raises(UsageMistake, match="there is no folder"):
        Schedule(backup, DAY, lambda seconds: False).run()

    class Wrong(FolderRemote):
        def list(self) -> list[object]:  # type: ignore[override]
            raise UsageMistake("no such remote")

    backup.remote = Wrong(tree)
    with pytest.raises(UsageMistake, match="no such remote"):
        Schedule(backup, DAY, lambda seconds: False).run()


# ---------------------------------------------------------------- as a process


def next_line(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if re.search(pattern, line):
            return line
    raise AssertionError(seen)


def served(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_schedule_as_a_process_serves_metrics_and_ends_at_a_signal(tmp_path: Path, tree: Path) -> None:
    (tmp_path / "marketreplay.toml").write_text(
        f'[backup]\ntree = "{tree}"\nto = "remote"\nlabel = "host"\nstate-dir = "state"\nmetrics-port = 0\nevery = "12h"\n'
    )
    command = [sys.executable, "-u", "-c", "from pytest_marketreplay.cli import main; main()", "backup", "schedule"]

    def started() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return process, next_line(process, "metrics").split()[1]

    process, url = started()
    try:
        next_line(process, "kept")
        next_line(process, "the next backup is due")
        _, text = served(url)
        assert served(url.replace("/metrics", "/healthz"))[0] == 200
        if shutil.which("promtool"):
            checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
            assert "storage_backup" not in checked.stdout + checked.stderr
        assert 'storage_backup_operations_total{label="host",operation="backup",status="ok"} 1.0' in text
        last = re.search(r'storage_backup_last_timestamp_seconds\{label="host"\} (\S+)', text)
        assert last
        assert abs(float(last[1]) - time.time()) < 60
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        process.stdout.close()  # type: ignore[union-attr]
    # after a restart nothing is made, and what is known is served at once
    process, url = started()
    try:
        next_line(process, "the next backup is due")
        again = re.search(r'storage_backup_last_timestamp_seconds\{label="host"\} (\S+)', served(url)[1])
        assert again
        assert float(again[1]) == pytest.approx(float(last[1]), abs=0.01)
        assert 'storage_backup_last_verified_timestamp_seconds{label="host"}' in served(url)[1]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        process.stdout.close()  # type: ignore[union-attr]
    assert len(snapshots(tmp_path / "remote")) == 1
    assert os.listdir(tmp_path / "state" / "backups")
