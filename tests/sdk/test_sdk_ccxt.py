"""`ccxt` sync and async, and `ccxt.pro`: what a bot watches and asks, at Binance and Kraken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar
from urllib.parse import urlsplit

from .contract import StreamContract
from .needed import needed
from .stage import Play, Stage

ccxt = needed("ccxt", "ccxt")
asynchronous = needed("ccxt", "ccxt.async_support")
pro = needed("ccxt", "ccxt.pro")

SYMBOLS = {"binance": "BTC/USDT", "kraken": "BTC/USD"}
SPOT = {"fetchMarkets": {"types": ["spot"]}}
BOOKS = 60
LONGEST_S = 60.0


def pointed_at(value: Any, base: str) -> Any:
    """Put another host before every URL of ccxt's nested table, and keep the paths."""
    if isinstance(value, dict):
        return {name: pointed_at(each, base) for name, each in value.items()}
    return base + urlsplit(value).path if isinstance(value, str) else value


def exchange(module: Any, stage: Stage, **config: Any) -> Any:
    made = getattr(module, stage.venue)(
        {"enableRateLimit": False, "apiKey": stage.key, "secret": stage.secret, "options": SPOT, **config}
    )
    streams = made.urls["api"].pop("ws", None)
    made.urls["api"] = pointed_at(made.urls["api"], stage.rest)
    if streams is not None:
        made.urls["api"]["ws"] = pointed_at(streams, stage.ws)
    return made


# REST


def questions(symbol: str) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    return (
        ("load_markets", ()),
        ("fetch_time", ()),
        ("fetch_order_book", (symbol, 10)),
        ("fetch_order_book", (symbol, 10)),  # it has moved
        ("fetch_ticker", (symbol,)),
        ("fetch_trades", (symbol,)),
        ("fetch_ohlcv", (symbol, "1m")),
        ("fetch_balance", ()),
        ("create_order", (symbol, "limit", "buy", 0.01, 50_000)),
        ("fetch_open_orders", (symbol,)),
    )


def sync_rest(stage: Stage) -> list[Any]:
    client = exchange(ccxt, stage)
    try:
        got = [getattr(client, method)(*arguments) for method, arguments in questions(SYMBOLS[stage.venue])]
        assert got[8]["id"] == got[9][0]["id"]
        got += [client.cancel_order(got[8]["id"], SYMBOLS[stage.venue]), client.fetch_open_orders(SYMBOLS[stage.venue])]
        return got
    finally:
        client.session.close()


def async_rest(stage: Stage) -> list[Any]:
    async def ask() -> list[Any]:
        async with exchange(asynchronous, stage) as client:
            return [await getattr(client, method)(*arguments) for method, arguments in questions(SYMBOLS[stage.venue])]

    return asyncio.run(ask())


# Streams

Books = list[tuple[Any, ...]]
"""Of each book that was watched: its update id first."""


async def watch_books(client: Any, symbol: str, got: Books) -> None:
    while len(got) < BOOKS:
        book = await client.watch_order_book(symbol)
        # ccxt changes the levels in place, so those that were shown are copied
        sides = ([tuple(level) for level in book[side][:5]] for side in ("bids", "asks"))
        got.append((book["nonce"], book["timestamp"], *sides))


async def watch_trades(client: Any, symbol: str, got: list[Any]) -> None:
    while len(got) < BOOKS:
        got += [dict(trade) for trade in await client.watch_trades(symbol)]


async def watch_ticker(client: Any, symbol: str, got: list[Any]) -> None:
    while len(got) < BOOKS // 10:
        got.append(dict(await client.watch_ticker(symbol)))


Watch = Callable[[Any, str, list[Any]], Awaitable[None]]


def streams(*watching: tuple[Watch, str], **config: Any) -> Callable[[Stage], list[list[Any]]]:
    """Make a story that watches all of these at once, each until it has enough."""

    def story(stage: Stage) -> list[list[Any]]:
        got: list[list[Any]] = [[] for _ in watching]

        async def run() -> None:
            async with exchange(pro, stage, **config) as client:
                client.has["fetchCurrencies"] = False  # the real data has no lists of currencies
                await client.load_markets()
                with stage.listening():
                    tasks = (watch(client, symbol, into) for (watch, symbol), into in zip(watching, got, strict=True))
                    await asyncio.wait_for(asyncio.gather(*tasks), LONGEST_S)

        asyncio.run(run())
        return got

    return story


def is_same_market(live: list[list[Any]], again: list[list[Any]]) -> bool:
    """Compare what was watched: all that ccxt showed live it shows again, in the same order.

    ccxt.pro shows a book when the task that awaits it runs: of two updates that come at once it shows the second. A
    replay gives one at a time, so that it shows books and tickers that were skipped live, and has enough earlier.
    """
    return all(_is_shown_again(one, other) for one, other in zip(live, again, strict=True))


def begins_later(live: list[list[Any]], again: list[list[Any]]) -> bool:
    """Compare what was watched, where a sleep before the first answer was not as long as live, to the millisecond."""
    return all(_is_shown_again(one, other, may_begin_later=True) for one, other in zip(live, again, strict=True))


def _is_shown_again(live: list[Any], again: list[Any], *, may_begin_later: bool = False) -> bool:
    places = [again.index(one) if one in again else -1 for one in live]
    found = [number for number, place in enumerate(places) if place >= 0]
    if not found or (found[0] and not may_begin_later):
        return False
    both = places[found[0] : found[-1] + 1]  # what is left had not come when the replay had enough
    return both == sorted(both) and -1 not in both and len(both) >= len(live) // 2


def everything(symbol: str) -> tuple[tuple[Watch, str], ...]:
    return (watch_books, symbol), (watch_trades, symbol), (watch_ticker, symbol)


REST = {
    f"{name}-{venue}": Play(venue, story)
    for venue in SYMBOLS
    for name, story in (("sync", sync_rest), ("async", async_rest))
}
STREAMS = {
    f"pro-{venue}": Play(venue, streams(*everything(symbol)), streams=True, same=is_same_market)
    for venue, symbol in SYMBOLS.items()
}
LIMITED = Play(
    "binance",
    streams(*everything(SYMBOLS["binance"]), enableRateLimit=True),
    streams=True,
    # its own limiter sleeps before it asks for the first book: on the system clock that is real time, in which virtual
    # pace has played the tape
    clocks=("recording",),
    same=begins_later,
)
REAL = Play("binance", streams((watch_books, "VET/ETH")), streams=True, real_speed=3, same=is_same_market)


class TestCcxt(StreamContract):
    plays: ClassVar[dict[str, Play]] = {**REST, **STREAMS, "pro-limited": LIMITED, "pro-real-data": REAL}
