"""Backups: documents of every kind, and what a remote has of them."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from pathlib import Path

import msgspec
import pytest
from doctor_parts import DAY_S, Doctor, age, capture, items

from pytest_marketreplay.archive.backup import Backup
from pytest_marketreplay.archive.naming import SnapshotName
from pytest_marketreplay.archive.rclone import RcloneRemote
from pytest_marketreplay.archive.remote import Listed, Remote
from pytest_marketreplay.doctor import Health, Limits, examine
from pytest_marketreplay.errors import UsageMistake

HOUR_MS = 3_600_000


class Backups:
    """A tree with one backup in a folder, made as `marketreplay backup run` makes it."""

    def __init__(self, tmp_path: Path) -> None:
        self.doctor = Doctor(tmp_path)
        self.tree = tmp_path / "captures"
        self.place = tmp_path / "backups"
        capture(self.tree, items(0, 3))
        self.place.mkdir()
        self.remote = RcloneRemote(str(self.place))
        self.backup = Backup(self.remote, "prod", self.tree, state_dir=self.doctor.state_dir)
        self.name = self.backup.run().name
        self._kept = [
            shutil.copytree(each, tmp_path / "kept" / each.name) for each in (self.place, self.doctor.state_dir)
        ]

    def anew(self) -> Backups:
        """Put everything back as the backup left it; a state's name depends on the place, so that it stays the same."""
        for kept, there in zip(self._kept, (self.place, self.doctor.state_dir), strict=True):
            shutil.rmtree(there)
            shutil.copytree(kept, there)
        return self

    def look(self, remote: Remote | str | None = None, label: str = "prod", **more: object) -> Health:
        """Examine with the remote."""
        limits = Limits(min_free_share=0.0, **more)  # type: ignore[arg-type]
        return examine(state_dir=self.doctor.state_dir, remote=remote or self.remote, label=label, limits=limits)

    def change(self, **fields: object) -> None:
        """Change what the document says."""
        state = self.backup.document.load()
        assert state is not None
        self.backup.document.save(msgspec.structs.replace(state, **fields))

    def copy(self, **parts: object) -> Path:
        """Put a snapshot of another name beside the one there is."""
        path = self.place / self.name._replace(**parts).file  # type: ignore[arg-type]
        path.write_bytes((self.place / self.name.file).read_bytes())
        return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Backups:
    return Backups(tmp_path_factory.mktemp("backups"))


@pytest.fixture
def backups(made: Backups) -> Backups:
    return made.anew()


def test_a_fresh_backup_has_no_finding_with_the_remote_and_without(backups: Backups) -> None:
    assert backups.doctor.codes(backups.tree) == set()
    health = backups.look(str(backups.place))
    assert health.counts == {}
    (told,) = health.backups
    assert (told.label, told.snapshots, told.failures) == ("prod", 1, 0)
    assert told.last_verified_ms is not None
    backups.copy(label="staging")  # another's: nothing of ours
    assert backups.look().counts == {}


def test_backups_that_are_old_unverified_or_failing_are_told(backups: Backups) -> None:
    now_ms = int(time.time() * 1000)
    backups.change(last_backup_ms=now_ms - 49 * HOUR_MS)
    assert backups.doctor.codes() == {"backup-old"}
    assert backups.doctor.codes(max_backup_age_s=3.0 * DAY_S) == set()
    backups.change(last_backup_ms=now_ms, verified={"a": now_ms - 15 * 24 * HOUR_MS})
    assert backups.doctor.codes() == {"backup-unverified"}
    backups.change(verified={})
    assert backups.doctor.codes() == {"backup-unverified"}
    backups.change(verified={"a": now_ms}, failures=1, last_error="password=hunter2secret")
    assert backups.doctor.look().counts == {"backup-failing": {"warning": 1}}
    assert "hunter2" not in str(backups.doctor.look())
    backups.change(failures=3)
    assert backups.doctor.look().counts == {"backup-failing": {"error": 1}}
    backups.change(failures=0, last_backup_ms=None)
    assert backups.doctor.codes() == {"backup-never"}


def test_a_remote_without_snapshots_of_the_label_is_told(backups: Backups) -> None:
    assert set(backups.look(label="other").counts) == {"backup-never"}
    (backups.place / backups.name.file).unlink()
    assert set(backups.look().counts) == {"backup-never", "snapshot-missing"}


