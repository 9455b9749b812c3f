"""Kraken's WebSocket, versions 1 and 2: acknowledgements, books that keep their checksum, channels, errors."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import requests

from pytest_marketreplay.exchange import SimulatedExchange

Listen = Callable[..., Any]


class Copy:
    """Keep a book as a client does, from the documentation alone: numbers are the very text that was sent."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.sides: dict[str, dict[str, str]] = {"a": {}, "b": {}}
        self.removed: list[tuple[str, str]] = []

    def put(self, side: str, price: str, quantity: str) -> None:
        if Decimal(quantity) == 0:
            self.removed.append((side, price))
            del self.sides[side][price]  # a KeyError here: the venue removed what it never sent
        else:
            self.sides[side][price] = quantity

    def ordered(self, side: str) -> list[tuple[str, str]]:
        return sorted(self.sides[side].items(), key=lambda row: Decimal(row[0]), reverse=side == "b")

    def truncate(self) -> None:
        """Cut off what is beyond the depth: the venue does not tell of it."""
        for side in "ab":
            rows = self.ordered(side)[: self.depth]
            self.sides[side] = dict(rows)
            worst = Decimal(rows[-1][0])
            for price in [Decimal(price) for where, price in self.removed if where == side]:
                assert len(rows) < self.depth or (price > worst if side == "b" else price < worst)
        self.removed.clear()

    def crc(self) -> int:
        digits = ""
        for side in "ab":
            for row in self.ordered(side)[:10]:
                for number in row:
                    digits += str(int(number.replace(".", "")))
        return zlib.crc32(digits.encode("ascii"))


def subscribe(name: str, *pairs: str, reqid: int | None = None, **more: object) -> dict[str, object]:
    message: dict[str, object] = {"event": "subscribe", "pair": list(pairs), "subscription": {"name": name, **more}}
    return message if reqid is None else {**message, "reqid": reqid}


def subscribe_v2(channel: str, *symbols: str, **more: object) -> dict[str, object]:
    return {"method": "subscribe", "params": {"channel": channel, "symbol": list(symbols), **more}, "req_id": 7}


@pytest.mark.parametrize("path", ["", "/", "/ws"])
def test_version_1_greets_and_acknowledges(listen: Listen, path: str) -> None:
    ear = listen("kraken", path)
    greeting = ear.next()
    assert list(greeting) == ["connectionID", "event", "status", "version"]
    assert (greeting["event"], greeting["status"]) == ("systemStatus", "online")
    first = ear.ask(subscribe("book", "XBT/USD", "ETH/USD", depth=25, reqid=42))
    assert list(first) == ["channelID", "channelName", "event", "pair", "reqid", "status", "subscription"]
    assert (first["channelName"], first["pair"], first["reqid"]) == ("book-25", "XBT/USD", 42)
    assert (first["status"], first["subscription"]) == ("subscribed", {"depth": 25, "name": "book"})
    number, book, name, pair = ear.next()
    assert (number, name, pair) == (first["channelID"], "book-25", "XBT/USD")
    assert [len(book[side]) for side in ("as", "bs")] == [25, 25]
    second = ear.next()
    assert second["pair"] == "ETH/USD"
    assert second["channelID"] != first["channelID"]


@pytest.mark.parametrize("depth", [10, 25, 100, 1000])
def test_version_1_books_keep_their_checksum(listen: Listen, exchange: SimulatedExchange, depth: int) -> None:
    exchange.advance(3, "kraken")
    ear = listen("kraken", "/ws")
    ear.next()
    ear.ask(subscribe("book", "XBT/USD", depth=depth))
    copy = Copy(depth)
    _, snapshot, _, _ = ear.next()
    for side in "ab":
        for price, quantity, _ in snapshot[f"{side}s"]:
            copy.put(side, price, quantity)
    exchange.advance(120, "kraken")
    frames = ear.all()
    assert len(frames) > 60
    again = 0
    for _, *parts, name, pair in frames:
        assert (name, pair) == (f"book-{depth}", "XBT/USD")
        for part in parts:
            for side in "ab":
                for price, quantity, changed, *flag in part.get(side, ()):
                    assert flag in ([], ["r"])
                    assert len(changed.partition(".")[2]) == 6
                    again += len(flag)
                    copy.put(side, price, quantity)
        copy.truncate()
        assert parts[-1]["c"] == str(copy.crc())
    assert (again > 0) == (depth < 1000)


@pytest.mark.parametrize("depth", [10, 25, 100, 500, 1000])
def test_version_2_books_keep_their_checksum(listen: Listen, exchange: SimulatedExchange, depth: int) -> None:
    ear = listen("kraken", "/v2")
    ear.next()
    ear.ask(subscribe_v2("book", "BTC/USD", depth=depth))
    ear.next()
    exchange.advance(120, "kraken")
    ear.all()
    copy = Copy(depth)
    frames = [json.loads(text, parse_float=str, parse_int=str) for text in ear.frames[2:]]
    assert [frame["type"] for frame in frames[:2]] == ["snapshot", "update"]
    assert len(frames) > 60
    for frame in frames:
        (row,) = frame["data"]
        assert list(row) == [
            "symbol",
            "bids",
            "asks",
            "checksum",
            *(["timestamp"] if frame["type"] == "update" else []),
        ]
        for side, name in (("a", "asks"), ("b", "bids")):
            for level in row[name]:
                copy.put(side, level["price"], level["qty"])
        copy.truncate()
        assert row["checksum"] == str(copy.crc())


