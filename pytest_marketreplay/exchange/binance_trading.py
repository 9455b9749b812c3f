"""Binance's account endpoints: orders, balances, trades, listen keys.

Shapes and weights: "Account endpoints", "Trading endpoints" and "User data stream endpoints" of the Spot REST API
documentation (rest-api.md); `capital/config/getall` is "All Coins' Information" of the Wallet documentation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from .account import Account, Duration, Kind, Order, OrderRefused
from .binance_orders import cancelled_row, fill_row, order_row, placed_row
from .binance_rules import BinanceRefusal, Parameters, Route, Routes
from .decimals import decimal_text
from .instruments import Instrument
from .listen_keys import ListenKeys
from .market import Market

_FUNDS = "Account has insufficient balance for requested action."
_KINDS = ("LIMIT", "LIMIT_MAKER", "MARKET")
_UNSUPPORTED = {
    "STOP_LOSS": "Stop loss orders are not supported for this symbol.",
    "STOP_LOSS_LIMIT": "Stop loss limit orders are not supported for this symbol.",
    "TAKE_PROFIT": "Take profit orders are not supported for this symbol.",
    "TAKE_PROFIT_LIMIT": "Take profit limit orders are not supported for this symbol.",
}


def trading_routes(market: Market, account: Account, keys: ListenKeys) -> Routes:
    """Give the endpoints that need the account's key, most of them a signature too."""
    desk = _Desk(market, account, keys)

    def signed(run: Callable[[Parameters], object], weight: int) -> Route:
        return Route(run, weight, security="signed")

    return {
        ("GET", "/api/v3/account"): signed(desk.account, 20),
        ("POST", "/api/v3/order"): signed(desk.place, 1),
        ("POST", "/api/v3/order/test"): signed(desk.try_out, 1),
        ("GET", "/api/v3/order"): signed(desk.query, 4),
        ("DELETE", "/api/v3/order"): signed(desk.cancel, 1),
        ("GET", "/api/v3/openOrders"): signed(desk.open_orders, 6),
        ("DELETE", "/api/v3/openOrders"): signed(desk.cancel_all, 1),
        ("GET", "/api/v3/allOrders"): signed(desk.all_orders, 20),
        ("GET", "/api/v3/myTrades"): signed(desk.trades, 20),
        ("GET", "/sapi/v1/capital/config/getall"): signed(desk.coins, 10),
        # ccxt asks for margin pairs when it has a key: there is no margin trading here.
        ("GET", "/sapi/v1/margin/allAssets"): Route(desk.nothing, 1, security="key"),
        ("GET", "/sapi/v1/margin/allPairs"): Route(desk.nothing, 1, security="key"),
        ("GET", "/sapi/v1/margin/isolated/allPairs"): Route(desk.nothing, 1, security="key"),
        ("POST", "/api/v3/userDataStream"): Route(desk.open_stream, 2, security="key"),
        ("PUT", "/api/v3/userDataStream"): Route(desk.keep_stream, 2, security="key"),
        ("DELETE", "/api/v3/userDataStream"): Route(desk.close_stream, 2, security="key"),
    }


