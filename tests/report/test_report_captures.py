"""Captures made by hand with known answers."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from capture_trees import START_MS, book, diff, frame, gap, line, place, walk, write
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pytest_marketreplay.errors import CassetteNotFound, UsageMistake
from pytest_marketreplay.report.capture import read_capture
from pytest_marketreplay.report.result import Bar, DeclaredGap, Goals, Hole, Report, Series, Spread


def _only(root: Path, interval_ms: int | None = 1000) -> Series:
    report = read_capture(root, interval_ms=interval_ms)
    assert len(report.series) == 1, [each.name for each in report.series]
    return report.series[0]


def _states(report: Report) -> dict[str, str]:
    return {verdict.goal: verdict.state for verdict in report.verdicts}


def test_every_figure_of_a_small_capture_is_the_one_worked_out_by_hand(tmp_path: Path) -> None:
    at = [START_MS + 1000 * tick for tick in range(12)]
    path = write(
        place(tmp_path, "BTCUSDT"),
        [
            book(at[0], update_id=10, latency=10, sequence=1),  # 100 / 101: 1 / 100.5 = 99.502 bp, size 3, value 302
            book(at[1], update_id=10, latency=10, sequence=2),  # the same answer, the same id
            book(at[2], update_id=9, bids=[("99", "1")], asks=[("101", "1")], latency=20, sequence=3),  # backwards, 200 bp
            book(at[2] + 100, update_id=12, latency=30, sequence=4),  # a second one for that tick
            gap("missed", at[3], at[4], 2, "late"),
            book(at[5], update_id=13, bids=[("102", "1")], asks=[("101", "1")], latency=40, sequence=7),  # crossed, 5 and 6 left out
            line(at[6], {"code": -1003}, {"method": "GET", "status": 429}),
            gap("failed", at[6], at[6], 1, "HTTP 429"),
            book(at[7], update_id=14, bids=[], latency=50, sequence=7),  # one side empty, a number again
            book(at[10], update_id=15, latency=200, sequence=8),  # 8 and 9 are missing without a word
            gap("sink", at[11], at[11], 1),
        ],
    )  # fmt: skip
    found = _only(tmp_path)
    size = path.stat().st_size
    assert (found.venue, found.symbol, found.source, found.endpoint) == (
        "binance",
        "BTCUSDT",
        "polled",
        "/api/v3/depth",
    )
    assert (found.first_ms, found.last_ms, found.interval_ms, found.interval_estimated) == (at[0], at[10], 1000, False)
    assert (found.expected, found.stored, found.declared, found.undeclared) == (12, 6, 4, 2)
    assert found.completeness == 50.0
    assert found.holes == (Hole(at[8], at[9], 2),)
    assert (found.hole_count, found.doubled, found.segments) == (1, 1, 1)
    assert found.gaps == (
        DeclaredGap("failed", 1, 1, 0),
        DeclaredGap("missed", 1, 2, 1000),
        DeclaredGap("sink", 1, 1, 0),
    )
    assert (found.snapshots, found.failed) == (7, 1)
    assert (found.sequenced, found.sequence_holes, found.sequence_repeats, found.sessions) == (True, 2, 1, 1)
    assert (found.same_answers, found.same_update_ids, found.update_ids_backwards) == (1, 1, 1)
    assert (found.crossed, found.empty, found.breaks) == (1, 1, 0)
    assert found.latency_ms == Spread(pytest.approx(360 / 7), 30, 200, 200, 200)
    narrow = 1 / 100.5 * 10_000
    assert found.spread_bp == Spread(
        pytest.approx((4 * narrow + 200) / 5), pytest.approx(narrow, rel=1e-3), 200, 200, pytest.approx(200)
    )
    # 3 three times at 100/101 and after, 2 twice: the wide and the crossed one
    assert found.depth_size == Spread(pytest.approx((4 * 3 + 2 * 2) / 6), 3, 3, 3, 3)
    assert found.depth_quote == Spread(pytest.approx((4 * 302 + 200 + 203) / 6), 302, 302, 302, 302)
    hours = 10 / 3600
    assert (found.size_bytes, found.bytes_per_snapshot) == (size, pytest.approx(size / 7))
    assert (found.bytes_per_hour, found.bytes_per_day) == (
        pytest.approx(size / hours),
        pytest.approx(size / hours * 24),
    )
    assert sum(cell.stored for cell in found.timeline) == 6
    assert sum(cell.declared for cell in found.timeline) == 4
    assert [cell.from_ms for cell in found.timeline if cell.undeclared] == [at[8], at[9]]
    assert sum(bar.count for bar in found.latency_bars) == 7
    assert found.latency_bars[-1] == Bar(200, 210, 1)
    assert [value for _, value in found.latency_curve][-1] == 200
    assert (at[2], pytest.approx(200)) in found.spread_curve
    assert max(value for _, value in found.depth_curve) == 302

    report = read_capture(tmp_path, interval_ms=1000)
    assert _states(report) == dict.fromkeys(("completeness", "declared", "latency", "sequence"), "missed")
    assert not report.passed
    totals = report.totals
    assert (totals.series, totals.files, totals.size_bytes, totals.lines, totals.damaged) == (1, 1, size, 11, 0)
    assert (totals.expected, totals.stored, totals.declared, totals.undeclared, totals.snapshots) == (12, 6, 4, 2, 7)
    assert (totals.first_ms, totals.last_ms, totals.completeness) == (at[0], at[10], 50.0)
    assert report.remarks == (
        "binance BTCUSDT: 1 crossed books, 1 empty books, 1 update ids that go backwards, 1 failed answers",
    )


def test_a_clean_capture_meets_every_goal_and_thresholds_move_them(tmp_path: Path) -> None:
    walk(tmp_path, "BTCUSDT", seconds=400)
    walk(tmp_path, "ETHUSDT", seconds=400, seed=2, missing=[100, 101], declared=[100, 101])
    report = read_capture(tmp_path, interval_ms=1000)
    assert report.passed, report.verdicts
    assert [each.completeness for each in report.series] == [100.0, 99.5]
    assert report.remarks == ()
    assert report.verdicts[0].text == "at least 99.5 % of the grid is there: met by all 2 pairs, lowest 99.5 %"
    stricter = read_capture(tmp_path, goals=Goals(min_completeness=99.6, max_latency_ms=20), interval_ms=1000)
    assert _states(stricter) == {"completeness": "missed", "declared": "met", "latency": "missed", "sequence": "met"}
    assert stricter.verdicts[0].missed_by == ("binance ETHUSDT",)


@hypothesis_settings(max_examples=40)
@given(removed=st.sets(st.integers(1, 58)), said=st.sets(st.integers(1, 58)), estimated=st.booleans())
def test_the_holes_that_are_found_are_the_ticks_that_were_removed(
    tmp_path_factory: pytest.TempPathFactory, removed: set[int], said: set[int], estimated: bool
) -> None:
    root = tmp_path_factory.mktemp("capture")
    removed = {tick for tick in removed if tick % 3} if estimated else removed  # most steps are still those of the grid
    walk(root, "BTCUSDT", seconds=60, missing=removed, declared=removed & said)
    interval = None if estimated and len(removed) < 20 else 1000
    found = _only(root, interval)
    assert found.undeclared == len(removed - said)
    assert found.declared == len(removed & said)
    assert found.stored == 60 - len(removed)
    ticks = {
        round((time - START_MS) / 1000) for hole in found.holes for time in range(hole.from_ms, hole.to_ms + 1, found.interval_ms)
    }  # fmt: skip
    assert ticks == removed - said


def test_the_interval_is_estimated_as_the_median_step_and_said_to_be(tmp_path: Path) -> None:
    write(place(tmp_path, "BTCUSDT"), [book(START_MS + offset) for offset in (0, 500, 1000, 1500, 3500, 4000)])
    found = _only(tmp_path, None)
    assert (found.interval_ms, found.interval_estimated) == (500, True)
    assert (found.expected, found.undeclared) == (9, 3)
    assert found.latency_ms.p99 == 10
    with pytest.raises(UsageMistake, match="has to be 1 at least"):
        read_capture(tmp_path, interval_ms=0)


def test_a_capture_of_one_answer_has_no_interval_and_no_growth(tmp_path: Path) -> None:
    write(place(tmp_path, "BTCUSDT"), [book(START_MS, latency=None)])
    report = read_capture(tmp_path)
    found = report.series[0]
    assert (found.interval_ms, found.expected, found.completeness) == (1000, 1, 100.0)
    assert (found.bytes_per_hour, report.totals.bytes_per_day) == (None, None)
    assert _states(report) == {"completeness": "met", "declared": "met", "latency": "unknown", "sequence": "unknown"}
    assert report.verdicts[2].text.endswith("the capture does not say")
    assert report.passed


def test_a_goal_that_some_pairs_say_nothing_about_says_so(tmp_path: Path) -> None:
    write(place(tmp_path, "BTCUSDT"), [book(START_MS, latency=None)])
    write(place(tmp_path, "ETHUSDT"), [book(START_MS, latency=5)])
    assert read_capture(tmp_path).verdicts[2].text.endswith("met, highest 5.0 ms; 1 do not say")


@pytest.mark.parametrize(
    "numbers, holes, repeats, sessions",
    [
        ([1, 2, 3], 0, 0, 1),
        ([5, 6, 7], 0, 0, 0),  # older files are gone
        ([1, 2, 4, 7], 3, 0, 1),
        ([1, 2, 2, 3], 0, 1, 1),
        ([1, 1], 0, 1, 1),
        ([1, 3, 2, 4], 1, 1, 1),
        ([1, 2, 1, 2, 3], 0, 0, 2),
        ([7, 8, 9, 2, 3, 4, 5], 0, 2, 0),  # a session whose first file is gone
    ],
)
def test_sequence_numbers_are_checked(
    tmp_path: Path, numbers: list[int], holes: int, repeats: int, sessions: int
) -> None:
    write(
        place(tmp_path, "BTCUSDT"),
        [book(START_MS + 1000 * tick, sequence=number) for tick, number in enumerate(numbers)],
    )
    found = _only(tmp_path)
    assert (found.sequence_holes, found.sequence_repeats, found.sessions) == (holes, repeats, sessions)


def test_a_jump_of_the_clock_is_no_hole(tmp_path: Path) -> None:
    hour = 3_600_000
    times = [*range(0, 5000, 1000), *range(hour, hour + 5000, 1000)]
    lines = [book(START_MS + time) for time in times]
    lines.insert(5, gap("clock_jump", START_MS + 5000, START_MS + hour))
    write(place(tmp_path, "BTCUSDT"), lines)
    report = read_capture(tmp_path, interval_ms=1000)
    found = report.series[0]
    assert (found.segments, found.expected, found.undeclared) == (2, 10, 0)
    assert found.gaps == (DeclaredGap("clock_jump", 1, 0, hour - 5000),)
    assert report.remarks == ("binance BTCUSDT: 1 jumps of the clock",)


def test_a_pair_that_failed_from_beginning_to_end_is_seen(tmp_path: Path) -> None:
    walk(tmp_path, "BTCUSDT", seconds=30)
    folder = place(tmp_path, "ETHUSDT")
    times = [START_MS + 1000 * tick for tick in range(30)]
    write(folder, [part for time in times for part in (line(time, {}, {"status": 503}), gap("failed", time, time, 1))])
    write(place(tmp_path, "LTCUSDT"), [line(START_MS, "what is this", {"status": 200})])
    write(
        place(tmp_path, "XRPUSDT", endpoint="/stream", websocket=True), [gap("disconnected", START_MS, START_MS + 9000)]
    )
    write(place(tmp_path, None), [line(START_MS, {}, {"status": 500})])
    report = read_capture(tmp_path, interval_ms=1000)
    assert [(each.symbol, each.source, each.stored, each.expected, each.failed) for each in report.series] == [
        ("BTCUSDT", "polled", 30, 30, 0),
        ("ETHUSDT", "polled", 0, 30, 30),
        ("LTCUSDT", "polled", 0, 0, 1),
        ("XRPUSDT", "streamed", 0, 10, 0),
    ]
    assert report.remarks[-1] == "binance /api/v3/depth: 1 failed answers, and none that can be read"
    assert report.verdicts[0].missed_by == ("binance ETHUSDT", "binance LTCUSDT", "binance XRPUSDT")


def test_a_pair_that_ends_early_is_remarked(tmp_path: Path) -> None:
    walk(tmp_path, "BTCUSDT", seconds=60)
    walk(tmp_path, "ETHUSDT", seconds=30)
    assert read_capture(tmp_path, interval_ms=1000).remarks == ("binance ETHUSDT: ends 30 s before the capture does",)


def test_gaps_of_other_endpoints_and_pairs_declare_nothing(tmp_path: Path) -> None:
    walk(tmp_path, "BTCUSDT", seconds=10, missing=[4, 6])
    span = START_MS, START_MS + 9000
    write(place(tmp_path, "BTCUSDT", endpoint="/api/v3/klines"), [gap("failed", *span)])
    write(place(tmp_path, "ETHUSDT"), [gap("failed", *span)])
    write(
        place(tmp_path, None),
        [gap("failed", *span, pair="ETH-USDT"), gap("missed", START_MS + 4000, START_MS + 4000, pair="BTC-USDT")],
    )
    write(place(tmp_path, "BTCUSDT", venue="kraken"), [gap("failed", *span)])
    found = next(each for each in read_capture(tmp_path, interval_ms=1000).series if each.name == "binance BTCUSDT")
    assert (found.declared, found.undeclared) == (1, 1)


def test_damage_is_passed_over_counted_and_named(tmp_path: Path) -> None:
    folder = place(tmp_path, "BTCUSDT")
    good = [book(START_MS + 1000 * tick) for tick in range(3)]
    path = write(folder, [good[0], "not json\n", '{"timestamp":1}\n', good[1]])
    with path.open("ab") as out:
        out.write(b'{"timestamp":1,"endpoint":"/","params":{"x":"\xff"},"response":1}\n')
        out.write(b'{"timestamp":1,"endpoint":"/","params":{},"response":"\xff"}\n')
        out.write(line(START_MS, None, {"dir": "gap"}).encode())
        out.write(line(START_MS, None, {"sequence_number": "gap"}).encode())
        out.write(good[2].encode() + good[2].encode()[:40])
    (folder / "2025-10-02T11-00-00.jsonl.gz").write_bytes(gzip.compress(good[2].encode())[:30])
    report = read_capture(tmp_path, interval_ms=1000)
    assert report.series[0].snapshots == 3
    assert report.totals.damaged == 8
    assert [(bad.line, bad.path.endswith(".gz")) for bad in report.damage] == [
        (2, False), (3, False), (5, False), (6, False), (7, False), (8, False), (10, False), (0, True),
    ]  # fmt: skip
    assert report.damage[3].reason == "not UTF-8"
    assert report.damage[4].reason == "a gap that does not say which"
    assert "sequence_number" in report.damage[5].reason
    assert report.remarks[0] == "8 damaged or unreadable lines were passed over"


def test_only_the_first_damaged_lines_are_named(tmp_path: Path) -> None:
    write(place(tmp_path, "BTCUSDT"), [book(START_MS), *["x\n"] * 50])
    report = read_capture(tmp_path)
    assert (report.totals.damaged, len(report.damage)) == (50, 20)


def test_sealed_files_and_several_files_are_one_series(tmp_path: Path) -> None:
    folder = place(tmp_path, "BTCUSDT")
    lines = [book(START_MS + 1000 * tick, sequence=tick + 1) for tick in range(20)]
    (folder / "2025-10-02T10-00-00.jsonl.gz").write_bytes(gzip.compress("".join(lines[:10]).encode()))
    write(folder, lines[10:], "2025-10-02T10-00-10.jsonl")
    found = _only(tmp_path)
    assert (found.stored, found.expected, found.sequence_holes) == (20, 20, 0)


def test_prices_that_are_no_numbers_and_times_out_of_this_world_break_nothing(tmp_path: Path) -> None:
    folder = place(tmp_path, "BTCUSDT")
    write(
        folder,
        [
            book(START_MS),
            book(START_MS + 1000, bids=[("NaN", "1")]),
            book(START_MS + 2000, asks=[("1e400", "1")]),
            line(START_MS + 2500, "gap", {"status": 500}),
            book(START_MS + 3000, bids=[("-101", "1")], asks=[("-100", "1")]),
            book(2**62, latency=1e300),
            book(-(2**62)),
            gap("missed", -(2**62), 2**62, 2**62),
        ],
    )
    found = _only(tmp_path)
    assert (found.snapshots, found.failed) == (4, 3)
    assert found.undeclared == 0
    assert found.declared > 10**12
    assert len(found.timeline) <= 240


def test_what_is_no_market_data_is_no_pair(tmp_path: Path) -> None:
    write(place(tmp_path, None, endpoint="/api/v3/time"), [line(START_MS, {"serverTime": 1}, endpoint="/api/v3/time")])
    report = read_capture(tmp_path)
    assert (report.series, report.passed, report.totals.completeness) == ((), False, None)
    assert report.verdicts[0].text.startswith("no order book was found")
    with pytest.raises(CassetteNotFound):
        read_capture(tmp_path / "nothing")


def _snapshot(time_ms: int, update_id: int) -> str:
    return book(time_ms, update_id=update_id, latency=5)


def test_a_stream_is_complete_where_its_book_can_be_relied_on(tmp_path: Path) -> None:
    """Ready from 0 to 4 s; the diff at 5 s leaves out two updates; a new snapshot at 8 s; the connection ends at 11 s."""
    at = START_MS
    write(place(tmp_path, "BTCUSDT"), [_snapshot(at - 10, 10), _snapshot(at + 8000, 20)])
    frames = [frame(at - 100, dir="open", status=101), diff(at - 50, 10), diff(at, 11)]
    frames += [diff(at + 1000 * second, 11 + second) for second in range(1, 5)]
    frames += [diff(at + 5000, 18), diff(at + 8050, 21, bids=[("99", "4")]), diff(at + 10_500, 22)]
    frames += [frame(at + 11_000, dir="end", error="reset")]
    frames += [gap("disconnected", at + 11_000, at + 13_000, 3, pair="BTC-USDT")]
    write(place(tmp_path, None, endpoint="/stream", websocket=True), frames)
    report = read_capture(tmp_path, interval_ms=1000)
    assert len(report.series) == 1
    found = report.series[0]
    assert (found.source, found.stream, found.name) == ("streamed", "btcusdt@depth", "binance BTCUSDT btcusdt@depth")
    assert found.breaks == 1
    # the seed at -10 ms makes no tick before the first diff; ticks at 0, 1, 2, 3, 4 s, then 9, 10 s
    assert found.first_ms == at
    assert (found.stored, found.undeclared, found.declared) == (7, 4, 3)
    assert found.holes == (Hole(at + 5000, at + 8000, 4),)
    assert found.same_update_ids == 0
    assert found.latency_ms.p99 is None
    assert _states(report)["latency"] == _states(report)["sequence"] == "unknown"
    said = {verdict.goal: verdict.text for verdict in report.verdicts}
    assert said["latency"].endswith("the venue's times in them are of another clock")
    assert said["sequence"].endswith("was checked instead, breaks found: 1")
    assert found.spread_bp.p50 == pytest.approx(1 / 100.5 * 10_000, rel=1e-3)


def test_a_stream_that_a_kill_cut_off_has_a_hole_until_the_next_connection(tmp_path: Path) -> None:
    at = START_MS
    write(place(tmp_path, "BTCUSDT"), [_snapshot(at, 10), _snapshot(at + 60_000, 100)])
    frames = [frame(at, dir="open", status=101), *(diff(at + 1000 * second, 11 + second) for second in range(5))]
    frames += [frame(at + 59_500, dir="open", status=101, conn="2")]
    frames += [diff(at + 60_000 + 1000 * second, 100 + second, conn="2") for second in range(1, 4)]
    write(place(tmp_path, "BTCUSDT", endpoint="/stream", websocket=True), frames)
    found = _only(tmp_path)
    assert found.stored + found.undeclared == found.expected
    assert found.undeclared == pytest.approx(56, abs=1)
    assert found.hole_count == 1
    assert found.size_bytes == sum(file.stat().st_size for file in tmp_path.rglob("ws_*/*/*.jsonl"))


@pytest.mark.parametrize("moved", [-3_600_000, 3_600_000, 86_400_000])
def test_a_stream_whose_clock_was_set_misses_what_really_passed(tmp_path: Path, moved: int) -> None:
    """Ticks at 0 to 4 s; the clock is set at 3.5 s; the next connection, of the new time, has its book from 8 to 10 s."""
    at, new = START_MS, START_MS + moved
    write(place(tmp_path, "BTCUSDT"), [_snapshot(at, 10), _snapshot(new + 7500, 100)])
    frames = [frame(at, dir="open", status=101), *(diff(at + 1000 * second, 11 + second) for second in range(4))]
    # written at the time of the new clock, as the collector does
    frames += [gap("clock_jump", at + 3500, new + 3500).replace(str(at + 3500), str(new + 3500), 1)]
    frames += [diff(at + 4000, 15), frame(at + 4500, dir="end", error="reset")]
    frames += [frame(new + 7000, dir="open", status=101, conn="2")]
    frames += [diff(new + 1000 * second, 93 + second, conn="2") for second in range(8, 11)]
    frames += [gap("disconnected", new + 4500, new + 8000)]
    write(place(tmp_path, "BTCUSDT", endpoint="/stream", websocket=True), frames)
    found = _only(tmp_path)
    assert (found.stored, found.declared, found.undeclared) == (8, 3, 0)
    assert found.segments == 2


def test_a_stream_that_never_gets_its_book_again_has_a_hole_to_the_end(tmp_path: Path) -> None:
    at = START_MS
    write(place(tmp_path, "BTCUSDT"), [_snapshot(at, 10)])
    frames = [*(diff(at + 1000 * second, 11 + second) for second in range(5))]
    frames += [diff(at + 5000 + 1000 * second, 50 + second, conn="2") for second in range(5)]
    write(place(tmp_path, "BTCUSDT", endpoint="/stream", websocket=True), frames)
    found = _only(tmp_path)
    assert (found.stored, found.undeclared, found.holes) == (5, 5, (Hole(at + 5000, at + 9000, 5),))


def test_a_book_that_a_snapshot_made_of_waiting_diffs_is_there(tmp_path: Path) -> None:
    write(place(tmp_path, "BTCUSDT"), [_snapshot(START_MS + 500, 10)])
    write(place(tmp_path, "BTCUSDT", endpoint="/stream", websocket=True), [diff(START_MS, 11)])
    found = _only(tmp_path)
    assert (found.stored, found.expected, found.snapshots) == (1, 1, 1)


def test_books_of_negative_prices_have_no_spread_and_those_without_ids_none_to_compare(tmp_path: Path) -> None:
    write(place(tmp_path, "BTCUSDT"), [book(START_MS, bids=[("-101", "1")], asks=[("-100", "2")])])
    answer = {"error": [], "result": {"XXBTZUSD": {"bids": [["99", "1", 1]], "asks": [["101", "1", 1]]}}}
    folder = place(tmp_path, "BTC-USD", venue="kraken", endpoint="/public/Depth")
    write(folder, [line(START_MS + 1000 * tick, answer, {}, "/0/public/Depth", pair="XBTUSD") for tick in range(2)])
    binance, kraken = read_capture(tmp_path, interval_ms=1000).series
    assert (binance.spread_bp.p50, binance.depth_quote.max, binance.crossed) == (None, 301, 0)
    assert (kraken.snapshots, kraken.same_answers, kraken.same_update_ids) == (2, 1, 0)
    assert kraken.spread_bp.p50 == pytest.approx(200)


def test_a_gap_between_two_ticks_declares_neither(tmp_path: Path) -> None:
    said = [gap("sink", START_MS + 4500, START_MS + 4500, 1)]
    write(place(tmp_path, "BTCUSDT"), [*(book(START_MS + 1000 * tick) for tick in (0, 1, 2, 3, 6)), *said])
    assert _only(tmp_path).undeclared == 2


def test_a_book_is_looked_at_once_a_tick_however_often_it_changes(tmp_path: Path) -> None:
    write(place(tmp_path, "BTCUSDT"), [_snapshot(START_MS - 100, 10)])
    wide = [("100", "0"), ("50", "1")]
    write(
        place(tmp_path, "BTCUSDT", endpoint="/stream", websocket=True),
        [diff(START_MS, 11), diff(START_MS + 500, 12, bids=wide), diff(START_MS + 1000, 13, bids=[("100", "1")])],
    )
    found = _only(tmp_path)
    assert (found.snapshots, found.stored) == (3, 2)
    assert found.spread_bp.max == pytest.approx(1 / 100.5 * 10_000)


def test_a_quiet_stream_is_not_a_hole(tmp_path: Path) -> None:
    write(place(tmp_path, "BTCUSDT"), [_snapshot(START_MS, 10)])
    write(
        place(tmp_path, "BTCUSDT", endpoint="/stream", websocket=True),
        [diff(START_MS, 11), diff(START_MS + 600_000, 12), frame(START_MS + 600_100, "{", encoding="text")],
    )
    found = _only(tmp_path, None)
    assert (found.interval_ms, found.interval_estimated) == (1000, False)
    assert (found.expected, found.stored) == (601, 601)


def test_polled_books_beside_a_stream_are_a_series_only_where_a_poller_numbered_them(tmp_path: Path) -> None:
    write(
        place(tmp_path, "BTCUSDT"),
        [book(START_MS + 1000 * tick, update_id=10 + tick, sequence=tick + 1) for tick in range(5)],
    )
    write(
        place(tmp_path, "BTCUSDT", endpoint="/stream", websocket=True),
        [diff(START_MS + 1000 * tick, 11 + tick) for tick in range(5)],
    )
    assert {each.source for each in read_capture(tmp_path, interval_ms=1000).series} == {"polled", "streamed"}


def test_hostile_levels_and_messages_of_a_stream_are_counted(tmp_path: Path) -> None:
    write(place(tmp_path, "BTCUSDT"), [_snapshot(START_MS, 10)])
    write(
        place(tmp_path, "BTCUSDT", endpoint="/stream", websocket=True),
        [
            diff(START_MS, 11),
            diff(START_MS + 1000, 12, bids=[("1e40", "1")]),
            frame(START_MS + 2000, {"stream": "btcusdt@depth", "data": {"e": "depthUpdate", "s": "BTCUSDT", "b": 5}}),
        ],
    )
    report = read_capture(tmp_path, interval_ms=1000)
    assert report.series[0].failed == 1
    assert report.totals.damaged == 1


def test_memory_does_not_grow_with_the_length_of_a_capture(tmp_path: Path) -> None:
    import tracemalloc

    walk(tmp_path, "BTCUSDT", seconds=400)
    first = next(tmp_path.rglob("*.jsonl"))
    peaks = []
    for copies in (2, 7):
        for number in range(copies):
            first.with_name(f"2025-10-02T11-00-0{number}.jsonl").write_bytes(first.read_bytes())
        tracemalloc.start()
        read_capture(tmp_path, interval_ms=1000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.1
