"""Odd answers and odd markets: rows of mixed kinds, lists that differ, prices at the edge, symbols without letters."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given, settings

from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.errors import DamagedCassette, UsageMistake
from pytest_marketreplay.market.structs import DepthDiff, Level, OrderBook, Trade
from pytest_marketreplay.strategies import (
    AnswerServer,
    RecordedAnswer,
    candles,
    candles_of,
    from_cassette,
    sessions,
    shown,
    trades,
)
from pytest_marketreplay.strategies import session as session_module
from pytest_marketreplay.strategies.draws import Grid

from .shrinking import smallest
from .test_recorded_answers import cassette

few = settings(max_examples=60, derandomize=True, database=None, deadline=None)
CENT = Decimal("0.01")


def drawn_values(folder: Path) -> list[Any]:
    """Return the values of many draws."""
    out: list[Any] = []

    @few
    @given(from_cassette(folder))
    def look(answer: RecordedAnswer) -> None:
        out.append(answer.value)

    look()
    return out


# ---------------------------------------------------------------- recorded answers


def test_an_answer_that_is_one_number_keeps_its_decimals(tmp_path: Path) -> None:
    texts = set(drawn_values(cassette(tmp_path, '"42.50"')))
    assert len(texts) > 5
    assert all(Decimal(text) > 0 and text[-3] == "." for text in texts)


def test_rows_of_other_columns_are_not_mixed(tmp_path: Path) -> None:
    """Kraken's version 1 sends rows of different kinds on one path."""
    values = drawn_values(cassette(tmp_path, '[336, 5, "book-10"]', '[336, "ownTrades", "x"]'))
    assert {tuple(type(cell) for cell in value) for value in values} == {(int, int, str), (int, str, str)}


def test_a_column_that_stands_still_in_one_list_and_rises_in_another_never_falls(tmp_path: Path) -> None:
    folder = cassette(tmp_path, *(f'[{{"t":50,"n":{n}}},{{"t":{t},"n":3}}]' for t, n in ((50, 8), (60, 8), (50, 1))))
    lists = [[row["t"] for row in value] for value in drawn_values(folder)]
    assert all(before <= after for times in lists for before, after in pairwise(times))
    assert any(before < after for times in lists for before, after in pairwise(times))


def test_names_stay_however_many_there_are(tmp_path: Path) -> None:
    names = [f"N{number}" for number in range(80)]
    folder = cassette(tmp_path, json.dumps([{"name": name} for name in names]))
    assert all([row["name"] for row in value] == names[: len(value)] for value in drawn_values(folder))


def test_a_book_whose_other_side_shows_no_price_is_drawn_all_the_same(tmp_path: Path) -> None:
    folder = cassette(tmp_path, '{"bids":[["4.00","1"]],"asks":[{"note":"halted"}]}')
    values = drawn_values(folder)
    assert all(row == {"note": "halted"} for value in values for row in value["asks"])
    assert len({value["bids"][0][0] for value in values if value["bids"]}) > 3


