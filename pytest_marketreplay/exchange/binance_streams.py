"""Speak WebSocket as Binance's market streams do: paths, live subscriptions, pings, limits.

Rules: "General WSS information", "WebSocket Limits" and "Live Subscribing/Unsubscribing to streams" of the Binance
Spot documentation (web-socket-streams.md); the error frames stand in `error`, as they are sent on the wire.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

import orjson

from .account import Account, Execution, Fill, Order
from .binance_controls import BinanceMistake, Control, read_control
from .binance_feeds import Feed, find_feed
from .binance_reports import execution_report, position_report
from .connection import POLICY_VIOLATION, Connection
from .limits import Limits
from .listen_keys import ListenKeys
from .market import Market
from .streams import Moment, VenueStreams
from .wire import compact_json


@dataclass(slots=True)
class _Listener:
    """Hold what one connection asked for."""

    combined: bool
    streams: dict[str, None] = field(default_factory=dict)
    """Names in the order of subscription."""
    messages_s: deque[float] = field(default_factory=deque)
    """When the messages of the last second came."""
    pinged_s: float = 0.0
    ponged_s: float = 0.0


class BinanceStreams(VenueStreams):
    """Serve `/ws`, `/ws/<stream>/...`, `/stream` and `/stream?streams=<stream>/...`.

    A stream that does not exist is accepted and never sends, as at Binance.
    """

    def __init__(
        self, market: Market, account: Account, keys: ListenKeys, limits: Limits, real_time: Callable[[], float]
    ) -> None:
        super().__init__(market)
        self._account = account
        self._keys = keys
        self._known_key: str | None = None
        self._limits = limits
        self._real_time = real_time
        self._listeners: dict[Connection, _Listener] = {}
        self._feeds: dict[str, Feed] = {}
        account.watch(self._executed, self._moved)

    # Connections

    def serves(self, path: str) -> bool:
        """Know `/ws` and `/stream`, with or without what follows."""
        return path in ("/ws", "/stream", "/stream/") or path.startswith("/ws/")

    def opened(self, connection: Connection, query: str) -> None:
        """Subscribe to the streams of the URL."""
        now_s = self._real_time()
        combined = connection.path.startswith("/stream")
        listener = _Listener(combined, pinged_s=now_s, ponged_s=now_s)
        self.flush()
        self.connections.append(connection)
        self._listeners[connection] = listener
        named = dict(parse_qsl(query)).get("streams", "") if combined else unquote(connection.path[4:])
        self._subscribe(connection, [name for name in named.split("/") if name])

    def left(self, connection: Connection) -> None:
        """Forget a connection, and the feeds that nobody listens to any more."""
        super().left(connection)
        self._listeners.pop(connection, None)
        self._prune()

    def subscriptions(self, connection: Connection) -> Iterable[str]:
        """List the names of streams."""
        return tuple(self._listeners[connection].streams)

    # Control messages

    def heard(self, connection: Connection, text: str) -> None:
        """Answer a control message."""
        if self._too_many(connection):
            return
        try:
            control = read_control(text)
            result = self._obey(connection, control)
            answer: dict[str, object] = {"result": result, "id": control.id}
        except BinanceMistake as mistake:
            answer = mistake.answer()
        connection.send(compact_json(answer))

    def _obey(self, connection: Connection, control: Control) -> object:
        listener = self._listeners[connection]
        if control.method == "SUBSCRIBE":
            self.flush()  # so that a new stream begins after what happened before
            self._subscribe(connection, control.streams())
        elif control.method == "UNSUBSCRIBE":
            for name in control.streams():
                listener.streams.pop(name, None)
            self._prune()
        elif control.method == "LIST_SUBSCRIPTIONS":
            return list(listener.streams)
        elif control.method == "SET_PROPERTY":
            listener.combined = control.combined()
        else:
            control.known_property()
            return listener.combined
        return None

    def _subscribe(self, connection: Connection, names: list[str]) -> None:
        streams = self._listeners[connection].streams
        streams.update(dict.fromkeys(names))
        if len(streams) > self._limits.binance_streams:
            connection.close(POLICY_VIOLATION, "Too many streams")
            return
        for name in names:
            if name not in self._feeds:
                feed = find_feed(name, self._market.listings)
                if feed is not None:
                    self._feeds[name] = feed

    def _prune(self) -> None:
        wanted = {name for listener in self._listeners.values() for name in listener.streams}
        self._feeds = {name: feed for name, feed in self._feeds.items() if name in wanted}

    # Market data

    def publish(self, moment: Moment) -> None:
        """Send what every feed has to say, to each connection in the order of its subscriptions."""
        self._follow_the_key()
        by_symbol = {symbol: moment.only(symbol) for symbol in self._market.listings}
        said: dict[str, list[bytes]] = {}
        for name, feed in self._feeds.items():
            symbol = name.partition("@")[0].upper()
            said[name] = [compact_json(each) for each in feed.payloads(by_symbol.get(symbol, moment))]
        for connection in self.connections:
            for name in self._listeners[connection].streams:
                for payload in said.get(name, ()):
                    self._send(connection, name, payload)

    def _send(self, connection: Connection, name: str, payload: bytes) -> None:
        if self._listeners[connection].combined:
            payload = b'{"stream":' + orjson.dumps(name) + b',"data":' + payload + b"}"
        connection.send(payload)

    # User data

    def _executed(self, order: Order, execution: Execution, fill: Fill | None) -> None:
        instrument = self._market.listings[order.symbol].instrument
        self._tell(execution_report(instrument, order, execution, fill, self._market.now_ms()))

    def _moved(self, order: Order) -> None:
        instrument = self._market.listings[order.symbol].instrument
        self._tell(position_report(self._account, (instrument.base, instrument.quote), self._market.now_ms()))

    def _tell(self, report: object) -> None:
        key = self._keys.current
        for connection in self.connections:
            if key is not None and key in self._listeners[connection].streams:
                self._send(connection, key, compact_json(report))

    def flush(self) -> None:
        """Send what happened since the last call; a listen key that was closed ends its stream."""
        self._follow_the_key()
        super().flush()

    def _follow_the_key(self) -> None:
        gone, self._known_key = self._known_key, self._keys.current
        if gone is None or gone == self._known_key:
            return
        for connection in self.connections:
            streams = self._listeners[connection].streams
            if gone in streams:
                del streams[gone]
                if not streams:
                    connection.close(1000)

    # Pings and limits

    def pinged(self, connection: Connection, payload: bytes) -> None:
        """Answer a ping, which counts as a message."""
        if not self._too_many(connection):
            connection.pong(payload)

    def ponged(self, connection: Connection) -> None:
        """Note that the client is alive; a pong counts as a message."""
        self._listeners[connection].ponged_s = self._real_time()
        self._too_many(connection)

    def tick(self) -> None:
        """Ping each client every 20 seconds; one that does not answer within a minute is disconnected."""
        now_s, limits = self._real_time(), self._limits
        for connection, listener in self._listeners.items():
            if listener.pinged_s - listener.ponged_s > limits.binance_pong_s:
                connection.close(POLICY_VIOLATION, "Pong timeout")
            elif now_s - listener.pinged_s >= limits.binance_ping_s:
                listener.pinged_s = now_s
                connection.ping(f"{int(now_s * 1000)}".encode())

    def _too_many(self, connection: Connection) -> bool:
        """Count a message of a client; a client that sends more than its limit in a second is disconnected."""
        recent, now_s = self._listeners[connection].messages_s, self._real_time()
        recent.append(now_s)
        while now_s - recent[0] >= 1:
            recent.popleft()
        if len(recent) <= self._limits.binance_messages_per_s:
            return False
        connection.close(POLICY_VIOLATION, "Too many requests")
        return True
