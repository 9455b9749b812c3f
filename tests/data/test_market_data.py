"""`MarketData`: what is on a tape, in time order, in a window; damage, gaps and mistakes that are said and not passed over."""

from __future__ import annotations

import gzip
import os
import random
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pytest_marketreplay.cassette.reader import TornTail
from pytest_marketreplay.data.market import MarketData
from pytest_marketreplay.data.window import Window, time_ns
from pytest_marketreplay.errors import (
    BookGap,
    CassetteNotFound,
    DamagedCassette,
    UnreadablePayload,
    UsageMistake,
)

START = 1_700_000_000_000


def moments(data: MarketData, **wanted: object) -> list[int]:
    return [recorded.time_ns // 1_000_000 - START for recorded in data.entries(**wanted)]


# Time ---------------------------------------------------------------------------------------------------------------


def test_a_time_can_be_a_datetime_an_iso_text_or_milliseconds() -> None:
    same = [
        START,
        float(START),
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:20",
        "2023-11-14T23:13:20+01:00",
        datetime(2023, 11, 14, 22, 13, 20),
        datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC),
        datetime(2023, 11, 15, 3, 43, 20, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    ]
    assert {time_ns(time) for time in same} == {START * 1_000_000}
    assert time_ns("2023-11-14T22:13:20.123457Z") == START * 1_000_000 + 123_457_000


@pytest.mark.parametrize("time", [True, None, "yesterday", float("nan"), float("inf"), [1]])
def test_what_is_no_time_is_a_mistake(time: object) -> None:
    with pytest.raises(UsageMistake, match="start is"):
        Window.of(time, None) if time is not None else time_ns(time, "start")


def test_a_window_that_ends_before_it_starts_is_a_mistake(tape) -> None:
    tape.trade(0)
    with pytest.raises(UsageMistake, match="before it starts"):
        MarketData([tape.root]).trades(start=START + 1, end=START)


def test_a_window_has_its_start_and_not_its_end(tape) -> None:
    for moment in (0, 10, 20):
        tape.trade(moment)
    data = MarketData([tape.root])
    assert moments(data, start=START, end=START + 20) == [0, 10]
    assert [trade.exchange_ms for trade in data.trades(start=START + 10)] == [START + 10, START + 20]


# Entries ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60_000)), max_size=60), st.integers(0, 2**32))
def test_many_files_are_one_stream_in_the_order_of_time(tmp_path_factory, make_tape, lines, seed) -> None:
    """Files of several places and overlapping rotations, plain and sealed, against a sort of all lines."""
    tape = make_tape(tmp_path_factory.mktemp("tape"))
    for number, moment in sorted(lines, key=lambda line: line[1]):
        place = f"binance/{'ws_stream' if number % 2 else 'api_v3_time'}/_all"
        meta = {"dir": "recv", "conn": "1"} if number % 2 else {}
        tape.add(place, moment, "/x", meta, "{}", name=f"2023-11-14T22-13-20-{number + 1}.jsonl")
    chance = random.Random(seed)
    for path in list(tape.root.rglob("*.jsonl")):
        seal = chance.choice(["", ".gz", ".zst"])
        if seal:
            packed = gzip.compress(path.read_bytes()) if seal == ".gz" else zstandard.compress(path.read_bytes())
            path.with_name(path.name + seal).write_bytes(packed)
            path.unlink()
    if lines:
        assert moments(MarketData([tape.root])) == sorted(moment for _, moment in lines)


def test_several_cassettes_are_one_tape(make_tape, tmp_path: Path) -> None:
    one, other = make_tape(tmp_path / "a"), make_tape(tmp_path / "b")
    one.trade(0)
    other.trade(5)
    one.trade(9)
    assert moments(MarketData([one.root, other.root])) == [0, 5, 9]


def test_an_answer_counts_when_it_arrived(tape) -> None:
    tape.depth(0, 1, latency_ms=30.5)
    tape.trade(10)
    data = MarketData([tape.root])
    assert [recorded.is_frame for recorded in data.entries()] == [True, False]
    assert next(iter(data.books())).time_ns == START * 1_000_000 + 30_500_000


def test_a_clock_that_was_set_back_leaves_the_order_of_a_file(tape) -> None:
    for moment in (50, 20, 60):
        tape.trade(moment)
    tape.depth(55, 1)
    assert moments(MarketData([tape.root])) == [50, 20, 55, 60]


def test_an_entry_tells_where_it_stands_and_what_was_sent(tape) -> None:
    path = tape.depth(7, 1)
    (recorded,) = MarketData([tape.root]).entries("binance", "/api/v3/depth", "btcusdt")
    assert (recorded.path, recorded.line, recorded.venue, recorded.symbol) == (path, 1, "binance", "BTCUSDT")
    assert recorded.endpoint == "/api/v3/depth"
    assert recorded.body() == b'{"lastUpdateId":1,"bids":[["4","1"]],"asks":[["5","1"]]}'
    assert recorded.json()["lastUpdateId"] == 1


def test_thousands_of_files_are_not_open_at_once(tape) -> None:
    for number in range(300):
        tape.add(
            "binance/api_v3_time/_all", number, "/api/v3/time", {}, "{}", name=f"2023-11-14T22-13-20-{number + 1}.jsonl"
        )
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("no /proc here")
    before = len(os.listdir(descriptors))
    most = max(len(os.listdir(descriptors)) for _ in MarketData([tape.root]).entries())
    assert most - before <= 3


def test_making_it_touches_no_file() -> None:
    assert "nowhere" in repr(MarketData([Path("nowhere")]))


# Mistakes -----------------------------------------------------------------------------------------------------------


def test_a_tape_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CassetteNotFound):
        MarketData([tmp_path / "none"]).trades()


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"venue": "binanse"}, "no venue 'binanse'; it has binance"),
        ({"symbol": "ETHUSDT"}, "no symbol 'ETHUSDT'; it has BTCUSDT"),
        ({"endpoint": "/api/v3/trades"}, "no endpoint '/api/v3/trades'; it has /api/v3/depth"),
    ],
)
def test_a_name_that_is_not_on_the_tape_is_a_mistake_and_not_an_empty_answer(tape, wanted, said) -> None:
    tape.depth(0, 1)
    with pytest.raises(UsageMistake, match=said):
        MarketData([tape.root]).books(**wanted)


