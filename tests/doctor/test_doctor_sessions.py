"""Sinks and sessions: real collectors that run, end, are killed, hang and fail; documents that are damaged."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from doctor_parts import DAY_S, Doctor, age, items, killed

from pytest_marketreplay import clock
from pytest_marketreplay.doctor import examine
from pytest_marketreplay.doctor.health import Notebook
from pytest_marketreplay.doctor.holding import held
from pytest_marketreplay.doctor.sinks import ParquetFiles
from pytest_marketreplay.errors import Busy
from pytest_marketreplay.sinks.parquet import ParquetSink

sys.path.append(str(Path(__file__).parents[1] / "collect_engine"))

from engine_processes import Cli, commands, until

from pytest_marketreplay.collect import sessions


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    with commands(tmp_path) as cli:
        yield cli


class Ended:
    """What a session left that has ended in order."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.folder = sessions.SessionFolder(state_dir, "s")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of a session that has ended in order."""
    with commands(tmp_path_factory.mktemp("session")) as cli:
        child = cli.begin(*cli.arguments())
        cli.captured(4)
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0
        (cli.folder.path / "control.sock").unlink(missing_ok=True)
        return cli.state_dir


@pytest.fixture
def ended(session: Path, tmp_path: Path) -> Ended:
    """The same, for one test."""
    return Ended(shutil.copytree(session, tmp_path / "state"))


# -------------------------------------------------------------------- sinks


def test_a_healthy_folder_of_parquet_has_no_finding(tree: Path, doctor: Doctor) -> None:
    sink = ParquetSink(tree, rotate_entries=4)
    sink.open()
    sink.write(items(0, 10))
    assert doctor.codes(tree) == set()  # with a log that is being written
    sink.rotate(clock.now_ns())
    (log,) = (tree / ".wal").iterdir()
    age(log, 60)
    assert doctor.codes(tree) == set()
    sink.close()
    assert doctor.codes(tree) == set()
    assert doctor.look(tree).trees[0].files == 3


def test_a_log_without_a_writer_is_told_and_one_that_is_damaged(tree: Path, doctor: Doctor) -> None:
    killed("parquet", tree)
    assert doctor.codes(tree) == set()  # it is too young to ask for its lock
    (log,) = (tree / ".wal").iterdir()
    age(log, 60)
    assert doctor.codes(tree) == {"wal-left"}
    whole = log.read_bytes()
    log.write_bytes(whole + whole[:20])  # a kill tore it: not acknowledged, and no damage
    age(log, 60)
    assert doctor.codes(tree) == {"wal-left"}
    log.write_bytes(whole + b"nonsense\n" + b"\xff\n")
    age(log, 60)
    found = doctor.look(tree).findings
    assert [each.code for each in found] == ["wal-damaged", "wal-left"]
    assert "2 lines are no snapshots, the first is line 3" in found[0].what
    log.write_bytes(whole)
    age(log, 60)
    sink = ParquetSink(tree)  # the cure
    sink.open()
    sink.close()
    assert doctor.codes(tree) == set()


def test_the_log_of_a_bucket_is_looked_at_in_the_state_folder(tree: Path, doctor: Doctor) -> None:
    killed("parquet", tree)
    logs = doctor.state_dir / "wal" / "bucket%2Fprefix"
    logs.parent.mkdir(parents=True)
    shutil.move(tree / ".wal", logs)
    age(next(logs.iterdir()), 60)
    assert doctor.codes() == {"wal-left"}