def test_both_versions_show_the_book_of_rest(listen: Listen, exchange: SimulatedExchange) -> None:
    old, new = listen("kraken", "/ws"), listen("kraken", "/v2")
    old.ask(subscribe("book", "XBT/USD", depth=10))
    new.ask(subscribe_v2("book", "BTC/USD", depth=10))
    rest = requests.get(exchange.url("kraken") + "/0/public/Depth?pair=XBTUSD&count=10").json()["result"]["XXBTZUSD"]
    old.send(subscribe("book", "XBT/USD", depth=25))
    new.send(subscribe_v2("book", "BTC/USD", depth=25))
    while not (isinstance(frame := old.next(), list) and frame[2] == "book-25"):
        pass
    one = frame[1]
    while len((frame := new.next()).get("data", [{}])[0].get("bids", ())) < 25:
        pass
    two = frame["data"][0]
    for name, short in (("asks", "as"), ("bids", "bs")):
        wanted = [(Decimal(price), Decimal(quantity)) for price, quantity, _ in rest[name]]
        assert [(Decimal(price), Decimal(quantity)) for price, quantity, _ in one[short]][:10] == wanted
        assert [(Decimal(str(row["price"])), Decimal(str(row["qty"]))) for row in two[name]][:10] == wanted


def test_version_1_channels_send_what_the_documentation_shows(listen: Listen, exchange: SimulatedExchange) -> None:
    ear = listen("kraken", "/ws")
    ear.next()
    for message in (
        subscribe("ticker", "XBT/USD"),
        subscribe("trade", "XBT/USD"),
        subscribe("ohlc", "XBT/USD", interval=5),
        subscribe("spread", "XBT/USD"),
    ):
        ear.send(message)
    while len(exchange.streams("kraken")[0].subscriptions) < 4:
        ear.next()
    exchange.advance(30, "kraken")
    frames = [frame for frame in map(json.loads, [*ear.frames, *map(json.dumps, ear.all())]) if isinstance(frame, list)]
    by_name: dict[str, list[Any]] = {}
    for _, payload, name, _ in frames:
        by_name.setdefault(name, []).append(payload)
    assert sorted(by_name) == ["ohlc-5", "spread", "ticker", "trade"]
    assert list(by_name["ticker"][-1]) == ["a", "b", "c", "v", "p", "t", "l", "h", "o"]
    assert [len(by_name["ticker"][-1][key]) for key in "abcvptlho"] == [3, 3, 2, 2, 2, 2, 2, 2, 2]
    assert all(len(trade) == 6 and trade[3] in "bs" for batch in by_name["trade"] for trade in batch)
    assert {len(row) for row in by_name["ohlc-5"]} == {9}
    assert {len(row) for row in by_name["spread"]} == {5}
    traded = sum(len(batch) for batch in by_name["trade"])
    assert by_name["ohlc-5"][-1][8] == traded


def test_version_2_channels_send_what_the_documentation_shows(listen: Listen, exchange: SimulatedExchange) -> None:
    ear = listen("kraken", "/v2")
    assert list(ear.next()["data"][0]) == ["version", "system", "api_version", "connection_id"]
    ack = ear.ask(subscribe_v2("ticker", "BTC/USD", event_trigger="bbo"))
    assert list(ack) == ["method", "req_id", "result", "success", "time_in", "time_out"]
    assert ack["result"] == {"channel": "ticker", "event_trigger": "bbo", "snapshot": True, "symbol": "BTC/USD"}
    fields = "symbol bid bid_qty ask ask_qty last volume vwap low high change change_pct timestamp"
    assert " ".join(ear.next()["data"][0]) == fields
    assert ear.ask(subscribe_v2("trade", "ETH/BTC", snapshot=True))["success"]
    trades = ear.next()["data"]
    assert len(trades) == 50
    assert list(trades[0]) == ["symbol", "side", "price", "qty", "ord_type", "trade_id", "timestamp"]
    assert ear.ask(subscribe_v2("ohlc", "ETH/USD", interval=60))["result"]["interval"] == 60
    candles = ear.next()["data"]
    assert [row["interval_begin"] for row in candles] == sorted(row["interval_begin"] for row in candles)
    assert ear.ask({"method": "subscribe", "params": {"channel": "instrument"}})["result"]["channel"] == "instrument"
    listed = ear.next()["data"]
    assert {"BTC/USD", "ETH/BTC"} <= {pair["symbol"] for pair in listed["pairs"]}
    assert {asset["id"] for asset in listed["assets"]} == {"BTC", "ETH", "BNB", "USD", "USDT"}
    exchange.advance(40, "kraken")
    frames = ear.all()
    assert {frame["channel"] for frame in frames} == {"ticker", "trade", "ohlc"}
    ids = [row["trade_id"] for frame in frames if frame["channel"] == "trade" for row in frame["data"]]
    assert ids == list(range(trades[-1]["trade_id"] + 1, ids[-1] + 1))


