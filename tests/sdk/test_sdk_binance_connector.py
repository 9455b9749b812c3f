"""`binance-connector`: `Spot`, and streams in a thread of `websocket-client`."""

from __future__ import annotations

import json
import threading
from typing import Any, ClassVar

from .contract import StreamContract
from .needed import needed
from .stage import Play, Stage

# python-binance installs a package `binance` too, without these modules
spot = needed("binance-connector", "binance.spot")
stream = needed("binance-connector", "binance.websocket.spot.websocket_stream")

LONGEST_S = 60.0


def rest(stage: Stage) -> list[Any]:
    client = spot.Spot(api_key=stage.key, api_secret=stage.secret, base_url=stage.rest)
    order = {"timeInForce": "GTC", "quantity": "0.01", "price": "50000.00"}
    try:
        got = [
            client.time(),
            client.exchange_info(symbol="BTCUSDT"),
            client.depth("BTCUSDT", limit=10),
            client.depth("ETHUSDT", limit=10),
            client.depth("BTCUSDT", limit=10),
            client.trades("BTCUSDT"),
            client.klines("BTCUSDT", "1m"),
            client.account(),
            client.new_order("BTCUSDT", "BUY", "LIMIT", **order),
        ]
        got.append(client.get_open_orders("BTCUSDT"))
        assert got[-1][0]["orderId"] == got[-2]["orderId"]
        got.append(client.cancel_order("BTCUSDT", orderId=got[-2]["orderId"]))
        return got
    finally:
        client.session.close()


def callbacks(depth_of: str, ticker_of: str, messages: int, *, is_combined: bool) -> Any:
    """Make a story of a client that subscribes by message and hears in a thread."""

    def story(stage: Stage) -> list[Any]:
        got: list[Any] = []
        enough = threading.Event()

        def heard(_: Any, text: str) -> None:
            message = json.loads(text)
            if len(got) < messages and "id" not in message:  # an answer's id is the time at which it was asked
                got.append(message)
                if len(got) == messages:
                    enough.set()

        client = stream.SpotWebsocketStreamClient(stream_url=stage.ws, on_message=heard, is_combined=is_combined)
        with stage.listening():
            client.diff_book_depth(depth_of, speed=100)
            client.book_ticker(ticker_of)
            assert enough.wait(LONGEST_S)
        client.stop()
        client.socket_manager.ws.shutdown()  # the client leaves its socket open
        return got

    return story


class TestBinanceConnector(StreamContract):
    plays: ClassVar[dict[str, Play]] = {
        "rest": Play("binance", rest),
        "raw": Play("binance", callbacks("btcusdt", "ethusdt", 100, is_combined=False), streams=True),
        "combined": Play("binance", callbacks("btcusdt", "ethusdt", 100, is_combined=True), streams=True),
        "real-data": Play(
            "binance", callbacks("veteth", "aaveupusdt", 150, is_combined=True), streams=True, real_speed=10
        ),
    }
