"""Version 2 of Kraken's WebSocket: objects, numbers with all their digits, names such as `BTC/USD`.

Shapes: "Spot WebSocket v2" of the Kraken API documentation.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import orjson

from .kraken_books import DEPTHS
from .kraken_feeds_v2 import Book, Candles, Instruments, Ticker, Trades
from .kraken_market import OHLC_MINUTES
from .kraken_rules import KrakenRefusal, modern_name
from .kraken_streams import KrakenFeed, Subject, Talk
from .market import Market

_CHANNELS = ("book", "instrument", "ohlc", "ticker", "trade")
_DEFAULTS: dict[str, tuple[str, tuple[int | str, ...], int | str]] = {
    "book": ("depth", DEPTHS, 10),
    "ohlc": ("interval", OHLC_MINUTES, 1),
    "ticker": ("event_trigger", ("trades", "bbo"), "trades"),
}
_REFUSALS = {
    "book": "Subscription depth not supported",
    "ohlc": "Subscription ohlc interval not supported",
    "ticker": "Subscription event_trigger not supported",
}


class KrakenV2:
    """Speak version 2."""

    heartbeat: object = {"channel": "heartbeat"}

    def __init__(self, market: Market) -> None:
        self._market = market
        self._symbols = {modern_name(each.instrument): symbol for symbol, each in market.listings.items()}

    def greeting(self, number: int) -> object:
        """Tell that the exchange is online."""
        digest = hashlib.sha256(f"{self._market.seed}/connection/v2/{number}".encode()).digest()
        identity = int.from_bytes(digest[:8], "big")
        state = {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": identity}
        return {"channel": "status", "type": "update", "data": [state]}

    def label(self, subject: Subject) -> str:
        """Give the channel, its number and the pair."""
        channel = f"{subject.channel}-{subject.argument}" if subject.channel in ("book", "ohlc") else subject.channel
        if not subject.symbol:
            return channel
        return f"{channel} {modern_name(self._market.listings[subject.symbol].instrument)}"

    def feed(self, subject: Subject) -> KrakenFeed:
        """Make the feed of a channel."""
        if subject.channel == "instrument":
            return Instruments(self._market)
        listing = self._market.listings[subject.symbol]
        if subject.channel == "book":
            return Book(listing, int(subject.argument))
        if subject.channel == "ohlc":
            return Candles(listing, self._market, int(subject.argument))
        if subject.channel == "ticker":
            return Ticker(listing, self._market, on_trades=subject.argument == "trades")
        return Trades(listing)

    def heard(self, talk: Talk, text: str) -> None:
        """Answer a message."""
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            message = None
        if not isinstance(message, dict):
            talk.send({"error": "Malformed request", "success": False, **self._times()})
            return
        method, number = message.get("method"), message.get("req_id")
        named: dict[str, object] = {"req_id": number} if isinstance(number, int) else {}
        if method == "ping":
            talk.send({"method": "pong", **named, **self._times()})
        elif method in ("subscribe", "unsubscribe"):
            self._change(talk, message.get("params"), {"method": method, **named})
        else:
            talk.send({"error": "Unsupported method", "method": method, **named, "success": False, **self._times()})

    def _change(self, talk: Talk, params: object, head: dict[str, object]) -> None:
        begins = head["method"] == "subscribe"
        try:
            channel, name, argument, symbols, snapshot = self._read(params)
        except KrakenRefusal as refusal:
            talk.send({"error": refusal.error, **head, "success": False, **self._times()})
            return
        for symbol in symbols:
            try:
                if symbol is not None and symbol not in self._symbols:
                    raise KrakenRefusal(f"Currency pair not supported {symbol}")
                subject = Subject(channel, self._symbols[symbol] if symbol is not None else "", argument)
                if begins == (subject in talk.subjects):
                    raise KrakenRefusal("Already subscribed" if begins else "Subscription Not Found")
            except KrakenRefusal as refusal:
                about = {"symbol": symbol} if symbol is not None else {}
                talk.send({"error": refusal.error, **head, "success": False, **about, **self._times()})
                continue
            result: dict[str, object] = {"channel": channel}
            if name:
                result[name] = argument
            if begins:
                result["snapshot"] = snapshot
            if symbol is not None:
                result["symbol"] = symbol
            talk.send({**head, "result": result, "success": True, **self._times()})
            if begins:
                talk.subscribe(subject, snapshot=snapshot)
            else:
                talk.unsubscribe(subject)

    def _read(self, params: object) -> tuple[str, str, int | str, list[str | None], bool]:
        """Read the channel, its argument, the symbols and whether a snapshot is wanted; raises KrakenRefusal."""
        if not isinstance(params, dict):
            raise KrakenRefusal("Params field must be an object")
        channel = params.get("channel")
        if channel not in _CHANNELS:
            raise KrakenRefusal(f"Channel {channel} not supported")
        snapshot = params.get("snapshot", channel != "trade")
        if not isinstance(snapshot, bool):
            raise KrakenRefusal("Snapshot must be a boolean")
        name, legal, argument = _DEFAULTS.get(channel, ("", (), ""))
        if name:
            argument = params.get(name, argument)
            if isinstance(argument, bool) or argument not in legal:
                raise KrakenRefusal(_REFUSALS[channel])
        if channel == "instrument":
            return channel, name, argument, [None], snapshot
        symbols = params.get("symbol")
        if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
            raise KrakenRefusal("Symbol field must be an array")
        return channel, name, argument, list(symbols), snapshot

    def _times(self) -> dict[str, object]:
        moment = datetime.fromtimestamp(self._market.now_ms() / 1000, UTC)
        text = f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"
        return {"time_in": text, "time_out": text}
