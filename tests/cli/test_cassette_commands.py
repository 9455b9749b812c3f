"""`marketreplay cassette ...` and `marketreplay demo`, run as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_marketreplay.cassette import entry, payload
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.writer import Recording

SCRIPT = Path(sys.executable).with_name("marketreplay")


def marketreplay(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run the console script that the installation made."""
    return subprocess.run([SCRIPT, *map(str, arguments)], capture_output=True, cwd=cwd, timeout=60, check=False)


def line(number: int, body: bytes = b'{"bids":[]}', **meta: object) -> bytes:
    return entry.write_line(
        1_759_399_200_000 + number, "/api/v3/depth", b'{"symbol":"BTCUSDT"}', entry.Meta(**meta), payload.encode(body)
    )


@pytest.fixture
def cassette(tmp_path: Path) -> Path:
    root = tmp_path / "cassettes" / "crash"
    recording = Recording(root)
    place = Place("binance", "api_v3_depth", "BTCUSDT")
    recording.append(place, line(0))
    recording.append(place, line(1, b'{"price": 0.10000000}\r\n', latency_ms=4.2))
    recording.append(place, line(2, b'{"code":-1003,"msg":"Too many."}', status=429))
    recording.append(place, line(3, b"\xff\x00binary"))
    recording.close()
    return root


def the_file(cassette: Path) -> Path:
    return next(cassette.rglob("*.jsonl"))


def test_ls_counts_entries_and_what_went_wrong(cassette: Path) -> None:
    done = marketreplay("cassette", "ls", cassette.parent)
    assert done.returncode == 0, done.stderr
    row = next(text for text in done.stdout.decode().splitlines() if "BTCUSDT" in text).split()
    assert row[:6] == ["binance", "/api/v3/depth", "BTCUSDT", "1", "4", "1"]
    assert "2025-10-02 10:00:00" in done.stdout.decode()


def test_ls_gives_machines_json(cassette: Path) -> None:
    rows = json.loads(marketreplay("cassette", "ls", cassette, "--json").stdout)
    assert rows == [
        {
            "cassette": str(cassette),
            "venue": "binance",
            "endpoint": "/api/v3/depth",
            "symbol": "BTCUSDT",
            "files": 1,
            "entries": 4,
            "size_bytes": the_file(cassette).stat().st_size,
            "first_ms": 1_759_399_200_000,
            "last_ms": 1_759_399_200_003,
            "failures": 1,
            "damaged": 0,
        }
    ]


def test_show_prints_each_payload_exactly(cassette: Path) -> None:
    done = marketreplay("cassette", "show", cassette, "--body", "-n", 0)
    assert done.returncode == 0, done.stderr
    assert b'{"price": 0.10000000}\r\n' in done.stdout
    assert b"\xff\x00binary\n" in done.stdout
    assert b"GET /api/v3/depth?symbol=BTCUSDT -> 200, 23 bytes, 4.2 ms" in done.stdout
    assert b"-> 429, 32 bytes, rate limited (HTTP 429): -1003 Too many." in done.stdout


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["-n", "2"], 2),
        (["--symbol", "ETHUSDT"], 0),
        (["--symbol", "BTCUSDT"], 4),
        (["--venue", "kraken"], 0),
        (["--venue", "binance"], 4),
        (["--endpoint", "depth"], 4),
        (["--endpoint", "trades"], 0),
    ],
)
def test_show_shows_what_was_chosen(cassette: Path, options: list[str], count: int) -> None:
    assert len(marketreplay("cassette", "show", cassette, *options).stdout.splitlines()) == count


def test_a_single_file_can_be_looked_at(cassette: Path) -> None:
    assert len(marketreplay("cassette", "show", the_file(cassette)).stdout.splitlines()) == 4
    assert b"4" in marketreplay("cassette", "ls", the_file(cassette)).stdout
    assert b"1 files, 4 entries" in marketreplay("cassette", "check", the_file(cassette)).stdout


