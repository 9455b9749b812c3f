"""Corners: files that vanish or cannot be read while they are looked at, and sizes as arithmetic."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from doctor_parts import BTC, DAY_S, LIMITS, Doctor, age, as_nobody, capture, items, killed

from pytest_marketreplay.archive.state import state_document
from pytest_marketreplay.cassette import files
from pytest_marketreplay.cassette.files import Line
from pytest_marketreplay.doctor import examine, leftovers, lines, records, sinks, sizes
from pytest_marketreplay.doctor.health import Notebook
from pytest_marketreplay.doctor.modes import Modes
from pytest_marketreplay.doctor.secrets import SecretScan
from pytest_marketreplay.doctor.trees import _Tree
from pytest_marketreplay.errors import Busy
from pytest_marketreplay.venues.registry import Registry


def test_what_vanishes_meanwhile_is_no_finding(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Notebook()
    scan = SecretScan(Registry(), BTC)
    assert lines.read(tree / "a.jsonl", tree, scan, notebook, lines.FileFacts()) is None
    assert not Modes(notebook, tree).check(tree / "a", 0o640)
    assert not _Tree(tree, notebook, LIMITS, Registry(), print)._folder(tree / "a")
    leftovers.twins(tree / "a.jsonl", tree / "a.jsonl.gz", notebook, tree)
    (path,) = capture(tree, items(0, 1))
    path.write_bytes(b"torn")
    real = files.lines

    def then_gone(stream: IO[bytes]) -> Iterator[Line]:
        yield from real(stream)

    def gone(stream: IO[bytes]) -> Iterator[Line]:
        for each in then_gone(stream):
            path.unlink()
            yield each

    monkeypatch.setattr(files, "lines", gone)
    assert lines.read(path, tree, scan, notebook, lines.FileFacts()) is None
    assert notebook.findings == []


def test_a_disk_that_cannot_give_a_file_back_is_a_finding(
    tree: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture(tree, items(0, 1))

    def lost(stream: IO[bytes]) -> Iterator[Line]:
        raise OSError(errno.EIO, "Input/output error")  # such a disk cannot be had
        yield

    monkeypatch.setattr(files, "lines", lost)
    assert doctor.codes(tree) == {"unreadable"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user")
def test_logs_parquet_and_sessions_of_another_user_are_findings(open_folder: Path) -> None:
    tree, other, state = open_folder / "captures", open_folder / "other", open_folder / "state"
    for root in (tree, other):
        killed("parquet", root)
        for each in (root, *root.rglob("*")):
            each.chmod(0o755 if each.is_dir() else 0o600)
            age(each, 60)
    (other / ".wal").chmod(0o700)
    (state / "sessions" / "s").mkdir(parents=True)
    (state / "sessions" / "s").chmod(0o700)
    (state / "wal").mkdir(mode=0o700)
    with as_nobody():
        found = examine([tree, other], state_dir=state, limits=LIMITS).findings
    where = {each.where.removeprefix(f"{open_folder}/") for each in found if each.code == "unreadable"}
    (log,) = (tree / ".wal").iterdir()
    assert {"other/.wal", f"captures/.wal/{log.name}", "state/sessions/s", "state/wal"} <= where
    assert len([each for each in where if each.endswith(".parquet")]) == 2


def test_a_folder_and_a_file_that_keep_their_owner_out_are_not_looked_into(
    tree: Path, doctor: Doctor, tmp_path: Path
) -> None:
    killed("parquet", tree)
    (path,) = tree.rglob("*.parquet")
    path.rename(path.with_name("mine.parquet"))
    path.with_name("mine.parquet").chmod(0o000)
    (log,) = (tree / ".wal").iterdir()
    log.chmod(0o000)
    (doctor.state_dir / "sessions" / "s").mkdir(parents=True)
    (doctor.state_dir / "sessions" / "s").chmod(0o000)
    assert doctor.look(tree).counts == {"unreadable": {"error": 3}}
    doctor.mends("unreadable", tree)


def test_names_that_are_no_time_and_things_that_are_no_files_are_passed_over(tree: Path, doctor: Doctor) -> None:
    first, second = capture(tree, items(0, 2), most=1)
    odd = first.with_name("2020-13-45T00-00-00.jsonl")
    first.rename(odd)
    age(odd, 100 * DAY_S)
    os.mkfifo(second.parent / "pipe", 0o640)
    assert doctor.codes(tree, retain_s=7.0 * DAY_S) == set()


def test_twins_are_not_compared_where_they_cannot_be(
    tree: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed("sealing", tree)
    plain = next(tree.glob("*/*/*/*.jsonl"))
    age(plain, 2 * DAY_S)
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "zstandard", None)
        assert doctor.codes(tree) == set()
    answers = iter([True, False])
    monkeypatch.setattr(leftovers, "_same", lambda *paths: next(answers))  # it changed in between
    (found,) = doctor.look(tree, fix=True).findings
    assert "is not the same any more" in found.what
    assert plain.exists()


def test_documents_that_are_gone_or_unreadable_say_nothing_of_backups(doctor: Doctor, tmp_path: Path) -> None:
    import contextlib

    with pytest.raises(Busy, match="it is gone"):
        records._mend(state_document(tmp_path / "a.json"), tmp_path / "a.json", contextlib.nullcontext)
    root = doctor.state_dir / "backups"
    (root / "folder").mkdir(parents=True)
    root.chmod(0o750)
    (root / "prod-0123456789ab.json").write_bytes(b"{}")
    (root / "prod-0123456789ab.json").chmod(0o640)
    health = doctor.look()
    assert health.counts == {"document-unreadable": {"error": 1}}
    assert health.backups == ()


def test_growth_is_that_of_whole_days_and_of_a_tree_that_still_grows() -> None:
    assert sizes.growth({}, 100) == 0
    assert sizes.growth({97: 10}, 100) == 0
    assert sizes.growth({100: 10}, 100) == 10  # since today
    assert sizes.growth({99: 10, 100: 1}, 100) == 10
    assert sizes.growth({94: 10, 99: 10, 100: 1}, 100) == pytest.approx(20 / 6)


def test_a_pause_is_no_jump_and_two_days_without_anything_are() -> None:
    days = dict.fromkeys([*range(6), *range(60, 66)], 100_000)
    assert sizes.day_jumps(days, 10) == []
    days = dict.fromkeys([*range(5), *range(7, 12)], 100_000)
    assert [(each.at, each.size) for each in sizes.day_jumps(days, 10)] == [(5, 0), (6, 0)]
    assert sizes.day_jumps(dict.fromkeys(range(3), 1), 10) == []


def test_a_log_that_becomes_a_file_meanwhile_is_no_finding(
    tree: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed("parquet", tree)
    (log,) = (tree / ".wal").iterdir()
    age(log, 60)

    def converted(path: Path) -> bool:
        path.unlink()
        return False

    monkeypatch.setattr(sinks, "is_locked", converted)
    assert doctor.look(tree).counts == {}
