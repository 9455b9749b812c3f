"""The report on a terminal: verdicts, tables, and curves of one line; without colours where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pytest_marketreplay.report.result import Cell, Point, Report, Series
from pytest_marketreplay.report.verdicts import MET, MISSED
from pytest_marketreplay.report.words import duration, moment, number, percent, size, visible

_BLOCKS = "▁▂▃▄▅▆▇█"
_MARKS = {MET: ("OK", "bold green"), MISSED: ("MISSED", "bold red")}
_WIDTH = 16


def show(report: Report, console: Console | None = None) -> None:
    """Print a report."""
    console = console or Console(width=None if sys.stdout.isatty() else 200)

    def say(text: str, style: str = "") -> None:
        console.print(Text(text, style), soft_wrap=True)

    totals = report.totals
    span = "" if totals.first_ms is None or totals.last_ms is None else duration(totals.last_ms - totals.first_ms)
    say(f"{visible(report.capture)}: {moment(totals.first_ms)} to {moment(totals.last_ms)} UTC, {span}", "bold")
    say(
        f"{totals.series} pairs, {totals.stored:,} of {totals.expected:,} ticks, {totals.declared:,} declared missing, "
        f"{totals.undeclared:,} missing undeclared; {size(totals.size_bytes)} in {totals.files} files, "
        f"{size(totals.bytes_per_snapshot)} a snapshot, {size(totals.bytes_per_day)} a day"
    )
    if report.series:
        console.print()
        console.print(_grid(report.series))
        console.print()
        console.print(_books(report.series))
        if any(each.gaps for each in report.series):
            console.print()
            console.print(_gaps(report.series))
        if any(each.holes for each in report.series):
            console.print()
            console.print(_holes(report.series))
    for bad in report.damage:
        say(f"damaged: {visible(bad.path)}, line {bad.line}, byte {bad.byte}: {visible(bad.reason)}", "yellow")
    if totals.damaged > len(report.damage):
        say(f"and {totals.damaged - len(report.damage):,} more damaged lines", "yellow")
    for remark in report.remarks:
        say(f"remark: {visible(remark)}", "yellow")
    console.print()
    for verdict in report.verdicts:
        mark, style = _MARKS.get(verdict.state, ("UNKNOWN", "yellow"))
        console.print(Text(f"{mark:<8}", style), Text(verdict.text), sep="", soft_wrap=True)
        for name in verdict.missed_by[:10]:
            say(f"        {visible(name)}", "red")
        if len(verdict.missed_by) > 10:
            say(f"        and {len(verdict.missed_by) - 10} more", "red")


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _row(table: Table, *cells: str) -> None:
    table.add_row(*(Text(visible(cell)) for cell in cells))  # as Text: no markup out of what an exchange said


def _grid(series: Iterable[Series]) -> Table:
    table = _table(
        "The grid (over time: a full block is a whole stretch, ! has undeclared holes)",
        ("pair", "over time"),
        (
            "interval", "expected", "stored", "complete", "declared", "undeclared", "seq. holes", "repeats",
            "latency p50", "p90", "p99", "max ms", "a snapshot", "a day",
        ),
    )  # fmt: skip
    for each in series:
        latency = each.latency_ms
        _row(
            table,
            each.name,
            timeline(each.timeline),
            duration(each.interval_ms) + ("~" if each.interval_estimated else ""),
            f"{each.expected:,}",
            f"{each.stored:,}",
            percent(each.completeness),
            f"{each.declared:,}",
            f"{each.undeclared:,}",
            f"{each.sequence_holes:,}" if each.sequenced else "-",
            f"{each.sequence_repeats:,}" if each.sequenced else "-",
            *(number(value) for value in (latency.p50, latency.p90, latency.p99, latency.max)),
            size(each.bytes_per_snapshot),
            size(each.bytes_per_day),
        )
    if any(each.interval_estimated for each in series):
        table.caption = "~ estimated as the median step; say --interval to measure against the grid that was asked for"
        table.caption_justify = "left"
    return table


def _books(series: Iterable[Series]) -> Table:
    table = _table(
        "The books (depth: the best 10 levels of both sides)",
        ("pair", "spread", "depth"),
        (
            "spread median", "mean", "max bp", "depth median", "in quote", "crossed", "empty", "ids back",
            "same answer", "same id", "doubled", "failed",
        ),
    )  # fmt: skip
    for each in series:
        spread = each.spread_bp
        _row(
            table,
            each.name,
            sparkline(each.spread_curve),
            sparkline(each.depth_curve),
            *(number(value) for value in (spread.p50, spread.mean, spread.max)),
            number(each.depth_size.p50),
            number(each.depth_quote.p50),
            *(
                f"{count:,}"
                for count in (
                    each.crossed, each.empty, each.update_ids_backwards, each.same_answers, each.same_update_ids,
                    each.doubled, each.failed,
                )
            ),
        )  # fmt: skip
    return table


def _gaps(series: Iterable[Series]) -> Table:
    table = _table("Declared gaps", ("pair", "kind"), ("entries", "missing", "time"))
    for each in series:
        for gap in each.gaps:
            _row(
                table,
                each.name,
                gap.kind,
                f"{gap.entries:,}",
                f"{gap.missing:,}",
                duration(gap.duration_ms) if gap.duration_ms else "-",
            )
    return table


def _holes(series: Iterable[Series]) -> Table:
    table = _table("Undeclared holes (the longest of each pair)", ("pair", "from (UTC)", "to (UTC)"), ("ticks",))
    for each in series:
        for hole in sorted(each.holes, key=lambda hole: -hole.ticks)[:5]:
            _row(table, each.name, moment(hole.from_ms), moment(hole.to_ms), f"{hole.ticks:,}")
        if each.hole_count > 5:
            _row(table, each.name, f"and {each.hole_count - min(5, len(each.holes)):,} more", "", "")
    return table


def sparkline(points: Sequence[Point], width: int = _WIDTH) -> str:
    """Return a curve in one line: the largest value of each stretch, from the smallest value to the largest of all."""
    if not points:
        return ""
    low = min(value for _, value in points)
    high = max(value for _, value in points)
    first, span = points[0][0], max(1, points[-1][0] - points[0][0])
    tops: dict[int, float] = {}
    for time_ms, value in points:
        at = min(width - 1, (time_ms - first) * width // span)
        tops[at] = max(value, tops.get(at, value))
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        _BLOCKS[round((tops[at] - low) * scale)] if at in tops else " " for at in range(min(width, max(tops) + 1))
    )


def timeline(cells: Sequence[Cell], width: int = _WIDTH) -> str:
    """Return what became of the ticks in one line."""
    if not cells:
        return ""
    first, span = cells[0].from_ms, max(1, cells[-1].to_ms - cells[0].from_ms)
    marks: dict[int, list[int]] = {}
    for cell in cells:
        begin = min(width - 1, (cell.from_ms - first) * width // span)
        end = max(begin, -(-(cell.to_ms - first) * width // span) - 1)
        for at in range(begin, end + 1):
            found = marks.setdefault(at, [0, 0, 0])
            found[0] += cell.stored
            found[1] += cell.stored + cell.declared + cell.undeclared
            found[2] += cell.undeclared
    out = ""
    for at in range(width):
        stored, expected, undeclared = marks.get(at, (0, 0, 0))
        if not expected:
            out += " "  # no tick is due: the clock jumped
        else:
            out += "!" if undeclared else _BLOCKS[stored * (len(_BLOCKS) - 1) // expected]
    return out
