"""The rows that Binance gives for orders and the account's trades, as the Spot REST API documents them."""

from __future__ import annotations

from .account import Fill, Order
from .binance_reports import cancellation_id
from .decimals import decimal_text
from .instruments import Instrument


def placed_row(instrument: Instrument, order: Order, detail: str) -> dict[str, object]:
    """Give the answer to a new order: `ACK`, `RESULT` or `FULL`."""
    row: dict[str, object] = {
        "symbol": order.symbol,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        "transactTime": order.time_ms,
    }
    if detail == "ACK":
        return row
    row |= _amounts(instrument, order)
    row |= {"workingTime": order.time_ms, "selfTradePreventionMode": "NONE"}
    if detail == "FULL":
        row["fills"] = [
            {
                "price": decimal_text(instrument.price_e8(fill.trade.tick)),
                "qty": decimal_text(fill.trade.quantity),
                "commission": decimal_text(fill.commission),
                "commissionAsset": fill.commission_asset,
                "tradeId": fill.trade.id,
            }
            for fill in order.fills
        ]
    return row


def order_row(instrument: Instrument, order: Order) -> dict[str, object]:
    """Give the state of an order."""
    return {
        "symbol": order.symbol,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        **_amounts(instrument, order),
        "stopPrice": "0.00000000",
        "icebergQty": "0.00000000",
        "time": order.time_ms,
        "updateTime": order.update_ms,
        "isWorking": True,
        "workingTime": order.time_ms,
        "origQuoteOrderQty": "0.00000000",
        "selfTradePreventionMode": "NONE",
    }


def cancelled_row(instrument: Instrument, order: Order, client_id: str | None) -> dict[str, object]:
    """Give the answer to a cancellation, which has a client's id of its own."""
    return {
        "symbol": order.symbol,
        "origClientOrderId": order.client_id,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": client_id or cancellation_id(order),
        "transactTime": order.update_ms,
        **_amounts(instrument, order),
        "selfTradePreventionMode": "NONE",
    }


def fill_row(instrument: Instrument, order: Order, fill: Fill) -> dict[str, object]:
    """Give one trade of the account."""
    price = instrument.price_e8(fill.trade.tick)
    return {
        "symbol": order.symbol,
        "id": fill.trade.id,
        "orderId": order.id,
        "orderListId": -1,
        "price": decimal_text(price),
        "qty": decimal_text(fill.trade.quantity),
        "quoteQty": decimal_text(price * fill.trade.quantity // 10**8),
        "commission": decimal_text(fill.commission),
        "commissionAsset": fill.commission_asset,
        "time": fill.trade.time_ms,
        "isBuyer": order.buys,
        "isMaker": fill.is_maker,
        "isBestMatch": True,
    }


def _amounts(instrument: Instrument, order: Order) -> dict[str, object]:
    return {
        "price": decimal_text(instrument.price_e8(order.tick)),
        "origQty": decimal_text(order.quantity),
        "executedQty": decimal_text(order.executed),
        "cummulativeQuoteQty": decimal_text(order.spent),  # spelled like this in the API
        "status": order.status,
        "timeInForce": order.duration,
        "type": order.kind,
        "side": "BUY" if order.buys else "SELL",
    }
