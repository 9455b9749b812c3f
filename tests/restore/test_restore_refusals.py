"""What a restore refuses, and that nothing is touched then."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import restore_lab
from restore_lab import make_tree, publish, state, without_record

from pytest_marketreplay.archive import holding, placing
from pytest_marketreplay.archive.packing import survey
from pytest_marketreplay.archive.rclone import RcloneRemote
from pytest_marketreplay.archive.remote import Listed
from pytest_marketreplay.archive.restore import Wanted, restore
from pytest_marketreplay.archive.restored import FILE
from pytest_marketreplay.errors import ArchiveError
from pytest_marketreplay.sinks.local import LocalSink


@pytest.fixture
def full(target: Path) -> Path:
    """A target with another tree, a link and a hidden file in it."""
    make_tree(target, seed=5)
    (target / ".gitkeep").touch()
    (target / "link").symlink_to("/nowhere")
    return target


def test_a_folder_that_is_not_empty_is_refused(tree, remote, full, run):
    publish(tree, remote)
    before = state(full.parent)
    code, out, err = run("--from", remote, "--to", full)
    assert (code, out) == (2, "")
    assert err == (
        f"marketreplay: nothing is restored to {full}: it is not empty. Add --merge to keep what is there, --overwrite to "
        "replace it, or name another folder\n"
    )
    assert state(full.parent) == before


def test_an_empty_folder_is_filled(tree, remote, target, run):
    publish(tree, remote)
    target.mkdir()
    assert run("--from", remote, "--to", target)[0] == 0
    assert survey(target) == survey(tree)


def test_overwrite_replaces_everything(tree, remote, full, run):
    publish(tree, remote)
    assert run("--from", remote, "--to", full, "--overwrite")[0] == 0
    assert without_record(state(full)) == state(tree)
    assert list(full.parent.iterdir()) == [full]


@pytest.mark.parametrize("flags", [[], ["--overwrite"], ["--merge"], ["--dry-run", "--overwrite"]])
def test_a_tree_that_a_collector_writes_is_refused(tree, remote, full, run, flags):
    publish(tree, remote)
    sink = LocalSink(full)
    sink.open()
    before = state(full.parent)
    try:
        code, out, err = run("--from", remote, "--to", full, *flags)
    finally:
        sink.close()
    assert (code, out) == (3, "")
    assert f"{full} is being written, by a collector or another restore" in err
    assert state(full.parent) == before
    assert run("--from", remote, "--to", full, "--overwrite")[0] == 0


@pytest.mark.parametrize("where", ["above", "below"])
def test_a_collector_above_or_below_is_found_too(tree, remote, full, run, where, monkeypatch):
    monkeypatch.setattr(holding, "_PAUSE_S", 0.001)
    publish(tree, remote)
    sink = LocalSink(full.parent if where == "above" else full / "binance")
    sink.open()
    try:
        assert run("--from", remote, "--to", full, "--overwrite")[0] == 3
    finally:
        sink.close()


@pytest.mark.parametrize(
    ("where", "why"),
    [
        (".", "the current folder"),
        ("..", "the current folder"),
        ("~", "your home"),
        ("file", "it is no folder"),
        ("/proc", "a mount point"),
    ],
)
def test_what_cannot_be_replaced_is_refused(tree, remote, tmp_path, run, where, why, monkeypatch):
    publish(tree, remote)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "file").write_text("mine")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    code, _, err = run("--from", remote, "--to", tmp_path / "home" if where == "~" else where, "--overwrite")
    assert code == 2
    assert why in err
    assert (tmp_path / "here" / "file").read_text() == "mine"


def test_a_damaged_archive_is_refused_whichever_bit_is_flipped(tree, remote, full, run):
    name = publish(tree, remote)
    path = remote / name.file
    whole = path.read_bytes()
    before = state(full.parent)
    for offset in (0, 40, len(whole) // 3, len(whole) // 2, len(whole) - 200, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[offset] ^= 1
        path.write_bytes(damaged)
        code, out, err = run("--from", remote, "--to", full, "--overwrite")
        assert (code, out) == (1, "")
        assert "it was damaged or replaced. Nothing of this archive is used; take another snapshot" in err
        assert state(full.parent) == before
    assert run("--from", remote, "--verify-only")[0] == 1


@pytest.mark.parametrize("left", [0, 1, 100, -1])
def test_a_cut_archive_is_refused(tree, remote, full, run, left):
    name = publish(tree, remote)
    path = remote / name.file
    path.write_bytes(path.read_bytes()[:left])
    before = state(full.parent)
    for flags in (["--overwrite"], ["--overwrite", "--venue", "kraken"]):
        assert run("--from", remote, "--to", full, *flags)[0] == 1
        assert state(full.parent) == before
    assert run("--from", remote, "--verify-only")[0] == 1


def test_another_archive_under_its_name_is_refused(tree, remote, tmp_path, target, run):
    name = publish(tree, remote)
    other = publish(make_tree(tmp_path / "other", seed=9), tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / other.file).rename(remote / name.file)
    for flags in ([], ["--venue", "kraken"], ["--verify-only"]):
        assert run("--from", remote, "--to", target, *flags)[0] == 1
    assert not target.exists()


# ---------------------------------------------------------------- merging


def test_merge_adds_what_is_missing_and_keeps_the_rest(tree, remote, target, run):
    publish(tree, remote)
    make_tree(target)
    (target / ".gitkeep").touch()
    (target / "mine").mkdir(mode=0o700)
    (target / "mine" / "notes.txt").write_text("by hand")
    (target / "link").symlink_to("/nowhere")
    (target / "kraken" / "public_Depth" / "BTC-USD" / "2025-11-28T08-00-00.jsonl").unlink()
    before = state(target)
    inode = (target / "mine" / "notes.txt").stat().st_ino
    code, out, _ = run("--from", remote, "--to", target, "--merge")
    assert code == 0
    assert "3 files were there already, 0 with other bytes" in out
    after = without_record(state(target))
    assert {path: what for path, what in after.items() if path in before} == before
    assert after.keys() - before.keys() == {"kraken/public_Depth/BTC-USD/2025-11-28T08-00-00.jsonl"}
    assert (target / "mine" / "notes.txt").stat().st_ino == inode, "files that stay are not copied"
    assert (target / "mine" / "notes.txt").stat().st_nlink == 1
    assert list(target.parent.iterdir()) == [target]


def test_merge_refuses_a_file_with_other_bytes_unless_it_may_overwrite(tree, remote, full, run):
    publish(tree, remote)
    before = state(full.parent)
    code, _, err = run("--from", remote, "--to", full, "--merge")
    assert code == 2
    assert "4 of its files are there with other bytes: binance/api_v3_depth/BTCUSDT/2025-11-28T08-00-00.jsonl, " in err
    assert "and 1 more. Add --overwrite to --merge" in err
    assert state(full.parent) == before
    code, out, _ = run("--from", remote, "--to", full, "--merge", "--overwrite")
    assert code == 0
    assert "0 files were there already, 4 with other bytes" in out
    assert {path.name for path in full.iterdir()} == {"binance", "kraken", ".gitkeep", "link", FILE}
    assert restore_lab.contents(full) == restore_lab.contents(tree)


@pytest.mark.parametrize(
    "what", ["link to a folder", "dangling link", "file for a folder", "folder for a file", "pipe"]
)
def test_merge_never_goes_through_what_is_no_plain_file_or_folder(tree, remote, target, tmp_path, run, what):
    publish(tree, remote)
    make_tree(target)
    outside = tmp_path / "outside"
    outside.mkdir()
    file = target / "kraken" / "public_Depth" / "BTC-USD" / "2025-11-28T08-00-00.jsonl"
    file.unlink()
    if what == "link to a folder":
        file.parent.rmdir()
        file.parent.symlink_to(outside)
    elif what == "dangling link":
        file.symlink_to(outside / "file")
    elif what == "file for a folder":
        file.parent.rmdir()
        file.parent.parent.rmdir()
        file.parent.parent.write_text("x")
    elif what == "folder for a file":
        file.mkdir()
    else:
        os.mkfifo(file)
    before = state(tmp_path / "place") if what != "pipe" else None
    for flags in (["--merge"], ["--merge", "--overwrite"]):
        code, _, err = run("--from", remote, "--to", target, *flags)
        assert code == 2
        assert (
            "what stands there is no plain file or folder at kraken/public_Depth/BTC-USD/2025-11-28T08-00-00.jsonl"
            in err
        )
    assert list(outside.iterdir()) == []
    if before is not None:
        assert state(tmp_path / "place") == before


def test_merge_into_nothing_is_a_plain_restore(tree, remote, target, run):
    publish(tree, remote)
    assert run("--from", remote, "--to", target, "--merge")[0] == 0
    assert survey(target) == survey(tree)


# ---------------------------------------------------------------- room


def test_room_is_looked_for_before_anything_is_downloaded(tree, remote, target, run, monkeypatch):
    """The disk tells how much is free by `statvfs`; one that is nearly full cannot be had without mounting."""
    name = publish(tree, remote)
    size, unpacked = (remote / name.file).stat().st_size, restore_lab.manifest_of(tree).size_bytes
    real = os.statvfs(target.parent)

    def nearly_full(free: int) -> None:
        fields = list(real)
        fields[0:2], fields[4] = [1, 1], free
        monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))

    nearly_full(size + unpacked - 1)
    for flags in ([], ["--dry-run"]):
        code, _, err = run("--from", remote, "--to", target, *flags)
        assert code == 1
        assert f"that needs {size + unpacked} bytes, and {size + unpacked - 1} are free there" in err
    assert list(target.parent.iterdir()) == []
    nearly_full(size + unpacked)
    assert run("--from", remote, "--to", target)[0] == 0


def test_a_part_needs_room_for_that_part_alone(tree, remote, target, run, monkeypatch):
    publish(tree, remote)
    wanted = sum(each.size for each in survey(tree).members if each.path.startswith("kraken"))
    fields = list(os.statvfs(target.parent))
    fields[0:2], fields[4] = [1, 1], wanted
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))
    assert run("--from", remote, "--to", target, "--venue", "kraken")[0] == 0


def test_a_disk_that_is_full_in_the_end_leaves_the_target_as_it_was(tree, remote, tmp_path, run, monkeypatch):
    """A tmpfs of 2 MiB, and a check for room that saw more."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here: that needs root")
    try:
        restore_lab.noise(tree / "binance" / "api_v3_depth" / "BTCUSDT" / "noise.jsonl", 1_500_000)
        publish(tree, remote)
        make_tree(small / "tree", seed=4)
        before = state(small)
        code, _, err = run("--from", remote, "--to", small / "tree", "--overwrite")
        assert code == 1
        assert "are free there" in err
        monkeypatch.setattr(placing, "free_bytes", lambda _: 1 << 40)
        code, _, err = run("--from", remote, "--to", small / "tree", "--overwrite")
        assert code == 1
        assert "No space left on device" in err
        assert state(small) == before
    finally:
        subprocess.run(["umount", str(small)], check=True)


