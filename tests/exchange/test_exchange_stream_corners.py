"""Clients that share a channel, ping too often, send too much, or speak after the end; a market that cannot move."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from pytest_marketreplay.exchange import SimulatedExchange

Listen = Callable[..., Any]


def test_two_clients_of_one_kraken_channel_hear_the_same(listen: Listen, exchange: SimulatedExchange) -> None:
    ears = [listen("kraken", "/v2"), listen("kraken", "/v2")]
    for ear in ears:
        ear.next()
        ear.ask({"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USD"], "depth": 10}})
    exchange.advance(30, "kraken")
    first, second = ([frame for frame in ear.all() if frame.get("type") == "update"] for ear in ears)
    assert len(first) > 5
    assert first == second


def test_pings_count_as_messages_of_a_binance_client(listen: Listen) -> None:
    with SimulatedExchange(real_time=lambda: 1_000_000.0) as exchange:
        ear = listen("binance", "/ws", of=exchange)
        for _ in range(5):
            assert ear.connection.ping().wait(10)
        ear.connection.ping()
        with pytest.raises(ConnectionClosed) as closed:
            ear.next()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "Too many requests")


def test_a_message_that_is_too_large_closes_the_connection(listen: Listen, exchange: SimulatedExchange) -> None:
    ear = listen("binance", "/ws")
    ear.send(json.dumps({"method": "x" * 100_000}))
    with pytest.raises(ConnectionClosed) as closed:
        ear.next()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_what_a_client_says_after_the_end_is_not_answered(exchange: SimulatedExchange) -> None:
    connection = exchange.streaming.open("binance", "/ws", "")
    exchange.streaming.left("binance", connection)
    exchange.streaming.heard("binance", connection, '{"method":"LIST_SUBSCRIPTIONS","id":1}')
    assert connection.take() is None


def test_the_pace_can_be_set_before_the_start(listen: Listen) -> None:
    exchange = SimulatedExchange()
    exchange.step_every = 0.01
    with exchange:
        ear = listen("binance", "/ws/btcusdt@depth@100ms", of=exchange)
        assert ear.next()["e"] == "depthUpdate"


def test_a_market_that_cannot_move_by_itself_ends_the_exchange_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: told.append(arguments.exc_value))
    exchange = SimulatedExchange(step_every=0.01)

    def stuck() -> None:
        raise ArithmeticError("no price")

    monkeypatch.setattr(exchange, "step", stuck)
    with exchange:
        assert exchange._thread is not None
        exchange._thread.join(10)
    assert [str(error) for error in told] == ["no price"]
