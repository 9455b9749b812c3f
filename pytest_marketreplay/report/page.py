"""The report as one page of HTML: no script, nothing from outside, light and dark, plots as inline SVG."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_marketreplay import __version__
from pytest_marketreplay.report import svg
from pytest_marketreplay.report.result import Report, Series
from pytest_marketreplay.report.style import STYLE
from pytest_marketreplay.report.svg import escape
from pytest_marketreplay.report.verdicts import MET, MISSED
from pytest_marketreplay.report.words import duration, moment, number, percent, short_moment, size

_OPEN = 4
"""Up to how many pairs are unfolded."""
_POINTS = 24_000
"""Of all curves of a page together: with 40 pairs it stays well under 1 MB."""
_FILLED = 12
_ROWS = 10
_MARKS = {MET: "✓ met", MISSED: "✗ missed"}


def render(report: Report) -> str:
    """Return the whole page."""
    series = report.series
    totals = report.totals
    span = (totals.first_ms or 0, totals.last_ms or 0)
    if series:
        span = min(each.first_ms for each in series), max(each.last_ms for each in series)
    missed = {name for verdict in report.verdicts for name in verdict.missed_by}
    parts = [_head(report), _goals(report), _cards(report)]
    if series:
        parts.append(_overview(series, span, missed))
        parts.append("<h2>Pair by pair</h2>")
        points = max(60, min(600, _POINTS // (3 * len(series))))
        is_open = len(series) <= _OPEN
        parts += [
            _pair(index, each, span, points, report, is_open=is_open, is_missed=each.name in missed)
            for index, each in enumerate(series)
        ]
    parts.append(_remarks(report))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        f'<link rel="icon" href="data:,"><title>Capture quality: {escape(report.capture)}</title><style>{STYLE}</style></head>'
        f"<body><main>{''.join(parts)}<footer>pytest-marketreplay {escape(__version__)} · times are UTC</footer></main></body>"
        "</html>\n"
    )


def _head(report: Report) -> str:
    totals = report.totals
    state, said = (MET, "This capture meets its goals") if report.passed else (MISSED, "This capture misses its goals")
    if not report.passed and report.series:
        count = sum(verdict.state == MISSED for verdict in report.verdicts)
        said = f"This capture misses {count} of {len(report.verdicts)} goals"
    length = (
        "" if totals.first_ms is None or totals.last_ms is None else f" · {duration(totals.last_ms - totals.first_ms)}"
    )
    when = f"{moment(totals.first_ms)} to {moment(totals.last_ms)} UTC{length}"
    return (
        f'<header class="verdict {state}"><p class="over-title">{escape(report.capture)}</p><h1>{said}</h1>'
        f'<p class="over-title">{escape(when)}</p></header>'
    )


def _goals(report: Report) -> str:
    items = ""
    for verdict in report.verdicts:
        names = ", ".join(verdict.missed_by[:12])
        if len(verdict.missed_by) > 12:
            names += f" and {len(verdict.missed_by) - 12} more"
        below = f'<div class="names">{escape(names)}</div>' if names and len(report.series) > 1 else ""
        items += (
            f'<li><span class="mark {escape(verdict.state)}">{_MARKS.get(verdict.state, "? unknown")}</span>'
            f"<div>{escape(verdict.text)}{below}</div></li>"
        )
    return f'<ul class="goals" aria-label="Goals">{items}</ul>'


def _cards(report: Report) -> str:
    totals = report.totals
    slowest = max((each.latency_ms.p99 for each in report.series if each.latency_ms.p99 is not None), default=None)
    sequenced = [each.sequence_holes + each.sequence_repeats for each in report.series if each.sequenced]
    faults = f"{sum(sequenced):,}" if sequenced else "-"
    goals = report.goals
    cards = [
        ("of the grid", percent(totals.completeness), f"{totals.stored:,} of {totals.expected:,} ticks", False),
        ("missing, undeclared", f"{totals.undeclared:,}", f"{totals.declared:,} declared", totals.undeclared > 0),
        (
            "highest p99 latency",
            "-" if slowest is None else f"{number(slowest)} ms",
            f"goal: below {goals.max_latency_ms:g} ms",
            slowest is not None and slowest >= goals.max_latency_ms,
        ),
        ("sequence faults", faults, "holes and repeats", faults not in ("-", "0")),
        ("pairs", f"{totals.series:,}", f"{totals.snapshots:,} books", False),
        ("on disk", size(totals.size_bytes), f"{size(totals.bytes_per_snapshot)} a snapshot", False),
        ("growth a day", size(totals.bytes_per_day), f"{size(totals.bytes_per_hour)} an hour", False),
        ("lines", f"{totals.lines:,}", f"{totals.damaged:,} damaged", totals.damaged > 0),
    ]
    return '<div class="cards">' + "".join(
        f'<div class="card{" bad" if bad else ""}"><span class="what">{escape(what)}</span><b>{escape(value)}</b>'
        f"<span>{escape(aside)}</span></div>"
        for what, value, aside, bad in cards
    ) + "</div>"  # fmt: skip


_LEGEND = (
    '<div class="legend"><span><i style="background:var(--stored)"></i>stored</span>'
    '<span><i style="background:var(--declared)"></i>missing, declared by a gap entry</span>'
    '<span><i style="background:var(--undeclared)"></i>missing, undeclared</span></div>'
)


def _axis(span: tuple[int, int]) -> str:
    middle = span[0] + (span[1] - span[0]) // 2
    times = "".join(
        f"<span>{escape(short_moment(time, span[1] - span[0]))}</span>" for time in (span[0], middle, span[1])
    )
    return f'<div class="axis" aria-hidden="true">{times}</div>'


def _overview(series: Sequence[Series], span: tuple[int, int], missed: set[str]) -> str:
    rows = ""
    for index, each in enumerate(series):
        title = f"{each.name}: {percent(each.completeness)} of the grid, {each.undeclared:,} ticks missing undeclared"
        faults = each.sequence_holes + each.sequence_repeats
        cells = (
            (percent(each.completeness), False),
            (f"{each.declared:,}", False),
            (f"{each.undeclared:,}", each.undeclared > 0),
            (f"{faults:,}" if each.sequenced else "-", faults > 0),
            (number(each.latency_ms.p99), False),
            (number(each.spread_bp.p50), False),
            (size(each.size_bytes) if each.size_bytes else "-", False),
        )
        mark = '<span class="cross" title="misses a goal">\N{NO-BREAK SPACE}✗</span>' if each.name in missed else ""
        rows += (
            f'<tr><th scope="row"><a href="#pair-{index}">{escape(each.name)}</a>{mark}</th>'
            f'<td class="band">{svg.strip(title, each.timeline, span)}</td>'
            + "".join(f'<td class="n{" bad" if bad else ""}">{escape(text)}</td>' for text, bad in cells)
            + "</tr>"
        )
    names = ("complete", "declared", "undeclared", "sequence faults", "p99 ms", "spread bp", "size")
    head = "".join(f'<th scope="col" class="n">{name}</th>' for name in names)
    return (
        f'<h2>All pairs</h2><section class="box"><div class="scroll"><table><thead><tr><th scope="col">pair</th>'
        f'<th scope="col">over time {_axis(span)}</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>{_LEGEND}</section>'
    )


def _pair(
    index: int, each: Series, span: tuple[int, int], points: int, report: Report, *, is_open: bool, is_missed: bool
) -> str:
    mark = '<span class="mark missed">✗ missed</span>' if is_missed else '<span class="mark met">✓</span>'
    how = each.source + (f" by {each.endpoint}" if each.endpoint else "")
    step = duration(each.interval_ms) + (" (estimated)" if each.interval_estimated else "")
    filled = len(report.series) <= _FILLED
    plots = svg.curve("Spread, bp", svg.thinned(each.spread_curve, points), span, filled=filled)
    plots += svg.curve(
        "Depth: value of the best 10 levels a side", svg.thinned(each.depth_curve, points), span, filled=filled
    )
    if each.latency_bars:
        goal = report.goals.max_latency_ms
        plots += svg.curve(
            "Capture latency, ms", svg.thinned(each.latency_curve, points), span, filled=filled, goal=goal
        )
        plots += svg.bars("Capture latency, how often", each.latency_bars, goal)
    title = f"{each.name}: what became of {each.expected:,} ticks"
    return (
        f'<details id="pair-{index}"{" open" if is_open else ""}><summary>{escape(each.name)}{mark}'
        f"<small>{escape(how)}, every {escape(step)}</small></summary>"
        f'<div class="inside">{svg.strip(title, each.timeline, span)}{_axis(span)}'
        f'<div class="plots">{plots}</div>{_facts(each)}{_lists(each)}</div></details>'
    )


def _facts(each: Series) -> str:
    latency, spread = each.latency_ms, each.spread_bp
    facts: list[tuple[str, str]] = [
        ("expected ticks", f"{each.expected:,}"),
        ("stored", f"{each.stored:,} ({percent(each.completeness)})"),
        ("missing, declared", f"{each.declared:,}"),
        ("missing, undeclared", f"{each.undeclared:,} in {each.hole_count:,} holes"),
        ("sequence holes, repeats", f"{each.sequence_holes:,}, {each.sequence_repeats:,}" if each.sequenced else "-"),
        ("answers to a tick that had one", f"{each.doubled:,}"),
        ("failed answers", f"{each.failed:,}"),
        ("latency p50, p90", f"{number(latency.p50)}, {number(latency.p90)} ms"),
        ("latency p99, max", f"{number(latency.p99)}, {number(latency.max)} ms"),
        ("spread median, mean", f"{number(spread.p50)}, {number(spread.mean)} bp"),
        ("spread max", f"{number(spread.max)} bp"),
        ("depth, median size", number(each.depth_size.p50)),
        ("depth, median value", number(each.depth_quote.p50)),
        ("crossed, empty books", f"{each.crossed:,}, {each.empty:,}"),
        ("same answer as before", f"{each.same_answers:,}"),
        ("same update id", f"{each.same_update_ids:,}"),
        ("update ids backwards", f"{each.update_ids_backwards:,}"),
        ("breaks of the stream", f"{each.breaks:,}"),
        ("a snapshot on disk", size(each.bytes_per_snapshot)),
        ("growth an hour, a day", f"{size(each.bytes_per_hour)}, {size(each.bytes_per_day)}"),
    ]
    return '<dl class="facts">' + "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape('-' if value.startswith('-') else value)}</dd></div>"
        for name, value in facts
    ) + "</dl>"  # fmt: skip


def _lists(each: Series) -> str:
    out = ""
    if each.gaps:
        rows = (
            (gap.kind, f"{gap.entries:,}", f"{gap.missing:,}", duration(gap.duration_ms) if gap.duration_ms else "-")
            for gap in each.gaps[:_ROWS]
        )
        out += _table("Declared gaps", ("kind", "entries", "missing", "time"), rows)
    if each.holes:
        longest = sorted(each.holes, key=lambda hole: -hole.ticks)[:_ROWS]
        shown = sorted(longest, key=lambda hole: hole.from_ms)
        title = (
            "Undeclared holes"
            if each.hole_count <= _ROWS
            else f"The longest {_ROWS} of {each.hole_count:,} undeclared holes"
        )
        out += _table(
            title,
            ("from", "to", "ticks"),
            ((moment(hole.from_ms), moment(hole.to_ms), f"{hole.ticks:,}") for hole in shown),
        )
    return out


def _table(caption: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def numeric(at: int) -> str:
        return ' class="n"' if names[at] not in ("kind", "from", "to", "file", "what") else ""

    head = "".join(f'<th scope="col"{numeric(at)}>{escape(name)}</th>' for at, name in enumerate(names))
    body = "".join(
        "<tr>" + "".join(f"<td{numeric(at)}>{escape(cell)}</td>" for at, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _remarks(report: Report) -> str:
    out = ""
    if report.remarks:
        items = "".join(f"<li>{escape(remark)}</li>" for remark in report.remarks)
        out += f'<h2>Remarks</h2><ul class="remarks">{items}</ul>'
    if report.damage:
        rows = ((bad.path, f"{bad.line:,}", f"{bad.byte:,}", bad.reason) for bad in report.damage)
        beyond = report.totals.damaged - len(report.damage)
        caption = "Lines that were passed over" + (f" (the first; {beyond:,} more)" if beyond else "")
        table = _table(caption, ("file", "line", "byte", "what"), rows)
        out += f'<h2>Damage</h2><section class="box">{table}</section>'
    return out
