"""What `websocket-client` leaves in a cassette: modes, secrets, and what is kept of a test that failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_marketreplay.errors import UnrecordedRequest

from .conftest import Open
from .websocket_clients import App, by_app, by_recv, connect, join, subscribe
from .wire_server import Line, WireServer

SECRET_KEY = "Zx81kqPLm29sVbTw7yRcHd40JfNgAe35"
SIGNATURE = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
LISTEN_KEY = "pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81va65sdf19v8a65a1"


def counting(line: Line) -> None:
    line.accept()
    stream = line.subscribed()["params"][0]
    line.send(json.dumps({"s": stream, "connection": counting_server.opened}))
    line.close()


counting_server: WireServer


@pytest.fixture
def server() -> Any:
    global counting_server
    with WireServer(counting) as counting_server:
        yield counting_server


def of(server: WireServer, stream: str, path: str = "/ws") -> Any:
    return json.loads(by_recv(server.url + path, [subscribe(stream)])[0][1])["connection"]


def test_once_records_what_is_not_there_and_then_replays(server: WireServer, cassette: Open) -> None:
    with cassette(server, "once"):
        assert of(server, "a") == 1
    with cassette(server, "once"):
        assert of(server, "a") == 1
    assert server.opened == 1


def test_new_episodes_replays_what_is_there_and_records_the_rest(server: WireServer, cassette: Open) -> None:
    with cassette(server, "rewrite"):
        assert of(server, "a") == 1
    with cassette(server, "new_episodes"):
        assert of(server, "a") == 1
        assert of(server, "a") == 2
        assert of(server, "b", "/stream") == 3
    with cassette(server):
        assert [of(server, "a"), of(server, "a"), of(server, "b", "/stream")] == [1, 2, 3]


def test_all_replaces_what_was_asked_again_and_keeps_the_rest(server: WireServer, cassette: Open) -> None:
    with cassette(server, "rewrite"):
        of(server, "a")
        of(server, "b", "/stream")
    with cassette(server, "all"):
        assert of(server, "a") == 3
    with cassette(server):
        assert [of(server, "a"), of(server, "b", "/stream")] == [3, 2]


def test_a_block_that_fails_keeps_nothing_of_its_recording(server: WireServer, cassette: Open, tmp_path: Path) -> None:
    with cassette(server, "rewrite"):
        of(server, "a")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")}
    with pytest.raises(AssertionError, match="as it may"), cassette(server, "rewrite"):
        of(server, "a")
        raise AssertionError("as it may")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.jsonl")} == before


def test_overlapping_sessions_each_keep_their_connection(server: WireServer, cassette: Open) -> None:
    with cassette(server, "rewrite", "outer"), cassette(server, "rewrite", "inner"):
        of(server, "a")
    with cassette(server, "none", "inner"):
        of(server, "a")
    with pytest.raises(UnrecordedRequest), cassette(server, "none", "outer"):
        of(server, "a")


def test_an_app_that_connects_in_an_inner_session_stays_in_it(cassette: Open) -> None:
    def two(line: Line) -> None:
        line.accept()
        for _ in range(2):
            line.send(json.dumps({"s": line.subscribed()["params"][0]}))
        line.close()

    with WireServer(two) as server, cassette(server, "rewrite", "outer"):
        with cassette(server, "rewrite", "inner"):
            connection = connect(server.url + "/ws", timeout=10)
            connection.send(subscribe("in"))
            assert connection.recv() == '{"s": "in"}'
        by_recv(server.url + "/ws", [subscribe("x"), subscribe("y")])
        connection.send(subscribe("late"))
        assert connection.recv() == '{"s": "late"}'
        connection.shutdown()
    with cassette(server, "none", "outer"):
        assert by_recv(server.url + "/ws", [subscribe("x"), subscribe("y")])[0] == ("text", b'{"s": "x"}')


# ---------------------------------------------------------------- secrets


def private(line: Line) -> None:
    line.accept()
    asked = line.subscribed()
    line.send(json.dumps({"id": asked["id"], "result": {"apiKey": asked["params"]["apiKey"]}}))
    line.send('{"e":"executionReport","c":"mine"}')
    line.close()


def login(signature: str = SIGNATURE, number: int = 1) -> str:
    params = {"apiKey": SECRET_KEY, "signature": signature, "timestamp": 1_759_399_200_000 + number}
    return json.dumps({"id": number, "method": "session.logon", "params": params})


def test_secrets_of_a_private_stream_are_nowhere_and_it_still_matches(cassette: Open, tmp_path: Path) -> None:
    headers = {"X-MBX-APIKEY": SECRET_KEY, "Authorization": "Bearer " + SIGNATURE}

    def run(server: WireServer, message: str, listen_key: str) -> list[Any]:
        return by_app(f"{server.url}/ws/{listen_key}", [message], header=headers, cookie="session=" + SECRET_KEY)

    with WireServer(private) as server, cassette(server, "rewrite"):
        live = run(server, login(), LISTEN_KEY)
    assert SECRET_KEY.encode() in live[0][1]
    written = "".join(f"{path} {path.read_text()}" for path in tmp_path.rglob("*.jsonl"))
    assert "executionReport" in written
    for secret in (SECRET_KEY, SIGNATURE, LISTEN_KEY):
        assert secret not in written
    with cassette(server):
        again = run(server, login("00" * 32, 7), LISTEN_KEY[::-1])
    assert again[1:] == live[1:]


def test_secrets_do_not_stand_in_the_texts_of_errors(cassette: Open) -> None:
    with WireServer(private) as server, cassette(server, "rewrite"):
        by_recv(f"{server.url}/ws/{LISTEN_KEY}", [login()])
    texts = []
    with pytest.raises(Exception, match="sent:") as caught, cassette(server, patience=0.1):
        connection = connect(f"{server.url}/ws/{LISTEN_KEY}")
        connection.send(json.dumps({"method": "order.place", "params": {"apiKey": SECRET_KEY, "signature": SIGNATURE}}))
    texts.append(str(caught.value))
    with pytest.raises(UnrecordedRequest) as unrecorded, cassette(server):
        connect(f"{server.url}/private?listenKey={LISTEN_KEY}", header=["X-MBX-APIKEY: " + SECRET_KEY])
    texts.append(str(unrecorded.value))
    for secret in (SECRET_KEY, SIGNATURE, LISTEN_KEY):
        assert not [text for text in texts if secret in text]


# ---------------------------------------------------------------- in a test run

TEST = """
import threading
import pytest
import websocket