def test_a_venue_that_nobody_described_has_entries_and_no_market(tape) -> None:
    tape.add("api.example.org/v1_book/BTC-EUR", 0, "/v1/book", {}, "{}")
    data = MarketData([tape.root])
    assert moments(data) == [0]
    with pytest.raises(UsageMistake, match=r"Venue\.market"):
        data.trades()


@pytest.mark.parametrize("option", [{"damaged": "maybe"}, {"gaps": "skip"}])
def test_another_word_is_a_mistake(option) -> None:
    with pytest.raises(UsageMistake, match="it can be"):
        MarketData([], **option)


def test_no_depth_at_all_is_a_mistake(tape) -> None:
    tape.diff(0, 1)
    with pytest.raises(UsageMistake, match="at least one level"):
        MarketData([tape.root]).rebuilt("binance", depth=0)


# Damage -------------------------------------------------------------------------------------------------------------


def test_a_damaged_line_stops_the_reader_and_is_named(tape) -> None:
    tape.trade(0)
    path = tape.trade(1)
    with path.open("ab") as out:
        out.write(b"{\xff}\n")
    tape.trade(2)
    with pytest.raises(DamagedCassette) as caught:
        list(MarketData([tape.root]).entries())
    assert (caught.value.path, caught.value.line) == (path, 3)


def test_with_skip_all_else_is_read_and_what_was_skipped_is_told_once(tape) -> None:
    path = tape.trade(0)
    with path.open("ab") as out:
        out.write(b"nonsense\n\x00\x00\n")
    tape.trade(2)
    data = MarketData([tape.root], damaged="skip")
    for _ in range(2):
        assert moments(data) == [0, 2]
    assert [(damage.path, damage.line) for damage in data.skipped] == [(path, 2), (path, 3)]
    assert "NUL" in data.skipped[1].reason


def test_a_sealed_file_that_cannot_be_unpacked_is_damage_too(tape) -> None:
    tape.trade(0)
    broken = tape.file("binance/ws_stream/_all", "2023-11-14T23-00-00.jsonl.gz")
    broken.write_bytes(gzip.compress(b"{}\n" * 1000)[:-12])
    with pytest.raises(DamagedCassette, match="cannot be unpacked"):
        moments(MarketData([tape.root]))
    data = MarketData([tape.root], damaged="skip")
    assert moments(data) == [0]
    assert [damage.path for damage in data.skipped] == [broken]


def test_a_torn_last_line_is_warned_of(tape) -> None:
    path = tape.trade(0)
    with path.open("a") as out:
        out.write('{"timestamp":17')
    with pytest.warns(TornTail):
        assert moments(MarketData([tape.root])) == [0]


def test_a_payload_in_another_shape_than_documented_is_an_error_or_is_counted(tape) -> None:
    path = tape.frame(0, '{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT","p":["no"]}}')
    tape.trade(1)
    with pytest.raises(UnreadablePayload) as caught:
        list(MarketData([tape.root]).trades())
    assert (caught.value.path, caught.value.line, caught.value.venue) == (path, 1, "binance")
    data = MarketData([tape.root], damaged="skip")
    assert len(list(data.trades())) == 1
    assert [(damage.path, damage.line) for damage in data.skipped] == [(path, 1)]