class _Desk:
    def __init__(self, market: Market, account: Account, keys: ListenKeys) -> None:
        self._market = market
        self._account = account
        self._keys = keys

    def _row(self, order: Order) -> object:
        return order_row(self._instrument(order.symbol), order)

    def _instrument(self, symbol: str) -> Instrument:
        return self._market.listings[symbol].instrument

    # Orders

    def place(self, parameters: Parameters) -> object:
        symbol, buys, kind, duration, tick, quantity = self._wanted(parameters)
        client_id = parameters.text("newClientOrderId") or ""
        for open_order in self._account.open_orders(symbol):
            if client_id and open_order.client_id == client_id:
                raise BinanceRefusal(-2010, "Duplicate order sent.")
        try:
            order = self._account.place(
                symbol, buys=buys, kind=kind, tick=tick, quantity=quantity, duration=duration, client_id=client_id
            )
        except OrderRefused as refused:
            would_take = "Order would immediately match and take."
            raise BinanceRefusal(-2010, _FUNDS if refused.reason == "funds" else would_take) from None
        detail = parameters.text("newOrderRespType") or ("ACK" if kind == "LIMIT_MAKER" else "FULL")
        return placed_row(self._instrument(symbol), order, detail)

    def try_out(self, parameters: Parameters) -> object:
        self._wanted(parameters)
        return {}

    def _wanted(self, parameters: Parameters) -> tuple[str, bool, Kind, Duration, int, int]:
        symbol = parameters.symbol()
        side = parameters.one_of("side", ("BUY", "SELL"), -1117, "Invalid side.")
        kind = parameters.one_of("type", (*_KINDS, *_UNSUPPORTED), -1116, "Invalid orderType.")
        if kind in _UNSUPPORTED:
            raise BinanceRefusal(-2010, _UNSUPPORTED[kind])
        instrument, buys = self._instrument(symbol), side == "BUY"
        duration, price = "GTC", 0
        if kind == "LIMIT":
            duration = parameters.one_of("timeInForce", ("GTC", "IOC", "FOK"), -1115, "Invalid timeInForce.")
        elif "timeInForce" in parameters:
            raise BinanceRefusal(-1106, "Parameter 'timeInForce' sent when not required.")
        if kind != "MARKET":
            parameters.mandatory("price")
            price = parameters.amount_e8("price") or 0
            if not price or price % instrument.tick_e8 or price > 10**6 * 10**8:
                raise BinanceRefusal(-1013, "Filter failure: PRICE_FILTER")
        elif "price" in parameters:
            raise BinanceRefusal(-1106, "Parameter 'price' sent when not required.")
        quantity = self._quantity(parameters, symbol, buys, kind)
        if not quantity or quantity % instrument.step_e8 or quantity > 9000 * 10**8:
            raise BinanceRefusal(-1013, "Filter failure: LOT_SIZE")
        tick = price // instrument.tick_e8
        value = (price or instrument.price_e8(self._market.listings[symbol].trades[-1].tick)) * quantity // 10**8
        if value < instrument.minimum_e8 or (kind != "MARKET" and value > 9 * 10**6 * 10**8):
            raise BinanceRefusal(-1013, "Filter failure: NOTIONAL")
        return symbol, buys, cast(Kind, kind), cast(Duration, duration), tick, quantity

    def _quantity(self, parameters: Parameters, symbol: str, buys: bool, kind: str) -> int:
        if kind == "MARKET" and "quoteOrderQty" in parameters:
            if "quantity" in parameters:
                raise BinanceRefusal(-1128, "Combination of optional parameters invalid.")
            return self._account.quantity_for(symbol, buys, parameters.amount_e8("quoteOrderQty") or 0)
        parameters.mandatory("quantity")
        return parameters.amount_e8("quantity") or 0

    def _named(self, parameters: Parameters, code: int, message: str) -> Order:
        symbol = parameters.symbol()
        order_id, client_id = parameters.integer("orderId"), parameters.text("origClientOrderId")
        if order_id is None and client_id is None:
            message = "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!"
            raise BinanceRefusal(-1102, message)
        order = self._account.find(symbol, order_id, client_id)
        if order is None:
            raise BinanceRefusal(code, message)
        return order

    def query(self, parameters: Parameters) -> object:
        return self._row(self._named(parameters, -2013, "Order does not exist."))

    def cancel(self, parameters: Parameters) -> object:
        order = self._named(parameters, -2011, "Unknown order sent.")
        if not order.is_open:
            raise BinanceRefusal(-2011, "Unknown order sent.")
        self._account.cancel(order)
        return cancelled_row(self._instrument(order.symbol), order, parameters.text("newClientOrderId"))

    def cancel_all(self, parameters: Parameters) -> object:
        orders = self._account.open_orders(parameters.symbol())
        if not orders:
            raise BinanceRefusal(-2011, "Unknown order sent.")
        for order in orders:
            self._account.cancel(order)
        return [cancelled_row(self._instrument(order.symbol), order, None) for order in orders]

    def open_orders(self, parameters: Parameters) -> object:
        symbol = parameters.symbol() if "symbol" in parameters else None
        return [self._row(order) for order in self._account.open_orders(symbol)]

    def all_orders(self, parameters: Parameters) -> object:
        symbol, first = parameters.symbol(), parameters.integer("orderId") or 0
        orders = [o for o in self._account.orders.values() if o.symbol == symbol and o.id >= first]
        limit = parameters.limit(500, 1000)
        return [self._row(order) for order in (orders[:limit] if first else orders[-limit:])]

    # The account

    def account(self, _: Parameters) -> object:
        return {
            "makerCommission": 10,
            "takerCommission": 10,
            "buyerCommission": 0,
            "sellerCommission": 0,
            "commissionRates": {
                "maker": "0.00100000",
                "taker": "0.00100000",
                "buyer": "0.00000000",
                "seller": "0.00000000",
            },
            "canTrade": True,
            "canWithdraw": True,
            "canDeposit": True,
            "brokered": False,
            "requireSelfTradePrevention": False,
            "preventSor": False,
            "updateTime": self._account.updated_ms,
            "accountType": "SPOT",
            "balances": [
                {"asset": asset, "free": decimal_text(balance.free), "locked": decimal_text(balance.locked)}
                for asset, balance in self._account.balances.items()
            ],
            "permissions": ["SPOT"],
            "uid": 354937868,
        }

    def trades(self, parameters: Parameters) -> object:
        symbol, order_id = parameters.symbol(), parameters.integer("orderId")
        first, limit = parameters.integer("fromId"), parameters.limit(500, 1000)
        start, end = parameters.moment_ms("startTime") or 0, parameters.moment_ms("endTime")
        rows = sorted(
            (
                (fill.trade.id, fill_row(self._instrument(symbol), order, fill))
                for order in self._account.orders.values()
                if order.symbol == symbol and order_id in (None, order.id)
                for fill in order.fills
                if fill.trade.id >= (first or 0) and start <= fill.trade.time_ms <= (end or fill.trade.time_ms)
            ),
            key=lambda pair: pair[0],
        )
        return [row for _, row in (rows[:limit] if first is not None or start else rows[-limit:])]

    def coins(self, _: Parameters) -> object:
        return [
            {
                "coin": asset,
                "depositAllEnable": True,
                "withdrawAllEnable": True,
                "name": asset,
                "free": decimal_text(balance.free),
                "locked": decimal_text(balance.locked),
                "freeze": "0",
                "withdrawing": "0",
                "ipoing": "0",
                "ipoable": "0",
                "storage": "0",
                "isLegalMoney": False,
                "trading": True,
                "networkList": [],
            }
            for asset, balance in self._account.balances.items()
        ]

    def nothing(self, _: Parameters) -> object:
        return []

    # Listen keys

    def open_stream(self, _: Parameters) -> object:
        return {"listenKey": self._keys.open()}

    def keep_stream(self, parameters: Parameters) -> object:
        if parameters.mandatory("listenKey") != self._keys.current:
            raise BinanceRefusal(-1125, "This listenKey does not exist.")
        return {}

    def close_stream(self, parameters: Parameters) -> object:
        self.keep_stream(parameters)
        self._keys.close()
        return {}
