"""One listed symbol: its book, its tape, and how both move from step to step."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import NamedTuple

from .book import Level, OrderBook
from .candles import Span, sum_up, trades_between
from .instruments import Instrument
from .trades import DAY_MS, PAST_TRADES, Trade, draw, past_trades, random_quantity

DEPTH = 1000
"""Levels that each side of a book keeps."""
_SHALLOWEST = 20  # a taker never eats further: a book is never empty
_MENDED = 25  # levels from the best one that are kept without holes
_MOST_LIVE_TRADES = 120_000  # about 12 MB a symbol; beyond, the older half is forgotten


class Quote(NamedTuple):
    """Hold the best prices after one step, in ticks."""

    time_ms: int
    bid_tick: int
    ask_tick: int


class Listing:
    """Run the market of one instrument; everything it does follows from the seed and the order of the calls."""

    def __init__(self, instrument: Instrument, seed: str, start_ms: int) -> None:
        self.instrument = instrument
        self.quotes: deque[Quote] = deque(maxlen=200)
        self._seed = f"{seed}/{instrument.symbol}"
        self._rng = Random(self._seed)
        self._start_ms = start_ms
        self._live: list[Trade] = []
        self._past: list[Trade] | None = None
        self._next_id = self._next_aggregate_id = instrument.first_trade_id + PAST_TRADES
        self._last_ns = start_ms * 1_000_000
        self.book = OrderBook(instrument.first_trade_id * 15 + draw(self._rng, 1_000_000))
        for is_bid in (True, False):
            self.book.fill(is_bid, self._opening_side(is_bid))
        self._quote(start_ms)

    def _opening_side(self, is_bid: bool) -> list[Level]:
        rng, instrument = self._rng, self.instrument
        away = -1 if is_bid else 1
        tick = instrument.opening_tick + (0 if is_bid else 1)
        levels = []
        for _ in range(DEPTH):
            if tick < 1:
                break
            age_ms = draw(rng, 60_000)
            levels.append(Level(tick, random_quantity(instrument, rng), self._start_ms - age_ms))
            tick += away * (1 + draw(rng, instrument.widest_gap))
        return levels

    # The tape

    @property
    def trades(self) -> list[Trade]:
        """List all trades that are still known, oldest first; the past is made when it is first looked at."""
        if self._past is None:
            self._past = past_trades(self.instrument, Random(f"{self._seed}/past"), self._start_ms)
            self._live[:0] = self._past
        return self._live

    def trades_from(self, trade_id: int, limit: int) -> list[Trade]:
        """List up to `limit` trades from an id on; an id that is already forgotten means the oldest known."""
        trades = self.trades
        first = max(trade_id - trades[0].id, 0)
        return trades[first : first + limit]

    def last_day(self, now_ms: int) -> tuple[Span, list[Trade], Trade]:
        """Sum up the 24 hours before now; gives also their trades and the last trade before them."""
        day = list(trades_between(self.trades, now_ms - DAY_MS, now_ms + 1))
        newest = self.trades[-1]
        before = trades_between(self.trades, 0, now_ms - DAY_MS)
        previous = before[-1] if before else (day[0] if day else newest)
        return sum_up(self.instrument, day, previous.tick), day, previous

    # Moving

    def step(self, now_ms: int) -> list[Trade]:
        """Let one moment pass: perhaps a taker comes, some makers change their minds, the gaps close."""
        rng = self._rng
        trades: list[Trade] = []
        buys = draw(rng, 1000) < 500 - self._pull()
        if draw(rng, 100) < 55:
            best = self.book.best(not buys)
            if draw(rng, 100) < 40:  # this one moves the price: it takes whole levels
                reach = draw(rng, self.instrument.widest_gap + 1)
                limit_tick = best.tick + reach if buys else best.tick - reach
                trades = self._fill(buys, best.quantity * 50, limit_tick, now_ms)
            else:
                step = self.instrument.step_e8
                wanted = best.quantity * (1 + draw(rng, 90)) // 100
                trades = self._fill(buys, max(step, wanted // step * step), None, now_ms)
        for _ in range(3 + draw(rng, 7)):
            self._change_a_level(now_ms)
        self._settle(buys, now_ms)
        return trades

    def take(self, buys: bool, quantity: int, limit_tick: int | None, now_ms: int) -> list[Trade]:
        """Match a taker against the book, at most to the limit price; gives the trades, which may fall short."""
        trades = self._fill(buys, quantity, limit_tick, now_ms)
        self._settle(buys, now_ms)
        return trades

    def fillable(self, buys: bool, quantity: int, limit_tick: int | None) -> tuple[int, int]:
        """Tell how much of a taker's quantity the book would fill, and its cost, both in 1e-8 parts."""
        left, cost = quantity, 0
        levels = self.book.side(not buys)
        for level in levels[: len(levels) - _SHALLOWEST]:
            if not left or _beyond(buys, level.tick, limit_tick):
                break
            filled = min(left, level.quantity)
            left -= filled
            cost += level.tick * filled
        return quantity - left, cost * self.instrument.tick_e8 // 10**8

    def print_trade(self, tick: int, quantity: int, buyer_is_maker: bool, now_ms: int) -> Trade:
        """Add one trade to the tape without touching the book: a resting order of the account was met."""
        trade = self._new_trade(tick, quantity, buyer_is_maker, now_ms)
        self._next_aggregate_id += 1
        return trade

    def _pull(self) -> int:
        """Lean against a drift, so that a long run does not leave the neighbourhood of the opening price."""
        opening = self.instrument.opening_tick
        drift = (self.book.best(True).tick - opening) * 10_000 // opening
        return max(-300, min(300, drift))

    def _fill(self, buys: bool, quantity: int, limit_tick: int | None, now_ms: int) -> list[Trade]:
        trades: list[Trade] = []
        maker_is_bid = not buys
        step = self.instrument.step_e8
        while quantity and self.book.count(maker_is_bid) > _SHALLOWEST:
            level = self.book.best(maker_is_bid)
            if _beyond(buys, level.tick, limit_tick):
                break
            filled = min(quantity, level.quantity)
            pieces = [filled]
            if filled >= 2 * step and draw(self._rng, 4) == 0:  # two makers stood at this price
                first = step * (1 + draw(self._rng, filled // step - 1))
                pieces = [first, filled - first]
            trades += [self._new_trade(level.tick, piece, maker_is_bid, now_ms) for piece in pieces]
            self._next_aggregate_id += 1
            self.book.put(maker_is_bid, level.tick, level.quantity - filled, now_ms)
            quantity -= filled
        return trades

    def _new_trade(self, tick: int, quantity: int, buyer_is_maker: bool, now_ms: int) -> Trade:
        self._last_ns = max(self._last_ns, now_ms * 1_000_000) + 100 * (1 + draw(self._rng, 50))
        trade = Trade(self._next_id, self._next_aggregate_id, self._last_ns, tick, quantity, buyer_is_maker)
        self._next_id += 1
        if len(self._live) >= _MOST_LIVE_TRADES:
            del self.trades[: _MOST_LIVE_TRADES // 2]  # `trades`, so that the past is made and forgotten first
        self._live.append(trade)
        return trade

    def _change_a_level(self, now_ms: int) -> None:
        rng, book = self._rng, self.book
        is_bid = draw(rng, 2) == 0
        index = 1 + min(draw(rng, 39), draw(rng, 399))
        level = book.at(is_bid, min(index, book.count(is_bid) - 2))
        what = draw(rng, 10)
        if what < 6:
            book.put(is_bid, level.tick, random_quantity(self.instrument, rng), now_ms)
        elif what < 8:
            if book.count(is_bid) > DEPTH // 2:
                book.put(is_bid, level.tick, 0, now_ms)
        else:  # between this level and the one behind it, where there is room
            outer = book.at(is_bid, min(index, book.count(is_bid) - 2) + 1)
            low, high = sorted((level.tick, outer.tick))
            if high - low > 1:
                book.put(is_bid, low + 1 + draw(rng, high - low - 1), random_quantity(self.instrument, rng), now_ms)

    def _settle(self, rising: bool, now_ms: int) -> None:
        """Give the book its usual shape again: a narrow spread, no holes near it, a full depth."""
        self._close_the_spread(rising, now_ms)
        self._hold_the_depth(now_ms)  # first, so that a side that was nearly eaten has levels to mend
        for is_bid in (True, False):
            self._mend_the_top(is_bid, now_ms)
        self._hold_the_depth(now_ms)
        self._quote(now_ms)

    def _close_the_spread(self, rising: bool, now_ms: int) -> None:
        rng, book = self._rng, self.book
        bid, ask = book.best(True).tick, book.best(False).tick
        widest = 1 if draw(rng, 3) else max(1, self.instrument.widest_gap // 4)
        if ask - bid > widest:
            is_bid = rising if draw(rng, 4) else not rising  # makers mostly follow the taker
            tick = ask - widest if is_bid else bid + widest
            book.put(is_bid, tick, random_quantity(self.instrument, rng), now_ms)

    def _mend_the_top(self, is_bid: bool, now_ms: int) -> None:
        rng, book, gap = self._rng, self.book, self.instrument.widest_gap
        away = -1 if is_bid else 1
        tick = book.best(is_bid).tick
        for index in range(1, min(_MENDED, book.count(is_bid))):
            following = book.at(is_bid, index).tick
            if abs(following - tick) > 2 * gap:
                following = tick + away * (1 + draw(rng, gap))
                book.put(is_bid, following, random_quantity(self.instrument, rng), now_ms)
            tick = following

    def _hold_the_depth(self, now_ms: int) -> None:
        rng, book = self._rng, self.book
        for is_bid in (True, False):
            away = -1 if is_bid else 1
            while (count := book.count(is_bid)) != DEPTH:
                outermost = book.at(is_bid, count - 1).tick
                if count > DEPTH:
                    book.put(is_bid, outermost, 0, now_ms)
                    continue
                tick = outermost + away * (1 + draw(rng, self.instrument.widest_gap))
                if tick < 1:
                    break
                book.put(is_bid, tick, random_quantity(self.instrument, rng), now_ms)

    def _quote(self, now_ms: int) -> None:
        self.quotes.append(Quote(now_ms, self.book.best(True).tick, self.book.best(False).tick))


def _beyond(buys: bool, tick: int, limit_tick: int | None) -> bool:
    return limit_tick is not None and (tick > limit_tick if buys else tick < limit_tick)
