"""Coinbase, Bybit, OKX, Bitstamp and Deribit: where answers belong, what is secret, what an error looks like."""

from __future__ import annotations

import pytest

from pytest_marketreplay.cassette.request import parse
from pytest_marketreplay.venues.profile import Location
from pytest_marketreplay.venues.registry import Registry


@pytest.mark.parametrize(
    ("url", "venue", "endpoint", "symbol"),
    [
        (
            "https://api.coinbase.com/api/v3/brokerage/market/product_book?product_id=btc-usd&limit=5",
            "coinbase",
            "/api/v3/brokerage/market/product_book",
            "BTC-USD",
        ),
        (
            "https://api.coinbase.com/api/v3/brokerage/market/products/BTC-USD/candles?granularity=ONE_HOUR",
            "coinbase",
            "/api/v3/brokerage/market/products/BTC-USD/candles",
            "BTC-USD",
        ),
        ("https://api.exchange.coinbase.com/products/BTC-USD", "coinbase_exchange", "/products/BTC-USD", "BTC-USD"),
        ("https://api.gdax.com/products/btc-usd/trades", "coinbase_exchange", "/products/btc-usd/trades", "BTC-USD"),
        ("https://api.coinbase.com/api/v3/brokerage/products", "coinbase", "/api/v3/brokerage/products", None),
        (
            "https://api.bybit.com/v5/market/orderbook?category=spot&symbol=BTCUSDT",
            "bybit",
            "/v5/market/orderbook",
            "BTCUSDT",
        ),
        ("https://api-testnet.bybit.com/v5/market/time", "bybit_testnet", "/v5/market/time", None),
        ("https://www.okx.com/api/v5/market/books?instId=BTC-USDT&sz=5", "okx", "/api/v5/market/books", "BTC-USDT"),
        (
            "https://www.okex.com/api/spot/v3/instruments/BTC-USDT/book",
            "okx",
            "/api/spot/v3/instruments/BTC-USDT/book",
            "BTC-USDT",
        ),
        ("https://www.bitstamp.net/api/v2/order_book/btcusd/", "bitstamp", "/api/v2/order_book/btcusd", "BTCUSD"),
        ("https://www.bitstamp.net/api/v2/ticker/", "bitstamp", "/api/v2/ticker", None),
        (
            "https://www.deribit.com/api/v2/public/get_order_book?instrument_name=BTC-PERPETUAL",
            "deribit",
            "/api/v2/public/get_order_book",
            "BTC-PERPETUAL",
        ),
        ("https://test.deribit.com/api/v2/public/test", "deribit_testnet", "/api/v2/public/test", None),
    ],
)
def test_an_answer_belongs_to_its_venue_endpoint_and_symbol(url, venue, endpoint, symbol) -> None:
    asked = parse("GET", url)
    found = Registry().of(asked.host)
    assert (found.name, found.locate(asked)) == (venue, Location(endpoint, symbol))


@pytest.mark.parametrize("venue", ["coinbase", "bybit", "okx", "deribit", "bitstamp"])
def test_a_list_of_symbols_belongs_to_none(venue) -> None:
    assert Registry().venues[venue].symbol("A,B") is None


def test_bitstamp_spells_a_pair_in_three_ways_and_means_one() -> None:
    bitstamp = Registry().venues["bitstamp"]
    assert {bitstamp.symbol(value) for value in ("btcusd", "BTCUSD", "BTC/USD", "btc%2Fusd")} == {"BTCUSD"}
    assert bitstamp.endpoint("/") == "/"


@pytest.mark.parametrize(
    ("venue", "status", "answer", "problem"),
    [
        ("coinbase", 200, {"candles": []}, None),
        ("coinbase", 404, {"message": "NotFound"}, "HTTP 404: NotFound"),
        ("coinbase", 400, {"error": "INVALID", "error_details": "no such product"}, "HTTP 400: no such product"),
        (
            "coinbase_exchange",
            429,
            {"message": "Public rate limit exceeded"},
            "rate limited (HTTP 429): Public rate limit exceeded",
        ),
        ("coinbase", 502, None, "HTTP 502"),
        ("coinbase", 502, {}, "HTTP 502"),
        ("bybit", 200, {"retCode": 0, "retMsg": "OK"}, None),
        ("bybit", 200, {"retCode": 10001, "retMsg": "params error"}, "10001 params error"),
        (
            "bybit",
            200,
            {"ret_code": 10018, "ret_msg": "exceeded ip rate limit"},
            "rate limited: 10018 exceeded ip rate limit",
        ),
        ("bybit", 403, None, "rate limited: HTTP 403"),
        ("okx", 200, {"code": "0", "data": []}, None),
        ("okx", 200, {"code": "51001", "msg": "Instrument does not exist"}, "51001 Instrument does not exist"),
        ("okx", 429, {"code": "50011", "msg": "Too Many Requests"}, "rate limited: HTTP 429: 50011 Too Many Requests"),
        ("okx", 503, None, "HTTP 503"),
        ("bitstamp", 200, {"last": "1"}, None),
        ("bitstamp", 200, [], None),
        ("bitstamp", 403, {"status": "error", "reason": "Invalid key", "code": "API0001"}, "HTTP 403: Invalid key"),
        ("bitstamp", 200, {"error": "Pair does not exist"}, "Pair does not exist"),
        ("bitstamp", 429, None, "rate limited (HTTP 429)"),
        ("deribit", 200, {"result": {}}, None),
        ("deribit", 400, {"error": {"code": -32602, "message": "Invalid params"}}, "-32602 Invalid params"),
        (
            "deribit",
            429,
            {"error": {"code": 10028, "message": "too_many_requests"}},
            "rate limited: 10028 too_many_requests",
        ),
        ("deribit", 502, None, "HTTP 502"),
    ],
)
def test_an_error_is_known_by_the_shape_of_its_venue(venue, status, answer, problem) -> None:
    assert Registry().venues[venue].problem(status, answer) == problem


@pytest.mark.parametrize(
    ("venue", "names"),
    [
        ("coinbase", ("CB-ACCESS-KEY", "CB-ACCESS-SIGN", "CB-ACCESS-PASSPHRASE", "jwt", "passphrase")),
        ("bybit", ("X-BAPI-API-KEY", "X-BAPI-SIGN", "api_key", "sign")),
        ("okx", ("OK-ACCESS-KEY", "OK-ACCESS-SIGN", "OK-ACCESS-PASSPHRASE", "apiKey", "passphrase")),
        ("bitstamp", ("X-Auth", "X-Auth-Signature", "auth")),
        ("deribit", ("client_secret", "refresh_token", "access_token")),
    ],
)
def test_what_signs_a_request_is_secret(venue, names) -> None:
    rules = Registry().venues[venue].rules
    secret = [name for name in names if (rules.is_secret_header(name) if "-" in name else rules.kind(name) is not None)]
    assert secret == list(names)
