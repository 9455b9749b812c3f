"""A market of several symbols that moves by steps, never by the wall clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from pytest_marketreplay.errors import MarketReplayError, UsageMistake

from .book import Changes
from .instruments import Instrument
from .listing import Listing
from .trades import Trade

START_MS = 1_759_399_200_000
"""Where the simulated clock starts: 2025-10-02T10:00:00Z."""
STEP_MS = 100
"""How far one step moves the simulated clock, in milliseconds."""
_KEPT_EVENTS = 50_000


class EventsForgotten(MarketReplayError):
    """A stream asked for events that the log no longer holds."""

    def __init__(self, asked: int, oldest: int) -> None:
        self.asked, self.oldest = asked, oldest
        super().__init__(
            f"the event log starts at {oldest}, event {asked} is forgotten: drain it at least every "
            f"{_KEPT_EVENTS} events, or begin again from a snapshot"
        )


class MarketEvent(NamedTuple):
    """Hold what one step, or one order, changed in one symbol.

    `changes.first_update_id` is the `last_update_id` of the symbol's event before plus one, so that a stream made of
    these events joins any snapshot of the book. An event of trades alone has no bids, no asks, and a
    `last_update_id` below its `first_update_id`: a depth stream passes over it.
    """

    sequence: int
    """Counts all events of the market from 1, without gaps."""
    time_ms: int
    symbol: str
    changes: Changes
    trades: tuple[Trade, ...]


class SimulatedClock:
    """Tell a time that stands still until a step moves it."""

    def __init__(self, start_ms: int = START_MS, step_ms: int = STEP_MS) -> None:
        self.time_ms = start_ms
        self._step_ms = step_ms

    def __call__(self) -> int:
        """Give the time as Unix epoch in milliseconds."""
        return self.time_ms

    def step(self) -> None:
        """Move by one step."""
        self.time_ms += self._step_ms


class Market:
    """Hold the books and tapes of one venue; the same seed and the same calls give the same market.

    `clock` gives Unix epoch milliseconds and stamps trades and levels. Without one, time is simulated: it starts at
    2025-10-02T10:00:00Z and moves 100 ms a step. A clock that jumps back is held at the latest time it told.
    """

    def __init__(
        self, instruments: Iterable[Instrument], seed: object, *, clock: Callable[[], int] | None = None
    ) -> None:
        self._simulated = SimulatedClock() if clock is None else None
        self._clock: Callable[[], int] = clock if clock is not None else self._simulated or SimulatedClock()
        self._now_ms = self._clock()
        self.seed = f"{seed}"
        self.steps = 0
        self.sequence = 0
        self._events: deque[MarketEvent] = deque(maxlen=_KEPT_EVENTS)
        self._after_step: list[Callable[[], None]] = []
        self.listings = {each.symbol: Listing(each, self.seed, self._now_ms) for each in instruments}

    def now_ms(self) -> int:
        """Give the market's time as Unix epoch in milliseconds; it never goes back."""
        self._now_ms = max(self._now_ms, self._clock())
        return self._now_ms

    def advance(self, steps: int = 1) -> None:
        """Let time pass: every symbol moves once a step, then whoever waits for it is called.

        Raises UsageMistake when asked to go backwards.
        """
        if steps < 0:
            raise UsageMistake(f"the simulated market cannot advance by {steps} steps: time only moves forward")
        for _ in range(steps):
            if self._simulated is not None:
                self._simulated.step()
            now_ms = self.now_ms()
            self.steps += 1
            for listing in self.listings.values():
                self._log(listing, listing.step(now_ms))
            for call in self._after_step:
                call()

    def after_step(self, call: Callable[[], None]) -> None:
        """Have `call` run after every step: an account whose resting orders may have been met, a stream."""
        self._after_step.append(call)

    def take(self, symbol: str, buys: bool, quantity: int, limit_tick: int | None = None) -> list[Trade]:
        """Match a taker order at once and log what it changed; `quantity` in 1e-8 parts of the base asset."""
        listing = self.listings[symbol]
        trades = listing.take(buys, quantity, limit_tick, self.now_ms())
        self._log(listing, trades)
        return trades

    def meet(self, symbol: str, tick: int, quantity: int, buyer_is_maker: bool) -> Trade:
        """Print the trade of a resting order that the market has come to, and log it."""
        listing = self.listings[symbol]
        trade = listing.print_trade(tick, quantity, buyer_is_maker, self.now_ms())
        self._log(listing, [trade])
        return trade

    def events_after(self, sequence: int) -> list[MarketEvent]:
        """List the events after one that was already seen (0: all).

        Raises EventsForgotten when the next one is no longer held; the log keeps the latest 50,000.
        """
        count = self.sequence - sequence
        if count <= 0:
            return []
        oldest = self._events[0].sequence
        if sequence + 1 < oldest:
            raise EventsForgotten(sequence + 1, oldest)
        return [self._events[index] for index in range(len(self._events) - count, len(self._events))]

    def _log(self, listing: Listing, trades: list[Trade]) -> None:
        changes = listing.book.collect()
        if trades or changes.bids or changes.asks:
            self.sequence += 1
            event = MarketEvent(self.sequence, self._now_ms, listing.instrument.symbol, changes, tuple(trades))
            self._events.append(event)
