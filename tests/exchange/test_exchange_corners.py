"""Corners of the simulated exchange: bodies that are no text, an order beyond the book, a thread that does not end."""

from __future__ import annotations

from concurrent.futures import Future

import pytest
import requests
from aiohttp import web

from pytest_marketreplay.errors import MarketReplayError
from pytest_marketreplay.exchange import SimulatedExchange, server
from pytest_marketreplay.exchange.binance_rules import Parameters
from pytest_marketreplay.exchange.listener import Listener
from pytest_marketreplay.exchange.wire import Call


def test_a_body_that_is_no_text_has_no_parameters() -> None:
    assert Call("POST", "/x", body=b"a=1&b=\xff").form() == []
    assert Call("POST", "/x", body=b"a=1&b=").form() == [("a", "1"), ("b", "")]


def test_an_amount_that_was_not_sent_is_none_and_not_zero() -> None:
    parameters = Parameters([("quantity", "0.00000000")], [], ())
    assert (parameters.amount_e8("quantity"), parameters.amount_e8("price")) == (0, None)


@pytest.mark.parametrize("status", [418, 429])
def test_a_limit_says_the_words_that_were_asked_for(exchange: SimulatedExchange, status: int) -> None:
    exchange.fail_next("binance", status=status, retry_after=7, message="Slow down.")
    answer = requests.get(exchange.url("binance") + "/api/v3/ping", timeout=10)
    assert (answer.status_code, answer.json()) == (status, {"code": -1003, "msg": "Slow down."})
    assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize("buys", [True, False])
def test_an_order_larger_than_the_book_is_filled_as_far_as_it_reaches(exchange: SimulatedExchange, buys: bool) -> None:
    listing = exchange.market("binance").listings["BTCUSDT"]
    resting = sum(level.quantity for level in listing.book.side(not buys))
    filled, cost = listing.fillable(buys, 10 * resting, None)
    assert 0 < filled < resting  # some levels are always left, so that the book stays one
    assert cost > 0
    assert listing.fillable(buys, filled, None) == (filled, cost)


def test_a_thread_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = SimulatedExchange().start()
    thread, listener = exchange._thread, exchange._listener
    assert thread is not None
    assert listener is not None
    with monkeypatch.context() as deaf:
        deaf.setattr(server, "_PATIENCE_S", 0.01)
        deaf.setattr(listener, "stop", lambda: None)
        with pytest.raises(MarketReplayError, match="did not stop within"):
            exchange.stop()
    listener.stop()
    thread.join(10)
    assert not thread.is_alive()


def test_a_failure_after_the_start_is_raised_in_the_thread_and_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    real, cleaned = web.ServerRunner.cleanup, []

    async def cleanup(runner: web.ServerRunner) -> None:
        await real(runner)
        cleaned.append(runner)
        if len(cleaned) == 3:
            raise OSError("the last port would not close")

    monkeypatch.setattr(web.ServerRunner, "cleanup", cleanup)
    listener, ready = Listener(SimulatedExchange()), Future[dict[str, str]]()
    ready.add_done_callback(lambda _: listener.stop())
    with pytest.raises(OSError, match="would not close"):
        listener.run(ready)
    assert sorted(ready.result()) == ["binance", "kraken", "lab"]
