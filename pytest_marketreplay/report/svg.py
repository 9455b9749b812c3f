"""Plots as inline SVG: curves, bars and strips. Text stands around them as HTML, so that it keeps its size on a small screen.

A plot is stretched to its place (`preserveAspectRatio="none"`), its lines are not (`non-scaling-stroke`); colours come from
the page's style sheet.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median

from pytest_marketreplay.report.result import Bar, Cell, Point
from pytest_marketreplay.report.words import number, short_moment, visible

WIDTH, HEIGHT = 1000, 100


def escape(text: str) -> str:
    """Return text for HTML, in attributes, too; what cannot be shown is replaced."""
    return html.escape(visible(text))


def thinned(points: Sequence[Point], limit: int) -> Sequence[Point]:
    """Return at most `limit` points; each stretch keeps its smallest and its largest value."""
    if len(points) <= limit:
        return points
    stretches = max(1, limit // 2)
    out: list[Point] = []
    for at in range(stretches):
        part = points[at * len(points) // stretches : (at + 1) * len(points) // stretches]
        out += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return out


def _image(kind: str, title: str, content: str, height: int = HEIGHT) -> str:
    return (
        f'<svg class="{kind}" viewBox="0 0 {WIDTH} {height}" preserveAspectRatio="none" role="img">'
        f"<title>{escape(title)}</title>{content}</svg>"
    )


def ticks_of(low: float, high: float) -> list[float]:
    """Return three to six round values that hold a range."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** int(f"{span / 3:e}".partition("e")[2])
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= span / 3.000001)
    first = int(low // step)
    last = max(first + 1, -int(-high // step))
    return [at * step for at in range(first, last + 1)]


def curve(
    title: str, points: Sequence[Point], span: tuple[int, int], *, filled: bool, goal: float | None = None
) -> str:
    """Return a figure with a value over time. `span` is the time axis, first to last millisecond; `goal` draws a line."""
    if not points:
        return _figure(title, '<p class="none">nothing to show</p>')
    values = [value for _, value in points]
    low = 0.0 if min(values) < 0.6 * max(values) else min(values)
    marks = ticks_of(low, max(values))
    bottom, top = marks[0], marks[-1]
    start, length = span[0], max(1, span[1] - span[0])

    def at(point: Point) -> tuple[int, float]:
        x = round((point[0] - start) * WIDTH / length)
        return x, round(HEIGHT - (point[1] - bottom) * HEIGHT / (top - bottom), 1)

    grid = "".join(f"M0 {HEIGHT - (mark - bottom) * HEIGHT / (top - bottom):.1f}h{WIDTH}" for mark in marks)
    content = f'<path class="rule" d="{grid}"/>'
    for run in _runs(points):
        places = [at(point) for point in run]
        line = "L".join(f"{x} {y:g}" for x, y in places)
        if filled and len(places) > 1:
            content += f'<path class="area" d="M{places[0][0]} {HEIGHT}L{line}L{places[-1][0]} {HEIGHT}z"/>'
        content += f'<path class="line" d="M{line}{"h0" if len(places) == 1 else ""}"/>'
    if goal is not None and bottom < goal <= top:
        y = HEIGHT - (goal - bottom) * HEIGHT / (top - bottom)
        content += f'<path class="goal" d="M0 {y:.1f}h{WIDTH}"/>'
    said = f"{title}: from {number(min(values))} to {number(max(values))}"
    left = "".join(
        f'<span style="top:{100 - (mark - bottom) * 100 / (top - bottom):.1f}%">{escape(number(mark))}</span>'
        for mark in marks
    )
    times = [span[0], span[0] + (span[1] - span[0]) // 2, span[1]]
    below = "".join(f"<span>{escape(short_moment(time, length))}</span>" for time in times)
    return _figure(title, _framed(_image("curve", said, content), left, below))


def _runs(points: Sequence[Point]) -> Iterable[Sequence[Point]]:
    """Part a curve where it has nothing for long, so that no line is drawn over a gap."""
    steps = [after[0] - before[0] for before, after in pairwise(points)]
    longest = 6 * median(steps) if steps else 0
    start = 0
    for at, step in enumerate(steps, 1):
        if step > longest:
            yield points[start:at]
            start = at
    yield points[start:]


def bars(title: str, counts: Sequence[Bar], goal: float | None = None) -> str:
    """Return a figure with a histogram; the last bar holds all that is larger."""
    if not counts:
        return _figure(title, '<p class="none">nothing to show</p>')
    highest = max(bar.count for bar in counts)
    width = WIDTH / len(counts)
    tall = [max(1.5, bar.count * HEIGHT / highest) for bar in counts]  # one answer in a million is still to be seen
    content = "".join(
        f'<rect class="bar{" over" if goal is not None and bar.low >= goal else ""}" x="{index * width + width * 0.06:.1f}" '
        f'y="{HEIGHT - tall[index]:.1f}" width="{width * 0.88:.1f}" height="{tall[index]:.1f}">'
        f"<title>{number(bar.low)} to {number(bar.high)} ms: {bar.count:,}</title></rect>"
        for index, bar in enumerate(counts)
        if bar.count
    )
    content = f'<path class="rule" d="M0 0h{WIDTH}M0 {HEIGHT / 2:g}h{WIDTH}M0 {HEIGHT}h{WIDTH}"/>{content}'
    left = "".join(
        f'<span style="top:{top}%">{escape(number(value))}</span>'
        for top, value in ((0, highest), (50, round(highest / 2)), (100, 0))
        if value or top == 100
    )
    edges = (counts[0].low, (counts[0].low + counts[-1].high) / 2, counts[-1].high)
    below = "".join(f"<span>{escape(number(edge))} ms</span>" for edge in edges)
    total = sum(bar.count for bar in counts)
    return _figure(title, _framed(_image("curve", f"{title}: {total:,} answers", content), left, below))


def strip(title: str, cells: Sequence[Cell], span: tuple[int, int]) -> str:
    """Return the band of what became of the ticks: stored, declared missing, and undeclared above all else."""
    start, length = span[0], max(1, span[1] - span[0])
    paths = {"stored": "", "declared": "", "undeclared": ""}
    before: tuple[str, int] | None = None
    for cell in cells:
        kind = "undeclared" if cell.undeclared else "declared" if cell.declared else "stored"
        left = round((cell.from_ms - start) * WIDTH / length, 1)
        right = round((min(cell.to_ms, span[1]) - start) * WIDTH / length, 1)
        wide = max(right - left, 5.0 if kind != "stored" else 0.5)  # one bad tick in a month is still to be seen
        if before == (kind, cell.from_ms):
            paths[kind] = paths[kind].rpartition("h")[0]
            origin = float(paths[kind].rpartition("M")[2].partition(" ")[0])
            paths[kind] += f"h{left + wide - origin:g}"
        else:
            paths[kind] += f"M{left:g} 10h{wide:g}"
        before = kind, cell.to_ms
    content = "".join(f'<path class="{kind}" d="{path}"/>' for kind, path in paths.items() if path)
    return _image("strip", title, content, 20)


def _framed(image: str, left: str, below: str) -> str:
    return (
        f'<div class="plot"><div class="y" aria-hidden="true">{left}</div>{image}'
        f'<div class="x" aria-hidden="true">{below}</div></div>'
    )


def _figure(title: str, content: str) -> str:
    return f"<figure><figcaption>{escape(title)}</figcaption>{content}</figure>"
