"""B2: whatever is wrong with a remote, no success is claimed, nothing is deleted, and one line says what to do, in time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import places
import pytest
from doubles import FolderRemote, Wall, assert_whole, snapshots
from places import use

from pytest_marketreplay.archive import retention
from pytest_marketreplay.archive.backup import Backup
from pytest_marketreplay.archive.naming import read_name
from pytest_marketreplay.archive.rclone import RcloneRemote
from pytest_marketreplay.archive.rclone_errors import judge
from pytest_marketreplay.archive.rclone_process import Ended, run
from pytest_marketreplay.archive.remote import Listed
from pytest_marketreplay.errors import RemoteError

DAY_S = 24 * 3600


class Stage:
    """A label with snapshots on a WebDAV server behind a proxy, one more than `keep`: the next backup would delete one."""

    def __init__(self, server: places.Server, proxy: places.Proxy, folder: Path, tree: Path, clock: Wall) -> None:
        self.server, self.proxy, self.clock = server, proxy, clock
        self.pauses: list[float] = []
        self.remote = RcloneRemote("dav:here", timeout_s=5, tries=2, pause=self.pauses.append)
        self.backup = Backup(self.remote, "host", tree, keep=2, keep_min=1, state_dir=folder / "state")
        self.folder = server.folder / "here"
        self.backup.remote = FolderRemote(self.folder)  # the same folder, without 50 ms for each call
        for _ in range(2):
            self.backup.run()
            clock.go(DAY_S)
        self.backup.remote = self.remote
        self.before = snapshots(self.folder)

    def fails(self, *kinds: str, do: Callable[[], object] | None = None) -> RemoteError:
        """Run a backup that has to fail in a kind; nothing may be lost, and nothing half may be listed."""
        began = time.monotonic()
        with pytest.raises(RemoteError) as error:
            (do or self.backup.run)()
        assert time.monotonic() - began < 25
        assert error.value.kind in kinds, str(error.value)
        assert "\n" not in str(error.value)
        assert set(self.before) <= set(snapshots(self.folder))
        assert_whole(self.folder)
        state = self.backup.known()
        assert state is not None
        assert state.last_error.endswith(str(error.value))
        return error.value

    def recovers(self) -> None:
        """Run a backup once all is well again."""
        self.proxy.rules.clear()
        self.clock.go(DAY_S)
        made = self.backup.run()
        assert made.name.file in snapshots(self.folder)
        assert_whole(self.folder)
        state = self.backup.known()
        assert state is not None
        assert (state.last_error, state.failures) == ("", 0)


@pytest.fixture(
    params=[
        pytest.param(version, marks=[] if version == places.NEWEST else [pytest.mark.slow])
        for version in sorted(places.PROGRAMS)
    ]
)
def stage(
    request: pytest.FixtureRequest, tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stage]:
    use(monkeypatch, tmp_path, places.PROGRAMS[request.param])
    (tmp_path / "served" / "here").mkdir(parents=True)
    server = places.webdav(tmp_path / "served")
    try:
        with places.proxied(server.port) as proxy:
            for name, value in places.webdav_environment(proxy.port).items():
                monkeypatch.setenv(name, value)
            yield Stage(server, proxy, tmp_path, tree, Wall(monkeypatch))
    finally:
        server.close()


@pytest.mark.slow
def test_an_upload_that_is_cut_truncated_or_refused_is_no_success(stage: Stage) -> None:
    stage.proxy.rules = {"PUT": ("truncate", None)}
    assert "is there something between that cuts" in str(stage.fails("lost"))
    stage.proxy.rules = {"PUT": ("cut", 0.5)}
    stage.fails("down")
    assert len(stage.pauses) == 1  # tried again after a pause
    stage.proxy.rules = {"PUT": ("status", 507)}
    assert "Make room there" in str(stage.fails("full"))
    assert snapshots(stage.folder) == stage.before
    stage.recovers()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rules", "kinds"),
    [
        ({"PUT": ("cut", 0.0)}, ("down",)),
        ({"PUT": ("cut", 0.5)}, ("down",)),
        ({"PUT": ("cut", 1.0)}, ("down",)),
        ({"PUT": ("status", 500)}, ("down",)),
        ({"PUT": ("status", 405)}, ("full",)),
        ({"PUT": ("status", 403)}, ("auth",)),
        ({"*": ("status", 401)}, ("auth",)),
        ({"*": ("status", 503)}, ("down",)),
        ({"GET": ("cut-answer", 0.0)}, ("down", "lost")),
        ({"GET": ("cut-answer", 0.5)}, ("down", "lost")),
        ({"GET": ("status", 500)}, ("down",)),
        ({"MOVE": ("status", 500)}, ("down",)),
        ({"MOVE": ("status", 423)}, ("other",)),
        ({"PROPFIND": ("status", 500)}, ("down",)),
        ({"PROPFIND": ("status", 404)}, ("lost", "missing")),
    ],
    ids=lambda value: (
        "-".join(f"{method}-{what}-{how}" for method, (what, how) in value.items()) if isinstance(value, dict) else ""
    ),
)
def test_each_failure_of_a_server_is_told_and_deletes_nothing(
    rules: dict[str, tuple[str, Any]], kinds: tuple[str, ...], stage: Stage
) -> None:
    stage.proxy.rules = dict(rules)  # `recovers` empties it, and the parameter is that of another version too
    stage.fails(*kinds)
    if "MOVE" not in rules:
        assert snapshots(stage.folder) == stage.before
    stage.recovers()


def after_the_move(proxy: places.Proxy, lose: Callable[[bytes], bytes], data: bytes) -> bytes:
    """Return a listing of a folder with files lost, once a MOVE was asked for; what is said of one file stays."""
    moved = "MOVE" in [method for method, _ in proxy.asked]
    return lose(data) if moved and data.count(b"<D:response>") > 2 else data


@pytest.mark.slow
def test_an_empty_or_partial_listing_deletes_nothing(stage: Stage) -> None:
    for lose in (places.without_files, places.half_the_files):
        # not before the snapshot is published: by listings, too, an upload is read back
        stage.proxy.asked.clear()
        stage.proxy.rules = {"PROPFIND": ("responses", partial(after_the_move, stage.proxy, lose))}
        pruned = stage.backup.run().pruned
        assert pruned.deleted == ()
        assert any("was just published" in note for note in pruned.plan.notes)
        assert set(stage.before) <= set(snapshots(stage.folder))
        stage.clock.go(DAY_S)
    assert len(snapshots(stage.folder)) == 4
    stage.proxy.rules.clear()
    assert len(stage.backup.run().pruned.deleted) == 3


def test_a_server_that_hangs_is_given_up_in_time(stage: Stage) -> None:
    stage.remote.timeout_s = 1.0
    os.kill(stage.server.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    error = stage.fails("timeout")
    assert time.monotonic() - began < 2 * 3 + 4  # tries times what rclone and the watch over it wait, and some
    assert "try again later" in str(error).lower()
    os.kill(stage.server.process.pid, signal.SIGCONT)
    stage.remote.timeout_s = 10.0
    stage.recovers()


def test_a_server_that_is_down_or_wants_another_password_is_told_in_seconds(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RCLONE_CONFIG_DAV_PASS", places.obscured("wrong"))
    stage.backup.remote = RcloneRemote("dav:here", timeout_s=5, tries=2, pause=stage.pauses.append)
    assert "Check the user, the password" in str(stage.fails("auth"))
    assert stage.pauses == []
    stage.server.close()
    monkeypatch.setenv("RCLONE_CONFIG_DAV_URL", f"http://127.0.0.1:{places.free_port()}/")
    stage.backup.remote = RcloneRemote("dav:here", timeout_s=5, tries=2)
    began = time.monotonic()
    assert "Is the server running" in str(stage.fails("down"))
    assert time.monotonic() - began < 10


@pytest.mark.slow
def test_a_disk_that_is_full_behind_a_folder_or_a_server_is_told(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("a file system that is full takes the right to mount one")
    server = places.webdav(disk)
    try:
        for name, value in places.webdav_environment(server.port).items():
            monkeypatch.setenv(name, value)
        clock = Wall(monkeypatch)
        for number, spec in enumerate((str(disk / "one"), "dav:two")):
            remote = RcloneRemote(spec, timeout_s=5, tries=1)
            (tree / "noise").unlink(missing_ok=True)
            backup = Backup(remote, "host", tree, state_dir=tmp_path / f"state{number}")
            first = backup.run().name.file
            clock.go(DAY_S)
            (tree / "noise").write_bytes(os.urandom(3_000_000))
            with pytest.raises(RemoteError) as error:
                backup.run()
            assert error.value.kind == "full", str(error.value)
            assert [each.name for each in remote.list()] == [first]
    finally:
        server.close()
        subprocess.run(["umount", disk], check=True)


# ---------------------------------------------------------------- what is said, and the process


@pytest.mark.parametrize(
    ("code", "log", "kind"),
    [
        (None, "", "timeout"),
        (1, "", "other"),
        (2, "Error: unknown flag: --use-json-log", "other"),
        (1, "Failed to create file system: didn't find section in config file", "other"),
        (1, "googleapi: Error 403: The user's Drive storage quota has been exceeded., storageQuotaExceeded", "full"),
        (1, "write /x: no space left on device", "full"),
        (1, "couldn't fetch token: invalid_grant", "auth"),
        (5, 'Put "http://h/": context deadline exceeded', "timeout"),
        (1, "dial tcp: lookup nowhere.invalid: no such host", "down"),
        (1, "NoSuchBucket: The specified bucket does not exist", "missing"),
        (1, 'Put "http://h/": set tcp 127.0.0.1:33968: use of closed network connection', "down"),
        (3, "something", "missing"),
        (-9, "", "down"),
        (1, "a hundred other things", "other"),
    ],
)
def test_what_rclone_says_is_told_apart(code: int | None, log: str, kind: str) -> None:
    assert judge(code, log).kind == kind


def test_a_server_that_refuses_an_upload_is_full_and_of_other_things_not() -> None:
    assert judge(1, "405 Method Not Allowed", uploading=True).kind == "full"
    assert judge(1, "405 Method Not Allowed").kind == "other"


def test_the_last_words_are_one_line_without_a_date() -> None:
    log = "2026/11/28 08:26:26 ERROR : x: Failed to copy: boom\n2026/11/28 08:26:27 Failed to copyto: boom\nbye"
    assert judge(1, log).reason == "Failed to copyto: boom"
    assert judge(1, "only this").reason == "only this"


def test_a_program_that_does_nothing_is_killed_and_its_log_is_kept() -> None:
    began = time.monotonic()
    ended = run(["sh", "-c", "echo plain >&2; echo 7 >&2; echo '{}' >&2; exec sleep 60"], dict(os.environ), idle_s=0.3)
    assert time.monotonic() - began < 10
    assert (ended.code, ended.log) == (None, "plain\n7")


def test_a_program_is_ended_where_what_it_says_cannot_be_taken() -> None:
    def full(chunk: bytes) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run(["sh", "-c", "echo much; exec sleep 60"], dict(os.environ), idle_s=30, take=full)


def test_progress_in_the_log_keeps_a_program_alive_and_none_does_not() -> None:
    said = 'i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo \'{"stats":{"bytes":\'$BYTES\',"totalBytes":9}}\' >&2; sleep 0.05; done'
    seen: list[tuple[int, int]] = []
    moving = run(
        ["bash", "-c", said.replace("$BYTES", "$i")], dict(os.environ), idle_s=1, moved=lambda *told: seen.append(told)
    )
    assert moving.code == 0
    assert seen[-1] == (40, 9)
    assert run(["bash", "-c", said.replace("$BYTES", "3")], dict(os.environ), idle_s=1).code is None


class Broken(RcloneRemote):
    """A remote whose rclone says what it should not."""

    output = b""

    def _once(self, doing: str, arguments: Any, *, take: Any = None, **more: Any) -> Any:
        if take is not None:
            take(self.output)
        return super()._once(doing, ["version"])


@pytest.mark.parametrize("output", [b"no json", b"[1]", b'[{"Name":1}]', b"{}"])
def test_a_listing_that_cannot_be_read_is_an_error_and_not_an_empty_one(output: bytes, tmp_path: Path) -> None:
    remote = Broken(str(tmp_path))
    remote.output = output
    for ask in (remote.list, lambda: remote.stat("one")):
        if (ask, output) == (remote.list, b"{}"):
            continue
        with pytest.raises(RemoteError, match="cannot be read"):
            ask()


class Scripted(RcloneRemote):
    """A remote whose answers of `stat` are given one after the other, and whose other calls fail or do nothing."""

    def script(self, *stats: bool, fails: bool = False) -> Scripted:
        self.stats, self.fails = list(stats), fails
        return self

    def stat(self, file: str) -> Listed | None:
        return Listed(file, 5) if self.stats.pop(0) else None

    def _once(self, doing: str, arguments: Any, *, take: Any = None, **more: Any) -> Any:
        if self.fails:
            raise RemoteError(self.name, doing, "down", "the answer got lost", "Try again")
        if take is not None:
            take(b"four")
        return Ended(0, "")


@pytest.fixture
def scripted(tmp_path: Path) -> Scripted:
    return Scripted(str(tmp_path), tries=2, pause=lambda seconds: None)


def test_a_move_whose_answer_got_lost_is_done_and_one_that_another_won_is_not(scripted: Scripted) -> None:
    # asked for: the new name, the old one; then again, after the move whose answer got lost
    scripted.script(False, True, True, False, fails=True).move("a", "b")
    with pytest.raises(RemoteError, match="the answer got lost"):
        scripted.script(False, True, False, True, fails=True).move("a", "b")
    with pytest.raises(RemoteError, match="another was faster") as taken:
        scripted.script(False, True, True).move("a", "b")
    assert taken.value.kind == "taken"
    with pytest.raises(RemoteError, match="under neither name") as lost:
        scripted.script(False, True, False, False).move("a", "b")
    assert lost.value.kind == "lost"


def test_a_deletion_that_fails_of_a_file_that_is_there_is_an_error(scripted: Scripted) -> None:
    scripted.script(False, fails=True).delete("a")
    with pytest.raises(RemoteError, match="the answer got lost"):
        scripted.script(True, True, fails=True).delete("a")


def test_a_download_that_is_too_short_is_removed_and_a_part_of_nothing_is_missing(
    scripted: Scripted, tmp_path: Path
) -> None:
    with pytest.raises(RemoteError, match="4 of 5 bytes came"):
        scripted.script(True).download("a", tmp_path / "target")
    assert not (tmp_path / "target").exists()
    assert scripted.script().read("a", 0, 3) == b"fou"
    # on S3 rclone reads nothing from what is not there, and ends well
    nothing = scripted.script(False)
    nothing._once = lambda *arguments, **more: Ended(0, "")  # type: ignore[method-assign]
    with pytest.raises(RemoteError) as missing:
        nothing.read("a", 0, 3)
    assert missing.value.kind == "missing"


def test_a_day_that_no_month_has_is_no_snapshot() -> None:
    assert read_name(f"host-20260231T000000Z-{'0' * 32}-{'0' * 64}.zip") is None


def test_the_future_of_names_is_five_minutes() -> None:
    assert retention.FUTURE_S == 300
