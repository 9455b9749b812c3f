"""The command line where somebody looks at it, and where what it is given is not quite a cassette."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import yaml

from pytest_marketreplay import use_cassette
from pytest_marketreplay.cassette import entry, payload
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.writer import Recording
from pytest_marketreplay.demo import DemoFailed, _rebuilds, _refuses, run
from pytest_marketreplay.exchange import SimulatedExchange

SCRIPT = Path(sys.executable).with_name("marketreplay")


def marketreplay(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([SCRIPT, *map(str, arguments)], capture_output=True, timeout=60, check=False)


def on_a_terminal(*arguments: object) -> tuple[int, bytes, bytes]:
    """Run the console script with a terminal as its standard error; returns status, output, what the terminal got."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen([SCRIPT, *map(str, arguments)], stdout=subprocess.PIPE, stderr=slave, env=environment)
    os.close(slave)
    shown = b""
    try:
        while piece := os.read(master, 65_536):
            shown += piece
    except OSError:  # Linux says EIO when the last writer has closed its end
        pass
    finally:
        os.close(master)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output, shown


def record(root: Path, venue: str = "binance", body: bytes = b'{"bids":[]}') -> Path:
    line = entry.write_line(1_759_399_200_000, "/api/v3/depth", b"{}", entry.Meta(), payload.encode(body))
    recording = Recording(root)
    recording.append(Place(venue, "api_v3_depth", "BTCUSDT"), line)
    recording.close()
    return root


def vcr_cassette(path: Path, *uris: str) -> Path:
    items = [
        {
            "request": {"method": "GET", "uri": uri, "body": None, "headers": {}},
            "response": {"status": {"code": 200, "message": "OK"}, "headers": {}, "body": {"string": "{}"}},
        }
        for uri in uris
    ]
    path.write_text(yaml.safe_dump({"interactions": items, "version": 1}))
    return path


def test_a_terminal_sees_how_far_a_command_is_and_a_pipe_does_not(tmp_path: Path) -> None:
    cassette = record(tmp_path / "crash")
    status, output, shown = on_a_terminal("cassette", "ls", cassette)
    assert (status, b"reading" in shown, b"1/1" in shown) == (0, True, True)
    assert b"BTCUSDT" in output
    assert b"reading" not in output
    piped = marketreplay("cassette", "ls", cassette)
    assert (piped.stderr, piped.stdout) == (b"", output)


def test_a_terminal_sees_how_many_bytes_were_checked(tmp_path: Path) -> None:
    status, output, shown = on_a_terminal("cassette", "check", record(tmp_path / "crash"))
    assert (status, b"checking" in shown, b"bytes" in shown) == (0, True, True)
    assert output.startswith(b"1 files, 1 entries")


def test_a_terminal_sees_an_import_whose_size_is_not_known_before(tmp_path: Path) -> None:
    source = vcr_cassette(tmp_path / "old.yaml", "https://api.binance.com/api/v3/time")
    status, _, shown = on_a_terminal("cassette", "import", source, "--to", tmp_path / "new")
    assert (status, b"importing" in shown) == (0, True)


def test_an_import_that_left_something_out_says_what_and_exits_with_1(tmp_path: Path) -> None:
    good = vcr_cassette(tmp_path / "good.yaml", "https://api.binance.com/api/v3/time")
    bad = tmp_path / "bad.yaml"
    bad.write_text("interactions: [")
    done = marketreplay("cassette", "import", good, bad, "--to", tmp_path / "new")
    assert done.returncode == 1
    assert b"1 could not be imported" in done.stdout
    assert b"bad.yaml" in done.stdout
    assert len(list((tmp_path / "new").rglob("*.jsonl"))) == 1


def test_ls_gives_each_cassette_a_table_of_its_own(tmp_path: Path) -> None:
    record(tmp_path / "all" / "calm", "kraken")
    record(tmp_path / "all" / "crash", "binance")
    shown = marketreplay("cassette", "ls", tmp_path / "all").stdout.decode()
    calm, crash = shown.split(str(tmp_path / "all" / "crash"))
    assert str(tmp_path / "all" / "calm") in calm
    assert ("kraken" in calm, "binance" in calm) == (True, False)
    assert ("kraken" in crash, "binance" in crash) == (False, True)


