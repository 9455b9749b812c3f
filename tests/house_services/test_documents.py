"""Documents: what was saved can be loaded, whatever happens to the process, the disk or the file meanwhile."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_marketreplay import clock, documents
from pytest_marketreplay.documents import SECRET_MODE, Document
from pytest_marketreplay.errors import DocumentError, UsageMistake


class State(msgspec.Struct, frozen=True):
    name: str
    count: int = 0
    more: dict[str, list[float]] = {}


def document(folder: Path, **options: Any) -> Document[State]:
    return Document(folder / "state.json", State, **{"kind": "test-state", **options})


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ---------------------------------------------------------------- saving and loading


def test_there_is_no_value_before_the_first_save(tmp_path: Path) -> None:
    assert document(tmp_path).load() is None
    assert document(tmp_path / "nowhere").load() is None


@given(st.lists(st.builds(State, st.text(), st.integers(-(2**63), 2**64 - 1)), min_size=1, max_size=4))
def test_what_was_saved_last_is_loaded(tmp_path_factory: pytest.TempPathFactory, values: list[State]) -> None:
    kept = document(tmp_path_factory.mktemp("saved"))
    for value in values:
        kept.save(value)
        assert kept.load() == value
    assert names(kept.path.parent) == {"state.json", "state.json.bak"} - (
        {"state.json.bak"} if values[1:] == [] else set()
    )


def test_people_can_read_the_file(tmp_path: Path) -> None:
    document(tmp_path, version=1).save(State("é", 3))
    text = (tmp_path / "state.json").read_text(encoding="utf-8")
    assert text == (
        '{\n  "kind": "test-state",\n  "version": 1,\n  "data": {\n    "name": "é",\n    "count": 3,\n    "more": {}\n  }\n}\n'
    )


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_modes_are_those_of_the_kind_of_file_whatever_the_umask_is(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        for mode in (0o640, SECRET_MODE):
            kept = document(tmp_path / f"{mode:o}" / "deep", mode=mode)
            kept.save(State("a"))
            kept.save(State("b"))
            assert {stat.S_IMODE(path.stat().st_mode) for path in kept.path.parent.iterdir()} == {mode}
            assert stat.S_IMODE(kept.path.parent.stat().st_mode) == 0o750 & ~umask
            assert stat.S_IMODE(kept.path.parent.parent.stat().st_mode) == 0o750 & ~umask
    finally:
        os.umask(before)
    assert document(tmp_path).mode == 0o640


def test_a_removed_document_does_not_come_back_from_its_backup(tmp_path: Path) -> None:
    kept = document(tmp_path)
    kept.save(State("a"))
    kept.save(State("b"))
    kept.remove()
    assert kept.load() is None
    assert names(tmp_path) == set()
    kept.remove()
    document(tmp_path / "nowhere").remove()
    kept.path.mkdir()
    with pytest.raises(DocumentError, match="cannot be removed"):
        kept.remove()


# ---------------------------------------------------------------- damage


DAMAGE = {
    "empty": b"",
    "zeros": b"\0" * 300,
    "a NUL in it": b'{"kind":"test-state","version":1,"data":{"name":"\0"}}',
    "not UTF-8": b'{"kind":"test-state","version":1,"data":{"name":"\xff\xfe"}}',
    "cut": b'{"kind":"test-state","version":1,"data":{"na',
    "with a second one behind": b'{"kind":"test-state","version":1,"data":{"name":"a"}}{}',
    "deep": b'{"kind":"test-state","version":1,"data":' + b'{"a":' * 200_000,
    "deep lists": b"[" * 200_000,
    "a huge number": b'{"kind":"test-state","version":1,"data":{"name":"a","count":' + b"9" * 5_000 + b"}}",
    "a huge exponent": b'{"kind":"test-state","version":1,"data":{"name":"a","more":{"a":[1e999]}}}',
    "a huge version": b'{"kind":"test-state","version":' + b"9" * 400 + b',"data":{"name":"a"}}',
    "version 0": b'{"kind":"test-state","version":0,"data":{"name":"a"}}',
    "version true": b'{"kind":"test-state","version":true,"data":{"name":"a"}}',
    "another type": b'{"kind":"test-state","version":1,"data":{"name":7}}',
    "a field missing": b'{"kind":"test-state","version":1,"data":{}}',
    "data of another shape": b'{"kind":"test-state","version":1,"data":[]}',
    "no envelope": b'{"name":"a"}',
    "NaN": b'{"kind":"test-state","version":1,"data":{"name":"a","more":{"a":[NaN]}}}',
}


@pytest.mark.parametrize("raw", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_document_is_read_from_its_backup_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, raw: bytes
) -> None:
    kept = document(tmp_path)
    kept.save(State("old"))
    kept.save(State("new"))
    kept.path.write_bytes(raw)
    assert kept.load() == State("old")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{kept.path} cannot be read" in caplog.text
    assert "its backup state.json.bak was read" in caplog.text


@pytest.mark.parametrize("raw", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_document_never_replaces_a_good_backup(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, raw: bytes
) -> None:
    kept = document(tmp_path)
    kept.save(State("first"))
    kept.save(State("second"))
    kept.path.write_bytes(raw)
    kept.save(State("third"))
    assert "its backup stays" in caplog.text
    assert kept.load() == State("third")
    assert json.loads(kept.backup.read_bytes())["data"]["name"] == "first"


@given(st.binary() | st.sampled_from(list(DAMAGE.values())))
@example(b'{"kind":"test-state","version":1,"data":{"name":"whole"}}')
def test_any_bytes_are_a_value_or_a_document_error(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    kept = document(tmp_path_factory.mktemp("hostile"))
    kept.path.write_bytes(raw)
    told = ""
    try:
        assert kept.load() == State("whole")
    except DocumentError as error:
        told = str(error)
    assert told == "" or told.startswith(f"{kept.path} ")
    assert told == "" or "It has no backup state.json.bak. Mend it by hand" in told


def test_where_both_are_damaged_the_error_names_both_and_what_is_wrong_with_each(tmp_path: Path) -> None:
    kept = document(tmp_path)
    kept.path.write_bytes(b"{")
    kept.backup.write_bytes(DAMAGE["another type"])
    with pytest.raises(DocumentError) as caught:
        kept.load()
    assert str(kept.path) in str(caught.value)
    assert "Input data was truncated" in str(caught.value)
    assert "The backup state.json.bak: ValidationError: Expected `str`, got `int` - at `$.name`" in str(caught.value)


def test_a_backup_alone_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = document(tmp_path)
    kept.save(State("old"))
    kept.path.rename(kept.backup)
    assert kept.load() == State("old")
    assert "it is not there" in caplog.text


def test_a_document_of_another_kind_is_neither_read_nor_overwritten_nor_its_backup_taken(tmp_path: Path) -> None:
    document(tmp_path, kind="other").save(State("a"))
    document(tmp_path, kind="other").save(State("b"))
    kept = document(tmp_path)
    before = kept.path.read_bytes()
    for call in (kept.load, lambda: kept.save(State("c"))):
        with pytest.raises(DocumentError, match=r"state\.json is of the kind 'other', and 'test-state' is wanted"):
            call()
    assert kept.path.read_bytes() == before
    assert names(tmp_path) == {"state.json", "state.json.bak"}


def test_a_document_of_a_later_version_is_neither_read_nor_overwritten(tmp_path: Path) -> None:
    document(tmp_path, version=3).save(State("a"))
    kept = document(tmp_path, version=2)
    for call in (kept.load, lambda: kept.save(State("c"))):
        with pytest.raises(DocumentError, match="of version 3, and this program knows versions up to 2"):
            call()
    assert document(tmp_path, version=3).load() == State("a")


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    kept = document(tmp_path)
    os.mkfifo(kept.path)
    with pytest.raises(DocumentError, match="is not a file"):
        kept.load()
    kept.path.unlink()
    kept.path.mkdir()
    with pytest.raises(DocumentError, match="is not a file"):
        kept.load()
    with pytest.raises(DocumentError, match=r"cannot be read: .*Not a directory"):
        document(Path(__file__)).load()
    with pytest.raises(DocumentError, match=r"cannot be saved: .*Not a directory"):
        document(Path(__file__)).save(State("a"))
    with pytest.raises(UsageMistake, match="counts from 1"):
        document(tmp_path, version=0)


def test_a_file_that_is_too_large_is_damaged_and_a_value_that_is_too_large_is_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = document(tmp_path)
    kept.save(State("old"))
    kept.save(State("new"))
    with kept.path.open("ab") as file:
        file.truncate(documents.LARGEST + 1)
    assert kept.load() == State("old")
    monkeypatch.setattr(documents, "LARGEST", 200)
    with pytest.raises(DocumentError, match="a document has at most 200"):
        kept.save(State("x" * 200))


def test_what_the_disk_has_lost_is_read_from_the_backup_and_what_is_forbidden_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = document(tmp_path)
    kept.save(State("old"))
    kept.save(State("new"))
    real, number = os.open, errno.EIO

    def failing(path: Any, *rest: Any) -> int:
        if path == kept.path:
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *rest)

    monkeypatch.setattr(os, "open", failing)
    assert kept.load() == State("old")
    number = errno.EACCES
    with pytest.raises(DocumentError, match=r"Permission denied.*Grant access"):
        kept.load()


@pytest.mark.parametrize("value", [State(7), State("a", more={"a": [float("nan")]}), State("\ud800")], ids=repr)  # type: ignore[arg-type]
def test_a_value_that_could_not_be_loaded_again_is_not_saved(tmp_path: Path, value: State) -> None:
    kept = document(tmp_path)
    kept.save(State("good"))
    with pytest.raises(DocumentError, match="could not be loaded again"):
        kept.save(value)
    assert kept.load() == State("good")


# ---------------------------------------------------------------- versions


def _named(data: dict[str, Any]) -> dict[str, Any]:
    return {"name": data["title"]}


def _counted(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "count": len(data["name"])}


def test_older_versions_are_migrated_step_by_step(tmp_path: Path) -> None:
    kept = document(tmp_path, version=3, migrations={1: _named, 2: _counted})
    kept.path.write_text('{"kind":"test-state","version":1,"data":{"title":"four"}}')
    assert kept.load() == State("four", 4)
    kept.path.write_text('{"kind":"test-state","version":2,"data":{"name":"five5"}}')
    assert kept.load() == State("five5", 5)
    kept.save(State("six", 6))
    assert json.loads(kept.path.read_bytes())["version"] == 3
    assert json.loads(kept.backup.read_bytes())["version"] == 2
    kept.path.write_text("{")
    assert kept.load() == State("five5", 5)


def test_a_version_that_nothing_migrates_is_refused(tmp_path: Path) -> None:
    document(tmp_path).save(State("a"))
    with pytest.raises(DocumentError, match="no migration from version 1"):
        document(tmp_path, version=3, migrations={2: _counted}).load()


def test_data_that_a_migration_does_not_know_is_damage(tmp_path: Path) -> None:
    kept = document(tmp_path, version=2, migrations={1: _named})
    kept.path.write_text('{"kind":"test-state","version":1,"data":{"title":"four"}}')
    kept.save(State("five"))
    kept.path.write_text('{"kind":"test-state","version":1,"data":{"other":"four"}}')
    assert kept.load() == State("four")


# ---------------------------------------------------------------- leftovers and processes


def test_what_killed_processes_left_is_removed_when_it_is_an_hour_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = document(tmp_path)
    left = {".state.json.0123.tmp", ".state.json.keep", ".other.json.0123.tmp"}
    for name in left:
        (tmp_path / name).touch()
    kept.save(State("a"))
    assert names(tmp_path) == left | {"state.json"}
    later = clock.now_ns() + 3601 * 10**9
    monkeypatch.setattr(clock, "now_ns", lambda: later)
    kept.save(State("b"))
    assert names(tmp_path) == left - {".state.json.0123.tmp"} | {"state.json", "state.json.bak"}


WRITER = """
import sys
from pathlib import Path
import msgspec
from pytest_marketreplay.documents import Document

