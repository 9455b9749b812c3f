"""Version 1 of Kraken's WebSocket: arrays with a channel's name and a pair at their end, numbers as text.

Shapes and error texts: "Spot WebSocket v1" of the Kraken API documentation.
"""

from __future__ import annotations

import hashlib

import orjson

from .book import Level
from .decimals import decimal_text
from .instruments import Instrument
from .kraken_books import DEPTHS, BookView, LevelChange, checksum
from .kraken_market import OHLC_MINUTES
from .kraken_rules import KrakenRefusal
from .kraken_statistics import average_e8, last_candles, statistics
from .kraken_streams import KrakenFeed, Subject, Talk
from .listing import Listing
from .market import Market
from .streams import Moment
from .trades import MINUTE_MS, Trade

_CHANNELS = ("book", "ohlc", "spread", "ticker", "trade")
_NUMBERS = {"book": ("depth", DEPTHS, 10), "ohlc": ("interval", OHLC_MINUTES, 1)}


class KrakenV1:
    """Speak version 1."""

    heartbeat: object = {"event": "heartbeat"}

    def __init__(self, market: Market) -> None:
        self._market = market
        self._pairs = {listing.instrument.wsname: listing for listing in market.listings.values()}

    def greeting(self, number: int) -> object:
        """Tell that the exchange is online."""
        digest = hashlib.sha256(f"{self._market.seed}/connection/{number}".encode()).digest()
        identity = int.from_bytes(digest[:8], "big")
        return {"connectionID": identity, "event": "systemStatus", "status": "online", "version": "1.9.6"}

    def label(self, subject: Subject) -> str:
        """Give the channel's name and the pair."""
        return f"{_channel_name(subject)} {self._market.listings[subject.symbol].instrument.wsname}"

    def feed(self, subject: Subject) -> KrakenFeed:
        """Make the feed of a channel and pair."""
        listing = self._market.listings[subject.symbol]
        identity = self._channel_id(subject)
        if subject.channel == "book":
            return _Book(identity, subject, listing)
        return _FEEDS[subject.channel](identity, subject, listing, self._market)

    def heard(self, talk: Talk, text: str) -> None:
        """Answer a message."""
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            message = None
        if not isinstance(message, dict):
            talk.send({"errorMessage": "Malformed request", "event": "error"})
            return
        event, number = message.get("event"), message.get("reqid")
        named = {"reqid": number} if isinstance(number, int) else {}
        if event == "ping":
            talk.send({"event": "pong", **named})
        elif event in ("subscribe", "unsubscribe"):
            self._change(talk, message, named, begins=event == "subscribe")
        else:
            talk.send({"errorMessage": "Event(s) not found", "event": "error", **named})

    def _change(self, talk: Talk, message: dict[str, object], named: dict[str, int], *, begins: bool) -> None:
        wanted, pairs = message.get("subscription"), message.get("pair")
        try:
            channel, argument, shown = _read_subscription(wanted)
            if not isinstance(pairs, list):
                raise KrakenRefusal("Pair field must be an array")
        except KrakenRefusal as refusal:
            shown = wanted if isinstance(wanted, dict) else {}
            talk.send(_status({"errorMessage": refusal.error, **named, "status": "error", "subscription": shown}))
            return
        for pair in pairs:
            try:
                subject = Subject(channel, self._symbol(pair), argument)
                if begins == (subject in talk.subjects):
                    raise KrakenRefusal("Already subscribed" if begins else "Subscription Not Found")
            except KrakenRefusal as refusal:
                fields = {"errorMessage": refusal.error, "pair": pair, **named, "status": "error"}
                talk.send(_status({**fields, "subscription": shown}))
                continue
            state = "subscribed" if begins else "unsubscribed"
            fields = {"channelID": self._channel_id(subject), "channelName": _channel_name(subject), "pair": pair}
            talk.send(_status({**fields, **named, "status": state, "subscription": shown}))
            if begins:
                talk.subscribe(subject, snapshot=True)
            else:
                talk.unsubscribe(subject)

    def _symbol(self, pair: object) -> str:
        if not isinstance(pair, str) or "/" not in pair:
            raise KrakenRefusal(f"Currency pair not in ISO 4217-A3 format {pair}")
        if pair not in self._pairs:
            raise KrakenRefusal(f"Currency pair not supported {pair}")
        return self._pairs[pair].instrument.symbol

    def _channel_id(self, subject: Subject) -> int:
        """Number channels as Kraken does: a range for each pair, a place in it for each channel."""
        names = [*(f"book-{depth}" for depth in DEPTHS), "spread", "ticker", "trade"]
        names += [f"ohlc-{minutes}" for minutes in OHLC_MINUTES]
        return 32 * (10 + list(self._market.listings).index(subject.symbol)) + names.index(_channel_name(subject))


