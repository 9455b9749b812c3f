"""Writing: nothing is lost or fused, whatever happens to the process, the disk or the folder."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pytest_marketreplay import clock
from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import files, reader, writer
from pytest_marketreplay.cassette.entry import Meta
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.payload import Payload
from pytest_marketreplay.cassette.writer import AppendFile, Recording, end_torn_line
from pytest_marketreplay.errors import RecordingError

PLACE = Place("binance", "api_v3_depth", "BTCUSDT")
START = "2025-10-02T10-00-00"


@pytest.fixture(autouse=True)
def _one_second(monkeypatch):
    monkeypatch.setattr(clock, "now_ns", lambda: 1_759_399_200_123_456_789)


def line_of(number: int, size: int = 0) -> bytes:
    return entries.write_line(number, "/x", b"{}", Meta(), Payload(b'"' + b"x" * size + b'"'))


def timestamps(path: Path) -> list[int]:
    return [entry.timestamp for entry in reader.read(path)]


# ---------------------------------------------------------------- torn lines


@pytest.mark.parametrize("chunk", [1, 5, 1 << 20])
@pytest.mark.parametrize("torn", [b"", b"{", b'{"timestamp":1,"endp', b"\0" * 30])
def test_a_torn_tail_is_never_fused_with_the_next_line(torn, chunk, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "CHUNK", chunk)
    path = tmp_path / f"{START}.jsonl"
    path.write_bytes(line_of(1) + torn)
    file = AppendFile(path, fresh=False)
    file.append(line_of(2))
    file.close()
    file.close()
    assert path.read_bytes() == line_of(1) + line_of(2)
    aside = path.with_name(path.name + ".torn")
    assert aside.exists() == bool(torn)
    if torn:
        assert aside.read_bytes() == torn + b"\n"


def test_torn_bytes_of_several_kills_are_all_kept_aside(tmp_path):
    path = tmp_path / f"{START}.jsonl"
    path.write_bytes(b"only torn")
    assert end_torn_line(path) == 9
    assert path.read_bytes() == b""
    path.write_bytes(line_of(1) + b"more")
    assert end_torn_line(path) == 4
    assert end_torn_line(path) == 0
    assert path.with_name(path.name + ".torn").read_bytes() == b"only torn\nmore\n"


# ---------------------------------------------------------------- a disk that is full

FULL_DISK = """
import resource, sys
from pathlib import Path
from pytest_marketreplay.cassette import writer
from pytest_marketreplay.errors import RecordingError
if sys.argv[2] == "no truncation":
    def refuse(fd, size):
        raise OSError("read-only")
    writer.os.ftruncate = refuse