def test_errors_and_broken_answers_are_no_market_data(tape) -> None:
    tape.depth(0, 1, status=429)
    tape.depth(1, 2, error="incomplete")
    tape.depth(2, 3)
    assert [book.update_id for book in MarketData([tape.root]).books()] == [3]


# Books --------------------------------------------------------------------------------------------------------------


def test_a_book_is_rebuilt_after_each_diff(tape) -> None:
    tape.diff(0, 1, 10)
    tape.depth(1, 10)
    tape.diff(2, 11, bids='["4.2","3"]')
    tape.diff(3, 12, 14, bids='["4.2","0"],["3","2"]')
    books = list(MarketData([tape.root]).rebuilt("binance", "BTCUSDT"))
    assert [(book.update_id, [str(level.price) for level in book.bids]) for book in books] == [
        (11, ["4.2", "4"]),
        (14, ["4", "3"]),
    ]
    assert all(book.checked and book.stream == "btcusdt@depth" for book in books)
    assert books[0].asks[0] == (Decimal(5), Decimal(1))


def test_depth_gives_the_best_levels_only(tape) -> None:
    tape.depth(0, 1, bids='["4","1"],["3","1"],["2","1"]')
    tape.diff(1, 2)
    (book,) = MarketData([tape.root]).rebuilt("binance", depth=2)
    assert [int(level.price) for level in book.bids] == [4, 3]


def test_a_window_of_books_is_rebuilt_from_what_came_before_it(tape) -> None:
    tape.depth(0, 1)
    for number in range(2, 6):
        tape.diff(number, number)
    books = MarketData([tape.root]).rebuilt("binance", "BTCUSDT", start=START + 3, end=START + 5)
    assert [book.update_id for book in books] == [3, 4]


def test_a_gap_is_raised_with_its_place_and_its_ids(tape) -> None:
    tape.depth(0, 1)
    tape.diff(1, 2)
    path = tape.diff(2, 4)
    with pytest.raises(BookGap) as caught:
        list(MarketData([tape.root]).rebuilt("binance"))
    gap = caught.value
    assert (gap.kind, gap.expected, gap.found, gap.path, gap.line) == ("chain", 3, 4, path, 2)
    assert (gap.venue, gap.symbol) == ("binance", "BTCUSDT")


def test_a_reported_gap_is_listed_once_and_the_book_comes_back_with_the_next_snapshot(tape) -> None:
    tape.depth(0, 1)
    tape.diff(1, 2)
    tape.diff(2, 4)
    tape.diff(3, 5)
    tape.depth(4, 5)
    tape.diff(5, 6)
    data = MarketData([tape.root], gaps="report")
    for _ in range(2):
        assert [book.update_id for book in data.rebuilt("binance")] == [2, 6]
    assert [(gap.kind, gap.found) for gap in data.gaps] == [("chain", 4)]


def test_diffs_that_never_find_a_snapshot_are_a_gap(tape) -> None:
    tape.depth(0, 1)
    tape.diff(1, 9)
    with pytest.raises(BookGap) as caught:
        list(MarketData([tape.root]).rebuilt("binance"))
    assert (caught.value.kind, caught.value.found) == ("join", 9)


def test_each_connection_has_a_book_of_its_own(tape) -> None:
    """Two connections send the same diffs, one loses its second: only its own book breaks."""
    tape.depth(0, 1)
    for conn in "ab":
        tape.diff(1, 2, conn=conn)
    tape.diff(2, 3, conn="a")
    tape.diff(3, 4, conn="a")
    tape.diff(3, 4, conn="b")
    data = MarketData([tape.root], gaps="report")
    assert [book.update_id for book in data.rebuilt("binance")] == [2, 2, 3, 4]
    assert len(data.gaps) == 1


def test_a_connection_that_opens_anew_starts_anew(tape) -> None:
    tape.depth(0, 1)
    tape.diff(1, 2)
    tape.frame(2, '""', dir="open")
    tape.diff(3, 50)
    tape.depth(4, 50)
    tape.diff(5, 51)
    assert [book.update_id for book in MarketData([tape.root]).rebuilt("binance")] == [2, 51]


def test_the_book_at_a_moment_is_what_was_known_then(tape) -> None:
    tape.depth(0, 1)
    tape.diff(10, 2, bids='["4.5","1"]')
    tape.diff(20, 3, bids='["4.6","1"]')
    tape.depth(30, 99)
    data = MarketData([tape.root])

    def best(moment: int) -> tuple[int | None, str] | None:
        book = data.book_at("binance", "BTCUSDT", START + moment, depth=1)
        return None if book is None else (book.update_id, str(book.bids[0].price))

    assert [best(moment) for moment in (-1, 0, 9, 10, 19, 20, 30)] == [
        None,
        (1, "4"),
        (1, "4"),
        (2, "4.5"),
        (2, "4.5"),
        (3, "4.6"),
        (99, "4"),
    ]


