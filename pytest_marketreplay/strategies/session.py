"""Whole sessions of one symbol: a stream of diffs and trades, and the REST answers that belong to it."""

from __future__ import annotations

from bisect import bisect_right
from decimal import Decimal
from typing import Literal, NamedTuple

import msgspec

from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.market.structs import DepthDiff, OrderBook, Trade
from pytest_marketreplay.strategies import binance_wire, books, kraken_wire
from pytest_marketreplay.strategies.books import LOT, MID, TICK, Step
from pytest_marketreplay.strategies.draws import Count, Grid, SearchStrategy, count_of, st
from pytest_marketreplay.strategies.tape import Deal, deals

_MS = 1_000_000
_SNAPSHOT_LATE_NS = 20 * _MS
_FLAVOURS = {"binance": "BTCUSDT", "binance_us": "BTCUSDT", "binance_futures": "BTCUSDT", "kraken": "BTC-USD"}
_KRAKEN_SIZE_DECIMALS = 8


Pairs = tuple[tuple[str, str], ...]


class WireAnswer(NamedTuple):
    """One REST call and its answer."""

    time_ns: int
    path: str
    params: Pairs
    headers: dict[str, str | list[str]]
    body: bytes


class WireFrame(NamedTuple):
    """One text frame of the connection."""

    time_ns: int
    direction: Literal["recv", "send"]
    data: bytes


class MarketSession(msgspec.Struct, frozen=True):
    """What one client saw of one symbol: one connection and its REST calls, typed and as bytes on the wire."""

    venue: str
    symbol: str
    """In the venue's common form: `BTCUSDT`, `BTC-USD`."""
    start_ns: int
    """When the connection was opened; whole milliseconds."""
    book: OrderBook
    """The book before the first diff."""
    snapshot: OrderBook
    """The book as the REST call gave it: after `snapshot_after` diffs."""
    snapshot_after: int
    diffs: tuple[DepthDiff, ...]
    trades: tuple[Trade, ...]
    answers: tuple[WireAnswer, ...]
    """REST: the depth, and after the last frame the trades."""
    host: str
    """Of the WebSocket."""
    path: str
    query: Pairs
    frames: tuple[WireFrame, ...]
    """In order of time."""

    @property
    def end_ns(self) -> int:
        """When the last of it happened."""
        return self.answers[-1].time_ns


class _Drawn(NamedTuple):
    book: OrderBook
    steps: list[Step]
    deals: list[Deal]
    snapshot: int
    first_trade_id: int


def sessions(
    venue: str = "binance",
    symbol: str | None = None,
    *,
    levels: Count = (1, 5),
    length: Count = (0, 5),
    changes: Count = (1, 3),
    trades: Count = (0, 5),
    tick: Decimal = TICK,
    lot: Decimal = LOT,
    mid: Decimal = MID,
) -> SearchStrategy[MarketSession]:
    """Draw whole sessions of `binance`, `binance_us`, `binance_futures` or `kraken`, in the venue's own JSON.

    A connection is opened, `length` diffs with `changes` levels each and `trades` arrive in order of time, and between
    two diffs a REST call fetches the book as it then is. Binance: a combined stream of `@depth@100ms` and `@trade`
    (futures `@aggTrade`). Kraken: WebSocket v1, subscriptions, a snapshot of the book, updates with their checksum.
    Buys happen at the best ask of the moment, sells at the best bid. `write_session` makes a cassette of it. Shrinks
    towards a snapshot and no frames. Raises UsageMistake.
    """
    if venue not in _FLAVOURS:
        raise UsageMistake(f"venue={venue!r}: sessions() knows the wire of {', '.join(_FLAVOURS)}")
    name = symbol if symbol is not None else _FLAVOURS[venue]
    prices, sizes = Grid.of("tick", tick), Grid.of("lot", lot)
    _, most_levels = count_of("levels", levels, 1)
    _, most_diffs = count_of("length", length)
    _, most_changes = count_of("changes", changes, 1)
    wire: binance_wire.BinanceWire | kraken_wire.KrakenWire
    if venue == "kraken":
        wire = kraken_wire.KrakenWire(name, prices.decimals, sizes.decimals, most_levels + most_diffs * most_changes)
        sizes = Grid(lot.quantize(Decimal(1).scaleb(-max(_KRAKEN_SIZE_DECIMALS, sizes.decimals))))
    else:
        futures = venue == "binance_futures"
        wire = binance_wire.BinanceWire(name, prices.decimals, sizes.decimals, futures=futures)

    def build(drawn: tuple[OrderBook, list[Step], list[Deal], int, int]) -> MarketSession:
        return _build(_Drawn(*drawn), wire, prices, sizes)

    return st.tuples(
        books.order_books(venue, name, levels=levels, tick=tick, lot=sizes.step, mid=mid),
        books.steps(length, changes),
        deals(trades),
        st.integers(0, most_diffs),
        st.integers(1, 2**40),
    ).map(build)