def test_a_parquet_file_that_is_damaged_is_told(tree: Path, doctor: Doctor) -> None:
    killed("parquet", tree)
    (path,) = tree.rglob("*.parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 4] ^= 1  # inside of a page: found by its checksum
    path.write_bytes(data)
    assert doctor.codes(tree) == {"parquet-damaged"}
    path.write_bytes(data[:-5])
    assert doctor.codes(tree) == {"parquet-damaged"}


def test_without_pyarrow_parquet_files_are_not_opened(
    tree: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed("parquet", tree)
    for name in [name for name in sys.modules if name.split(".")[0] == "pyarrow"]:
        monkeypatch.setitem(sys.modules, name, None)
    (found,) = doctor.look(tree).findings
    assert (found.code, found.severity) == ("not-checked", "warning")
    assert "1 Parquet files" in found.what


def test_what_a_killed_conversion_was_writing_goes_while_its_log_is_there(tree: Path, doctor: Doctor) -> None:
    killed("parquet", tree)
    (path,) = tree.rglob("*.parquet")
    (log,) = (tree / ".wal").iterdir()
    age(log, 60)
    part = path.with_name(f".orderbook_snapshots_{log.name[:15]}-9.parquet.tmp")
    part.write_bytes(b"PAR1")
    age(part, 2 * DAY_S)
    doctor.mends("leftover", tree)
    assert not part.exists()
    part.write_bytes(b"PAR1")
    age(part, 2 * DAY_S)
    log.unlink()
    (found,) = doctor.look(tree, fix=True).findings
    assert (found.code, found.fixable) == ("leftover", False)


def test_what_goes_while_it_is_looked_at_is_no_finding(tree: Path, doctor: Doctor) -> None:
    killed("parquet", tree)
    (path,) = tree.rglob("*.parquet")
    path.unlink()
    notebook = Notebook()
    ParquetFiles(notebook).check(path)
    assert notebook.findings == []


# ----------------------------------------------------------------- sessions


def test_a_session_that_runs_or_ended_has_no_finding(cli: Cli) -> None:
    child = cli.begin(*cli.arguments())
    cli.captured(4)
    health = examine([cli.captures], state_dir=cli.state_dir)
    assert health.counts == {}
    assert health.sessions == {"running": 1}
    assert health.trees[0].is_written
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == 0
    health = examine([cli.captures], state_dir=cli.state_dir)
    assert (health.counts, health.sessions) == ({}, {"ended": 1})
    assert not health.trees[0].is_written


def test_a_killed_session_crashed_and_declared_no_gap(cli: Cli) -> None:
    child = cli.begin(*cli.arguments())
    cli.captured(4)
    child.kill()
    child.wait()
    found = {each.code: each for each in examine(state_dir=cli.state_dir).findings}
    assert set(found) == {"session-crashed", "gap-undeclared"}
    assert found["session-crashed"].where == "s"
    assert "until now" in found["gap-undeclared"].what
    state = cli.folder.load()
    other = sessions.SessionFolder(cli.state_dir, "t")
    import msgspec

    after = msgspec.structs.replace(
        state, session_id="t", status="ended", started_ms=state.heartbeat_ms + 65_000, ended_ms=int(time.time() * 1000)
    )
    other.document.save(after)
    found = {each.code: each for each in examine(state_dir=cli.state_dir).findings}
    assert "(1m05s)" in found["gap-undeclared"].what


def test_a_session_that_hangs_is_silent(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    child = cli.begin(*cli.arguments())
    cli.captured(4)
    child.send_signal(signal.SIGSTOP)
    later_ns = clock.now_ns() + 11 * 10**9
    monkeypatch.setattr(clock, "now_ns", lambda: later_ns)
    (found,) = examine(state_dir=cli.state_dir).findings
    assert (found.code, found.severity) == ("session-silent", "error")
    assert "no heartbeat for 1" in found.what


def test_a_session_that_could_not_write_failed(cli: Cli) -> None:
    cli.captures.write_text("a file where the tree should be")
    assert cli.run(*cli.arguments()).returncode == 1
    (found,) = examine(state_dir=cli.state_dir).findings
    assert found.code == "session-failed"
    assert "cannot capture into" in found.what


def test_a_damaged_document_is_made_anew_from_its_backup(ended: Ended, tmp_path: Path) -> None:
    doctor = Doctor(tmp_path)
    path = ended.folder.document.path
    spare = ended.folder.document.backup
    before = ended.folder.document.backup.read_bytes()
    path.write_bytes(b"nonsense")
    assert doctor.codes() == {"document-damaged"} | ({"session-crashed", "gap-undeclared"} & doctor.codes())
    health = doctor.mends("document-damaged")
    assert "kept in state.json.damaged" in health.fixes[0].what
    assert path.with_name("state.json.damaged").read_bytes() == b"nonsense"
    assert path.read_bytes() == before
    path.unlink()
    doctor.mends("document-damaged")
    spare.write_bytes(b"nonsense")
    doctor.mends("document-spare-damaged")
    assert spare.read_bytes() == path.read_bytes()
    spare.write_bytes(b"nonsense")
    assert "document-spare-damaged" in doctor.look(fix=True).counts  # what is kept of the last time is in the way


def test_documents_that_nothing_can_be_made_of_are_told(ended: Ended, tmp_path: Path) -> None:
    doctor = Doctor(tmp_path)
    document = ended.folder.document
    document.backup.write_bytes(b"")
    document.path.write_bytes(b"{}")
    assert doctor.codes() == {"document-unreadable"}
    document.backup.unlink()
    (found,) = doctor.look().findings
    assert found.what.endswith("it has no backup")
    document.path.unlink()
    document.backup.write_bytes(b"")
    document.backup.chmod(0o640)
    (found,) = doctor.look().findings
    assert found.what.startswith("it is gone; its backup:")


def test_the_document_of_a_session_that_runs_is_left_to_it(cli: Cli) -> None:
    cli.begin(*cli.arguments())
    cli.captured(4)
    until(lambda: cli.folder.document.backup.exists())
    lock = cli.folder.path / "lock"
    cli.folder.document.backup.write_bytes(b"nonsense")
    health = examine(state_dir=cli.state_dir, fix=True)
    assert not health.fixed
    for finding in health.findings:  # unless it has just been saved
        assert "runs, and saves its document itself" in finding.what
    lock.unlink()  # somebody cleaned up: its process is there all the same
    cli.folder.document.backup.write_bytes(b"nonsense")
    health = examine(state_dir=cli.state_dir, fix=True)
    assert not health.fixed


def test_folders_that_nobody_needs_are_notes(ended: Ended, tmp_path: Path) -> None:
    doctor = Doctor(tmp_path)
    empty = ended.state_dir / "sessions" / "empty"
    empty.mkdir(mode=0o750)
    assert doctor.codes() == set()
    age(empty, 2 * DAY_S)
    assert doctor.codes() == {"session-stale"}
    empty.rmdir()
    assert doctor.codes(max_session_age_s=0.0) == {"session-stale"}
    assert doctor.look(max_session_age_s=0.0).is_good


def test_permissions_and_leftovers_of_a_session_are_mended(ended: Ended, tmp_path: Path) -> None:
    doctor = Doctor(tmp_path)
    ended.folder.path.chmod(0o755)
    ended.folder.document.path.chmod(0o644)
    ended.folder.log.chmod(0o666)
    health = doctor.mends("permission")
    assert health.fixed == {"permission": 3}
    assert ended.folder.log.stat().st_mode & 0o777 == 0o644
    left = ended.folder.path / ".state.json.0123456789abcdef.tmp"
    left.write_bytes(b"{")
    age(left, 2 * DAY_S)
    doctor.mends("leftover")
    assert not left.exists()


def test_a_tree_is_held_from_its_file_up_to_its_root(tree: Path) -> None:
    (tree / "a").mkdir(parents=True)
    with held(tree, tree), pytest.raises(Busy, match="holds"), held(tree / "a", tree):
        pass
    with held(tree.parent, tree.parent), held(tree / "a", tree):
        pass
    with pytest.raises(Busy, match="cannot be locked"), held(tree / "b", tree):
        pass
    assert os.listdir(tree) == ["a"]
