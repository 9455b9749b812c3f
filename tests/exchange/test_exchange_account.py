"""The account: nothing is made or lost but by trades and fees."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_marketreplay.exchange.account import Account, OrderRefused
from pytest_marketreplay.exchange.instruments import BINANCE_INSTRUMENTS
from pytest_marketreplay.exchange.market import Market

BTC = tuple(each for each in BINANCE_INSTRUMENTS if each.symbol == "BTCUSDT")
FUNDS = {"BTC": 10**8, "USDT": 10_000_000 * 10**8}


def new_account(seed: int = 1) -> tuple[Market, Account]:
    market = Market(BTC, seed)
    return market, Account(market, FUNDS)


def best(market: Market, is_bid: bool) -> int:
    return market.listings["BTCUSDT"].book.best(is_bid).tick


orders = st.lists(
    st.tuples(
        st.booleans(),
        st.sampled_from(["LIMIT", "LIMIT_MAKER", "MARKET"]),
        st.sampled_from(["GTC", "IOC", "FOK"]),
        st.integers(-300, 300),
        st.integers(1, 5 * 10**6),
        st.booleans(),
        st.integers(0, 20),
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 50), orders)
def test_balances_change_only_by_fills_and_are_never_negative(seed: int, wanted: list) -> None:
    market, account = new_account(seed)
    for buys, kind, duration, offset, quantity, cancels, steps in wanted:
        try:
            order = account.place(
                "BTCUSDT",
                buys=buys,
                kind=kind,
                duration="GTC" if kind == "LIMIT_MAKER" else duration,
                tick=0 if kind == "MARKET" else best(market, True) + offset,
                quantity=quantity,
            )
        except OrderRefused:
            continue
        if cancels and order.is_open:
            account.cancel(order)
        market.advance(steps)
        assert all(each.free >= 0 and each.locked >= 0 for each in account.balances.values())
    expected = dict(FUNDS)
    for order in account.orders.values():
        assert order.executed == sum(fill.trade.quantity for fill in order.fills) <= order.quantity
        assert (order.status == "FILLED") == (order.executed == order.quantity)
        for fill in order.fills:
            value = fill.trade.tick * BTC[0].tick_e8 * fill.trade.quantity // 10**8
            sign = 1 if order.buys else -1
            expected["BTC"] += sign * fill.trade.quantity
            expected["USDT"] -= sign * value
            expected[fill.commission_asset] -= fill.commission
    for asset, balance in account.balances.items():
        assert balance.free + balance.locked == expected[asset]
    for order in account.open_orders():
        account.cancel(order)
    assert all(balance.locked == 0 for balance in account.balances.values())


def test_a_resting_order_fills_when_the_market_comes_to_its_price() -> None:
    market, account = new_account()
    order = account.place("BTCUSDT", buys=False, kind="LIMIT", tick=best(market, False) + 5, quantity=10**6)
    assert (order.status, account.balances["BTC"].locked) == ("NEW", 10**6)
    for _ in range(2000):
        market.advance()
        if not order.is_open:
            break
    assert order.status == "FILLED"
    assert order.fills[0].is_maker
    assert not order.fills[0].trade.buyer_is_maker
    assert order.fills[0].trade.tick == order.tick
    assert order.fills[0].trade in market.listings["BTCUSDT"].trades
    assert account.balances["BTC"].locked == 0


def test_fill_or_kill_takes_all_or_nothing() -> None:
    market, account = new_account()
    ask = market.listings["BTCUSDT"].book.best(False)
    order = account.place(
        "BTCUSDT", buys=True, kind="LIMIT", tick=ask.tick, quantity=ask.quantity + 1000, duration="FOK"
    )
    assert (order.status, order.executed) == ("EXPIRED", 0)


def test_immediate_or_cancel_takes_what_there_is() -> None:
    market, account = new_account()
    ask = market.listings["BTCUSDT"].book.best(False)
    order = account.place(
        "BTCUSDT", buys=True, kind="LIMIT", tick=ask.tick, quantity=ask.quantity + 1000, duration="IOC"
    )
    assert (order.status, order.executed) == ("EXPIRED", ask.quantity)


def test_a_limit_order_takes_first_and_rests_with_what_is_left() -> None:
    market, account = new_account()
    ask = market.listings["BTCUSDT"].book.best(False)
    order = account.place("BTCUSDT", buys=True, kind="LIMIT", tick=ask.tick, quantity=ask.quantity + 1000)
    assert (order.status, order.executed) == ("PARTIALLY_FILLED", ask.quantity)
    assert account.balances["USDT"].locked == ask.tick * BTC[0].tick_e8 * 1000 // 10**8


def test_a_maker_order_that_would_take_is_refused() -> None:
    market, account = new_account()
    with pytest.raises(OrderRefused) as caught:
        account.place("BTCUSDT", buys=True, kind="LIMIT_MAKER", tick=best(market, False), quantity=10**6)
    assert caught.value.reason == "would take"
    assert not account.orders


def test_an_order_beyond_the_balance_is_refused() -> None:
    market, account = new_account()
    with pytest.raises(OrderRefused) as caught:
        account.place("BTCUSDT", buys=True, kind="LIMIT", tick=best(market, True), quantity=500 * 10**8)
    assert caught.value.reason == "funds"


def test_an_amount_of_the_quote_asset_buys_what_the_book_gives() -> None:
    market, account = new_account()
    for amount in (500 * 10**8, 5_000_000 * 10**8):
        quantity = account.quantity_for("BTCUSDT", True, amount)
        filled, cost = market.listings["BTCUSDT"].fillable(True, quantity, None)
        assert filled == quantity
        assert quantity % BTC[0].step_e8 == 0
        assert amount - 2 * 10**8 < cost <= amount
    everything = account.quantity_for("BTCUSDT", True, 10**30)
    assert everything == sum(level.quantity for level in market.listings["BTCUSDT"].book.side(False))


def test_orders_are_found_by_either_id() -> None:
    _, account = new_account()
    order = account.place("BTCUSDT", buys=True, kind="LIMIT", tick=10_000_000, quantity=10**6, client_id="mine")
    assert account.find("BTCUSDT", order.id, None) is order
    assert account.find("BTCUSDT", None, "mine") is order
    assert account.find("ETHUSDT", order.id, None) is None
    assert account.find(None, None, "other") is None
