"""Who may read a cassette: folders 750, files 640, as far as the process's umask allows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.reader import repair
from pytest_marketreplay.cassette.writer import Recording, end_torn_line


@pytest.fixture(autouse=True)
def _no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_every_folder_of_a_new_cassette_is_closed_to_others(tmp_path: Path) -> None:
    """Those above the place too, which `mkdir(parents=True)` makes with the default mode."""
    recording = Recording(tmp_path / "cassettes" / "test_a")
    recording.append(Place("binance", "api_v3_depth", "BTCUSDT"), b"{}\n")
    recording.close()
    made = {path.relative_to(tmp_path): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert len(made) == 6
    for path, mode in made.items():
        assert mode == (0o640 if path.suffix else 0o750), path


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    """It is neither overwritten nor waited for."""
    (tmp_path / "binance").mkdir()
    (tmp_path / "binance" / "api_v3_depth").write_text("in the way")
    from pytest_marketreplay.errors import RecordingError

    recording = Recording(tmp_path)
    with pytest.raises(RecordingError):
        recording.append(Place("binance", "api_v3_depth", "BTCUSDT"), b"{}\n")
    recording.close()


def test_what_is_kept_of_a_torn_line_is_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "2026-01-02T03-04-05.jsonl"
    path.write_bytes(b"torn")
    end_torn_line(path)
    assert path.with_name(path.name + ".torn").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("mode", [0o640, 0o600])
def test_a_repaired_file_is_as_closed_as_it_was(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "2026-01-02T03-04-05.jsonl"
    path.write_bytes(b"{}\n")
    path.chmod(mode)
    assert repair(path)[1] == 1
    assert path.stat().st_mode & 0o777 == mode