def test_lists_that_were_not_looked_at_do_not_grow_by_what_others_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of very large answers only the first are looked at; a list without the column that rises there stays as it is."""
    monkeypatch.setattr(shown, "_MOST_NODES", 1)
    folder = cassette(tmp_path, '[{"id":10},{"id":20}]', '[{"x":"a"},{"id":50},{"x":"b"},{"id":70}]')
    lists = [value for value in drawn_values(folder) if value and "x" in value[0]]
    assert lists
    assert all([next(iter(row)) for row in value] == ["x", "id", "x", "id"][: len(value)] for value in lists)


def test_a_damaged_frame_is_named_when_the_strategy_is_made(tmp_path: Path) -> None:
    path = Place("binance", "ws_stream", "_all").within(tmp_path) / "2025-10-02T10-00-00.jsonl"
    path.parent.mkdir(parents=True)
    meta = '{"dir":"recv","conn":"1","seq":1,"opcode":"nonsense"}'
    path.write_text(f'{{"timestamp":1,"endpoint":"/stream","params":{{}},"meta":{meta},"response":1}}\n')
    with pytest.raises(DamagedCassette) as caught:
        from_cassette(tmp_path)
    assert (caught.value.path, caught.value.line) == (path, 1)


def test_a_head_request_gets_the_length_and_no_body(tmp_path: Path) -> None:
    answer = smallest(from_cassette(cassette(tmp_path, '{"a":1}')), lambda answer: True)
    with AnswerServer() as server, requests.Session() as session:
        server.put(answer)
        got = session.head(server.url + answer.endpoint)
        assert (got.headers["content-length"], got.content) == ("7", b"")


# ---------------------------------------------------------------- trades and candles


def trade(at_ms: int, price: str) -> Trade:
    return Trade("binance", "X", at_ms * 1_000_000, Decimal(price), Decimal("0.50"), exchange_ms=at_ms)


def test_intervals_in_which_nobody_traded_are_flat_at_the_last_price() -> None:
    made = candles_of([trade(1_500, "4"), trade(1_900, "5.5"), trade(4_200, "6")], "1s")
    assert [(each.open_ms, each.open, each.close, each.volume, each.trades, each.closed) for each in made] == [
        (1_000, Decimal(4), Decimal("5.5"), Decimal("1.00"), 2, True),
        (2_000, Decimal("5.5"), Decimal("5.5"), Decimal(0), 0, True),
        (3_000, Decimal("5.5"), Decimal("5.5"), Decimal(0), 0, True),
        (4_000, Decimal(6), Decimal(6), Decimal("0.50"), 1, False),
    ]
    assert [each.time_ns for each in made[:3]] == [2_000_000_000, 3_000_000_000, 4_000_000_000]


LEVELS = (Level(CENT, Decimal(1)),)


@pytest.mark.parametrize(
    ("book", "why"),
    [
        (OrderBook("binance", "X", 0, LEVELS, (), 1), "both sides"),
        (OrderBook("binance", "X", 0, (Level(Decimal(0), Decimal(1)),), LEVELS, 1), "price of 0.01 at the least"),
    ],
)
def test_trades_need_a_book_that_can_be_traded(book: OrderBook, why: str) -> None:
    with pytest.raises(UsageMistake, match=why):
        trades(book=book, tick=CENT)


def test_candles_below_one_tick_are_a_mistake() -> None:
    with pytest.raises(UsageMistake, match="below one tick"):
        candles(mid=Decimal("0.001"), tick=CENT)


# ---------------------------------------------------------------- sessions


def test_a_trade_never_happens_in_the_very_moment_of_a_diff() -> None:
    """The order of the two frames would be arbitrary."""
    book = OrderBook("binance", "X", 100, LEVELS, (Level(Decimal("0.03"), Decimal(1)),), 1)
    later = OrderBook("binance", "X", 105, LEVELS, (Level(Decimal("0.02"), Decimal(1)),), 2)
    diff = DepthDiff("binance", "X", 105, (), later.asks, 2, 2)
    drawn = session_module._Drawn(book, [], [(5, 0, 1, "buy", 0)], 0, 1)
    (made,) = session_module._trades(drawn, [diff], [book, later], Grid(CENT), Grid(CENT))
    assert (made.time_ns, made.price) == (106, Decimal("0.02"))


@pytest.mark.parametrize(("symbol", "key"), [("SOL-USD", "SOLUSD"), ("BTC-USD", "XXBTZUSD"), ("ETH-BTC", "XETHXXBT")])
def test_krakens_answers_name_the_pair_as_kraken_does(symbol: str, key: str) -> None:
    """Only the oldest assets have their X and Z."""
    session = smallest(sessions("kraken", symbol), lambda session: True)
    assert [next(iter(json.loads(answer.body)["result"])) for answer in session.answers] == [key] * 2
