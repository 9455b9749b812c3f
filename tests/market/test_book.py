"""The local book against a naive one, what breaks a stream of diffs, and the checksums of the venues' own examples."""

from __future__ import annotations

import zlib
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_marketreplay.market import checksum
from pytest_marketreplay.market.book import Book, Side
from pytest_marketreplay.market.following import WAITING, Break, Follower
from pytest_marketreplay.market.structs import DepthDiff, Level, OrderBook


def levels(text: str) -> tuple[Level, ...]:
    """`4.0:1 3.9:2` as levels."""
    return tuple(Level(*map(Decimal, pair.split(":"))) for pair in text.split())


def diff(bids: str = "", asks: str = "", **more: object) -> DepthDiff:
    return DepthDiff("binance", "BTCUSDT", 1, levels(bids), levels(asks), **more)


def whole(update_id: int | None, bids: str = "4:1", asks: str = "5:1") -> OrderBook:
    return OrderBook("binance", "BTCUSDT", 1, levels(bids), levels(asks), update_id)


def joined(update_id: int = 10) -> Follower:
    follower = Follower(joins=True)
    follower.seed(whole(update_id))
    assert follower.apply(diff("4:2", first_id=update_id, last_id=update_id + 1)) is None
    assert follower.ready
    return follower


prices = st.integers(1, 40).map(lambda number: Decimal(number) / 4)
changes = st.lists(st.tuples(prices, st.integers(0, 3).map(Decimal)).map(lambda pair: Level(*pair)), max_size=8)


@settings(max_examples=100)
@given(st.lists(changes, max_size=12), st.booleans(), st.integers(1, 12))
def test_a_side_holds_what_a_sorted_dictionary_would(batches, descending, depth) -> None:
    side, naive = Side(descending=descending), {}
    for batch in batches:
        side.apply(batch)
        for price, size in batch:
            naive[price] = size
            if not size:
                del naive[price]
        expected = [Level(*pair) for pair in sorted(naive.items(), reverse=descending)]
        assert list(side.best()) == expected
        assert list(side.best(depth)) == expected[:depth]
        assert side.texts(depth, str) == list(map(str, expected[:depth]))
        assert len(side) == len(naive)
    side.keep(depth)
    assert list(side.best()) == expected[:depth] if batches else not side.best()


def test_one_price_spelled_two_ways_is_one_level_as_it_was_spelled_last() -> None:
    side = Side(descending=True)
    side.apply(levels("65140:1 65140.00:2"))
    assert [f"{price}:{size}" for price, size in side.best()] == ["65140.00:2"]
    side.apply(levels("65140.0:0"))
    assert len(side) == 0


def test_a_snapshot_replaces_and_leaves_sizes_of_zero_out() -> None:
    book = Book()
    book.apply(levels("1:1"), levels("9:1"))
    book.replace(levels("4:1 3:0"), levels("6:2 5:1"))
    assert book.bids.best() == levels("4:1")
    assert book.asks.best() == levels("5:1 6:2")


def test_krakens_own_example_has_krakens_checksum() -> None:
    """Kraken, "Book checksum (WebSocket v2)": 3310070434."""
    book = Book()
    book.replace(
        levels(
            "45283.5:0.10000000 45283.4:1.54582015 45282.1:0.10000000 45281.0:0.10000000 45280.3:1.54592586 "
            "45279.0:0.07990000 45277.6:0.03310103 45277.5:0.30000000 45277.3:1.54602737 45276.6:0.15445238"
        ),
        levels(
            "45285.2:0.00100000 45286.4:1.54571953 45286.6:1.54571109 45289.6:1.54560911 45290.2:0.15890660 "
            "45291.8:1.54553491 45294.7:0.04454749 45296.1:0.35380000 45297.5:0.09945542 45299.5:0.18772827"
        ),
    )
    assert checksum.kraken(book) == 3310070434


def test_okxs_own_example_has_okxs_checksum() -> None:
    """OKX, "Checksum": bids and asks in turn, and what is left of the longer side; -1881014294, signed."""
    book = Book()
    book.replace(levels("3366.1:7"), levels("3366.8:9 3368:8"))
    text = ":".join(["3366.1:7", "3366.8:9", "3368:8"])
    assert checksum.okx(book) == zlib.crc32(text.encode())
    book.replace(levels("3366.1:7 3366:6"), levels("3366.8:9 3368:8"))
    assert checksum.okx(book) - 2**32 == -1881014294


def test_a_checksum_reads_small_numbers_without_an_exponent() -> None:
    assert str(Decimal("0.00000010")) == "1.0E-7"
    assert checksum.plain(Decimal("0.00000010")) == "0.00000010"
    tiny, spelled = Book(), Book()
    tiny.replace(levels("0.00000010:1.5"), ())
    spelled.replace(levels("10:15"), ())
    assert checksum.kraken(tiny) == checksum.kraken(spelled)


def test_a_diff_that_chains_changes_the_book_and_one_that_does_not_ends_it() -> None:
    follower = joined()
    assert follower.apply(diff("4:0 3:1", first_id=12, last_id=14)) is None
    assert follower.book.bids.best() == levels("3:1")
    assert follower.checked
    assert follower.apply(diff(first_id=16, last_id=17)) == Break("chain", 15, 16)
    assert not follower.ready
    assert not follower.checked


def test_a_diff_twice_is_a_break() -> None:
    follower = joined()
    again = diff(first_id=12, last_id=12)
    assert follower.apply(again) is None
    assert follower.apply(again) == Break("chain", 13, 12)


