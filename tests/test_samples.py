"""The sample cassettes in `cassettes/`: recorded from the simulated exchange, replayed here as a user's tests are.

`pytest tests/test_samples.py --record-mode=rewrite` records them anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from urllib.parse import urlencode

import aiohttp
import httpx
import pytest
import requests

from pytest_marketreplay.exchange import SimulatedExchange
from pytest_marketreplay.plugin.play import MarketReplay

pytestmark = pytest.mark.marketreplay


@pytest.fixture
def asked_nothing(market_exchange: SimulatedExchange, market_replay: MarketReplay):
    """The exchange is there, and a replay must not ask it anything."""
    yield
    if not market_replay.is_recording:
        assert list(market_exchange.requests) == []
        assert market_replay.unplayed == []


@pytest.mark.usefixtures("asked_nothing")
def test_a_poller_sees_the_book_move(market_exchange: SimulatedExchange) -> None:
    url = market_exchange.url("binance") + "/api/v3/depth"
    with requests.Session() as session:
        books = [session.get(url, params={"symbol": "BTCUSDT", "limit": 10}).json() for _ in range(5)]
    ids = [book["lastUpdateId"] for book in books]
    assert ids == sorted(set(ids))
    assert all(float(book["bids"][0][0]) < float(book["asks"][0][0]) for book in books)


@pytest.mark.usefixtures("asked_nothing")
def test_two_exchanges_are_asked_at_once(market_exchange: SimulatedExchange) -> None:
    async def ask() -> tuple[list[dict[str, str]], dict[str, object]]:
        async with aiohttp.ClientSession() as session:

            async def get(url: str) -> object:
                async with session.get(url) as answer:
                    return await answer.json()

            return await asyncio.gather(  # type: ignore[return-value]
                get(market_exchange.url("binance") + "/api/v3/trades?symbol=ETHUSDT&limit=20"),
                get(market_exchange.url("kraken") + "/0/public/Ticker?pair=XBTUSD"),
            )

    trades, ticker = asyncio.run(ask())
    assert len(trades) == 20
    assert ticker["error"] == []


@pytest.mark.usefixtures("asked_nothing")
def test_errors_keep_the_shape_of_their_venue(market_exchange: SimulatedExchange) -> None:
    wrong = httpx.get(market_exchange.url("binance") + "/api/v3/depth", params={"symbol": "NOSUCHCOIN"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, -1121)
    unknown = httpx.post(market_exchange.url("kraken") + "/0/public/Depth", data={"pair": "NOSUCHPAIR"})
    assert unknown.json()["error"] == ["EQuery:Unknown asset pair"]


@pytest.mark.usefixtures("asked_nothing")
def test_a_signed_request_replays_with_another_timestamp(market_exchange: SimulatedExchange) -> None:
    query = urlencode({"timestamp": time.time_ns() // 1_000_000, "recvWindow": 5000})
    secret = market_exchange.api_secret("binance").encode()
    signature = hmac.new(secret, query.encode(), hashlib.sha256).hexdigest()
    account = requests.get(
        f"{market_exchange.url('binance')}/api/v3/account?{query}&signature={signature}",
        headers={"X-MBX-APIKEY": market_exchange.api_key("binance")},
    )
    assert account.status_code == 200
    assert {balance["asset"] for balance in account.json()["balances"]} >= {"BTC", "USDT"}
