"""Binance's streams: names, payloads, live subscriptions, chains, errors, user data."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from pytest_marketreplay.exchange import Limits, SimulatedExchange

Listen = Callable[..., Any]


def of(frames: list[Any], stream: str) -> list[Any]:
    return [frame["data"] for frame in frames if frame["stream"] == stream]


def apply(book: dict[str, dict[str, str]], diff: dict[str, Any]) -> None:
    for side, rows in (("bids", diff["b"]), ("asks", diff["a"])):
        for price, quantity in rows:
            if float(quantity):
                book[side][price] = quantity
            else:
                book[side].pop(price, None)


@pytest.mark.parametrize("stream", ["btcusdt@depth", "btcusdt@depth@100ms"])
@pytest.mark.parametrize("steps_before", [0, 7, 23])
def test_depth_diffs_chain_and_join_the_rest_snapshot(
    listen: Listen, exchange: SimulatedExchange, binance: Any, stream: str, steps_before: int
) -> None:
    ear = listen("binance", f"/ws/{stream}")
    exchange.advance(steps_before, "binance")
    snapshot = binance.get("/api/v3/depth", symbol="BTCUSDT", limit=5000).json()
    exchange.advance(30 - steps_before % 10 - 1, "binance")  # ends on a whole second
    diffs = ear.all()
    assert len(diffs) > 1
    for one, two in itertools.pairwise(diffs):
        assert two["U"] == one["u"] + 1
        assert two["E"] > one["E"]
    assert all(len(diff["b"]) + len(diff["a"]) <= diff["u"] - diff["U"] + 1 for diff in diffs)
    last_id = snapshot["lastUpdateId"]
    kept = [diff for diff in diffs if diff["u"] > last_id]
    assert kept[0]["U"] <= last_id + 1 <= kept[0]["u"]
    book = {side: dict(snapshot[side]) for side in ("bids", "asks")}
    for diff in kept:
        apply(book, diff)
    state = exchange.market("binance").listings["BTCUSDT"].book
    assert kept[-1]["u"] == state.last_update_id
    for side, is_bid in (("bids", True), ("asks", False)):
        assert {round(float(price) * 100) for price in book[side]} == {level.tick for level in state.side(is_bid)}


def test_a_diff_lists_its_levels_from_the_best_outwards_with_keys_as_documented(
    listen: Listen, exchange: SimulatedExchange
) -> None:
    ear = listen("binance", "/ws/btcusdt@depth")
    exchange.advance(10, "binance")
    (diff,) = ear.all()
    assert list(diff) == ["e", "E", "s", "U", "u", "b", "a"]
    assert (diff["e"], diff["s"], diff["E"]) == ("depthUpdate", "BTCUSDT", 1_759_399_201_000)
    bids, asks = ([float(price) for price, _ in diff[side]] for side in "ba")
    assert bids == sorted(bids, reverse=True)
    assert asks == sorted(asks)


def test_every_market_stream_sends_the_documented_fields(listen: Listen, exchange: SimulatedExchange) -> None:
    fields = {
        "btcusdt@trade": "e E s t p q T m M",
        "btcusdt@aggTrade": "e E s a p q f l T m M",
        "btcusdt@kline_1m": "e E s k",
        "btcusdt@bookTicker": "u s b B a A",
        "btcusdt@miniTicker": "e E s c o h l v q",
        "btcusdt@ticker": "e E s p P w x c Q b B a A o h l v q O C F L n",
        "btcusdt@depth5": "lastUpdateId bids asks",
        "btcusdt@depth20@100ms": "lastUpdateId bids asks",
        "!miniTicker@arr": "",
        "!ticker@arr": "",
    }
    ear = listen("binance", "/stream?streams=" + "/".join(fields))
    exchange.advance(40, "binance")
    frames = ear.all()
    for stream, names in fields.items():
        found = of(frames, stream)
        assert found, stream
        assert all((" ".join(row) == names if names else isinstance(row, list)) for row in found)
    assert list(of(frames, "btcusdt@kline_1m")[0]["k"]) == list("tTsifLochlvnxqVQB")
    assert len(of(frames, "btcusdt@miniTicker")) == 4
    assert len(of(frames, "btcusdt@depth5")) == 4
    assert len(of(frames, "btcusdt@depth20@100ms")) <= 40
    assert {len(side) for row in of(frames, "btcusdt@depth5") for side in (row["bids"], row["asks"])} == {5}
    assert {row["s"] for row in of(frames, "!ticker@arr")[-1]} <= {"BTCUSDT", "ETHUSDT", "BNBUSDT", "ETHBTC"}


def test_trades_on_the_stream_are_those_of_rest_without_a_gap(
    listen: Listen, exchange: SimulatedExchange, binance: Any
) -> None:
    ear = listen("binance", "/stream?streams=ethusdt@trade/ethusdt@aggTrade")
    exchange.advance(100, "binance")
    rest = binance.get("/api/v3/trades", symbol="ETHUSDT", limit=1000).json()
    frames = ear.all()
    trades = of(frames, "ethusdt@trade")
    ids = [trade["t"] for trade in trades]
    assert ids == list(range(ids[0], rest[-1]["id"] + 1))
    known = {row["id"]: (row["price"], row["qty"], row["time"], row["isBuyerMaker"]) for row in rest}
    assert all(known[row["t"]] == (row["p"], row["q"], row["T"], row["m"]) for row in trades)
    spans = [(row["f"], row["l"]) for row in of(frames, "ethusdt@aggTrade")]
    assert [number for first, last in spans for number in range(first, last + 1)] == ids


def test_a_candle_is_closed_once_and_agrees_with_rest(
    listen: Listen, exchange: SimulatedExchange, binance: Any
) -> None:
    ear = listen("binance", "/ws/btcusdt@kline_1m")
    exchange.advance(1250, "binance")  # two minutes and five seconds
    candles = [frame["k"] for frame in ear.all()]
    closed = [candle for candle in candles if candle["x"]]
    assert [candle["t"] for candle in closed] == [1_759_399_200_000, 1_759_399_260_000]
    rows = binance.get("/api/v3/klines", symbol="BTCUSDT", interval="1m", limit=3).json()
    for candle, row in zip(closed, rows):
        assert [candle[key] for key in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q")] == row[:-1]


def test_the_best_prices_are_told_when_they_change_and_only_then(listen: Listen, exchange: SimulatedExchange) -> None:
    ear = listen("binance", "/ws/bnbusdt@bookTicker")
    exchange.advance(60, "binance")
    frames = ear.all()
    prices = [(frame["b"], frame["B"], frame["a"], frame["A"]) for frame in frames]
    assert 1 < len(prices) <= 60
    assert all(one != two for one, two in itertools.pairwise(prices))


def test_streams_are_subscribed_listed_and_left_while_the_connection_is_open(
    listen: Listen, exchange: SimulatedExchange
) -> None:
    ear = listen("binance", "/ws")
    exchange.advance(5, "binance")
    wanted = ["btcusdt@aggTrade", "btcusdt@depth@100ms"]
    assert ear.ask({"method": "SUBSCRIBE", "params": wanted, "id": 1}) == {"result": None, "id": 1}
    assert ear.frames == ['{"result":null,"id":1}']
    assert ear.ask({"method": "LIST_SUBSCRIPTIONS", "id": "list-1"}) == {"result": wanted, "id": "list-1"}
    assert exchange.streams("binance")[0].subscriptions == tuple(wanted)
    assert ear.ask({"method": "UNSUBSCRIBE", "params": wanted[:1], "id": 3}) == {"result": None, "id": 3}
    exchange.advance(3, "binance")
    assert {frame["e"] for frame in ear.all()} == {"depthUpdate"}
    assert ear.ask({"method": "GET_PROPERTY", "params": ["combined"], "id": 4}) == {"result": False, "id": 4}


def test_combined_payloads_can_be_switched_on(listen: Listen, exchange: SimulatedExchange) -> None:
    ear = listen("binance", "/ws/btcusdt@depth@100ms")
    assert ear.ask({"method": "SET_PROPERTY", "params": ["combined", True], "id": 5}) == {"result": None, "id": 5}
    exchange.advance(1, "binance")
    (frame,) = ear.all()
    assert list(frame) == ["stream", "data"]
    assert ear.frames[-1].startswith('{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":')
    assert listen("binance", "/stream").ask({"method": "GET_PROPERTY", "params": ["combined"], "id": 1})["result"]


@pytest.mark.parametrize(
    ("sent", "code", "message"),
    [
        ('{"method":"SUBSCRIBE"', 3, "Invalid JSON: "),
        ({"id": 1, "params": []}, 2, "Invalid request: missing field `method` at line 1 column 23"),
        ({"method": "JOIN", "id": 1}, 2, "Invalid request: unknown variant `JOIN`, expected one of `SUBSCRIBE`"),
        ({"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1.5}, 2, "request ID must be an unsigned integer"),
        ({"method": "SUBSCRIBE", "params": [], "id": 1}, 2, "Invalid request: "),
        ({"method": "SUBSCRIBE", "params": "btcusdt@trade", "id": 1}, 2, "Invalid request: "),
        ({"method": "GET_PROPERTY", "params": ["nope"], "id": 1}, 0, "Unknown property"),
        ({"method": "GET_PROPERTY", "params": [1], "id": 1}, 2, "property name must be a string"),
        ({"method": "GET_PROPERTY", "params": ["combined", 1], "id": 1}, 2, "too many parameters"),
        ({"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1}, 1, "expected Boolean"),
        ("[]", 2, "Invalid request: "),
        ({"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": True}, 2, "request ID must be an unsigned integer"),
    ],
)
def test_a_wrong_message_gets_an_error_and_the_connection_goes_on(
    listen: Listen, exchange: SimulatedExchange, sent: object, code: int, message: str
) -> None:
    ear = listen("binance", "/ws/btcusdt@depth@100ms")
    answer = ear.ask(sent)
    assert answer["error"]["code"] == code
    assert message in answer["error"]["msg"]
    exchange.advance(1, "binance")
    assert ear.next()["e"] == "depthUpdate"


def test_a_stream_that_does_not_exist_is_accepted_and_silent(listen: Listen, exchange: SimulatedExchange) -> None:
    names = ["nope@trade", "BTCUSDT@trade", "btcusdt@depth7", "btcusdt@kline_7m", "btcusdt@depth@50ms", "7"]
    ear = listen("binance", "/ws/" + "/".join(names))
    exchange.advance(50, "binance")
    assert ear.all() == []
    assert exchange.streams("binance")[0].subscriptions == tuple(names)


def test_paths_without_streams_are_not_upgraded(listen: Listen, exchange: SimulatedExchange) -> None:
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus, match="404"):
        listen("binance", "/wss/btcusdt@trade")
    assert exchange.streams("binance") == ()


def test_a_client_that_says_too_much_is_disconnected(listen: Listen, exchange: SimulatedExchange) -> None:
    ear = listen("binance", "/ws")
    for number in range(5):
        assert ear.ask({"method": "LIST_SUBSCRIPTIONS", "id": number})["id"] == number
    ear.send({"method": "LIST_SUBSCRIPTIONS", "id": 5})
    with pytest.raises(ConnectionClosed) as closed:
        ear.next()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "Too many requests")
    assert exchange.streams("binance") == ()


def test_a_connection_has_a_limit_of_streams(listen: Listen) -> None:
    with SimulatedExchange(limits=Limits(binance_streams=2)) as narrow:
        ear = listen("binance", "/ws/btcusdt@trade/btcusdt@depth", of=narrow)
        ear.send({"method": "SUBSCRIBE", "params": ["ethusdt@trade"], "id": 1})
        with pytest.raises(ConnectionClosed):
            while True:
                ear.next()
        assert narrow.streams("binance") == ()


def order_side(report: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(report[key] for key in ("x", "X", "z", "i", "c"))


def test_the_user_data_stream_reports_orders_and_balances(
    listen: Listen, exchange: SimulatedExchange, binance: Any
) -> None:
    headers = {"X-MBX-APIKEY": binance.key}
    url = exchange.url("binance") + "/api/v3/userDataStream"
    key = binance.session.post(url, headers=headers).json()["listenKey"]
    ear = listen("binance", f"/ws/{key}")
    bought = binance.signed(
        "POST", "/api/v3/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01000000"
    ).json()
    reports = ear.all()
    assert [row["e"] for row in reports[:1] + reports[-1:]] == ["executionReport", "outboundAccountPosition"]
    executions = [row for row in reports if row["e"] == "executionReport"]
    assert [row["x"] for row in executions] == ["NEW", *["TRADE"] * len(bought["fills"])]
    assert executions[0]["X"] == "NEW"
    assert executions[-1]["X"] == "FILLED"
    assert [(row["L"], row["l"], row["t"]) for row in executions[1:]] == [
        (fill["price"], fill["qty"], fill["tradeId"]) for fill in bought["fills"]
    ]
    held = {row["asset"]: row for row in binance.signed("GET", "/api/v3/account").json()["balances"]}
    assert {row["a"]: (row["f"], row["l"]) for row in reports[-1]["B"]} == {
        asset: (held[asset]["free"], held[asset]["locked"]) for asset in ("BTC", "USDT")
    }
    resting = binance.signed(
        "POST",
        "/api/v3/order",
        symbol="BTCUSDT",
        side="BUY",
        type="LIMIT",
        timeInForce="GTC",
        quantity="0.01000000",
        price="90000.00000000",
        newClientOrderId="mine",
    ).json()
    placed, position = ear.all()
    assert order_side(placed) == ("NEW", "NEW", "0.00000000", resting["orderId"], "mine")
    assert [row["l"] for row in position["B"] if row["a"] == "USDT"] == ["900.00000000"]
    binance.signed("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=resting["orderId"])
    cancelled, position = ear.all()
    assert (cancelled["x"], cancelled["X"], cancelled["C"]) == ("CANCELED", "CANCELED", "mine")
    assert [row["l"] for row in position["B"] if row["a"] == "USDT"] == ["0.00000000"]
    binance.session.delete(url, headers=headers, params={"listenKey": key})
    with pytest.raises(ConnectionClosed):
        ear.next()


def test_a_resting_order_is_reported_when_the_market_meets_it(
    listen: Listen, exchange: SimulatedExchange, binance: Any
) -> None:
    headers = {"X-MBX-APIKEY": binance.key}
    answer = binance.session.post(exchange.url("binance") + "/api/v3/userDataStream", headers=headers).json()
    ear = listen("binance", f"/stream?streams={answer['listenKey']}/btcusdt@trade")
    best = binance.get("/api/v3/ticker/bookTicker", symbol="BTCUSDT").json()["bidPrice"]
    binance.signed(
        "POST", "/api/v3/order", symbol="BTCUSDT", side="BUY", type="LIMIT_MAKER", quantity="0.01000000", price=best
    )
    for _ in range(200):
        exchange.advance(10, "binance")
        fills = [frame["data"] for frame in ear.all() if frame["data"].get("x") == "TRADE"]
        if fills:
            break
    (fill,) = fills
    assert (fill["X"], fill["m"], fill["L"]) == ("FILLED", True, best)
    printed = [json.loads(each)["data"] for each in ear.frames if '"stream":"btcusdt@trade"' in each]
    assert fill["t"] in [trade["t"] for trade in printed]


def test_a_closed_listen_key_ends_only_its_own_stream(
    listen: Listen, exchange: SimulatedExchange, binance: Any
) -> None:
    headers, url = {"X-MBX-APIKEY": binance.key}, exchange.url("binance") + "/api/v3/userDataStream"
    key = binance.session.post(url, headers=headers).json()["listenKey"]
    both, other = listen("binance", f"/ws/{key}/btcusdt@trade"), listen("binance", "/ws/btcusdt@trade")
    binance.session.delete(url, headers=headers, params={"listenKey": key})
    assert [each.subscriptions for each in exchange.streams("binance")] == [("btcusdt@trade",)] * 2
    binance.signed("POST", "/api/v3/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01000000")
    assert both.all() == other.all() != []


def test_a_wrong_listen_key_hears_nothing(listen: Listen, exchange: SimulatedExchange, binance: Any) -> None:
    ear = listen("binance", "/ws/" + "0" * 64)
    binance.signed("POST", "/api/v3/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01000000")
    assert ear.all() == []
