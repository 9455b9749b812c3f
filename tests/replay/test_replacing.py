"""Replacing a recording: all or nothing, also when the process dies at any moment of it."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import files, reader
from pytest_marketreplay.cassette.entry import Meta
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.payload import Payload
from pytest_marketreplay.config import Settings
from pytest_marketreplay.errors import DamagedCassette
from pytest_marketreplay.replay import replace
from pytest_marketreplay.replay.session import Session

BTC = Place("binance", "api_v3_depth", "BTCUSDT")
ETH = Place("binance", "api_v3_depth", "ETHUSDT")
STEM = "2025-10-02T10-00-00"
MODES = ("rewrite", "all")


def line_of(key: str, value: str) -> bytes:
    return entries.write_line(1, f"/{key}", b"{}", Meta(), Payload(f'"{value}"'.encode()))


def write(root: Path, place: Place, name: str, *recorded: tuple[str, str]) -> Path:
    path = place.within(root) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    content = b"".join(line_of(key, value) for key, value in recorded)
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def key_of(place: Place):
    return lambda head: head.endpoint


def state(root: Path) -> Counter:
    """What a cassette answers: place, request, body."""
    return Counter(
        (place.symbol, entry.endpoint, entry.body().decode().strip('"'))
        for place in files.places(root)
        for path in files.files_in(place.within(root))
        for entry in reader.read(path)
    )


def old_recording(root: Path) -> None:
    write(root, BTC, f"{STEM}.jsonl", ("a", "old"), ("b", "old"), ("a", "old"))
    write(root, BTC, "2025-10-02T11-00-00.jsonl.gz", ("a", "old"), ("c", "old"))
    write(root, BTC, "2025-10-02T12-00-00.jsonl", ("a", "old"))
    write(root, BTC, "2025-10-02T12-00-00.jsonl.gz", ("a", "interrupted"), ("b", "interrupted"))
    write(root, ETH, f"{STEM}.jsonl", ("a", "old"))


def new_recording(root: Path) -> Path:
    """Stage answers: one in a file of an old one's name, one in that of a sealed one."""
    staged = replace.staging(root)
    write(staged, BTC, f"{STEM}.jsonl", ("a", "new"))
    write(staged, BTC, "2025-10-02T11-00-00.jsonl", ("a", "new"))
    write(staged, Place("kraken", "x", "_all"), f"{STEM}-3.jsonl", ("z", "new"))
    return staged


REPLACED = {BTC: {"/a"}, Place("kraken", "x", "_all"): {"/z"}}
OLD = Counter({
    ("BTCUSDT", "/a", "old"): 4, ("BTCUSDT", "/b", "old"): 1, ("BTCUSDT", "/c", "old"): 1, ("ETHUSDT", "/a", "old"): 1,
})  # fmt: skip
NEW = Counter({("BTCUSDT", "/a", "new"): 2, ("_all", "/z", "new"): 1})
AFTER = {
    "rewrite": NEW,
    "all": NEW + Counter({
        ("BTCUSDT", "/b", "old"): 1, ("BTCUSDT", "/c", "old"): 1, ("ETHUSDT", "/a", "old"): 1,
    }),
}  # fmt: skip


def at_start(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in files.all_files(root)}


def commit(root: Path, staged: Path, mode: str) -> None:
    replace.commit(root, staged, None if mode == "rewrite" else REPLACED, at_start(root), key_of)


def is_clean(root: Path) -> bool:
    return not list(root.rglob(".*"))


@pytest.mark.parametrize("mode", MODES)
def test_a_new_recording_takes_the_place_of_what_it_replaces(mode, tmp_path):
    old_recording(tmp_path)
    assert state(tmp_path) == OLD
    commit(tmp_path, new_recording(tmp_path), mode)
    assert state(tmp_path) == AFTER[mode]
    assert is_clean(tmp_path)
    assert ETH.within(tmp_path).exists() == (mode == "all")


@pytest.mark.parametrize("mode", MODES)
def test_what_others_recorded_in_this_run_stays(mode, tmp_path):
    old_recording(tmp_path)
    before = at_start(tmp_path)
    write(tmp_path, BTC, "2025-10-02T13-00-00.jsonl", ("a", "of another test"))
    staged = new_recording(tmp_path)
    replace.commit(
        tmp_path, staged, None if mode == "rewrite" else REPLACED, [*before, "binance/gone/x/y.jsonl"], key_of
    )
    assert state(tmp_path) == AFTER[mode] + Counter({("BTCUSDT", "/a", "of another test"): 1})


def test_a_recording_of_nothing_rewrites_to_nothing(tmp_path):
    root = tmp_path / "cassette"
    old_recording(root)
    commit(root, replace.staging(root), "rewrite")
    assert not root.exists()


