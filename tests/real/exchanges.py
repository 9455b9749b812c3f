"""`ccxt` exchanges pointed at the data set's server, and what each of them can be asked there."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import ccxt
import ccxt.async_support


class Question(NamedTuple):
    """One call of a unified method."""

    method: str
    arguments: tuple[Any, ...] = ()


class Market(NamedTuple):
    """One `ccxt` exchange and the part of the data set that it can use."""

    name: str
    venue: str
    host: str
    """The Host header, by which the server tells venues apart."""
    markets: int
    """How many markets `load_markets` finds in the recorded reference data."""
    questions: tuple[Question, ...]
    options: dict[str, Any] = {}  # noqa: RUF012
    ignore_params: tuple[str, ...] = ()
    """What this method makes new in every call: `ccxt` asks Coinbase for the candles before now."""


def book(*symbols: str) -> tuple[Question, ...]:
    return tuple(Question("fetch_order_book", (symbol, 10)) for symbol in symbols)


SPOT = {"fetchMarkets": {"types": ["spot"]}}
MARKETS = {
    market.name: market
    for market in (
        Market(
            "binance",
            "binance",
            "api.binance.com",
            1695,
            (
                *book("BTC/USDT", "BLZ/ETH", "BTC/USDC"),
                Question("fetch_order_book", ("BTC/USDT",)),
                Question("fetch_ticker", ("LTC/BTC",)),
                Question("fetch_tickers"),
                Question("fetch_trades", ("BTC/USDT",)),
                Question("fetch_ohlcv", ("BTC/USDT", "1m")),
                Question("fetch_ohlcv", ("LTC/BTC", "1h")),
                Question("fetch_time"),
            ),
            SPOT,
        ),
        Market(
            "binanceus",
            "binance_us",
            "api.binance.us",
            121,
            book("COMP/USDT", "CRV/USDT", "OMG/BUSD", "ZRX/USDT"),
            SPOT,
        ),
        Market(
            "binanceusdm",
            "binance_futures",
            "fapi.binance.com",
            122,
            book("AKRO/USDT:USDT", "CTK/USDT:USDT", "KEEP/USDT:USDT", "SUSHI/USDT:USDT"),
            {"fetchMarkets": {"types": ["linear"]}},
        ),
        Market(
            "kraken",
            "kraken",
            "api.kraken.com",
            289,
            (
                *book("BTC/USDT"),
                Question("fetch_ticker", ("BTC/USDT",)),
                Question("fetch_trades", ("BTC/USDT",)),
                Question("fetch_ohlcv", ("BTC/USDT", "1m")),
                Question("fetch_time"),
                Question("fetch_status"),
            ),
        ),
        Market(
            "coinbase",
            "coinbase",
            "api.coinbase.com",
            4,
            (
                *book("BTC/USD"),
                Question("fetch_ticker", ("BTC/USD",)),
                Question("fetch_trades", ("BTC/USD",)),
                Question("fetch_ohlcv", ("BTC/USD", "1h")),
            ),
            ignore_params=("start", "end"),
        ),
        Market("coinbaseexchange", "coinbase_exchange", "api.gdax.com", 9, book("BTC/USD")),
        Market("okx", "okx", "www.okx.com", 783, ()),
        Market("bybit", "bybit", "api.bybit.com", 557, (), SPOT),
    )
}


def _pointed_at(urls: Any, base: str) -> Any:
    """Put another scheme and host before every path; the paths stay."""
    if isinstance(urls, dict):
        return {name: _pointed_at(value, base) for name, value in urls.items()}
    return re.sub(r"^https?://[^/]+", base, urls) if isinstance(urls, str) else urls


def make(module: Any, market: Market, base: str, **config: Any) -> Any:
    """Make an exchange of `ccxt` or `ccxt.async_support`, at a loopback address and without its own rate limiter."""
    exchange = getattr(module, market.name)({"enableRateLimit": False, "options": market.options, **config})
    exchange.urls["api"] = _pointed_at(exchange.urls["api"], base)
    exchange.headers = {"Host": market.host}
    exchange.has["fetchCurrencies"] = False  # the data set has no lists of currencies
    return exchange


def _outcome(error: Exception) -> tuple[str, str]:
    return type(error).__name__, str(error)


def ask(market: Market, base: str, questions: Iterable[Question], **config: Any) -> list[Any]:
    """Put questions to a new synchronous exchange; a `ccxt` error is an answer too: its class and text."""
    exchange = make(ccxt, market, base, **config)
    out: list[Any] = []
    try:
        for question in questions:
            try:
                out.append(getattr(exchange, question.method)(*question.arguments))
            except ccxt.BaseError as error:
                out.append(_outcome(error))
    finally:
        exchange.session.close()
    return out


def ask_async(market: Market, base: str, questions: Iterable[Question], **config: Any) -> list[Any]:
    """Put questions to a new asynchronous exchange."""

    async def run() -> list[Any]:
        exchange = make(ccxt.async_support, market, base, **config)
        out: list[Any] = []
        try:
            for question in questions:
                try:
                    out.append(await getattr(exchange, question.method)(*question.arguments))
                except ccxt.BaseError as error:
                    out.append(_outcome(error))
        finally:
            await exchange.close()
        return out

    return asyncio.run(run())


WAYS = {"sync": ask, "async": ask_async}
