"""How each venue streams its market: URL, subscriptions and their acknowledgements, heartbeats, the snapshot a book joins.

Sources: Binance, "WebSocket Streams for Binance" and "How to manage a local order book correctly" (spot; Binance.US has a
page of the same name); USD-M Futures, "Websocket Market Streams". Kraken, "Spot WebSockets v1": Book, Trade, Ping. OKX V5
API, "WebSocket": Connect, Subscribe, Notification; "Order book channel", "Trades channel". Bybit V5 API, "WebSocket
Stream": Connect, Orderbook, Trade. Coinbase, "Advanced Trade WebSocket Overview" and "Channels". Bitstamp, "WebSocket
API v2": Subscriptions, Heartbeat, Forced reconnection.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import orjson

from pytest_marketreplay.venues.streaming import Channel, Message, Streaming, Verdict

DAY_S = 86_400.0


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


class BinanceStreaming(Streaming):
    """Streams stand in the URL; `SUBSCRIBE` and `UNSUBSCRIBE` change them ("Live Subscribing/Unsubscribing")."""

    ws = "wss://stream.binance.com:9443"
    rest = "https://api.binance.com"
    lifetime_s = DAY_S
    depths: ClassVar[tuple[int, ...]] = (100, 500, 1000, 5000)
    trade_ids = "contiguous"
    depth_path: ClassVar[str] = "/api/v3/depth"
    trade_stream: ClassVar[str] = "trade"

    def wire(self, pair: str) -> str:
        """Return `btcusdt`: "All symbols for streams are lowercase"."""
        return re.sub("[-/_]", "", pair).lower()

    def _names(self, pairs: Sequence[str], channels: Sequence[Channel]) -> list[str]:
        kinds = {"depth": "depth@100ms", "trades": self.trade_stream}
        return [f"{self.wire(pair)}@{kinds[channel]}" for pair in pairs for channel in channels]

    def path(self, pairs: Sequence[str], channels: Sequence[Channel]) -> str:
        """Return the combined stream of all."""
        return "/stream?streams=" + "/".join(self._names(pairs, channels))

    def subscribe(
        self, pairs: Sequence[str], channels: Sequence[Channel], number: int, *, opening: bool = False
    ) -> list[Message]:
        """Return one message, or none where the URL says it all."""
        return [] if opening else [self._control("SUBSCRIBE", pairs, channels, number)]

    def unsubscribe(self, pairs: Sequence[str], channels: Sequence[Channel], number: int) -> list[Message]:
        """Return one message."""
        return [self._control("UNSUBSCRIBE", pairs, channels, number)]

    def _control(self, method: str, pairs: Sequence[str], channels: Sequence[Channel], number: int) -> Message:
        text = _json({"method": method, "params": self._names(pairs, channels), "id": number})
        return Message(text, (str(number),) if method == "SUBSCRIBE" else ())

    def verdict(self, message: Any) -> Verdict | None:
        """Read `{"result": null, "id": 1}`, or an `error` with the id."""
        if not isinstance(message, dict) or "id" not in message or not message.keys() & {"result", "error", "code"}:
            return None
        wrong = message.get("error") or (message if "code" in message else None)
        said = wrong.get("msg", wrong) if isinstance(wrong, dict) else wrong
        return Verdict(str(message["id"]), None if said is None else str(said))

    def farewell(self, message: Any) -> str | None:
        """Obey `serverShutdown`: "establish a new connection as soon as possible"."""
        said = message.get("data", message) if isinstance(message, dict) else None
        return "serverShutdown" if isinstance(said, dict) and said.get("e") == "serverShutdown" else None

    def snapshot(self, pair: str) -> str | None:
        """Return the depth snapshot of "How to manage a local order book correctly"."""
        return f"{self.depth_path}?symbol={self.wire(pair).upper()}&limit={self.levels}"


class BinanceUsStreaming(BinanceStreaming):
    """As Binance."""

    ws = "wss://stream.binance.us:9443"
    rest = "https://api.binance.us"


class BinanceFuturesStreaming(BinanceStreaming):
    """USD-M futures: aggregate trades (there is no other documented trade stream), snapshots of at most 1000 levels."""

    ws = "wss://fstream.binance.com"
    rest = "https://fapi.binance.com"
    depths = (100, 500, 1000)
    depth_path = "/fapi/v1/depth"
    trade_stream = "aggTrade"


class KrakenStreaming(Streaming):
    """Version 1: the stream sends the book first; a checksum of its ten best levels comes with every diff."""

    ws = "wss://ws.kraken.com"
    depths = (10, 25, 100, 500, 1000)

    def wire(self, pair: str) -> str:
        """Return `XBT/USD`: Kraken's own names of BTC and DOGE."""
        base, _, quote = pair.upper().replace("/", "-").partition("-")
        own = {"BTC": "XBT", "DOGE": "XDG"}
        return f"{own.get(base, base)}/{own.get(quote, quote)}"

    def subscribe(
        self, pairs: Sequence[str], channels: Sequence[Channel], number: int, *, opening: bool = False
    ) -> list[Message]:
        """Return a message for each channel."""
        return self._events("subscribe", pairs, channels, number)

    def unsubscribe(self, pairs: Sequence[str], channels: Sequence[Channel], number: int) -> list[Message]:
        """Return a message for each channel."""
        return self._events("unsubscribe", pairs, channels, number)

    def _events(self, event: str, pairs: Sequence[str], channels: Sequence[Channel], number: int) -> list[Message]:
        out = []
        names = [self.wire(pair) for pair in pairs]
        for channel in channels:
            what = {"name": "book", "depth": self.levels} if channel == "depth" else {"name": "trade"}
            text = _json({"event": event, "reqid": number, "pair": names, "subscription": what})
            expects = [f"subscribed {what['name']} {name}" for name in names]
            out.append(Message(text, tuple(expects) if event == "subscribe" else ()))
        return out

    def verdict(self, message: Any) -> Verdict | None:
        """Read a `subscriptionStatus`, one for each pair."""
        if not isinstance(message, dict) or message.get("event") != "subscriptionStatus":
            return None
        what = f"{message.get('subscription', {}).get('name')} {message.get('pair')}"
        if message.get("status") == "error":
            return Verdict(f"subscribed {what}", str(message.get("errorMessage")))
        return Verdict(f"{message.get('status')} {what}")

    def ping(self, number: int) -> str | None:
        """Return version 1's own ping."""
        return _json({"event": "ping", "reqid": number})