def test_the_book_at_a_moment_after_a_gap_is_refused_until_there_is_one_again(tape) -> None:
    tape.depth(0, 1)
    tape.diff(10, 2)
    tape.diff(20, 5)
    tape.depth(30, 6)
    data = MarketData([tape.root])
    with pytest.raises(BookGap):
        data.book_at("binance", "BTCUSDT", START + 25)
    book = data.book_at("binance", "BTCUSDT", START + 30)
    assert book is not None
    assert book.update_id == 6


def test_steps_give_the_book_itself(tape) -> None:
    tape.depth(0, 1)
    tape.diff(1, 2, bids='["4.5","1"]')
    (step,) = MarketData([tape.root]).steps("binance", "BTCUSDT")
    assert (step.symbol, step.follower.levels) == ("BTCUSDT", 3)
    assert str(step.follower.book.bids.best(1)[0].price) == "4.5"


# What there is ------------------------------------------------------------------------------------------------------


def test_a_summary_counts_each_place(tape) -> None:
    tape.depth(5, 1)
    tape.trade(1)
    path = tape.trade(9)
    rest, stream = MarketData([tape.root]).summary()
    assert (rest.place.endpoint, rest.place.symbol, rest.place.websocket, rest.entries) == (
        "/api/v3/depth",
        "BTCUSDT",
        False,
        1,
    )
    assert (stream.place.endpoint, stream.place.symbol, stream.place.websocket) == ("/stream", None, True)
    assert (stream.files, stream.entries, stream.size_bytes) == (1, 2, path.stat().st_size)
    assert stream.first_ns is not None
    assert stream.last_ns is not None
    assert stream.last_ns - stream.first_ns == 8_000_000


def test_what_the_client_sent_and_pings_are_no_market_data(tape) -> None:
    tape.frame(0, '{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1}', dir="send")
    tape.frame(1, '{"result":null,"id":1}')
    tape.frame(2, '""', opcode="ping")
    tape.frame(3, '"pong"', encoding="text")
    tape.trade(4)
    tape.frame(5, '""', opcode="close")
    data = MarketData([tape.root])
    assert [trade.exchange_ms for trade in data.trades("binance", "BTCUSDT")] == [START + 4]
    assert len(moments(data)) == 6


def test_diffs_that_waited_give_a_book_when_their_snapshot_comes(tape) -> None:
    tape.diff(0, 2)
    tape.diff(1, 3, bids='["4.5","1"]')
    tape.depth(2, 1)
    (book,) = MarketData([tape.root]).rebuilt("binance")
    assert (book.update_id, str(book.bids[0].price), book.time_ns) == (3, "4.5", (START + 1) * 1_000_000)


def test_a_hole_among_diffs_that_waited_is_reported_at_their_snapshot(tape) -> None:
    tape.diff(0, 2)
    tape.diff(1, 4)
    path = tape.depth(2, 1)
    with pytest.raises(BookGap) as caught:
        list(MarketData([tape.root]).rebuilt("binance"))
    assert (caught.value.expected, caught.value.found, caught.value.path) == (3, 4, path)


def test_an_answer_that_is_no_json_is_unreadable(tape) -> None:
    tape.add("binance/api_v3_depth/BTCUSDT", 0, "/api/v3/depth", {"encoding": "text"}, '"<html>"')
    with pytest.raises(UnreadablePayload, match="not JSON"):
        list(MarketData([tape.root]).books())


def test_a_line_that_is_neither_answer_nor_frame_is_damage(tape) -> None:
    path = tape.frame(0, "{}", opcode="nonsense")
    with pytest.raises(DamagedCassette) as caught:
        moments(MarketData([tape.root]))
    assert caught.value.path == path


def test_a_foreign_name_of_a_sealed_file_is_read_too(tape) -> None:
    path = tape.trade(5)
    path.with_name("mine.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    tape.depth(1, 1)
    assert moments(MarketData([tape.root])) == [1, 5]


def test_records_say_what_they_are(tape) -> None:
    tape.trade(0)
    assert repr(MarketData([tape.root]).trades()) == "<Records of Trade>"


def test_a_snapshot_of_a_stream_is_a_book_as_recorded(tape) -> None:
    body = '{"topic":"orderbook.1.X","type":"snapshot","ts":9,"data":{"s":"X","b":[["4","1"]],"a":[["5","1"]],"u":3}}'
    tape.add("bybit/ws_v5_public_spot/_all", 0, "/v5/public/spot", {"dir": "recv"}, body)
    data = MarketData([tape.root])
    (book,) = data.books("bybit", "x")
    assert (book.update_id, book.stream, book.exchange_ms) == (3, "orderbook.1.X", 9)
    assert data.book_at("bybit", "X", START, depth=1) == book