def _status(fields: dict[str, object]) -> object:
    """Give a subscription's state, with its keys in the order of the alphabet, as they are sent."""
    return dict(sorted({**fields, "event": "subscriptionStatus"}.items()))


def _read_subscription(wanted: object) -> tuple[str, int | str, dict[str, object]]:
    """Read a subscription; gives the channel, its number and how the answer shows it; raises KrakenRefusal."""
    if not isinstance(wanted, dict):
        raise KrakenRefusal("Subscription field must be an object")
    channel = wanted.get("name")
    if channel not in _CHANNELS:
        raise KrakenRefusal("Subscription name invalid")
    if channel not in _NUMBERS:
        return channel, "", {"name": channel}
    name, legal, usual = _NUMBERS[channel]
    number = wanted.get(name, usual)
    what = "book depth" if channel == "book" else "ohlc interval"
    if not isinstance(number, int) or isinstance(number, bool):
        raise KrakenRefusal(f"Subscription {what} must be an integer")
    if number not in legal:
        raise KrakenRefusal(f"Subscription {what.removeprefix('book ')} not supported")
    return channel, number, {name: number, "name": channel}


def _channel_name(subject: Subject) -> str:
    return f"{subject.channel}-{subject.argument}" if subject.argument else subject.channel


def _seconds(time_ns: int) -> str:
    return f"{time_ns // 10**9}.{time_ns // 1000 % 10**6:06d}"


def _price(instrument: Instrument, tick: int) -> str:
    return decimal_text(instrument.price_e8(tick), instrument.price_decimals)


class _Feed:
    """Frame what a channel of one pair has to say."""

    def __init__(self, identity: int, subject: Subject, listing: Listing, market: Market) -> None:
        self._identity = identity
        self._subject = subject
        self._listing = listing
        self._market = market
        self._instrument = listing.instrument

    def _frame(self, *payloads: object) -> object:
        return [self._identity, *payloads, _channel_name(self._subject), self._instrument.wsname]


class _Book:
    def __init__(self, identity: int, subject: Subject, listing: Listing) -> None:
        self._tail = [_channel_name(subject), listing.instrument.wsname]
        self._identity = identity
        self._instrument = listing.instrument
        self._view = BookView(listing, int(subject.argument))

    def _row(self, level: Level) -> list[str]:
        price, quantity = _price(self._instrument, level.tick), decimal_text(level.quantity)
        return [price, quantity, _seconds(level.changed_ms * 10**6)]

    def _rows(self, changes: list[LevelChange]) -> list[list[str]]:
        return [[*self._row(change.level), *(["r"] if change.again else [])] for change in changes]

    def snapshot(self) -> list[object]:
        asks, bids = ([self._row(level) for level in self._view.side(is_bid)] for is_bid in (False, True))
        return [[self._identity, {"as": asks, "bs": bids}, *self._tail]]

    def updates(self, moment: Moment) -> list[object]:
        bids, asks = self._view.changes(moment)
        parts: list[dict[str, object]] = []
        if asks:
            parts.append({"a": self._rows(asks)})
        if bids:
            parts.append({"b": self._rows(bids)})
        if not parts:
            return []
        best = [[self._row(level) for level in self._view.side(is_bid)[:10]] for is_bid in (False, True)]
        parts[-1]["c"] = f"{checksum(*best)}"
        return [[self._identity, *parts, *self._tail]]


