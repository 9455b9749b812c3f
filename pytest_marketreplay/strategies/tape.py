"""Trades and candles."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.market.structs import Candle, OrderBook, Trade
from pytest_marketreplay.strategies.books import LOT, LOTS, MID, TICK
from pytest_marketreplay.strategies.draws import START_NS, Count, Grid, SearchStrategy, count_of, st

_MS = 1_000_000
_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_LONGEST_NS = 2_000_000_000
_MONDAY_MS = 345_600_000  # 1970-01-05: weeks begin on Monday with the venues, the epoch on a Thursday

Deal = tuple[int, int, int, str, int]
"""Nanoseconds since the one before, ticks moved, lots, the taker's side, how many ids were passed over."""

_DEAL = st.tuples(
    st.integers(1, _LONGEST_NS), st.integers(-5, 5), LOTS, st.sampled_from(("buy", "sell")), st.integers(0, 3)
)


def deals(length: Count) -> SearchStrategy[list[Deal]]:
    """Draw what trades are made of. Raises UsageMistake."""
    low, high = count_of("length", length)
    return st.lists(_DEAL, min_size=low, max_size=high)


def trades(
    venue: str = "binance",
    symbol: str = "BTCUSDT",
    *,
    length: Count = (0, 20),
    tick: Decimal = TICK,
    lot: Decimal = LOT,
    mid: Decimal = MID,
    book: OrderBook | None = None,
) -> SearchStrategy[list[Trade]]:
    """Draw trades whose times and ids ascend, at most 2 s apart.

    Prices walk in steps of up to five ticks from `mid`; with a `book`, whose venue, symbol and time count then, buys lie
    up to five ticks above its best ask and sells below its best bid. Shrinks towards few trades of one lot at one price.
    Raises UsageMistake.
    """
    prices, sizes = Grid.of("tick", tick), Grid.of("lot", lot)
    start_ns = START_NS
    bid = ask = prices.nearest(mid)
    if book is not None:
        if not book.bids or not book.asks:
            raise UsageMistake("trades near a book need one that has both sides")
        venue, symbol, start_ns = book.venue, book.symbol, book.time_ns
        bid, ask = (prices.number("price", side[0].price) for side in (book.bids, book.asks))
    if min(bid, ask) < 1:
        raise UsageMistake(f"trades need a price of {tick} at the least")

    def build(drawn: tuple[int, list[Deal]]) -> list[Trade]:
        last_id, deals = drawn
        time_ns = start_ns
        walked = bid
        out = []
        for wait_ns, move, lots, side, passed in deals:
            time_ns += wait_ns
            last_id += 1 + passed
            walked = max(1, walked + move)
            price = walked if book is None else ask + abs(move) if side == "buy" else max(1, bid - abs(move))
            out.append(
                Trade(
                    venue=venue,
                    symbol=symbol,
                    time_ns=time_ns,
                    price=prices.at(price),
                    size=sizes.at(lots),
                    side=side,
                    trade_id=str(last_id),
                    exchange_ms=time_ns // _MS,
                )
            )
        return out

    return st.tuples(st.integers(0, 2**40), deals(length)).map(build)


def interval_ms(interval: str) -> int:
    """Return the length of `1m`, `4h`, `1d` in milliseconds. Raises UsageMistake."""
    number, unit = interval[:-1], interval[-1:]
    if unit not in _UNITS_MS or not (number.isascii() and number.isdigit()) or int(number) < 1:
        raise UsageMistake(f"interval={interval!r}: wanted is a number with one of {', '.join(_UNITS_MS)}, as in '1m'")
    return int(number) * _UNITS_MS[unit]


def _opened_ms(time_ms: int, length_ms: int) -> int:
    offset = _MONDAY_MS if length_ms % _UNITS_MS["w"] == 0 else 0
    return time_ms - (time_ms - offset) % length_ms


