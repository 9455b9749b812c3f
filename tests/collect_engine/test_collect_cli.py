"""The commands, in this process: what they print, what they refuse, how they exit."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from click.testing import CliRunner, Result
from engine_doubles import full
from engine_lab import Lab
from rich.console import Console

from pytest_marketreplay import clock
from pytest_marketreplay.cli import cli, collect_live
from pytest_marketreplay.collect import building, sessions
from pytest_marketreplay.collect.engine import Engine
from pytest_marketreplay.collect.queueing import QueueStats
from pytest_marketreplay.collect.sessions import SessionFolder, SessionState
from pytest_marketreplay.errors import CollectError, UsageMistake

GO = ("start", "--venue", "binance", "--pairs", "BTC-USDT", "--duration", "200ms")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder; the current folder is an empty one."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "marketreplay"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["collect", *arguments])


def state_of(session_id: str, **changes: Any) -> SessionState:
    now_ms = clock.now_ns() // 1_000_000
    state = SessionState(
        session_id,
        os.getpid(),
        sessions.process_started(os.getpid()) or 0,
        now_ms - 65_000,
        now_ms,
        "running",
        {"binance": ["BTC-USDT", "ETH-USDT"]},
        1.0,
        ["local"],
        log="log.txt",
        metrics="http://127.0.0.1:1",
        counts={"items": 120, "snapshots": 119},
        gaps={"sink": 1, "missed": 2},
        queues=[QueueStats("local", 3, 100, 120, 117, 5, 1, 2, True, "the disk is full")],
        last_error="the disk is full",
    )
    return msgspec.structs.replace(state, **changes)


def test_a_capture_in_the_foreground_says_where_it_logs_and_how_it_ended(lab: Lab, folder: Path) -> None:
    result = run(*GO)
    assert result.exit_code == 0, result.output
    first, *rest = result.output.splitlines()
    assert first.startswith("session binance_BTC-USDT runs: binance BTC-USDT; log: ")
    assert rest[0] == "binance_BTC-USDT: ended"
    assert any("sink list: 1 written, 0 wait, 0 dropped" in line for line in rest)
    assert SessionFolder(folder, "binance_BTC-USDT").load().status == "ended"


def test_flags_win_over_the_configuration_file(lab: Lab, folder: Path) -> None:
    Path("marketreplay.toml").write_text(
        "[collect]\nvenue = 'binance'\npairs = 'BTC-USDT'\nduration = '100ms'\nsession-id = 'file'\ninterval = 5\n"
    )
    assert run("start").exit_code == 0
    assert run("start", "--session-id", "flag").exit_code == 0
    assert SessionFolder(folder, "file").load().interval_s == 5
    assert SessionFolder(folder, "flag").load().interval_s == 5


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--duration", "10"], "say 10s, 10m, 10h or 10d"),
        (["--venue", "binanse"], "the nearest is 'binance'"),
        (["--seal", "rar"], "zst, gz"),
    ],
)
def test_a_wrong_command_is_refused_with_the_cure(folder: Path, more: list[str], said: str) -> None:
    result = run(*GO, *more)
    assert isinstance(result.exception, UsageMistake)
    assert said in str(result.exception)


def test_a_wrong_duration_exits_with_2_and_without_a_traceback(folder: Path) -> None:
    code = "from pytest_marketreplay.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "collect", *GO, "--duration", "10"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == ("marketreplay: --duration is '10', a number without a unit; say 10s, 10m, 10h or 10d\n")


def test_a_capture_that_could_not_write_everything_fails(lab: Lab, folder: Path) -> None:
    lab.sinks[0].open_problem = full()
    result = run(*GO)
    assert isinstance(result.exception, CollectError)
    assert "no space left" in str(result.exception)


def test_what_is_left_unwritten_makes_the_command_fail(lab: Lab, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "Engine", functools.partial(Engine, drain=0.05))
    lab.sinks[0].problem = full()
    result = run(*GO)
    assert isinstance(result.exception, CollectError)
    assert str(result.exception) == "not written: 1 items of list"


def test_status_and_list_tell_how_sessions_really_are(folder: Path) -> None:
    assert run("status").output == run("list").output == "no sessions\n"
    SessionFolder(folder, "a").document.save(state_of("a"))
    result = run("status", "--session-id", "a")
    assert result.exit_code == 0
    assert "a: running" in result.output
    assert "gaps       2 missed, 1 sink" in result.output
    assert "sink local: 117 written, 3 wait, 5 dropped, fails: the disk is full" in result.output
    assert "metrics    http://127.0.0.1:1/metrics" in result.output
    SessionFolder(folder, "b").document.save(state_of("b", pid_started=1))
    result = run("status")
    assert result.exit_code == 1
    assert "b: crashed" in result.output
    assert [line.split()[:2] for line in run("list").output.splitlines()] == [["a", "running"], ["b", "crashed"]]
    for command in ("list", "status"):
        told = orjson.loads(run(command, "--json").output)
        assert [(each["session_id"], each["status"], each["venues"]) for each in told] == [
            ("a", "running", ["binance"]),
            ("b", "crashed", ["binance"]),
        ]


def test_a_session_that_is_plain_is_told_in_fewer_lines() -> None:
    state = state_of("a", queues=[], last_error="", log="", metrics="", gaps={}, ended_ms=0, started_ms=0)
    text = "\n".join(collect_live.lines(state, "ended"))
    assert "gaps       none" in text
    assert "sink" not in text
    assert "last error" not in text
    assert "ran 0s" in text


def test_a_state_that_cannot_be_read_is_named_beside_the_others(folder: Path) -> None:
    SessionFolder(folder, "a").document.save(state_of("a"))
    (folder / "sessions" / "b").mkdir()
    (folder / "sessions" / "b" / "state.json").write_text("{")
    result = run("list")
    assert "a  running" in result.output
    assert "b/state.json cannot be read" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--session-id", "none"],
        ["stop", "--session-id", "none"],
        ["add", "--session-id", "none", "--venue", "binance", "--pairs", "BTC-USDT"],
        ["interval", "--session-id", "none", "1"],
    ],
)
def test_a_session_that_is_not_there_is_named(folder: Path, arguments: list[str]) -> None:
    assert "there is no session 'none'" in str(run(*arguments).exception)


def test_a_session_that_does_not_run_is_neither_changed_nor_stopped(folder: Path) -> None:
    SessionFolder(folder, "a").document.save(state_of("a", status="ended"))
    result = run("remove", "--session-id", "a", "--venue", "binance", "--pairs", "BTC-USDT")
    assert "does not run: ended" in str(result.exception)
    assert run("stop", "--session-id", "a").output == "session a does not run: ended\n"


def test_a_session_that_could_not_write_everything_is_a_failed_stop(lab: Lab, folder: Path) -> None:
    """The process is gone when it is looked for, and its last state tells what was lost."""
    running = state_of("a")
    document = SessionFolder(folder, "a").document
    document.save(running)

    def alive(state: SessionState) -> bool:
        if len(asked) == 2:
            document.save(msgspec.structs.replace(running, status="failed", last_error="not written: 3 items of local"))
        asked.append(state)
        return len(asked) < 3

    asked: list[SessionState] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "is_alive", alive)
        patch.setattr(os, "kill", lambda pid, number: None)
        result = run("stop", "--session-id", "a")
    assert "session a: failed. not written: 3 items of local" in str(result.exception)


def test_a_running_session_is_changed_by_commands(lab: Lab, folder: Path) -> None:
    lab.settings = msgspec.structs.replace(lab.settings, state_dir=str(folder))

    def change(lab: Lab) -> list[str]:
        return [
            run(*arguments).output
            for arguments in (
                ("add", "--session-id", "s", "--venue", "binance", "--pairs", "ETH-USDT"),
                ("remove", "--session-id", "s", "--venue", "binance", "--pairs", "BTC-USDT"),
                ("interval", "--session-id", "s", "0.5"),
            )
        ]

    _, told = lab.run(change)
    assert told == [
        "session s: binance BTC-USDT ETH-USDT, every 1 s\n",
        "session s: binance ETH-USDT, every 1 s\n",
        "session s: binance ETH-USDT, every 0.5 s\n",
    ]


def test_on_a_terminal_a_table_shows_rates_gaps_lag_and_queues() -> None:
    before = state_of("a", queues=[])
    now = state_of(
        "a", heartbeat_ms=before.heartbeat_ms + 2_000, counts={"items": 1_120, "snapshots": 1_119}, lag_p99_ms=1.5
    )
    console = Console(width=140, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(collect_live.table(now, before))
    text = console.export_text()
    console.file.close()
    for piece in ("1,120, 500.0 a second", "2 missed, 1 sink", "1.5 ms", "sink local", "the disk is full", "log.txt"):
        assert piece in text
    console = Console(width=140, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(collect_live.table(msgspec.structs.replace(now, last_error="", gaps={}), None))
    assert "0.0 a second" in console.export_text()
    console.file.close()


def test_the_display_is_live_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with collect_live.Display() as display:
        display.show(state_of("a"))
        display.show(state_of("a"))
    assert "a second" in capsys.readouterr().out


def test_without_a_terminal_a_line_comes_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    with collect_live.Display() as display:
        for second in range(0, 26, 2):
            display.show(state_of("a", heartbeat_ms=1_759_399_200_000 + second * 1_000))
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("session a runs")
    assert out[1:] == [
        "2025-10-02T10:00:10Z items 120, gaps 2 missed, 1 sink, lag 0.0 ms, waiting local 3",
        "2025-10-02T10:00:20Z items 120, gaps 2 missed, 1 sink, lag 0.0 ms, waiting local 3",
    ]


def test_help_of_the_program_imports_nothing_of_the_collector() -> None:
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom pytest_marketreplay.cli import cli\n"
        "assert CliRunner().invoke(cli, ['--help']).exit_code == 0\n"
        "assert CliRunner().invoke(cli, ['collect', 'start', '--help']).exit_code == 0\n"
        "heavy = [name for name in sys.modules if name.split('.')[0] in ('aiohttp', 'pyarrow', 'rich', 'prometheus_client')"
        " or name.startswith(('pytest_marketreplay.collect', 'pytest_marketreplay.venues', 'pytest_marketreplay.sinks'))]\n"
        "print(heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