class State(msgspec.Struct, frozen=True):
    name: str
    count: int = 0
    more: dict[str, list[float]] = {}

kept = Document(Path(sys.argv[1]), State, kind="test-state")
for count in range(150):
    kept.save(State(sys.argv[2], count, {"a": [1.5] * (count * 7 % 400)}))
    assert kept.load() is not None
"""


def test_the_first_two_saves_between_a_loads_two_looks_are_no_damage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = document(tmp_path)
    real, looks = kept._read, []

    def look(path: Path) -> object:  # the moment between two looks cannot be met by real processes at will
        found = real(path)
        looks.append(path)
        if len(looks) == 1:
            for count in (1, 2):
                monkeypatch.setattr(kept, "_read", real)
                kept.save(State("between", count))
            monkeypatch.setattr(kept, "_read", look)
        return found

    monkeypatch.setattr(kept, "_read", look)
    value = kept.load()
    assert value is not None
    assert value.count == 2
    assert looks == [kept.path, kept.backup, kept.path]
    assert caplog.get_records("call") == []


def test_a_document_that_is_damaged_at_the_second_look_is_read_from_its_backup(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = document(tmp_path)
    real = kept._read

    def look(path: Path) -> object:
        monkeypatch.setattr(kept, "_read", real)
        for count in (1, 2):
            kept.save(State("between", count))
        kept.path.write_bytes(b"torn")
        return None

    monkeypatch.setattr(kept, "_read", look)
    value = kept.load()
    assert value is not None
    assert value.count == 1
    assert "its backup state.json.bak was read" in caplog.text


def test_two_processes_save_and_a_third_always_reads_a_whole_document(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = document(tmp_path / "made" / "by" / "both")
    kept_by = [subprocess.Popen([sys.executable, "-c", WRITER, str(kept.path), name]) for name in ("left", "right")]
    reads = 0
    while any(process.poll() is None for process in kept_by):
        value = kept.load()
        if value is not None:
            assert len(value.more["a"]) == value.count * 7 % 400
            reads += 1
    assert [process.returncode for process in kept_by] == [0, 0]
    assert reads > 10
    assert caplog.get_records("call") == []  # no read needed the backup
    last = kept.load()
    assert last is not None
    assert last.count == 149
    kept.path.write_bytes(b"")
    assert kept.load() is not None
    assert names(kept.path.parent) == {"state.json", "state.json.bak"}
