"""Several symbols, snapshots and endpoints on one tape: each book from what is its own."""

from __future__ import annotations

import pytest

from pytest_marketreplay.data.market import MarketData
from pytest_marketreplay.errors import UsageMistake

START = 1_700_000_000_000


def diff_of(symbol: str, first: int) -> str:
    body = f'{{"e":"depthUpdate","E":1,"s":"{symbol}","U":{first},"u":{first},"b":[],"a":[]}}'
    return f'{{"stream":"{symbol.lower()}@depth","data":{body}}}'


def test_a_book_is_rebuilt_from_its_own_symbol_alone(tape) -> None:
    """The other symbol's diffs have no snapshot and a hole: neither is this book's business."""
    tape.depth(0, 1)
    tape.frame(1, diff_of("ETHUSDT", 70))
    tape.frame(2, diff_of("BTCUSDT", 2))
    tape.frame(3, diff_of("ETHUSDT", 90))
    data = MarketData([tape.root])
    assert [book.update_id for book in data.rebuilt("binance", "BTCUSDT")] == [2]
    assert [step.symbol for step in data.steps("binance", "BTCUSDT")] == ["BTCUSDT"]


def test_a_snapshot_joins_only_the_diffs_of_its_symbol(tape) -> None:
    tape.frame(0, diff_of("ETHUSDT", 2))
    tape.frame(1, diff_of("BTCUSDT", 2))
    tape.depth(2, 1)
    data = MarketData([tape.root], gaps="report")
    assert [(book.symbol, book.update_id) for book in data.rebuilt("binance")] == [("BTCUSDT", 2)]
    assert [(gap.symbol, gap.kind) for gap in data.gaps] == [("ETHUSDT", "join")]


def test_partial_books_of_a_stream_do_not_join_its_diffs(tape) -> None:
    tape.depth(0, 1)
    tape.diff(1, 2)
    tape.frame(2, '{"stream":"btcusdt@depth5","data":{"lastUpdateId":900,"bids":[["4","1"]],"asks":[]}}')
    tape.diff(3, 3)
    assert [book.update_id for book in MarketData([tape.root]).rebuilt("binance")] == [2, 3]


def test_a_symbol_that_two_endpoints_stream_needs_to_be_told_apart(tape) -> None:
    tape.depth(0, 1)
    tape.diff(1, 2)
    body = '{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":2,"u":2,"b":[],"a":[]}'
    tape.add("binance/ws_ws_btcusdt%40depth/BTCUSDT", 2, "/ws/btcusdt@depth", {"dir": "recv", "conn": "2"}, body)
    data = MarketData([tape.root])
    with pytest.raises(UsageMistake, match="which may be two markets") as caught:
        list(data.rebuilt("binance", "BTCUSDT"))
    assert "endpoint='/stream'" in str(caught.value)
    assert [book.update_id for book in data.rebuilt("binance", "BTCUSDT", endpoint="/stream")] == [2]


def test_two_venues_are_read_side_by_side(tape) -> None:
    tape.depth(0, 1)
    tape.add("kraken/public_Time/_all", 1, "/0/public/Time", {}, "{}")
    data = MarketData([tape.root])
    assert [place.place.venue for place in data.summary()] == ["binance", "kraken"]
    assert len(list(data.entries("binance", "/api/v3/depth"))) == len(list(data.entries("kraken", "/public/Time"))) == 1


def test_a_frame_in_a_folder_of_answers_is_still_a_frame(tape) -> None:
    """A file that was put together by hand."""
    tape.add("binance/api_v3_time/_all", 3, "/stream", {"dir": "recv", "conn": "1", "offset_ns": 7}, "{}")
    (recorded,) = MarketData([tape.root]).entries()
    assert recorded.is_frame
    assert recorded.time_ns == (START + 3) * 1_000_000 + 7


def test_diffs_that_come_after_the_clients_close_follow_those_before_it(tape) -> None:
    tape.depth(0, 10)
    tape.diff(10, 11)
    tape.frame(20, "null", dir="send", opcode="close", code=1000)
    tape.diff(30, 12)
    tape.frame(40, "null", opcode="close", code=1000)
    data = MarketData([tape.root])
    assert [book.update_id for book in data.rebuilt("binance", "BTCUSDT")] == [11, 12]
