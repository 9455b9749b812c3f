"""The sink `local`: order, rotation, sealing, healing, retention; nothing acknowledged is lost, nothing doubled."""

from __future__ import annotations

import fcntl
import gzip
import logging
import os
import random
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sink_parts import BTC, ETH, SECOND, START_NS, Clock, FailingWrites, Writer, item, names, numbers

from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.errors import SinkError, UsageMistake
from pytest_marketreplay.metrics import Metrics
from pytest_marketreplay.sinks import sealing
from pytest_marketreplay.sinks.items import Item
from pytest_marketreplay.sinks.local import LocalSink, Rotation

HOUR_S = 3600


def opened(root: Path, **options: object) -> LocalSink:
    sink = LocalSink(root, **options)  # type: ignore[arg-type]
    sink.open()
    return sink


def test_items_are_stored_in_order_in_the_files_of_their_places(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    sink.write([item(0), item(1, ETH), item(2)])
    sink.write([item(3, ETH), Item(BTC, START_NS), item(4)])
    assert (numbers(tmp_path), numbers(tmp_path, ETH)) == ([0, 2, 4], [1, 3])  # before it is closed
    sink.close()
    assert len(names(tmp_path)) == len(names(tmp_path, ETH)) == 1


def test_segments_are_rotated_by_entries_also_within_a_batch(tmp_path: Path, clocks: Clock) -> None:
    sink = opened(tmp_path, rotation=Rotation(max_entries=3))
    for start in (0, 2, 3, 10):
        sink.write([item(number) for number in range(start, {0: 2, 2: 3, 3: 10, 10: 11}[start])])
    sink.close()
    assert numbers(tmp_path) == list(range(11))
    stem = "2026-01-02T03-04-05"
    assert names(tmp_path) == sorted([f"{stem}.jsonl", *(f"{stem}-{number}.jsonl" for number in (1, 2, 3))])
    assert [len(path.read_bytes().splitlines()) for path in sorted(BTC.within(tmp_path).iterdir())] == [3, 3, 2, 3]


def test_segments_are_rotated_by_bytes_and_a_line_that_is_too_long_has_one_of_its_own(
    tmp_path: Path, clocks: Clock
) -> None:
    size = len(item(1).line or b"")
    sink = opened(tmp_path, rotation=Rotation(max_bytes=2 * size))
    sink.write([item(0)])
    sink.write([item(number) for number in (1, 2, 3)])
    sink.write([item(4, pad=500)])
    sink.write([item(5), item(6, pad=500), item(7)])
    sink.close()
    assert numbers(tmp_path) == list(range(8))
    assert len(names(tmp_path)) > 4
    for path in BTC.within(tmp_path).iterdir():
        assert path.stat().st_size <= 2 * size or len(path.read_bytes().splitlines()) <= 2


@pytest.mark.parametrize("jump_s", [HOUR_S, -1, -HOUR_S])
def test_segments_are_rotated_by_age_and_when_the_clock_is_set_back(tmp_path: Path, clocks: Clock, jump_s: int) -> None:
    sink = opened(tmp_path)
    sink.write([item(0)])
    clocks.now_ns += (HOUR_S - 1) * SECOND
    sink.rotate(clocks.now_ns)
    sink.write([item(1)])
    assert len(names(tmp_path)) == 1
    clocks.now_ns = START_NS + jump_s * SECOND
    sink.rotate(clocks.now_ns)
    sink.write([item(2)])
    sink.close()
    assert len(names(tmp_path)) == 2
    assert sorted(numbers(tmp_path)) == [0, 1, 2]


def test_without_an_age_a_segment_stays_open(tmp_path: Path, clocks: Clock) -> None:
    sink = opened(tmp_path, rotation=Rotation(hours=None, max_bytes=None))
    sink.write([item(0)])
    clocks.pass_s(1000 * HOUR_S)
    sink.rotate(clocks.now_ns)
    sink.write([item(1)])
    sink.close()
    assert len(names(tmp_path)) == 1


def test_no_name_is_ever_used_twice(tmp_path: Path, clocks: Clock) -> None:
    """Neither that of a plain file, nor that of a sealed one, nor by two sinks in one second."""
    for number in range(4):
        sink = opened(tmp_path, seal="gz" if number % 2 else None)
        other = opened(tmp_path)
        sink.write([item(number)])
        other.write([item(number + 10)])
        sink.close()
        other.close()
    assert sorted(numbers(tmp_path)) == [0, 1, 2, 3, 10, 11, 12, 13]


@pytest.mark.parametrize("kind", sealing.SEALS)
def test_closed_segments_are_sealed_and_read_as_before(tmp_path: Path, clocks: Clock, kind: str) -> None:
    sink = opened(tmp_path, rotation=Rotation(max_entries=10), seal=kind)
    sink.write([item(number) for number in range(95)])
    sink.rotate(clocks.now_ns)
    ends = [name.rpartition(".")[2] for name in names(tmp_path)]
    assert (ends.count(kind), ends.count("jsonl")) == (4, 6)  # a few at a time
    assert numbers(tmp_path) == list(range(95))
    sink.close()
    assert {name.rpartition(".")[2] for name in names(tmp_path)} == {kind}
    assert numbers(tmp_path) == list(range(95))
    for path in BTC.within(tmp_path).iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("kind", sealing.SEALS)
def test_a_kill_at_any_step_of_sealing_loses_and_doubles_nothing(tmp_path: Path, kind: str) -> None:
    tree = tmp_path / "tree"
    sink = opened(tree)
    sink.write([item(number) for number in range(50)])
    sink.close()
    script = Path(__file__).with_name("sink_sealer.py")
    done = subprocess.run([sys.executable, script, tree, kind], capture_output=True, text=True, check=True, timeout=60)
    ends = dict(line.split() for line in done.stdout.splitlines())
    assert list(ends.values()).count("killed") >= 12
    seen = set()
    for name in ends:
        folder = tmp_path / name
        assert numbers(folder) == list(range(50)), f"{name} before it is healed"
        seen.add(tuple(names(folder)))
        sink = opened(folder)
        assert numbers(folder) == list(range(50)), f"{name} after it is healed"
        assert len(names(folder)) == 1, f"{name} is left with {names(folder)}"
        sink.close()
    assert len(seen) == 3  # a part beside the plain one, both, only the sealed one: the kills came at different moments


def test_what_an_earlier_process_did_not_seal_is_sealed_by_the_next(tmp_path: Path, clocks: Clock) -> None:
    sink = opened(tmp_path)
    sink.write([item(0)])
    sink.close()
    part = BTC.within(tmp_path) / ".2026-01-02T03-04-05.jsonl.sealing.zst"
    part.write_bytes(b"half of a")
    sink = opened(tmp_path, seal="zst")
    sink.rotate(clocks.now_ns)
    assert names(tmp_path) == ["2026-01-02T03-04-05.jsonl.zst"]
    assert numbers(tmp_path) == [0]
    sink.close()


def test_a_sealed_twin_that_is_damaged_goes_and_the_plain_file_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = opened(tmp_path)
    sink.write([item(0)])
    sink.close()
    plain = BTC.within(tmp_path) / names(tmp_path)[0]
    plain.with_name(plain.name + ".gz").write_bytes(gzip.compress(plain.read_bytes())[:-9])
    opened(tmp_path).close()
    assert names(tmp_path) == [plain.name]
    assert "cannot be read and is removed" in caplog.text


def test_a_sealed_twin_that_differs_stays_and_is_not_written_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = opened(tmp_path)
    sink.write([item(0)])
    sink.close()
    plain = BTC.within(tmp_path) / names(tmp_path)[0]
    foreign = gzip.compress(b"what somebody else sealed\n")
    plain.with_name(plain.name + ".gz").write_bytes(foreign)
    opened(tmp_path, seal="gz").close()
    assert plain.with_name(plain.name + ".gz").read_bytes() == foreign
    assert numbers(tmp_path) == [0]
    assert "differ; both stay" in caplog.text
    with pytest.raises(SinkError, match="is there already"):
        sealing.seal(plain, "gz")


def test_a_copy_that_does_not_read_back_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = opened(tmp_path, rotation=Rotation(max_entries=1), seal="gz")
    sink.write([item(0), item(1)])
    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", lambda source, target, _size: target.write(source.read()[:-1]))
        with pytest.raises(SinkError, match="does not read back"):
            sink.close()
    assert all(name.endswith(".jsonl") for name in names(tmp_path))
    sink.close()
    assert numbers(tmp_path) == [0, 1]


def test_a_segment_that_cannot_be_sealed_does_not_keep_the_others_from_it(
    tmp_path: Path, clocks: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = opened(tmp_path, rotation=Rotation(max_entries=1), seal="gz")
    sink.write([item(number) for number in range(4)])
    first = BTC.within(tmp_path) / "2026-01-02T03-04-05.jsonl"
    real = sealing.seal

    def seal(path: Path, kind: str) -> Path:
        if path == first:
            raise SinkError("it is in use")
        return real(path, kind)

    monkeypatch.setattr(sealing, "seal", seal)
    with pytest.raises(SinkError, match="in use"):
        sink.rotate(clocks.now_ns)
    with pytest.raises(SinkError, match="in use"):
        sink.close()
    assert names(tmp_path).count(first.name) == 1
    assert sum(name.endswith(".gz") for name in names(tmp_path)) == 3
    assert numbers(tmp_path) == [0, 1, 2, 3]


def test_a_disk_error_while_sealing_is_told_and_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = opened(tmp_path, seal="zst")
    sink.write([item(0)])
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(SinkError, match=r"cannot seal .*Input/output error"):
            sink.close()
    assert numbers(tmp_path) == [0]
    assert len(names(tmp_path)) == 1


def test_a_torn_line_is_set_aside_when_the_tree_is_opened(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = opened(tmp_path)
    sink.write([item(0)])
    sink.close()
    path = BTC.within(tmp_path) / names(tmp_path)[0]
    path.write_bytes(path.read_bytes() + b'{"venue":"bin')
    sink = opened(tmp_path)
    sink.write([item(1)])
    sink.close()
    assert numbers(tmp_path) == [0, 1]
    assert path.with_name(path.name + ".torn").read_bytes() == b'{"venue":"bin\n'
    assert "13 bytes of a torn last line" in caplog.text


def test_a_tree_that_another_session_writes_is_not_mended_under_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else the second session would seal the file that the first one appends to."""
    caplog.set_level(logging.INFO)
    first = opened(tmp_path, seal="gz")
    first.write([item(0)])
    second = opened(tmp_path, seal="gz")
    assert "written by another session too" in caplog.text
    second.rotate(START_NS)
    second.write([item(10, ETH)])
    first.write([item(1)])
    second.close()
    assert names(tmp_path) == [name for name in names(tmp_path) if name.endswith(".jsonl")]
    first.close()
    assert (numbers(tmp_path), numbers(tmp_path, ETH)) == ([0, 1], [10])


def test_a_file_system_without_locks_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(_fd: int, _how: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    sink = opened(tmp_path)
    sink.write([item(0)])
    sink.close()
    assert numbers(tmp_path) == [0]


@pytest.mark.parametrize("how", ["short", "full"])
@pytest.mark.parametrize("fsync", [False, True])
def test_a_batch_that_could_not_be_written_is_taken_back_and_may_come_again(
    tmp_path: Path, clocks: Clock, monkeypatch: pytest.MonkeyPatch, how: str, fsync: bool
) -> None:
    """Every third write or so fails: at once, or after a half of the bytes."""
    draw = random.Random(7)
    FailingWrites(monkeypatch, lambda _: draw.choice(("full", how, None, None, None)))
    sink = opened(tmp_path, rotation=Rotation(max_entries=7), durability="fsync" if fsync else "kill")
    failed = 0
    for start in range(0, 60, 5):
        batch = [item(number, (BTC, ETH)[number % 2]) for number in range(start, start + 5)]
        for _ in range(100):
            try:
                sink.write(batch)
                break
            except SinkError:
                failed += 1
                so_far = sorted(numbers(tmp_path) + numbers(tmp_path, ETH))
                assert so_far == list(range(start)), "nothing of the batch is left"
        else:
            pytest.fail("the batch never came through")
    sink.close()
    assert failed >= 5
    assert numbers(tmp_path) == list(range(0, 60, 2))
    assert numbers(tmp_path, ETH) == list(range(1, 60, 2))
    assert not [path for path in tmp_path.rglob("*.jsonl") if not path.stat().st_size], "empty files are left"


def test_a_segment_that_is_begun_by_the_name_of_one_that_was_taken_back_is_not_sealed_while_it_is_open(
    tmp_path: Path, clocks: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = opened(tmp_path, rotation=Rotation(max_entries=2), seal="gz")
    with monkeypatch.context() as patch:
        FailingWrites(patch, lambda count: "full" if count == 2 else None)
        with pytest.raises(SinkError, match="No space left"):
            sink.write([item(number) for number in range(3)])
    assert [path.stat().st_size for path in BTC.within(tmp_path).iterdir()] == [0], "one is left, for the next batch"
    sink.write([item(number) for number in range(3)])
    sink.rotate(clocks.now_ns)
    sink.write([item(3)])
    sink.close()
    assert sorted(numbers(tmp_path)) == [0, 1, 2, 3]


def test_what_cannot_be_taken_back_at_once_is_taken_back_before_anything_else(
    tmp_path: Path, clocks: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sink = opened(tmp_path, seal="gz")
    sink.write([item(0)])

    def ftruncate(_fd: int, _size: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", ftruncate)
        FailingWrites(patch, lambda count: (None, "full")[count % 2 == 0])
        with pytest.raises(SinkError, match="cannot write"):
            sink.write([item(1), item(2, ETH)])
        assert "cannot be taken back yet" in caplog.text
        with pytest.raises(SinkError, match="Input/output"):
            sink.write([item(1), item(2, ETH)])
        clocks.pass_s(2 * HOUR_S)
        with pytest.raises(SinkError, match="cannot take back"):
            sink.rotate(clocks.now_ns)  # it must not be sealed with what nobody acknowledged
    sink.write([item(1), item(2, ETH)])
    sink.close()
    assert (numbers(tmp_path), numbers(tmp_path, ETH)) == ([0, 1], [2])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        if os.environ.get("CI"):
            pytest.fail(f"in CI a small disk must be there: {done.stderr}")
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_when_there_is_room_again_the_batch_goes_through(small_disk: Path) -> None:
    root = small_disk / "tree"
    ballast = small_disk / "ballast"
    sink = opened(root)
    ballast.write_bytes(bytes(700_000))
    number = 0
    while True:
        batch = [item(number, pad=3000), item(number + 1, ETH, pad=40_000)]
        try:
            sink.write(batch)
        except SinkError:
            break
        number += 2
    written = list(range(0, number, 2))
    assert written
    assert numbers(root) == written
    assert [each - 1 for each in numbers(root, ETH)] == written
    for _ in range(3):
        with pytest.raises(SinkError, match="No space left"):
            sink.write(batch)
    ballast.unlink()
    sink.write(batch)
    sink.close()
    assert numbers(root) == [*written, number]
    assert numbers(root, ETH) == [each + 1 for each in [*written, number]]


def aged(root: Path, clocks: Clock, days: int) -> LocalSink:
    """One segment a day, each last written at its time; the sink keeps two days."""
    sink = opened(root, retain_s=2 * 24 * HOUR_S)
    for number in range(days):
        sink.write([item(number)])
        newest = max(BTC.within(root).iterdir())
        os.utime(newest, ns=(clocks.now_ns, clocks.now_ns))
        clocks.pass_s(24 * HOUR_S)
        sink.rotate(clocks.now_ns)
    return sink


def test_what_is_older_than_it_is_to_be_kept_is_removed(tmp_path: Path, clocks: Clock) -> None:
    sink = aged(tmp_path, clocks, 6)
    assert numbers(tmp_path) == [4, 5]
    clocks.pass_s(1000 * HOUR_S)
    sink.rotate(clocks.now_ns)
    assert numbers(tmp_path) == [5], "the newest of a place stays, however old"
    sink.close()


def test_nothing_is_removed_by_a_clock_that_jumps_ahead(tmp_path: Path, clocks: Clock) -> None:
    sink = aged(tmp_path, clocks, 1)
    sink.write([item(1)])
    clocks.pass_s(2 * HOUR_S)
    sink.rotate(clocks.now_ns)
    sink.write([item(2)])
    clocks.now_ns += 400 * 24 * HOUR_S * SECOND
    clocks.counter_ns += 120 * SECOND
    sink.rotate(clocks.now_ns)
    assert numbers(tmp_path) == [0, 1, 2]
    sink.close()


def test_what_is_open_was_written_lately_or_has_a_foreign_name_is_not_removed(tmp_path: Path, clocks: Clock) -> None:
    place = BTC.within(tmp_path)
    sink = opened(tmp_path, retain_s=60, rotation=Rotation(hours=None))
    sink.write([item(0)])
    opened_at = clocks.now_ns
    for name in ("2020-01-01T00-00-00.jsonl", "2020-01-02T00-00-00.jsonl", "mine.jsonl", "zzz.jsonl"):
        (place / name).write_bytes(item(1).line or b"")
        if "01-02" not in name:
            os.utime(place / name, ns=(0, 0))
    os.utime(place / "2020-01-02T00-00-00.jsonl", ns=(opened_at * 2, opened_at * 2))
    os.utime(place / "2026-01-02T03-04-05.jsonl", ns=(0, 0))
    clocks.pass_s(30)
    sink.rotate(clocks.now_ns)
    assert len(names(tmp_path)) == 5  # it looks once a minute
    clocks.pass_s(600)
    sink.rotate(clocks.now_ns)
    assert names(tmp_path) == ["2020-01-02T00-00-00.jsonl", "2026-01-02T03-04-05.jsonl", "mine.jsonl", "zzz.jsonl"]
    sink.close()


def test_an_error_while_removing_is_told(tmp_path: Path, clocks: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = aged(tmp_path, clocks, 2)
    clocks.pass_s(48 * HOUR_S)

    def unlink(_path: Path, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(SinkError, match=r"cannot remove .*denied"):
        sink.rotate(clocks.now_ns)
    monkeypatch.undo()
    sink.close()


def test_what_was_removed_before_it_was_sealed_is_no_error(tmp_path: Path, clocks: Clock) -> None:
    sink = opened(tmp_path, rotation=Rotation(max_entries=1), seal="gz")
    sink.write([item(0), item(1)])
    (BTC.within(tmp_path) / "2026-01-02T03-04-05.jsonl").unlink()
    sink.close()
    assert numbers(tmp_path) == [1]


def test_three_hundred_places_are_written_with_less_than_half_as_many_open_files(tmp_path: Path) -> None:
    places = [Place("binance", "api_v3_depth", f"S{number}") for number in range(300)]
    before = len(os.listdir("/proc/self/fd"))
    sink = opened(tmp_path, rotation=Rotation(max_entries=4))
    for turn in range(6):
        sink.write([item(turn, place) for place in places])
        assert len(os.listdir("/proc/self/fd")) - before <= 130
    random.Random(4).shuffle(places)
    sink.write([item(6, place) for place in places])
    sink.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert all(numbers(tmp_path, place) == list(range(7)) for place in places)


@pytest.mark.parametrize("umask", [0o077, 0o000, 0o027])
def test_files_have_mode_640_and_folders_750_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    root = tmp_path / "some" / "tree"
    before = os.umask(umask)
    try:
        sink = opened(root, rotation=Rotation(max_entries=1), seal="gz")
        sink.write([item(0), item(1)])
        sink.rotate(START_NS)
        modes = {path.is_dir(): stat.S_IMODE(path.stat().st_mode) for path in [root.parent, *root.parent.rglob("*")]}
        for path in [root.parent, *root.parent.rglob("*")]:
            assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640), path
        assert modes == {True: 0o750, False: 0o640}
        sink.close()
    finally:
        os.umask(before)


def test_with_fsync_the_data_and_the_names_of_new_files_are_on_the_disk_before_write_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    root = tmp_path / "tree"
    sink = opened(root, durability="fsync")
    sink.write([item(0), item(1, ETH)])
    folders = [str(root), str(root / "binance"), str(root / "binance" / "api_v3_depth")]
    assert {*folders, str(BTC.within(root)), str(ETH.within(root))} < set(synced)
    assert sum(name.endswith(".jsonl") for name in synced) == 2
    synced.clear()
    sink.write([item(2)])
    assert [name.endswith(".jsonl") for name in synced] == [True]
    sink.close()


def test_a_place_where_no_tree_can_be_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    sink = LocalSink(tmp_path / "file")
    with pytest.raises(SinkError, match="cannot capture into"):
        sink.open()
    with pytest.raises(SinkError, match="cannot capture into"):
        LocalSink(tmp_path / "file" / "below").open()


def test_a_tree_that_cannot_be_mended_is_not_opened_and_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = opened(tmp_path)
    sink.write([item(0)])
    sink.close()
    (BTC.within(tmp_path) / ".x.jsonl.sealing.gz").write_bytes(b"")
    sink = LocalSink(tmp_path, seal="gz")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "denied")))
        with pytest.raises(SinkError, match="cannot clear"):
            sink.open()
    sink.open()
    sink.close()
    assert len(names(tmp_path)) == 1


@pytest.mark.parametrize("options", [{"seal": "rar"}, {"durability": "none"}])
def test_an_option_that_is_none_is_refused(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(UsageMistake, match=next(iter(options.values()))):
        LocalSink(tmp_path, **options)  # type: ignore[arg-type]


def test_a_folder_that_cannot_be_made_later_is_told_and_takes_nothing_with_it(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    (tmp_path / "binance").write_text("")
    with pytest.raises(SinkError, match="cannot write"):
        sink.write([item(0)])
    (tmp_path / "binance").unlink()
    sink.write([item(0)])
    sink.close()
    assert numbers(tmp_path) == [0]


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_loses_no_acknowledged_line(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    kill_storm(tmp_path, [draw.randrange(1, 3000) for _ in range(2)])


@pytest.mark.slow
def test_fifty_kills_lose_no_acknowledged_line(tmp_path: Path) -> None:
    draw = random.Random(50)
    kill_storm(tmp_path, [draw.randrange(1, 6000) for _ in range(50)])


def kill_storm(root: Path, moments: list[int]) -> None:
    first = 0
    acknowledged: list[int] = []
    for moment in moments:
        options = f'{{"to": "{root}", "seal": "gz", "rotate_entries": 400}}'
        said = list(Writer("sink_writer.py", "local", options, str(first), "7").acknowledged(first + moment))
        acknowledged += range(first, said[-1] + 1)
        first = (said[-1] // 100_000 + 1) * 100_000
    sink = opened(root)
    stored = numbers(root)
    assert len(stored) == len(set(stored)), "something is doubled"
    assert set(acknowledged) <= set(stored)
    assert stored == sorted(stored)
    sink.close()


@pytest.mark.parametrize("kind", [None, *sealing.SEALS])
def test_closed_files_and_what_was_read_back_of_them_are_among_the_metrics(tmp_path: Path, kind: str | None) -> None:
    metrics = Metrics()
    sink = opened(tmp_path, rotation=Rotation(max_entries=3), seal=kind, meter=metrics)
    sink.write([item(number) for number in range(7)])
    told = metrics.registry.get_sample_value
    platform = {"platform": BTC.venue}
    assert told("storage_file_size_bytes_count", platform) == (2.0 if kind is None else None)
    sink.close()
    sizes = [path.stat().st_size for path in BTC.within(tmp_path).iterdir()]
    assert told("storage_file_size_bytes_count", platform) == len(sizes) == 3
    assert told("storage_file_size_bytes_sum", platform) == sum(sizes)
    read = told("storage_read_operations_total", platform | {"endpoint": BTC.endpoint, "sink": "local", "status": "ok"})
    assert read == (None if kind is None else 7.0)


def waits_for_a_lock() -> bool:
    """Tell whether a thread of this process waits for a lock of a folder (proc(5), `/proc/locks`)."""
    waiting = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
    return any(fields[2] == "FLOCK" and int(fields[5]) == os.getpid() for fields in waiting)


def test_a_tree_that_is_exchanged_while_its_lock_is_waited_for_is_locked_anew(tmp_path: Path) -> None:
    root, other = tmp_path / "tree", tmp_path / "other"
    root.mkdir()
    other.mkdir()
    restoring = os.open(root, os.O_RDONLY)
    fcntl.flock(restoring, fcntl.LOCK_EX)
    sink = LocalSink(root)
    starting = threading.Thread(target=sink.open)
    starting.start()
    while not waits_for_a_lock():
        assert starting.is_alive()
    root.rename(tmp_path / "old")
    other.rename(root)
    os.close(restoring)
    starting.join(10)
    another = os.open(root, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
    sink.close()
    fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(another)