# ---------------------------------------------------------------- looking only


def test_a_dry_run_and_a_check_write_nothing(tree, remote, full, run, tmp_path):
    name = publish(tree, remote)
    before = state(tmp_path)
    code, out, _ = run("--from", remote, "--to", full, "--dry-run", "--overwrite", "--json")
    assert code == 0
    said = json.loads(out)
    assert (said["action"], said["files"], said["snapshot"]) == ("planned", 4, name.file)
    code, out, _ = run("--from", remote, "--to", full, "--dry-run", "--merge")
    assert code == 2, "a dry run refuses what the run would"
    code, out, _ = run("--from", remote, "--to", full.with_name("new"), "--dry-run")
    assert (code, out.startswith(f"would restore {name.file} to ")) == (0, True)
    assert run("--from", remote, "--verify-only")[0] == 0
    assert state(tmp_path) == before


def test_a_target_and_one_snapshot_are_to_be_said(tree, remote, target, run):
    name = publish(tree, remote)
    for arguments, said in (
        ((), "say where to restore to with --to DIR"),
        (("--to", target, name.file, "--at", "2026-01-01"), "say two things"),
        (("--to", target, name.file, "--snapshot", "latest"), "are both given"),
        (("--to", target, "--at", "yesterday"), "--at is 'yesterday'; it can be an ISO time"),
    ):
        code, _, err = run("--from", remote, *arguments)
        assert (code, said in err) == (2, True), err


