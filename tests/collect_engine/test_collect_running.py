"""One capture in this process, with sinks and feeds made by hand: its state, its control socket, its end."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from engine_doubles import HandFeed, ListSink, full, item
from engine_lab import Lab
from engine_processes import until

from pytest_marketreplay.collect import building, control, sessions
from pytest_marketreplay.collect.engine import Engine
from pytest_marketreplay.collect.queueing import SinkQueue
from pytest_marketreplay.collect.running import Capture
from pytest_marketreplay.collect.sessions import SessionState
from pytest_marketreplay.errors import CollectError, DocumentError


def test_a_session_runs_tells_its_state_and_ends_on_sigterm(lab: Lab) -> None:
    last, told = lab.run(lambda lab: lab.ask(do="status"))
    assert told["status"] == lab.shown[0].status == "running"
    assert told["pid"] == os.getpid()
    assert last.status == "ended"
    assert last.ended_ms is not None
    assert last.counts["items"] == last.counts["written"] == 1
    assert last.counts["binance.runs"] == 1
    assert last.queues[0].written == 1
    folder = sessions.SessionFolder(Path(lab.settings.state_dir), "s")
    assert folder.load() == last
    assert not folder.socket.exists()
    assert "session s: ended" in folder.log.read_text()
    assert lab.sinks[0].closed == 1
    folder.lock().release()


def test_a_session_ends_when_its_duration_is_over(lab: Lab) -> None:
    lab.settings = msgspec.structs.replace(lab.settings, duration_s=0.05)
    assert lab.capture.run().status == "ended"


def test_a_session_is_told_to_stop(lab: Lab) -> None:
    def stop(lab: Lab) -> None:
        lab.is_stopped = True
        control.ask(sessions.SessionFolder(Path(lab.settings.state_dir), "s").socket, {"do": "stop"})

    last, _ = lab.run(stop)
    assert last.status == "ended"
    assert "told to stop" in Path(last.log).read_text()


def test_a_second_signal_while_the_sinks_drain_changes_nothing(lab: Lab) -> None:
    sink = lab.sinks[0]
    sink.may_write.clear()

    def twice(lab: Lab) -> None:
        assert sink.entered.acquire(timeout=10)
        lab.is_stopped = True
        os.kill(os.getpid(), signal.SIGTERM)
        until(lambda: not sessions.SessionFolder(Path(lab.settings.state_dir), "s").socket.exists())
        os.kill(os.getpid(), signal.SIGTERM)
        sink.may_write.set()

    last, _ = lab.run(twice)
    assert last.status == "ended"
    assert sink.numbers == [1]


def test_a_signal_while_the_sinks_are_opened_ends_the_capture_as_soon_as_it_runs(lab: Lab) -> None:
    class Slow(ListSink):
        def open(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    lab.sinks = [Slow()]
    assert lab.capture.run().status == "ended"


def test_pairs_and_interval_change_while_it_runs(lab: Lab) -> None:
    def change(lab: Lab) -> list[Any]:
        return [
            lab.ask(do="add", venue="binance", pairs="eth-usdt,SOL-USDT,BTC-USDT")["pairs"],
            lab.ask(do="remove", venue="binance", pairs="BTC-USDT")["pairs"],
            lab.ask(do="interval", seconds=0.5)["interval_s"],
        ]

    last, told = lab.run(change)
    assert told == [{"binance": ["BTC-USDT", "ETH-USDT", "SOL-USDT"]}, {"binance": ["ETH-USDT", "SOL-USDT"]}, 0.5]
    assert lab.feeds[0].pairs == ["ETH-USDT", "SOL-USDT"]
    assert lab.feeds[0].interval == last.interval_s == 0.5


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"do": "dance"}, "'dance' is unknown; a session can do add"),
        ({"do": "add", "venue": "okx", "pairs": "BTC-USDT"}, "does not capture 'okx'; it captures binance"),
        ({"do": "add", "venue": "binance", "pairs": "BTCUSDT"}, "BASE-QUOTE"),
        ({"do": "remove", "venue": "binance", "pairs": "XRP-USDT"}, "does not capture XRP-USDT"),
        ({"do": "remove", "venue": "binance", "pairs": "BTC-USDT"}, "last pair of binance"),
        ({"do": "interval", "seconds": 0}, "above 0"),
        ({"do": "interval", "seconds": True}, "above 0"),
    ],
)
def test_what_cannot_be_done_is_refused_and_the_session_goes_on(lab: Lab, request_: dict[str, Any], said: str) -> None:
    def ask(lab: Lab) -> str:
        with pytest.raises(CollectError) as caught:
            lab.ask(**request_)
        return str(caught.value)

    last, told = lab.run(ask)
    assert said in told
    assert last.status == "ended"


def test_a_second_session_of_the_same_name_is_refused(lab: Lab) -> None:
    def again(lab: Lab) -> None:
        with pytest.raises(CollectError, match="runs already"):
            Capture(lab.settings).run()

    last, _ = lab.run(again)
    assert last.status == "ended"


def test_a_sink_that_cannot_be_opened_fails_the_session(lab: Lab) -> None:
    lab.sinks[0].open_problem = full()
    with pytest.raises(CollectError, match="no space left"):
        lab.capture.run()
    state = sessions.SessionFolder(Path(lab.settings.state_dir), "s").load()
    assert (state.status, state.last_error) == ("failed", "no space left on the device")


def test_what_a_sink_could_not_take_by_the_end_is_said(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.sinks[0].problem = full()
    lab.settings = msgspec.structs.replace(lab.settings, duration_s=0.05)
    monkeypatch.setattr(building, "Engine", functools.partial(Engine, drain=0.05))
    last = lab.capture.run()
    assert last.status == "failed"
    assert last.last_error == "not written: 1 items of list"
    assert last.counts["unwritten"] == 1


def test_a_bug_of_ours_ends_the_session_as_failed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(building, "build", broken)
    with pytest.raises(ZeroDivisionError):
        lab.capture.run()
    state = sessions.SessionFolder(Path(lab.settings.state_dir), "s").load()
    assert (state.status, state.last_error) == ("failed", "ZeroDivisionError: ours")


def test_a_state_that_cannot_be_saved_for_a_while_ends_nothing_and_is_said_once(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    capture = lab.capture
    document = capture.folder.document
    real, refused = document.save, []

    def save(state: SessionState) -> None:
        if state.status == "running" and len(refused) < 3:
            refused.append(state)
            raise DocumentError("no space left")
        real(state)

    monkeypatch.setattr(document, "save", save)
    lab.settings = msgspec.structs.replace(lab.settings, duration_s=0.2)
    capture.settings = lab.settings
    with caplog.at_level(logging.ERROR):
        assert capture.run().status == "ended"
    assert len(refused) == 3
    assert caplog.text.count("the session's state cannot be saved") == 1


def test_gaps_of_sinks_and_feeds_are_counted_together(lab: Lab) -> None:
    async def dropping(feed: HandFeed, stop: asyncio.Event) -> None:
        if feed.runs == 1:
            feed.emit(item(1))
            raise ValueError("once")
        await stop.wait()

    lab.body = dropping
    lab.settings = msgspec.structs.replace(lab.settings, duration_s=1.3)
    last = lab.capture.run()
    assert last.gaps == {"failed": 1}
    assert last.counts["feed_restarts"] == 1
    assert last.last_error == "feed binance: ValueError: once"


def test_what_a_full_queue_drops_is_among_the_gaps(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = lab.sinks[0]

    async def flood(feed: HandFeed, stop: asyncio.Event) -> None:
        sink.may_write.clear()
        for number in range(5):
            feed.emit(item(number))
        sink.may_write.set()
        await stop.wait()

    lab.body = flood
    monkeypatch.setattr(building, "SinkQueue", functools.partial(SinkQueue, max_items=1))
    last, _ = lab.run(lambda lab: sink.wait_for(lambda: sink.gaps))
    assert last.gaps == {"sink": 1}
    assert last.counts["dropped"] == 4
    assert last.counts["written"] == 2


def test_gaps_of_a_sink_and_of_the_engine_and_what_is_dropped_are_among_the_metrics(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = lab.sinks[0]

    async def flood(feed: HandFeed, stop: asyncio.Event) -> None:
        if feed.runs == 1:
            sink.may_write.clear()
            for number in range(5):
                feed.emit(item(number))
            sink.may_write.set()
            while not sink.gaps:
                await asyncio.sleep(0.001)
            raise ValueError("once")
        await stop.wait()

    lab.body = flood
    lab.settings = msgspec.structs.replace(lab.settings, metrics_port=0)
    monkeypatch.setattr(building, "SinkQueue", functools.partial(SinkQueue, max_items=1))
    monkeypatch.setattr(building, "Engine", functools.partial(Engine, first_pause=0.1))

    def look(lab: Lab) -> str:
        sink.wait_for(lambda: len(sink.gaps) == 2)
        base = lab.ask(do="status")["metrics"]
        with urllib.request.urlopen(f"{base}/metrics") as answer:
            return str(answer.read().decode())

    last, text = lab.run(look)
    told = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    platform = sink.items[0].place.venue
    assert last.gaps == {"sink": 1, "failed": 1}
    for kind in ("sink", "failed"):
        assert told[f'collect_gaps_total{{kind="{kind}",platform="{platform}"}}'] == "1.0"
    assert told[f'collect_missing_total{{kind="sink",platform="{platform}"}}'] == "4.0"
    assert told['collect_feed_restarts_total{platform="binance"}'] == "1.0"
    assert told[f'collect_dropped_items_total{{sink="{sink.name}"}}'] == "4.0"


def test_a_capture_that_nobody_watches_ends_as_well(lab: Lab) -> None:
    assert Capture(msgspec.structs.replace(lab.settings, duration_s=0.05)).run().status == "ended"


def test_metrics_and_health_are_served_while_it_runs(lab: Lab) -> None:
    lab.settings = msgspec.structs.replace(lab.settings, metrics_port=0)

    def look(lab: Lab) -> tuple[str, dict[str, Any]]:
        lab.sinks[0].wait_for(lambda: lab.sinks[0].items)
        base = lab.ask(do="status")["metrics"]
        with urllib.request.urlopen(f"{base}/metrics") as answer:
            text = answer.read().decode()
        with urllib.request.urlopen(f"{base}/healthz") as answer:
            return text, orjson.loads(answer.read())

    _, (text, health) = lab.run(look)
    assert "collect_queue_items" in text
    assert health["ok"] is True
    assert (health["session_id"], health["status"]) == ("s", "running")


def test_numbers_of_feeds_are_flat_whole_and_of_any_shape() -> None:
    class Inner(msgspec.Struct):
        seen: int = 3
        good: bool = True

    class Stats(msgspec.Struct):
        name: str = "x"
        total: int = 1
        by: dict[str, Any] = msgspec.field(default_factory=lambda: {"BTC-USDT": Inner(), "n": 2})

    assert building.numbers(Stats()) == {"total": 1, "by.BTC-USDT.seen": 3, "by.n": 2}
    assert building.numbers({"a": 1, "b": 1.5}) == {"a": 1}


def killed(lab: Lab, **more: Any) -> None:
    """Leave the state that a killed session leaves."""
    state = msgspec.structs.replace(lab.capture.state(), status="running", places={"binance/e/S": 5, "kraken/e/S": 6})
    lab.capture.folder.path.mkdir(parents=True, exist_ok=True)
    lab.capture.folder.document.save(msgspec.structs.replace(state, **more))


@pytest.mark.parametrize(
    ("left", "declared"),
    [
        ({}, ["binance"]),
        ({"status": "ended"}, []),
        ({"pairs": {"binance": ["OTHER-USDT"]}}, []),
    ],
    ids=["killed", "ended", "other pairs"],
)
def test_what_a_killed_process_left_open_is_declared_for_the_venues_that_go_on(
    lab: Lab, left: dict[str, Any], declared: list[str]
) -> None:
    killed(lab, **left)
    lab.run(lambda lab: None)
    gaps = [item for item in lab.sinks[0].items if item.gap is not None]
    assert [item.place.venue for item in gaps] == declared
    assert [item.gap.from_ms for item in gaps if item.gap] == [6 for _ in declared]


def test_a_last_state_that_cannot_be_read_is_said_and_the_capture_begins(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    killed(lab)
    for file in lab.capture.folder.path.iterdir():
        file.write_bytes(b"{")
    last, _ = lab.run(lambda lab: None)
    assert last.status == "ended"
    assert "the state of the session's last run cannot be read" in caplog.text
