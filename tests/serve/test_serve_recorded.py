"""Connections of venues whose protocol is not described: as they were recorded, never ahead of the client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
import websockets

from pytest_marketreplay.serve import CassetteServer

from .conftest import hear, listen
from .tapes import Tape

Serve = Callable[..., CassetteServer]
PATH = "/ws/v5/public"


def subscribe(channel: str, number: int = 1) -> dict[str, object]:
    return {"id": number, "op": "subscribe", "args": [{"channel": channel}]}


@pytest.fixture
def okx(tape: Tape) -> Tape:
    connection = tape.connection(0, "okx", PATH).send(10, subscribe("books"))
    connection.recv(20, {"id": 1, "event": "subscribe"}).recv(30, b'{"data": [0.10]}')
    connection.send(40, b"ping").recv(45, b"pong")
    connection.send(50, subscribe("trades", 2)).recv(60, {"id": 2, "event": "subscribe"}).recv(
        70, b"\x00\xff", "binary"
    )
    return tape


def test_a_frame_waits_for_what_the_client_had_sent_before_it(okx: Tape, serve: Serve) -> None:
    server = serve(speed=0)

    async def talk() -> list[str | bytes]:
        async with websockets.connect(server.ws_url("okx") + PATH) as socket:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.recv(), 0.1)
            await socket.send(json.dumps(subscribe("books", 71)))
            got = [await socket.recv(), await socket.recv()]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.recv(), 0.1)
            await socket.send("ping")
            got.append(await socket.recv())
            await socket.send(json.dumps(subscribe("trades", 72)))
            return [*got, await socket.recv(), await socket.recv()]

    assert asyncio.run(talk()) == [
        '{"id":71,"event":"subscribe"}',
        '{"data": [0.10]}',
        "pong",
        '{"id":72,"event":"subscribe"}',
        b"\x00\xff",
    ]


def test_the_order_of_messages_sent_at_once_does_not_count(okx: Tape, serve: Serve) -> None:
    heard = hear(serve(speed=10).ws_url("okx") + PATH, *(json.dumps(subscribe(name)) for name in ("trades", "books")))
    assert heard.messages[1:] == ['{"data": [0.10]}', '{"id":1,"event":"subscribe"}', "\x00\xff"]
    assert heard.code == 1001


def test_a_message_that_was_not_recorded_ends_the_connection_and_is_a_miss(okx: Tape, serve: Serve) -> None:
    server = serve(speed=0)
    heard = hear(server.ws_url("okx") + PATH, json.dumps(subscribe("candles")))
    assert heard.code == 1008
    assert heard.reason.startswith("not in this recording: ")
    (miss,) = server.misses
    assert "candles" in miss.asked
    assert "books" in miss.explanation


def test_which_of_two_recordings_it_is_shows_in_the_first_message(tape: Tape, serve: Serve) -> None:
    for name in ("a", "b"):
        tape.connection(0, "bybit", "/v5").send(1, subscribe(name)).recv(2, name.encode())
    server = serve(speed=10)

    async def both() -> list[list[str]]:
        url = server.ws_url("bybit") + "/v5"
        return [
            heard.messages
            for heard in await asyncio.gather(*(listen(url, json.dumps(subscribe(name))) for name in ("b", "a")))
        ]

    assert asyncio.run(both()) == [["b"], ["a"]]


def test_a_late_client_gets_all_up_to_now_at_once_and_then_the_rest_in_time(tape: Tape, serve: Serve) -> None:
    connection = tape.connection(0, "deribit", "/ws/api/v2").send(1, b"go")
    for number in range(5):
        connection.recv(number * 1_000, b"%d" % number)
    server = serve(speed=10, start_at=tape.start_ms + 3_500)

    async def late() -> tuple[list[str], float]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        heard = await listen(server.ws_url("deribit") + "/ws/api/v2", "go")
        return heard.messages, loop.time() - started

    messages, spent = asyncio.run(late())
    assert messages == ["0", "1", "2", "3", "4"]
    assert 0.04 < spent < 2


def test_a_url_that_was_not_recorded_is_refused_with_what_is(okx: Tape, serve: Serve) -> None:
    server = serve()
    with pytest.raises(websockets.InvalidStatus) as refused:
        hear(server.ws_url("okx") + "/ws/v5/private?token=verysecretindeed")
    assert refused.value.response.status_code == 404
    body = (refused.value.response.body or b"").decode()
    assert f"recorded WebSocket paths: {PATH}" in body
    assert "verysecretindeed" not in body + str(server.misses)


def test_a_refused_upgrade_is_refused_again_and_a_failed_one_fails(tape: Tape, serve: Serve) -> None:
    tape.connection(0, "okx", "/busy", status=503, reason="Busy", headers={"retry-after": "3"}, body=b"later")
    tape.connection(0, "okx", "/gone", status=0, error="connect")
    server = serve()
    with pytest.raises(websockets.InvalidStatus) as refused:
        hear(server.ws_url("okx") + "/busy")
    response = refused.value.response
    assert (response.status_code, response.headers["retry-after"], response.body) == (503, "3", b"later")
    with pytest.raises(websockets.InvalidMessage):
        hear(server.ws_url("okx") + "/gone")


def test_close_and_loss_are_served_as_recorded(tape: Tape, serve: Serve) -> None:
    tape.connection(0, "okx", "/closes").recv(1, b"bye").closed(2, 4008, b"too slow")
    tape.connection(0, "okx", "/breaks").recv(1, b"bye").lost(2, "disconnected")
    server = serve(speed=0)
    closed, lost = hear(server.ws_url("okx") + "/closes"), hear(server.ws_url("okx") + "/breaks")
    assert (closed.messages, closed.code, closed.reason) == (["bye"], 4008, "too slow")
    assert (lost.messages, lost.code) == (["bye"], None)


def test_a_tape_that_loops_asks_the_client_to_come_again(okx: Tape, serve: Serve) -> None:
    server = serve(speed=10, loop=True)
    url = server.ws_url("okx") + PATH
    messages = [json.dumps(subscribe(name)) for name in ("books", "trades")]
    first, second = hear(url, *messages), hear(url, *messages)
    assert (first.code, first.reason) == (1012, "the recording starts over")
    assert first.messages[-1] == second.messages[-1] == "\x00\xff"
