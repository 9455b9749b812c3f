"""The clients people use, unmodified but for their URLs."""

from __future__ import annotations

import itertools
from typing import Any
from urllib.parse import urlsplit

import pytest

from pytest_marketreplay.exchange import SimulatedExchange


def redirected(value: Any, base: str) -> Any:
    """Put another host before every URL of ccxt's nested table, and keep the paths."""
    if isinstance(value, dict):
        return {name: redirected(each, base) for name, each in value.items()}
    return base + urlsplit(value).path if isinstance(value, str) else value


@pytest.fixture
def ccxt_client(exchange: SimulatedExchange, request: pytest.FixtureRequest) -> Any:
    ccxt = pytest.importorskip("ccxt", reason="ccxt is not installed")
    venue = request.param
    client = getattr(ccxt, venue)(
        {"enableRateLimit": False, "apiKey": exchange.api_key(venue), "secret": exchange.api_secret(venue)}
    )
    client.urls["api"] = redirected(client.urls["api"], exchange.url(venue))
    yield client
    if client.session is not None:
        client.session.close()


VENUES = [("binance", "BTC/USDT"), ("kraken", "BTC/USD")]


@pytest.mark.parametrize(("ccxt_client", "symbol"), VENUES, indirect=["ccxt_client"])
def test_ccxt_loads_markets_and_reads_the_market(ccxt_client: Any, symbol: str) -> None:
    markets = ccxt_client.load_markets()
    assert {symbol, "ETH/BTC"} <= set(markets)
    assert markets[symbol]["active"]
    book = ccxt_client.fetch_order_book(symbol, 10)
    assert len(book["bids"]) == len(book["asks"]) == 10
    assert book["bids"][0][0] < book["asks"][0][0]
    ticker = ccxt_client.fetch_ticker(symbol)
    assert ticker["bid"] < ticker["ask"]
    assert ticker["low"] <= ticker["last"] <= ticker["high"]
    assert len(ccxt_client.fetch_tickers()) >= 4
    trades = ccxt_client.fetch_trades(symbol, limit=10)
    assert len(trades) == 10
    candles = ccxt_client.fetch_ohlcv(symbol, "1h", limit=5)
    assert all(two[0] - one[0] == 3_600_000 for one, two in itertools.pairwise(candles))


@pytest.mark.parametrize(("ccxt_client", "symbol"), VENUES, indirect=["ccxt_client"])
def test_ccxt_trades(ccxt_client: Any, symbol: str) -> None:
    before = ccxt_client.fetch_balance()["total"]
    assert before["BTC"] == 1.0
    resting = ccxt_client.create_order(symbol, "limit", "buy", 0.01, 90_000)
    assert [order["id"] for order in ccxt_client.fetch_open_orders(symbol)] == [resting["id"]]
    ccxt_client.cancel_order(resting["id"], symbol)
    assert ccxt_client.fetch_open_orders(symbol) == []
    bought = ccxt_client.create_order(symbol, "market", "buy", 0.01)
    assert ccxt_client.fetch_order(bought["id"], symbol)["status"] == "closed"
    assert ccxt_client.fetch_balance()["total"]["BTC"] == pytest.approx(1.00999)


@pytest.mark.parametrize(("ccxt_client", "symbol"), VENUES, indirect=["ccxt_client"])
def test_ccxt_understands_the_errors(ccxt_client: Any, symbol: str, exchange: SimulatedExchange) -> None:
    import ccxt

    ccxt_client.load_markets()
    exchange.fail_next(ccxt_client.id, status=429)
    with pytest.raises(ccxt.DDoSProtection):
        ccxt_client.fetch_order_book(symbol)
    with pytest.raises(ccxt.InsufficientFunds):
        ccxt_client.create_order(symbol, "limit", "buy", 100, 90_000)
    ccxt_client.secret = exchange.api_secret("kraken")[:-8] + "AAAAAAA="
    with pytest.raises((ccxt.AuthenticationError, ccxt.ExchangeError)):
        ccxt_client.fetch_balance()


def test_krakenex_asks_and_signs(exchange: SimulatedExchange) -> None:
    krakenex = pytest.importorskip("krakenex", reason="krakenex is not installed")
    client = krakenex.API(exchange.api_key("kraken"), exchange.api_secret("kraken"))
    client.uri = exchange.url("kraken")
    depth = client.query_public("Depth", {"pair": "XBTUSD", "count": 2})
    assert depth["error"] == []
    assert len(depth["result"]["XXBTZUSD"]["asks"]) == 2
    assert client.query_public("Depth", {"pair": "NOPE"}) == {"error": ["EQuery:Unknown asset pair"]}
    assert client.query_private("Balance")["result"]["XXBT"] == "1.0000000000"
    client.close()