def test_check_reads_every_line_and_names_the_bad_ones(cassette: Path) -> None:
    assert marketreplay("cassette", "check", cassette).returncode == 0
    file = the_file(cassette)
    good = file.read_bytes().split(b"\n")
    good[1:2] = [b"", good[1][:40], b"\0" * 16, good[1]]
    file.write_bytes(b"\n".join(good) + b'{"timestamp":1')
    done = marketreplay("cassette", "check", cassette, "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["entries"] == 4
    assert [(item["line"], item["torn"]) for item in found["damage"]] == [(2, False), (3, False), (4, False), (8, True)]
    assert all(item["path"] == str(file) for item in found["damage"])
    text = marketreplay("cassette", "check", cassette)
    assert text.returncode == 1
    assert f"{file}, line 4, byte ".encode() in text.stdout
    assert b"NUL bytes" in text.stdout
    assert b"marketreplay cassette repair" in text.stdout


def test_repair_keeps_what_is_good_and_the_old_file(cassette: Path) -> None:
    file = the_file(cassette)
    good = file.read_bytes()
    damaged = good.replace(b"\n", b"\nrubbish\n", 1) + b'{"torn'
    file.write_bytes(damaged)
    done = marketreplay("cassette", "repair", cassette)
    assert done.returncode == 0, done.stderr
    assert b"4 entries kept, 2 lines left out" in done.stdout
    assert file.read_bytes() == good
    assert file.with_name(file.name + ".damaged").read_bytes() == damaged
    assert marketreplay("cassette", "check", cassette).returncode == 0
    assert b"nothing to mend" in marketreplay("cassette", "repair", cassette).stdout


def test_check_names_a_recording_that_was_killed(cassette: Path) -> None:
    (cassette / ".recording-1-abc").mkdir()
    done = marketreplay("cassette", "check", cassette)
    assert done.returncode == 0
    assert b".recording-1-abc: left by a recording that was killed" in done.stdout


def test_a_folder_without_cassettes_is_a_failure_that_says_so(tmp_path: Path) -> None:
    done = marketreplay("cassette", "ls", tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"has no recorded files" in done.stderr


def test_a_wrong_command_line_exits_2(tmp_path: Path) -> None:
    assert marketreplay("cassette", "show", tmp_path, "--no-such-option").returncode == 2
    assert marketreplay("cassette", "ls", tmp_path / "missing").returncode == 2


def test_import_refuses_a_host_that_names_no_venue(tmp_path: Path) -> None:
    source = tmp_path / "old.yaml"
    source.write_text("interactions: []\nversion: 1\n")
    done = marketreplay("cassette", "import", source, "--to", tmp_path / "new", "--host", "nonsense")
    assert done.returncode == 2
    assert b"is not 'host = venue'" in done.stderr


def test_import_brings_a_cassette_of_vcrpy(tmp_path: Path) -> None:
    source = tmp_path / "old.yaml"
    source.write_text(
        """interactions:
- request: {body: null, headers: {}, method: GET, uri: 'https://api.binance.com/api/v3/time'}
  response:
    body: {string: '{"serverTime": 1499827319559}'}
    headers: {Content-Type: [application/json], Date: ['Wed, 12 Jul 2017 02:41:59 GMT']}
    status: {code: 200, message: OK}
version: 1
"""
    )
    done = marketreplay("cassette", "import", source, "--to", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    shown = marketreplay("cassette", "show", tmp_path / "new", "--body").stdout.decode()
    assert '{"serverTime": 1499827319559}' in shown
    assert "binance GET /api/v3/time -> 200" in shown
    again = marketreplay("cassette", "import", source, "--to", tmp_path / "new")
    assert again.returncode != 0


def test_the_demo_records_replays_and_keeps_its_cassette(tmp_path: Path) -> None:
    done = marketreplay("demo", "--to", tmp_path / "demo")
    assert done.returncode == 0, done.stderr
    said = done.stdout.decode()
    assert "6 answers and 80 WebSocket messages replayed" in said
    assert said.count(", the same") == 8
    assert "the checksums hold" in said
    assert "no recorded answer for GET" in said
    assert b"6 files" in (checked := marketreplay("cassette", "check", tmp_path / "demo").stdout)
    assert b"0 damaged lines" in checked
    again = marketreplay("demo", "--to", tmp_path / "demo")
    assert (again.returncode, again.stdout) == (2, b"")
    assert b"exists" in again.stderr


def test_the_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    assert marketreplay("demo", cwd=tmp_path).returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["check", "repair"])
def test_a_file_that_is_none_of_a_cassette_is_left_alone(command, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("precious\n")
    result = marketreplay("cassette", command, notes)
    assert result.returncode == 2
    assert b"no file of a cassette" in result.stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious\n"]
