"""How replays end, for all three clients of `websockets`: what was not recorded, modes, limits, paces, and secrets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.errors import (
    DamagedCassette,
    MarketReplayError,
    RecordingExhausted,
    StreamStalled,
    TapeEnded,
    UnrecordedFrame,
    UnrecordedRequest,
)

from .websockets_stage import (
    SUBSCRIBE,
    Client,
    Stage,
    each_client,
    subscribe_and_stop,
)


@pytest.fixture(params=["asyncio", "sync", "legacy"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    yield from each_client(request.param)


def test_a_wrong_subscribe_fails_the_send_that_made_it(stage: Stage, client: Client) -> None:
    with stage.play("all"):
        subscribe_and_stop(client, stage.url("subscription"))
    with pytest.raises(UnrecordedFrame) as again, stage.play():
        line = client.connect(stage.url("subscription"))
        line.recv()
        with pytest.raises(UnrecordedFrame, match="btcusdt@depth") as caught:
            line.send('{"method":"SUBSCRIBE","params":["dogeusdt@depth"],"id":1}')
        with pytest.raises(UnrecordedFrame):
            line.recv()
        line.close()
    assert again.value is caught.value
    assert "dogeusdt@depth" in str(caught.value)


def test_a_missing_subscribe_is_told_within_a_second(stage: Stage, client: Client) -> None:
    with stage.play("all"):
        subscribe_and_stop(client, stage.url("subscription"))
    began = time.perf_counter()
    with pytest.raises(StreamStalled), stage.play(patience=0.2):
        line = client.connect(stage.url("subscription"))
        line.recv()
        with pytest.raises(StreamStalled, match="SUBSCRIBE"):
            line.recv(None)
    assert time.perf_counter() - began < 1


def test_the_end_of_the_tape_is_an_error_out_of_recv(stage: Stage, client: Client) -> None:
    with stage.play("all"):
        line = client.connect(stage.url("subscription"))
        line.recv()
    with pytest.raises(TapeEnded), stage.play(patience=0.2):
        line = client.connect(stage.url("subscription"))
        line.recv()
        with pytest.raises(TapeEnded, match="end_of_tape"):
            line.recv(None)
        line.close()
        with pytest.raises(MarketReplayError):
            line.recv()


def test_the_end_of_the_tape_can_be_a_close(stage: Stage, client: Client) -> None:
    with stage.play("all"):
        client.connect(stage.url("subscription")).recv()
    with stage.play(end_of_tape="close"):
        line = client.connect(stage.url("subscription"))
        line.recv()
        assert "the recording has ended" in line.rest()[0][1]


def test_the_end_of_the_tape_can_be_its_beginning(stage: Stage, client: Client) -> None:
    with stage.play("all"):
        line = client.connect(stage.url("subscription"))
        line.recv()
        line.send(SUBSCRIBE % 1)
        recorded = [line.recv() for _ in range(4)]
    with stage.play(end_of_tape="loop"):
        line = client.connect(stage.url("subscription"))
        line.recv()
        line.send(SUBSCRIBE % 1)
        # an acknowledgement belongs to its subscribe, which is not sent again
        assert [line.recv() for _ in range(10)] == recorded + recorded[1:] * 2
        line.close()


def test_a_client_may_close_before_the_recording_does(stage: Stage, client: Client) -> None:
    with stage.play("all"):
        subscribe_and_stop(client, stage.url("subscription"))
    stage.exchange.stop()
    with stage.play():
        line = client.connect(stage.url("subscription"))
        line.recv()
        began = time.perf_counter()
        line.close(1000, "enough")
        assert time.perf_counter() - began < 1
        assert line.rest()[0][0] == "ConnectionClosedOK"


def test_reconnecting_plays_the_next_recorded_connection(stage: Stage, client: Client) -> None:
    async def script(ws: web.WebSocketResponse, request: web.Request) -> None:
        await ws.send_str(f"connection {stage.exchange.opened}")
        await ws.receive()  # version 13 forgets what was not read before the close
        await ws.close(code=1012, message=b"restart")

    stage.exchange.scripts["restarts"] = script

    def story() -> list[Any]:
        seen = []
        for _ in range(3):
            line = client.connect(stage.url("restarts"))
            seen.append([line.recv()])
            line.send("go on")
            seen[-1] += line.rest()
        return seen

    with stage.play("all"):
        recorded = story()
    stage.exchange.stop()
    with stage.play():
        assert story() == recorded
    assert [seen[0] for seen in recorded] == ["connection 1", "connection 2", "connection 3"]


def test_a_connection_more_than_recorded_is_refused(stage: Stage, client: Client) -> None:
    with stage.play("all"):
        subscribe_and_stop(client, stage.url("subscription"))
    with pytest.raises(RecordingExhausted), stage.play():
        subscribe_and_stop(client, stage.url("subscription"))
        with pytest.raises(RecordingExhausted, match="exhausted"):
            client.connect(stage.url("subscription"))
    with stage.play(exhausted="last"):
        seen = [subscribe_and_stop(client, stage.url("subscription")) for _ in range(3)]
    assert seen[0] == seen[1] == seen[2]


def test_what_was_never_recorded_is_refused_and_reaches_no_server(stage: Stage, client: Client) -> None:
    with stage.play("all"):
        subscribe_and_stop(client, stage.url("subscription"))
    with pytest.raises(UnrecordedRequest), stage.play(), pytest.raises(UnrecordedRequest, match="ws/other"):
        client.connect(stage.url("other"))
    assert stage.exchange.opened == 1


def test_the_modes_decide_what_goes_to_the_network(stage: Stage, client: Client) -> None:
    url = stage.url("subscription")
    with stage.play("once"):
        first = subscribe_and_stop(client, url)
    with stage.play("once"):
        assert subscribe_and_stop(client, url) == first
    assert stage.exchange.opened == 1
    with stage.play("new_episodes") as session:
        assert subscribe_and_stop(client, url) == first
        subscribe_and_stop(client, url + "/more")
    assert stage.exchange.opened == 2
    assert session.played_frames > 0
    with stage.play("all"):
        subscribe_and_stop(client, url)
    assert stage.exchange.opened == 3
    assert sum(line["meta"]["dir"] == "open" for line in stage.lines()) == 2


def test_a_failing_test_keeps_nothing(stage: Stage, client: Client) -> None:
    with pytest.raises(ZeroDivisionError), stage.play("all"):
        subscribe_and_stop(client, stage.url("subscription"))
        raise ZeroDivisionError
    assert stage.lines() == []


def test_a_limit_ends_the_recording_and_not_the_connection(stage: Stage, client: Client) -> None:
    with stage.play("all", max_frames=3):
        assert len(subscribe_and_stop(client, stage.url("subscription"))) == 6
    assert [line["meta"]["dir"] for line in stage.lines()] == ["open", "recv", "send", "recv", "end"]
    assert stage.lines()[-1]["meta"]["error"] == "limit"


def test_a_damaged_line_fails_the_connection_that_plays_it(stage: Stage, client: Client) -> None:
    with stage.play("all"):
        subscribe_and_stop(client, stage.url("subscription"))
    (path,) = stage.folder.rglob("*.jsonl")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], lines[3][:20] + "\n", *lines[4:]]))
    with pytest.raises(DamagedCassette), stage.play():
        subscribe_and_stop(client, stage.url("subscription"))


def test_the_pace_can_be_that_of_the_recording(stage: Stage, client: Client) -> None:
    async def script(ws: web.WebSocketResponse, request: web.Request) -> None:
        for number in range(3):
            await ws.send_str(str(number))
            await asyncio.sleep(0.15)
        await ws.receive()

    stage.exchange.scripts["paced"] = script

    def story() -> float:
        began = time.perf_counter()
        line = client.connect(stage.url("paced"))
        assert [line.recv() for _ in range(3)] == ["0", "1", "2"]
        took = time.perf_counter() - began
        line.close()
        return took

    with stage.play("all"):
        story()
    took = {}
    for pace in ("realtime", 3.0, "virtual"):
        with stage.play(pace=pace):
            took[pace] = story()
    assert took["realtime"] > 0.25
    assert took[3.0] > 0.08
    assert took["virtual"] < took[3.0] < took["realtime"]


def test_step_by_step_nothing_comes_before_its_step(stage: Stage, client: Client) -> None:
    with stage.play("all"):
        subscribe_and_stop(client, stage.url("subscription"))
    with stage.play(pace="step", patience=5) as session:
        line = client.connect(stage.url("subscription"))
        with pytest.raises(TimeoutError):
            line.recv(0.05)
        session.streams.timeline.step()
        assert line.recv() == '{"hello":"trader"}'
        line.send(SUBSCRIBE % 1)
        session.streams.timeline.step(2)
        assert [line.recv(), line.recv()][0] == '{"result":null,"id":1}'
        with pytest.raises(TimeoutError):
            line.recv(0.05)
        line.close()


def test_a_subprotocol_and_headers_of_the_handshake_come_back(stage: Stage, client: Client) -> None:
    def story() -> Any:
        line = client.connect(stage.url("subscription"), subprotocols=["v1.market", "v2.market"])
        line.recv()
        headers = line.ws.response_headers if client.name == "legacy" else line.ws.response.headers
        line.close()
        return line.ws.subprotocol, headers["Server"]

    with stage.play("all"):
        recorded = story()
    stage.exchange.stop()
    with stage.play():
        assert story() == recorded
    assert recorded[0] == "v2.market"


def test_no_secret_of_headers_paths_or_logins_lands_in_a_file_or_an_error(stage: Stage, client: Client) -> None:
    key = "pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81va65sdf19v8a65a1"
    secrets = [key, "k3y-in-a-header", "s1gnature-of-a-login"]
    stage.exchange.scripts[key] = stage.exchange.scripts["subscription"]
    login = '{"method":"session.logon","params":{"apiKey":"%s","signature":"%s","timestamp":%d},"id":1}'

    def story(signature: str, moment: int, path: str = key) -> list[Any]:
        line = client.connect(stage.url(path), additional_headers={"X-MBX-APIKEY": secrets[1]})
        seen = [line.recv()]
        line.send(login % (secrets[1], signature, moment))
        return [*seen, *line.rest()]

    async def script(ws: web.WebSocketResponse, request: web.Request) -> None:
        await ws.send_str("hello")
        await ws.receive()
        await ws.send_str("in")
        await ws.close()

    stage.exchange.scripts[key] = script
    with stage.play("all"):
        recorded = story(secrets[2], 1)
    assert recorded[1] == "in"
    assert not [secret for secret in secrets if secret in stage.text()]
    stage.exchange.stop()
    with stage.play():
        assert story("another-signature-of-today", 2, key[::-1]) == recorded
    with pytest.raises(MarketReplayError) as caught, stage.play():
        client.connect(stage.url(key) + "/deeper", additional_headers={"X-MBX-APIKEY": secrets[1]})
    assert not [secret for secret in secrets if secret in str(caught.value)]


def test_loopback_that_is_no_venue_is_left_alone(stage: Stage, client: Client) -> None:
    with use_cassette(stage.folder) as session:
        assert len(subscribe_and_stop(client, stage.url("subscription"))) == 6
    assert stage.exchange.opened == 1
    assert session.played_frames == 0