def test_unsubscribing_ends_a_channel_in_both_versions(listen: Listen, exchange: SimulatedExchange) -> None:
    old, new = listen("kraken", "/ws"), listen("kraken", "/v2")
    old.next(), new.next()
    old.ask(subscribe("trade", "XBT/USD"))
    new.ask(subscribe_v2("trade", "BTC/USD"))
    left = old.ask({**subscribe("trade", "XBT/USD", reqid=2), "event": "unsubscribe"})
    assert (left["status"], left["reqid"]) == ("unsubscribed", 2)
    left = new.ask({**subscribe_v2("trade", "BTC/USD"), "method": "unsubscribe"})
    assert (left["method"], left["success"]) == ("unsubscribe", True)
    exchange.advance(50, "kraken")
    assert old.all() == new.all() == []


def test_a_quiet_subscription_gets_a_heartbeat_every_second_of_the_market(
    listen: Listen, exchange: SimulatedExchange
) -> None:
    quiet, idle = listen("kraken", "/v2"), listen("kraken", "/v2")
    quiet.next(), idle.next()
    quiet.ask({"method": "subscribe", "params": {"channel": "instrument", "snapshot": False}})
    exchange.advance(35, "kraken")
    assert quiet.all() == [{"channel": "heartbeat"}] * 3
    assert idle.all() == []


def test_pings_of_both_versions_are_answered(listen: Listen) -> None:
    old, new = listen("kraken", "/ws"), listen("kraken", "/v2")
    old.next(), new.next()
    assert old.ask({"event": "ping", "reqid": 9}) == {"event": "pong", "reqid": 9}
    pong = new.ask({"method": "ping", "req_id": 9})
    assert list(pong) == ["method", "req_id", "time_in", "time_out"]
    assert (pong["method"], pong["req_id"]) == ("pong", 9)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (subscribe("book", "XBT/EUR"), "Currency pair not supported XBT/EUR"),
        (subscribe("book", "XBTUSD"), "Currency pair not in ISO 4217-A3 format XBTUSD"),
        (subscribe("book", "XBT/USD", depth=7), "Subscription depth not supported"),
        (subscribe("book", "XBT/USD", depth="10"), "Subscription book depth must be an integer"),
        (subscribe("ohlc", "XBT/USD", interval=7), "Subscription ohlc interval not supported"),
        (subscribe("candles", "XBT/USD"), "Subscription name invalid"),
        ({"event": "subscribe", "pair": "XBT/USD", "subscription": {"name": "trade"}}, "Pair field must be an array"),
        ({"event": "subscribe", "pair": ["XBT/USD"]}, "Subscription field must be an object"),
        ({**subscribe("trade", "XBT/USD"), "event": "unsubscribe"}, "Subscription Not Found"),
        ({"event": "join"}, "Event(s) not found"),
        ("nonsense", "Malformed request"),
    ],
)
def test_version_1_names_what_is_wrong(listen: Listen, message: object, error: str) -> None:
    ear = listen("kraken", "/ws")
    ear.next()
    answer = ear.ask(message)
    assert answer["errorMessage"] == error
    assert ear.ask({"event": "ping"}) == {"event": "pong"}


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (subscribe_v2("book", "XBT/USD"), "Currency pair not supported XBT/USD"),
        (subscribe_v2("book", "BTC/USD", depth=50), "Subscription depth not supported"),
        (subscribe_v2("ohlc", "BTC/USD", interval=2), "Subscription ohlc interval not supported"),
        (subscribe_v2("ticker", "BTC/USD", event_trigger="x"), "Subscription event_trigger not supported"),
        (subscribe_v2("trade", "BTC/USD", snapshot="yes"), "Snapshot must be a boolean"),
        (subscribe_v2("spread", "BTC/USD"), "Channel spread not supported"),
        ({"method": "subscribe", "params": {"channel": "book", "symbol": "BTC/USD"}}, "Symbol field must be an array"),
        ({"method": "subscribe"}, "Params field must be an object"),
        ({**subscribe_v2("trade", "BTC/USD"), "method": "unsubscribe"}, "Subscription Not Found"),
        ({"method": "join"}, "Unsupported method"),
        ("[", "Malformed request"),
    ],
)
def test_version_2_names_what_is_wrong(listen: Listen, message: object, error: str) -> None:
    ear = listen("kraken", "/v2")
    ear.next()
    answer = ear.ask(message)
    assert (answer["error"], answer["success"]) == (error, False)
    assert ear.ask({"method": "ping"})["method"] == "pong"


def test_a_second_subscription_to_the_same_is_refused(listen: Listen) -> None:
    ear = listen("kraken", "/v2")
    ear.next()
    assert ear.ask(subscribe_v2("trade", "BTC/USD"))["success"]
    assert ear.ask(subscribe_v2("trade", "BTC/USD"))["error"] == "Already subscribed"