class OkxStreaming(Streaming):
    """Channel `books` (400 levels, chained by `prevSeqId`, with a checksum) and `trades`."""

    ws = "wss://ws.okx.com:8443"

    def path(self, pairs: Sequence[str], channels: Sequence[Channel]) -> str:
        """Return the path of the public channels."""
        return "/ws/v5/public"

    def subscribe(
        self, pairs: Sequence[str], channels: Sequence[Channel], number: int, *, opening: bool = False
    ) -> list[Message]:
        """Return one message."""
        return [self._op("subscribe", pairs, channels)]

    def unsubscribe(self, pairs: Sequence[str], channels: Sequence[Channel], number: int) -> list[Message]:
        """Return one message."""
        return [self._op("unsubscribe", pairs, channels)]

    def _op(self, op: str, pairs: Sequence[str], channels: Sequence[Channel]) -> Message:
        names = {"depth": "books", "trades": "trades"}
        args = [{"channel": names[channel], "instId": self.wire(pair)} for pair in pairs for channel in channels]
        expects = [f"subscribe {arg['channel']} {arg['instId']}" for arg in args]
        return Message(_json({"op": op, "args": args}), tuple(expects) if op == "subscribe" else ())

    def verdict(self, message: Any) -> Verdict | None:
        """Read the `event` for each argument; an error names none, so it stands for whatever is still waited for."""
        if not isinstance(message, dict) or message.get("event") not in ("subscribe", "unsubscribe", "error"):
            return None
        arg = message.get("arg") or {}
        if message["event"] == "error":
            return Verdict("", f"{message.get('code')} {message.get('msg')}")
        return Verdict(f"{message['event']} {arg.get('channel')} {arg.get('instId')}")

    def ping(self, number: int) -> str | None:
        """Return the text `ping`, due within 30 seconds of silence."""
        return "ping"

    def farewell(self, message: Any) -> str | None:
        """Obey the notice of an upgrade (64008), which comes 60 seconds before the cut."""
        notice = isinstance(message, dict) and message.get("event") == "notice"
        return f"{message.get('code')} {message.get('msg')}" if notice else None


class BybitStreaming(Streaming):
    """Spot: `orderbook.<depth>.<symbol>`, whose `u` counts, and `publicTrade.<symbol>`; at most ten topics a message."""

    ws = "wss://stream.bybit.com"
    depths = (50, 200, 1000)

    def wire(self, pair: str) -> str:
        """Return `BTCUSDT`."""
        return re.sub("[-/_]", "", pair).upper()

    def path(self, pairs: Sequence[str], channels: Sequence[Channel]) -> str:
        """Return the path of the public spot topics."""
        return "/v5/public/spot"

    def subscribe(
        self, pairs: Sequence[str], channels: Sequence[Channel], number: int, *, opening: bool = False
    ) -> list[Message]:
        """Return a message for each ten topics."""
        return self._op("subscribe", pairs, channels, number)

    def unsubscribe(self, pairs: Sequence[str], channels: Sequence[Channel], number: int) -> list[Message]:
        """Return a message for each ten topics."""
        return self._op("unsubscribe", pairs, channels, number)

    def _op(self, op: str, pairs: Sequence[str], channels: Sequence[Channel], number: int) -> list[Message]:
        kinds = {"depth": f"orderbook.{self.levels}", "trades": "publicTrade"}
        topics = [f"{kinds[channel]}.{self.wire(pair)}" for pair in pairs for channel in channels]
        out = []
        for start in range(0, len(topics), 10):
            key = f"{number}-{start}"
            text = _json({"req_id": key, "op": op, "args": topics[start : start + 10]})
            out.append(Message(text, (key,) if op == "subscribe" else ()))
        return out

    def verdict(self, message: Any) -> Verdict | None:
        """Read `success` and the number of the request."""
        if not isinstance(message, dict) or message.get("op") not in ("subscribe", "unsubscribe"):
            return None
        return Verdict(str(message.get("req_id")), None if message.get("success") else str(message.get("ret_msg")))

    def ping(self, number: int) -> str | None:
        """Return Bybit's own ping, recommended every 20 seconds."""
        return _json({"req_id": str(number), "op": "ping"})


