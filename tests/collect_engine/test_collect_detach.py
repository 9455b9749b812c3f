"""Starting a capture that outlives us: whatever the child does, its outcome is told."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from engine_lab import Lab

from pytest_marketreplay.collect import detach
from pytest_marketreplay.errors import CollectError


def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Have a shell script in the place of Python."""
    file = tmp_path / "python"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(file))


def test_a_child_that_dies_at_once_is_told_with_its_exit_code_and_output(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child(tmp_path, monkeypatch, "echo broken >&2; exit 3")
    with pytest.raises(CollectError, match=r"exit code 3; see .*output\.txt"):
        detach.start(lab.settings)
    assert (tmp_path / "sessions" / "s" / "output.txt").read_text() == "broken\n"


def test_a_child_that_says_nothing_is_ended(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child(tmp_path, monkeypatch, "exec sleep 100")
    with pytest.raises(CollectError, match=r"said nothing for 0\.1 s"):
        detach.start(lab.settings, 0.1)


def test_a_state_folder_that_cannot_be_made_is_named(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CollectError, match="--state-dir"):
        detach.start(msgspec.structs.replace(lab.settings, state_dir=str(tmp_path / "file")))


def test_a_child_that_cannot_be_started_leaks_nothing(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        detach.start(lab.settings)
    assert set(os.listdir("/proc/self/fd")) == before


class Spoken:
    """`detach.main` in this process: its standard input, and what it said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
        self.reading, writing = os.pipe()
        monkeypatch.setattr(sys, "argv", ["detach", str(writing)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(msgspec.json.encode(settings))))
        monkeypatch.setattr(os, "dup2", lambda *_: None)  # the test run needs its own standard input

    def line(self) -> Any:
        with os.fdopen(self.reading, "rb") as stream:
            return orjson.loads(stream.read())


def test_the_child_says_a_line_once_it_runs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = Spoken(monkeypatch, msgspec.structs.replace(lab.settings, duration_s=0.05))
    assert detach.main() == 0
    assert spoken.line() == {}


def test_the_child_says_why_it_cannot_start(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = Spoken(monkeypatch, lab.settings)
    lock = lab.capture.folder.lock()
    assert detach.main() == 1
    lock.release()
    said = spoken.line()
    assert said["usage"] is False
    assert "runs already" in said["error"]


def test_an_error_after_it_ran_is_in_the_exit_code(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_marketreplay.collect import running

    class Failing(running.Capture):
        def run(self) -> Any:
            super().run()
            raise CollectError("late")

    monkeypatch.setattr(running, "Capture", Failing)
    spoken = Spoken(monkeypatch, msgspec.structs.replace(lab.settings, duration_s=0.05))
    assert detach.main() == 1
    assert spoken.line() == {}
