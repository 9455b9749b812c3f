"""What holds for every stream: determinism, several clients, pace, disconnects, slow clients, pings."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import requests
import websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus

from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.exchange import Limits, SimulatedExchange
from pytest_marketreplay.exchange.connection import MOST_PENDING_BYTES, Connection
from pytest_marketreplay.exchange.wire import Asked

Listen = Callable[..., Any]
MUCH = "/stream?streams=btcusdt@depth20@100ms/ethusdt@depth20@100ms/bnbusdt@depth20@100ms"
ALL = "/stream?streams=btcusdt@depth/btcusdt@depth@100ms/ethusdt@trade/ethusdt@kline_1m/!ticker@arr/bnbusdt@bookTicker"


def deaf_client(exchange: SimulatedExchange, venue: str, target: str) -> socket.socket:
    """Open a connection whose client reads nothing after the handshake, and has little room for it."""
    where = urlsplit(exchange.url(venue))
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.settimeout(10)
    deaf.connect((where.hostname, where.port))
    deaf.sendall(
        f"GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".encode()
        + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += deaf.recv(1)
    assert head.startswith(b"HTTP/1.1 101")
    return deaf


def session(seed: int, listen: Listen) -> list[list[str]]:
    """Play one fixed session; gives the frames of each connection."""
    with SimulatedExchange(seed) as exchange:
        ears = [listen("binance", ALL, of=exchange)]
        exchange.advance(13)
        requests.get(exchange.url("binance") + "/api/v3/depth?symbol=BTCUSDT")
        ears += [listen("binance", "/ws/btcusdt@trade", of=exchange), listen("kraken", "/v2", of=exchange)]
        ears[2].next()
        ears[2].ask({"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USD"]}})
        exchange.advance(27)
        for ear in ears:
            ear.all()
        return [ear.frames for ear in ears]


def test_the_same_seed_and_calls_give_the_same_frames(listen: Listen) -> None:
    one, two, other = session(3, listen), session(3, listen), session(4, listen)
    assert [len(frames) > 10 for frames in one] == [True] * 3
    assert one == two
    assert all(first != second for first, second in zip(one, other, strict=True))


def test_a_request_for_market_data_moves_the_streams(listen: Listen, exchange: SimulatedExchange) -> None:
    ear = listen("binance", "/ws/btcusdt@depth@100ms")
    assert ear.all() == []
    snapshot = requests.get(exchange.url("binance") + "/api/v3/depth?symbol=BTCUSDT").json()
    assert ear.next()["u"] == snapshot["lastUpdateId"]


def test_an_order_shows_on_the_stream_at_once(listen: Listen, exchange: SimulatedExchange, binance: Any) -> None:
    ear = listen("binance", "/ws/btcusdt@trade")
    order = binance.signed("POST", "/api/v3/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01000000")
    assert [row["t"] for row in ear.all()] == [fill["tradeId"] for fill in order.json()["fills"]]


def test_three_libraries_hear_the_same_frames(listen: Listen, exchange: SimulatedExchange) -> None:
    url, steps = exchange.ws_url("binance") + "/ws/btcusdt@depth@100ms", 30
    ear = listen("binance", "/ws/btcusdt@depth@100ms")
    plain = websocket.create_connection(url, timeout=10)

    async def with_aiohttp() -> list[str]:
        async with aiohttp.ClientSession() as client, client.ws_connect(url) as connection:
            await asyncio.to_thread(exchange.advance, steps, "binance")
            return [str((await connection.receive(timeout=10)).data) for _ in range(steps)]

    heard = asyncio.run(with_aiohttp())
    ear.all()
    assert ear.frames == heard
    assert [plain.recv() for _ in range(steps)] == heard
    plain.close()


def test_pings_are_answered_with_their_payload(listen: Listen) -> None:
    for venue in ("binance", "kraken"):
        ear = listen(venue, "/ws")
        assert ear.connection.ping("are you there").wait(10)


def test_binance_pings_and_leaves_a_client_that_does_not_answer(listen: Listen) -> None:
    now = 1_000_000.0
    with SimulatedExchange(real_time=lambda: now) as exchange:
        ear = listen("binance", "/ws/btcusdt@trade", of=exchange)
        deaf = deaf_client(exchange, "binance", "/ws/btcusdt@trade")
        for _ in range(5):
            now += 20
            exchange.streaming.tick()
            answered = ear.connection.ping()  # its pong comes after the answer to the server's ping
            assert answered.wait(10)
        heard = b""
        while chunk := deaf.recv(4096):
            heard += chunk
        deaf.close()
        assert heard[:12] == b"\x89\x0a1000020000"  # a ping of ten bytes: the time in milliseconds
        assert b"Pong timeout" in heard
        assert [each.number for each in exchange.streams("binance")] == [1]


def test_dropping_without_a_code_cuts_the_connection(listen: Listen, exchange: SimulatedExchange) -> None:
    ears = [listen("binance", "/ws/btcusdt@trade"), listen("binance", "/ws/ethusdt@trade")]
    other = listen("kraken", "/ws")
    other.next()
    assert exchange.drop_streams("binance") == 2
    for ear in ears:
        with pytest.raises(ConnectionClosed) as closed:
            ear.next()
        assert closed.value.rcvd is None
    assert exchange.streams("binance") == ()
    assert other.ask({"event": "ping"}) == {"event": "pong"}
    assert exchange.drop_streams("binance") == 0


def test_dropping_with_a_code_sends_what_waits_and_then_the_code(listen: Listen, exchange: SimulatedExchange) -> None:
    ear = listen("binance", "/ws/btcusdt@depth@100ms")
    exchange.advance(20, "binance")
    assert exchange.drop_streams("binance", 1012, "service restart") == 1
    heard = 0
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            ear.next()
            heard += 1
    assert heard == 20
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1012, "service restart")


def test_after_a_drop_a_client_reconnects_and_joins_again(listen: Listen, exchange: SimulatedExchange) -> None:
    listen("binance", "/ws/btcusdt@depth@100ms")
    exchange.advance(5, "binance")
    exchange.drop_streams("binance")
    exchange.advance(5, "binance")
    ear = listen("binance", "/ws/btcusdt@depth@100ms")
    last_id = requests.get(exchange.url("binance") + "/api/v3/depth?symbol=BTCUSDT").json()["lastUpdateId"]
    exchange.advance(3, "binance")
    diffs = ear.all()
    assert diffs[0]["u"] == last_id
    assert diffs[1]["U"] == last_id + 1


@pytest.mark.parametrize(("venue", "status"), [("binance", 503), ("binance", 429), ("kraken", 502)])
def test_upgrades_are_refused_as_often_as_told(
    listen: Listen, exchange: SimulatedExchange, venue: str, status: int
) -> None:
    exchange.refuse_upgrades(venue, status, times=2)
    for _ in range(2):
        with pytest.raises(InvalidStatus) as refused:
            listen(venue, "/ws")
        assert refused.value.response.status_code == status
    assert requests.get(exchange.url("binance") + "/api/v3/ping").ok
    listen(venue, "/ws")
    upgrades = [asked for asked in exchange.requests if asked.path == "/ws"]
    assert upgrades == [Asked(venue, "GET", "/ws", each) for each in (status, status, 101)]


def test_what_is_no_handshake_is_refused(exchange: SimulatedExchange) -> None:
    answer = requests.get(exchange.url("binance") + "/ws", headers={"Upgrade": "websocket"}, timeout=10)
    assert answer.status_code == 400
    assert exchange.streams("binance") == ()


def test_a_client_that_does_not_read_is_closed_and_holds_no_memory(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_marketreplay.exchange import connection, streaming

    monkeypatch.setattr(connection, "MOST_PENDING_BYTES", 200_000)
    monkeypatch.setattr(streaming, "MOST_PENDING_BYTES", 200_000)
    with SimulatedExchange() as exchange:
        reader = listen("binance", "/ws/btcusdt@depth20@100ms", of=exchange)
        deaf = deaf_client(exchange, "binance", MUCH)
        for _ in range(200):
            exchange.advance(20, "binance")
            if len(exchange.streams("binance")) == 1:
                break
        assert [each.number for each in exchange.streams("binance")] == [1]
        deaf.close()
        assert len(reader.all()) > 100  # the other one missed nothing and is still there
        exchange.advance(1, "binance")
        assert reader.next()["lastUpdateId"]


def test_dropping_frees_a_connection_whose_client_does_not_read(exchange: SimulatedExchange) -> None:
    deaf = deaf_client(exchange, "binance", MUCH)
    exchange.advance(1500, "binance")  # some 5 MB: more than the sockets' buffers hold
    assert exchange.drop_streams("binance") == 1
    assert exchange._listener is not None
    pause = threading.Event()
    for _ in range(400):  # the server lets go at once, before the client reads
        if not exchange._listener._sockets._open:
            break
        pause.wait(0.005)
    assert not exchange._listener._sockets._open
    heard = 0
    with contextlib.suppress(ConnectionResetError):
        while chunk := deaf.recv(1 << 16):
            heard += len(chunk)
    deaf.close()
    assert 0 < heard < 5_000_000


def test_many_steps_at_once_reach_a_client_that_reads(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_marketreplay.exchange import connection, streaming

    monkeypatch.setattr(connection, "MOST_PENDING_BYTES", 100_000)
    monkeypatch.setattr(streaming, "MOST_PENDING_BYTES", 100_000)
    with SimulatedExchange() as exchange:
        ear = listen("binance", "/ws/btcusdt@depth20@100ms/btcusdt@depth@100ms", of=exchange)
        exchange.advance(600, "binance")
        diffs = [frame for frame in ear.all() if frame.get("e") == "depthUpdate"]
        assert len(diffs) == 600


def test_what_is_added_after_the_end_is_dropped() -> None:
    connection = Connection(1, "/ws")
    connection.send(b"one")
    connection.close(1000)
    connection.send(b"two")
    assert [item.kind for item in iter(connection.take, None)] == ["text", "close"]
    connection = Connection(2, "/ws")
    for _ in range(2 * MOST_PENDING_BYTES // 100_000):
        connection.send(b"x" * 100_000)
    assert connection.pending_bytes < 1000
    (item,) = iter(connection.take, None)
    assert (item.kind, item.code) == ("close", 1008)


def test_time_can_drive_the_market(listen: Listen) -> None:
    with SimulatedExchange(step_every=0.005) as exchange:
        ear = listen("binance", "/ws/btcusdt@depth@100ms", of=exchange)
        diffs = [ear.next() for _ in range(20)]
        assert all(two["U"] == one["u"] + 1 for one, two in itertools.pairwise(diffs))
        last_id = requests.get(exchange.url("binance") + "/api/v3/depth?symbol=BTCUSDT").json()["lastUpdateId"]
        while (diff := ear.next())["u"] < last_id:
            pass
        assert diff["U"] <= last_id + 1
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            ear.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001


def test_a_market_can_be_set_moving_and_stopped_while_it_is_listened_to(listen: Listen) -> None:
    with SimulatedExchange() as exchange:
        ear = listen("binance", "/ws/btcusdt@depth@100ms", of=exchange)
        exchange.step_every = 0.005
        first = [ear.next()["u"] for _ in range(3)]
        exchange.step_every = None
        assert exchange.step_every is None
        with pytest.raises(UsageMistake, match="above 0 s"):
            exchange.step_every = 0
        exchange.step_every = 0.01
        assert first == sorted(first)
        assert ear.next()["u"] > first[-1]


def test_stopping_does_not_wait_for_clients_that_never_answer() -> None:
    with SimulatedExchange() as exchange:
        deaf = deaf_client(exchange, "kraken", "/ws")
        stopped = threading.Thread(target=exchange.stop)
        stopped.start()
        stopped.join(8)
        assert not stopped.is_alive()
        deaf.close()


def test_a_client_that_leaves_is_forgotten(listen: Listen, exchange: SimulatedExchange) -> None:
    ear = listen("binance", "/ws/btcusdt@trade")
    ear.connection.close()  # returns when the server has answered and cut
    other = listen("binance", "/ws")
    other.ask({"method": "LIST_SUBSCRIPTIONS", "id": 1})
    assert [each.subscriptions for each in exchange.streams("binance")] == [()]


def test_unknown_venues_codes_and_paces_are_explained(exchange: SimulatedExchange) -> None:
    assert exchange.ws_url("kraken") == exchange.url("kraken").replace("http", "ws")
    for ask in (exchange.ws_url, exchange.streams, exchange.drop_streams, exchange.refuse_upgrades):
        with pytest.raises(UsageMistake, match="no venue 'lab'; it has binance, kraken"):
            ask("lab")
    with pytest.raises(UsageMistake, match="close code"):
        exchange.drop_streams("binance", 999)
    with pytest.raises(UsageMistake, match="refuse_upgrades needs"):
        exchange.refuse_upgrades("binance", 200)
    with pytest.raises(UsageMistake, match="step_every"):
        SimulatedExchange(step_every=0)
    with pytest.raises(UsageMistake, match="only moves forward"):
        exchange.advance(-1)
    assert Limits().binance_messages_per_s == 5


def test_a_message_in_a_binary_frame_is_read_like_text(listen: Listen) -> None:
    ear = listen("binance", "/ws")
    ear.connection.send(b'{"method":"LIST_SUBSCRIPTIONS","id":1}')
    assert ear.next() == {"result": [], "id": 1}


def test_what_happened_before_a_subscription_is_not_sent(listen: Listen, exchange: SimulatedExchange) -> None:
    ear = listen("binance", "/ws")
    bought = exchange.market("binance").take("BTCUSDT", True, 10**6)  # no step yet: nobody was told of it
    ear.ask({"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1})
    exchange.advance(30, "binance")
    assert ear.all()[0]["t"] == bought[-1].id + 1


def test_streams_are_known_before_anybody_connects_and_after_a_failed_upgrade(exchange: SimulatedExchange) -> None:
    assert exchange.streams("kraken") == ()
    assert requests.get(exchange.url("binance") + "/wss", headers={"Upgrade": "websocket"}).status_code == 404
    assert exchange.streams("binance") == ()
