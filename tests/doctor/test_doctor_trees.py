"""Trees: each finding made with real parts, and healthy trees that have none."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from doctor_parts import BTC, DAY_MS, DAY_S, Doctor, age, as_nobody, capture, item, items, killed, line

from pytest_marketreplay.cassette import files
from pytest_marketreplay.doctor import CODES, Limits, examine, leftovers
from pytest_marketreplay.doctor.health import MOST, Notebook, printable
from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.sinks.local import LocalSink

CASSETTES = Path(__file__).parents[2] / "cassettes"


@pytest.mark.parametrize("seal", [None, "zst", "gz"])
def test_a_healthy_capture_has_no_finding(seal: str | None, tree: Path, doctor: Doctor) -> None:
    capture(tree, items(0, 20), seal=seal, most=7)
    assert doctor.codes(tree) == set()
    health = doctor.look(tree)
    assert health.is_good
    assert (health.trees[0].files, health.trees[0].entries, health.left_out) == (3, 20, 0)
    assert not health.trees[0].is_written
    assert health.trees[0].growth_bytes_per_day > 0


def test_the_cassettes_of_this_project_have_nothing_but_notes_of_their_checkout(doctor: Doctor) -> None:
    health = doctor.look(CASSETTES)
    assert health.is_good
    assert set(health.counts) <= {"permission"}


def test_a_folder_that_is_not_there_is_told_and_an_empty_one_too(tree: Path, doctor: Doctor) -> None:
    assert doctor.codes(tree) == {"tree-missing"}
    tree.mkdir()
    (tree / "notes.txt").write_text("nothing of ours")
    (tree / ".git").mkdir()
    assert doctor.codes(tree) == {"tree-empty"}


def test_a_file_is_no_tree(tree: Path) -> None:
    tree.write_text("")
    with pytest.raises(UsageMistake, match="is a file"):
        examine([tree])


def test_a_damaged_line_is_told_once_a_file_with_the_command(tree: Path, doctor: Doctor) -> None:
    (path,) = capture(tree, items(0, 4))
    path.write_bytes(path.read_bytes() + b"nonsense\n{}\n")
    assert doctor.codes(tree) == {"damaged-line"}
    (found,) = doctor.look(tree).findings
    assert "2 lines are no entries, the first is line 5" in found.what
    assert found.cure.endswith(f"marketreplay cassette repair {path}")
    assert not found.fixable


def test_the_torn_line_of_a_killed_sink_is_told_and_kept_aside(tree: Path, doctor: Doctor) -> None:
    killed("local", tree)
    assert doctor.codes(tree) == {"torn-tail"}
    (path,) = files.all_files(tree)
    (found,) = doctor.look(tree, fix=True).findings
    assert "written less than 60 s ago" in found.what
    age(path, 61)
    before = path.read_bytes()
    health = doctor.mends("torn-tail", tree)
    whole, torn = path.read_bytes(), path.with_name(path.name + ".torn").read_bytes()
    assert before == whole + torn[:-1]
    assert whole.endswith(b"\n")
    assert set(health.counts) == set()
    assert doctor.codes(tree) == {"kept-aside"}


def test_a_file_that_is_being_written_may_end_in_a_line_for_a_moment(tree: Path, doctor: Doctor) -> None:
    sink = LocalSink(tree)
    sink.open()
    sink.write(items(0, 2))
    (path,) = files.all_files(tree)
    with path.open("ab") as file:
        file.write(line(int(time.time() * 1000))[:-10])
    assert doctor.codes(tree) == set()
    assert doctor.look(tree).trees[0].is_written
    age(path, 100)
    (found,) = doctor.look(tree, fix=True).findings
    assert found.code == "torn-tail"
    assert "a collector or a restore holds" in found.what
    sink.close()
    doctor.mends("torn-tail", tree)


def test_a_sealed_file_that_is_cut_is_told_and_one_torn_before_it_was_sealed(tree: Path, doctor: Doctor) -> None:
    (path,) = capture(tree, items(0, 30), seal="gz")
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert doctor.codes(tree) == {"sealed-damaged"}
    import gzip

    path.write_bytes(gzip.compress(gzip.decompress(whole)[:-10]))
    (found,) = doctor.look(tree).findings
    assert (found.code, found.fixable) == ("torn-tail", False)
    assert found.cure == f"marketreplay cassette repair {path}"


def test_what_cannot_be_unpacked_here_was_not_checked(
    tree: Path, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = capture(tree, items(0, 3), seal="zst")
    with monkeypatch.context() as patched:
        patched.setitem(__import__("sys").modules, "zstandard", None)
        (found,) = doctor.look(tree).findings
        assert (found.code, found.cure) == ("not-checked", "pip install zstandard")
    import resource

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limit[1]))
    try:
        (found,) = doctor.look(tree).findings
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert found.code == "not-checked"
    assert "no room to unpack" in found.what
    assert str(path) == found.where


def test_a_sealing_that_was_killed_is_finished(tree: Path, doctor: Doctor) -> None:
    killed("sealing", tree)
    assert doctor.codes(tree) == {"sealing-unfinished"}
    plain = next(tree.glob("*/*/*/*.jsonl"))
    (found,) = doctor.look(tree, fix=True).findings
    assert "younger than a day" in found.what
    age(plain, 2 * DAY_S)
    data = plain.read_bytes()
    doctor.mends("sealing-unfinished", tree)
    (left,) = files.all_files(tree)
    with files.open_binary(left) as stream:
        assert b"".join(each.data + b"\n" for each in files.lines(stream)) == data


def test_twins_that_differ_or_cannot_be_read_stay(tree: Path, doctor: Doctor) -> None:
    killed("sealing", tree)
    plain = next(tree.glob("*/*/*/*.jsonl"))
    sealed = plain.with_name(plain.name + ".zst")
    whole = plain.read_bytes()
    for other in (whole + whole, whole[: whole.find(b"\n") + 1]):
        plain.write_bytes(other)
        assert doctor.codes(tree) == {"twins-differ"}
    plain.write_bytes(whole)
    sealed.write_bytes(b"nonsense")
    (found,) = doctor.look(tree).findings
    assert (found.code, found.fixable, found.cure) == ("sealing-unfinished", False, f"rm {sealed}")
    holder = LocalSink(tree)
    holder.open()
    sealed.write_bytes(b"x")
    sealed.chmod(0o640)
    plain.write_bytes(whole)
    try:
        assert doctor.codes(tree) == set()  # a collector that seals has both for a moment
    finally:
        holder.close()


def test_what_a_killed_sealing_was_making_goes_after_a_day(tree: Path, doctor: Doctor) -> None:
    killed("sealing", tree, "early")
    assert doctor.look(tree).counts == {"leftover": {"note": 1}}
    (part,) = tree.glob("*/*/*/.*.sealing.zst")
    age(part, 2 * DAY_S)
    doctor.mends("leftover", tree)
    assert not part.exists()


@pytest.mark.parametrize(
    ("name", "beside", "goes"),
    [
        (".2026-01-01T00-00-00.jsonl.repair", "2026-01-01T00-00-00.jsonl", True),
        (".2026-01-01T00-00-00.jsonl.repair", None, False),
        (".2026-01-01T00-00-00.jsonl.sealing.gz", None, False),
        ("upload.part", None, False),
        ("x.tmp", None, False),
    ],
)
def test_a_leftover_goes_only_while_what_it_is_a_part_of_is_there(
    name: str, beside: str | None, goes: bool, tree: Path, doctor: Doctor
) -> None:
    (path,) = capture(tree, items(0, 2))
    left = path.with_name(name)
    if beside:
        path.rename(path.with_name(beside))
    left.write_bytes(b"x")
    age(left, 2 * DAY_S)
    if goes:
        doctor.mends("leftover", tree)
        assert not left.exists()
    else:
        (found,) = doctor.look(tree, fix=True).findings
        assert (found.code, found.severity, found.fixable) == ("leftover", "warning", False)
        assert left.exists()


def test_a_recording_that_was_killed_stays_unless_it_is_empty(tree: Path, doctor: Doctor) -> None:
    capture(tree, items(0, 2))
    staged = tree / ".recording-1-abc"
    (staged / "binance").mkdir(parents=True)
    age(staged, 2 * DAY_S)
    doctor.mends("leftover", tree)
    assert not staged.exists()
    capture(staged, items(0, 1))
    age(staged, 2 * DAY_S)
    (found,) = doctor.look(tree, fix=True).findings
    assert (found.code, found.fixable) == ("leftover", False)


def test_a_recording_that_had_passed_is_put_in_its_place(tree: Path, doctor: Doctor) -> None:
    capture(tree, items(0, 2))
    staged = tree / ".recording-1-abc"
    (made,) = capture(staged, [item(5)])
    target = made.relative_to(staged).with_name("2026-01-02T00-00-00.jsonl")
    (staged / "plan.json").write_text(f'{{"moves":[["{made.relative_to(staged)}","{target}"]],"removals":[]}}')
    age(staged, 2 * DAY_S)
    doctor.mends("leftover", tree)
    assert (tree / target).exists()
    assert not staged.exists()


@pytest.mark.parametrize("word", ["restoring", "replaced"])
def test_what_a_killed_restore_left_is_told_and_never_removed(word: str, tree: Path, doctor: Doctor) -> None:
    capture(tree, items(0, 2))
    left = tree.with_name(f".captures.{word}-0123456789abcdef")
    left.mkdir()
    tree.with_name(".captures.rest-1").mkdir()  # somebody else's
    age(left, 2 * DAY_S)
    (found,) = doctor.look(tree, fix=True).findings
    assert (found.code, found.where) == ("leftover", str(left))
    assert "this may be it" in found.what
    assert left.exists()


def test_a_leftover_that_ends_meanwhile_is_none(tree: Path) -> None:
    notebook = Notebook()
    leftovers.check(tree / ".x.tmp", notebook, root=tree)
    assert notebook.findings == []


def test_what_repairs_kept_and_links_are_notes(tree: Path, doctor: Doctor) -> None:
    (path,) = capture(tree, items(0, 2))
    aside = path.with_name(path.name + ".damaged")
    aside.write_bytes(b"old")
    aside.chmod(0o640)
    (path.parent / "link").symlink_to(path)
    health = doctor.look(tree)
    assert health.counts == {"kept-aside": {"note": 1}, "symlink": {"note": 1}}
    assert health.is_good


def test_permissions_that_are_wider_are_told_and_taken_back(tree: Path, doctor: Doctor) -> None:
    (path,) = capture(tree, items(0, 2))
    path.chmod(0o666)
    path.parent.chmod(0o777)
    tree.chmod(0o755)
    assert doctor.look(tree).counts == {"permission": {"warning": 3}}
    doctor.mends("permission", tree)
    assert [each.stat().st_mode & 0o777 for each in (path, path.parent, tree)] == [0o640, 0o750, 0o750]
    path.chmod(0o600)  # fewer are nobody's business
    assert doctor.codes(tree) == set()
    (tree / ".git").mkdir()
    path.chmod(0o644)
    assert doctor.look(tree).counts == {"permission": {"note": 1}}
    path.chmod(0o664)
    assert doctor.look(tree).counts == {"permission": {"warning": 1}}


def test_nothing_is_changed_while_a_collector_holds_the_tree(tree: Path, doctor: Doctor) -> None:
    sink = LocalSink(tree)
    sink.open()
    sink.write(items(0, 2))
    (path,) = files.all_files(tree)
    path.chmod(0o644)
    (found,) = doctor.look(tree, fix=True).findings
    assert "it is not mended: a collector or a restore holds" in found.what
    assert path.stat().st_mode & 0o777 == 0o644
    sink.close()
    doctor.mends("permission", tree)


def test_a_file_that_keeps_its_owner_out_is_told_and_opened(open_folder: Path) -> None:
    os.chown(open_folder, 65534, 65534) if os.geteuid() == 0 else None
    tree = open_folder / "captures"
    limits = Limits(min_free_share=0.0, min_days=0.0)
    with as_nobody():
        path, other = capture(tree, items(0, 4), most=2)
        path.chmod(0o000)
        path.parent.parent.chmod(0o000)
        health = examine([tree], state_dir=open_folder / "state", limits=limits)
        assert health.counts == {"unreadable": {"error": 1}}
        health = examine([tree], state_dir=open_folder / "state", limits=limits, fix=True)
        assert health.fixed == {"unreadable": 2}
        assert health.counts == {}
        assert health.trees[0].entries == 4
        assert path.stat().st_mode & 0o777 == 0o600  # for its owner, and nobody else
        assert other.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user")
def test_a_file_of_another_user_that_cannot_be_read_is_a_finding(open_folder: Path) -> None:
    tree = open_folder / "captures"
    (open_folder / "state" / "sessions").mkdir(parents=True, mode=0o700)
    (open_folder / "state" / "backups").mkdir(mode=0o700)
    plain, sealed = tree / "plain", tree / "sealed"
    capture(plain, items(0, 2))
    capture(sealed, items(0, 2), seal="gz")
    (tree / "closed").mkdir(mode=0o700)
    for each in (tree, *tree.rglob("*")):
        if each.is_dir() and each.name != "closed":
            each.chmod(0o755)
    (listed,) = plain.glob("*/*/*")
    (capture(tree / "third", items(0, 1))[0]).parent.chmod(0o744)  # its files can be named, and not be looked at
    for each in (tree / "third").glob("**"):
        each.chmod(0o744 if each.name == BTC.symbol else 0o755)
    with as_nobody():
        health = examine([tree], state_dir=open_folder / "state", limits=Limits(min_free_share=0.0, min_days=0.0))
    where = [each.where for each in health.findings if each.code == "unreadable"]
    assert str(tree / "closed") in where
    assert str(open_folder / "state" / "sessions") in where
    assert str(open_folder / "state" / "backups") in where
    assert len([each for each in where if "/plain/" in each or "/sealed/" in each]) == 2
    assert any("/third/" in each for each in where)
    assert listed.exists()


@pytest.mark.parametrize(
    ("params", "meta", "where", "severity"),
    [
        (b'{"apiKey":"vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zv"}', b"{}", "the parameter apiKey", "error"),
        (b'{"token":"f3a9c1d2e4b5a697"}', b"{}", "the parameter token", "warning"),
        (b'{"":"apiKey=vmPUZE6mv9SD5VNHk4Hl"}', b"{}", "the request's body", "error"),
        (b"{}", b'{"request_headers":{"X-MBX-APIKEY":"vmPUZE6mv9SD"}}', "the request header X-MBX-APIKEY", "error"),
        (b"{}", b'{"headers":{"Date":"x","Set-Cookie":"a=vmPUZE6"}}', "the response header Set-Cookie", "error"),
        (b"{}", b'{"dir":"send","conn":"a","opcode":"text"}', "the sent field apiKey", "error"),
    ],
)
def test_a_credential_is_told_and_never_shown(
    params: bytes, meta: bytes, where: str, severity: str, tree: Path, doctor: Doctor
) -> None:
    made = line(int(time.time() * 1000), params=params, meta=meta)
    if b'"send"' in meta:
        made = made.replace(b'{"bids"', b'{"apiKey":"vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zv","bids"')
    (path,) = capture(tree, items(0, 2))
    path.write_bytes(path.read_bytes() + made + made)
    assert doctor.codes(tree) == {"secret"}
    (found,) = doctor.look(tree).findings
    assert found.severity == severity
    assert found.what == f"{where} looks like a credential in 2 entries, first in line 3"
    assert "vmPUZE6" not in str(doctor.look(tree))
    assert "f3a9c1" not in str(doctor.look(tree))


def test_what_recording_replaced_or_a_coin_is_no_credential(tree: Path, doctor: Doctor) -> None:
    now = int(time.time() * 1000)
    made = [
        line(now, params=b'{"token":"BTC","signature":"REDACTED","key":"REDACTED-12ab"}'),
        line(
            now,
            meta=b'{"headers":{"Set-Cookie":"a=REDACTED","Date":"x"},"request_headers":{"X-MBX-APIKEY":"REDACTED"}}',
        ),
        line(now, meta=b'{"dir":"recv","conn":"a"}'),
        line(now, meta=b'{"dir":"send","conn":"a"}').replace(b'{"bids":[["1","2"]],"pad":""}', b'"ping"'),
    ]
    (path,) = capture(tree, items(0, 2))
    path.write_bytes(path.read_bytes() + b"".join(made))
    assert doctor.codes(tree) == set()


def test_a_field_that_a_venue_calls_secret_is_looked_for_in_its_answers(tree: Path, doctor: Doctor) -> None:
    folder = tree / "binance" / "api_v3_userDataStream" / "_all"
    capture(tree, items(0, 1))
    folder.mkdir(parents=True)
    folder.parent.chmod(0o750)
    folder.chmod(0o750)
    path = folder / "2026-01-01T00-00-00.jsonl"
    whole = b'{"timestamp":1,"endpoint":"/api/v3/userDataStream","params":{},"meta":%s,"response":{"listenKey":"%s"}}\n'
    path.write_bytes(whole % (b"{}", b"REDACTEDREDA") + whole % (b'{"dir":"recv","conn":"a"}', b"REDACTED"))
    path.chmod(0o640)
    assert doctor.codes(tree) == set()
    path.write_bytes(whole % (b"{}", b"pqia91ma19a5s61cv6a81va65sdf19v8"))
    (found,) = doctor.look(tree).findings
    assert found.what.startswith("the response field listenKey looks like a credential")


def test_a_day_and_a_file_that_jump_are_told(tree: Path, doctor: Doctor) -> None:
    now = int(time.time() * 1000)
    sizes = dict.fromkeys(range(2, 16), 70000) | {6: 900_000, 9: 2_000}
    made = [item(0, time_ms=now - day * DAY_MS, pad=size) for day, size in sorted(sizes.items(), reverse=True)]
    del made[3]  # a day without anything
    capture(tree, made, most=1)
    found = doctor.look(tree).findings
    assert {each.code for each in found} == {"size-jump"}
    days = [each.what for each in found if each.what.startswith("20")]
    assert sorted(int(each.split(" has ")[1].split(" ")[0]) for each in days)[0] == 0
    assert len(days) == 3
    assert [each.what[:3] for each in found if not each.what.startswith("20")] == ["900"]
    assert doctor.codes(tree, size_factor=1e9) == {"size-jump"}  # the day without anything
    assert doctor.codes(tree, size_factor=20.0) == {"size-jump"}


def test_an_old_newest_entry_is_told_where_that_is_asked_for(tree: Path, doctor: Doctor) -> None:
    capture(tree, [item(0, time_ms=int(time.time() * 1000) - 2 * DAY_MS)])
    assert doctor.codes(tree) == set()
    assert doctor.codes(tree, max_age_s=3 * DAY_S) == set()
    assert doctor.codes(tree, max_age_s=3600.0) == {"tree-stale"}


@pytest.mark.parametrize("ahead_ms", [DAY_MS, 2**62])
def test_an_entry_of_the_future_is_told(ahead_ms: int, tree: Path, doctor: Doctor) -> None:
    capture(tree, [item(0, time_ms=int(time.time() * 1000) + ahead_ms)])
    assert doctor.codes(tree, max_age_s=3600.0) == {"future-entry"}


def test_a_disk_that_is_full_or_fills_is_told(tree: Path, doctor: Doctor) -> None:
    capture(tree, items(0, 5))
    assert doctor.codes(tree, min_free_share=1.0) == {"disk-low"}
    assert doctor.codes(tree, min_free_bytes=10**18) == {"disk-low"}
    assert doctor.codes(tree, min_days=1e15) == {"disk-filling"}


def test_files_that_are_older_than_they_are_kept_are_told(tree: Path, doctor: Doctor) -> None:
    paths = capture(tree, items(0, 6), most=2)
    old = paths[0].with_name("2020-01-01T00-00-00.jsonl")
    paths[0].rename(old)
    assert doctor.codes(tree, retain_s=7.0 * DAY_S) == set()  # its name may come of a wrong clock
    age(old, 10 * DAY_S)
    assert doctor.codes(tree, retain_s=7.0 * DAY_S) == {"retention"}
    foreign = paths[1].with_name("foreign.jsonl")
    paths[1].rename(foreign)
    age(foreign, 10 * DAY_S)
    assert doctor.look(tree, retain_s=7.0 * DAY_S).counts == {"retention": {"warning": 1}}


def test_findings_of_one_code_are_bounded_and_counted(tree: Path, doctor: Doctor) -> None:
    paths = capture(tree, items(0, MOST + 50), most=1)
    for path in paths:
        path.chmod(0o644)
    health = doctor.look(tree)
    assert health.counts == {"permission": {"warning": MOST + 50}}
    assert (len(health.findings), health.left_out) == (MOST, 50)
    fixed = doctor.look(tree, fix=True)
    assert fixed.fixed == {"permission": MOST + 50}
    assert len(fixed.fixes) == MOST


def test_a_name_that_is_no_text_is_told_without_harm(tree: Path, doctor: Doctor) -> None:
    (path,) = capture(tree, items(0, 1))
    odd = os.fsencode(path.parent) + b"/a\x1b[31m\xff.jsonl"
    os.rename(path, odd)
    os.chmod(odd, 0o644)
    (found,) = doctor.look(tree).findings
    assert found.where.endswith("a\\x1b[31m\\udcff.jsonl")
    assert printable("a\nb") == "a\\nb"


def test_every_severity_is_one_of_three() -> None:
    for severities, what in CODES.values():
        assert set(severities) <= {"error", "warning", "note"}
        assert what
