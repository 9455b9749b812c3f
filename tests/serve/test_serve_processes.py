"""The command line, and clients that are not this process, not this library, or not Python."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests
import websocket

from pytest_marketreplay.cli import main
from pytest_marketreplay.serve import CassetteServer

from .tapes import Tape

Serve = Callable[..., CassetteServer]
SCRIPT = Path(sys.executable).with_name("marketreplay")
BODY = b'{"lastUpdateId":1027024,"bids":[["4.00000000","431.00000000"]],"asks":[]}'
TICK = b'{"e":"trade","s":"BTCUSDT","t":%d,"p":"0.10000000"}'
TICKS = [(TICK % number).decode() for number in range(3)]
DEPTH = "/api/v3/depth?symbol=BTCUSDT"


@pytest.fixture
def market(tape: Tape) -> Tape:
    tape.rest(0, "binance", "/api/v3/depth", "symbol=BTCUSDT", BODY)
    tape.rest(0, "kraken", "/0/public/Time", "", b'{"error":[],"result":{}}')
    connection = tape.connection(0, "binance", "/ws/btcusdt@trade")
    for number in range(3):
        connection.recv(2_000 + number * 100, TICK % number)
    tape.rest(600_000, "binance", "/api/v3/time")
    return tape


@contextmanager
def running(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [str(SCRIPT), "serve", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=10)


def said(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    return dict(json.loads(process.stdout.readline()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_asked_to_stop_and_ends_cleanly(market: Tape, number: int) -> None:
    with running(market.close(), "--json", "--host-map", "--speed", 0) as process:
        told = said(process)
        assert sorted(told["venues"]) == ["binance", "kraken"]
        base = told["venues"]["binance"]
        assert told["hosts"]["api.binance.com"] == base["rest"].removeprefix("http://")
        assert requests.get(base["rest"] + DEPTH, timeout=10).content == BODY
        assert requests.get(base["rest"] + DEPTH + "&limit=7", timeout=10).status_code == 501
        socket = websocket.create_connection(base["websocket"] + "/ws/btcusdt@trade", timeout=10)
        assert [socket.recv() for _ in range(3)] == TICKS
        socket.close()
        process.send_signal(number)
        output, errors = process.communicate(timeout=10)
        assert (process.returncode, output) == (0, "")
        assert "not recorded: binance GET /api/v3/depth?symbol=BTCUSDT&limit=7" in errors
        assert "Traceback" not in errors


def test_the_json_line_names_hosts_only_where_they_are_asked_for(market: Tape) -> None:
    with running(market.close(), "--json") as process:
        assert sorted(said(process)) == ["now_ms", "venues"]


def test_the_command_prints_one_line_for_each_venue(market: Tape) -> None:
    with running(market.close(), "--host-map", "--from-start", "--loop", "--order", "sequence") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(3)]
        port = int(lines[0].rpartition(":")[2])
        assert lines[0] == f"binance: REST http://127.0.0.1:{port}, WebSocket ws://127.0.0.1:{port}"
        assert lines[1].startswith("kraken: REST http://127.0.0.1:")
        assert lines[2] == f"api.binance.com = 127.0.0.1:{port}"
        assert requests.get(f"http://127.0.0.1:{port}{DEPTH}", timeout=10).content == BODY


def test_a_command_that_cannot_serve_says_why_and_exits_with_2(
    market: Tape, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    market.close()
    (tmp_path / "empty").mkdir()
    taken = serve().url("binance").rpartition(":")[2]
    for arguments, reason in (
        ([tmp_path / "nowhere"], "has no recorded files"),
        ([tmp_path / "empty"], "has no recorded files"),
        ([market.root, "--host", "x"], "is not 'host = venue'"),
        ([market.root, "--speed", "-1"], "is not in the range"),
        ([market.root, "--port", taken], "cannot listen: "),
        ([], "Missing argument"),
    ):
        monkeypatch.setattr(sys, "argv", ["marketreplay", "serve", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        assert (ended.value.code, told.out) == (2, "")
        assert reason in told.err


def test_aiohttp_gets_rest_and_stream(market: Tape, serve: Serve) -> None:
    server = serve(speed=10)

    async def ask() -> tuple[bytes, list[str]]:
        url = server.ws_url("binance") + "/ws/btcusdt@trade"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            async with session.get(server.url("binance") + DEPTH) as answer:
                body = await answer.read()
            return body, [(await socket.receive_str()) for _ in range(3)]

    assert asyncio.run(ask()) == (BODY, TICKS)


def test_curl_gets_the_recorded_bytes(market: Tape, serve: Serve, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    out = tmp_path / "out"
    command = [curl, "--silent", "--fail", "--max-time", "10", "-o", str(out), serve().url("binance") + DEPTH]
    subprocess.run(command, check=True, timeout=20)
    assert out.read_bytes() == BODY


STDLIB_CLIENT = """
import base64, json, os, socket, sys, urllib.request
rest, host, port = sys.argv[1], "127.0.0.1", int(sys.argv[2])
body = urllib.request.urlopen(rest, timeout=10).read().decode()
link = socket.create_connection((host, port), 10)
key = base64.b64encode(os.urandom(16)).decode()
link.sendall((f"GET /ws/btcusdt@trade HTTP/1.1\\r\\nHost: {host}:{port}\\r\\nUpgrade: websocket\\r\\n"
              f"Connection: Upgrade\\r\\nSec-WebSocket-Key: {key}\\r\\nSec-WebSocket-Version: 13\\r\\n\\r\\n").encode())
stream = link.makefile("rb")
assert b" 101 " in stream.readline()
while stream.readline().strip():
    pass
frames = []
while len(frames) < 3:
    head = stream.read(2)
    assert head[0] == 0x81 and head[1] < 126, head
    frames.append(stream.read(head[1]).decode())
print(json.dumps([body, frames]))
"""

NODE_CLIENT = """
const [rest, url] = process.argv.slice(1);
const frames = [];
const socket = new WebSocket(url);
socket.onmessage = (event) => {
  frames.push(event.data);
  if (frames.length === 3) socket.close();
};
socket.onclose = async () => console.log(JSON.stringify([await (await fetch(rest)).text(), frames]));
socket.onerror = (event) => { console.error(event); process.exit(1); };
"""


def test_a_python_with_nothing_but_its_library_gets_rest_and_stream(market: Tape, serve: Serve) -> None:
    server = serve(speed=4)
    arguments = [server.url("binance") + DEPTH, server.url("binance").rpartition(":")[2]]
    command = [sys.executable, "-S", "-c", STDLIB_CLIENT, *arguments]
    done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    assert json.loads(done.stdout) == [BODY.decode(), TICKS]


def test_node_gets_rest_and_stream(market: Tape, serve: Serve) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    flag = "--experimental-websocket"
    if subprocess.run([node, flag, "-e", "WebSocket"], capture_output=True, timeout=30, check=False).returncode:
        pytest.skip("this node has no WebSocket")
    server = serve(speed=10)
    command = [
        node,
        flag,
        "-e",
        NODE_CLIENT,
        server.url("binance") + DEPTH,
        server.ws_url("binance") + "/ws/btcusdt@trade",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [BODY.decode(), TICKS]


def test_loading_and_stopping_take_no_noticeable_time(market: Tape, serve: Serve) -> None:
    started = time.perf_counter()
    serve(speed=0).stop()
    assert time.perf_counter() - started < 5
