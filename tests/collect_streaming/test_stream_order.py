"""C5: every gap, duplicate and late message of a stream is found, and the book is one that was checked."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from pytest_marketreplay.collect.books import LocalBook, Order
from pytest_marketreplay.market.structs import DepthDiff, OrderBook, Trade

from .scripted import Scripted, Talk, running, trade


def plan(seed: int, length: int = 200) -> tuple[list[int], Counter[str]]:
    """Draw a stream of ids with faults in it, and how many of each kind there are."""
    rng = random.Random(seed)
    sent: list[int] = []
    wrong: Counter[str] = Counter()
    number = 1
    while number < length:
        fault = rng.choice(("gap", "duplicate", "reorder", *[""] * 12)) if number > 3 else ""
        if fault == "gap":
            number += rng.randint(1, 4)
            sent.append(number)
        elif fault == "duplicate":
            sent += [number, rng.choice((number, sent[-1]))]
        elif fault == "reorder":
            sent += [number + 1, number]
            number += 1
            wrong["gap"] += 1  # the place of the late one was empty for a moment
        else:
            sent.append(number)
        if fault:
            wrong[fault] += 1
        number += 1
    return sent, wrong


@pytest.mark.parametrize("seed", range(10))
def test_all_faults_of_a_plan_are_found_over_a_socket_and_the_book_comes_back(seed: int) -> None:
    sent, wrong = plan(seed)

    async def script(talk: Talk) -> None:
        await talk.diffs(*sent)
        listening = asyncio.ensure_future(talk.listen())
        for number in range(max(sent) + 1, max(sent) + 400):
            await talk.diffs(number)
            await asyncio.sleep(0.005)
        await listening

    async def story() -> None:
        venue = Scripted(script)
        async with venue.serve() as address, running(address, channels=("depth",)) as run:
            await run.until(lambda: run.count("depth") > len(sent) and run.feed.stats().pairs["BTC-USDT"].ready)
        found = {kind: run.count(f"sequence_{kind}") for kind in ("gap", "duplicate", "reorder")}
        assert found == {kind: wrong[kind] for kind in ("gap", "duplicate", "reorder")}
        gaps = [gap for gap in run.caught.gaps if gap.kind == "sequence"]
        assert len(gaps) == sum(found.values())
        assert sum(gap.count for gap in gaps) == len(set(range(1, max(sent) + 1)) - set(sent)) + wrong["reorder"]
        assert all(gap.from_ms <= gap.to_ms for gap in gaps)

    asyncio.run(story())


def diffs_of(kind: str, numbers: list[int]) -> list[DepthDiff]:
    """Return diffs with the ids of a venue's kind: Binance spot, its futures, Bitstamp, Kraken."""
    out = []
    for number in numbers:
        ids = {
            "first": {"first_id": number, "last_id": number},
            "previous": {"previous_id": number - 1, "last_id": number},
            "rising": {"last_id": number},
            "none": {},
        }[kind]
        out.append(DepthDiff("v", "S", number, (), (), **ids))  # type: ignore[arg-type]
    return out


@pytest.mark.parametrize("seed", range(200))
@pytest.mark.parametrize("kind", ["first", "previous"])
def test_ids_that_chain_show_every_fault(kind: str, seed: int) -> None:
    sent, wrong = plan(seed)
    order = Order()
    found = [order.diff(one, place) for place, one in enumerate(diffs_of(kind, sent))]
    assert Counter(one.kind for one in found if one is not None) == +wrong


@pytest.mark.parametrize("seed", range(50))
def test_ids_that_only_rise_show_what_repeats_and_what_is_late(seed: int) -> None:
    sent, wrong = plan(seed)
    order = Order()
    found = [order.diff(one, place) for place, one in enumerate(diffs_of("rising", sent))]
    del wrong["gap"]
    assert Counter(one.kind for one in found if one is not None) == +wrong


def test_a_diff_without_ids_is_known_again_by_its_bytes() -> None:
    order = Order()
    first, second = diffs_of("none", [1, 2])
    found = [order.diff(first, 10), order.diff(second, 20), order.diff(first, 10)]
    assert [one and one.kind for one in found] == [None, None, "duplicate"]


