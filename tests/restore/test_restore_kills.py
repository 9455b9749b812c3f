"""B5: a restore that is killed, at any call that matters, leaves its target as before or complete; the next one sweeps."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import restore_lab
from restore_lab import Run, make_tree, publish, state, without_record

from pytest_marketreplay.archive import exchanging, placing
from pytest_marketreplay.archive.packing import survey

STRACE = shutil.which("strace")
CALLS = (
    "mkdir,mkdirat,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,fsync,flock,fchmod,chmod,fchmodat,write"
)
WAYS = {"missing": [], "full": ["--overwrite"], "merge": ["--merge", "--overwrite"]}
needs_strace = pytest.mark.skipif(STRACE is None, reason="strace is not installed")


def prepared(target: Path, way: str) -> None:
    if target.exists():
        shutil.rmtree(target)
    if way != "missing":
        make_tree(target, seed=6)
        (target / "own.txt").write_text("mine")
        restore_lab.settle(target)


def traced(arguments: list[object], *options: str) -> subprocess.CompletedProcess[str]:
    """Run a restore under strace: of this process alone, rclone goes its own way."""
    program = "from pytest_marketreplay.cli import main; main()"
    command = [
        str(STRACE),
        "-e",
        f"trace={CALLS}",
        *options,
        sys.executable,
        "-c",
        program,
        "restore",
        *map(str, arguments),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def killed_at(number: int, arguments: list[object], calls: str, log: Path) -> bool:
    """Tell whether a restore was killed as it began the n-th of the calls; it was not where there are fewer."""
    done = traced(arguments, "-o", str(log), "-e", f"inject={calls}:signal=KILL:when={number}")
    return done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)


def judge(target: Path, before: dict[str, object], complete: dict[str, object], where: str) -> str:
    found = without_record(state(target)) if target.exists() else {}
    assert found in (before, complete), where
    return "before" if found == before else "complete"


def kill_everywhere(
    way: str, calls: str, tree: Path, remote: Path, target: Path, tmp_path: Path, run: Run
) -> list[str]:
    """Kill a restore at the first, second, ... of each kind of call, and restore again after each; return what was left."""
    publish(tree, remote)
    arguments: list[object] = ["--from", remote, "--to", target, *WAYS[way]]
    prepared(target, way)
    before = state(target) if target.exists() else {}
    assert traced(arguments).returncode == 0
    complete = without_record(state(target))
    outcomes = []
    for call in calls.split(","):  # strace counts each kind by itself
        left = []
        for number in range(1, 1000):
            prepared(target, way)
            if not killed_at(number, arguments, call, tmp_path / "strace.log"):
                break
            left.append(judge(target, before, complete, f"{way}, {call} number {number}"))
            code, _, err = run(*arguments[:4], *(WAYS[way] or ["--overwrite"]))
            assert code == 0, err
            assert without_record(state(target)) == complete
            assert list(target.parent.iterdir()) == [target], "the next restore sweeps"
        assert left == sorted(left), "what is complete stays complete"
        outcomes += left
    return outcomes


@needs_strace
@pytest.mark.parametrize("way", ["full", *(pytest.param(way, marks=pytest.mark.slow) for way in ("missing", "merge"))])
def test_a_kill_at_the_rename_leaves_all_or_nothing(way, tree, remote, target, tmp_path, run):
    """The one call that matters most; the slow test below does this for all others."""
    assert kill_everywhere(way, "renameat2", tree, remote, target, tmp_path, run) == ["before"]


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_kill_at_any_call_leaves_all_or_nothing(way, tree, remote, target, tmp_path, run):
    outcomes = kill_everywhere(way, CALLS, tree, remote, target, tmp_path, run)
    print(way, len(outcomes), outcomes.count("before"), outcomes.count("complete"))
    assert len(outcomes) > 30
    assert set(outcomes) == {"before", "complete"}


@needs_strace
@pytest.mark.slow
def test_a_file_system_that_cannot_exchange_is_written_too_and_a_kill_between_is_mended(
    tree, remote, target, tmp_path, run
):
    """What the kernel answers there, by strace; a kill at each of the four renames that are done instead."""
    publish(tree, remote)
    arguments = ["--from", remote, "--to", target, "--overwrite"]
    prepared(target, "full")
    before = state(target)
    no_exchange = ("-e", "inject=renameat2:error=EINVAL", "-o", str(tmp_path / "strace.log"))
    assert traced(arguments, *no_exchange).returncode == 0
    assert without_record(state(target)) == state(tree)
    calls = re.findall(r"^rename\(.*(?:place).*\)", (tmp_path / "strace.log").read_text(), re.MULTILINE)
    assert len([call for call in calls if ".marketreplay-restore" not in call]) == 3
    seen = set()
    for number in range(1, len(calls) + 1):
        if target.exists():
            shutil.rmtree(target)
        prepared(target, "full")
        traced(arguments, *no_exchange, "-e", f"inject=rename:signal=KILL:when={number}")
        if not target.exists():
            seen.add("between")
            refused = run("--from", remote, "--to", target)
            assert refused[0] == 2, "the old tree is back, and is not empty"
            assert without_record(state(target)) == before
        seen.add(judge(target, before, state(tree), f"rename {number}"))
        assert run(*arguments)[0] == 0
        assert without_record(state(target)) == state(tree)
        assert list(target.parent.iterdir()) == [target]
    assert seen == {"between", "before", "complete"}


def test_two_renames_stand_in_for_an_exchange_and_the_next_restore_mends_what_a_kill_leaves(
    tree, remote, target, run, monkeypatch
):
    """As the slow test above, in this process: a kill is the second rename that never comes."""
    publish(tree, remote)
    make_tree(target, seed=2)
    before = state(target)
    monkeypatch.setattr(exchanging, "exchange", lambda *_: False)
    target.rename(target.with_name(f".{target.name}.replaced-0123456789abcdef"))
    code, _, err = run("--from", remote, "--to", target)
    assert (code, "it is not empty" in err) == (2, True)
    assert state(target) == before
    shutil.copytree(target, target.with_name(f".{target.name}.replaced-0123456789abcdef"))
    assert run("--from", remote, "--to", target, "--overwrite")[0] == 0
    assert without_record(state(target)) == state(tree)
    assert list(target.parent.iterdir()) == [target]


def test_a_living_restore_is_not_swept_away(tree, remote, target):
    with placing.Workplace(target) as work:
        (work.tree / "file").write_text("being written")
        placing.sweep(target)
        assert (work.tree / "file").exists()
    assert list(target.parent.iterdir()) == []


def test_only_names_of_its_own_are_swept(target):
    others = [
        f".{target.name}.restoring-mine",
        ".other.restoring-0123456789abcdef",
        f"{target.name}.restoring-0123456789abcdef",
    ]
    for name in others:
        target.with_name(name).mkdir()
    target.with_name(f".{target.name}.restoring-0123456789abcdef").write_text("a file, no folder")
    target.with_name(f".{target.name}.restoring-0123456789abcde0").mkdir()
    placing.sweep(target)
    left = sorted(path.name for path in target.parent.iterdir())
    assert left == sorted([*others, f".{target.name}.restoring-0123456789abcdef"])


def test_two_restores_to_one_folder_at_once_leave_one_tree(tree, remote, target, tmp_path):
    """One is done, and the other refused or as well; never a mixture."""
    publish(tree, remote)
    program = "from pytest_marketreplay.cli import main; main()"
    command = [sys.executable, "-c", program, "restore", "--from", str(remote), "--to", str(target)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    codes = sorted((each.communicate(timeout=60), each.returncode)[1] for each in both)
    assert codes[0] == 0
    assert codes[1] in (2, 3)
    assert survey(target) == survey(tree)
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("stood", [False, True])
def test_a_target_that_fills_meanwhile_is_refused(tree, remote, target, run, monkeypatch, stood):
    publish(tree, remote)
    if stood:
        target.mkdir()
    real = placing.sync

    def filled(folder: Path) -> None:
        real(folder)
        target.mkdir(exist_ok=True)
        (target / "mine").touch()

    monkeypatch.setattr(placing, "sync", filled)
    code, _, err = run("--from", remote, "--to", target)
    assert code == 2
    assert "somebody else filled it meanwhile. Look at it, and restore again" in err
    assert [path.name for path in target.iterdir()] == ["mine"]


def test_a_sweep_in_the_moment_a_restore_begins_makes_it_busy(tree, remote, target, run, monkeypatch):
    publish(tree, remote)
    for moment in ("before it is open", "before it is locked"):
        real = placing.open_folder

        def swept(path: Path, real=real, moment=moment) -> int:
            if not path.name.startswith(".tree.restoring-"):
                return real(path)
            if moment == "before it is open":
                path.rmdir()
            opened = real(path)
            path.rmdir()
            return opened

        with monkeypatch.context() as patched:
            patched.setattr(placing, "open_folder", swept)
            code, _, err = run("--from", remote, "--to", target)
        assert (code, "begins in this moment; restore again" in err) == (3, True)
        assert list(target.parent.iterdir()) == []


def test_what_cannot_be_removed_is_told_and_the_restore_is_done(tree, remote, target, run, monkeypatch):
    publish(tree, remote)
    make_tree(target, seed=2)

    def refuses(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", refuses)
        code, _, err = run("--from", remote, "--to", target, "--overwrite")
    assert code == 0
    assert re.search(r"could not be removed, remove it by hand: .*/\.tree\.restoring-[0-9a-f]{16}\n", err)
    assert survey(target) == survey(tree)


def test_renames_without_the_kernels_help(tmp_path, monkeypatch):
    """A C library without renameat2; a rename that fails; one that another was faster for."""
    (tmp_path / "new").mkdir()
    with pytest.raises(FileNotFoundError):
        exchanging.exchange(tmp_path / "new", tmp_path / "missing")
    with monkeypatch.context() as patched:  # as some file systems answer
        patched.setattr(exchanging.ctypes, "CDLL", lambda *_, **__: SimpleNamespace(renameat2=lambda *_: -1))
        patched.setattr(exchanging.ctypes, "get_errno", lambda: errno.EINVAL)
        assert exchanging.exchange(tmp_path / "new", tmp_path / "new") is False
    monkeypatch.setattr(exchanging.ctypes, "CDLL", lambda *_, **__: object())
    assert exchanging.exchange(tmp_path / "new", tmp_path / "new") is False
    exchanging.rename_new(tmp_path / "new", tmp_path / "target")
    (tmp_path / "new").mkdir()
    with pytest.raises(FileExistsError):
        exchanging.rename_new(tmp_path / "new", tmp_path / "target")


def test_the_second_of_two_renames_that_fails_is_taken_back(tree, target, monkeypatch):
    make_tree(target, seed=2)
    before = state(target)
    monkeypatch.setattr(exchanging, "exchange", lambda *_: False)
    real = os.rename

    def fails(source: Path, to: Path) -> None:
        if Path(source).name == "tree" and to == target and Path(source).parent != target.parent:
            raise OSError(errno.EIO, "Input/output error")
        real(source, to)

    monkeypatch.setattr(os, "rename", fails)
    with pytest.raises(OSError, match="Input/output error"), placing.Workplace(target) as work:
        work.publish(placing.Standing.FULL)
    assert state(target) == before
    assert list(target.parent.iterdir()) == [target]


def test_ctrl_c_leaves_the_target_as_it_was(tree, remote, target, monkeypatch, run):
    publish(tree, remote)
    real = placing.sync

    def interrupted(folder: Path) -> None:
        real(folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(placing, "sync", interrupted)
    assert run("--from", remote, "--to", target)[0] == 1
    assert list(target.parent.iterdir()) == []
