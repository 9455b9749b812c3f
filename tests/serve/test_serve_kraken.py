"""Kraken's streams out of a recording, version 1 and 2: acknowledgements, snapshots first, late subscribers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pytest_marketreplay.serve import CassetteServer

from .conftest import hear
from .tapes import Tape

Serve = Callable[..., CassetteServer]
STATUS = b'{"connectionID":8628615390848610000,"event":"systemStatus","status":"online","version":"1.0.0"}'
BEAT = b'{"event":"heartbeat"}'
ACK = {
    "channelID": 336,
    "channelName": "book-10",
    "event": "subscriptionStatus",
    "pair": "XBT/USD",
    "status": "subscribed",
    "subscription": {"depth": 10, "name": "book"},
}
SNAPSHOT = b'[336,{"as":[["5541.30000","2.50700000","1534614248.123678"]],"bs":[]},"book-10","XBT/USD"]'


def update(number: int) -> bytes:
    return (
        b'[336,{"a":[["5541.30000","%d.00000000","1534614335.345903"]],"c":"974942666"},"book-10","XBT/USD"]' % number
    )


def trade(number: int) -> bytes:
    return b'[ 337, [["5541.20000","0.1585","1534614057.%d","s","l",""]], "trade", "XBT/USD"]' % number


def subscribe(name: str, *pairs: str, **more: Any) -> str:
    reqid = {"reqid": more.pop("reqid")} if "reqid" in more else {}
    return json.dumps({"event": "subscribe", "pair": pairs, "subscription": {"name": name, **more}, **reqid})


@pytest.fixture
def v1(tape: Tape) -> Tape:
    book = tape.connection(0, "kraken", "/").recv(1, STATUS).send(2, json.loads(subscribe("book", "XBT/USD", depth=10)))
    book.recv(3, ACK).recv(100, SNAPSHOT)
    for number in range(1, 5):
        book.recv(100 + number * 100, update(number)).recv(150 + number * 100, BEAT)
    trades = tape.connection(0, "kraken", "/").recv(1, STATUS)
    for number in range(1, 5):
        trades.recv(120 + number * 100, trade(number)).recv(150 + number * 100, BEAT)
    return tape


def test_a_subscription_gets_status_acknowledgement_snapshot_and_updates_in_this_order(v1: Tape, serve: Serve) -> None:
    server = serve(speed=1)
    heard = hear(server.ws_url("kraken"), subscribe("book", "XBT/USD", depth=10, reqid=42))
    assert heard.messages[0] == STATUS.decode()
    assert json.loads(heard.messages[1]) == ACK | {"reqid": 42}
    rest = [message for message in heard.messages[2:] if message != BEAT.decode()]
    assert rest == [SNAPSHOT.decode(), *(update(n).decode() for n in range(1, 5))]
    assert heard.messages.count(BEAT.decode()) == 4  # those of one connection, not of both
    assert heard.code == 1001


def test_a_late_subscriber_starts_from_the_recorded_snapshot_and_misses_no_update(v1: Tape, serve: Serve) -> None:
    server = serve(speed=0.5, start_at=v1.start_ms + 350)
    heard = hear(server.ws_url("kraken"), subscribe("book", "XBT/USD"), subscribe("trade", "BTC/USD"))
    market = [message for message in heard.messages if message.startswith("[")]
    books = [message for message in market if "book" in message]
    assert books == [SNAPSHOT.decode(), *(update(n).decode() for n in range(1, 5))]
    assert [message for message in market if "trade" in message] == [trade(n).decode() for n in (3, 4)]


def test_what_is_not_recorded_is_refused_in_the_venues_shape(v1: Tape, serve: Serve) -> None:
    server = serve(speed=0)
    heard = hear(
        server.ws_url("kraken"),
        subscribe("book", "XBT/USD", "ETH/USD", depth=25, reqid=7),
        subscribe("spread", "XBT/USD"),
        json.dumps({"event": "dance"}),
        json.dumps({"event": "ping", "reqid": 9}),
        subscribe("trade", "XBT/USD"),
    )
    first, second, third, nonsense, pong = map(json.loads, heard.messages[1:6])
    for problem, pair, name in ((first, "XBT/USD", "book"), (second, "ETH/USD", "book"), (third, "XBT/USD", "spread")):
        assert (problem["event"], problem["status"], problem["pair"]) == ("subscriptionStatus", "error", pair)
        assert problem["subscription"]["name"] == name
        assert problem["errorMessage"].startswith(f"Currency pair not supported {pair} (not in this recording; ")
    assert (first["reqid"], "reqid" in third) == (7, False)
    assert (nonsense["event"], nonsense["status"]) == ("error", "error")
    assert pong == {"event": "pong", "reqid": 9}
    assert "v1 book-10 BTC-USD" in server.misses[0].explanation
    assert len(server.misses) == server.served["kraken"].missed == 4


def test_after_unsubscribe_nothing_more_comes(v1: Tape, serve: Serve) -> None:
    stop = json.dumps({"event": "unsubscribe", "pair": ["XBT/USD"], "subscription": {"name": "book"}})
    heard = hear(serve(speed=0).ws_url("kraken"), subscribe("book", "XBT/USD"), stop, subscribe("trade", "XBT/USD"))
    statuses = [json.loads(message)["status"] for message in heard.messages[:4]]
    assert statuses == ["online", "subscribed", "unsubscribed", "subscribed"]
    assert not [message for message in heard.messages if "book-10" in message and message.startswith("[")]


def test_private_channels_go_by_their_name(tape: Tape, serve: Serve) -> None:
    own = b'[[{"TDLH43-DVQXD-2KHVYY":{"pair":"XBT/EUR"}}],"ownTrades",{"sequence":1}]'
    tape.connection(0, "kraken", "/").recv(5, own).recv(900, own.replace(b":1}", b":2}"))
    message = json.dumps({"event": "subscribe", "subscription": {"name": "ownTrades", "token": "mine"}})
    heard = hear(serve(speed=1, start_at=tape.start_ms + 700).ws_url("kraken"), message)
    assert "mine" not in heard.messages[0]
    assert heard.messages[1:] == [own.decode(), own.replace(b":1}", b":2}").decode()]


@pytest.fixture
def v2(tape: Tape) -> Tape:
    connection = tape.connection(0, "kraken", "/v2")
    connection.recv(1, b'{"channel":"status","type":"update","data":[{"system":"online","version":"2.0.0"}]}')
    for number, symbol in ((2, "BTC/USD"), (3, "ETH/USD")):
        result = {"channel": "book", "depth": 10, "snapshot": True, "symbol": symbol}
        connection.recv(number, {"method": "subscribe", "result": result, "success": True})
    for at_ms, symbol, kind in ((10, "BTC/USD", "snapshot"), (11, "ETH/USD", "snapshot"), (20, "BTC/USD", "update")):
        data = [{"symbol": symbol, "bids": [], "asks": [], "checksum": at_ms}]
        connection.recv(at_ms, {"channel": "book", "type": kind, "data": data})
    connection.recv(25, {"channel": "ohlc", "type": "update", "data": [{"symbol": "BTC/USD", "interval": 5}]})
    connection.recv(30, b'{"channel":"heartbeat"}')
    connection.recv(900, {"channel": "book", "type": "update", "data": [{"symbol": "BTC/USD", "checksum": 900}]})
    return tape


def v2_subscribe(channel: str, number: int, *symbols: str, **params: Any) -> str:
    params = {"channel": channel, "symbol": symbols, **params}
    return json.dumps({"method": "subscribe", "params": params, "req_id": number})


def test_version_2_subscribes_by_symbol_and_starts_a_late_one_from_the_snapshot(v2: Tape, serve: Serve) -> None:
    server = serve(speed=1, start_at=v2.start_ms + 500)
    heard = hear(server.ws_url("kraken") + "/v2", v2_subscribe("book", 5, "BTC/USD"))
    acknowledged, *market = map(json.loads, heard.messages)
    assert acknowledged.pop("time_in") == acknowledged.pop("time_out")
    assert acknowledged == {
        "method": "subscribe",
        "req_id": 5,
        "result": {"channel": "book", "depth": 10, "symbol": "BTC/USD"},
        "success": True,
    }
    assert [(one["type"], one["data"][0]["checksum"]) for one in market] == [
        ("snapshot", 10),
        ("update", 20),
        ("update", 900),
    ]


def test_version_2_refuses_what_is_not_recorded_and_answers_ping(v2: Tape, serve: Serve) -> None:
    server = serve(speed=0)
    heard = hear(
        server.ws_url("kraken") + "/v2",
        v2_subscribe("book", 1, "DOGE/USD"),
        v2_subscribe("book", 2, "BTC/USD", depth=100),
        v2_subscribe("ohlc", 3, "BTC/USD"),
        json.dumps({"method": "ping", "req_id": 4}),
        json.dumps({"method": "dance", "req_id": 5}),
        v2_subscribe("ohlc", 6, "BTC/USD", interval=5),
    )
    answers = [json.loads(message) for message in heard.messages]
    told = {one["req_id"]: one for one in answers if "req_id" in one}
    assert [told[number].get("success") for number in (1, 2, 3, 5, 6)] == [False, False, False, False, True]
    assert told[1]["symbol"] == "DOGE/USD"
    assert told[2]["error"].startswith(
        "Subscription not supported: not in this recording; recorded: v2 book-10 BTC-USD"
    )
    assert told[4]["method"] == "pong"
    assert [one["channel"] for one in answers if "channel" in one] == ["status", "ohlc", "heartbeat"]
    assert server.served["kraken"].missed == 4
