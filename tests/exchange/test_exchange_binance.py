"""Binance-shaped REST, asked with plain requests."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import re
import time
from typing import TYPE_CHECKING

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_marketreplay.exchange import Limits, SimulatedExchange
from pytest_marketreplay.exchange.wire import without_parameter

if TYPE_CHECKING:
    from conftest import RawVenue

PRICE = re.compile(r"\d+\.\d{8}")


def refused(response: requests.Response, status: int, code: int, message: str) -> None:
    assert (response.status_code, response.json()) == (status, {"code": code, "msg": message})
    assert response.headers["content-type"] == "application/json;charset=UTF-8"


PUBLIC = [
    ("/api/v3/ping", {}),
    ("/api/v3/time", {}),
    ("/api/v3/exchangeInfo", {}),
    ("/api/v3/depth", {"symbol": "BTCUSDT"}),
    ("/api/v3/trades", {"symbol": "ETHBTC"}),
    ("/api/v3/historicalTrades", {"symbol": "ETHBTC", "limit": 5}),
    ("/api/v3/aggTrades", {"symbol": "BNBUSDT"}),
    ("/api/v3/klines", {"symbol": "BTCUSDT", "interval": "1m"}),
    ("/api/v3/uiKlines", {"symbol": "BTCUSDT", "interval": "1M"}),
    ("/api/v3/avgPrice", {"symbol": "BTCUSDT"}),
    ("/api/v3/ticker/24hr", {}),
    ("/api/v3/ticker/price", {"symbols": '["BTCUSDT","ETHBTC"]'}),
    ("/api/v3/ticker/bookTicker", {"symbol": "ETHUSDT"}),
]


def transcript(seed: int, requested: list[tuple[str, dict[str, object]]]) -> list[bytes]:
    with SimulatedExchange(seed) as exchange, requests.Session() as session:
        return [session.get(exchange.url("binance") + path, params=params).content for path, params in requested]


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.sampled_from(PUBLIC), min_size=1, max_size=8))
def test_the_same_seed_and_requests_give_the_same_bytes(seed: int, requested: list) -> None:
    assert transcript(seed, requested) == transcript(seed, requested)


def test_another_seed_gives_other_bytes() -> None:
    asked = [("/api/v3/depth", {"symbol": "BTCUSDT"})]
    assert transcript(1, asked) != transcript(2, asked)


@pytest.mark.parametrize(("path", "params"), PUBLIC)
def test_public_bodies_are_compact_json(binance: RawVenue, path: str, params: dict) -> None:
    response = binance.get(path, **params)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json;charset=UTF-8"
    assert int(response.headers["x-mbx-used-weight-1m"]) == int(response.headers["x-mbx-used-weight"]) > 0
    assert b" " not in response.content
    assert b"\n" not in response.content


def test_the_book_moves_between_two_requests_and_its_update_id_grows(binance: RawVenue) -> None:
    first, second = (binance.get("/api/v3/depth", symbol="BTCUSDT", limit=1000).json() for _ in range(2))
    assert list(first) == ["lastUpdateId", "bids", "asks"]
    assert len(first["bids"]) == len(first["asks"]) == 1000
    assert second["lastUpdateId"] > first["lastUpdateId"]
    assert first["bids"] != second["bids"] or first["asks"] != second["asks"]
    assert all(PRICE.fullmatch(text) for row in first["bids"] + first["asks"] for text in row)
    assert float(first["bids"][0][0]) < float(first["asks"][0][0])


@pytest.mark.parametrize(
    ("limit", "rows", "weight"), [(None, 100, 5), (1, 1, 5), (101, 101, 25), (501, 501, 50), (9999, 1000, 250)]
)
def test_depth_honours_its_limit_and_weighs_by_it(binance: RawVenue, limit: int | None, rows: int, weight: int) -> None:
    response = binance.get("/api/v3/depth", symbol="BTCUSDT", **({} if limit is None else {"limit": limit}))
    assert len(response.json()["bids"]) == rows
    assert response.headers["x-mbx-used-weight-1m"] == f"{weight}"


def test_exchange_info_lists_every_symbol_with_its_filters(binance: RawVenue) -> None:
    info = binance.get("/api/v3/exchangeInfo").json()
    assert list(info) == ["timezone", "serverTime", "rateLimits", "exchangeFilters", "symbols"]
    assert [each["symbol"] for each in info["symbols"]] == ["ETHBTC", "BNBUSDT", "BTCUSDT", "ETHUSDT"]
    filters = {each["filterType"]: each for each in info["symbols"][2]["filters"]}
    assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000"
    assert filters["LOT_SIZE"]["stepSize"] == "0.00001000"
    assert filters["NOTIONAL"]["minNotional"] == "5.00000000"
    one = binance.get("/api/v3/exchangeInfo", symbols='["ETHBTC"]').json()
    assert [each["symbol"] for each in one["symbols"]] == ["ETHBTC"]


def test_trades_have_the_documented_fields_and_page_by_id(binance: RawVenue) -> None:
    trades = binance.get("/api/v3/trades", symbol="BTCUSDT", limit=3).json()
    assert list(trades[0]) == ["id", "price", "qty", "quoteQty", "time", "isBuyerMaker", "isBestMatch"]
    assert [trade["id"] for trade in trades] == list(range(trades[0]["id"], trades[0]["id"] + 3))
    older = binance.get("/api/v3/historicalTrades", symbol="BTCUSDT", fromId=trades[0]["id"] - 10, limit=11).json()
    assert older[-1] == trades[0]


def test_aggregate_trades_are_whole_and_add_up_to_the_trades(binance: RawVenue, exchange: SimulatedExchange) -> None:
    exchange.advance(400)
    recent = binance.get("/api/v3/aggTrades", symbol="BTCUSDT", limit=100).json()
    assert list(recent[0]) == ["a", "p", "q", "f", "l", "T", "m", "M"]
    assert any(each["l"] > each["f"] for each in recent)
    assert all(one["l"] + 1 == two["f"] and one["a"] + 1 == two["a"] for one, two in itertools.pairwise(recent))
    again = binance.get("/api/v3/aggTrades", symbol="BTCUSDT", fromId=recent[0]["a"], limit=100).json()
    assert again == recent
    trades = binance.get("/api/v3/historicalTrades", symbol="BTCUSDT", fromId=recent[0]["f"], limit=1000).json()
    by_id = {trade["id"]: trade for trade in trades}
    for each in recent:
        parts = [by_id[number] for number in range(each["f"], each["l"] + 1)]
        assert sum(int(part["qty"].replace(".", "")) for part in parts) == int(each["q"].replace(".", ""))
    combined = binance.get("/api/v3/aggTrades", symbol="BTCUSDT", fromId=1, startTime=1)
    refused(combined, 400, -1128, "Combination of optional parameters invalid.")


@pytest.mark.parametrize(
    "interval", ["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"]
)
def test_klines_come_in_every_interval(binance: RawVenue, interval: str) -> None:
    rows = binance.get("/api/v3/klines", symbol="ETHUSDT", interval=interval, limit=5).json()
    assert len(rows) == 5
    assert [type(value) for value in rows[0]] == [int, str, str, str, str, str, int, str, int, str, str, str]
    assert all(one[6] + 1 == two[0] for one, two in itertools.pairwise(rows))
    page = binance.get("/api/v3/klines", symbol="ETHUSDT", interval=interval, startTime=rows[1][0], limit=2).json()
    assert page[0] == rows[1]


def test_tickers_come_for_one_symbol_for_some_and_for_all(binance: RawVenue) -> None:
    one = binance.get("/api/v3/ticker/24hr", symbol="BTCUSDT").json()
    assert " ".join(one) == (
        "symbol priceChange priceChangePercent weightedAvgPrice prevClosePrice lastPrice lastQty bidPrice bidQty "
        "askPrice askQty openPrice highPrice lowPrice volume quoteVolume openTime closeTime firstId lastId count"
    )
    assert one["closeTime"] - one["openTime"] == 86_400_000
    assert one["lastId"] - one["firstId"] + 1 == one["count"]
    assert len(binance.get("/api/v3/ticker/24hr").json()) == 4
    mini = binance.get("/api/v3/ticker/24hr", symbol="BTCUSDT", type="MINI").json()
    assert "bidPrice" not in mini
    some = binance.get("/api/v3/ticker/price", symbols='["ETHUSDT","BTCUSDT"]').json()
    assert [row["symbol"] for row in some] == ["ETHUSDT", "BTCUSDT"]
    book = binance.get("/api/v3/ticker/bookTicker", symbol="BTCUSDT").json()
    assert list(book) == ["symbol", "bidPrice", "bidQty", "askPrice", "askQty"]
    assert list(binance.get("/api/v3/avgPrice", symbol="BTCUSDT").json()) == ["mins", "price", "closeTime"]


@pytest.mark.parametrize(
    ("path", "params", "code", "message"),
    [
        ("/api/v3/depth", {}, -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."),
        ("/api/v3/depth", {"symbol": "NOPEUSDT"}, -1121, "Invalid symbol."),
        (
            "/api/v3/depth",
            {"symbol": "btcusdt"},
            -1100,
            "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'.",
        ),
        (
            "/api/v3/depth",
            {"symbol": "BTCUSDT", "limit": "ten"},
            -1100,
            "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'.",
        ),
        ("/api/v3/trades", {"symbol": "BTCUSDT", "limit": 0}, -1130, "Data sent for parameter 'limit' is not valid."),
        ("/api/v3/klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120, "Invalid interval."),
        (
            "/api/v3/klines",
            {"symbol": "BTCUSDT"},
            -1102,
            "Mandatory parameter 'interval' was not sent, was empty/null, or malformed.",
        ),
        ("/api/v3/ping", {"x": 1}, -1101, "Too many parameters; expected '0' and received '1'."),
        (
            "/api/v3/avgPrice",
            {"symbol": "BTCUSDT", "x": 1},
            -1104,
            "Not all sent parameters were read; read '1' parameter(s) but was sent '2'.",
        ),
        (
            "/api/v3/ticker/price",
            {"symbol": "BTCUSDT", "symbols": '["BTCUSDT"]'},
            -1128,
            "Combination of optional parameters invalid.",
        ),
        (
            "/api/v3/ticker/price",
            {"symbols": '["BTCUSDT","BTCUSDT"]'},
            -1151,
            "Symbol is present multiple times in the list.",
        ),
    ],
)
def test_mistakes_are_refused_in_binances_words(
    binance: RawVenue, path: str, params: dict, code: int, message: str
) -> None:
    refused(binance.get(path, **params), 400, code, message)


def test_a_parameter_sent_twice_is_refused(binance: RawVenue, exchange: SimulatedExchange) -> None:
    response = requests.get(exchange.url("binance") + "/api/v3/depth?symbol=BTCUSDT&symbol=ETHBTC")
    refused(response, 400, -1101, "Duplicate values for parameter 'symbol' detected.")


def test_an_unknown_path_is_a_page_and_not_json(binance: RawVenue) -> None:
    response = binance.get("/api/v3/nothing")
    assert response.status_code == 404
    assert response.headers["content-type"] == "text/html"
    assert binance.session.post(binance.exchange.url("binance") + "/api/v3/depth").status_code == 405


# Access


def test_a_signed_request_is_answered(binance: RawVenue) -> None:
    account = binance.signed("GET", "/api/v3/account").json()
    assert [row["asset"] for row in account["balances"]] == ["BTC", "ETH", "BNB", "USDT"]
    assert account["canTrade"] is True


def test_a_key_of_a_wrong_format_and_an_unknown_one_are_told_apart(binance: RawVenue) -> None:
    binance.key = "short"
    refused(binance.signed("GET", "/api/v3/account"), 401, -2014, "API-key format invalid.")
    binance.key = "A" * 64
    message = "Invalid API-key, IP, or permissions for action."
    refused(binance.signed("GET", "/api/v3/account"), 401, -2015, message)
    refused(binance.get("/api/v3/account"), 401, -2014, "API-key format invalid.")


def test_a_wrong_signature_is_refused(binance: RawVenue) -> None:
    binance.secret = "other"
    refused(binance.signed("GET", "/api/v3/account"), 400, -1022, "Signature for this request is not valid.")


@pytest.mark.parametrize("query", ["symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC", ""])
def test_the_signature_covers_query_and_body_as_they_were_sent(binance: RawVenue, query: str) -> None:
    body = f"quantity=0.01&price=100000.00&recvWindow=5000&timestamp={int(time.time() * 1000)}"
    if not query:
        body = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&" + body
    signature = hmac.new(binance.secret.encode(), (query + body).encode(), hashlib.sha256).hexdigest()
    headers = {"X-MBX-APIKEY": binance.key, "Content-Type": "application/x-www-form-urlencoded"}
    url = f"{binance.exchange.url('binance')}/api/v3/order?{query}"
    response = requests.post(url, data=f"{body}&signature={signature.upper()}", headers=headers)
    assert (response.status_code, response.json()["status"]) == (200, "NEW")


def test_a_missing_timestamp_or_signature_is_named(binance: RawVenue) -> None:
    for sent, missing in [("", "timestamp"), ("?timestamp=1", "signature")]:
        url = binance.exchange.url("binance") + "/api/v3/account" + sent
        response = requests.get(url, headers={"X-MBX-APIKEY": binance.key})
        message = f"Mandatory parameter '{missing}' was not sent, was empty/null, or malformed."
        refused(response, 400, -1102, message)


def test_a_timestamp_out_of_the_window_is_refused(binance: RawVenue) -> None:
    now_ms = int(time.time() * 1000)
    late = "Timestamp for this request is outside of the recvWindow."
    refused(binance.signed("GET", "/api/v3/account", timestamp=now_ms - 20_000), 400, -1021, late)
    assert binance.signed("GET", "/api/v3/account", timestamp=now_ms - 20_000, recvWindow=60_000).ok
    early = "Timestamp for this request was 1000ms ahead of the server's time."
    refused(binance.signed("GET", "/api/v3/account", timestamp=now_ms + 60_000), 400, -1021, early)
    wide = "recvWindow must be less than 60000."
    refused(binance.signed("GET", "/api/v3/account", recvWindow=60_001), 400, -1131, wide)


def test_a_client_that_follows_the_exchanges_own_clock_is_accepted(binance: RawVenue) -> None:
    server_time = binance.get("/api/v3/time").json()["serverTime"]
    assert binance.signed("GET", "/api/v3/account", timestamp=server_time).ok
    assert binance.signed("GET", "/api/v3/account", timestamp=server_time * 1000).ok


@given(st.lists(st.tuples(st.sampled_from(["a", "signature", "b"]), st.text("xy%=", max_size=3)), max_size=6))
def test_cutting_a_parameter_leaves_the_others_as_they_were(pairs: list[tuple[str, str]]) -> None:
    text = "&".join(f"{name}={value}" for name, value in pairs).encode()
    expected = "&".join(f"{name}={value}" for name, value in pairs if name != "signature").encode()
    assert without_parameter(text, "signature") == expected


# Orders


def order(binance: RawVenue, method: str = "POST", path: str = "/api/v3/order", **changes: object) -> requests.Response:
    wanted: dict[str, object] = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
    wanted |= {"quantity": "0.01", "price": "100000.00", **changes}
    return binance.signed(method, path, **{name: value for name, value in wanted.items() if value is not None})


def test_an_order_lives_from_placing_to_cancelling(binance: RawVenue) -> None:
    placed = order(binance, newClientOrderId="mine-1")
    assert placed.headers["x-mbx-order-count-1d"] == "1"
    body = placed.json()
    assert " ".join(body) == (
        "symbol orderId orderListId clientOrderId transactTime price origQty executedQty cummulativeQuoteQty "
        "status timeInForce type side workingTime selfTradePreventionMode fills"
    )
    assert (body["status"], body["price"], body["fills"]) == ("NEW", "100000.00000000", [])
    queried = binance.signed("GET", "/api/v3/order", symbol="BTCUSDT", orderId=body["orderId"]).json()
    assert (queried["clientOrderId"], queried["isWorking"]) == ("mine-1", True)
    assert binance.signed("GET", "/api/v3/openOrders", symbol="BTCUSDT").json() == [queried]
    locked = {row["asset"]: row["locked"] for row in binance.signed("GET", "/api/v3/account").json()["balances"]}
    assert locked["USDT"] == "1000.00000000"
    cancelled = binance.signed("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="mine-1").json()
    assert (cancelled["status"], cancelled["origClientOrderId"]) == ("CANCELED", "mine-1")
    assert binance.signed("GET", "/api/v3/openOrders").json() == []
    again = binance.signed("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=body["orderId"])
    refused(again, 400, -2011, "Unknown order sent.")


def test_a_market_order_fills_and_shows_in_the_accounts_and_the_public_trades(binance: RawVenue) -> None:
    body = order(binance, type="MARKET", price=None, timeInForce=None).json()
    assert (body["status"], body["executedQty"]) == ("FILLED", "0.01000000")
    mine = binance.signed("GET", "/api/v3/myTrades", symbol="BTCUSDT", orderId=body["orderId"]).json()
    assert [row["id"] for row in mine] == [fill["tradeId"] for fill in body["fills"]]
    public = {row["id"]: row for row in binance.get("/api/v3/trades", symbol="BTCUSDT").json()}
    assert all(public[row["id"]]["price"] == row["price"] for row in mine)
    spent = order(binance, type="MARKET", price=None, timeInForce=None, quantity=None, quoteOrderQty="100").json()
    assert 98 < float(spent["cummulativeQuoteQty"]) <= 100
    assert len(binance.signed("GET", "/api/v3/allOrders", symbol="BTCUSDT").json()) == 2


def test_an_order_answers_with_as_much_as_was_asked_for(binance: RawVenue) -> None:
    assert len(order(binance, newOrderRespType="ACK").json()) == 5
    assert "fills" not in order(binance, newOrderRespType="RESULT").json()
    assert len(order(binance, type="LIMIT_MAKER", timeInForce=None).json()) == 5


def test_a_test_order_is_checked_but_not_placed(binance: RawVenue) -> None:
    assert order(binance, path="/api/v3/order/test").json() == {}
    assert binance.signed("GET", "/api/v3/openOrders").json() == []


def test_all_open_orders_are_cancelled_at_once(binance: RawVenue) -> None:
    order(binance)
    order(binance)
    assert len(binance.signed("DELETE", "/api/v3/openOrders", symbol="BTCUSDT").json()) == 2
    refused(binance.signed("DELETE", "/api/v3/openOrders", symbol="BTCUSDT"), 400, -2011, "Unknown order sent.")


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"side": "HOLD"}, -1117, "Invalid side."),
        ({"type": "MAYBE"}, -1116, "Invalid orderType."),
        ({"type": "STOP_LOSS"}, -2010, "Stop loss orders are not supported for this symbol."),
        ({"timeInForce": "GTX"}, -1115, "Invalid timeInForce."),
        ({"price": "100000.001"}, -1013, "Filter failure: PRICE_FILTER"),
        ({"quantity": "0.000001"}, -1013, "Filter failure: LOT_SIZE"),
        ({"quantity": "0.00001"}, -1013, "Filter failure: NOTIONAL"),
        ({"quantity": "0.010000001"}, -1111, "Parameter 'quantity' has too much precision."),
        ({"quantity": "20"}, -2010, "Account has insufficient balance for requested action."),
        (
            {"price": "1000000.00", "type": "LIMIT_MAKER", "timeInForce": None},
            -2010,
            "Order would immediately match and take.",
        ),
        ({"type": "MARKET"}, -1106, "Parameter 'timeInForce' sent when not required."),
        ({"type": "MARKET", "timeInForce": None}, -1106, "Parameter 'price' sent when not required."),
        (
            {"type": "MARKET", "timeInForce": None, "price": None, "quoteOrderQty": "10"},
            -1128,
            "Combination of optional parameters invalid.",
        ),
        ({"newClientOrderId": ""}, -1105, "Parameter 'newClientOrderId' was empty."),
        ({"quantity": None}, -1102, "Mandatory parameter 'quantity' was not sent, was empty/null, or malformed."),
    ],
)
def test_an_order_that_breaks_a_rule_is_refused(binance: RawVenue, changes: dict, code: int, message: str) -> None:
    refused(order(binance, **changes), 400, code, message)


def test_a_clients_id_stands_for_one_open_order_only(binance: RawVenue) -> None:
    assert order(binance, newClientOrderId="one").ok
    refused(order(binance, newClientOrderId="one"), 400, -2010, "Duplicate order sent.")


def test_an_order_that_is_not_named_or_not_there_is_told(binance: RawVenue) -> None:
    unnamed = binance.signed("GET", "/api/v3/order", symbol="BTCUSDT")
    refused(unnamed, 400, -1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
    refused(binance.signed("GET", "/api/v3/order", symbol="BTCUSDT", orderId=1), 400, -2013, "Order does not exist.")


def test_a_listen_key_is_opened_kept_and_closed_with_the_key_alone(binance: RawVenue) -> None:
    url, headers = binance.exchange.url("binance") + "/api/v3/userDataStream", {"X-MBX-APIKEY": binance.key}
    key = requests.post(url, headers=headers).json()["listenKey"]
    assert len(key) == 64
    assert requests.post(url, headers=headers).json()["listenKey"] == key
    assert requests.put(url, params={"listenKey": key}, headers=headers).json() == {}
    assert requests.delete(url, data={"listenKey": key}, headers=headers).json() == {}
    gone = requests.put(url, params={"listenKey": key}, headers=headers)
    refused(gone, 400, -1125, "This listenKey does not exist.")
    assert requests.post(url, headers=headers).json()["listenKey"] != key


# Limits


class RealTime:
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_760_000_000.0

    def __call__(self) -> float:
        return self.now


def test_too_much_weight_is_a_429_then_a_ban_then_forgiven() -> None:
    clock = RealTime()
    limits = Limits(binance_weight=100, binance_ban_after=2, binance_ban_s=300)
    with SimulatedExchange(limits=limits, real_time=clock) as exchange, requests.Session() as session:
        url = exchange.url("binance") + "/api/v3/depth?symbol=BTCUSDT"
        assert [session.get(url).status_code for _ in range(21)] == [200] * 20 + [429]
        warned = session.get(url)
        assert (warned.status_code, warned.json()["code"]) == (429, -1003)
        assert "current limit is 100 request weight per 1 MINUTE" in warned.json()["msg"]
        assert 1 <= int(warned.headers["retry-after"]) <= 60
        banned = session.get(url)
        assert (banned.status_code, banned.json()["code"], banned.headers["retry-after"]) == (418, -1003, "300")
        assert f"IP banned until {int((clock.now + 300) * 1000)}" in banned.json()["msg"]
        clock.now += 299
        assert session.get(url).status_code == 418
        clock.now += 2
        assert session.get(url).status_code == 200


def test_a_client_that_waits_as_told_is_served_again() -> None:
    clock = RealTime()
    with SimulatedExchange(limits=Limits(binance_weight=5), real_time=clock) as exchange:
        url = exchange.url("binance") + "/api/v3/depth?symbol=BTCUSDT"
        requests.get(url)
        clock.now += int(requests.get(url).headers["retry-after"])
        assert requests.get(url).status_code == 200


@pytest.mark.parametrize(("status", "code"), [(429, -1003), (418, -1003), (500, -1000), (503, -1008), (504, -1007)])
def test_a_failure_that_was_asked_for_comes_in_binances_words(binance: RawVenue, status: int, code: int) -> None:
    before = binance.get("/api/v3/time").content
    binance.exchange.fail_next("binance", status=status, times=2, retry_after=7)
    for _ in range(2):
        failed = binance.get("/api/v3/depth", symbol="BTCUSDT")
        assert (failed.status_code, failed.json()["code"]) == (status, code)
        assert failed.headers.get("retry-after") == ("7" if status in (418, 429) else None)
    assert binance.get("/api/v3/time").content == before
    assert binance.get("/api/v3/depth", symbol="BTCUSDT").status_code == 200


def test_a_firewall_answers_in_html(binance: RawVenue) -> None:
    binance.exchange.fail_next("binance", status=403)
    failed = binance.get("/api/v3/ping")
    assert (failed.status_code, failed.headers["content-type"]) == (403, "text/html")