line = Path(sys.argv[3]).read_bytes()
recording = writer.Recording(Path(sys.argv[1]))
place = writer.Place("v", "e", "s")
recording.append(place, line)
resource.setrlimit(resource.RLIMIT_FSIZE, (len(line) + 40, resource.RLIM_INFINITY))
for _ in range(2):
    try:
        recording.append(place, line)
    except RecordingError as error:
        print("refused:", error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
try:
    recording.append(place, line)
    print("went on")
except RecordingError as error:
    print("refused:", error)
recording.close()
print(*recording.written.values())
"""


def on_a_full_disk(tmp_path: Path, how: str) -> list[str]:
    (tmp_path / "line").write_bytes(line_of(1, 100))
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "tree"), how, str(tmp_path / "line")],
        capture_output=True, text=True, timeout=60, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    return done.stdout.splitlines()


def test_a_line_that_fits_in_part_is_taken_back_and_is_an_error(tmp_path):
    said = on_a_full_disk(tmp_path, "with truncation")
    assert "only 40 of" in said[0]
    assert "disk full" in said[0]
    assert said[2:] == ["went on", "2"]
    (path,) = files.all_files(tmp_path / "tree")
    assert path.read_bytes() == line_of(1, 100) * 2
    assert list(path.parent.iterdir()) == [path]


def test_a_part_that_cannot_be_taken_back_is_a_torn_line_that_nothing_fuses_with(tmp_path):
    said = on_a_full_disk(tmp_path, "no truncation")
    assert "only 40 of" in said[0]
    assert [line.split(":")[0] for line in said[1:3]] == ["refused", "refused"]
    assert said[3] == "1"
    (path,) = files.all_files(tmp_path / "tree")
    with pytest.warns(reader.TornTail):
        assert timestamps(path) == [1]


# ---------------------------------------------------------------- a recording's files


def test_two_recordings_of_one_second_write_different_files(tmp_path):
    first, second = Recording(tmp_path), Recording(tmp_path)
    for recording, number in ((first, 1), (second, 2), (first, 3), (second, 4)):
        recording.append(PLACE, line_of(number))
    first.close()
    second.close()
    folder = PLACE.within(tmp_path)
    assert timestamps(folder / f"{START}.jsonl") == [1, 3]
    assert timestamps(folder / f"{START}-1.jsonl") == [2, 4]
    assert first.written == {folder / f"{START}.jsonl": 2}


def test_files_and_folders_are_not_for_everybody(tmp_path):
    recording = Recording(tmp_path / "cassette")
    recording.append(PLACE, line_of(1))
    recording.close()
    (path,) = recording.written
    assert path.stat().st_mode & 0o777 & ~0o640 == 0
    assert path.parent.stat().st_mode & 0o777 & ~0o750 == 0


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_recording_never_hides_a_sealed_file_of_the_same_second(ending, tmp_path):
    folder = PLACE.within(tmp_path)
    folder.mkdir(parents=True)
    sealed = folder / f"{START}.jsonl{ending}"
    sealed.write_bytes(b"")
    recording = Recording(tmp_path)
    recording.append(PLACE, line_of(1))
    recording.close()
    assert files.files_in(folder) == [sealed, folder / f"{START}-1.jsonl"]


def test_more_places_than_files_may_be_open_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_MOST_OPEN", 3)
    recording = Recording(tmp_path)
    places = [Place("v", "e", f"S{number}") for number in range(10)]
    for turn in range(3):
        for place in places:
            recording.append(place, line_of(turn))
            assert len(recording._open) <= 3
    recording.close()
    assert len(files.all_files(tmp_path)) == 10
    assert all(timestamps(path) == [0, 1, 2] for path in files.all_files(tmp_path))
    assert set(recording.written.values()) == {3}


def test_a_file_that_was_closed_meanwhile_and_torn_by_somebody_is_not_fused_with(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_MOST_OPEN", 1)
    recording = Recording(tmp_path)
    recording.append(PLACE, line_of(1))
    recording.append(PLACE._replace(symbol="OTHER"), line_of(2))
    (path,) = files.files_in(PLACE.within(tmp_path))
    path.write_bytes(path.read_bytes() + b"torn")
    recording.append(PLACE, line_of(3))
    recording.close()
    assert timestamps(path) == [1, 3]


def test_threads_lose_and_mix_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_MOST_OPEN", 2)
    recordings = [Recording(tmp_path), Recording(tmp_path)]
    start = threading.Barrier(8)

    def work(worker: int) -> None:
        start.wait(10)
        for number in range(50):
            recordings[worker % 2].append(Place("v", "e", f"S{number % 5}"), line_of(worker * 1000 + number, 300))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for recording in recordings:
        recording.close()
    found = [time for path in files.all_files(tmp_path) for time in timestamps(path)]
    assert sorted(found) == sorted(worker * 1000 + number for worker in range(8) for number in range(50))
    assert len(files.all_files(tmp_path)) == 10


def test_discard_takes_back_its_own_files_and_empty_folders_only(tmp_path):
    root = tmp_path / "cassette"
    other = Recording(root)
    other.append(PLACE, line_of(1))
    other.close()
    mine = Recording(root)
    mine.append(PLACE, line_of(2))
    mine.append(PLACE._replace(symbol="ETHUSDT"), line_of(3))
    mine.append(PLACE._replace(symbol="ETHUSDT"), line_of(4))
    assert mine.discard() == 3
    assert mine.discard() == 0
    assert [timestamps(path) for path in files.all_files(root)] == [[1]]
    assert not PLACE._replace(symbol="ETHUSDT").within(root).exists()
    assert other.discard() == 1
    assert not root.exists()
    assert tmp_path.exists()


def test_after_a_discard_nothing_is_written_any_more(tmp_path):
    recording = Recording(tmp_path / "cassette")
    recording.append(PLACE, line_of(1))
    recording.discard()
    with pytest.raises(RecordingError, match="after the recording was closed"):
        recording.append(PLACE, line_of(2))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_recording_takes_back_meanwhile_is_made_again(tmp_path, monkeypatch):
    real, gone = writer.AppendFile, []

    def race(path, **more):
        if len(gone) < 3:
            gone.append(path)
            writer.prune(path.parent, tmp_path)
        return real(path, **more)

    monkeypatch.setattr(writer, "AppendFile", race)
    recording = Recording(tmp_path)
    recording.append(PLACE, line_of(1))
    recording.close()
    assert len(gone) == 3
    assert [timestamps(path) for path in files.all_files(tmp_path)] == [[1]]


def test_a_folder_that_is_always_taken_back_is_an_error_not_an_endless_loop(tmp_path, monkeypatch):
    real = writer.AppendFile

    def race(path, **more):
        writer.prune(path.parent, tmp_path)
        return real(path, **more)

    monkeypatch.setattr(writer, "AppendFile", race)
    with pytest.raises(RecordingError, match="cannot record into"):
        Recording(tmp_path).append(PLACE, line_of(1))


@pytest.mark.parametrize("blocked", ["binance", "binance/api_v3_depth/BTCUSDT"])
def test_a_file_where_a_folder_should_be_is_an_error(blocked, tmp_path):
    path = tmp_path / blocked
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    with pytest.raises(RecordingError, match="cannot record into"):
        Recording(tmp_path).append(PLACE, line_of(1))


def test_prune_leaves_folders_outside_of_the_cassette(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    writer.prune(outside, tmp_path / "cassette")
    assert outside.exists()
