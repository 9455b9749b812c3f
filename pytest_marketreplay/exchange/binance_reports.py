"""The user data stream of Binance: what the account's orders and balances bring.

Payloads: "User Data Streams" of the Binance Spot documentation (user-data-stream.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from .account import Account, Execution, Fill, Order
from .decimals import decimal_text, product_e8
from .instruments import Instrument


def execution_report(
    instrument: Instrument, order: Order, execution: Execution, fill: Fill | None, now_ms: int
) -> Mapping[str, object]:
    """Give the report of one thing that happened to an order."""
    cancelled = execution == "CANCELED"
    price = instrument.price_e8(fill.trade.tick) if fill is not None else 0
    filled = fill.trade.quantity if fill is not None else 0
    return {
        "e": "executionReport",
        "E": now_ms,
        "s": order.symbol,
        "c": cancellation_id(order) if cancelled else order.client_id,
        "S": "BUY" if order.buys else "SELL",
        "o": order.kind,
        "f": order.duration,
        "q": decimal_text(order.quantity),
        "p": decimal_text(instrument.price_e8(order.tick)),
        "P": "0.00000000",
        "F": "0.00000000",
        "g": -1,
        "C": order.client_id if cancelled else "",
        "x": execution,
        "X": order.status,
        "r": "NONE",
        "i": order.id,
        "l": decimal_text(filled),
        "z": decimal_text(order.executed),
        "L": decimal_text(price),
        "n": decimal_text(fill.commission) if fill is not None else "0",
        "N": fill.commission_asset if fill is not None else None,
        "T": order.update_ms,
        "t": fill.trade.id if fill is not None else -1,
        "I": order.id * 2 + len(order.fills),
        "w": order.is_open and order.kind != "MARKET",
        "m": fill.is_maker if fill is not None else False,
        "M": fill is not None,
        "O": order.time_ms,
        "Z": decimal_text(order.spent),
        "Y": decimal_text(product_e8(price, filled)),
        "Q": "0.00000000",
        "W": order.time_ms,
        "V": "NONE",
    }


def position_report(account: Account, assets: tuple[str, str], now_ms: int) -> Mapping[str, object]:
    """Give the balances that an order may have changed."""
    return {
        "e": "outboundAccountPosition",
        "E": now_ms,
        "u": account.updated_ms,
        "B": [
            {
                "a": asset,
                "f": decimal_text(account.balances[asset].free),
                "l": decimal_text(account.balances[asset].locked),
            }
            for asset in assets
        ],
    }


def cancellation_id(order: Order) -> str:
    """Invent the client's id that a cancellation has when the client gave none."""
    return hashlib.sha256(f"cancel/{order.client_id}".encode()).hexdigest()[:22]
