"""Figures in bounded memory, and the grid, against naive models."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_marketreplay.report import words
from pytest_marketreplay.report.figures import Curve, Histogram, Strip
from pytest_marketreplay.report.grid import KEPT_HOLES, Declared, Grid
from pytest_marketreplay.report.lines import GapMeta
from pytest_marketreplay.report.svg import thinned, ticks_of


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.floats(0.001, 1))
def test_a_percentile_is_that_of_all_values_to_four_digits(values: list[float], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    rank = max(1, math.ceil(share * len(values) - 1e-9))
    assert histogram.percentiles(share)[0] == pytest.approx(sorted(values)[rank - 1], rel=5.1e-4)
    assert histogram.mean == pytest.approx(sum(values) / len(values))
    assert histogram.largest == max(values)


def test_a_histogram_of_a_million_values_keeps_few_keys() -> None:
    histogram = Histogram()
    for number in range(300_000):
        histogram.add(number / 7)
    assert len(histogram.counts) < 70_000
    assert histogram.percentiles(0.5, 0.9) == [
        pytest.approx(150_000 / 7, rel=1e-3),
        pytest.approx(270_000 / 7, rel=1e-3),
    ]


def test_bars_hold_every_value_and_the_last_one_what_is_beyond() -> None:
    histogram = Histogram()
    for value in [*range(1, 1000), *range(1, 1000), 50_000]:
        histogram.add(value)
    bars = histogram.bars(10)
    assert [low for low, _, _ in bars] == [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]
    assert bars[0][2] == 198
    assert bars[-1][2] == 201
    assert sum(count for _, _, count in bars) == 1999
    assert Histogram().bars(10) == []
    assert Histogram().percentiles(0.5) == [None]
    assert Histogram().mean is None


@given(st.lists(st.tuples(st.integers(-(10**13), 10**13), st.floats(-1e6, 1e6)), min_size=1, max_size=300))
def test_a_curve_keeps_the_highest_and_the_lowest_and_its_limit(points: list[tuple[int, float]]) -> None:
    curve = Curve(1000, limit=20)
    for time_ms, value in points:
        curve.add(time_ms, value)
    kept = curve.points()
    assert len(kept) <= 20
    assert set(kept) <= set(points)
    assert max(value for _, value in kept) == max(value for _, value in points)
    assert min(value for _, value in kept) == min(value for _, value in points)
    assert kept == sorted(kept)


@given(
    st.lists(
        st.tuples(
            st.integers(-(10**12), 10**12),
            st.integers(1, 10**6),
            st.integers(1, 10**9),
            st.sampled_from(["stored", "declared", "undeclared"]),
        ),
        max_size=20,
    )
)
def test_a_strip_counts_every_tick_once(runs: list[tuple[int, int, int, str]]) -> None:
    strip = Strip(1000, limit=50)
    for first, step, count, state in runs:
        strip.add(first, step, count, state=state)  # type: ignore[arg-type]
    cells = [cell for _, cell in strip.ordered()]
    for state in ("stored", "declared", "undeclared"):
        assert sum(getattr(cell, state) for cell in cells) == sum(count for *_, count, of in runs if of == state)
    assert len(cells) <= 50


def test_a_run_of_ticks_falls_into_the_cells_of_their_times() -> None:
    strip = Strip(1000, limit=4)
    strip.add(0, 500, 8, state="stored")
    assert [(start, cell.stored) for start, cell in strip.ordered()] == [(0, 2), (1000, 2), (2000, 2), (3000, 2)]
    strip.add(4000, 500, 1, state="undeclared")
    assert [(start, cell.stored, cell.undeclared) for start, cell in strip.ordered()] == [
        (0, 4, 0),
        (2000, 4, 0),
        (4000, 0, 1),
    ]


def _grid(*gaps: GapMeta, interval: int = 1000, fixed: bool = True) -> Grid:
    return Grid(interval, Declared(gaps), fixed=fixed)


@given(
    st.sets(st.integers(1, 98)),
    st.lists(st.tuples(st.integers(-5, 105), st.integers(0, 20)), max_size=5),
    st.lists(st.integers(0, 400), min_size=100, max_size=100),
)
def test_each_missing_tick_is_declared_or_not(
    removed: set[int], spans: list[tuple[int, int]], jitter: list[int]
) -> None:
    grid = _grid(*(GapMeta("missed", 1000 * start, 1000 * (start + length)) for start, length in spans))
    for tick in range(100):
        if tick not in removed:
            grid.add(1000 * tick + (jitter[tick] if tick else 0))
    grid.finish()
    said = {tick for start, length in spans for tick in range(start, start + length + 1)}
    assert grid.stored == 100 - len(removed)
    assert grid.undeclared == len(removed - said)
    assert grid.declared == len(removed & said) + len({tick for tick in said if not 0 <= tick < 100})
    assert grid.expected == grid.stored + grid.declared + grid.undeclared
    assert sum(hole.ticks for hole in grid.holes) == grid.undeclared


def test_a_poller_that_drifts_misses_ticks_of_a_given_grid_and_none_of_an_estimated_one() -> None:
    given_, estimated = _grid(), _grid(interval=1001, fixed=False)
    for tick in range(3000):
        given_.add(tick * 1002)
        estimated.add(tick * 1002)
    assert (given_.expected, given_.undeclared) == (3006, 6)
    assert (estimated.expected, estimated.undeclared) == (3000, 0)


def test_only_the_longest_holes_are_named_and_all_are_counted() -> None:
    grid = _grid()
    time_ms = 0
    for length in range(1, KEPT_HOLES + 11):
        grid.add(time_ms)
        time_ms += 1000 * (length + 1)
    grid.add(time_ms)
    assert grid.hole_count == KEPT_HOLES + 10
    assert [hole.ticks for hole in grid.holes] == list(range(11, KEPT_HOLES + 11))


def test_a_clock_that_goes_back_starts_the_grid_anew() -> None:
    grid = _grid()
    for time_ms in (0, 1000, 2000, -3_600_000, -3_599_000):
        grid.add(time_ms)
    assert (grid.segments, grid.stored, grid.expected) == (2, 5, 5)


def test_a_declared_jump_forward_is_no_hole_and_a_small_one_changes_nothing() -> None:
    grid = _grid()
    grid.add(0)
    grid.jump()
    grid.add(3_600_000)
    assert (grid.segments, grid.expected) == (2, 2)
    grid.jump()
    grid.add(3_601_000)
    assert (grid.segments, grid.expected) == (2, 3)
    grid.add(3_604_000)  # the jump before is over
    assert (grid.segments, grid.undeclared) == (2, 2)


def test_two_answers_to_one_tick_are_counted() -> None:
    grid = _grid()
    for time_ms in (0, 100, 1000, 900):
        grid.add(time_ms)
    assert (grid.stored, grid.doubled, grid.expected) == (2, 2, 2)


def test_where_nothing_was_stored_all_that_is_declared_is_expected() -> None:
    grid = _grid(GapMeta("failed", 5000, 9000, 5))
    grid.finish()
    assert (grid.stored, grid.declared, grid.expected) == (0, 5, 5)
    empty = _grid()
    empty.finish()
    assert empty.expected == 0


def test_thinned_points_keep_their_spikes() -> None:
    points = [(number, float(number % 7)) for number in range(10_000)]
    points[5000] = (5000, 999.0)
    kept = thinned(points, 100)
    assert len(kept) <= 100
    assert (5000, 999.0) in kept
    assert thinned(points[:50], 100) == points[:50]


@pytest.mark.parametrize(
    "low, high, expected",
    [(0, 100, [0, 50, 100]), (0, 3.3, [0, 2, 4]), (98, 101, [98, 99, 100, 101]), (0, 0, [0, 0.5]), (5, 5, [4, 6])],
)
def test_an_axis_has_round_marks(low: float, high: float, expected: list[float]) -> None:
    marks = ticks_of(low, high)
    assert marks[0] <= low
    assert marks[-1] >= high
    assert marks[: len(expected)] == pytest.approx(expected)


@pytest.mark.parametrize(
    "function, value, said",
    [
        (words.size, None, "-"), (words.size, 999, "999 B"), (words.size, 1536, "1.5 KiB"), (words.size, 2**41, "2.0 TiB"),
        (words.size, 2**50, "1024.0 TiB"), (words.number, None, "-"), (words.number, 0, "0"), (words.number, 0.123456, "0.1235"),
        (words.number, 1234.5, "1,234"), (words.number, 123_456, "123.5 k"), (words.number, 1_500_000, "1.5 M"),
        (words.number, 2.5e9, "2.5 G"), (words.number, 2.5e12, "2.5 T"), (words.number, 1e20, "1e+20"),
        (words.percent, 99.49999, "99.499 %"), (words.percent, 100.0, "100 %"), (words.percent, None, "-"),
        (words.duration, 500, "0.5 s"), (words.duration, 59_000, "59 s"), (words.duration, 60_000, "1 min"),
        (words.duration, 3_599_000, "59 min 59 s"), (words.duration, 90_000_000, "1 d 1 h"),
        (words.moment, None, "-"), (words.moment, 0, "1970-01-01 00:00:00"), (words.moment, 10**17, f"{10**17} ms"),
        (words.encodable, "a\ud800b", "a?b"), (words.visible, "a\x1b[2J\u202eb", "a\ufffd[2J\ufffdb"),
    ],
)  # fmt: skip
def test_figures_are_said_for_people(function: object, value: object, said: str) -> None:
    assert function(value) == said  # type: ignore[operator]


def test_a_moment_is_as_exact_as_its_axis() -> None:
    assert words.short_moment(61_234, 9_999) == "00:01:01.234"
    assert words.short_moment(61_234, 10_000) == "00:01:01"
    assert words.short_moment(0, 10**9) == "01-01 00:00"
    assert words.short_moment(10**17, 1000) == f"{10**17} ms"