def test_a_target_that_another_restore_replaces_in_this_moment_is_busy(tree, remote, full, run, monkeypatch):
    publish(tree, remote)
    real = fcntl.flock
    old = full.with_name("old")

    def replaced(folder: int, how: int) -> None:
        if not old.exists():
            full.rename(old)
            if how_many == 2:
                full.mkdir()
        real(folder, how)

    for how_many in (1, 2):
        with monkeypatch.context() as patched:
            patched.setattr(fcntl, "flock", replaced)
            code, _, err = run("--from", remote, "--to", full, "--overwrite")
        assert (code, "was replaced by another restore in this moment" in err) == (3, True)
        if full.exists():
            full.rmdir()
        old.rename(full)


def test_a_file_system_without_locks_is_taken_to_be_ours(tree, remote, full, run, monkeypatch):
    """Network file systems; none is here."""

    def refuses(folder: int, how: int) -> None:
        raise OSError(95, "Operation not supported")

    publish(tree, remote)
    monkeypatch.setattr(fcntl, "flock", refuses)
    assert run("--from", remote, "--to", full, "--overwrite")[0] == 0
    assert survey(full) == survey(tree)


# ---------------------------------------------------------------- rights


@pytest.fixture
def nobody() -> Iterator[None]:
    """Be a user without rights for a while; root may read and write everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.fixture
def locked(tree: Path, remote: Path, target: Path, tmp_path: Path) -> Path:
    """A target whose folder above cannot be written, with a folder in it that cannot be read."""
    publish(tree, remote)
    make_tree(target, seed=5)
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chmod(path, 0o755 if path.is_dir() else 0o644)
        os.chown(path, 65534, 65534)
    for above in tmp_path.parents[:3]:
        os.chmod(above, above.stat().st_mode | 0o055)
    return target


def test_a_place_that_cannot_be_written_is_told(locked, remote, request, monkeypatch):
    """As a user without rights; rclone is not asked to run as that one."""
    place = RcloneRemote(str(remote))
    monkeypatch.setattr(place, "list", lambda: [Listed(each.name, each.stat().st_size) for each in remote.iterdir()])
    monkeypatch.setattr(place, "read", lambda file, offset, count: (remote / file).read_bytes()[offset:][:count])
    os.chmod(locked.parent, 0o555)
    before = state(locked.parent)
    request.getfixturevalue("nobody")
    with pytest.raises(ArchiveError, match=r"which is as it was: .*Permission denied.*Make room or grant access"):
        restore(place, locked, Wanted(overwrite=True))
    os.chmod(locked / "kraken", 0)
    with pytest.raises(ArchiveError, match=r"kraken cannot be read: .*Permission denied"):
        restore(place, locked, Wanted(overwrite=True))
    os.chmod(locked / "kraken", 0o755)
    assert state(locked.parent) == before


def test_two_looks_at_one_folder_in_the_same_moment_do_not_disturb_each_other(tree, remote, target, run, monkeypatch):
    """The folder above is locked by another restore that looks at it, and free a little later."""
    publish(tree, remote)
    other = os.open(target.parent, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    monkeypatch.setattr(holding.time, "sleep", lambda _: fcntl.flock(other, fcntl.LOCK_UN))
    assert run("--from", remote, "--to", target)[0] == 0
    os.close(other)
