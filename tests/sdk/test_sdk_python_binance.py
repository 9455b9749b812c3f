"""`python-binance`: `Client`, `AsyncClient` and the sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from .contract import StreamContract
from .needed import needed
from .stage import Play, Stage

# binance-connector installs a package `binance` too, without this module
async_client = needed("python-binance", "binance.async_client")
streams = needed("python-binance", "binance.ws.streams")
client_module = needed("python-binance", "binance.client")

LONGEST_S = 60.0

QUESTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("get_server_time", {}),
    ("get_exchange_info", {}),
    ("get_order_book", {"symbol": "BTCUSDT", "limit": 10}),
    ("get_order_book", {"symbol": "ETHUSDT", "limit": 10}),
    ("get_order_book", {"symbol": "BTCUSDT", "limit": 10}),
    ("get_recent_trades", {"symbol": "BTCUSDT"}),
    ("get_klines", {"symbol": "BTCUSDT", "interval": "1m"}),
    ("get_symbol_ticker", {"symbol": "BTCUSDT"}),
    ("get_account", {}),
    ("order_limit_buy", {"symbol": "BTCUSDT", "quantity": "0.01", "price": "50000.00"}),
    ("get_open_orders", {"symbol": "BTCUSDT"}),
)


def sync_rest(stage: Stage) -> list[Any]:
    client = client_module.Client(stage.key, stage.secret, ping=False)
    client.API_URL = f"{stage.rest}/api"
    try:
        got = [getattr(client, method)(**arguments) for method, arguments in QUESTIONS]
        placed = got[-1][0]["orderId"]
        got.append(client.cancel_order(symbol="BTCUSDT", orderId=placed))
        assert client.get_open_orders(symbol="BTCUSDT") == []
        return got
    finally:
        client.close_connection()
        client.loop.close()  # it made one, which it never runs nor closes
        asyncio.set_event_loop(None)


async def connected(stage: Stage) -> Any:
    """Make a client; it pings before anything can be set on it, so the address stands on its class."""

    class Client(async_client.AsyncClient):  # type: ignore[misc]
        API_URL = f"{stage.rest}/api"

    return await Client.create(stage.key, stage.secret)


def async_rest(stage: Stage) -> list[Any]:
    async def ask() -> list[Any]:
        client = await connected(stage)
        try:
            one_by_one = [await getattr(client, method)(**arguments) for method, arguments in QUESTIONS]
            at_once = await asyncio.gather(
                *(client.get_order_book(symbol=symbol) for symbol in ("BTCUSDT", "ETHUSDT", "BNBUSDT"))
            )
            return [*one_by_one, *at_once]
        finally:
            await client.close_connection()

    return asyncio.run(ask())


def sockets(messages: int, open_socket: Callable[[Any], Any]) -> Callable[[Stage], list[Any]]:
    """Make a story that takes so many messages from one socket."""

    def story(stage: Stage) -> list[Any]:
        async def listen() -> list[Any]:
            client = await connected(stage)
            manager = streams.BinanceSocketManager(client)
            manager.STREAM_URL = f"{stage.ws}/"
            try:
                async with open_socket(manager) as socket:
                    with stage.listening():
                        return [await asyncio.wait_for(socket.recv(), LONGEST_S) for _ in range(messages)]
            finally:
                await client.close_connection()

        return asyncio.run(listen())

    return story


REAL_STREAMS = ["veteth@depth@100ms", "veteth@bookTicker", "aaveupusdt@depth@100ms"]
STREAMS = ["btcusdt@depth@100ms", "ethusdt@trade", "bnbusdt@ticker"]


class TestPythonBinance(StreamContract):
    plays: ClassVar[dict[str, Play]] = {
        "sync": Play("binance", sync_rest),
        "async": Play("binance", async_rest),
        "depth": Play(
            "binance", sockets(60, lambda manager: manager.depth_socket("BTCUSDT", interval=100)), streams=True
        ),
        "multiplex": Play("binance", sockets(120, lambda manager: manager.multiplex_socket(STREAMS)), streams=True),
        "real-data": Play(
            "binance",
            sockets(300, lambda manager: manager.multiplex_socket(REAL_STREAMS)),
            streams=True,
            real_speed=10,
        ),
        # a candle is told every two seconds
        "kline": Play(
            "binance", sockets(4, lambda manager: manager.kline_socket("BTCUSDT", interval="1m")), streams=True
        ),
    }
