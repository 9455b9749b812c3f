"""Kraken-shaped REST, asked with plain requests."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_marketreplay.exchange import Limits, SimulatedExchange

if TYPE_CHECKING:
    from conftest import RawVenue

PUBLIC = [
    ("Time", {}),
    ("SystemStatus", {}),
    ("Assets", {}),
    ("AssetPairs", {}),
    ("Ticker", {"pair": "XBTUSD,ETHUSD"}),
    ("OHLC", {"pair": "XBTUSD"}),
    ("Depth", {"pair": "XBTUSD", "count": 10}),
    ("Trades", {"pair": "ETHXBT", "count": 10}),
    ("Spread", {"pair": "XBTUSDT"}),
]


def failed(response: requests.Response, error: str) -> None:
    assert (response.status_code, response.json()) == (200, {"error": [error]})


def transcript(seed: int, requested: list[tuple[str, dict[str, object]]]) -> list[bytes]:
    with SimulatedExchange(seed) as exchange, requests.Session() as session:
        base = exchange.url("kraken") + "/0/public/"
        return [session.get(base + name, params=params).content for name, params in requested]


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.sampled_from(PUBLIC), min_size=1, max_size=8))
def test_the_same_seed_and_requests_give_the_same_bytes(seed: int, requested: list) -> None:
    assert transcript(seed, requested) == transcript(seed, requested)


@pytest.mark.parametrize(("name", "params"), PUBLIC)
def test_every_public_method_answers_get_and_post_alike(name: str, params: dict) -> None:
    bodies = []
    for method in ("GET", "POST"):
        with SimulatedExchange(7) as exchange:
            url = f"{exchange.url('kraken')}/0/public/{name}"
            sent = {"params": params} if method == "GET" else {"data": params}
            response = requests.request(method, url, **sent)
            assert response.headers["content-type"] == "application/json; charset=utf-8"
            assert response.content.startswith(b'{"error":[],"result":{')
            bodies.append(response.content)
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize(("name", "key"), [("XBTUSD", "XXBTZUSD"), ("XXBTZUSD", "XXBTZUSD"), ("XBT/USD", "XBT/USD")])
def test_a_pair_is_found_under_each_of_its_names(kraken: RawVenue, name: str, key: str) -> None:
    result = kraken.get("/0/public/Depth", pair=name, count=3).json()["result"]
    assert list(result) == [key]
    assert list(result[key]) == ["asks", "bids"]
    assert len(result[key]["bids"]) == 3
    price, volume, moment = result[key]["bids"][0]
    assert re.fullmatch(r"\d+\.\d{5}", price)
    assert re.fullmatch(r"\d+\.\d{3}", volume)
    assert isinstance(moment, int)


def test_the_book_moves_and_is_not_crossed(kraken: RawVenue) -> None:
    books = [kraken.get("/0/public/Depth", pair="ETHXBT", count=500).json()["result"]["XETHXXBT"] for _ in range(5)]
    assert len({str(book) for book in books}) == 5
    for book in books:
        assert float(book["bids"][0][0]) < float(book["asks"][0][0])


def test_asset_pairs_tell_names_decimals_and_limits(kraken: RawVenue) -> None:
    pairs = kraken.get("/0/public/AssetPairs").json()["result"]
    assert set(pairs) == {"XXBTZUSD", "XETHZUSD", "XETHXXBT", "XBTUSDT", "ETHUSDT", "BNBUSD"}
    bitcoin = pairs["XXBTZUSD"]
    assert (bitcoin["altname"], bitcoin["wsname"], bitcoin["base"], bitcoin["quote"]) == (
        "XBTUSD",
        "XBT/USD",
        "XXBT",
        "ZUSD",
    )
    assert (bitcoin["pair_decimals"], bitcoin["tick_size"], bitcoin["ordermin"]) == (1, "0.1", "0.00005")
    assert list(kraken.get("/0/public/AssetPairs", pair="ETHXBT").json()["result"]) == ["XETHXXBT"]
    assert list(kraken.get("/0/public/Assets", asset="XBT,ZUSD").json()["result"]) == ["XXBT", "ZUSD"]


def test_a_ticker_has_krakens_letters(kraken: RawVenue) -> None:
    ticker = kraken.get("/0/public/Ticker", pair="XBTUSD").json()["result"]["XXBTZUSD"]
    assert list(ticker) == ["a", "b", "c", "v", "p", "t", "l", "h", "o"]
    assert float(ticker["b"][0]) < float(ticker["a"][0])
    assert ticker["t"][0] <= ticker["t"][1]
    assert len(kraken.get("/0/public/Ticker").json()["result"]) == 6


@pytest.mark.parametrize("interval", [1, 5, 15, 30, 60, 240, 1440, 10080, 21600])
def test_candles_come_in_every_interval(kraken: RawVenue, interval: int) -> None:
    result = kraken.get("/0/public/OHLC", pair="XBTUSD", interval=interval).json()["result"]
    rows = result["XXBTZUSD"]
    assert 5 < len(rows) <= 720
    assert [type(value) for value in rows[0]] == [int, str, str, str, str, str, str, int]
    assert all(two[0] - one[0] == interval * 60 for one, two in itertools.pairwise(rows))
    assert result["last"] == rows[-2][0]
    newer = kraken.get("/0/public/OHLC", pair="XBTUSD", interval=interval, since=result["last"]).json()["result"]
    assert [row[0] for row in newer["XXBTZUSD"]] == [rows[-1][0]]


def test_trades_page_by_last_without_a_hole_or_a_repeat(kraken: RawVenue, exchange: SimulatedExchange) -> None:
    exchange.advance(100, "kraken")
    page = kraken.get("/0/public/Trades", pair="XBTUSD", since=1759396000, count=50).json()["result"]
    rows = page["XXBTZUSD"]
    assert len(rows) == 50
    assert [type(value) for value in rows[0]] == [str, str, float, str, str, str, int]
    following = kraken.get("/0/public/Trades", pair="XBTUSD", since=page["last"]).json()["result"]["XXBTZUSD"]
    assert following[0][6] == rows[-1][6] + 1
    newest = kraken.get("/0/public/Trades", pair="XBTUSD", count=5).json()["result"]
    nothing = kraken.exchange.market("kraken").listings["XXBTZUSD"].trades[-1].time_ns
    empty = kraken.get("/0/public/Trades", pair="XBTUSD", since=nothing + 10**12).json()["result"]
    assert len(newest["XXBTZUSD"]) == 5
    assert empty == {"XXBTZUSD": [], "last": f"{nothing + 10**12}"}


def test_the_spread_tells_bid_and_ask_over_time(kraken: RawVenue, exchange: SimulatedExchange) -> None:
    exchange.advance(30, "kraken")
    result = kraken.get("/0/public/Spread", pair="XBTUSD").json()["result"]
    assert len(result["XXBTZUSD"]) == 32
    assert all(float(bid) < float(ask) for _, bid, ask in result["XXBTZUSD"])
    newer = kraken.get("/0/public/Spread", pair="XBTUSD", since=result["last"]).json()["result"]["XXBTZUSD"]
    assert {row[0] for row in newer} == {result["last"]}


@pytest.mark.parametrize(
    ("name", "params", "error"),
    [
        ("Depth", {"pair": "NOPEUSD"}, "EQuery:Unknown asset pair"),
        ("Depth", {}, "EGeneral:Invalid arguments"),
        ("Depth", {"pair": "XBTUSD", "count": "many"}, "EGeneral:Invalid arguments"),
        ("OHLC", {"pair": "XBTUSD", "interval": 7}, "EGeneral:Invalid arguments"),
        ("Ticker", {"pair": "XBTUSD,NOPE"}, "EQuery:Unknown asset pair"),
        ("Assets", {"asset": "NOPE"}, "EQuery:Unknown asset"),
        ("Guess", {}, "EGeneral:Unknown method"),
    ],
)
def test_mistakes_are_told_in_krakens_words(kraken: RawVenue, name: str, params: dict, error: str) -> None:
    failed(kraken.get(f"/0/public/{name}", **params), error)


def test_a_path_outside_the_api_is_a_page(kraken: RawVenue) -> None:
    response = kraken.get("/1/public/Time")
    assert (response.status_code, response.headers["content-type"]) == (404, "text/html; charset=UTF-8")


# Private methods


def test_a_signed_call_is_answered(kraken: RawVenue) -> None:
    assert kraken.private("Balance").json()["result"]["XXBT"] == "1.0000000000"
    extended = kraken.private("BalanceEx").json()["result"]["ZUSD"]
    assert extended == {"balance": "100000.0000", "hold_trade": "0.0000"}
    assert float(kraken.private("TradeBalance").json()["result"]["eb"]) > 100_000
    token = kraken.private("GetWebSocketsToken").json()["result"]
    assert (len(token["token"]), token["expires"]) == (43, 900)


def test_a_wrong_key_signature_and_nonce_are_told_apart(kraken: RawVenue) -> None:
    key, secret = kraken.key, kraken.secret
    kraken.key = "other"
    failed(kraken.private("Balance"), "EAPI:Invalid key")
    kraken.key, kraken.secret = key, "b3RoZXI="
    failed(kraken.private("Balance"), "EAPI:Invalid signature")
    kraken.secret = secret
    failed(requests.post(kraken.exchange.url("kraken") + "/0/private/Balance"), "EAPI:Invalid key")


def test_a_nonce_must_grow(kraken: RawVenue) -> None:
    assert kraken.private("Balance", nonce=5).json()["error"] == []
    failed(kraken.private("Balance", nonce=5), "EAPI:Invalid nonce")
    failed(kraken.private("Balance", nonce=4), "EAPI:Invalid nonce")
    assert kraken.private("Balance", nonce=6).json()["error"] == []


def test_a_call_without_a_nonce_is_refused(kraken: RawVenue) -> None:
    url, headers = kraken.exchange.url("kraken") + "/0/private/Balance", {"API-Key": kraken.key, "API-Sign": "x"}
    failed(requests.post(url, headers=headers), "EAPI:Invalid nonce")
    failed(requests.post(url, data={"nonce": "soon"}, headers=headers), "EAPI:Invalid nonce")


def test_an_order_can_be_named_by_its_client(kraken: RawVenue) -> None:
    add(kraken, cl_ord_id="mine-1")
    assert kraken.private("CancelOrder", cl_ord_id="mine-1").json()["result"] == {"count": 1}
    failed(kraken.private("CancelOrder", cl_ord_id="other"), "EOrder:Unknown order")


def test_a_refused_signature_does_not_use_up_its_nonce(kraken: RawVenue) -> None:
    secret, kraken.secret = kraken.secret, "b3RoZXI="
    failed(kraken.private("Balance", nonce=900), "EAPI:Invalid signature")
    kraken.secret = secret
    assert kraken.private("Balance", nonce=5).json()["error"] == []


def test_a_private_method_wants_post_and_must_exist(kraken: RawVenue) -> None:
    failed(kraken.get("/0/private/Balance"), "EGeneral:Unknown method")
    failed(kraken.private("Guess"), "EGeneral:Unknown method")


def add(kraken: RawVenue, **changes: object) -> requests.Response:
    wanted: dict[str, object] = {
        "pair": "XBTUSD",
        "type": "buy",
        "ordertype": "limit",
        "volume": "0.01",
        "price": "100000.0",
    }
    return kraken.private("AddOrder", **{**wanted, **changes})


def test_an_order_lives_from_placing_to_cancelling(kraken: RawVenue) -> None:
    placed = add(kraken).json()["result"]
    assert placed["descr"] == {"order": "buy 0.01000000 XBTUSD @ limit 100000.0"}
    (txid,) = placed["txid"]
    assert re.fullmatch(r"O[0-9A-Z]{5}-[0-9A-Z]{5}-[0-9A-Z]{6}", txid)
    row = kraken.private("OpenOrders").json()["result"]["open"][txid]
    assert (row["status"], row["vol"], row["descr"]["price"]) == ("open", "0.01000000", "100000.0")
    assert kraken.private("BalanceEx").json()["result"]["ZUSD"]["hold_trade"] == "1000.0000"
    assert kraken.private("CancelOrder", txid=txid).json()["result"] == {"count": 1}
    failed(kraken.private("CancelOrder", txid=txid), "EOrder:Unknown order")
    assert kraken.private("QueryOrders", txid=txid).json()["result"][txid]["status"] == "canceled"
    assert kraken.private("ClosedOrders").json()["result"]["count"] == 1
    add(kraken)
    assert kraken.private("CancelAll").json()["result"] == {"count": 1}


def test_a_market_order_fills_at_once(kraken: RawVenue) -> None:
    placed = kraken.private("AddOrder", pair="XBT/USD", type="sell", ordertype="market", volume="0.00012345").json()
    (txid,) = placed["result"]["txid"]
    row = kraken.private("QueryOrders", txid=txid).json()["result"][txid]
    assert (row["status"], row["vol_exec"]) == ("closed", "0.00012345")
    public = kraken.get("/0/public/Trades", pair="XBTUSD", count=50).json()["result"]["XXBTZUSD"]
    assert "0.00012345" in [trade[1] for trade in public]


def test_a_validated_order_is_not_placed(kraken: RawVenue) -> None:
    assert "txid" not in add(kraken, validate="true").json()["result"]
    assert kraken.private("OpenOrders").json()["result"] == {"open": {}}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"pair": "NOPE"}, "EQuery:Unknown asset pair"),
        ({"type": "hold"}, "EGeneral:Invalid arguments:type"),
        ({"ordertype": "guess"}, "EGeneral:Invalid arguments:ordertype"),
        ({"volume": "none"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "0.00001"}, "EGeneral:Invalid arguments:volume minimum not met"),
        ({"price": ""}, "EGeneral:Invalid arguments:price"),
        ({"price": "1.05"}, "EOrder:Invalid price:XBTUSD price can only be specified up to 1 decimals."),
        ({"volume": "50"}, "EOrder:Insufficient funds"),
        ({"price": "200000.0", "oflags": "post"}, "EOrder:Post only order"),
        ({"timeinforce": "NOW"}, "EGeneral:Invalid arguments:timeinforce"),
    ],
)
def test_an_order_that_breaks_a_rule_is_refused(kraken: RawVenue, changes: dict, error: str) -> None:
    failed(add(kraken, **changes), error)


# Limits


def test_too_many_private_calls_are_refused_until_the_counter_falls(raw_venue: type[RawVenue]) -> None:
    now = 1_760_000_000.0
    limits = Limits(kraken_private=3, kraken_private_per_s=0.5)
    with SimulatedExchange(limits=limits, real_time=lambda: now) as exchange:
        kraken = raw_venue(exchange, "kraken")
        assert [kraken.private("Balance").json()["error"] for _ in range(3)] == [[]] * 3
        failed(kraken.private("Balance"), "EAPI:Rate limit exceeded")
        assert add(kraken).json()["error"] == []  # orders have a counter of their own
        now += 2
        assert kraken.private("Balance").json()["error"] == []
        failed(kraken.private("Balance"), "EAPI:Rate limit exceeded")
        kraken.session.close()


def test_too_many_public_calls_are_refused() -> None:
    limits = Limits(kraken_public=2)
    with SimulatedExchange(limits=limits, real_time=lambda: 1.0) as exchange, requests.Session() as session:
        url = exchange.url("kraken") + "/0/public/Time"
        assert [session.get(url).json()["error"] for _ in range(3)] == [[], [], ["EGeneral:Too many requests"]]


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (200, None, "EAPI:Rate limit exceeded"),
        (200, "EGeneral:Temporary lockout", "EGeneral:Temporary lockout"),
        (429, None, "EGeneral:Too many requests"),
        (503, None, "EService:Unavailable"),
    ],
)
def test_a_failure_that_was_asked_for_comes_in_krakens_words(
    kraken: RawVenue, status: int, message: str | None, expected: str
) -> None:
    kraken.exchange.fail_next("kraken", status=status, message=message, retry_after=3)
    response = kraken.get("/0/public/Time")
    assert (response.status_code, response.json()) == (status, {"error": [expected]})
    assert response.headers.get("retry-after") == ("3" if status == 429 else None)
    assert kraken.get("/0/public/Time").json()["error"] == []


def test_a_gateway_error_is_a_page(kraken: RawVenue) -> None:
    kraken.exchange.fail_next("kraken", status=520)
    response = kraken.get("/0/public/Time")
    assert (response.status_code, response.headers["content-type"]) == (520, "text/html; charset=UTF-8")


def test_a_json_body_is_read_like_a_form(kraken: RawVenue) -> None:
    url = kraken.exchange.url("kraken") + "/0/public/Depth"
    assert list(requests.post(url, json={"pair": "XBTUSD", "count": 1}).json()["result"]) == ["XXBTZUSD"]
    broken = requests.post(url, data="{", headers={"Content-Type": "application/json"})
    failed(broken, "EGeneral:Invalid arguments")
    failed(requests.post(url, json=[1]), "EGeneral:Invalid arguments")
