"""How a connection of `websocket-client` ends, or never begins: live and on replay the same, and nothing hangs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import websocket

from pytest_marketreplay.errors import RecordingExhausted, StreamStalled, TapeEnded, UnrecordedFrame

from .conftest import Open
from .websocket_clients import CLIENTS, App, Got, by_app, by_recv, connect, join, subscribe
from .wire_server import Line, WireServer

QUICK_S = 0.2
"""Patience of tests in which it runs out."""


def failure(url: str, **options: Any) -> Exception:
    """Connect in vain."""
    with pytest.raises((OSError, websocket.WebSocketException)) as caught:
        connect(url, timeout=10, **options)
    return caught.value


@pytest.mark.parametrize(
    ("status", "reason", "body"),
    [
        (401, "Unauthorized", b'{"code":-2015,"msg":"Invalid API-key"}'),
        (503, "Service Unavailable", b""),
        (429, "", b"\xff"),
    ],
)
def test_an_upgrade_that_was_refused_is_refused_again(status: int, reason: str, body: bytes, cassette: Open) -> None:
    def refuse(line: Line) -> None:
        line.refuse(status, reason, body, ("Retry-After", "7"), ("X-Trace", "a"))

    with WireServer(refuse) as server, cassette(server, "rewrite"):
        live = failure(server.url + "/ws")
    with cassette(server):
        again = failure(server.url + "/ws")
    assert isinstance(live, websocket.WebSocketBadStatusException)
    assert type(again) is type(live)
    assert str(again) == str(live)
    for name in ("status_code", "resp_headers", "resp_body"):
        assert getattr(again, name) == getattr(live, name)


def test_a_connection_that_nobody_accepted_fails_again_in_both_uses(cassette: Open) -> None:
    server = WireServer(lambda line: None)
    server.stop()
    with cassette(server, "rewrite"):
        live = failure(server.url + "/ws")
        app = App(server.url + "/ws")
        app.run()
    with cassette(server):
        again = failure(server.url + "/ws")
        replayed = App(server.url + "/ws")
        replayed.run()
    assert (
        (type(live), str(live))
        == (type(again), str(again))
        == (ConnectionRefusedError, "[Errno 111] Connection refused")
    )
    assert [str(error) for error in replayed.errors] == [str(error) for error in app.errors]
    assert replayed.got == app.got == [("closed", (None, None))]


@pytest.mark.parametrize("how", ["silence", "gone", "reset", "no_http", "no_handshake", "wrong_protocol"])
def test_a_handshake_that_failed_fails_again(how: str, cassette: Open) -> None:
    def broken(line: Line) -> None:
        match how:
            case "silence":
                line.recv()
            case "reset":
                line.reset()
            case "no_http":
                line.raw(b"SSH-2.0-OpenSSH\r\n\r\n")
            case "no_handshake":
                line.raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
            case "wrong_protocol":
                line.accept(subprotocol="soap")

    options: dict[str, Any] = {"subprotocols": ["json"]} if how == "wrong_protocol" else {}

    def fail(url: str) -> Exception:
        # up to 1.9.0 what is no HTTP was an IndexError
        with pytest.raises((OSError, websocket.WebSocketException, IndexError)) as caught:
            connect(url, timeout=0.2, **options)
        return caught.value

    with WireServer(broken) as server, cassette(server, "rewrite"):
        live = fail(server.url + "/ws")
    with cassette(server):
        again = fail(server.url + "/ws")
    if how != "no_http":  # what it was instead is not recorded
        assert (type(again), str(again)) == (type(live), str(live))


def lost_after_one(line: Line) -> None:
    line.accept()
    line.subscribed()
    line.send('{"u":1}')


def reset_after_one(line: Line) -> None:
    lost_after_one(line)
    assert line.subscribed()["id"] == 2  # else the reset could come before the frame is read
    line.reset()


@pytest.mark.parametrize("name", list(CLIENTS))
def test_a_connection_that_was_lost_is_lost_again(name: str, cassette: Open) -> None:
    with WireServer(lost_after_one) as server, cassette(server, "rewrite"):
        live = CLIENTS[name](server.url + "/ws", [subscribe("a")])
    with cassette(server):
        again = CLIENTS[name](server.url + "/ws", [subscribe("a")])
    assert again == live
    assert live[-1] in (("lost", None), ("closed", (None, None)))


def test_a_reset_is_a_reset_again(cassette: Open) -> None:
    def read(url: str) -> list[object]:
        connection = connect(url, timeout=10)
        connection.send(subscribe("a"))
        out: list[object] = [connection.recv()]
        connection.send(subscribe("b", number=2))
        with pytest.raises(ConnectionResetError):
            connection.recv()
        with pytest.raises((websocket.WebSocketConnectionClosedException, OSError)) as caught:
            connection.recv()
        connection.shutdown()
        return [*out, type(caught.value)]

    with WireServer(reset_after_one) as server, cassette(server, "rewrite"):
        live = read(server.url + "/ws")
    with cassette(server):
        assert read(server.url + "/ws") == live


def test_an_app_reconnects_after_each_loss_as_it_did(cassette: Open) -> None:
    def numbered(line: Line) -> None:
        line.accept(("text", b'{"connection":%d}' % server.opened))
        if server.opened == 3:
            line.close(1000, "that is all")

    def run(url: str) -> list[Got]:
        app = App(url)
        app.app.on_close = lambda *_: None
        app.enough = 3
        app.run(reconnect=0.01)
        return list(app.got)

    with WireServer(numbered) as server, cassette(server, "rewrite"):
        live = run(server.url + "/ws")
    assert [data for kind, data in live if kind == "text"] == [b'{"connection":%d}' % number for number in (1, 2, 3)]
    with cassette(server):
        assert run(server.url + "/ws") == live


def test_an_app_that_would_reconnect_for_ever_ends_with_the_recording(cassette: Open) -> None:
    with WireServer(lost_after_one) as server, cassette(server, "rewrite"):
        by_app(server.url + "/ws", [subscribe("a")])
    started = time.monotonic()
    with pytest.raises(RecordingExhausted), cassette(server):
        App(server.url + "/ws", [subscribe("a")]).run(reconnect=0.01)
    with pytest.raises(RecordingExhausted), cassette(server):
        join(App(server.url + "/ws", [subscribe("a")]).start(reconnect=0.01))
    assert time.monotonic() - started < 2


def two_then_silence(line: Line) -> None:
    line.accept()
    line.subscribed()
    line.send('{"u":1}')
    line.send('{"u":2}')
    line.until_closed()


def record_two(server: WireServer, cassette: Open, **more: Any) -> None:
    with server, cassette(server, "rewrite", **more):
        connection = connect(server.url + "/ws", timeout=10)
        connection.send(subscribe("a"))
        assert [connection.recv(), connection.recv()] == ['{"u":1}', '{"u":2}']
        connection.close()


def cut_off_close(folder: Path) -> None:
    """Make it the recording of a client that was killed: nobody closed."""
    (file,) = folder.rglob("*.jsonl")
    lines = [line for line in file.read_text().splitlines(keepends=True) if '"opcode":"close"' not in line]
    file.write_text("".join(lines))


def test_at_the_end_of_the_tape_who_waits_is_told_so_within_a_second(cassette: Open, tmp_path: Path) -> None:
    server = WireServer(two_then_silence)
    record_two(server, cassette)
    cut_off_close(tmp_path)
    with pytest.raises(TapeEnded), cassette(server):
        connection = connect(server.url + "/ws")
        connection.send(subscribe("a"))
        assert [connection.recv(), connection.recv()] == ['{"u":1}', '{"u":2}']
        started = time.monotonic()
        with pytest.raises(TapeEnded, match="end_of_tape") as caught:
            connection.recv()
        assert time.monotonic() - started < 1.5
        assert "/ws" in caught.value.url
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            connection.recv()


@pytest.mark.parametrize("name", ["app", "thread"])
def test_an_app_is_told_so_in_on_error(name: str, cassette: Open, tmp_path: Path) -> None:
    server = WireServer(two_then_silence)
    record_two(server, cassette)
    cut_off_close(tmp_path)
    app = App(server.url + "/ws", [subscribe("a")])
    with pytest.raises(TapeEnded), cassette(server, patience=QUICK_S):
        if name == "app":
            app.run(reconnect=1)  # a verdict is no reason to try again
        else:
            join(app.start(reconnect=1))
    assert [type(error) for error in app.errors] == [TapeEnded]
    assert app.has_errored is True
    assert app.got == [("text", b'{"u":1}'), ("text", b'{"u":2}'), ("closed", (None, None))]


def test_the_end_of_the_tape_can_be_a_close_or_a_loop(cassette: Open, tmp_path: Path) -> None:
    server = WireServer(two_then_silence)
    record_two(server, cassette)
    cut_off_close(tmp_path)
    with cassette(server, end_of_tape="close"):
        got = by_recv(server.url + "/ws", [subscribe("a")])
        assert got[:2] == [("text", b'{"u":1}'), ("text", b'{"u":2}')]
        assert got[2] == ("close", b"\x03\xe9the recording has ended")
    with cassette(server, end_of_tape="loop"):
        app = App(server.url + "/ws", [subscribe("a")], enough=7)
        app.run()
        assert [data for _, data in app.got[:7]] == [b'{"u":1}', b'{"u":2}'] * 3 + [b'{"u":1}']


def test_a_client_that_never_subscribes_is_told_what_is_missing(cassette: Open) -> None:
    server = WireServer(two_then_silence)
    record_two(server, cassette)
    with pytest.raises(StreamStalled), cassette(server, patience=QUICK_S):
        connection = connect(server.url + "/ws", timeout=10)
        with pytest.raises(StreamStalled, match="SUBSCRIBE"):
            connection.recv()


def test_a_wrong_subscription_comes_out_of_send(cassette: Open) -> None:
    server = WireServer(two_then_silence)
    record_two(server, cassette)
    with pytest.raises(UnrecordedFrame), cassette(server):
        connection = connect(server.url + "/ws", timeout=10)
        with pytest.raises(UnrecordedFrame, match='"b"'):
            connection.send(subscribe("b"))
        connection.send(subscribe("a"))
        assert connection.recv() == '{"u":1}'
        connection.close()
    with pytest.raises(UnrecordedFrame), cassette(server, patience=QUICK_S):
        app = App(server.url + "/ws", [subscribe("b")])
        app.run()
        assert [type(error) for error in app.errors] == [UnrecordedFrame, StreamStalled]


def test_a_client_may_close_earlier_than_it_did(cassette: Open) -> None:
    server = WireServer(two_then_silence)
    record_two(server, cassette)
    with cassette(server):
        connection = connect(server.url + "/ws", timeout=10)
        connection.send(subscribe("a"))
        started = time.monotonic()
        connection.close(status=4000, reason=b"early")
        assert time.monotonic() - started < 1  # its close frame is answered: it waits 3 seconds for that
        answered = getattr(connection, "close_frame", None)  # 1.9.1 and later keep it
        assert answered is None or bytes(answered.data) == b"\x0f\xa0early"
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            connection.send("too late")


def test_every_connection_plays_once_or_as_exhausted_says(cassette: Open) -> None:
    server = WireServer(two_then_silence)
    record_two(server, cassette)
    for exhausted in ("last", "loop"):
        with cassette(server, exhausted=exhausted):
            for _ in range(3):
                app = App(server.url + "/ws", [subscribe("a")], enough=2)
                assert app.run()[:2] == [("text", b'{"u":1}'), ("text", b'{"u":2}')]
    with pytest.raises(RecordingExhausted), cassette(server):
        App(server.url + "/ws", [subscribe("a")], enough=2).run()
        connect(server.url + "/ws", timeout=10)


@pytest.mark.parametrize(("limit", "value"), [("max_frames", 3), ("max_bytes", 70)])
def test_a_recording_stops_at_its_limit_and_the_client_goes_on(limit: str, value: int, cassette: Open) -> None:
    def many(line: Line) -> None:
        line.accept()
        line.subscribed()
        for number in range(20):
            line.send(f'{{"u":{number}}}')
        line.until_closed()

    with WireServer(many) as server, cassette(server, "rewrite", **{limit: value}):
        live = App(server.url + "/ws", [subscribe("a")], enough=20).run()
    assert len(live) >= 20
    with pytest.raises(TapeEnded), cassette(server, patience=QUICK_S):
        app = App(server.url + "/ws", [subscribe("a")], enough=20)
        app.run()
    assert 1 <= sum(kind == "text" for kind, _ in app.got) <= 6