@pytest.mark.parametrize("seed", range(50))
def test_trade_ids_that_count_show_every_fault(seed: int) -> None:
    sent, wrong = plan(seed)
    order = Order()
    found = [order.trade(str(number), place, True) for place, number in enumerate(sent)]
    assert Counter(one.kind for one in found if one is not None) == +wrong


def test_trade_ids_that_do_not_count_show_only_what_they_can() -> None:
    rising, shapeless, none = Order(), Order(), Order()
    assert [one and one.kind for one in (rising.trade(str(n), 0, False) for n in (1, 9, 5, 9))] == [
        None,
        None,
        "reorder",
        "duplicate",
    ]
    assert [one and one.kind for one in (shapeless.trade(n, 0, None) for n in ("b", "a", "b"))] == [
        None,
        None,
        "duplicate",
    ]
    assert [one and one.kind for one in (none.trade(None, mark, None) for mark in (1, 2, 1))] == [
        None,
        None,
        "duplicate",
    ]
    assert rising.trade("not-a-number", 0, True) is None


def test_a_book_is_usable_from_the_first_checked_diff_until_a_break() -> None:
    book = LocalBook(joins=True, checksum=None)
    one, two, four = diffs_of("first", [1, 2, 4])
    assert book.take(one, 1, 10) is None
    assert (book.usable, book.wants_snapshot) == (False, True)
    book.seed(OrderBook("v", "S", 0, (), (), 0), 20)
    assert (book.usable, book.wants_snapshot, book.updated_ns) == (True, False, 20)
    assert book.take(two, 2, 30) is None
    finding = book.take(four, 4, 40)
    assert finding is not None
    assert (finding.kind, finding.expected, finding.found, finding.missing) == ("gap", 3, 4, 1)
    assert (book.usable, book.wants_snapshot, book.became_ready.is_set()) == (False, True, False)
    # too old a snapshot leaves it waiting for another
    book.seed(OrderBook("v", "S", 0, (), (), 1), 50)
    assert (book.usable, book.wants_snapshot) == (False, True)
    book.seed(OrderBook("v", "S", 0, (), (), 3), 60)
    assert book.usable


def test_a_snapshot_that_is_ahead_of_all_diffs_is_the_book_until_the_next() -> None:
    book = LocalBook(joins=True, checksum=None)
    one, two, three, five, six = diffs_of("first", [1, 2, 3, 5, 6])
    book.take(one, 1, 10)
    ahead = OrderBook("v", "S", 0, (), (), 2)
    book.seed(ahead, 20)
    assert (book.usable, book.wants_snapshot, book.became_ready.is_set()) == (True, False, True)
    assert book.read("v", "S") is ahead
    book.take(two, 2, 30)  # it has this one
    assert book.read("v", "S") is ahead
    book.take(three, 3, 40)
    assert (book.usable, book.read("v", "S").update_id, book.updated_ns) == (True, 3, 40)
    book.take(five, 5, 50)
    book.seed(OrderBook("v", "S", 0, (), (), 5), 60)
    assert book.usable
    # one that does not follow the standing snapshot ends it
    late = LocalBook(joins=True, checksum=None)
    late.seed(ahead, 10)
    assert late.usable
    late.take(six, 6, 20)
    assert (late.usable, late.wants_snapshot, late.became_ready.is_set()) == (False, True, False)


def test_holes_and_repetitions_of_trades_are_told_with_the_pair() -> None:
    async def script(talk: Talk) -> None:
        await talk.say(*[trade(number) for number in (5, 6, 9, 9, 7)])
        await talk.listen()

    async def story() -> None:
        async with Scripted(script).serve() as address, running(address) as run:
            await run.until(lambda: run.count("trades") == 5)
        gaps = [(gap.count, gap.reason) for gap in run.caught.gaps if gap.kind == "sequence"]
        assert gaps == [
            (2, "BTC-USDT trades: gap, 7 was expected, and 9 came"),
            (0, "BTC-USDT trades: duplicate, 10 was expected, and 9 came"),
            (0, "BTC-USDT trades: reorder, 10 was expected, and 7 came"),
        ]

    asyncio.run(story())


def test_several_trades_in_one_frame_are_no_duplicates() -> None:
    trades = [Trade("v", "S", 0, price=1, size=1)] * 2  # type: ignore[arg-type]
    order = Order()
    assert [order.trade(one.trade_id, hash((b"frame", place)), None) for place, one in enumerate(trades)] == [None] * 2
