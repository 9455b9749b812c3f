"""The whole story from the command line: run, list, verify, prune, status, on real WebDAV, S3 and a folder."""

from __future__ import annotations

import json
from pathlib import Path

import places
import pytest
from click.testing import CliRunner, Result
from doubles import FolderRemote, Wall, assert_whole, snapshots
from places import Where, use

from pytest_marketreplay.archive.backup import Backup
from pytest_marketreplay.archive.naming import read_name
from pytest_marketreplay.archive.rclone import RcloneRemote
from pytest_marketreplay.cli import cli
from pytest_marketreplay.errors import MarketReplayError


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, ["backup", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit | MarketReplayError):
        raise result.exception
    return result


def read(*arguments: object) -> object:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def cycles() -> list[object]:
    out = []
    for version in sorted(places.PROGRAMS):
        for place in ("dav", "bucket", "a_folder"):
            slow = [] if (version, place) == (places.NEWEST, "dav") else [pytest.mark.slow]
            out.append(pytest.param(version, place, id=f"{version}-{place}", marks=slow))
    return out


@pytest.mark.parametrize(("version", "place"), cycles())
def test_run_list_verify_and_prune_on_a_place(
    version: str,
    place: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, tmp_path, places.PROGRAMS[version])
    where: Where = request.getfixturevalue(place)
    clock = Wall(monkeypatch)
    place_of = ("--to", where.spec)
    made = read("run", tree, *place_of, "--label", "first", "--keep", 1)
    assert (made["files"], made["unpacked_bytes"], made["label"]) == (1, 4000, "first")
    clock.go(3600)
    # another machine, with a state of its own, on the same remote
    other = read("run", tree, *place_of, "--label", "second", "--keep", 1, "--state-dir", tmp_path / "second")
    clock.go(3600)
    again = read("run", tree, *place_of, "--label", "first", "--keep", 1)
    assert [each["file"] for each in read("list", *place_of)] == [again["file"], other["file"], made["file"]]
    assert [each["file"] for each in read("list", *place_of, "--label", "second")] == [other["file"]]
    assert read("verify", *place_of, "--label", "first") == [{"file": again["file"], "ok": True, "error": ""}]

    (where.folder / "foreign.zip").write_bytes(b"foreign")
    dry = read("prune", *place_of, "--label", "first", "--keep", 1, "--keep-min", 1, "--dry-run")
    assert (dry["delete"], dry["deleted"]) == ([made["file"]], [])
    assert read("prune", *place_of, "--label", "first", "--keep", 1, "--keep-min", 1)["deleted"] == [made["file"]]
    assert snapshots(where.folder) == [other["file"], again["file"]]

    damaged = where.folder / other["file"]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0x")
    found = call("verify", *place_of, "--all")
    assert found.exit_code == 1
    assert f"verified  {again['file']}" in found.stdout
    assert f"damaged   {other['file']}" in found.stdout
    assert (where.folder / "foreign.zip").read_bytes() == b"foreign"
    assert read("status", "--label", "first")[0]["last_file"] == again["file"]
    assert call("status", "--state-dir", tmp_path / "second").exit_code == 0


def thirty_days(remote: object, folder: Path, tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a backup a day of two trees for 30 days, lose the states on some of them, and check each day."""
    clock = Wall(monkeypatch)
    trees = {"host-one": tree, "host-two": tmp_path / "two"}
    trees["host-two"].mkdir()
    made = {label: list[str]() for label in trees}
    for day in range(30):
        for label, each in trees.items():
            (each / "more.jsonl").write_text(f"{label} {day}\n")
            backup = Backup(remote, label, each, state_dir=tmp_path / f"state-{label}")  # type: ignore[arg-type]
            if day in (5, 11, 12, 25):
                backup.document.remove()
                assert backup.state().rebuilt
                assert backup.state().last_file == made[label][-1]
            made[label].append(backup.run().name.file)
            assert snapshots(folder, label) == made[label][-7:]
        assert_whole(folder)
        clock.go(24 * 3600)


def test_seven_are_kept_over_thirty_days_of_two_machines_though_states_are_lost(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thirty_days(FolderRemote(tmp_path / "remote"), tmp_path / "remote", tmp_path, tree, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("version", "place"), [(places.NEWEST, place) for place in ("dav", "bucket", "a_folder")])
def test_seven_are_kept_over_thirty_days_on_a_real_place(
    version: str,
    place: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, tmp_path, places.PROGRAMS[version])
    where: Where = request.getfixturevalue(place)
    where.folder.mkdir(parents=True, exist_ok=True)
    thirty_days(RcloneRemote(where.spec, timeout_s=20), where.folder, tmp_path, tree, monkeypatch)


def test_a_retention_reads_back_what_it_does_not_know_before_it_deletes(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Wall(monkeypatch)
    remote = FolderRemote(tmp_path / "remote")
    made = Backup(remote, "host", tree, keep=5, state_dir=tmp_path / "state")
    for _ in range(5):
        made.run()
        clock.go(86_400)
    files = snapshots(remote.folder)
    (remote.folder / files[4]).write_bytes(b"rotten")
    made.document.remove()
    smaller = Backup(remote, "host", tree, keep=1, state_dir=tmp_path / "state")
    told = smaller.prune(dry_run=True)
    assert (told.damaged, told.verified) == ((files[4],), (files[3], files[2]))
    assert snapshots(remote.folder) == files
    done = smaller.prune()
    assert done.plan.delete == told.plan.delete == done.deleted == (files[1], files[0])
    assert snapshots(remote.folder) == files[2:]  # what is damaged counts for nothing, and stays to be looked at


def test_parts_of_killed_uploads_go_after_a_day_and_those_of_others_stay(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Wall(monkeypatch)
    remote = FolderRemote(tmp_path / "remote")
    made = Backup(remote, "host", tree, state_dir=tmp_path / "state").run()
    mine, other = made.name.part(), made.name._replace(label="other").part()
    for part in (mine, other):
        (remote.folder / part).write_bytes(b"half")
    clock.go(23 * 3600)
    assert Backup(remote, "host", tree, state_dir=tmp_path / "state").run().parts == ()
    clock.go(2 * 3600)
    result = CliRunner().invoke(
        cli,
        [
            "backup",
            "run",
            str(tree),
            "--to",
            str(remote.folder),
            "--label",
            "host",
            "--state-dir",
            str(tmp_path / "state"),
        ],
    )
    assert f"removed   {mine}, an upload that was cut off" in result.output
    assert (remote.folder / other).exists()
    assert not (remote.folder / mine).exists()


def test_equal_trees_give_equal_digests_at_other_times(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Wall(monkeypatch)
    made = Backup(FolderRemote(tmp_path / "remote"), "host", tree, state_dir=tmp_path / "state")
    first = made.run().name
    clock.go(60)
    second = made.run().name
    assert first._replace(created_s=second.created_s) == second
    assert read_name(second.file) == second
