"""The command, its metrics, its pages, and that a repair never changes a whole line."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result
from doctor_parts import LIMITS, Doctor, age, capture, items, line
from hypothesis import given
from hypothesis import strategies as st

from pytest_marketreplay.cli import cli
from pytest_marketreplay.doctor import CODES, Limits, examine, exposing
from pytest_marketreplay.errors import MarketReplayError, UsageMistake

sys.path.append(str(Path(__file__).parents[1] / "docs"))

from doc_blocks import tables

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "doctor.md"


def run(doctor: Doctor, *arguments: str) -> Result:
    """Run the command."""
    free = () if "--min-free" in arguments else ("--min-free", "0%")
    return CliRunner().invoke(
        cli, ["doctor", *arguments, "--state-dir", str(doctor.state_dir), "--min-days", "0", *free]
    )


def test_a_healthy_tree_exits_0_and_says_what_there_is(tree: Path, doctor: Doctor) -> None:
    capture(tree, items(0, 5))
    done = run(doctor, str(tree))
    assert done.exit_code == 0, done.output
    assert "1 files, 5 entries" in done.output
    assert done.output.endswith("0 errors, 0 warnings, 0 notes\n")


def test_findings_are_told_with_their_cures_the_worst_first(tree: Path, doctor: Doctor) -> None:
    first, second = capture(tree, items(0, 4), most=2)
    first.chmod(0o644)
    second.write_bytes(second.read_bytes() + b"nonsense\n")
    done = run(doctor, str(tree))
    assert done.exit_code == 1
    assert done.output.index("error damaged-line") < done.output.index("warning permission")
    assert f"    chmod 640 {first}\n" in done.output
    assert "1 errors, 1 warnings, 0 notes\n" in done.output
    done = run(doctor, str(tree), "--fix")
    assert done.exit_code == 1
    assert f"fixed permission: {first}: permissions 644 became 640\n" in done.output
    assert "0 warnings, 0 notes, 1 fixed" in done.output


def test_json_is_the_whole_result(tree: Path, doctor: Doctor) -> None:
    for path in capture(tree, items(0, 210), most=1):
        path.chmod(0o644)
    done = run(doctor, str(tree), "--json")
    told = orjson.loads(done.output)
    assert done.exit_code == 1
    assert told["counts"] == {"permission": {"warning": 210}}
    assert len(told["findings"]) == 200
    assert set(told["findings"][0]) == {"code", "severity", "where", "what", "cure", "fixable"}
    assert "and 10 more findings" in run(doctor, str(tree)).output


def test_without_paths_the_usual_folders_are_looked_at(
    tmp_path: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(doctor).output == "0 errors, 0 warnings, 0 notes\n"
    capture(tmp_path / "captures", items(0, 1))
    capture(tmp_path / "cassettes" / "test_a", items(0, 1))
    told = run(doctor).output
    assert "tree captures:" in told
    assert "tree cassettes:" in told


def test_sessions_backups_and_room_are_summed_up(tree: Path, tmp_path: Path, doctor: Doctor) -> None:
    from pytest_marketreplay.archive.state import BackupState, state_document, state_path
    from pytest_marketreplay.collect.sessions import SessionFolder, SessionState

    capture(tree, items(0, 1))
    state = BackupState("prod", "", "gdrive:backups", last_backup_ms=1, verified={"a": 1})
    state_document(state_path("prod", "gdrive:backups", doctor.state_dir)).save(state)
    SessionFolder(doctor.state_dir, "s").document.save(
        SessionState("s", 1, 1, 1, 1, "ended", {"binance": ["BTC-USDT"]}, 1.0, ["local"], ended_ms=1)
    )
    done = run(doctor, str(tree), "--max-age", "1h", "--retain", "7d", "--min-free", "1B")
    assert "sessions: 1 ended\n" in done.output
    assert "backups prod on gdrive:backups: last 1970-01-01 00:00:00, verified 1970-01-01 00:00:00\n" in done.output
    assert " GB free, full in " in done.output
    capture_held = __import__("pytest_marketreplay.sinks.local", fromlist=["LocalSink"]).LocalSink(tree)
    capture_held.open()
    assert ", being written\n" in run(doctor, str(tree)).output
    capture_held.close()


@pytest.mark.parametrize(
    "wrong",
    [
        ("--min-free", "much%"),
        ("--min-free", "101%"),
        ("--min-free", "5"),
        ("--size-factor", "1"),
        ("--max-age", "5"),
        ("--remote", "x:"),
        ("--metrics-file", "metrics.txt"),
    ],
)
def test_a_wrong_command_is_a_users_mistake(wrong: tuple[str, str], doctor: Doctor) -> None:
    done = run(doctor, *wrong)
    assert isinstance(done.exception, UsageMistake)  # exit code 2: `main` tells it


def test_a_wrong_command_exits_2(tmp_path: Path) -> None:
    code = "from pytest_marketreplay.cli import main; main()"
    command = [sys.executable, "-c", code, "doctor", "--min-free", "x%", "--state-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "marketreplay: --min-free is 'x%'; it can be 10% or 20GB\n"


def test_metrics_are_what_promtool_takes_and_every_code_is_in_them(tree: Path, tmp_path: Path, doctor: Doctor) -> None:
    (path,) = capture(tree, items(0, 2))
    path.chmod(0o644)
    file = tmp_path / "doctor.prom"
    assert run(doctor, str(tree), "--metrics-file", str(file)).exit_code == 1
    text = file.read_text()
    assert 'marketreplay_doctor_findings{severity="warning",code="permission"} 1\n' in text
    for code, (severities, _) in CODES.items():
        for severity in severities:
            assert f'{{severity="{severity}",code="{code}"}} ' in text
    assert f'marketreplay_doctor_newest_entry_timestamp_seconds{{tree="{tree}"}} ' in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [each.name for each in tmp_path.iterdir() if each.name.endswith(".tmp")] == []
    promtool = shutil.which("promtool")
    if promtool is None:
        assert not os.environ.get("CI"), "in CI promtool must be there: Debian's package prometheus"
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_metrics_that_cannot_be_written_are_an_error(tmp_path: Path, doctor: Doctor) -> None:
    with pytest.raises(MarketReplayError, match="the metrics cannot be written"):
        exposing.write(doctor.look(), tmp_path / "nowhere" / "doctor.prom")
    missing = exposing.exposition(doctor.look(tmp_path / 'a"b'))
    assert '{tree="' + str(tmp_path) + '/a\\"b"}' in missing
    assert "newest_entry" not in missing


def test_every_code_is_in_the_page_and_every_code_of_the_page_exists() -> None:
    told = {row[0]: (tuple(row[1].split(", ")), row[2]) for row in tables(PAGE, "code", "severity", "what it says")}
    assert told == CODES


def test_every_limit_is_in_the_page() -> None:
    told = {row[0] for row in tables(PAGE, "limit", "default", "what it is")}
    assert told == set(Limits.__struct_fields__)


def test_every_code_has_a_test_that_finds_it() -> None:
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [code for code in CODES if f'"{code}"' not in text] == []


@given(
    whole=st.lists(st.integers(0, 2**40), max_size=5),
    tail=st.one_of(st.binary(max_size=60), st.integers(1, 70).map(lambda cut: line(7)[:-cut])),
    bad=st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"\n", b"")), max_size=2),
)
def test_a_repair_never_changes_a_byte_of_a_whole_line(whole: list[int], tail: bytes, bad: list[bytes]) -> None:
    tail = tail.replace(b"\n", b"")
    complete = b"".join([line(each) for each in whole] + [each + b"\n" for each in bad])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "captures" / "binance" / "api_v3_depth" / "BTCUSDT"
        folder.mkdir(parents=True)
        path = folder / "2026-01-01T00-00-00.jsonl"
        path.write_bytes(complete + tail)
        age(path, 100)
        health = examine([folder.parents[2]], state_dir=Path(name), limits=LIMITS, fix=True)
        after, aside = path.read_bytes(), path.with_name(path.name + ".torn")
        assert after.startswith(complete)
        kept = aside.read_bytes() if aside.exists() else b""
        assert after + kept.removesuffix(b"\n") == complete + tail
        assert ("torn-tail" in health.fixed) == bool(kept)
        assert "torn-tail" not in health.counts
        first = {each: each.stat().st_mtime_ns for each in Path(name).rglob("*")}
        assert examine([folder.parents[2]], state_dir=Path(name), limits=LIMITS, fix=True).fixed == {}
        assert {each: each.stat().st_mtime_ns for each in Path(name).rglob("*")} == first
