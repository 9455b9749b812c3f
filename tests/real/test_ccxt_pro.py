"""`ccxt.pro`, unmodified: a book, trades and a ticker watched live, while it is recorded, and without the exchange."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.exchange import SimulatedExchange

pro = pytest.importorskip("ccxt.pro")

SYMBOL = "BTC/USDT"
UPDATES = 8
LONGEST_S = 30.0


def at(urls: Any, base: str) -> Any:
    """Point every URL of a client at another host."""
    if isinstance(urls, dict):
        return {name: at(url, base) for name, url in urls.items()}
    if not isinstance(urls, str) or "://" not in urls:
        return urls
    scheme, _, rest = urls.partition("://")
    path = rest.partition("/")[2]
    return f"{base if scheme.startswith('http') else base.replace('http', 'ws', 1)}/{path}"


def goes_through(replayed: list[Any], recorded: list[Any]) -> bool:
    """Tell whether a replay passes through each recorded state, as far as it went.

    Frames that arrived in one packet are one state to a live client; replayed, each of them is one.
    """
    states = dict(replayed)
    reached = [(number, state) for number, state in recorded if number <= max(states)]
    return bool(reached) and all(states.get(number) == state for number, state in reached)


def together(updates: list[Any]) -> list[Any]:
    return [each for update in updates for each in update]


async def watch(base: str) -> dict[str, list[Any]]:
    exchange = pro.binance({"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}})
    exchange.urls["api"] = at(exchange.urls["api"], base)
    seen: dict[str, list[Any]] = {}

    async def take(name: str, ask: Callable[[str], Awaitable[Any]], told: Callable[[Any], Any]) -> None:
        seen[name] = [told(await ask(SYMBOL)) for _ in range(UPDATES)]

    try:
        async with asyncio.timeout(LONGEST_S):
            await exchange.load_markets()
            await take(
                "book", exchange.watch_order_book, lambda book: (book["nonce"], (book["bids"][:5], book["asks"][:5]))
            )
            await take("trades", exchange.watch_trades, lambda trades: [(each["id"], each["price"]) for each in trades])
            await take("ticker", exchange.watch_ticker, lambda ticker: (ticker["timestamp"], ticker["last"]))
    finally:
        await exchange.close()
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"clock": "recording"}, {"clock": "recording", "order": "time"}], ids=str)
def test_what_is_watched_recorded_is_watched_again_without_the_exchange_and_five_times_as_fast(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    with SimulatedExchange(step_every=0.03) as exchange:
        base = exchange.url("binance")
        hosts = {base.removeprefix("http://"): "binance"}
        with use_cassette(tmp_path / "c", mode="rewrite", hosts=hosts):
            started = time.perf_counter()
            recorded = asyncio.run(watch(base))
            took = time.perf_counter() - started
    with use_cassette(tmp_path / "c", hosts=hosts, **settings) as session:
        started = time.perf_counter()
        replayed = asyncio.run(watch(base))
        assert time.perf_counter() - started < took / 5
        assert session.refusals == []
    assert [len(updates) for updates in replayed.values()] == [UPDATES] * 3
    assert goes_through(replayed["book"], recorded["book"])
    assert goes_through(replayed["ticker"], recorded["ticker"])
    trades = together(replayed["trades"])
    assert trades == together(recorded["trades"])[: len(trades)]
