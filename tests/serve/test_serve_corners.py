"""What hand-written, damaged and odd tapes give to a client, and what odd clients get."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
import websockets

from pytest_marketreplay import serve as package
from pytest_marketreplay.cassette.reader import TornTail
from pytest_marketreplay.errors import DamagedCassette, MarketReplayError, UsageMistake
from pytest_marketreplay.serve import CassetteServer, server, tally

from .conftest import hear, listen
from .tapes import Tape

Serve = Callable[..., CassetteServer]
DEPTH, TRADE = "btcusdt@depth@100ms", "btcusdt@trade"


def trade(number: int) -> bytes:
    return b'{"e":"trade","s":"BTCUSDT","t":%d}' % number


def depth(number: int) -> bytes:
    return b'{"e":"depthUpdate","s":"BTCUSDT","U":%d,"u":%d,"b":[],"a":[]}' % (number, number)


def frames_file(tape: Tape) -> Path:
    (path,) = tape.close().rglob("*.jsonl")
    return path


# ---------------------------------------------------------------- the package and its limits


def test_the_package_has_what_it_names_and_nothing_else() -> None:
    assert [getattr(package, name).__name__ for name in package.__all__] == package.__all__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = package.nonsense


def test_venues_that_find_no_room_above_the_first_port_are_a_mistake(tape: Tape, serve: Serve) -> None:
    tape.rest(0, "binance", "/api/v3/time").rest(0, "kraken", "/0/public/Time")
    with pytest.raises(UsageMistake, match="no room for 2 venues"):
        serve(port=65535)


def test_a_server_that_never_started_can_be_stopped(tape: Tape) -> None:
    CassetteServer(tape.root).stop()


def test_a_thread_that_does_not_end_is_told(tape: Tape, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    tape.rest(0, "binance", "/api/v3/time")
    running = serve()
    thread, listener = running._thread, running._listener
    assert thread is not None
    assert listener is not None
    with monkeypatch.context() as deaf:
        deaf.setattr(server, "_PATIENCE_S", 0.01)
        deaf.setattr(listener, "stop", lambda: None)
        with pytest.raises(MarketReplayError, match="did not stop within"):
            running.stop()
    listener.stop()
    thread.join(10)
    assert not thread.is_alive()


def test_misses_are_all_counted_where_too_many_are_listed(
    tape: Tape, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, "_MOST_KEPT", 2)
    tape.rest(0, "binance", "/api/v3/time")
    running = serve(speed=0)
    for number in range(4):
        assert requests.get(f"{running.url('binance')}/api/v3/depth?limit={number}", timeout=10).status_code == 501
    assert (len(running.misses), running.served["binance"].missed) == (2, 4)


# ---------------------------------------------------------------- files


def test_a_torn_last_line_is_warned_of_and_the_rest_is_served(tape: Tape, serve: Serve) -> None:
    tape.connection(0, "binance", f"/ws/{TRADE}").recv(1, trade(1)).recv(2, trade(2))
    path = frames_file(tape)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(TornTail):
        running = serve(speed=0)
    assert hear(f"{running.ws_url('binance')}/ws/{TRADE}").messages == [trade(1).decode()]


@pytest.mark.parametrize("damage", [b"{nonsense}\n", "{ü\n".encode(), b"\xff\xfe\n"])
def test_a_damaged_line_is_named_before_anything_is_served(tape: Tape, serve: Serve, damage: bytes) -> None:
    tape.connection(0, "binance", f"/ws/{TRADE}").recv(1, trade(1))
    path = frames_file(tape)
    path.write_bytes(path.read_bytes() + damage)
    with pytest.raises(DamagedCassette) as caught:
        serve()
    assert (caught.value.path, caught.value.line) == (path, 3)


def test_a_file_that_changes_while_it_is_served_ends_the_connection_with_the_reason(tape: Tape, serve: Serve) -> None:
    tape.connection(0, "binance", f"/ws/{TRADE}").recv(1, trade(1))
    path = frames_file(tape)
    running = serve(speed=0)
    path.write_bytes(b"x" * path.stat().st_size)
    heard = hear(f"{running.ws_url('binance')}/ws/{TRADE}")
    assert heard.messages == []
    assert heard.code == 1011
    assert heard.reason.startswith("the recording cannot be served: ")


def test_letters_beyond_ascii_are_served_to_the_byte(tape: Tape, serve: Serve) -> None:
    news = '{"e":"trade","s":"BTCUSDT","t":1,"note":"größer ₿"}'
    tape.connection(0, "binance", f"/ws/{TRADE}").recv(1, news.encode())
    assert hear(f"{serve(speed=0).ws_url('binance')}/ws/{TRADE}").messages == [news]


def test_more_files_are_served_than_are_held_open(tape: Tape, serve: Serve) -> None:
    names = [f"a{number}usdt@trade" for number in range(20)]
    for number, name in enumerate(names):
        tape.connection(0, "binance", f"/ws/{name}").recv(number, trade(number)).recv(100 + number, trade(number))
    heard = hear(f"{serve(speed=0).ws_url('binance')}/stream?streams={'/'.join(names)}")
    assert [json.loads(message)["stream"] for message in heard.messages] == names * 2


def test_an_empty_file_is_no_part_of_the_tape(tape: Tape, serve: Serve) -> None:
    tape.rest(0, "binance", "/api/v3/time", body=b'{"serverTime":1}')
    path = tape.close() / "binance" / "api_v3_depth" / "BTCUSDT" / "2025-10-02T10-00-00.jsonl"
    path.parent.mkdir(parents=True)
    path.touch()
    assert requests.get(serve(speed=0).url("binance") + "/api/v3/time", timeout=10).json() == {"serverTime": 1}


# ---------------------------------------------------------------- Binance


def test_where_no_stream_is_recorded_the_refusal_says_so(tape: Tape, serve: Serve) -> None:
    tape.rest(0, "binance", "/api/v3/time")
    with pytest.raises(websockets.InvalidStatus) as refused:
        hear(f"{serve().ws_url('binance')}/ws/{TRADE}")
    assert b"no stream of this venue is recorded" in (refused.value.response.body or b"")


def test_a_path_that_has_no_streams_is_served_as_it_was_recorded(tape: Tape, serve: Serve) -> None:
    tape.connection(0, "binance", "/ws-api/v3").send(1, {"id": 7, "method": "time"}).recv(2, {"id": 7, "result": 9})
    heard = hear(f"{serve(speed=0).ws_url('binance')}/ws-api/v3", '{"id":8,"method":"time"}', until=1)
    assert [json.loads(message) for message in heard.messages] == [{"id": 8, "result": 9}]


def test_two_connections_that_take_turns_in_one_file_are_one_stream(tape: Tape, serve: Serve) -> None:
    first, second = (tape.connection(at_ms, "binance", f"/ws/{TRADE}") for at_ms in (0, 1))
    for number in range(1, 4):
        first.recv(number * 100, trade(number))
        second.recv(number * 100 + 5, trade(number))
    second.recv(400, trade(4))
    heard = hear(f"{serve(speed=0).ws_url('binance')}/ws/{TRADE}")
    assert heard.messages == [trade(number).decode() for number in (1, 2, 3, 4)]


def test_a_recording_of_another_hour_goes_on_where_the_first_ended(tape: Tape, serve: Serve) -> None:
    tape.connection(0, "binance", f"/ws/{TRADE}").recv(1, trade(1))
    tape.connection(3_600_000, "binance", f"/ws/{TRADE}").recv(3_600_001, trade(1)).recv(3_600_002, trade(2))
    heard = hear(f"{serve(speed=0).ws_url('binance')}/ws/{TRADE}")
    assert heard.messages == [trade(number).decode() for number in (1, 1, 2)]


def test_a_subscription_later_on_a_recorded_connection_is_found(tape: Tape, serve: Serve) -> None:
    connection = tape.connection(0, "binance", f"/ws/{TRADE}").recv(1, trade(1))
    connection.send(2, {"method": "SUBSCRIBE", "params": ["btcusdt@ticker_1h"], "id": 1}).recv(
        3, {"result": None, "id": 1}
    )
    hourly = b'{"e":"1hTicker","s":"BTCUSDT"}'
    connection.recv(4, hourly).recv(5, trade(2))
    connection.send(6, {"method": "UNSUBSCRIBE", "params": [TRADE], "id": 2}).recv(7, {"result": None, "id": 2})
    running = serve(speed=0)
    assert hear(f"{running.ws_url('binance')}/ws/btcusdt@ticker_1h").messages == [hourly.decode()]
    assert hear(f"{running.ws_url('binance')}/ws/{TRADE}").messages == [trade(1).decode(), trade(2).decode()]


def test_a_goodbye_of_the_recorded_client_does_not_end_the_served_connection(tape: Tape, serve: Serve) -> None:
    connection = tape.connection(0, "binance", f"/ws/{TRADE}").recv(1, trade(1)).send(2, b"", "ping")
    connection.send(3, b"", "close").closed(4, 1000)
    heard = hear(f"{serve(speed=0).ws_url('binance')}/ws/{TRADE}")
    assert (heard.messages, heard.code) == ([trade(1).decode()], 1001)


def test_a_book_joins_past_error_pages_and_odd_frames(tape: Tape, serve: Serve) -> None:
    """Only what is a book is a snapshot; what is no diff chains to nothing."""
    connection = tape.connection(0, "binance", f"/ws/{DEPTH}")
    for number in range(1, 6):
        connection.recv(number * 1_000, depth(number))
        if number == 3:
            connection.recv(3_500, b"{odd")
    connection.recv(60_000, depth(6))
    tape.rest(2_500, "binance", "/api/v3/depth", "symbol=BTCUSDT", b'{"lastUpdateId":3}')
    tape.rest(2_600, "binance", "/api/v3/depth", "symbol=BTCUSDT&limit=5", b"<html>busy</html>", status=502)
    tape.rest(2_700, "binance", "/api/v3/depth", "symbol=BTCUSDT&limit=9", b'{"code":-1003}', status=429)
    running = serve(speed=1, start_at=tape.start_ms + 5_500)
    heard = hear(f"{running.ws_url('binance')}/ws/{DEPTH}", until=3)
    assert heard.messages == ["{odd", depth(4).decode(), depth(5).decode()]


def test_without_a_clock_a_client_may_subscribe_when_it_likes(tape: Tape, serve: Serve) -> None:
    tape.connection(0, "binance", f"/ws/{TRADE}").recv(1, trade(1))
    running = serve(speed=0)

    async def late() -> list[str | bytes]:
        async with asyncio.timeout(10), websockets.connect(f"{running.ws_url('binance')}/ws") as socket:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.recv(), 0.15)
            await socket.send(json.dumps({"method": "SUBSCRIBE", "params": [TRADE], "id": 1}))
            return [await socket.recv(), await socket.recv()]

    assert asyncio.run(late()) == ['{"result":null,"id":1}', trade(1).decode()]


def test_a_loop_over_a_stream_without_messages_leaves_the_client_in_peace(tape: Tape, serve: Serve) -> None:
    tape.connection(0, "binance", "/ws/ethusdt@trade")
    tape.connection(0, "binance", f"/ws/{TRADE}").recv(1, trade(1))
    running = serve(speed=0, loop=True)

    async def talk() -> list[str | bytes]:
        async with asyncio.timeout(10), websockets.connect(f"{running.ws_url('binance')}/ws/ethusdt@trade") as socket:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.recv(), 0.15)
            await socket.send('{"method":"LIST_SUBSCRIPTIONS","id":3}')
            return [await socket.recv()]

    assert asyncio.run(talk()) == ['{"result":["ethusdt@trade"],"id":3}']


def test_what_a_fault_puts_behind_a_close_is_not_sent(tape: Tape, serve: Serve) -> None:
    tape.connection(0, "binance", f"/ws/{TRADE}").recv(1, trade(1))

    class Kick:
        def frames(self, venue: str, endpoint: str, opcode: str, data: bytes) -> list[tuple[str, bytes]]:
            return [("close", b"\x03\xf3kicked"), ("text", b"too late")]

    heard = hear(f"{serve(speed=0, faults=Kick()).ws_url('binance')}/ws/{TRADE}")
    assert (heard.messages, heard.code, heard.reason) == ([], 1011, "kicked")


# ---------------------------------------------------------------- Kraken


def test_krakens_odd_messages_are_counted_and_the_rest_is_routed(tape: Tape, serve: Serve) -> None:
    first = tape.connection(0, "kraken", "/")
    first.recv(1, b"[1,2]").recv(2, {"event": "pong"}).recv(
        3, {"event": "subscriptionStatus", "status": "error", "errorMessage": "no"}
    )
    second = tape.connection(0, "kraken", "/v2")
    instruments = b'{"channel":"instrument","type":"snapshot","data":{"assets":[],"pairs":[]}}'
    second.recv(1, b"nonsense").recv(2, {"method": "pong", "req_id": 1}).recv(3, b'{"channel":7}').recv(4, instruments)
    running = serve(speed=0)
    assert running.served["kraken"].unrouted == 3
    heard = hear(f"{running.ws_url('kraken')}/v2", '{"method":"subscribe","params":{"channel":"instrument"}}', until=2)
    acknowledged = json.loads(heard.messages[0])
    assert acknowledged["result"] == {"channel": "instrument"}
    assert "req_id" not in acknowledged
    assert heard.messages[1] == instruments.decode()


def test_after_unsubscribe_of_version_2_nothing_more_comes(tape: Tape, serve: Serve) -> None:
    connection = tape.connection(0, "kraken", "/v2")
    for number in range(3):
        connection.recv(number, {"channel": "trade", "type": "update", "data": [{"symbol": "BTC/USD", "n": number}]})
        connection.recv(number, {"channel": "ticker", "type": "update", "data": [{"symbol": "BTC/USD", "n": number}]})

    def ask(method: str, channel: str) -> str:
        return json.dumps({"method": method, "params": {"channel": channel, "symbol": ["BTC/USD"]}, "req_id": 1})

    asked = ask("subscribe", "trade"), ask("unsubscribe", "trade"), ask("subscribe", "ticker")
    heard = hear(f"{serve(speed=0).ws_url('kraken')}/v2", *asked)
    answers = [json.loads(message) for message in heard.messages]
    assert [one["method"] for one in answers[:3]] == ["subscribe", "unsubscribe", "subscribe"]
    assert [one["channel"] for one in answers[3:]] == ["ticker"] * 3


# ---------------------------------------------------------------- as it was recorded


def test_a_first_message_that_fits_no_recording_is_refused(tape: Tape, serve: Serve) -> None:
    for name in ("a", "b"):
        tape.connection(0, "bybit", "/v5").send(1, {"op": name}).recv(2, name.encode())
    running = serve(speed=0)
    heard = hear(f"{running.ws_url('bybit')}/v5", '{"op":"c"}')
    assert (heard.messages, heard.code) == ([], 1008)
    assert running.served["bybit"].missed == 1


def test_a_connection_stays_open_as_long_as_the_tape_goes(tape: Tape, serve: Serve) -> None:
    """What the recorded client said beside messages is not waited for, and that it left ends nothing."""
    connection = tape.connection(0, "okx", "/ws").recv(1, b"one").send(2, b"", "ping").recv(3, b"two")
    connection.lost(4, "left")
    tape.rest(2_000, "okx", "/api/v5/public/time")
    running = serve(speed=10)

    async def heard_for() -> tuple[list[str], int | None, float]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        heard = await listen(f"{running.ws_url('okx')}/ws")
        return heard.messages, heard.code, loop.time() - started

    messages, code, spent = asyncio.run(heard_for())
    assert (messages, code) == (["one", "two"], 1001)
    assert spent >= 0.15  # 2 s of tape, ten times as fast


def test_a_recorded_close_that_a_fault_drops_leaves_the_goodbye_to_the_client(tape: Tape, serve: Serve) -> None:
    tape.connection(0, "okx", "/ws").recv(1, b"one").closed(2, 4008)

    class Deaf:
        def frames(self, venue: str, endpoint: str, opcode: str, data: bytes) -> list[tuple[str, bytes]]:
            return [] if opcode == "close" else [("text", data)]

    running = serve(speed=0, faults=Deaf())
    heard = hear(f"{running.ws_url('okx')}/ws", until=1)
    assert (heard.messages, heard.code) == (["one"], None)
