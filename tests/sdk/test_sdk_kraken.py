"""`python-kraken-sdk`: `Market`, `SpotAsyncClient`, `SpotWSClient` and `SpotOrderBookClient`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from .contract import StreamContract
from .needed import needed
from .stage import Play, Stage

spot = needed("python-kraken-sdk", "kraken.spot")

MESSAGES = 300
UPDATES = 60
LONGEST_S = 60.0


@contextmanager
def closing(client: Any) -> Iterator[None]:
    """Close a client's session, which it leaves to the garbage collector."""
    try:
        yield
    finally:
        client._SpotClient__session.close()


def sync_rest(stage: Stage) -> list[Any]:
    market = spot.Market(url=stage.rest)
    user = spot.User(key=stage.key, secret=stage.secret, url=stage.rest)
    trade = spot.Trade(key=stage.key, secret=stage.secret, url=stage.rest)
    with closing(market), closing(user), closing(trade):
        got = [
            market.get_system_status(),
            market.get_asset_pairs(pair="XBTUSD"),
            market.get_order_book(pair="XBTUSD", count=5),
            market.get_order_book(pair="ETHUSD", count=5),
            market.get_order_book(pair="XBTUSD", count=5),
            market.get_ticker(pair="XBTUSD"),
            market.get_ohlc(pair="XBTUSD", interval=1),
            user.get_account_balance(),
            trade.create_order(ordertype="limit", side="buy", pair="XBTUSD", volume=0.5, price=100),
            user.get_open_orders(),
        ]
        placed = got[-2]["txid"][0]
        assert placed in got[-1]["open"]
        return [*got, trade.cancel_order(txid=placed), user.get_open_orders()]


def async_rest(stage: Stage) -> list[Any]:
    async def ask() -> list[Any]:
        async with spot.SpotAsyncClient(key=stage.key, secret=stage.secret, url=stage.rest) as client:
            one_by_one = [
                await client.request("GET", "/0/public/Depth", params={"pair": pair, "count": 5}, auth=False)
                for pair in ("XBTUSD", "ETHUSD", "XBTUSD")
            ]
            one_by_one.append(await client.request("POST", "/0/private/Balance"))
            pairs = ("XBTUSD", "ETHUSD")
            at_once = await asyncio.gather(
                *(client.request("GET", "/0/public/Ticker", params={"pair": pair}, auth=False) for pair in pairs)
            )
            return [*one_by_one, *at_once]

    return asyncio.run(ask())


def listen(stage: Stage) -> list[Any]:
    """Take what the callback is called with, up to a number of messages of the market."""

    async def run() -> list[Any]:
        got: list[Any] = []
        enough = asyncio.Event()

        async def heard(message: Any) -> None:
            if len(got) < MESSAGES and message.get("channel") in ("book", "trade", "ticker"):
                got.append(message)
                if len(got) == MESSAGES:
                    enough.set()

        client = spot.SpotWSClient(callback=heard, rest_url=stage.rest, ws_url=stage.ws)
        await client.start()
        with stage.listening():
            await client.subscribe(params={"channel": "book", "symbol": ["BTC/USD", "ETH/USD"], "depth": 10})
            await client.subscribe(params={"channel": "trade", "symbol": ["BTC/USD"]})
            await client.subscribe(params={"channel": "ticker", "symbol": ["BTC/USD"]})
            await asyncio.wait_for(enough.wait(), LONGEST_S)
        await client.close()
        return got

    return asyncio.run(run())


def keep_books(stage: Stage) -> list[Any]:
    """Keep a book, which the client checks against the venue's checksum at every update."""

    async def run() -> list[Any]:
        got: list[Any] = []
        enough = asyncio.Event()

        class Books(spot.SpotOrderBookClient):  # type: ignore[misc]
            WS_URL = stage.ws

            async def on_book_update(self, pair: str, message: Any) -> None:
                assert "error" not in message
                if len(got) < UPDATES:
                    book = self.get(pair=pair)
                    assert book["valid"]
                    got.append((message, list(book["bid"].items()), list(book["ask"].items())))
                    if len(got) == UPDATES:
                        enough.set()

        client = Books(depth=10)
        market = spot.Market(url=stage.rest)
        client._SpotOrderBookClient__market = market  # it takes no address
        await client.start()
        with stage.listening(), closing(market):
            await client.add_book(pairs=["BTC/USD"])
            await asyncio.wait_for(enough.wait(), LONGEST_S)
        await client.close()
        return got

    return asyncio.run(run())


class TestKrakenSdk(StreamContract):
    plays: ClassVar[dict[str, Play]] = {
        "sync": Play("kraken", sync_rest),
        "async": Play("kraken", async_rest),
        "stream": Play("kraken", listen, streams=True),
        "books": Play("kraken", keep_books, streams=True),
    }
