"""`krakenex`, which sends public calls as POST with the pair in a form body."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import krakenex
import pytest

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.errors import UnrecordedRequest

from .server import RealExchange

QUERIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Time", {}),
    ("SystemStatus", {}),
    ("AssetPairs", {}),
    ("AssetPairs", {"pair": "XBTUSDT"}),
    ("Depth", {"pair": "XBTUSDT", "count": "10"}),
    ("Ticker", {"pair": "XBTUSDT"}),
    ("Trades", {"pair": "XBTUSDT"}),
    ("OHLC", {"pair": "XBTUSDT", "interval": "1"}),
    ("OHLC", {"pair": "XBTUSD"}),
    ("Depth", {"pair": "NOPE"}),
)


def ask(server: RealExchange, queries: tuple[tuple[str, dict[str, Any]], ...] = QUERIES) -> list[Any]:
    api = krakenex.API()
    api.uri = server.url
    try:
        return [api.query_public(method, data) for method, data in queries]
    finally:
        api.session.close()


def test_public_calls_replay_with_the_server_asked_no_more(exchange: RealExchange, tmp_path: Path) -> None:
    live = ask(exchange)
    exchange.reset()
    with use_cassette(tmp_path / "c", mode="once", hosts={exchange.address: "kraken"}):
        recorded = ask(exchange)
    seen = exchange.asked()
    with use_cassette(tmp_path / "c", hosts={exchange.address: "kraken"}) as session:
        replayed = ask(exchange)
    assert exchange.asked() == seen == len(QUERIES)
    assert session.replayed == len(QUERIES)
    assert live == recorded == replayed
    assert replayed[-2] == {"error": ["EGeneral:Too many requests"]}
    assert replayed[-1] == {"error": ["EQuery:Unknown asset pair"]}


def test_two_pairs_asked_at_the_same_url_are_told_apart(exchange: RealExchange, tmp_path: Path) -> None:
    with use_cassette(tmp_path / "c", mode="once", hosts={exchange.address: "kraken"}):
        ask(exchange)
    backwards = QUERIES[::-1]
    with use_cassette(tmp_path / "c", hosts={exchange.address: "kraken"}):
        replayed = ask(exchange, backwards)
    exchange.reset()
    assert replayed == ask(exchange, backwards)


def test_a_pair_that_was_not_recorded_is_refused_by_its_name(exchange: RealExchange, tmp_path: Path) -> None:
    with use_cassette(tmp_path / "c", mode="once", hosts={exchange.address: "kraken"}):
        ask(exchange)
    with (
        pytest.raises(UnrecordedRequest, match="pair: 'ETHUSDT' asked, 'XBTUSDT' recorded"),
        use_cassette(tmp_path / "c", hosts={exchange.address: "kraken"}),
    ):
        ask(exchange, (("Ticker", {"pair": "ETHUSDT"}),))