class _Trades(_Feed):
    def snapshot(self) -> list[object]:
        return []

    def updates(self, moment: Moment) -> list[object]:
        return [self._frame([self._row(trade) for trade in event.trades]) for event in moment.events if event.trades]

    def _row(self, trade: Trade) -> list[str]:
        side, kind = "s" if trade.buyer_is_maker else "b", "m" if trade.aggregate_id % 3 else "l"
        price, quantity = _price(self._instrument, trade.tick), decimal_text(trade.quantity)
        return [price, quantity, _seconds(trade.time_ns), side, kind, ""]


class _Spread(_Feed):
    def __init__(self, identity: int, subject: Subject, listing: Listing, market: Market) -> None:
        super().__init__(identity, subject, listing, market)
        self._best = self._now()

    def _now(self) -> tuple[Level, Level]:
        return self._listing.book.best(True), self._listing.book.best(False)

    def snapshot(self) -> list[object]:
        bid, ask = self._best
        prices = _price(self._instrument, bid.tick), _price(self._instrument, ask.tick)
        changed = _seconds(max(bid.changed_ms, ask.changed_ms) * 10**6)
        return [self._frame([*prices, changed, decimal_text(bid.quantity), decimal_text(ask.quantity)])]

    def updates(self, moment: Moment) -> list[object]:
        before, self._best = self._best, self._now()
        same = all(one[:2] == two[:2] for one, two in zip(before, self._best, strict=True))  # but for the time
        return [] if same else self.snapshot()


class _Ticker(_Feed):
    def snapshot(self) -> list[object]:
        instrument, book = self._instrument, self._listing.book
        today, day, last = statistics(self._listing, self._market.now_ms())
        spans = today, day

        def best(level: Level) -> list[object]:
            return [_price(instrument, level.tick), level.quantity // 10**8, decimal_text(level.quantity)]

        averages = [decimal_text(average_e8(instrument, span), instrument.price_decimals) for span in spans]
        values = {
            "a": best(book.best(False)),
            "b": best(book.best(True)),
            "c": [_price(instrument, last.tick), decimal_text(last.quantity)],
            "v": [decimal_text(span.volume) for span in spans],
            "p": averages,
            "t": [span.trade_count for span in spans],
            "l": [_price(instrument, span.low) for span in spans],
            "h": [_price(instrument, span.high) for span in spans],
            "o": [_price(instrument, span.open) for span in spans],
        }
        return [self._frame(values)]

    def updates(self, moment: Moment) -> list[object]:
        return self.snapshot() if any(event.trades for event in moment.events) else []


class _Candles(_Feed):
    def snapshot(self) -> list[object]:
        instrument, minutes = self._instrument, int(self._subject.argument)
        candle = last_candles(self._listing, minutes, self._market.now_ms(), 1)[-1]
        span = candle.span
        prices = [_price(instrument, tick) for tick in (span.open, span.high, span.low, span.close)]
        average = decimal_text(average_e8(instrument, span), instrument.price_decimals)
        times = [_seconds(self._listing.trades[-1].time_ns), _seconds((candle.open_ms + minutes * MINUTE_MS) * 10**6)]
        return [self._frame([*times, *prices, average, decimal_text(span.volume), span.trade_count])]

    def updates(self, moment: Moment) -> list[object]:
        return self.snapshot() if any(event.trades for event in moment.events) else []


_FEEDS: dict[str, type[_Trades | _Spread | _Ticker | _Candles]] = {
    "trade": _Trades,
    "spread": _Spread,
    "ticker": _Ticker,
    "ohlc": _Candles,
}