def candles(
    venue: str = "binance",
    symbol: str = "BTCUSDT",
    interval: str = "1m",
    *,
    length: Count = (0, 20),
    tick: Decimal = TICK,
    lot: Decimal = LOT,
    mid: Decimal = MID,
) -> SearchStrategy[list[Candle]]:
    """Draw closed candles that follow each other without a gap, each opened at the close before.

    Low is at most open and close, high at least; the volume is 0 where there were no trades, and the candle flat then.
    Shrinks towards few candles without trades at `mid`. Raises UsageMistake.
    """
    low, high = count_of("length", length)
    prices, sizes = Grid.of("tick", tick), Grid.of("lot", lot)
    length_ms = interval_ms(interval)
    first_ms = _opened_ms(START_NS // _MS, length_ms)
    middle = prices.nearest(mid)
    if middle < 1:
        raise UsageMistake(f"mid={mid} is below one tick of {tick}")
    move = st.integers(0, 20)
    shape = st.tuples(st.integers(0, 500), st.integers(-20, 20), move, move, LOTS)

    def build(drawn: tuple[int, list[tuple[int, int, int, int, int]]]) -> list[Candle]:
        skipped, shapes = drawn
        open_ms = first_ms + skipped * length_ms
        price = middle
        out = []
        for count, moved, above, below, lots in shapes:
            close = max(1, price + moved) if count > 1 else price  # one trade is open and close
            top, bottom = max(price, close), min(price, close)
            # beyond open and close, each extreme needs a trade of its own
            top += above if count > 2 else 0
            bottom = max(1, bottom - below) if count > 3 else bottom
            out.append(
                Candle(
                    venue=venue,
                    symbol=symbol,
                    time_ns=(open_ms + length_ms) * _MS,
                    interval=interval,
                    open_ms=open_ms,
                    open=prices.at(price),
                    high=prices.at(top),
                    low=prices.at(bottom),
                    close=prices.at(close),
                    volume=sizes.at(max(lots, count) if count else 0),
                    closed=True,
                    trades=count,
                )
            )
            open_ms += length_ms
            price = close
        return out

    return st.tuples(st.integers(0, 1_000), st.lists(shape, min_size=low, max_size=high)).map(build)


def candles_of(trades: Iterable[Trade], interval: str = "1m") -> list[Candle]:
    """Return the candles of trades in order of time: contiguous, flat with volume 0 where nobody traded.

    The last is open (`closed=False`): its time is that of its last trade. Raises UsageMistake.
    """
    length_ms = interval_ms(interval)
    out: list[Candle] = []
    group: list[Trade] = []
    opened = 0
    for trade in trades:
        at = _opened_ms(trade.exchange_ms if trade.exchange_ms is not None else trade.time_ns // _MS, length_ms)
        if group and at < opened:
            raise UsageMistake("candles_of() needs trades in order of time")
        if group and at > opened:
            out.append(_candle(group, interval, opened, length_ms, closed=True))
            for empty in range(opened + length_ms, at, length_ms):
                out.append(_flat(out[-1], empty, length_ms))
            group = []
        opened = at
        group.append(trade)
    if group:
        out.append(_candle(group, interval, opened, length_ms, closed=False))
    return out


def _candle(group: list[Trade], interval: str, open_ms: int, length_ms: int, *, closed: bool) -> Candle:
    prices = [trade.price for trade in group]
    return Candle(
        venue=group[0].venue,
        symbol=group[0].symbol,
        time_ns=(open_ms + length_ms) * _MS if closed else group[-1].time_ns,
        interval=interval,
        open_ms=open_ms,
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        volume=sum((trade.size for trade in group), Decimal(0)),
        closed=closed,
        trades=len(group),
    )


def _flat(before: Candle, open_ms: int, length_ms: int) -> Candle:
    price = before.close
    return Candle(
        venue=before.venue,
        symbol=before.symbol,
        time_ns=(open_ms + length_ms) * _MS,
        interval=before.interval,
        open_ms=open_ms,
        open=price,
        high=price,
        low=price,
        close=price,
        volume=before.volume * 0,
        closed=True,
        trades=0,
    )