def _build(
    drawn: _Drawn, wire: binance_wire.BinanceWire | kraken_wire.KrakenWire, prices: Grid, sizes: Grid
) -> MarketSession:
    first = drawn.book
    diffs = books.chain(first, drawn.steps, prices, sizes)
    states = _states(first, diffs, prices)
    trades = _trades(drawn, diffs, states, prices, sizes)
    after = min(drawn.snapshot, len(diffs))
    moment = (diffs[after - 1].time_ns if after else first.time_ns) + _SNAPSHOT_LATE_NS
    snapshot = msgspec.structs.replace(states[after], time_ns=moment)
    end_ns = max([moment, *(diff.time_ns for diff in diffs), *(trade.time_ns for trade in trades)]) + _SNAPSHOT_LATE_NS
    start_ns = first.time_ns
    query: Pairs = ()
    depth_call: tuple[str, Pairs]
    trades_call: tuple[str, Pairs]
    if isinstance(wire, kraken_wire.KrakenWire):
        host, path = "ws.kraken.com", "/"
        talk: list[tuple[Literal["recv", "send"], bytes]] = [
            ("recv", wire.hello()),
            ("send", wire.subscribe("book")),
            ("recv", wire.subscribed("book")),
            ("recv", wire.snapshot(first)),
            ("send", wire.subscribe("trade")),
            ("recv", wire.subscribed("trade")),
        ]
        # whole before the first trade, which is one nanosecond after the start at the earliest
        frames = [WireFrame(start_ns, direction, data) for direction, data in talk]
        # an update that changed no side cannot be: a step has one change at the least
        depth_call = "/0/public/Depth", (("pair", wire.pair), ("count", str(wire.depth)))
        trades_call = "/0/public/Trades", (("pair", wire.pair),)
        headers, depth, past = kraken_wire.HEADERS, wire.rest_depth(snapshot), wire.past_trades(trades, end_ns)
    else:
        host, path = {
            "binance": ("stream.binance.com:9443", "/stream"),
            "binance_us": ("stream.binance.us:9443", "/stream"),
            "binance_futures": ("fstream.binance.com", "/stream"),
        }[first.venue]
        query = (("streams", f"{wire.depth_stream}/{wire.trade_stream}"),)
        frames = []
        root = "/fapi/v1" if wire.futures else "/api/v3"
        asked = (("symbol", wire.symbol), ("limit", "1000"))
        depth_call, trades_call = (f"{root}/depth", asked), (f"{root}/trades", asked)
        headers, depth, past = binance_wire.HEADERS, wire.depth(snapshot), wire.past_trades(trades)
    news = [WireFrame(diff.time_ns, "recv", wire.diff(diff)) for diff in diffs]
    news += [WireFrame(trade.time_ns, "recv", wire.trade(trade)) for trade in trades]
    frames += sorted(news, key=lambda frame: frame.time_ns)
    return MarketSession(
        venue=first.venue,
        symbol=first.symbol,
        start_ns=start_ns,
        book=first,
        snapshot=snapshot,
        snapshot_after=after,
        diffs=tuple(diffs),
        trades=tuple(trades),
        answers=(
            WireAnswer(moment, depth_call[0], depth_call[1], headers, depth),
            WireAnswer(end_ns, trades_call[0], trades_call[1], headers, past),
        ),
        host=host,
        path=path,
        query=query,
        frames=tuple(frames),
    )


def _states(first: OrderBook, diffs: list[DepthDiff], prices: Grid) -> list[OrderBook]:
    """Return the book before the first diff and after each."""
    bids, asks = books.sides_of(first, prices)
    out = [first]
    for diff in diffs:
        for side, levels in ((bids, diff.bids), (asks, diff.asks)):
            for price, size in levels:
                number = prices.number("price", price)
                if size:
                    side[number] = size
                else:
                    side.pop(number, None)
        out.append(
            msgspec.structs.replace(
                first,
                time_ns=diff.time_ns,
                bids=books.levels_of(bids, prices, falling=True),
                asks=books.levels_of(asks, prices, falling=False),
                update_id=diff.last_id if diff.last_id is not None else first.update_id,
                exchange_ms=diff.exchange_ms,
            )
        )
    return out


def _trades(drawn: _Drawn, diffs: list[DepthDiff], states: list[OrderBook], prices: Grid, sizes: Grid) -> list[Trade]:
    """Make trades at the best prices of their moment."""
    moments = [diff.time_ns for diff in diffs]
    time_ns, number = drawn.book.time_ns, drawn.first_trade_id
    out = []
    for wait_ns, _, lots, side, passed in drawn.deals:
        time_ns += wait_ns
        number += 1 + passed
        if time_ns in moments:  # never together with a diff: the order of the frames would be arbitrary
            time_ns += 1
        book = states[bisect_right(moments, time_ns)]
        out.append(
            Trade(
                venue=book.venue,
                symbol=book.symbol,
                time_ns=time_ns,
                price=(book.asks if side == "buy" else book.bids)[0].price,
                size=sizes.at(lots),
                side=side,
                trade_id=str(number),
                exchange_ms=time_ns // _MS,
            )
        )
    return out
