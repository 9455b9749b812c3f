"""Time for `websocket-client`: paces, the recording's clock, sleeps in other threads, timeouts, keepalives, `select`."""

from __future__ import annotations

import json
import select
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import websocket

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.errors import StreamStalled, TapeEnded

from .conftest import Open
from .websocket_clients import App, by_recv, connect, join, subscribe
from .wire_server import Line, WireServer

START_MS = 1_759_399_200_000
URL = "wss://stream.binance.com:9443/ws/btcusdt@trade"


def hand_written(
    folder: Path, every_ms: float, count: int, *, closes: bool = True, stream: str = "btcusdt@trade"
) -> Path:
    """Write a connection whose frames come at even distances; returns the cassette."""
    place = folder / "binance" / f"ws_ws_{stream.replace('@', '%40')}" / stream.partition("@")[0].upper()
    place.mkdir(parents=True)
    metas: list[dict[str, Any]] = [{"dir": "open", "status": 101, "headers": {}}]
    metas += [{"dir": "recv", "opcode": "text"} for _ in range(count)]
    if closes:
        metas.append({"dir": "recv", "opcode": "close", "code": 1000})
    lines = []
    for sequence, meta in enumerate(metas):
        at_ms = min(sequence, count) * every_ms
        text = json.dumps({"u": sequence}) if meta.get("opcode") == "text" else "null"
        meta = {**meta, "conn": "a", "seq": sequence, "offset_ns": int(at_ms * 1e6)}
        head = f'"timestamp":{START_MS + int(at_ms)},"endpoint":"/ws/{stream}","params":{{}}'
        lines.append(f'{{{head},"meta":{json.dumps(meta)},"response":{text}}}\n')
    (place / "2025-10-02T10-00-00.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture
def played(tmp_path: Path) -> Path:
    """A cassette of 40 frames, ten milliseconds apart."""
    return hand_written(tmp_path, 10, 40)


def seconds(cassette: Path, **more: Any) -> float:
    with use_cassette(cassette, **more):
        started = time.perf_counter()
        assert len(by_recv(URL)) == 41
        return time.perf_counter() - started


def test_at_virtual_pace_nothing_waits(played: Path) -> None:
    assert seconds(played) < 0.35  # 0.4 in real time


def test_in_real_time_frames_come_when_they_came(played: Path) -> None:
    assert 0.39 <= seconds(played, pace="realtime") < 5
    assert 0.19 <= seconds(played, pace=2.0) < 0.39


def test_an_app_waits_in_real_time_without_reading(played: Path) -> None:
    with use_cassette(played, pace="realtime"):
        app = App(URL)
        started = time.perf_counter()
        join(app.start(ping_timeout=0.05, ping_interval=0.1))
        assert 0.39 <= time.perf_counter() - started < 5
    assert sum(kind == "text" for kind, _ in app.got) == 40


def test_step_by_step_a_frame_comes_when_the_test_lets_it(played: Path) -> None:
    with use_cassette(played, pace="step", patience=10) as session:
        timeline = session.streams.timeline
        got: list[str] = []
        came = threading.Condition()

        def note(_: object, text: str) -> None:
            with came:
                got.append(text)
                came.notify_all()

        app = websocket.WebSocketApp(URL, on_message=note)
        thread = threading.Thread(target=app.run_forever, daemon=True)
        thread.start()
        timeline.step()
        with came:
            assert came.wait_for(lambda: len(got) == 1, 5)
        timeline.step(2)
        with came:
            assert came.wait_for(lambda: len(got) == 3, 5)
        timeline.run_until((START_MS + 100) * 1_000_000)
        with came:
            assert came.wait_for(lambda: len(got) == 10, 5)
            assert not came.wait_for(lambda: len(got) > 10, 0.05)
        app.close()
        join(thread)


def test_who_steps_no_further_and_waits_is_told_so(played: Path) -> None:
    with pytest.raises(StreamStalled, match="step"), use_cassette(played, pace="step", patience=0.1):
        connection = connect(URL)
        with pytest.raises(StreamStalled, match="step"):
            connection.recv()


# ---------------------------------------------------------------- the recording's clock


def watched(cassette: Path) -> list[tuple[int, str]]:
    """Let an app run in a thread while the test sleeps on the recording's clock."""
    log: list[tuple[int, str]] = []

    def now_ms() -> int:
        return round(time.time() * 1000) - START_MS

    with use_cassette(cassette, clock="recording"):
        app = websocket.WebSocketApp(URL, on_message=lambda _, text: log.append((now_ms(), text)))
        thread = threading.Thread(target=app.run_forever, daemon=True)
        thread.start()
        for _ in range(3):
            time.sleep(0.105)
            log.append((now_ms(), "slept"))
        app.close()
        join(thread)
    return log


def test_a_sleep_lets_the_frames_come_that_are_due_in_it(played: Path) -> None:
    log = watched(played)
    assert [entry for entry in log if entry[1] == "slept"] == [(105, "slept"), (210, "slept"), (315, "slept")]
    texts = [entry for entry in log if entry[1] != "slept"]
    assert texts == [(10 * number, f'{{"u": {number}}}') for number in range(1, 32)]
    assert log == sorted(log, key=lambda entry: entry[0])


def test_thirty_runs_give_one_log(played: Path) -> None:
    assert len({repr(watched(played)) for _ in range(30)}) == 1


def test_two_threads_get_their_frames_in_the_order_of_time(tmp_path: Path) -> None:
    folder = hand_written(tmp_path / "c", 20, 30)
    hand_written(folder, 14, 40, stream="ethusdt@trade")
    runs = []
    for _ in range(5):
        log: list[tuple[int, str]] = []
        with use_cassette(folder, clock="recording"):
            apps = [App(URL), App(URL.replace("btcusdt", "ethusdt"))]
            for app, name in zip(apps, "be", strict=True):
                app.app.on_data = lambda _, text, *more, name=name: log.append(
                    (round(time.time() * 1000) - START_MS, name)
                )
            threads = [app.start() for app in apps]
            time.sleep(1.0)
            for thread in threads:
                join(thread)
        assert len(log) == 70
        assert [at for at, _ in log] == sorted(at for at, _ in log)
        assert all(at == 20 * number for number, (at, _) in enumerate([one for one in log if one[1] == "b"], 1))
        runs.append(sorted(log))
    assert all(run == runs[0] for run in runs)


def test_who_only_reads_moves_the_clock_in_no_real_time(tmp_path: Path) -> None:
    folder = hand_written(tmp_path, 60_000, 60)
    with use_cassette(folder, clock="recording"):
        started = time.perf_counter()
        connection = connect(URL, timeout=3600)
        connection.recv()
        assert round(time.time() * 1000) == START_MS + 60_000
        assert len(by_rest(connection)) == 59
        assert round(time.time() * 1000) == START_MS + 3_600_000
        assert time.perf_counter() - started < 5


def by_rest(connection: Any) -> list[str]:
    out = []
    while (opcode_and_data := connection.recv_data())[0] != 8:
        out.append(opcode_and_data[1].decode())
    connection.shutdown()
    return out


def test_a_timeout_passes_on_the_recordings_clock(tmp_path: Path) -> None:
    with use_cassette(hand_written(tmp_path, 60_000, 2), clock="recording"):
        started = time.perf_counter()
        connection = connect(URL, timeout=25)
        for _ in range(2):
            with pytest.raises(websocket.WebSocketTimeoutException):
                connection.recv()
        assert round(time.time() * 1000) == START_MS + 50_000
        assert connection.recv() == '{"u": 1}'
        assert round(time.time() * 1000) == START_MS + 60_000
        connection.close()
        assert time.perf_counter() - started < 5


def test_who_waits_with_timeouts_for_ever_is_told_so(tmp_path: Path) -> None:
    folder = hand_written(tmp_path, 10, 1, closes=False)
    for clock in ("system", "recording"):
        started = time.perf_counter()
        with pytest.raises(TapeEnded), use_cassette(folder, clock=clock):
            connection = connect(URL, timeout=0.05)
            assert connection.recv() == '{"u": 1}'
            with pytest.raises(TapeEnded):
                for _ in range(100_000):
                    with pytest.raises(websocket.WebSocketTimeoutException):
                        connection.recv()
        assert time.perf_counter() - started < 1.5


# ---------------------------------------------------------------- sleeps in real time


def test_no_verdict_is_given_while_the_test_sleeps(tmp_path: Path) -> None:
    folder = hand_written(tmp_path, 10, 3, closes=False)
    with use_cassette(folder, patience=0.1):
        app = App(URL)
        thread = app.start()
        time.sleep(0.5)
        app.app.close()
        join(thread)
    assert app.errors == []
    assert sum(kind == "text" for kind, _ in app.got) == 3


def test_a_loop_of_short_sleeps_does_not_hold_the_verdict_up(tmp_path: Path) -> None:
    folder = hand_written(tmp_path, 10, 3, closes=False)
    started = time.perf_counter()
    with pytest.raises(TapeEnded), use_cassette(folder, patience=0.2):
        app = App(URL)
        thread = app.start()
        while thread.is_alive() and time.perf_counter() - started < 10:
            time.sleep(0.01)
    assert time.perf_counter() - started < 5
    assert [type(error) for error in app.errors] == [TapeEnded]


def test_an_app_that_outlives_its_session_ends_and_does_not_go_live(tmp_path: Path) -> None:
    folder = hand_written(tmp_path, 10, 3, closes=False)
    for clock in ("system", "recording"):
        with use_cassette(folder, patience=30, clock=clock):
            app = App(URL, enough=None)
            came = threading.Event()
            app.app.on_message = lambda *_, came=came: came.set()
            thread = app.start(reconnect=0.01)
            assert came.wait(5)
        join(thread)
        assert app.got[-1] == ("closed", (None, None))


# ---------------------------------------------------------------- timeouts, keepalives, select


def test_a_timeout_of_the_client_is_its_own_exception(played: Path) -> None:
    with use_cassette(played, pace=0.05):  # frames 200 ms apart: no stall of a busy machine reaches that
        connection = connect(URL, timeout=0.002)
        with pytest.raises(websocket.WebSocketTimeoutException):
            connection.recv()
        connection.settimeout(5)
        assert connection.recv() == '{"u": 1}'
        connection.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv()
        connection.close()


def test_pings_of_the_client_are_answered_whether_recorded_or_not(played: Path) -> None:
    with use_cassette(played, pace="realtime"):
        app = App(URL)
        app.run(ping_interval=0.05, ping_timeout=0.04, ping_payload="beat")
    assert app.got.count(("pong", b"beat")) >= 3
    assert sum(kind == "text" for kind, _ in app.got) == 40


def test_a_send_in_another_thread_lets_go_on_who_waits(cassette: Open) -> None:
    def answer(line: Line) -> None:
        line.accept()
        line.send(json.dumps({"answer": line.subscribed()["params"][0]}))
        line.until_closed()

    def ask(url: str) -> str:
        connection = connect(url, timeout=10)
        waits = threading.Event()
        got: list[str] = []

        def read() -> None:
            waits.set()
            got.append(connection.recv())

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        assert waits.wait(5)
        connection.send(subscribe("x"))
        join(thread)
        connection.close()
        return got[0]

    with WireServer(answer) as server, cassette(server, "rewrite"):
        live = ask(server.url + "/ws")
    for clock in ("system", "recording"):
        with cassette(server, clock=clock):
            assert ask(server.url + "/ws") == live == '{"answer": "x"}'


def test_who_selects_finds_it_readable_when_there_is_something_to_read(played: Path, tmp_path: Path) -> None:
    with pytest.raises(TapeEnded), use_cassette(played, pace="step", patience=0.3) as session:
        connection = connect(URL)
        assert select.select([connection], [], [], 0.02)[0] == []
        threading.Timer(0.02, session.streams.timeline.step, [1]).start()
        assert select.select([connection], [], [], 5)[0] == [connection]
        assert connection.recv() == '{"u": 1}'
        assert select.select([connection], [], [], 0)[0] == []
        session.streams.timeline.run_until((START_MS + 400) * 1_000_000)
        for number in range(2, 41):
            assert select.select([connection], [], [], 5)[0] == [connection]
            assert connection.recv() == f'{{"u": {number}}}'
        connection.ping("x")
        assert select.select([connection], [], [], 5)[0] == [connection]
        assert connection.recv_data(control_frame=True) == (10, b"x")
        connection.shutdown()
        raise TapeEnded("", "", "")
    with use_cassette(played, pace="realtime"):
        connection = connect(URL)
        started = time.perf_counter()
        for number in range(1, 11):
            assert select.select([connection], [], [], 5)[0] == [connection]
            assert connection.recv() == f'{{"u": {number}}}'
        assert 0.09 <= time.perf_counter() - started < 5
        connection.close()


def test_who_selects_at_the_end_of_the_tape_gets_the_verdict(tmp_path: Path) -> None:
    folder = hand_written(tmp_path, 10, 1, closes=False)
    with pytest.raises(TapeEnded), use_cassette(folder, patience=0.1):
        connection = connect(URL)
        assert connection.recv() == '{"u": 1}'
        assert select.select([connection], [], [], 0)[0] == []
        assert select.select([connection], [], [], 5)[0] == [connection]
        with pytest.raises(TapeEnded):
            connection.recv()
        connection.shutdown()