URL = "ws://{address}/ws"

@pytest.mark.marketreplay("shared")
def test_stream_in_a_thread():
    got, opened = [], []
    def on_open(app):
        opened.append(app.sock)
        app.send('{{"method":"SUBSCRIBE","params":["a"],"id":1}}')
    app = websocket.WebSocketApp(URL, on_open=on_open, on_message=lambda app, text: got.append(text))
    thread = threading.Thread(target=app.run_forever, daemon=True)
    thread.start()
    thread.join(10)
    opened[0].shutdown()
    assert got == ['{{"s": "a", "connection": 1}}']

@pytest.mark.marketreplay("shared")
def test_its_refusal_is_swallowed():
    try:
        websocket.create_connection("wss://stream.binance.com:9443/ws/other@depth")
    except Exception:
        pass
"""


def test_in_a_test_run_a_recording_plays_and_a_swallowed_refusal_fails(
    server: WireServer, pytester: pytest.Pytester
) -> None:
    pytester.makeini(f"[pytest]\nmarketreplay_hosts = {server.address} = binance\n")
    pytester.makepyfile(TEST.format(address=server.address))
    ignore = ("-p", "no:randomly")
    recorded = pytester.runpytest(
        "-p", "no:recording", "-p", "no:cassetter", "--record-mode=rewrite", "-k", "thread", *ignore
    )
    recorded.assert_outcomes(passed=1, deselected=1)
    server.stop()
    played = pytester.runpytest("-p", "no:recording", "-p", "no:cassetter", *ignore)
    played.assert_outcomes(passed=1, failed=1)
    played.stdout.fnmatch_lines(["*no recorded answer for WebSocket wss://stream.binance.com:9443/ws/other@depth*"])


def test_an_app_in_a_thread_records_into_the_session_that_started_it(server: WireServer, cassette: Open) -> None:
    with cassette(server, "rewrite") as session:
        app = App(server.url + "/ws", [subscribe("a")])
        join(app.start())
        assert session.recorded >= 4
    with cassette(server):
        again = App(server.url + "/ws", [subscribe("a")])
        join(again.start())
    assert again.got == app.got