def test_previous_ids_count_more_than_first_ids() -> None:
    follower = joined()
    assert follower.apply(diff(first_id=90, last_id=95, previous_id=11)) is None
    assert follower.apply(diff(first_id=96, last_id=99, previous_id=94)) == Break("chain", 95, 94)


def test_times_must_go_forward_where_there_are_only_times() -> None:
    follower = joined()
    assert follower.apply(diff(last_id=20)) is None
    assert follower.apply(diff(last_id=20)) == Break("order", 21, 20)


@pytest.mark.parametrize(("first", "last", "joins"), [(9, 11, True), (11, 11, True), (12, 12, False), (9, 10, False)])
def test_the_first_diff_that_the_snapshot_has_not_must_follow_it(first: int, last: int, joins: bool) -> None:
    follower = Follower(joins=True)
    follower.seed(whole(10))
    assert follower.apply(diff("4:7", first_id=first, last_id=last)) is None
    assert follower.ready is joins
    if joins:
        assert follower.last_id == last
        assert follower.book.bids.best() == levels("4:7")


def test_diffs_wait_for_their_snapshot_and_a_stale_snapshot_for_a_newer_one() -> None:
    follower = Follower(joins=True)
    for number in (11, 12, 13):
        follower.apply(diff(f"{number}:1", first_id=number, last_id=number))
    assert follower.seed(whole(5)) is None
    assert not follower.ready
    assert follower.stale == Break("join", None, 11)
    assert follower.seed(whole(11)) is None
    assert follower.ready
    assert follower.book.bids.best() == levels("13:1 12:1 4:1")
    assert follower.stale is None


def test_a_hole_among_the_waiting_diffs_is_found_when_they_join() -> None:
    follower = Follower(joins=True)
    for number in (11, 12, 14):
        follower.apply(diff(first_id=number, last_id=number))
    assert follower.seed(whole(10)) == Break("chain", 13, 14)
    assert not follower.ready
    assert follower.seed(whole(13)) is None
    assert follower.ready


def test_after_a_break_the_next_snapshot_joins_and_the_diffs_between_are_not_lost() -> None:
    follower = joined()
    assert follower.apply(diff("3:3", first_id=15, last_id=15)) is not None
    assert follower.apply(diff("2:2", first_id=16, last_id=16)) is None
    assert not follower.ready
    assert follower.seed(whole(14)) is None
    assert follower.book.bids.best() == levels("4:1 3:3 2:2")


def test_no_more_diffs_wait_than_memory_should_hold() -> None:
    follower = Follower(joins=True)
    for number in range(WAITING + 50):
        follower.apply(diff(first_id=number, last_id=number))
    assert follower.seed(whole(10)) is None
    assert not follower.ready  # those that followed it are gone, and it is not joined to others


def test_a_stream_with_snapshots_of_its_own_takes_no_other() -> None:
    follower = Follower()
    assert follower.apply(diff(first_id=2, last_id=2)) is None
    assert follower.seed(whole(1)) is None
    assert not follower.ready
    assert follower.apply(diff("4:1", last_id=7, snapshot=True)) is None
    assert follower.ready
    assert not follower.checked  # there was nothing to check it by
    assert follower.apply(diff(first_id=8, last_id=8)) is None
    assert follower.checked


def test_a_wrong_checksum_ends_the_book_until_the_next_snapshot() -> None:
    follower = Follower(checksum=checksum.kraken)
    follower.apply(diff("4:1", "5:1", snapshot=True))
    wrong = follower.apply(diff("4:2", checksum=1))
    assert wrong is not None
    assert (wrong.kind, wrong.expected) == ("checksum", 1)
    assert not follower.ready
    assert follower.apply(diff("4:3", checksum=wrong.found)) is None
    assert not follower.ready
    assert follower.apply(diff("4:2", "5:1", checksum=wrong.found, snapshot=True)) is None
    assert follower.checked


def test_levels_beyond_the_depth_of_a_stream_fall_off() -> None:
    follower = Follower()
    follower.apply(diff("4:1 3:1", "5:1 6:1", snapshot=True, depth=2))
    follower.apply(diff("4.5:1", "5.5:1", depth=2))
    assert follower.book.bids.best() == levels("4.5:1 4:1")
    assert follower.book.asks.best() == levels("5:1 5.5:1")


def test_waiting_diffs_that_name_the_id_before_join_by_it() -> None:
    follower = Follower(joins=True)
    follower.apply(diff("4:3", first_id=20, last_id=25, previous_id=11))
    assert follower.seed(whole(8)) is None
    assert not follower.ready  # 9 to 11 are missing between the snapshot and the diff
    assert follower.seed(whole(11)) is None
    assert follower.ready
    assert follower.last_id == 25


def test_after_a_hole_the_diffs_that_still_wait_go_on_from_the_next_snapshot() -> None:
    follower = Follower(joins=True)
    for number in (11, 13, 14, 15):
        follower.apply(diff(f"{number}:1", first_id=number, last_id=number))
    assert follower.seed(whole(10)) == Break("chain", 12, 13)
    assert not follower.ready
    assert follower.seed(whole(12)) is None
    assert follower.last_id == 15
    assert follower.book.bids.best() == levels("15:1 14:1 13:1 4:1")


def test_a_diff_without_any_id_is_taken_and_claims_nothing() -> None:
    follower = joined()
    assert follower.apply(diff("4:9")) is None
    assert follower.ready
    assert not follower.checked
    assert follower.book.bids.best() == levels("4:9")
