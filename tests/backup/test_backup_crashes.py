"""B1 and B7: killed at whatever step, a backup leaves only whole snapshots, and the next one begins at once and ends well."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import places
import pytest
from doubles import FolderRemote, Killed, Wall, assert_whole, snapshots
from places import Where

from pytest_marketreplay.archive import backup as backups
from pytest_marketreplay.archive.backup import Backup
from pytest_marketreplay.documents import Document
from pytest_marketreplay.errors import Busy

LABEL = "host-captures"
KEEP = 3


class Points:
    """Counts the steps of a backup, before and after each, and ends the process at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, remote: FolderRemote, at: int) -> None:
        self.seen: list[str] = []
        self.at, self.remote, self.on = at, remote, True
        remote.before = lambda operation, file: self.point(f"before {operation}")
        remote.after = lambda operation, file: self.point(f"after {operation}")
        save, pack, remove = Document.save, backups.pack, backups.shutil.rmtree

        def saving(document: Document[object], value: object) -> None:
            self.point("before save")
            save(document, value)  # type: ignore[arg-type]
            self.point("after save")

        def packing(*args: object, **more: object) -> object:
            self.point("before pack")
            made = pack(*args, **more)  # type: ignore[arg-type]
            self.point("after pack")
            return made

        def removing(*args: object, **more: object) -> None:
            if not self.dead:  # a killed process tidies nothing up
                self.point("before tidying")
                remove(*args, **more)  # type: ignore[arg-type]

        self.dead = False
        monkeypatch.setattr(Document, "save", saving)
        monkeypatch.setattr(backups, "pack", packing)
        monkeypatch.setattr(backups.shutil, "rmtree", removing)

    def point(self, name: str) -> None:
        if not self.on:
            return
        assert_whole(self.remote.folder)
        self.seen.append(name)
        if len(self.seen) == self.at:
            self.dead = True
            raise Killed(name)


def steps_of(folder: Path, tree: Path, at: int) -> tuple[Points, list[str], list[str]]:
    """Run a backup that is killed at a step, then one that is not; return the steps and the snapshots before and after."""
    with pytest.MonkeyPatch.context() as patch:
        clock = Wall(patch)
        patch.setattr("os.fsync", lambda file: None)  # a killed process is not a power cut
        remote = FolderRemote(folder / "remote")
        made = Backup(remote, LABEL, tree, keep=KEEP, state_dir=folder / "state")
        for _ in range(KEEP):
            made.run()
            clock.go(86_400)
        before = snapshots(remote.folder)
        points = Points(patch, remote, at)
        try:
            made.run()
        except Killed:
            pass
        points.on = False
        points.dead = False
        assert_whole(remote.folder)
        assert len(snapshots(remote.folder)) >= KEEP
        assert set(before[1:]) <= set(snapshots(remote.folder))  # only the oldest may be gone
        clock.go(86_400 + 1)
        made.run()
        assert_whole(remote.folder)
        after = snapshots(remote.folder)
        clock.go(86_400 + 1)
        made.run()
        left = [path.name for path in remote.folder.iterdir() if path.name not in snapshots(remote.folder)]
        assert left == []  # parts of killed runs too
        assert not list((folder / "state" / "backups").glob("*.work"))
    return points, before, after


def test_a_backup_killed_at_every_step_leaves_whole_snapshots_and_the_next_converges(
    tmp_path: Path, tree: Path
) -> None:
    points, _, _ = steps_of(tmp_path / "whole", tree, 0)
    assert {"before upload", "before upload half", "after move", "before delete", "after save", "after pack"} <= set(
        points.seen
    )
    for at in range(1, len(points.seen) + 1):
        killed, before, after = steps_of(tmp_path / str(at), tree, at)
        assert killed.seen == points.seen[:at]
        assert len(after) == KEEP, killed.seen[-1]
        assert after[-1] not in before