def test_a_recording_that_a_kill_left_staged_is_no_cassette_and_is_told(tmp_path: Path) -> None:
    cassette = record(tmp_path / "all" / "crash")
    record(cassette / ".recording-1-x")
    rows = json.loads(marketreplay("cassette", "ls", tmp_path / "all", "--json").stdout)
    assert [(row["cassette"], row["entries"]) for row in rows] == [(str(cassette), 1)]
    done = marketreplay("cassette", "check", tmp_path / "all")
    assert (done.returncode, b".recording-1-x: left by a recording" in done.stdout) == (0, True)


@pytest.mark.parametrize("command", ["ls", "check"])
def test_one_file_is_looked_at_alone(tmp_path: Path, command: str) -> None:
    cassette = record(tmp_path / "crash")
    record(cassette)  # a second file of the same place
    file = min(cassette.rglob("*.jsonl"))
    found = json.loads(marketreplay("cassette", command, file, "--json").stdout)
    counted = found[0] if command == "ls" else found
    assert (counted["files"], counted["entries"]) == (1, 1)


def test_damaged_lines_are_counted_by_ls(tmp_path: Path) -> None:
    cassette = record(tmp_path / "crash")
    file = next(cassette.rglob("*.jsonl"))
    file.write_bytes(b"{\n" + file.read_bytes())
    (row,) = json.loads(marketreplay("cassette", "ls", cassette, "--json").stdout)
    assert (row["entries"], row["damaged"]) == (1, 1)
    assert b"0 + 1 damaged" in marketreplay("cassette", "ls", cassette).stdout


def test_an_empty_file_has_no_moments(tmp_path: Path) -> None:
    cassette = record(tmp_path / "crash")
    next(cassette.rglob("*.jsonl")).write_bytes(b"")
    (row,) = [text for text in marketreplay("cassette", "ls", cassette).stdout.decode().splitlines() if "BTC" in text]
    assert row.split()[-2:] == ["-", "-"]


def test_a_folder_without_a_cassette_is_told(tmp_path: Path) -> None:
    done = marketreplay("cassette", "ls", tmp_path)
    assert done.returncode != 0
    assert str(tmp_path).encode() in done.stderr


def test_the_demonstration_fails_when_a_replay_differs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers = iter((b"recorded", b"another"))
    monkeypatch.setattr("pytest_marketreplay.demo.strategy", lambda binance, kraken: [("depth", next(answers))])
    said: list[str] = []
    with pytest.raises(DemoFailed, match="depth: the replay differs"):
        run(said.append, folder=tmp_path / "new")
    assert said[-1].startswith("3. the exchange is stopped")


def test_the_demonstration_fails_when_an_unrecorded_request_is_answered(tmp_path: Path) -> None:
    with SimulatedExchange() as exchange:
        binance = exchange.url("binance")
        hosts = {binance.partition("://")[2]: "binance"}
        with use_cassette(tmp_path / "new", mode="once", hosts=hosts):
            # the very request that the demonstration takes for one that was never made
            assert requests.get(f"{binance}/api/v3/depth?symbol=BTCUSDT&limit=50", timeout=10).ok
    with pytest.raises(DemoFailed, match="was answered"):
        _refuses(lambda text: None, tmp_path / "new", hosts, binance)


def test_the_demonstration_fails_when_no_book_can_be_rebuilt(tmp_path: Path) -> None:
    with SimulatedExchange() as exchange:
        kraken = exchange.url("kraken")
        with use_cassette(tmp_path / "new", mode="once", hosts={kraken.partition("://")[2]: "kraken"}):
            assert requests.get(f"{kraken}/0/public/Depth?pair=XBTUSD&count=3", timeout=10).ok  # polled, not streamed
    with pytest.raises(DemoFailed, match="cannot be rebuilt"):
        _rebuilds(lambda text: None, tmp_path / "new")


def test_a_recorded_failure_counts_as_an_error_and_is_named(tmp_path: Path) -> None:
    line = entry.write_line(
        1_759_399_200_000, "/api/v3/depth", b"{}", entry.Meta(error="read_timeout"), payload.encode(b"")
    )
    recording = Recording(tmp_path / "crash")
    recording.append(Place("binance", "api_v3_depth", "BTCUSDT"), line)
    recording.close()
    (row,) = json.loads(marketreplay("cassette", "ls", tmp_path / "crash", "--json").stdout)
    assert (row["entries"], row["failures"]) == (1, 1)
    assert marketreplay("cassette", "show", tmp_path / "crash").stdout.rstrip().endswith(b", read_timeout")
