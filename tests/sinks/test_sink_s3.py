"""Parquet into S3: real servers, moto for conformance and rclone for kills and refused keys."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import sink_lab
from pyarrow import fs

from pytest_marketreplay.errors import SinkError
from pytest_marketreplay.sinks import registry
from pytest_marketreplay.sinks.items import Sink

KEYS = {
    "AWS_ACCESS_KEY_ID": "AKTEST123",
    "AWS_SECRET_ACCESS_KEY": "SKTEST12345",
    "AWS_EC2_METADATA_DISABLED": "true",
    # rclone's server does not know the newer checksums
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
}
RCLONE = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def answers(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(600):
        assert process.poll() is None
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)  # until it listens
            continue
        return
    raise AssertionError("the server does not answer")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": ""}.items():
        monkeypatch.setenv(name, value)


class Server:
    """A server that can be stopped and started again on its port."""

    def __init__(self, command: list[str], port: int, env: dict[str, str]) -> None:
        self.command, self.port, self.env = command, port, env
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, env={**os.environ, **self.env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        answers(self.process, self.port)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def target(self) -> str:
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{self.port}"  # `keys` takes it back
        return "s3://captures/desk"

    def files(self) -> fs.S3FileSystem:
        return fs.S3FileSystem(
            endpoint_override=f"127.0.0.1:{self.port}", scheme="http", region="us-east-1", allow_bucket_creation=True
        )


def moto(folder: Path) -> Server:
    pytest.importorskip("moto.server")
    port = free_port()
    server = Server([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, {})
    server.files().create_dir("captures")
    return server


def rclone(folder: Path) -> Server:
    if RCLONE is None or subprocess.run([RCLONE, "serve", "s3", "--help"], capture_output=True, check=False).returncode:
        pytest.skip("an rclone that can serve s3 is not installed")
    (folder / "served" / "captures").mkdir(parents=True)
    port = free_port()
    # the quotes are its own: the value is a list, separated by commas
    keys = {"RCLONE_AUTH_KEY": '"AKTEST123,SKTEST12345"', "RCLONE_CONFIG": str(folder / "rclone.conf")}
    return Server([RCLONE, "serve", "s3", "--addr", f"127.0.0.1:{port}", str(folder / "served")], port, keys)


@pytest.fixture(params=[moto, rclone])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    made = request.param(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def rclone_server(tmp_path: Path) -> Iterator[Server]:
    made = rclone(tmp_path)
    yield made
    made.stop()


def sink_to(server: Server, log: Path, most: int = 20) -> Sink:
    return registry.make("s3", {"to": server.target(), "wal": log, "rotate_entries": most})


def numbers(server: Server) -> list[int]:
    files = server.files()
    out: list[int] = []
    for found in files.get_file_info(fs.FileSelector("captures/desk/orderbook_data", recursive=True)):
        if found.is_file:
            with files.open_input_file(found.path) as file:
                table = pq.read_table(file, columns=["sequence_number"])
            assert table.num_rows % 3 == 0
            out += table["sequence_number"].to_pylist()[::3]
    return out


def test_snapshots_become_objects_and_the_log_is_empty(server: Server, tmp_path: Path) -> None:
    log = tmp_path / "log"
    sink = sink_to(server, log)
    sink.open()
    sink.write(sink_lab.items(1, 51))
    sink.close()
    assert sorted(numbers(server)) == list(range(1, 51))
    assert list(log.rglob("*.jsonl")) == []


def test_two_machines_write_into_one_bucket(server: Server, tmp_path: Path) -> None:
    sinks = [sink_to(server, tmp_path / name) for name in ("one", "two")]
    for index, sink in enumerate(sinks):
        sink.open()
        sink.write(sink_lab.items(1 + 50 * index, 51 + 50 * index))
    for sink in sinks:
        sink.close()
    assert sorted(numbers(server)) == list(range(1, 101))


def test_while_the_storage_is_away_the_log_takes_what_comes(rclone_server: Server, tmp_path: Path) -> None:
    sink = sink_to(rclone_server, tmp_path / "log")
    sink.open()
    rclone_server.stop()
    sink.write(sink_lab.items(1, 51))
    with pytest.raises(SinkError, match="captures/desk"):
        sink.close()
    rclone_server.start()
    sink = sink_to(rclone_server, tmp_path / "log")
    sink.open()
    sink.close()
    assert sorted(numbers(rclone_server)) == list(range(1, 51))


def test_a_refused_key_is_said_and_never_shown(
    rclone_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    with pytest.raises(SinkError, match=r"captures/desk.*ACCESS_DENIED") as caught:
        sink_to(rclone_server, tmp_path / "log").open()
    assert "not-the-secret" not in str(caught.value)
    assert "AKTEST123" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_said_at_once(server: Server, tmp_path: Path) -> None:
    server.target()
    with pytest.raises(SinkError, match="no bucket 'elsewhere'"):
        registry.make("s3", {"to": "s3://elsewhere/desk", "wal": tmp_path}).open()


def test_objects_of_one_second_do_not_overwrite_each_other(server: Server, tmp_path: Path) -> None:
    for number in range(3):
        sink = sink_to(server, tmp_path / "log", most=2)
        sink.open()
        sink.write(sink_lab.items(number * 5, number * 5 + 5))
        sink.close()
    assert sorted(numbers(server)) == list(range(15))


def kill_storm(server: Server, log: Path, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged: list[int] = []
    start = 1
    for _ in range(kills):
        with sink_lab.writer("parquet", server.target(), log, start) as process:
            assert process.stdout is not None
            said = [int(process.stdout.readline()) for _ in range(chance.randrange(1, 60))]
            process.kill()
            said += [int(line) for line in process.stdout.read().split(b"\n") if line]
        acknowledged += range(start, said[-1] + 1)
        start = said[-1] + 1_000
    left = True
    while left:
        sink = sink_to(server, log)
        sink.open()
        sink.close()
        left = bool(list(log.rglob("*.jsonl")))
    found = numbers(server)
    assert len(found) == len(set(found))
    assert set(acknowledged) <= set(found)


def test_kills_lose_and_double_no_acknowledged_row(rclone_server: Server, tmp_path: Path) -> None:
    kill_storm(rclone_server, tmp_path / "log", 3, seed=3)


@pytest.mark.slow
def test_twenty_kills_lose_and_double_no_acknowledged_row(rclone_server: Server, tmp_path: Path) -> None:
    kill_storm(rclone_server, tmp_path / "log", 20, seed=4)
