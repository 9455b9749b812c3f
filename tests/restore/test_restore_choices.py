"""Which snapshot is taken, which parts of it, and when there is nothing to do."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import restore_lab
from restore_lab import EIGHT, make_tree, publish, state, without_record

from pytest_marketreplay.archive import ranges, selecting
from pytest_marketreplay.archive.checking import check
from pytest_marketreplay.archive.naming import SnapshotName
from pytest_marketreplay.archive.packing import survey
from pytest_marketreplay.archive.ranges import RangedFile, RangesRefused
from pytest_marketreplay.archive.rclone import RcloneRemote
from pytest_marketreplay.archive.remote import Listed, Progress
from pytest_marketreplay.archive.restore import Wanted, restore, verify
from pytest_marketreplay.archive.restored import FILE
from pytest_marketreplay.archive.selecting import Parts
from pytest_marketreplay.errors import RemoteError, UsageMistake


@pytest.fixture
def three(tree: Path, tmp_path: Path, remote: Path) -> list[SnapshotName]:
    """Three snapshots, an hour apart: the tree is in the second."""
    return [
        publish(make_tree(tmp_path / "first", seed=1), remote, created_s=EIGHT),
        publish(tree, remote, created_s=EIGHT + 3600),
        publish(make_tree(tmp_path / "third", seed=3), remote, created_s=EIGHT + 7200),
    ]


# ---------------------------------------------------------------- which snapshot


def test_the_snapshot_that_is_meant_is_taken(three, remote, tree):
    found = selecting.snapshots(Listed(path.name, path.stat().st_size) for path in remote.iterdir())
    assert [each.name for each in found] == three
    name = three[1]
    words = (name.file, name.file.removesuffix(".zip"), name.short, name.archive[:12], name.manifest[:6])
    for asked in (*words, survey(tree).digest()):
        assert selecting.choose(found, "here", asked=asked).name == name
    assert selecting.choose(found, "here").name == three[2]
    for seconds, number in ((3600, 1), (7199, 1), (3599, 0), (0, 0), (7200, 2)):
        assert selecting.choose(found, "here", at_ns=(EIGHT + seconds) * 10**9).name == three[number]


@pytest.mark.parametrize(
    ("asked", "number"), [(["latest"], 2), (["--at", "2025-11-28T09:59:59Z"], 1), (["--snapshot", "SHORT"], 1)]
)
def test_a_snapshot_is_asked_for_by_argument_option_and_time(three, remote, target, run, asked, number):
    words = [three[1].short if word == "SHORT" else word for word in asked]
    code, out, _ = run(*words, "--from", remote, "--to", target, "--dry-run", "--json")
    assert code == 0
    assert json.loads(out)["snapshot"] == three[number].file


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["nonsense"], "has no snapshot 'nonsense'. It has desk-20251128T100000Z-"),
        (["abc"], "has no snapshot 'abc'"),
        (["--at", "2025-11-28T07:59:59"], "has no snapshot that is as old; its oldest is desk-20251128T080000Z-"),
        (["--label", "nobody"], "has no snapshot of 'nobody'; make one with `marketreplay backup run`"),
    ],
)
def test_no_such_snapshot_is_told_with_those_there_are(three, remote, target, run, asked, said):
    code, _, err = run(*asked, "--from", remote, "--to", target)
    assert code == 2
    assert said in err
    assert not target.exists()


def test_several_trees_on_a_remote_need_a_label_or_a_name(three, remote, target, run, tmp_path):
    other = publish(make_tree(tmp_path / "other", seed=8), remote, label="lab", created_s=EIGHT + 9000)
    code, _, err = run("--from", remote, "--to", target)
    assert code == 2
    assert "has snapshots of desk, lab: say of which with --label, or name a snapshot" in err
    for asked in (["--label", "lab"], [other.short]):
        code, out, _ = run(*asked, "--from", remote, "--to", target, "--dry-run", "--json")
        assert (code, json.loads(out)["snapshot"]) == (0, other.file)


def test_a_snapshot_from_the_future_is_passed_over_and_told(three, remote, target, run, tmp_path, monkeypatch):
    monkeypatch.setattr(selecting.clock, "now_ns", lambda: (EIGHT + 7200 - 301) * 10**9)
    code, out, err = run("--from", remote, "--to", target)
    assert code == 0
    assert three[1].file in out
    assert err == f"passed over, since it is from the future: {three[2].short}\n"
    monkeypatch.setattr(selecting.clock, "now_ns", lambda: (EIGHT - 301) * 10**9)
    code, _, err = run("--from", remote, "--to", target)
    assert code == 2
    assert "has no snapshot that is not from the future" in err
    assert run(three[2].short, "--from", remote, "--to", target, "--dry-run", "--overwrite")[0] == 0


def test_a_prefix_of_two_different_snapshots_is_told_and_one_of_equal_trees_is_not() -> None:
    def snapshot(second: int, manifest: str, archive: str) -> selecting.Snapshot:
        return selecting.Snapshot(SnapshotName(EIGHT + second, "desk", manifest * 32, archive * 64), 10)

    found = [snapshot(0, "a", "c"), snapshot(1, "a", "d"), snapshot(2, "b", "c")]
    assert selecting.choose(found, "here", asked="aaaaaa") == found[1]
    with pytest.raises(UsageMistake, match=r"here: 'cccccc' can be desk-.*Z-cccccccc, desk-.*Z-cccccccc$"):
        selecting.choose(found, "here", asked="cccccc")


def test_foreign_files_and_unfinished_uploads_are_no_snapshots(three, remote, run):
    (remote / "holiday.zip").write_text("x")
    (remote / three[0].part()).write_text("x")
    code, out, _ = run("--from", remote, "--list")
    assert code == 0
    size = (remote / three[2].file).stat().st_size / 1000
    assert out.splitlines()[0] == f"{three[2].short}  2025-11-28T10:00:00Z  {size:.1f} KB"
    assert [line.split()[0] for line in out.splitlines()] == [name.short for name in reversed(three)]
    code, out, _ = run("--from", remote, "--list", "--json")
    assert [row["file"] for row in json.loads(out)] == [name.file for name in reversed(three)]
    assert json.loads(out)[0]["created_s"] == EIGHT + 7200


def test_an_empty_place_is_told(remote, target, run):
    assert run("--from", remote, "--list") == (0, "no snapshots\n", "")
    code, _, err = run("--from", remote, "--to", target)
    assert (code, "has no snapshot; make one" in err) == (2, True)


# ---------------------------------------------------------------- which parts


@pytest.fixture
def large(tree: Path) -> Path:
    """A tree of 6 MB that does not pack; a symbol of it is half a megabyte."""
    for number in range(11):
        folder = tree / "binance" / "api_v3_depth" / f"S{number}USDT"
        restore_lab.noise(folder / "2025-11-28T08-00-00.jsonl", 500_000, number)
        restore_lab.noise(folder / "2025-11-28T09-00-00.jsonl", 50_000, number + 50)
    return restore_lab.settle(tree)


@pytest.mark.parametrize("kind", ["folder", "webdav", "s3"])
def test_a_part_reads_only_what_it_needs(large, tmp_path, target, run, serve, kind):
    publish(large, tmp_path / "served" / "team")
    if kind == "folder":
        place = str(tmp_path / "served" / "team")
    else:
        serve(kind, tmp_path / "served")
        place = "bk:team"
    code, out, _ = run("--from", place, "--to", target, "--venue", "binance", "--symbol", "S7USDT", "--json")
    assert code == 0
    said = json.loads(out)
    assert said["files"] == 2
    assert 550_000 < said["fetched_bytes"] < 550_000 + ranges.TAIL + 2_000 < said["archive_bytes"] / 9
    wanted = [each for each in survey(large).members if "S7USDT" in each.path]
    assert list(survey(target).members) == wanted
    assert "read 6" in run("--from", place, "--to", target, "--symbol", "S7USDT", "--overwrite")[1]


@pytest.mark.parametrize(
    ("parts", "places"),
    [
        (Parts(venues=("binance",)), {0, 1, 2}),
        (Parts(endpoints=("/api/v3/depth",)), {0, 1}),
        (Parts(endpoints=("api_v3_depth",)), {0, 1}),
        (Parts(endpoints=("/stream",)), {2}),
        (Parts(endpoints=("/stream", "public_Depth")), {2, 3}),
        (Parts(venues=("binance",), symbols=("BTCUSDT",)), {0, 2}),
        (Parts(symbols=("BTC-USD", "ETHUSDT")), {1, 3}),
    ],
)
def test_a_part_is_named_by_venue_endpoint_and_symbol(tree, parts, places):
    found = {tuple(path.split("/")[:-1]) for path in parts.paths(survey(tree))}
    assert found == {restore_lab.PLACES[number] for number in places}


def test_parts_are_asked_for_by_options(tree, remote, target, run):
    publish(tree, remote)
    options = ("--venue", "binance", "--venue", "kraken", "--endpoint", "/stream", "--endpoint", "public_Depth")
    assert run("--from", remote, "--to", target, *options, "--symbol", "BTCUSDT")[0] == 0
    assert [path.relative_to(target).parts[:-1] for path in target.rglob("*.jsonl")] == [restore_lab.PLACES[2]]


def test_cassettes_in_folders_of_their_own_have_parts_too(tmp_path, remote, target, run):
    make_tree(tmp_path / "cassettes" / "tests" / "test_book")
    publish(tmp_path / "cassettes", remote)
    assert run("--from", remote, "--to", target, "--venue", "kraken")[0] == 0
    assert [path.name for path in (target / "tests" / "test_book").iterdir()] == ["kraken"]


def test_a_part_that_is_not_there_is_told_with_what_is(tree, remote, target, run):
    (tree / "notes.txt").write_text("at the top")
    publish(tree, remote)
    code, _, err = run("--from", remote, "--to", target, "--venue", "okx", "--symbol", "A", "--symbol", "B")
    assert code == 2
    assert "the snapshot has no file of venue okx, symbol A or B. It has binance/api_v3_depth/BTCUSDT, " in err
    assert list(target.parent.iterdir()) == []


def test_a_tree_without_places_is_told_as_that(tmp_path, remote, target, run):
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "notes.txt").write_text("x")
    publish(tmp_path / "odd", remote)
    code, _, err = run("--from", remote, "--to", target, "--venue", "okx")
    assert (code, "It has no place of cassettes" in err) == (2, True)


class Strange(RcloneRemote):
    """A remote that does not do what it is asked for, in one way or another."""

    def __init__(self, spec: str, answer: Callable[[bytes, int, int], bytes]) -> None:
        super().__init__(spec)
        self.answer, self.downloads = answer, 0

    def read(self, file: str, offset: int, count: int) -> bytes:
        whole = super().read(file, 0, 1 << 30)
        return self.answer(whole, offset, count)

    def download(self, file: str, target: Path, progress: Progress | None = None) -> None:
        self.downloads += 1
        super().download(file, target, progress)


STRANGE: dict[str, Callable[[bytes, int, int], bytes]] = {
    "the whole file": lambda whole, offset, count: whole,
    "its beginning": lambda whole, offset, count: whole[:count],
    "too little": lambda whole, offset, count: whole[offset : offset + count - 1],
    "nothing": lambda whole, offset, count: b"",
    "damaged data": lambda whole, offset, count: (
        whole[offset : offset + count] if offset + count == len(whole) else random.Random(1).randbytes(count)
    ),
}


@pytest.mark.parametrize("how", STRANGE)
def test_a_remote_without_ranges_has_the_whole_archive_downloaded(large, remote, target, how):
    """Servers that ignore or mangle a range; those of rclone do neither."""
    publish(large, remote)
    place = Strange(str(remote), STRANGE[how])
    done = restore(place, target, Wanted(parts=Parts(symbols=("S7USDT",))))
    assert (done.files, done.fetched_bytes, place.downloads) == (2, None, 1)
    assert list(survey(target).members) == [each for each in survey(large).members if "S7USDT" in each.path]
    if how != "damaged data":
        planned = restore(place, target.with_name("new"), Wanted(dry_run=True))
        assert (planned.files, planned.size_bytes, planned.action) == (None, None, "planned")
        assert verify(place, Wanted()).files == len(survey(large).members)
        assert place.downloads == 2


def test_a_dry_run_that_cannot_look_into_the_archive_says_so(tree, remote, target, run, monkeypatch):
    publish(tree, remote)
    monkeypatch.setattr(RcloneRemote, "read", lambda *_: b"")
    code, out, _ = run("--from", remote, "--to", target, "--dry-run")
    assert (code, out.endswith("its files are known only after a download\n")) == (0, True)


def test_a_remote_that_is_down_in_the_middle_is_an_error_and_no_reason_for_a_download(large, remote, target):
    publish(large, remote)

    def down(whole: bytes, offset: int, count: int) -> bytes:
        if offset + count == len(whole):
            return whole[offset:]
        raise RemoteError("here", "read", "down", "it does not answer", "Try again")

    place = Strange(str(remote), down)
    with pytest.raises(RemoteError):
        restore(place, target, Wanted(parts=Parts(symbols=("S7USDT",))))
    assert place.downloads == 0
    assert list(target.parent.iterdir()) == []


def test_a_file_over_ranges_is_a_file(remote, tree):
    """Every read at every offset gives what the file on the disk gives."""
    restore_lab.noise(tree / "noise", 300_000)
    name = publish(tree, remote)
    whole = (remote / name.file).read_bytes()

    class Counting:
        name = "here"

        def read(self, file: str, offset: int, count: int) -> bytes:
            return whole[offset : offset + count]

    drawn = random.Random(11)
    file = RangedFile(Counting(), name.file, len(whole))  # type: ignore[arg-type]
    assert file.readable()
    assert file.seekable()
    with pytest.raises(ValueError, match="cannot seek to -1"):
        file.seek(-1)
    for round_ in range(300):
        if round_ == 100:
            file.expect([(0, 1000), (1100, 5000), (100_000, 200_000), (900, 1200)])
        at, count = drawn.randrange(len(whole) + 10), drawn.choice((0, 1, 100, 70_000))
        assert file.seek(at) == at
        assert file.read(count) == whole[at : at + count]
        assert file.tell() == at + len(whole[at : at + count])
    assert file.seek(-5, os.SEEK_END) == len(whole) - 5
    assert file.seek(1, os.SEEK_CUR) == len(whole) - 4
    with pytest.raises(RangesRefused):
        RangedFile(Counting(), name.file, len(whole) + 1)  # type: ignore[arg-type]
    file = RangedFile(Counting(), name.file, len(whole))  # type: ignore[arg-type]
    assert check(file, name.file).manifest == survey(tree)  # type: ignore[arg-type]


# ---------------------------------------------------------------- nothing to do


def test_a_pinned_snapshot_that_is_there_touches_no_network(tree, tmp_path, target, run, serve):
    """The server is stopped."""
    name = publish(tree, tmp_path / "served" / "team")
    server = serve("webdav", tmp_path / "served")
    first = run(name.short, "--from", "bk:team", "--to", target, "--if-changed")
    assert first[0] == 0
    assert first[1].startswith("restored ")
    before = state(target.parent)
    server.stop()
    for asked in (name.file, name.short, name.archive[:8], name.manifest):
        code, out, err = run(asked, "--from", "bk:team", "--to", target, "--if-changed")
        assert (code, out, err) == (0, f"{target} holds {name.file} already\n", "")
    assert state(target.parent) == before
    os.chmod(target / "kraken", 0o755)  # what caches and umasks do
    shutil.rmtree(target / "kraken" / "empty", ignore_errors=True)
    assert run(name.file, "--from", "bk:team", "--to", target, "--if-changed")[0] == 0


def test_an_older_snapshot_is_replaced_by_a_newer_one_unless_it_was_changed(three, remote, target, run, tree):
    assert run(three[0].short, "--from", remote, "--to", target, "--if-changed")[0] == 0
    code, out, _ = run(three[1].short, "--from", remote, "--to", target, "--if-changed")
    assert (code, out.startswith("restored ")) == (0, True)
    assert survey(target) == survey(tree)
    for change in ("bytes", "more", "less"):
        file = target / "kraken" / "public_Depth" / "BTC-USD" / "2025-11-28T08-00-00.jsonl"
        if change == "bytes":
            file.write_bytes(file.read_bytes()[::-1])
        elif change == "more":
            (target / "mine.jsonl").write_text("recorded here")
        else:
            file.unlink()
        before = state(target.parent)
        for asked in (three[1].short, "latest"):
            code, _, err = run(asked, "--from", remote, "--to", target, "--if-changed")
            assert code == 2
            assert f"its files were changed since {three[1].file} was restored there. Add --merge" in err
            assert state(target.parent) == before
        assert run(three[1].short, "--from", remote, "--to", target, "--if-changed", "--overwrite")[0] == 0
        assert survey(target) == survey(tree)


def test_the_latest_snapshot_is_looked_up_and_an_equal_tree_is_not_downloaded(tree, remote, target, run):
    name = publish(tree, remote)
    assert run("--from", remote, "--to", target, "--if-changed")[0] == 0
    publish(tree, remote, created_s=EIGHT + 60)  # nothing changed since
    code, out, _ = run("--from", remote, "--to", target, "--if-changed")
    assert (code, out) == (0, f"{target} holds {name.file} already\n")


def test_another_part_is_another_thing(tree, remote, target, run):
    name = publish(tree, remote)
    assert run(name.short, "--from", remote, "--to", target, "--venue", "kraken", "--if-changed")[0] == 0
    code, out, _ = run(name.short, "--from", remote, "--to", target, "--venue", "kraken", "--if-changed")
    assert "already" in out
    code, _, err = run(name.short, "--from", remote, "--to", target, "--if-changed")
    assert (code, "it is not empty" in err) == (2, True)


def test_a_merged_tree_is_known_again_and_never_replaced(three, remote, target, run):
    target.mkdir()
    (target / "mine.jsonl").write_text("recorded here")
    assert run(three[0].short, "--from", remote, "--to", target, "--merge", "--if-changed")[0] == 0
    assert "already" in run(three[0].short, "--from", remote, "--to", target, "--merge", "--if-changed")[1]
    code, _, err = run(three[1].short, "--from", remote, "--to", target, "--if-changed")
    assert (code, "it was merged with what stood there" in err) == (2, True)
    assert (target / "mine.jsonl").read_text() == "recorded here"


def test_a_tree_that_says_nonsense_of_itself_is_told(tree, remote, target, run):
    name = publish(tree, remote)
    assert run("--from", remote, "--to", target)[0] == 0
    record = target / FILE
    record.write_text(record.read_text().replace(name.file, "nonsense"))
    assert run(name.short, "--from", remote, "--to", target, "--if-changed")[0] == 0
    record.write_text("nonsense")
    code, _, err = run(name.short, "--from", remote, "--to", target, "--if-changed")
    assert (code, "cannot be read as 'marketreplay restore'" in err) == (1, True)
    assert run(name.short, "--from", remote, "--to", target, "--if-changed", "--overwrite")[0] == 0
    assert without_record(state(target)) == state(tree)


def test_a_listing_that_names_a_snapshot_twice_has_one(tree, remote) -> None:
    name = publish(tree, remote)
    listed = [Listed(name.file, 10), Listed(name.file, 10), Listed("x", 1)]
    assert selecting.snapshots(listed) == [selecting.Snapshot(name, 10)]
