"""Binance's streams out of a recording: by URL, by SUBSCRIBE, wrapped or bare, from several connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
import requests
import websockets

from pytest_marketreplay.serve import CassetteServer

from .conftest import hear, listen
from .tapes import START_MS, Tape

Serve = Callable[..., CassetteServer]
DEPTH, TRADE = "btcusdt@depth@100ms", "btcusdt@trade"


def depth(number: int) -> bytes:
    return b'{"e":"depthUpdate","E":%d,"s":"BTCUSDT","U":%d,"u":%d,"b":[["0.10","1.0E-8"]],"a":[]}' % (
        START_MS + number,
        number,
        number,
    )


def trade(number: int) -> bytes:
    return b'{"e":"trade","s":"BTCUSDT","t":%d,"p":"0.10000000"}' % number


def wrapped(stream: str, data: bytes) -> bytes:
    return b'{"stream":"%b","data":%b}' % (stream.encode(), data)


def said(*frames: bytes) -> list[str]:
    return [frame.decode() for frame in frames]


def subscribe(*streams: str, method: str = "SUBSCRIBE", number: int = 1) -> str:
    return json.dumps({"method": method, "params": list(streams), "id": number})


@pytest.fixture
def combined(tape: Tape) -> Tape:
    connection = tape.connection(0, "binance", "/stream", f"streams={DEPTH}/{TRADE}")
    for number in range(1, 4):
        connection.recv(number * 1_000, wrapped(DEPTH, depth(number)))
        connection.recv(number * 1_000 + 10, wrapped(TRADE, trade(number)))
    return tape


def test_a_recorded_url_gives_every_frame_to_the_byte_and_ends_with_1001(combined: Tape, serve: Serve) -> None:
    server = serve(speed=20)
    heard = hear(f"{server.ws_url('binance')}/stream?streams={DEPTH}/{TRADE}")
    frames = [frame for n in range(1, 4) for frame in (wrapped(DEPTH, depth(n)), wrapped(TRADE, trade(n)))]
    assert heard.messages == said(*frames)
    assert (heard.code, heard.reason) == (1001, "the recording has ended")
    assert server.wait_end(5)
    assert server.served["binance"].frames == 6


def test_frames_come_on_the_tapes_clock(combined: Tape, serve: Serve) -> None:
    server = serve(speed=20)

    async def arrivals() -> list[float]:
        loop = asyncio.get_running_loop()
        async with websockets.connect(f"{server.ws_url('binance')}/ws/{DEPTH}") as socket:
            times = []
            for _ in range(3):
                await socket.recv()
                times.append(loop.time())
            return times

    first, _, last = asyncio.run(arrivals())
    assert 0.08 <= last - first < 5  # 2 s of tape


def test_one_stream_is_bare_on_ws_and_wrapped_on_stream(combined: Tape, serve: Serve) -> None:
    server = serve(speed=0)
    assert hear(f"{server.ws_url('binance')}/ws/{DEPTH}").messages == said(*map(depth, (1, 2, 3)))
    assert hear(f"{server.ws_url('binance')}/stream?streams={TRADE}").messages == said(
        *(wrapped(TRADE, trade(n)) for n in (1, 2, 3))
    )


def test_what_was_recorded_bare_is_wrapped_for_a_combined_stream(tape: Tape, serve: Serve) -> None:
    tape.connection(0, "binance", "/ws/btcusdt@depth@100ms").recv(10, depth(1))
    several = tape.connection(0, "binance", f"/ws/{TRADE}/btcusdt@kline_1m/btcusdt@bookTicker/!miniTicker@arr")
    several.recv(20, trade(1))
    several.recv(30, kline := b'{"e":"kline","s":"BTCUSDT","k":{"i":"1m"}}')
    several.recv(40, ticker := b'{"u":400900217,"s":"BTCUSDT","b":"25.35190000"}')
    several.recv(50, every := b'[{"e":"24hrMiniTicker","s":"BTCUSDT"},{"e":"24hrMiniTicker","s":"ETHUSDT"}]')
    server = serve(speed=0)
    names = [DEPTH, TRADE, "btcusdt@kline_1m", "btcusdt@bookTicker", "!miniTicker@arr"]
    heard = hear(f"{server.ws_url('binance')}/stream?streams={'/'.join(names)}")
    frames = (depth(1), trade(1), kline, ticker, every)
    assert heard.messages == said(*(wrapped(name, frame) for name, frame in zip(names, frames, strict=True)))


def test_subscriptions_are_acknowledged_with_the_clients_own_number_and_listed(combined: Tape, serve: Serve) -> None:
    server = serve(speed=1)

    async def talk() -> list[object]:
        async with websockets.connect(f"{server.ws_url('binance')}/ws") as socket:
            answers: list[object] = []

            async def ask(text: str) -> None:
                await socket.send(text)
                while "e" in (answer := json.loads(await socket.recv())):
                    pass  # a market event in between
                answers.append(answer)

            await ask(subscribe(DEPTH, TRADE, number=77))
            await ask(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": 3}))
            await ask(subscribe(TRADE, method="UNSUBSCRIBE", number=78))
            await ask(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": "four"}))
            await ask(json.dumps({"method": "GET_PROPERTY", "params": ["combined"], "id": 5}))
            await ask("{nonsense")
            await ask(json.dumps({"method": "DANCE", "id": 6}))
            return answers

    assert asyncio.run(talk()) == [
        {"result": None, "id": 77},
        {"result": [DEPTH, TRADE], "id": 3},
        {"result": None, "id": 78},
        {"result": [DEPTH], "id": "four"},
        {"result": False, "id": 5},
        {"error": {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}},
        {"error": {"code": 2, "msg": "Invalid request: unknown variant `DANCE`"}, "id": 6},
    ]
    assert [miss.asked for miss in server.misses] == ['message {"method": "DANCE", "id": 6}']


def test_after_unsubscribe_nothing_more_comes(combined: Tape, serve: Serve) -> None:
    server = serve(speed=0)
    heard = hear(
        f"{server.ws_url('binance')}/ws", subscribe(DEPTH, TRADE), subscribe(DEPTH, method="UNSUBSCRIBE", number=2)
    )
    acknowledged = ['{"result":null,"id":1}', '{"result":null,"id":2}']
    assert heard.messages == [*acknowledged, *said(*map(trade, (1, 2, 3)))]


def test_the_wrapper_can_be_switched_on(combined: Tape, serve: Serve) -> None:
    server = serve(speed=0)
    switch = json.dumps({"method": "SET_PROPERTY", "params": ["combined", True], "id": 5})
    heard = hear(f"{server.ws_url('binance')}/ws/{TRADE}", switch)
    assert heard.messages[1:] == said(*(wrapped(TRADE, trade(n)) for n in (1, 2, 3)))


def test_a_stream_that_is_not_recorded_is_refused_in_the_venues_shape(combined: Tape, serve: Serve) -> None:
    server = serve(speed=0)
    heard = hear(f"{server.ws_url('binance')}/ws", subscribe("btcusdt@depth", TRADE), until=4)
    refusal = json.loads(heard.messages[0])
    assert (refusal["id"], refusal["error"]["code"]) == (1, 2)
    assert f"btcusdt@depth: not in this recording; recorded: {DEPTH}" in refusal["error"]["msg"]
    assert heard.messages[1:] == said(*map(trade, (1, 2, 3)))  # what is recorded comes all the same
    with pytest.raises(websockets.InvalidStatus) as refused:
        hear(f"{server.ws_url('binance')}/ws/ethusdt@depth")
    assert refused.value.response.status_code == 404
    body = json.loads(refused.value.response.body or b"")
    assert body["explanation"][0].startswith("not in this recording; recorded: ")
    assert [miss.asked for miss in server.misses] == ["stream btcusdt@depth", "WebSocket /ws/ethusdt@depth"]


def test_a_stream_that_was_silent_when_it_was_recorded_is_no_miss(tape: Tape, serve: Serve) -> None:
    tape.connection(0, "binance", "/stream", "streams=ethusdt@trade")
    connection = tape.connection(0, "binance", "/ws")
    connection.send(1, json.loads(subscribe("bnbusdt@trade"))).recv(2, b'{"result":null,"id":1}')
    tape.rest(5_000, "binance", "/api/v3/time")
    server = serve(speed=10)
    heard = hear(f"{server.ws_url('binance')}/ws", subscribe("ethusdt@trade", "bnbusdt@trade"))
    assert (heard.messages, heard.code) == (['{"result":null,"id":1}'], 1001)
    assert server.misses == []


def test_who_comes_late_gets_what_comes_from_then_on(combined: Tape, serve: Serve) -> None:
    server = serve(speed=10, start_at=START_MS + 1_500)
    assert hear(f"{server.ws_url('binance')}/ws/{DEPTH}").messages == said(depth(2), depth(3))


def test_a_late_client_gets_the_diffs_since_the_snapshot_that_rest_gives_it(tape: Tape, serve: Serve) -> None:
    tape.connection(0, "binance", f"/ws/{DEPTH}/{TRADE}")
    connection = tape.connection(0, "binance", "/stream", f"streams={DEPTH}/{TRADE}")
    for number in range(1, 9):
        connection.recv(number * 1_000, wrapped(DEPTH, depth(number))).recv(
            number * 1_000, wrapped(TRADE, trade(number))
        )
    for at_ms, number in ((2_000, 2), (4_000, 4), (7_500, 7)):
        tape.rest(at_ms, "binance", "/api/v3/depth", "symbol=BTCUSDT", b'{"lastUpdateId":%d}' % number)
    tape.rest(4_500, "binance", "/api/v3/depth", "symbol=BTCUSDT&limit=9", b'{"code":-1003}', status=429)
    server = serve(speed=2, start_at=START_MS + 6_500)
    assert requests.get(f"{server.url('binance')}/api/v3/depth?symbol=BTCUSDT", timeout=10).json() == {
        "lastUpdateId": 4
    }
    heard = hear(f"{server.ws_url('binance')}/ws", subscribe(DEPTH, TRADE))
    assert [message for message in heard.messages if "depthUpdate" in message] == said(*map(depth, range(4, 9)))
    assert [message for message in heard.messages if '"trade"' in message] == said(trade(7), trade(8))


@pytest.mark.parametrize("shared", [True, False])
def test_two_recordings_of_one_stream_are_one_stream_without_gap_or_double(
    tape: Tape, serve: Serve, shared: bool
) -> None:
    first = tape.connection(0, "binance", f"/ws/{DEPTH}")
    second = tape.connection(150, "binance", "/stream", f"streams={DEPTH}")
    for number in range(1, 5):
        first.recv(number * 100, depth(number))
    # the same message arrives a little later on the other connection, and first on none
    for number in range(2 if shared else 5, 8):
        second.recv(number * 100 + 7, wrapped(DEPTH, depth(number)))
    server = serve(speed=0)
    heard = hear(f"{server.ws_url('binance')}/ws/{DEPTH}", until=7)
    assert heard.messages == said(*map(depth, range(1, 8)))


def test_a_recorded_close_and_a_recorded_loss_end_the_connection_of_that_url(tape: Tape, serve: Serve) -> None:
    tape.connection(0, "binance", f"/ws/{DEPTH}").recv(1_000, depth(1)).closed(2_000, 1008, b"disconnected")
    tape.connection(0, "binance", f"/ws/{TRADE}").recv(1_000, trade(1)).lost(2_000)
    tape.connection(8_000, "binance", f"/ws/{DEPTH}").recv(9_000, depth(2))
    server = serve(speed=10)

    async def both() -> list[object]:
        base = server.ws_url("binance")
        return await asyncio.gather(listen(f"{base}/ws/{DEPTH}"), listen(f"{base}/ws/{TRADE}"))

    closed, lost = asyncio.run(both())
    assert (closed.messages, closed.code, closed.reason) == (said(depth(1)), 1008, "disconnected")
    assert (lost.messages, lost.code) == (said(trade(1)), None)
    again = hear(f"{server.ws_url('binance')}/ws/{DEPTH}")  # a client that comes back gets the next connection
    assert (again.messages, again.code) == (said(depth(2)), 1001)


def test_a_user_stream_is_found_whatever_its_listen_key(tape: Tape, serve: Serve) -> None:
    tape.connection(0, "binance", "/ws/REDACTED").recv(10, report := b'{"e":"executionReport","s":"BTCUSDT"}')
    server = serve(speed=0)
    assert hear(f"{server.ws_url('binance')}/ws/{'k3Y' * 20}").messages == said(report)
    assert hear(f"{server.ws_url('binance')}/ws/{'REDACTED' * 8}").messages == said(report)


def test_futures_paths_are_understood(tape: Tape, serve: Serve) -> None:
    tape.connection(0, "binance_futures", "/stream", f"streams={TRADE}").recv(10, wrapped(TRADE, trade(1)))
    server = serve(speed=0)
    assert hear(f"{server.ws_url('binance_futures')}/market/ws/{TRADE}").messages == said(trade(1))


def test_messages_that_belong_to_no_one_stream_are_counted(tape: Tape, serve: Serve) -> None:
    several = tape.connection(0, "binance", "/ws/btcusdt@depth5/ethusdt@depth5")
    several.recv(10, b'{"lastUpdateId":160,"bids":[],"asks":[]}').recv(20, b"not json")
    assert serve(speed=0).served["binance"].unrouted == 2


def test_a_tape_that_loops_starts_over_on_the_same_connection(combined: Tape, serve: Serve) -> None:
    for speed in (0, 50):
        server = serve(speed=speed, loop=True)
        heard = hear(f"{server.ws_url('binance')}/ws/{TRADE}", until=7)
        assert heard.messages == said(*map(trade, (1, 2, 3, 1, 2, 3, 1)))
        assert server.wait_end(0) is False
    assert server.lap >= 2
    assert START_MS <= server.now() <= START_MS + 3_010


def test_many_clients_at_once_get_the_same(tape: Tape, serve: Serve) -> None:
    connection = tape.connection(0, "binance", "/stream", f"streams={DEPTH}/{TRADE}")
    for number in range(3):
        connection.recv(10_000 + number, wrapped(DEPTH, depth(number))).recv(
            10_000 + number, wrapped(TRADE, trade(number))
        )
    server = serve(speed=8)  # more than a second for all of them to come

    async def all_of_them() -> list[list[str]]:
        url = f"{server.ws_url('binance')}/stream?streams={DEPTH}/{TRADE}"
        return [heard.messages for heard in await asyncio.gather(*(listen(url) for _ in range(20)))]

    heard = asyncio.run(all_of_them())
    assert all(one == heard[0] for one in heard)
    assert len(heard[0]) == 6
    assert server.served["binance"].connections == 20


def test_faults_can_drop_double_change_and_close(combined: Tape, serve: Serve) -> None:
    class Chaos:
        def frames(self, venue: str, endpoint: str, opcode: str, data: bytes) -> list[tuple[str, bytes]]:
            assert (venue, endpoint, opcode) == ("binance", f"/ws/{TRADE}", "text")
            return {
                trade(1): [],
                trade(2): [("text", b"changed"), ("binary", b"doubled"), ("ping", b"!")],
                trade(3): [("close", b"\x03\xf3kicked")],
            }[data]

    heard = hear(f"{serve(speed=0, faults=Chaos()).ws_url('binance')}/ws/{TRADE}")
    assert (heard.messages, heard.code, heard.reason) == (["changed", "doubled"], 1011, "kicked")
