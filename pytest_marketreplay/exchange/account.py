"""The one account of a simulated venue: balances, orders, fills."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pytest_marketreplay.errors import MarketReplayError

from .decimals import product_e8
from .market import Market
from .trades import Trade

Kind = Literal["LIMIT", "LIMIT_MAKER", "MARKET"]
Duration = Literal["GTC", "IOC", "FOK"]
Reason = Literal["funds", "would take"]
Execution = Literal["NEW", "TRADE", "CANCELED", "EXPIRED"]
"""What can happen to an order, as execution reports name it."""

_FEE_PER_MILLE = 1
_FIRST_ORDER_ID = 12_000_000_001


class OrderRefused(MarketReplayError):
    """An order that the matching engine does not accept; the venue turns the reason into its own words."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(f"the order was refused: {reason}")


class Fill(NamedTuple):
    """Hold one trade of the account; the commission is in 1e-8 parts of its asset."""

    trade: Trade
    commission: int
    commission_asset: str
    is_maker: bool


@dataclass(slots=True)
class Balance:
    """Hold one asset's amounts in 1e-8 parts."""

    free: int
    locked: int = 0


@dataclass(slots=True)
class Order:
    """Hold one order; amounts in 1e-8 parts, the price in ticks (0 for a market order)."""

    id: int
    client_id: str
    symbol: str
    buys: bool
    kind: Kind
    duration: Duration
    tick: int
    quantity: int
    time_ms: int
    update_ms: int
    status: str = "NEW"
    executed: int = 0
    spent: int = 0
    held: int = 0
    """What of the balance it locks while it rests."""
    fills: list[Fill] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Tell whether the order still waits in the book."""
        return self.status in ("NEW", "PARTIALLY_FILLED")


class Account:
    """Place and cancel orders against the market; resting orders fill when the market comes to their price.

    Resting orders do not show in the public book.
    """

    def __init__(self, market: Market, balances: dict[str, int]) -> None:
        self._market = market
        self.balances = {asset: Balance(amount) for asset, amount in balances.items()}
        self.orders: dict[int, Order] = {}
        self.updated_ms = market.now_ms()
        self._executions: list[Callable[[Order, Execution, Fill | None], None]] = []
        self._movements: list[Callable[[Order], None]] = []
        market.after_step(self._settle)

    def watch(self, executed: Callable[[Order, Execution, Fill | None], None], moved: Callable[[Order], None]) -> None:
        """Have `executed` called for each thing that happens to an order, `moved` after its balances changed."""
        self._executions.append(executed)
        self._movements.append(moved)

    def place(
        self,
        symbol: str,
        *,
        buys: bool,
        kind: Kind,
        tick: int,
        quantity: int,
        duration: Duration = "GTC",
        client_id: str = "",
    ) -> Order:
        """Place an order and match it at once as far as the book allows; raises OrderRefused."""
        listing = self._market.listings[symbol]
        limit_tick = None if kind == "MARKET" else tick
        fillable, cost = listing.fillable(buys, quantity, limit_tick)
        if kind == "LIMIT_MAKER" and fillable:
            raise OrderRefused("would take")
        base, quote = listing.instrument.base, listing.instrument.quote
        resting = quantity - fillable if kind != "MARKET" and duration == "GTC" else 0
        held = product_e8(listing.instrument.price_e8(tick), resting) if buys else resting
        needed = (cost if buys else fillable) + held
        if needed > self.balances[quote if buys else base].free:
            raise OrderRefused("funds")
        now_ms = self._market.now_ms()
        order_id = _FIRST_ORDER_ID + len(self.orders)
        order = Order(
            order_id,
            client_id or self._invented_id(order_id),
            symbol,
            buys,
            kind,
            duration,
            tick,
            quantity,
            now_ms,
            now_ms,
        )
        self.orders[order_id] = order
        self._report(order, "NEW")
        if fillable and not (duration == "FOK" and fillable < quantity):
            for trade in self._market.take(symbol, buys, quantity, limit_tick):
                self._book(order, trade, is_maker=False)
        left = quantity - order.executed
        if left and (kind == "MARKET" or duration != "GTC"):
            order.status = "EXPIRED"
            self._report(order, "EXPIRED")
        elif left:
            self._hold(order, left)
        self.updated_ms = now_ms
        self._moved(order)
        return order

    def cancel(self, order: Order) -> None:
        """Cancel an open order and free what it held."""
        self._release(order)
        order.status = "CANCELED"
        order.update_ms = self.updated_ms = self._market.now_ms()
        self._report(order, "CANCELED")
        self._moved(order)

    def open_orders(self, symbol: str | None = None) -> list[Order]:
        """List the open orders, oldest first, of one symbol or of all."""
        return [order for order in self.orders.values() if order.is_open and symbol in (None, order.symbol)]

    def find(self, symbol: str | None, order_id: int | None, client_id: str | None) -> Order | None:
        """Find an order by its id, or else the newest one by its client's id."""
        if order_id is not None:
            found = self.orders.get(order_id)
            return found if found is not None and symbol in (None, found.symbol) else None
        for order in reversed(self.orders.values()):
            if order.client_id == client_id and symbol in (None, order.symbol):
                return order
        return None

    def quantity_for(self, symbol: str, buys: bool, amount: int) -> int:
        """Tell the base quantity that an amount of the quote asset buys or sells at the book's prices."""
        listing = self._market.listings[symbol]
        step = listing.instrument.step_e8
        quantity = 0
        for level in listing.book.side(not buys):
            price = listing.instrument.price_e8(level.tick)
            cost = product_e8(price, level.quantity)
            if cost >= amount:
                return (quantity + amount * 10**8 // price) // step * step
            amount -= cost
            quantity += level.quantity
        return quantity

    def _settle(self) -> None:
        for order in self.open_orders():
            best = self._market.listings[order.symbol].book.best(not order.buys).tick
            if best <= order.tick if order.buys else best >= order.tick:
                left = order.quantity - order.executed
                trade = self._market.meet(order.symbol, order.tick, left, order.buys)
                self._release(order)
                self._book(order, trade, is_maker=True)
                self.updated_ms = order.update_ms
                self._moved(order)

    def _hold(self, order: Order, quantity: int) -> None:
        instrument = self._market.listings[order.symbol].instrument
        order.held = product_e8(instrument.price_e8(order.tick), quantity) if order.buys else quantity
        balance = self.balances[instrument.quote if order.buys else instrument.base]
        balance.free -= order.held
        balance.locked += order.held

    def _release(self, order: Order) -> None:
        instrument = self._market.listings[order.symbol].instrument
        balance = self.balances[instrument.quote if order.buys else instrument.base]
        balance.free += order.held
        balance.locked -= order.held
        order.held = 0

    def _book(self, order: Order, trade: Trade, *, is_maker: bool) -> None:
        instrument = self._market.listings[order.symbol].instrument
        value = product_e8(instrument.price_e8(trade.tick), trade.quantity)
        base, quote = instrument.base, instrument.quote
        given, given_asset, received, asset = (
            (value, quote, trade.quantity, base) if order.buys else (trade.quantity, base, value, quote)
        )
        commission = received * _FEE_PER_MILLE // 1000
        self.balances[given_asset].free -= given
        self.balances[asset].free += received - commission
        order.executed += trade.quantity
        order.spent += value
        order.update_ms = trade.time_ms
        order.status = "FILLED" if order.executed == order.quantity else "PARTIALLY_FILLED"
        order.fills.append(Fill(trade, commission, asset, is_maker))
        self._report(order, "TRADE", order.fills[-1])

    def _report(self, order: Order, execution: Execution, fill: Fill | None = None) -> None:
        for call in self._executions:
            call(order, execution, fill)

    def _moved(self, order: Order) -> None:
        for call in self._movements:
            call(order)

    def _invented_id(self, order_id: int) -> str:
        return hashlib.sha256(f"{self._market.seed}/order/{order_id}".encode()).hexdigest()[:22]
