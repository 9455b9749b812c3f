"""The streams through the clients people use, unmodified but for their URLs."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest

from pytest_marketreplay.exchange import SimulatedExchange


def redirected(value: Any, base: str) -> Any:
    """Put another host before every URL of ccxt's nested table, and keep the paths."""
    if isinstance(value, dict):
        return {name: redirected(each, base) for name, each in value.items()}
    return base + urlsplit(value).path if isinstance(value, str) else value


@pytest.mark.parametrize(("venue", "symbol"), [("binance", "BTC/USDT"), ("kraken", "BTC/USD")])
def test_ccxt_pro_watches_the_book_trades_ticker_and_candles(venue: str, symbol: str) -> None:
    pro = pytest.importorskip("ccxt.pro", reason="ccxt.pro is not installed")

    async def watch(exchange: SimulatedExchange) -> None:
        client = getattr(pro, venue)({"enableRateLimit": False})
        streams = redirected(client.urls["api"].pop("ws"), exchange.ws_url(venue))
        client.urls["api"] = {**redirected(client.urls["api"], exchange.url(venue)), "ws": streams}
        try:
            for _ in range(5):
                book = await client.watch_order_book(symbol)
                assert book["bids"][0][0] < book["asks"][0][0]
            trades = [(await client.watch_trades(symbol))[-1] for _ in range(3)]
            assert len({trade["id"] for trade in trades}) == 3
            assert abs((await client.watch_ticker(symbol))["last"] / trades[-1]["price"] - 1) < 0.01
            assert (await client.watch_ohlcv(symbol, "1m"))[-1][5] > 0
            assert len(exchange.streams(venue)) >= 1
        finally:
            await client.close()

    with SimulatedExchange(step_every=0.005) as exchange:
        asyncio.run(asyncio.wait_for(watch(exchange), 60))