class CoinbaseStreaming(Streaming):
    """Advanced Trade: `level2` and `market_trades` without a login; `heartbeats` keep a quiet connection open."""

    ws = "wss://advanced-trade-ws.coinbase.com"
    _names: ClassVar[dict[Channel, str]] = {"depth": "level2", "trades": "market_trades"}

    def subscribe(
        self, pairs: Sequence[str], channels: Sequence[Channel], number: int, *, opening: bool = False
    ) -> list[Message]:
        """Return a message for each channel: "you can subscribe to one channel at a time"."""
        beats = [Message(_json({"type": "subscribe", "channel": "heartbeats"}), ("*",))] if opening else []
        return beats + self._of("subscribe", pairs, channels)

    def unsubscribe(self, pairs: Sequence[str], channels: Sequence[Channel], number: int) -> list[Message]:
        """Return a message for each channel."""
        return self._of("unsubscribe", pairs, channels)

    def _of(self, kind: str, pairs: Sequence[str], channels: Sequence[Channel]) -> list[Message]:
        products = [self.wire(pair) for pair in pairs]
        return [
            # each answer lists all that is subscribed: only that there is one can be waited for
            Message(
                _json({"type": kind, "product_ids": products, "channel": self._names[channel]}),
                ("*",) if kind == "subscribe" else (),
            )
            for channel in channels
        ]

    def verdict(self, message: Any) -> Verdict | None:
        """Read the `subscriptions` message, or an error."""
        if not isinstance(message, dict):
            return None
        if message.get("type") == "error":
            return Verdict("", str(message.get("message")))
        return Verdict("*") if message.get("channel") == "subscriptions" else None


class BitstampStreaming(Streaming):
    """Channels `diff_order_book_btcusd` and `live_trades_btcusd`; the book joins a REST snapshot by `microtimestamp`."""

    ws = "wss://ws.bitstamp.net"
    rest = "https://www.bitstamp.net"
    lifetime_s = 90 * DAY_S
    trade_ids = "rising"
    _names: ClassVar[dict[Channel, str]] = {"depth": "diff_order_book", "trades": "live_trades"}

    def wire(self, pair: str) -> str:
        """Return `btcusd`."""
        return re.sub("[-/_]", "", pair).lower()

    def subscribe(
        self, pairs: Sequence[str], channels: Sequence[Channel], number: int, *, opening: bool = False
    ) -> list[Message]:
        """Return a message for each stream."""
        return self._events("subscribe", pairs, channels)

    def unsubscribe(self, pairs: Sequence[str], channels: Sequence[Channel], number: int) -> list[Message]:
        """Return a message for each stream."""
        return self._events("unsubscribe", pairs, channels)

    def _events(self, verb: str, pairs: Sequence[str], channels: Sequence[Channel]) -> list[Message]:
        names = [f"{self._names[channel]}_{self.wire(pair)}" for pair in pairs for channel in channels]
        return [
            Message(
                _json({"event": f"bts:{verb}", "data": {"channel": name}}),
                (f"bts:subscription_succeeded {name}",) if verb == "subscribe" else (),
            )
            for name in names
        ]

    def verdict(self, message: Any) -> Verdict | None:
        """Read `bts:subscription_succeeded` and its like, or `bts:error`."""
        event = message.get("event") if isinstance(message, dict) else None
        if event == "bts:error":
            return Verdict("", str((message.get("data") or {}).get("message")))
        return Verdict(f"{event} {message.get('channel')}") if str(event).endswith("_succeeded") else None

    def farewell(self, message: Any) -> str | None:
        """Obey `bts:request_reconnect`, a few seconds before the cut."""
        asked = isinstance(message, dict) and message.get("event") == "bts:request_reconnect"
        return "bts:request_reconnect" if asked else None

    def snapshot(self, pair: str) -> str | None:
        """Return the path of the order book, all levels."""
        return f"/api/v2/order_book/{self.wire(pair)}/"


STREAMING: dict[str, type[Streaming]] = {
    "binance": BinanceStreaming,
    "binance_us": BinanceUsStreaming,
    "binance_futures": BinanceFuturesStreaming,
    "kraken": KrakenStreaming,
    "okx": OkxStreaming,
    "bybit": BybitStreaming,
    "coinbase": CoinbaseStreaming,
    "bitstamp": BitstampStreaming,
}
"""By name of the venue."""