def test_a_file_of_which_nothing_was_replaced_is_not_touched(tmp_path):
    path = write(tmp_path, BTC, f"{STEM}.jsonl", ("b", "old"))
    frame = b'{"timestamp":1,"endpoint":"/a","params":{},"meta":{"dir":"in"},"response":1}\n'
    path.write_bytes(path.read_bytes() + frame)
    before = path.stat()
    commit(tmp_path, new_recording(tmp_path), "all")
    assert path.stat().st_ino == before.st_ino
    assert path.read_bytes().endswith(frame)
    assert [entry.name for entry in sorted(path.parent.iterdir())] == [
        f"{STEM}-1.jsonl", f"{STEM}.jsonl", "2025-10-02T11-00-00.jsonl",
    ]  # fmt: skip


def test_a_damaged_old_file_is_an_error_and_the_old_recording_stays(tmp_path):
    path = write(tmp_path, BTC, f"{STEM}.jsonl", ("b", "old"))
    path.write_bytes(b"{}\n" + path.read_bytes())
    before = path.read_bytes()
    staged = new_recording(tmp_path)
    with pytest.raises(DamagedCassette):
        commit(tmp_path, staged, "all")
    assert path.read_bytes() == before
    assert files.all_files(tmp_path) == [path]
    replace.finish(tmp_path)
    assert files.all_files(tmp_path) == [path]


def test_a_dropped_recording_leaves_the_old_one_and_no_folder(tmp_path):
    root = tmp_path / "cassette"
    old_recording(root)
    replace.drop(new_recording(root), root)
    assert state(root) == OLD
    assert is_clean(root)
    empty = tmp_path / "empty"
    staged = replace.staging(empty)
    replace.drop(staged, empty)
    assert not empty.exists()
    replace.drop(staged, empty)


def test_finish_of_a_cassette_without_a_plan_does_nothing(tmp_path):
    old_recording(tmp_path)
    new_recording(tmp_path)
    replace.finish(tmp_path)
    assert state(tmp_path) == OLD
    replace.finish(tmp_path / "none")
    file = tmp_path / "file"
    file.write_bytes(b"")
    replace.finish(file)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("keep", [True, False])
def test_a_session_that_records_anew_keeps_or_drops_it_whole(mode, keep, tmp_path):
    def record(value: bytes, keep: bool) -> int:
        session = Session([tmp_path / "c"], Settings.of(mode=mode))
        live = session.ask("GET", "https://api.binance.com/api/v3/depth?symbol=BTCUSDT")
        live.record(200, "OK", [], value)
        return session.close(keep=keep)

    assert record(b'"1"', True) == 0
    assert record(b'"2"', keep) == (0 if keep else 1)
    assert list(state(tmp_path / "c")) == [("BTCUSDT", "/api/v3/depth", "2" if keep else "1")]
    assert is_clean(tmp_path / "c")
    assert record(b'"3"', False) == 1
    shutil.rmtree(tmp_path / "c")
    assert record(b'"4"', False) == 1
    assert not (tmp_path / "c").exists()


# ---------------------------------------------------------------- death at every step

STEPS = ("replace", "rename", "unlink", "rmdir", "mkdir", "fsync")


class Killed(BaseException):
    pass


def die_at(step: int, patch: pytest.MonkeyPatch, how=None) -> list[str]:
    """Have the process die before the file system call of this number; returns the calls that it came to."""
    calls: list[str] = []

    def dying(name, real):
        def call(*args, **more):
            if len(calls) == step:
                if how is not None:
                    how()
                raise Killed
            calls.append(name)
            return real(*args, **more)

        return call

    for name in STEPS:
        patch.setattr(os, name, dying(name, getattr(os, name)))
    return calls


def deaths(root: Path, staged: Path, mode: str, step: int) -> bool:
    """Commit, dying before the call of this number; tells whether it came to that."""
    with pytest.MonkeyPatch.context() as patch:
        die_at(step, patch)
        try:
            commit(root, staged, mode)
        except Killed:
            return True
    return False


@pytest.mark.parametrize("mode", MODES)
def test_death_at_any_step_leaves_the_old_recording_or_the_new_one(mode, tmp_path):
    seen = []
    for step in range(200):
        root = tmp_path / str(step)
        old_recording(root)
        staged = new_recording(root)
        died = deaths(root, staged, mode, step)
        replace.finish(root)
        found = state(root)
        assert found in (OLD, AFTER[mode]), f"a mix after death before call {step}"
        assert files.exists(root)
        assert found == OLD or is_clean(root) or not list(root.glob(".recording-*/plan.json"))
        seen.append(found == AFTER[mode])
        if not died:
            break
    assert seen[0] is False
    assert seen[-1] is True
    assert seen == sorted(seen), "once the new one counts, it counts after every later death too"
    assert len(seen) > 12


