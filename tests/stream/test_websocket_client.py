"""`websocket-client` records and replays whole connections, whatever its use, and every frame is the same."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from websocket import create_connection  # an import by name, before any session

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.errors import UnrecordedRequest
from pytest_marketreplay.exchange.server import SimulatedExchange

from .conftest import Open
from .websocket_clients import CLIENTS, App, Got, by_app, by_recv, connect, join, subscribe
from .wire_server import Line, WireServer

LONG = ('{"bids":[' + ",".join(f'["{n}.10000000","1.0"]' for n in range(45_000)) + "]}").encode()
Client = Callable[..., list[Got]]


@pytest.fixture(params=list(CLIENTS))
def client(request: pytest.FixtureRequest) -> Client:
    return CLIENTS[request.param]


def everything(line: Line) -> None:
    line.accept(("text", b'{"hello":"first"}'), ("text", b"with the 101"))
    asked = line.subscribed()
    line.send(f'{{"result":null,"id":{asked["id"]}}}')
    line.send('{"p":"0.10000000","q":1e-8,"n":123456789012345678901234567890}')
    line.send("")
    line.send(b"")
    line.send(b"\x00\xff\x80 no text")
    line.send("\N{EURO SIGN} \N{GRINNING FACE} no JSON")
    line.send('{"a":1,\n "b":2}')
    line.raw(b'\x01\x05{"u":' + b"\x00\x01" + b"7" + b"\x80\x01}")  # one message in three fragments
    line.send(LONG.decode())
    line.send(b"beat", "ping")
    assert line.recv() == ("pong", b"beat")
    line.send('{"after":"the ping"}')
    line.close(4001, "enough")


def test_every_kind_of_frame_is_replayed_as_it_came(client: Client, cassette: Open) -> None:
    with WireServer(everything) as server, cassette(server, "rewrite"):
        live = client(server.url + "/ws", [subscribe("a@depth")], **skip(client))
    assert server.opened == 1
    assert len(live) >= 14
    assert ("text", LONG) in live
    assert ("text", b'{"u":7}') in live
    with cassette(server) as session:
        again = client(server.url + "/ws", [subscribe("a@depth")], **skip(client))
        assert session.unplayed() == []
    assert again == live
    assert session.played_frames == 14


def skip(client: Client) -> dict[str, object]:
    # the library checks UTF-8 in Python, a megabyte in a quarter of a second
    return {"skip_utf8_validation": True} if client is by_recv else {}


def test_what_one_use_recorded_the_others_replay(cassette: Open) -> None:
    with WireServer(everything) as server, cassette(server, "rewrite"):
        live = by_recv(server.url + "/ws", [subscribe("a@depth")], skip_utf8_validation=True)
    with cassette(server):
        again = by_app(server.url + "/ws", [subscribe("a@depth")])
    assert again[:-1] == live[:-1]
    assert live[-1] == ("close", b"\x0f\xa1enough")
    assert again[-1][0] == "closed"  # 1.9.0 does not give the code to `on_close`


def test_a_function_imported_by_name_before_the_session_is_intercepted(cassette: Open) -> None:
    def greet(line: Line) -> None:
        line.accept(("text", b'{"hello":"first"}'))
        line.until_closed()

    with WireServer(greet) as server, cassette(server, "rewrite"):
        connection = create_connection(server.url + "/ws")
        assert connection.recv() == '{"hello":"first"}'
        connection.close()
    with cassette(server):
        connection = create_connection(server.url + "/ws")
        assert connection.recv() == '{"hello":"first"}'
        connection.close()


def greeted_then_two(line: Line) -> None:
    line.accept(("text", b'{"event":"systemStatus"}'))
    stream = line.subscribed()["params"][0]
    for number in range(3):
        line.send(f'{{"s":"{stream}","u":{number}}}')
    line.close(1000)


def test_connections_to_one_url_are_told_apart_by_their_subscription(client: Client, cassette: Open) -> None:
    with WireServer(greeted_then_two) as server, cassette(server, "rewrite"):
        first = client(server.url + "/ws", [subscribe("btcusdt@trade")])
        second = client(server.url + "/ws", [subscribe("ethusdt@trade")])
    assert first != second
    with cassette(server):
        assert client(server.url + "/ws", [subscribe("ethusdt@trade")]) == second
        assert client(server.url + "/ws", [subscribe("btcusdt@trade")]) == first


def test_many_connections_at_once_each_get_their_own_frames(cassette: Open) -> None:
    streams = [f"s{number}@trade" for number in range(6)]

    def all_at_once(url: str) -> dict[str, list[Got]]:
        apps = {stream: App(url, [subscribe(stream)]) for stream in streams}
        threads = [app.start() for app in apps.values()]
        for thread in threads:
            join(thread)
        return {stream: app.got for stream, app in apps.items()}

    with WireServer(greeted_then_two) as server, cassette(server, "rewrite"):
        live = all_at_once(server.url + "/ws")
    assert all(len(got) == 5 for got in live.values())
    with cassette(server):
        assert all_at_once(server.url + "/ws") == live


def acknowledged(line: Line) -> None:
    line.accept()
    for _ in range(2):
        asked = line.subscribed()
        line.send(f'{{"result":null,"id":{asked["id"]}}}')
    line.send('{"u":1,"id":1}')
    line.until_closed()


def test_an_acknowledgement_carries_the_number_of_this_run(cassette: Open) -> None:
    def ask(url: str, *numbers: int) -> list[object]:
        connection = connect(url, timeout=10)
        got: list[object] = []
        for number, stream in zip(numbers, ("a", "b"), strict=True):
            connection.send(subscribe(stream, number=number))
            got.append(connection.recv())
        got.append(connection.recv())
        connection.close()
        return got

    with WireServer(acknowledged) as server, cassette(server, "rewrite"):
        ask(server.url + "/ws", 5, 6)
    with cassette(server):
        assert ask(server.url + "/ws", 70, 80) == [
            '{"result":null,"id":70}',
            '{"result":null,"id":80}',
            '{"u":1,"id":1}',
        ]


def test_subscriptions_in_another_order_play_too(cassette: Open) -> None:
    def both(line: Line) -> None:
        line.accept()
        line.subscribed()
        line.subscribed()
        line.send('{"u":1}')
        line.close()

    with WireServer(both) as server, cassette(server, "rewrite"):
        live = by_recv(server.url + "/ws", [subscribe("a", "b"), subscribe("c")])
    with cassette(server):
        assert by_recv(server.url + "/ws", [subscribe("c"), subscribe("b", "a", number=9)]) == live


def test_frames_that_the_client_never_read_are_recorded_when_it_closes(cassette: Open, tmp_path: Path) -> None:
    sent = threading.Event()

    def three(line: Line) -> None:
        line.accept()
        for number in range(3):
            line.send(f'{{"u":{number}}}')
        sent.set()
        line.until_closed()

    with WireServer(three) as server, cassette(server, "rewrite"):
        connection = connect(server.url + "/ws", timeout=10)
        assert sent.wait(10)
        assert connection.recv() == '{"u":0}'
        connection.close()
    (file,) = tmp_path.rglob("*.jsonl")
    assert [line for line in file.read_text().splitlines() if '{"u":2}' in line]
    with cassette(server):
        connection = connect(server.url + "/ws", timeout=10)
        assert connection.recv() == '{"u":0}'
        connection.close()
        assert not connection.connected


def test_a_subprotocol_is_chosen_again(cassette: Open) -> None:
    def spoken(line: Line) -> None:
        assert line.headers["sec-websocket-protocol"] == "json,msgpack"
        line.accept(subprotocol="json", headers=[("X-Served-By", "edge-7")])
        line.close()

    def speak(url: str) -> tuple[object, ...]:
        connection = connect(url, subprotocols=["json", "msgpack"], timeout=10)
        out = connection.getsubprotocol(), connection.getstatus(), connection.getheaders()["x-served-by"]
        connection.close()
        return out

    with WireServer(spoken) as server, cassette(server, "rewrite"):
        live = speak(server.url + "/ws")
    assert live == ("json", 101, "edge-7")
    with cassette(server):
        assert speak(server.url + "/ws") == live


def test_a_redirect_is_followed_again(cassette: Open) -> None:
    def moved(line: Line) -> None:
        line.refuse(302, "Found", b"", ("Location", f"{server.url}/ws/new"))

    def new(line: Line) -> None:
        line.accept(("text", b'{"moved":true}'))
        line.close()

    with WireServer(moved, **{"/new$": new}) as server, cassette(server, "rewrite"):
        live = by_recv(server.url + "/ws/old")
    assert live[0] == ("text", b'{"moved":true}')
    with cassette(server):
        assert by_recv(server.url + "/ws/old") == live


def test_an_address_that_nobody_named_a_venue_is_left_alone(cassette: Open) -> None:
    with WireServer(greeted_then_two) as own, WireServer(greeted_then_two) as venue, cassette(venue, "once") as session:
        got = by_recv(own.url + "/ws", [subscribe("a")])
    assert len(got) == 5
    assert session.recorded == 0


def test_without_a_recording_the_call_that_connects_says_so(cassette: Open) -> None:
    with WireServer(greeted_then_two) as server:
        with pytest.raises(UnrecordedRequest, match="ws://127"), cassette(server):
            connect(server.url + "/ws")
        with pytest.raises(UnrecordedRequest, match=r"stream\.binance\.com"), cassette(server):
            connect("wss://stream.binance.com:9443/ws/btcusdt@depth")
        with pytest.raises(UnrecordedRequest), cassette(server):
            app = App(server.url + "/ws")
            app.run(reconnect=1)
            assert isinstance(app.errors[0], UnrecordedRequest)
    assert server.opened == 0


@pytest.mark.parametrize("use", ["recv", "app"])
def test_a_connection_over_tls_is_played_without_tls(cassette: Open, tmp_path: Path, use: str) -> None:
    with WireServer(greeted_then_two) as server, cassette(server, "rewrite"):
        live = CLIENTS[use](server.url + "/ws", [subscribe("a")])
    with cassette(server):
        assert CLIENTS[use]("wss://stream.binance.com:9443/ws", [subscribe("a")]) == live


def test_the_simulated_exchange_is_recorded_and_replayed_without_it(tmp_path: Path) -> None:
    def watch(urls: dict[str, str]) -> list[str]:
        depth = connect(urls["binance"] + "/stream?streams=btcusdt@depth@100ms/btcusdt@trade", timeout=10)
        got = [depth.recv() for _ in range(20)]
        depth.close()
        books = connect(urls["kraken"] + "/v2", timeout=10)
        books.send('{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"]},"req_id":3}')
        got += [books.recv() for _ in range(12)]
        books.close()
        return got

    with SimulatedExchange(seed=7, step_every=0.01) as exchange:
        urls = {venue: exchange.ws_url(venue) for venue in ("binance", "kraken")}
        hosts = {url.removeprefix("ws://"): venue for venue, url in urls.items()}
        with use_cassette(tmp_path / "c", mode="rewrite", hosts=hosts):
            live = watch(urls)
    with use_cassette(tmp_path / "c", hosts=hosts):
        assert watch(urls) == live
