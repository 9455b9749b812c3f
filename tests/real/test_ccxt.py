"""`ccxt`, unmodified, sync and async: the same results live, while it is recorded, and replayed without the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_marketreplay.api import use_cassette

from .exchanges import MARKETS, WAYS, Market, Question
from .server import RealExchange

LOAD = Question("load_markets")


def play(server: RealExchange, market: Market, way: str, cassette: Path, mode: str, *more: Any, **config: Any) -> Any:
    """Put questions with a cassette in play, and say whether any of them reached the server."""
    before = server.asked()
    with use_cassette(cassette, mode=mode, hosts={server.address: market.venue}, ignore_params=market.ignore_params):
        answers = WAYS[way](market, server.url, *more, **config)
    return answers, server.asked() - before


@pytest.mark.parametrize("name", MARKETS)
@pytest.mark.parametrize("way", WAYS)
def test_results_are_equal_live_recorded_and_replayed(
    exchange: RealExchange, tmp_path: Path, name: str, way: str
) -> None:
    market = MARKETS[name]
    questions = (LOAD, *market.questions)
    live = WAYS[way](market, exchange.url, questions)
    exchange.reset()
    recorded, asked = play(exchange, market, way, tmp_path / "c", "once", questions)
    replayed, escaped = play(exchange, market, way, tmp_path / "c", "none", questions)
    other_way = "sync" if way == "async" else "async"
    replayed_otherwise, escaped_otherwise = play(exchange, market, other_way, tmp_path / "c", "none", questions)

    assert asked >= len(questions)
    assert (escaped, escaped_otherwise) == (0, 0)
    assert len(live[0]) == market.markets
    assert not [answer for answer in live if isinstance(answer, tuple)]
    assert live == recorded == replayed == replayed_otherwise


REFUSALS = {
    "an unknown symbol": ("binanceus", Question("fetch_order_book", ("BTC/USDT", 10)), "BadSymbol"),
    "a ban, as one was recorded": ("binance", Question("fetch_ticker", ("BNB/BTC",)), "DDoSProtection"),
    "a rate limit with HTTP 200": ("bybit", Question("fetch_order_book", ("BTC/USDT",)), "RateLimitExceeded"),
    "Kraken's unknown pair": ("kraken", Question("fetch_ticker", ("BTC/USD",)), "ExchangeError"),
}


@pytest.mark.parametrize("case", REFUSALS)
@pytest.mark.parametrize("way", WAYS)
def test_errors_of_the_exchange_replay_as_the_same_class_and_text(
    exchange: RealExchange, tmp_path: Path, case: str, way: str
) -> None:
    name, question, expected = REFUSALS[case]
    market = MARKETS[name]
    recorded, _ = play(exchange, market, way, tmp_path / "c", "once", (LOAD, question))
    replayed, escaped = play(exchange, market, way, tmp_path / "c", "none", (LOAD, question))
    assert recorded[1][0] == expected
    assert replayed == recorded
    assert escaped == 0


FAULTS = {
    "429": ({"fail_429_next": 1}, "DDoSProtection", "DDoSProtection"),
    "418": ({"fail_418_next": 1}, "DDoSProtection", "DDoSProtection"),
    "500": ({"error_500_next": 1}, "ExchangeNotAvailable", "ExchangeNotAvailable"),
    # aiohttp makes a GET again by itself when the server hangs up, once
    "drop": ({"drop_next": 2}, "NetworkError", "ExchangeNotAvailable"),
    "truncate": ({"truncate_next": 1}, "NetworkError", "ExchangeError"),
    "hang": ({"hang_next": 1}, "RequestTimeout", "RequestTimeout"),
}
"""Options of the server, and what `ccxt` makes of them, sync and async."""


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", WAYS)
def test_faults_of_the_network_replay_as_the_same_ccxt_error(
    exchange: RealExchange, tmp_path: Path, fault: str, way: str
) -> None:
    options, *expected = FAULTS[fault]
    market = MARKETS["binance"]
    questions = (Question("fetch_time"),) * 3
    config = {"timeout": 300} if fault == "hang" else {}
    exchange.set(**options)
    recorded, asked = play(exchange, market, way, tmp_path / "c", "once", questions, **config)
    replayed, escaped = play(exchange, market, way, tmp_path / "c", "none", questions, **config)
    assert recorded[0][0] == expected[way == "async"]
    assert recorded[2] == 1616592268319
    assert [_class(answer) for answer in replayed] == [_class(answer) for answer in recorded]
    assert (asked, escaped) == (4 if (fault, way) == ("drop", "async") else 3, 0)


def _class(answer: object) -> object:
    """Leave the text out: that of a failure of the network says that it is replayed."""
    return answer[0] if isinstance(answer, tuple) else answer


def test_order_books_of_one_symbol_are_found_by_looking_into_one_folder(exchange: RealExchange, tmp_path: Path) -> None:
    market = MARKETS["kraken"]
    play(exchange, market, "sync", tmp_path / "c", "once", (LOAD, *market.questions))
    folders = {str(file.parent.relative_to(tmp_path / "c")) for file in (tmp_path / "c").rglob("*.jsonl")}
    assert folders == {
        "kraken/public_AssetPairs/_all",
        "kraken/public_Depth/BTC-USDT",
        "kraken/public_OHLC/BTC-USDT",
        "kraken/public_SystemStatus/_all",
        "kraken/public_Ticker/BTC-USDT",
        "kraken/public_Time/_all",
        "kraken/public_Trades/BTC-USDT",
    }


def test_reference_data_is_recorded_once_in_the_shared_layer(exchange: RealExchange, tmp_path: Path) -> None:
    market = MARKETS["binanceus"]
    hosts = {exchange.address: market.venue}
    for number, symbol in enumerate(("COMP/USDT", "ZRX/USDT")):
        with use_cassette(tmp_path / f"c{number}", mode="new_episodes", hosts=hosts, reference=tmp_path / "reference"):
            WAYS["sync"](market, exchange.url, (LOAD, Question("fetch_order_book", (symbol, 10))))
    assert exchange.asked() == 3  # the list of symbols once, and two books
    assert not list(tmp_path.glob("c*/binance_us/api_v3_exchangeInfo"))
    for number, symbol in enumerate(("COMP/USDT", "ZRX/USDT")):
        with use_cassette(tmp_path / f"c{number}", hosts=hosts, reference=tmp_path / "reference"):
            loaded, found = WAYS["async"](market, exchange.url, (LOAD, Question("fetch_order_book", (symbol, 10))))
        assert len(loaded) == market.markets
        assert found["bids"]
    assert exchange.asked() == 3