def test_death_in_the_middle_of_writing_the_plan_leaves_the_old_recording(tmp_path):
    old_recording(tmp_path)
    staged = new_recording(tmp_path)

    def half(plan, out) -> None:
        out.write('{"moves": [')
        out.flush()
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replace.json, "dump", half)
        with pytest.raises(Killed):
            commit(tmp_path, staged, "rewrite")
    replace.finish(tmp_path)
    assert state(tmp_path) == OLD


@pytest.mark.parametrize("mode", MODES)
def test_death_while_finishing_is_finished_by_the_next(mode, tmp_path):
    pairs = 0
    for first in range(0, 200, 7):
        for second in range(200):
            root = tmp_path / f"{first}-{second}"
            old_recording(root)
            died = deaths(root, new_recording(root), mode, first)
            with pytest.MonkeyPatch.context() as patch:
                die_at(second, patch)
                try:
                    replace.finish(root)
                    again = False
                except Killed:
                    again = True
            replace.finish(root)
            assert state(root) in (OLD, AFTER[mode]), f"a mix after deaths before calls {first} and {second}"
            shutil.rmtree(root)
            pairs += died and again
            if not again:
                break
        if not died:
            break
    assert pairs > 5


KILLED = """
import os, sys
from pathlib import Path
import pytest
sys.path.insert(0, sys.argv[2])
import test_replacing as tests
seen = []
for step in range(200):
    root = Path(sys.argv[1]) / str(step)
    tests.old_recording(root)
    staged = tests.new_recording(root)
    child = os.fork()
    if child == 0:
        tests.die_at(step, pytest.MonkeyPatch(), lambda: os._exit(7))
        tests.commit(root, staged, sys.argv[3])
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    tests.replace.finish(root)
    found = tests.state(root)
    seen.append("old" if found == tests.OLD else "new" if found == tests.AFTER[sys.argv[3]] else "mix")
    if code == 0:
        break
print(*seen)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("mode", MODES)
def test_a_process_that_is_gone_at_any_step_leaves_the_old_recording_or_the_new_one(mode, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(Path(__file__).parent), mode],
        capture_output=True, text=True, timeout=120, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    seen = done.stdout.split()
    assert set(seen) == {"old", "new"}
    assert seen == sorted(seen, reverse=True)
    assert len(seen) > 12


def test_many_who_find_a_plan_carry_it_out_once(tmp_path):
    for turn in range(10):
        root = tmp_path / str(turn)
        old_recording(root)
        staged = new_recording(root)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(replace, "_carry_out", lambda *_: None)
            commit(root, staged, "all")
        assert (staged / "plan.json").exists()
        start, errors = threading.Barrier(4), []

        def finish(root: Path = root, start: threading.Barrier = start, errors: list = errors) -> None:
            start.wait(10)
            try:
                replace.finish(root)
            except OSError as error:
                errors.append(error)

        threads = [threading.Thread(target=finish) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert errors == []
        assert state(root) == AFTER["all"]
        assert is_clean(root)


def test_commits_of_several_threads_lose_nothing(tmp_path):
    old_recording(tmp_path)
    before = at_start(tmp_path)
    start = threading.Barrier(4)

    def work(worker: int) -> None:
        staged = replace.staging(tmp_path)
        write(staged, BTC, f"{STEM}.jsonl", (f"w{worker}", "new"))
        start.wait(10)
        replace.commit(tmp_path, staged, {BTC: {f"/w{worker}", "/a"}}, before, key_of)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    expected = AFTER["all"] - NEW + Counter({("BTCUSDT", f"/w{worker}", "new"): 1 for worker in range(4)})
    assert state(tmp_path) == expected
    assert is_clean(tmp_path)


def test_the_bytes_of_a_torn_line_are_kept_aside_when_its_file_is_written_anew(tmp_path):
    path = write(tmp_path, BTC, f"{STEM}.jsonl", ("a", "old"), ("b", "old"))
    with path.open("ab") as out:
        out.write(b'{"timestamp":1,"endp')
    staged = replace.staging(tmp_path)
    write(staged, BTC, f"{STEM}.jsonl", ("a", "new"))
    replace.commit(tmp_path, staged, {BTC: {"/a"}}, [str(path.relative_to(tmp_path))], key_of)
    assert state(tmp_path) == Counter({("BTCUSDT", "/a", "new"): 1, ("BTCUSDT", "/b", "old"): 1})
    assert path.with_name(path.name + ".torn").read_bytes() == b'{"timestamp":1,"endp\n'
