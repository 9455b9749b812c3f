"""Every call to the operating system that a save makes is made to fail, and to be the last one of the process."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_marketreplay.documents import Document
from pytest_marketreplay.errors import DocumentError

CALLS = ("open", "fchmod", "write", "fsync", "close", "rename", "unlink", "mkdir", "scandir", "fstat")


class State(msgspec.Struct, frozen=True):
    name: str


OLD, NEW = State("old"), State("new " * 50)


class Killed(BaseException):
    """The process ends here: nothing that it would have done to the disk afterwards is done."""


class System:
    """`os`, in which the call number `fatal` fails: once, with an error; or, as a kill does, with all that follow.

    Writes come in pieces of at most 40 bytes. Notes which files the disk holds for sure.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fatal: int, failure: OSError | None, only: str = "") -> None:
        self.count, self.fatal, self.failure, self.only = 0, fatal, failure, only
        self.calls: list[str] = []
        self.paths: dict[int, str] = {}
        self.volatile: set[str] = set()
        self.real = {name: getattr(os, name) for name in CALLS}
        self.patch = monkeypatch
        for name in CALLS:
            monkeypatch.setattr(os, name, self.wrapped(name))

    def wrapped(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            fails = self.only in ("", name)
            self.count += fails
            if fails and self.count == self.fatal and self.failure is not None:
                if name == "close":
                    self.real["close"](*args)  # Linux closes, and then says so
                raise self.failure
            if self.failure is None and self.count >= self.fatal:
                if name == "close" and self.count > self.fatal:
                    return self.real["close"](*args)  # so that the test itself leaves none open
                if name == "write" and self.count == self.fatal:
                    self.real["write"](args[0], args[1][:7])
                raise Killed
            return self.done(name, *args, **named)

        return call

    def done(self, name: str, *args: Any, **named: Any) -> Any:
        self.calls.append(name)
        if name == "write":
            self.volatile.add(self.paths[args[0]])
            return self.real["write"](args[0], args[1][:40])
        if name == "fsync":
            self.volatile.discard(self.paths[args[0]])
        result = self.real[name](*args, **named)
        if name == "open":
            self.paths[result] = os.fspath(args[0])
        if name == "rename" and os.fspath(args[0]) in self.volatile:
            self.volatile.add(os.fspath(args[1]))
        return result

    def restore(self) -> None:
        for name in CALLS:
            self.patch.setattr(os, name, self.real[name])

    def cut_power(self) -> None:
        """Empty what was written and not yet brought to the disk, as a file system may after a power cut."""
        self.restore()
        for path in self.volatile:
            if os.path.exists(path):
                os.truncate(path, 0)


def whole(path: Path) -> Document[State]:
    return Document(path, State, kind="test-state")


def with_both(path: Path) -> State | None:
    whole(path).save(State("older"))
    whole(path).save(OLD)
    return OLD


def with_one(path: Path) -> State | None:
    whole(path).save(OLD)
    return OLD


def with_none(path: Path) -> State | None:
    return None


def with_a_damaged_one(path: Path) -> State | None:
    whole(path).save(OLD)
    whole(path).save(State("damaged"))
    path.write_bytes(b"\0\0\0")
    return OLD


def with_a_lost_one(path: Path) -> State | None:
    whole(path).save(OLD)
    path.rename(path.with_name(path.name + ".bak"))
    return OLD


STARTS = [with_both, with_one, with_none, with_a_damaged_one, with_a_lost_one]


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power cut"])
@pytest.mark.parametrize("start", STARTS)
def test_after_a_crash_at_any_call_the_old_or_the_new_value_is_loaded(
    tmp_path: Path, start: Callable[[Path], State | None], power: bool
) -> None:
    outcomes: list[bool] = []
    for fatal in range(1, 200):
        path = tmp_path / str(fatal) / "made" / "state.json"
        if start is not with_none:
            path.parent.mkdir(parents=True)
        old = start(path)
        with pytest.MonkeyPatch.context() as monkeypatch:
            system = System(monkeypatch, fatal, None)
            try:
                whole(path).save(NEW)
                survived = True
            except Killed:
                survived = False
            system.restore()
            if power:
                system.cut_power()
        found = whole(path).load()
        assert found == NEW if survived else found in (old, NEW), (fatal, system.calls)
        outcomes.append(found == NEW)
        whole(path).save(State("afterwards"))
        assert whole(path).load() == State("afterwards")
        if survived:
            break
    else:
        pytest.fail("a save never ended")
    assert len(outcomes) > 15
    assert outcomes == sorted(outcomes)  # once the new value is there, it stays
    assert outcomes[0] is False
    assert outcomes[-2] is True  # the crash between the rename and the end of the save


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS], ids=errno.errorcode.get)
@pytest.mark.parametrize("start", STARTS)
def test_a_failure_of_any_call_is_told_and_leaves_the_old_or_the_new_value(
    tmp_path: Path, start: Callable[[Path], State | None], number: int
) -> None:
    failures = 0
    for fatal in range(1, 200):
        path = tmp_path / str(fatal) / "made" / "state.json"
        if start is not with_none:
            path.parent.mkdir(parents=True)
        old = start(path)
        error = OSError(number, os.strerror(number))
        with pytest.MonkeyPatch.context() as monkeypatch:
            system = System(monkeypatch, fatal, error)
            try:
                whole(path).save(NEW)
                told = ""
            except DocumentError as raised:
                told = str(raised)
            system.restore()
        failed = told != ""
        assert not failed or os.strerror(number) in told
        found = whole(path).load()
        assert found in ((old, NEW) if failed else (NEW,)), (fatal, system.calls)
        if failed:
            failures += 1
            if path.parent.exists():  # at most the one whose removal was what failed is left behind
                assert len([name for name in os.listdir(path.parent) if name.endswith(".tmp")]) <= 1
        if system.count < fatal:
            break
    assert failures > 10


def test_a_full_disk_keeps_the_old_value_leaves_nothing_behind_and_the_next_save_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    with_both(path)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    for piece in (1, 2, 3):
        with pytest.MonkeyPatch.context() as monkeypatch:
            System(monkeypatch, piece, OSError(errno.ENOSPC, "No space left on device"), only="write")
            with pytest.raises(
                DocumentError, match=r"No space left on device\. What was saved before stands; make room"
            ):
                whole(path).save(NEW)
        assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before
    whole(path).save(NEW)
    assert whole(path).load() == NEW


def test_every_file_is_on_the_disk_before_it_gets_its_name_and_the_folder_after(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    with_one(path)
    with pytest.MonkeyPatch.context() as monkeypatch:
        system = System(monkeypatch, 10_000, None)
        whole(path).save(NEW)
    assert system.volatile == set()
    steps = [name for name in system.calls if name in ("fsync", "rename")]
    assert steps == ["fsync", "fsync", "rename", "rename", "fsync"]
    assert system.calls.count("write") > 5
