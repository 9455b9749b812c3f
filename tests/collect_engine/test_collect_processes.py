"""Captures as real processes: started, watched, changed, stopped, killed, and started again."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner
from engine_processes import Cli, commands, until

from pytest_marketreplay.cassette import files
from pytest_marketreplay.cli.collect import stop
from pytest_marketreplay.collect import sessions
from pytest_marketreplay.report.capture import read_capture
from pytest_marketreplay.report.lines import read_gaps


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with commands(tmp_path) as cli:
        yield cli


def test_sigterm_flushes_everything_and_ends_within_five_seconds(cli: Cli) -> None:
    child = cli.begin(*cli.arguments())
    cli.captured(6)
    assert cli.run("status").returncode == 0
    told = time.monotonic()
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == 0
    assert time.monotonic() - told < 5
    last = cli.folder.load()
    assert last.status == "ended"
    assert last.counts["written"] == last.counts["items"] == len(cli.timestamps())
    assert last.counts["unwritten"] == 0


def test_a_killed_session_is_crashed_at_once_and_the_next_start_goes_on_in_a_new_segment(cli: Cli) -> None:
    child = cli.begin(*cli.arguments())
    cli.captured(6)
    child.kill()
    child.wait()
    result = cli.run("status", "--json")
    assert result.returncode == 1
    assert [each["status"] for each in orjson.loads(result.stdout)] == ["crashed"]
    before = {file: file.stat().st_size for file in files.all_files(cli.captures)}
    seen = len(cli.timestamps())
    assert seen >= 6

    child = cli.begin(*cli.arguments())
    until(lambda: sessions.verdict(cli.folder.load()) == "running")
    cli.captured(6)
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == 0
    after = set(files.all_files(cli.captures))
    assert len(after) > len(before)
    assert set(before) <= after
    assert len(cli.timestamps()) == seen + cli.folder.load().counts["items"]


@pytest.mark.parametrize("feed", ["poll", "stream"])
def test_the_hole_that_a_kill_leaves_is_declared_by_the_next_start_and_no_report_calls_it_complete(
    cli: Cli, feed: str
) -> None:
    child = cli.begin(*cli.arguments("--feed", feed))
    cli.captured(20)
    until(lambda: cli.folder.load().places)
    child.kill()
    child.wait()
    killed = cli.folder.load()
    time.sleep(3)  # the hole itself is real time
    child = cli.begin(*cli.arguments("--feed", feed))
    until(lambda: sessions.verdict(cli.folder.load()) == "running")
    cli.captured(40)
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == 0
    gaps = [
        (file.parent.relative_to(cli.captures).as_posix(), gap)
        for file in files.all_files(cli.captures)
        for gap, _ in read_gaps(file)
        if "killed" in gap.reason
    ]
    assert sorted(place for place, _ in gaps) == sorted(killed.places)
    for place, gap in gaps:
        assert (gap.kind, gap.from_ms) == ("failed", killed.places[place] + 1)
        assert gap.to_ms - gap.from_ms >= 3000
    report = read_capture(cli.captures, interval_ms=250)
    assert [each.source for each in report.series] == [{"poll": "polled", "stream": "streamed"}[feed]] * 2
    for each in report.series:
        assert each.declared >= 10
        assert each.completeness < 99
    assert not report.passed


def test_a_detached_capture_runs_on_is_changed_and_stopped_by_commands(cli: Cli) -> None:
    result = cli.run(*cli.arguments("--detach"))
    assert result.returncode == 0, result.stderr
    state = cli.folder.load()
    assert result.stdout == f"session s runs, process {state.pid}\n"
    assert os.getsid(state.pid) == state.pid
    cli.captured(4)
    result = cli.run("add", "--session-id", "s", "--venue", "binance", "--pairs", "BNB-USDT")
    assert result.stdout == "session s: binance BTC-USDT ETH-USDT BNB-USDT, every 0.05 s\n"
    until(lambda: any(file.parent.name == "BNBUSDT" for file in files.all_files(cli.captures)))
    assert cli.run("remove", "--session-id", "s", "--venue", "binance", "--pairs", "BTC-USDT").returncode == 0
    assert cli.run("interval", "--session-id", "s", "0.5").returncode == 0
    assert orjson.loads(cli.run("list", "--json").stdout)[0]["pairs"] == {"binance": ["ETH-USDT", "BNB-USDT"]}
    result = cli.run("stop", "--session-id", "s")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("session s ended: ")
    assert not sessions.is_alive(state)


def test_a_detached_capture_that_cannot_start_tells_why(cli: Cli) -> None:
    (cli.here / "file").write_text("")
    result = cli.run(*cli.arguments("--detach", "--to", "file"))
    assert result.returncode == 1
    assert "file" in result.stderr
    assert "Traceback" not in result.stderr
    result = cli.run(*cli.arguments("--detach", "--storage", "lokal"))
    assert result.returncode == 2
    assert "lokal" in result.stderr


def test_a_stream_is_captured_with_its_frames_and_snapshots(cli: Cli) -> None:
    child = cli.begin(*cli.arguments("--feed", "stream", pairs="BTC-USDT"))
    cli.captured(20)
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == 0
    assert any(file.parent.parent.name.startswith("ws_") for file in files.all_files(cli.captures))
    last = cli.folder.load()
    assert (last.feed, last.status) == ("stream", "ended")


def test_a_session_that_hangs_is_stopped_by_its_signal_once_it_goes_on(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = cli.begin(*cli.arguments())
    cli.captured(1)
    child.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(sys.modules[stop.callback.__module__], "_STOP_S", 0.1)  # type: ignore[union-attr]
    result = CliRunner().invoke(stop, ["--session-id", "s", "--state-dir", str(cli.state_dir)])
    assert "has not ended after 0.1 s" in str(result.exception)
    child.send_signal(signal.SIGCONT)
    assert child.wait(10) == 0  # the signal came first
    assert cli.folder.load().status == "ended"


def test_everything_is_said_in_a_configuration_file(cli: Cli) -> None:
    (cli.here / "pyproject.toml").write_text(
        f"""
        [tool.marketreplay.collect]
        venue = "binance"
        pairs = ["BTC-USDT"]
        interval = 0.1
        duration = "1s"
        storage = "local"
        session-id = "s"
        base-url = {{ binance = "{cli.exchange.url("binance")}" }}
        """
    )
    result = cli.run("start")
    assert result.returncode == 0, result.stdout + result.stderr
    assert cli.folder.load().counts["snapshots"] >= 1
    assert cli.folder.load().interval_s == 0.1


def test_a_capture_goes_on_in_spite_of_an_exchange_that_refuses_at_first(cli: Cli) -> None:
    cli.exchange.fail_next("binance", status=503, times=3)
    child = cli.begin(*cli.arguments())
    cli.captured(4)
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == 0