WRAPPER = """#!{python}
import os, signal, sys
count = {folder!r} + "/count"
number = int(open(count).read()) + 1 if os.path.exists(count) else 1
open(count, "w").write(str(number))
with open({folder!r} + "/calls", "a") as calls:
    calls.write(sys.argv[1] + "\\n")
at, when = int(os.environ["KILL_AT"]), os.environ["KILL_WHEN"]
if number == at and when == "before":
    os.kill(os.getppid(), signal.SIGKILL)
    sys.exit(1)
if number == at and when == "after":
    import subprocess
    subprocess.run([{rclone!r}, *sys.argv[1:]])
    os.kill(os.getppid(), signal.SIGKILL)
    sys.exit(1)
os.execv({rclone!r}, [{rclone!r}, *sys.argv[1:]])
"""


def wrapped(folder: Path) -> Path:
    """Return a folder with an `rclone` that kills the process that started it, at one of its calls."""
    folder.mkdir()
    program = folder / "rclone"
    program.write_text(WRAPPER.format(python=sys.executable, folder=str(folder), rclone=places.PROGRAMS[places.NEWEST]))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from pytest_marketreplay.cli import main; main()", "backup", *arguments]


def a_killed_process(where: Where, tree: Path, state: Path, folder: Path, at: int, when: str) -> bool:
    """Run a backup whose rclone kills it at a call; return whether it was killed, after all checks."""
    tools = wrapped(folder)
    environment = os.environ | {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "KILL_AT": str(at),
        "KILL_WHEN": when,
    }
    run = [*command("run", str(tree), "--to", where.spec, "--label", LABEL, "--state-dir", str(state), "--keep", "1")]
    ended = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode in (-signal.SIGKILL, 0), ended.stderr
    if where.folder.exists():
        assert_whole(where.folder)
    return ended.returncode != 0


@pytest.mark.slow
@pytest.mark.parametrize("place", ["dav", "bucket", "a_folder"])
def test_a_process_killed_at_every_call_of_rclone_leaves_whole_snapshots(
    place: str, request: pytest.FixtureRequest, tmp_path: Path, tree: Path
) -> None:
    where: Where = request.getfixturevalue(place)
    state = tmp_path / "state"
    for when in ("before", "after"):
        at = 1
        while a_killed_process(where, tree, state, tmp_path / f"{when}-{at}", at, when):
            at += 1
        assert at > 10
        assert len(snapshots(where.folder)) == 2  # --keep-min stays 2


def test_a_process_killed_after_its_upload_leaves_no_snapshot_and_no_lock(
    a_folder: Where, tmp_path: Path, tree: Path
) -> None:
    state = tmp_path / "state"
    assert a_killed_process(a_folder, tree, state, tmp_path / "first", 3, "after")
    assert snapshots(a_folder.folder) == []
    assert len(list(a_folder.folder.iterdir())) == 1
    assert not a_killed_process(a_folder, tree, state, tmp_path / "second", 0, "never")
    assert len(snapshots(a_folder.folder)) == 1


HOLD = """#!{python}
import sys, time
open({folder!r} + "/started", "w").close()
time.sleep(60)
"""


def test_a_second_backup_is_busy_and_after_a_kill_the_next_starts_at_once(
    a_folder: Where, tmp_path: Path, tree: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "rclone").write_text(HOLD.format(python=sys.executable, folder=str(tools)))
    (tools / "rclone").chmod(0o755)
    run = command("run", str(tree), "--to", a_folder.spec, "--label", LABEL, "--state-dir", str(tmp_path / "state"))
    holder = subprocess.Popen(
        run, env=os.environ | {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}, start_new_session=True
    )
    try:
        until = time.monotonic() + 20
        while not (tools / "started").exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        second = subprocess.run(run, capture_output=True, text=True, timeout=30)
        assert second.returncode == 3
        assert "another process is at the backups of host-captures" in second.stderr
        assert len(second.stderr.splitlines()) == 1
        holder.kill()
        holder.wait()
        third = subprocess.run(run, capture_output=True, text=True, timeout=30)
        assert third.returncode == 0, third.stderr
    finally:
        os.killpg(holder.pid, signal.SIGKILL)  # its rclone, which outlives it
        holder.wait()


def test_the_same_process_is_busy_with_itself(tmp_path: Path, tree: Path) -> None:
    made = Backup(FolderRemote(tmp_path / "remote"), LABEL, tree, state_dir=tmp_path / "state")
    with made._locked():
        for ask in (made.run, made.prune, lambda: made.verify([])):
            with pytest.raises(Busy):
                ask()
    made.run()
