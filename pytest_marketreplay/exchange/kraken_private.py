"""Kraken's private methods.

Shapes: "Account Data", "Trading" and "Websockets Authentication" of the Kraken Spot REST API documentation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import cast

from .account import Account, Duration, Kind, Order, OrderRefused
from .decimals import decimal_text, product_e8
from .instruments import Instrument
from .kraken_rules import ASSETS, INVALID_ARGUMENTS, Arguments, KrakenRefusal, Pairs
from .market import Market

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_STATES = {
    "NEW": "open",
    "PARTIALLY_FILLED": "open",
    "FILLED": "closed",
    "CANCELED": "canceled",
    "EXPIRED": "canceled",
}
_ORDER_CALLS = ("AddOrder", "CancelOrder", "CancelAll")


def is_order_call(method: str) -> bool:
    """Tell whether a method places or cancels orders, which the call counter does not count."""
    return method in _ORDER_CALLS


def private_methods(market: Market, account: Account, pairs: Pairs) -> Mapping[str, Callable[[Arguments], object]]:
    """Give the private methods by name."""
    desk = _Desk(market, account, pairs)
    return {
        "Balance": desk.balance,
        "BalanceEx": desk.balance_and_holds,
        "TradeBalance": desk.trade_balance,
        "OpenOrders": desk.open_orders,
        "ClosedOrders": desk.closed_orders,
        "QueryOrders": desk.query_orders,
        "AddOrder": desk.add_order,
        "CancelOrder": desk.cancel_order,
        "CancelAll": desk.cancel_all,
        "GetWebSocketsToken": desk.token,
    }


class _Desk:
    def __init__(self, market: Market, account: Account, pairs: Pairs) -> None:
        self._market = market
        self._account = account
        self._pairs = pairs
        self._tokens = 0

    # Balances

    def balance(self, _: Arguments) -> object:
        return {
            asset: _ledger(asset, balance.free + balance.locked) for asset, balance in self._account.balances.items()
        }

    def balance_and_holds(self, _: Arguments) -> object:
        return {
            asset: {
                "balance": _ledger(asset, balance.free + balance.locked),
                "hold_trade": _ledger(asset, balance.locked),
            }
            for asset, balance in self._account.balances.items()
        }

    def trade_balance(self, _: Arguments) -> object:
        worth = sum(self._dollars(asset, each.free + each.locked) for asset, each in self._account.balances.items())
        total, none = decimal_text(worth, 4), "0.0000"
        margin = {"m": none, "n": none, "c": none, "v": none}
        return {"eb": total, "tb": total, **margin, "e": total, "mf": total}

    def _dollars(self, asset: str, amount: int) -> int:
        for listing in self._market.listings.values():
            instrument = listing.instrument
            if (instrument.base, instrument.quote) == (asset, "ZUSD"):
                return product_e8(instrument.price_e8(listing.book.best(True).tick), amount)
        return amount  # dollars, and USDT taken as such

    # Orders

    def open_orders(self, _: Arguments) -> object:
        return {"open": {_txid(order): self._row(order) for order in reversed(self._account.open_orders())}}

    def closed_orders(self, _: Arguments) -> object:
        closed = [order for order in reversed(self._account.orders.values()) if not order.is_open]
        return {"closed": {_txid(order): self._row(order) for order in closed[:50]}, "count": len(closed)}

    def query_orders(self, arguments: Arguments) -> object:
        return {name: self._row(self._find(name)) for name in arguments.text("txid").split(",")}

    def add_order(self, arguments: Arguments) -> object:
        instrument = self._pairs.find(arguments.text("pair")).instrument
        side, ordertype = arguments.text("type"), arguments.text("ordertype")
        if side not in ("buy", "sell"):
            raise KrakenRefusal(f"{INVALID_ARGUMENTS}:type")
        if ordertype not in ("limit", "market"):
            raise KrakenRefusal(f"{INVALID_ARGUMENTS}:ordertype")
        quantity = arguments.amount_e8("volume")
        if quantity < instrument.minimum_e8:
            raise KrakenRefusal(f"{INVALID_ARGUMENTS}:volume minimum not met")
        tick, post = 0, "post" in arguments.text("oflags").split(",")
        words = f"{side} {decimal_text(quantity)} {instrument.altname} @ {ordertype}"
        if ordertype == "limit":
            price = arguments.amount_e8("price")
            if price % instrument.tick_e8:
                name, digits = instrument.altname, instrument.pair_decimals
                raise KrakenRefusal(f"EOrder:Invalid price:{name} price can only be specified up to {digits} decimals.")
            tick = price // instrument.tick_e8
            words += f" {decimal_text(price, instrument.pair_decimals)}"
        duration = arguments.text("timeinforce") or "GTC"
        if duration not in ("GTC", "IOC"):
            raise KrakenRefusal(f"{INVALID_ARGUMENTS}:timeinforce")
        if arguments.flag("validate"):
            return {"descr": {"order": words}}
        kind = "MARKET" if ordertype == "market" else "LIMIT_MAKER" if post else "LIMIT"
        try:
            order = self._account.place(
                instrument.symbol,
                buys=side == "buy",
                kind=cast(Kind, kind),
                tick=tick,
                quantity=quantity,
                duration=cast(Duration, duration),
                client_id=arguments.text("cl_ord_id") or arguments.text("userref"),
            )
        except OrderRefused as refused:
            error = "EOrder:Insufficient funds" if refused.reason == "funds" else "EOrder:Post only order"
            raise KrakenRefusal(error) from None
        return {"descr": {"order": words}, "txid": [_txid(order)]}

    def cancel_order(self, arguments: Arguments) -> object:
        name = arguments.text("txid") or arguments.text("cl_ord_id")
        order = self._find(name)
        if not order.is_open:
            raise KrakenRefusal("EOrder:Unknown order")
        self._account.cancel(order)
        return {"count": 1}

    def cancel_all(self, _: Arguments) -> object:
        orders = self._account.open_orders()
        for order in orders:
            self._account.cancel(order)
        return {"count": len(orders)}

    def token(self, _: Arguments) -> object:
        self._tokens += 1
        text = hashlib.sha256(f"{self._market.seed}/token/{self._tokens}".encode()).hexdigest()
        return {"token": text[:43], "expires": 900}

    def _find(self, name: str) -> Order:
        for order in reversed(self._account.orders.values()):
            if name and name in (_txid(order), order.client_id):
                return order
        raise KrakenRefusal("EOrder:Unknown order")

    def _row(self, order: Order) -> dict[str, object]:
        instrument = self._market.listings[order.symbol].instrument
        side, kind = "buy" if order.buys else "sell", "market" if order.kind == "MARKET" else "limit"
        price = decimal_text(instrument.price_e8(order.tick), instrument.pair_decimals) if order.tick else "0"
        words = f"{side} {decimal_text(order.quantity)} {instrument.altname} @ {kind}"
        fees = sum(fill.commission for fill in order.fills)
        row: dict[str, object] = {
            "refid": None,
            "userref": None,
            "cl_ord_id": order.client_id,
            "status": _STATES[order.status],
            "opentm": order.time_ms / 1000,
            "starttm": 0,
            "expiretm": 0,
            "descr": {
                "pair": instrument.altname,
                "type": side,
                "ordertype": kind,
                "price": price,
                "price2": "0",
                "leverage": "none",
                "order": words if kind == "market" else f"{words} {price}",
                "close": "",
            },
            "vol": decimal_text(order.quantity),
            "vol_exec": decimal_text(order.executed),
            "cost": decimal_text(order.spent, 5),
            "fee": decimal_text(fees, 5),
            "price": _average(instrument, order),
            "stopprice": "0.00000",
            "limitprice": "0.00000",
            "misc": "",
            "oflags": "fcib" if order.buys else "fciq",
        }
        if not order.is_open:
            row |= {"closetm": order.update_ms / 1000, "reason": None if order.status == "FILLED" else "User requested"}
        return row


def _average(instrument: Instrument, order: Order) -> str:
    return decimal_text(order.spent * 10**8 // order.executed if order.executed else 0, instrument.price_decimals)


def _ledger(asset: str, amount: int) -> str:
    return decimal_text(amount, ASSETS[asset][1])


def _txid(order: Order) -> str:
    """Spell an order id as Kraken does: `O`, then groups of five, five and six characters."""
    number = int.from_bytes(hashlib.sha256(f"{order.id}".encode()).digest()[:10], "big")
    text = "".join(_CROCKFORD[number >> shift & 31] for shift in range(0, 80, 5))
    return f"O{text[:5]}-{text[5:10]}-{text[10:16]}"
