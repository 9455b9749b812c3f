"""Several pairs of one venue at once, and changes that come at a bad moment."""

from __future__ import annotations

import asyncio
import gzip
import random
import time
from email.utils import formatdate

import pytest
from poll_lab import START_NS, Lab, answer, book

from pytest_marketreplay.collect.fetching import Answer, HttpFetch, Unanswered
from pytest_marketreplay.collect.grid import Grid, OpenGap
from pytest_marketreplay.collect.limits import retry_after_s
from pytest_marketreplay.collect.stream_entries import Target
from pytest_marketreplay.venues import polling
from pytest_marketreplay.venues.registry import Registry


def test_a_pair_that_comes_back_while_its_last_answer_is_under_way_counts_on(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep(0.7)
        return answer(book(number))

    feed = lab.feed(script)
    lab.run(feed, 10, (3.2, lambda: feed.remove("BTC-USDT")), (3.3, lambda: feed.add("BTC-USDT")))
    assert [each.sequence_number for each in lab.snapshots()] == list(range(1, len(lab.snapshots()) + 1))


def test_points_that_passed_before_the_interval_changed_are_declared(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep(5.5 if number == 2 else 0.1)
        return answer(book(number))

    feed = lab.feed(script)
    stats = lab.run(feed, 20, (5.2, lambda: feed.set_interval(2)))
    # 3 and 4 passed; that of 5 becomes the first of the new grid, which passes too: the answer comes at 7.5
    assert [round(at, 3) for at, _ in lab.asked] == [0, 1, 2, 7.5, 9.2, 11.2, 13.2, 15.2, 17.2, 19.2]
    assert (stats.ticks, stats.stored, stats.missed) == (13, 10, 3)
    start = START_NS // 10**6
    assert [(gap.from_ms - start, gap.to_ms - start, gap.count) for gap in lab.gaps()] == [
        (3000, 4000, 2),
        (5200, 5200, 1),
    ]


def test_the_wall_clock_is_set_during_an_outage_and_each_gap_keeps_its_own_time(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        if 5 <= number < 15:
            raise Unanswered("down")
        return answer(book(number))

    def jump() -> None:
        lab.jump_ns = 3600 * 10**9

    lab.run(lab.feed(script), 20, (9.5, jump))
    start = START_NS // 10**6
    found = [(gap.kind, gap.from_ms - start, gap.to_ms - start, gap.count) for gap in lab.gaps()]
    hour = 3_600_000
    assert found == [
        ("failed", 5000, 9000, 5),
        ("clock_jump", 10_000, 10_000 + hour, 0),
        ("failed", 10_000 + hour, 14_000 + hour, 5),
    ]


@pytest.mark.parametrize("status", [418, 429])
def test_refusals_of_one_moment_are_one_refusal_however_many_pairs_ask(lab: Lab, status: int) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep(0.1)
        return answer(b"{}", status) if number == 2 else answer(book(number))

    pairs = [f"A{number}-USDT" for number in range(12)]
    lab.run(lab.feed(script, *pairs), 400)
    first = min(at for at, _ in lab.asked if at > 2.5)
    assert first <= (2.1 + 120 + 1 if status == 418 else 2.1 + 1 + 1)


def test_a_good_answer_that_was_asked_for_before_the_ban_does_not_end_the_series(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        if "SLOW" in url:
            await asyncio.sleep(0.4)
            return answer(book(number))
        await asyncio.sleep(0.1)
        return answer(b"{}", 418)

    lab.run(lab.feed(script, "FAST-USDT", "SLOW-USDT"), 800)
    assert [round(at) for at, url in lab.asked if "FAST" in url] == [0, 121, 362]


def test_a_pair_added_between_two_runs_starts_with_the_second(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        if "BTC" in url and number == 2:
            raise ZeroDivisionError
        return answer(book(number))

    feed = lab.feed(script)
    with pytest.raises(ZeroDivisionError):
        lab.run(feed, 10)

    async def between() -> None:
        feed.add("ETH-USDT")
        await asyncio.sleep(0)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others

    lab.loop.run_until_complete(between())


def test_a_second_run_counts_on(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        if number == 3:
            raise ZeroDivisionError
        return answer(book(number))

    feed = lab.feed(script)
    with pytest.raises(ZeroDivisionError):
        lab.run(feed, 10)

    async def again() -> None:
        stop = asyncio.Event()
        lab.loop.call_later(4.5, stop.set)
        await feed.run(stop)

    lab.loop.run_until_complete(again())
    assert [each.sequence_number for each in lab.snapshots()] == list(range(1, 9))


def test_a_mistake_in_the_last_answer_is_not_swallowed(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep(0.5)
        if number == 2:
            raise ZeroDivisionError("ours")
        return answer(book(number))

    feed = lab.feed(script)
    with pytest.raises(ZeroDivisionError, match="ours"):
        lab.run(feed, 2.3)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
def test_a_date_without_zone_is_utc_wherever_this_runs(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        moment = START_NS / 1e9 + 90
        assert retry_after_s(time.asctime(time.gmtime(moment)), START_NS) == 90.0
        assert retry_after_s(formatdate(moment), START_NS) == 90.0  # "-0000"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "said",
    [
        "9" * 400,
        "9" * 5000,
        "Thu, 01 Jan 99999 00:00:00 GMT",
        "Thu, 01 Jan 0001 00:00:00 -2359",
        "Thu, 01 Jan 2026 25:61:61 GMT",
        "Thu, 31 Feb 2026 00:00:00 GMT",
        "",
        "\x00",
        "1e3",
        "nan",
        "inf",
        "120, 60",
        "Thu, 01 Jan 2026 00:00:00 +99999999",
        "Thu, 01 Jan 2026 00:00:00 +999999999999999999",
        "Mon, 01 Jan 0000 00:00:00 GMT",
    ],
)
def test_what_cannot_be_a_time_is_none_or_finite(said: str) -> None:
    value = retry_after_s(said, START_NS)
    assert value is None or 0 <= value < 1e12


def test_random_text_is_no_retry_after_and_no_crash() -> None:
    rng = random.Random(5)
    alphabet = "0123456789 :,+-GMTJanFebThuMon\x00é"
    for _ in range(20000):
        text = "".join(rng.choice(alphabet) for _ in range(rng.randint(0, 30)))
        retry_after_s(text, START_NS)


def test_grid_takes_each_point_once_in_every_rounding() -> None:
    rng = random.Random(3)
    for _ in range(300):
        interval, start = rng.choice([0.01, 0.1, 0.3, 1.0, 1 / 3, 7.7]), rng.uniform(0, 1e6)
        grid, counted = Grid(interval, start), 0
        for _ in range(300):
            at = grid.next_s + rng.choice([0.0, 1e-9, rng.uniform(0, 5 * interval)])
            tick = grid.take(at)
            assert tick is not None
            counted += tick.missed + tick.is_due
            assert start + tick.number * interval <= at + 1e-9
        assert counted == grid._next


@pytest.mark.parametrize("name", polling._KNOWN)
def test_each_described_venue_is_registered_and_has_a_place(name: str) -> None:
    venue = Registry().venues[name]
    described = venue.polling()
    assert described is not None
    target = Target(venue, "GET", described.rest + described.target("BTC-USD", 500))
    assert target.place.venue
    assert (target.location.symbol or "").upper().replace("-", "").replace("XBT", "BTC") == "BTCUSD"
    assert venue.market(target.asked.path) is not None


@pytest.mark.parametrize(
    "kind", ["gzip_cut", "gzip_garbage", "br", "zstd", "chunk", "longline", "nothttp", "badstatus", "badheader"]
)
def test_whatever_a_server_sends_is_an_answer_or_unanswered(kind: str) -> None:
    packed = gzip.compress(b'{"lastUpdateId":7}' * 50)
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
    raw = {
        "gzip_cut": head + b"Content-Encoding: gzip\r\nContent-Length: 20\r\n\r\n" + packed[:20],
        "gzip_garbage": head + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
        "br": head + b"Content-Encoding: br\r\nContent-Length: 5\r\n\r\nhello",
        "zstd": head + b"Content-Encoding: zstd\r\nContent-Length: 5\r\n\r\nhello",
        "chunk": head + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nhello\r\n",
        "longline": head + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
        "nothttp": b"220 ftp ready\r\n",
        "badstatus": b"HTTP/1.1 abc OK\r\n\r\n",
        "badheader": head + b"nonsense\r\n\r\n",
    }[kind]

    async def go() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(raw)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        fetch = HttpFetch(5.0)
        try:
            with pytest.raises(Unanswered):
                await fetch(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        finally:
            await fetch.close()
            server.close()
            await server.wait_closed()

    asyncio.run(go())


def test_points_that_follow_each_other_are_one_gap_with_all_of_them() -> None:
    gap = OpenGap()
    assert gap.add("missed", 1, 2, 2, "late") == gap.add("missed", 5, 7, 3, "late") == []
    (told,) = gap.end()
    assert (told.from_ms, told.to_ms, told.count) == (1, 7, 5)


def test_the_same_id_again_is_not_backward_and_a_locked_book_counts_as_crossed(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        return answer(book(7, bids=[["4.1", "1"]], asks=[["4.10", "2"]]))

    stats = lab.run(lab.feed(script), 5)
    assert (stats.stored, stats.backward_ids, stats.crossed) == (5, 0, 5)


def test_points_that_passed_until_the_stop_are_declared_with_their_own_times(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep(3.8)
        return answer(book(number))

    stats = lab.run(lab.feed(script), 2.2)
    assert (stats.ticks, stats.stored, stats.missed) == (3, 1, 2)
    (gap,) = lab.gaps()
    start = START_NS // 10**6
    assert (gap.from_ms - start, gap.to_ms - start, gap.count) == (1000, 2000, 2)