def test_a_lost_document_is_made_up_for_by_the_names(backups: Backups) -> None:
    backups.backup.document.remove()
    assert set(backups.look().counts) == {"backup-unverified"}
    backups.place.joinpath(backups.name.file).rename(
        backups.place / backups.name._replace(created_s=backups.name.created_s - 3 * DAY_S).file
    )
    assert set(backups.look().counts) == {"backup-unverified", "backup-old"}


def test_a_snapshot_of_another_size_is_told(backups: Backups) -> None:
    with (backups.place / backups.name.file).open("ab") as file:
        file.write(b"x")
    assert set(backups.look().counts) == {"snapshot-size"}


def test_names_of_the_future_parts_and_foreign_files_are_told(backups: Backups) -> None:
    backups.copy(created_s=int(time.time()) + 3600)
    assert set(backups.look().counts) == {"snapshot-future"}
    for path in backups.place.iterdir():
        if path.name != backups.name.file:
            path.unlink()
    (backups.place / backups.name.part()).write_bytes(b"x")  # it may be an upload that goes on
    assert backups.look().counts == {}
    old = backups.name._replace(created_s=backups.name.created_s - 2 * DAY_S)
    (backups.place / old.part()).write_bytes(b"x")
    (backups.place / old._replace(label="other").part()).write_bytes(b"x")
    assert backups.look().counts == {"part-orphaned": {"warning": 1}}
    (backups.place / "holiday.jpg").write_bytes(b"x")
    assert backups.look().counts == {"part-orphaned": {"warning": 1}, "foreign-file": {"note": 1}}


def test_a_name_that_is_there_twice_is_told(backups: Backups) -> None:
    class Drive:
        """Google Drive lists a name as often as it is there; no remote that can be had here does."""

        name = backups.remote.name

        def list(self) -> list[Listed]:
            return backups.remote.list() * 2

    found = backups.look(Drive())  # type: ignore[arg-type]
    assert found.counts == {"snapshot-duplicate": {"warning": 1}}


def test_a_remote_that_cannot_be_reached_is_told(backups: Backups) -> None:
    remote = RcloneRemote(":webdav,url='http://127.0.0.1:9/':backups", tries=1, timeout_s=5)
    health = backups.look(remote)
    assert set(health.counts) == {"remote-failed", "backup-never"}


def test_remote_and_label_go_together(tmp_path: Path) -> None:
    with pytest.raises(UsageMistake, match="go together"):
        examine(state_dir=tmp_path, label="a")
    with pytest.raises(UsageMistake, match="the label is"):
        examine(state_dir=tmp_path, label="-", remote=str(tmp_path))


def test_documents_of_backups_are_mended_unless_one_runs(backups: Backups) -> None:
    path = backups.backup.path
    path.write_bytes(b"nonsense")
    fd = os.open(path.with_name(path.name + ".lock"), os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    found = [each for each in backups.doctor.look(fix=True).findings if each.code == "document-damaged"]
    assert "a backup runs" in found[0].what
    os.close(fd)
    backups.doctor.mends("document-damaged")


def test_permissions_leftovers_and_the_keys_of_remotes_are_looked_at(
    backups: Backups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = backups.backup.path
    path.chmod(0o644)
    left = path.with_name(f".{path.name}.0123456789abcdef.tmp")
    left.write_bytes(b"{")
    age(left, 2 * DAY_S)
    work = path.with_name(path.name + ".work")
    work.mkdir(mode=0o700)
    age(work, 2 * DAY_S)
    health = backups.doctor.mends("permission")
    assert health.counts == {"leftover": {"warning": 1}}
    assert not left.exists()
    work.rmdir()
    keys = tmp_path / "rclone.conf"
    keys.write_text("[remote]\n")
    keys.chmod(0o640)
    monkeypatch.setenv("RCLONE_CONFIG", str(keys))
    assert backups.look().counts == {"permission": {"warning": 1}}
    keys.chmod(0o600)
    assert backups.look().counts == {}


def test_a_name_is_what_the_tests_take_it_for() -> None:
    assert SnapshotName(0, "a", "b", "c").file.startswith("a-19700101T000000Z-")
