"""What a report says, as frozen structs: the terminal, the page and `--json` show the same.

The names are those of the JSON; docs/how-to/judge-a-capture.md lists them, and a test compares.
"""

from __future__ import annotations

import msgspec

VERSION = 1
"""Of the JSON. Fields may be added within a version; what is there keeps its name and meaning."""

Point = tuple[int, float]
"""Unix epoch in milliseconds, value."""


class DeclaredGap(msgspec.Struct, frozen=True):
    """All gaps of one kind that the capture itself declares."""

    kind: str
    entries: int
    missing: int
    """Sum of what the entries say is missing."""
    duration_ms: int


class Hole(msgspec.Struct, frozen=True):
    """Neighbouring ticks that are neither stored nor declared missing."""

    from_ms: int
    to_ms: int
    ticks: int


class Spread(msgspec.Struct, frozen=True):
    """Percentiles and extremes of a value; None where there is none."""

    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None


class Bar(msgspec.Struct, frozen=True):
    """One bar of a histogram."""

    low: float
    high: float
    count: int


class Cell(msgspec.Struct, frozen=True):
    """What became of the ticks of a stretch of time."""

    from_ms: int
    to_ms: int
    stored: int
    declared: int
    undeclared: int


class Series(msgspec.Struct, frozen=True):
    """One pair of one venue: its polled books, or the book of one of its streams."""

    venue: str
    symbol: str
    source: str
    """`polled` or `streamed`."""
    endpoint: str | None
    """Of polled books."""
    stream: str | None
    first_ms: int
    last_ms: int
    interval_ms: int
    interval_estimated: bool
    expected: int
    stored: int
    completeness: float
    """Percent of the expected ticks."""
    declared: int
    """Ticks that are missing and declared so."""
    undeclared: int
    """Ticks that are missing, and nothing says so."""
    hole_count: int
    holes: tuple[Hole, ...]
    """The longest undeclared holes, at most 50, in order of time."""
    doubled: int
    """Answers to a tick that had one already."""
    segments: int
    """1, and one more for each jump of the clock that the grid was started anew after."""
    gaps: tuple[DeclaredGap, ...]
    snapshots: int
    """Order books that were read; of a stream, books after each diff."""
    failed: int
    """Answers that are an error, or no order book."""
    sequenced: bool
    """Whether the snapshots have sequence numbers."""
    sequence_holes: int
    """Sequence numbers that are left out."""
    sequence_repeats: int
    """Sequence numbers that came again, or backwards."""
    sessions: int
    """How often the sequence started at 1."""
    breaks: int
    """Diffs of a stream that did not follow from what came before."""
    same_answers: int
    """Answers equal to the one before, byte for byte."""
    same_update_ids: int
    update_ids_backwards: int
    crossed: int
    """Books whose best bid is not below the best ask."""
    empty: int
    """Books with an empty side."""
    latency_ms: Spread
    spread_bp: Spread
    """Of books that are neither empty nor crossed; 1 bp = 0.01 % of the middle."""
    depth_size: Spread
    """Size within the best 10 levels of both sides."""
    depth_quote: Spread
    """Their value: price times size."""
    size_bytes: int
    """Of the files that hold this symbol only."""
    bytes_per_snapshot: float | None
    bytes_per_hour: float | None
    bytes_per_day: float | None
    timeline: tuple[Cell, ...]
    latency_bars: tuple[Bar, ...]
    latency_curve: tuple[Point, ...]
    spread_curve: tuple[Point, ...]
    depth_curve: tuple[Point, ...]

    @property
    def name(self) -> str:
        """Venue, symbol, and the stream where there is one."""
        return f"{self.venue} {self.symbol}" + (f" {self.stream}" if self.stream else "")


class BadLine(msgspec.Struct, frozen=True):
    """A line that was passed over."""

    path: str
    """Within the capture."""
    line: int
    byte: int
    reason: str


class Totals(msgspec.Struct, frozen=True):
    """The whole capture."""

    series: int
    files: int
    size_bytes: int
    lines: int
    """Lines that could be read."""
    damaged: int
    """Lines, or whole sealed files, that could not; payloads that are not what the venue documents, too."""
    first_ms: int | None
    last_ms: int | None
    expected: int
    stored: int
    completeness: float | None
    declared: int
    undeclared: int
    snapshots: int
    bytes_per_snapshot: float | None
    bytes_per_hour: float | None
    bytes_per_day: float | None


class Goals(msgspec.Struct, frozen=True):
    """What a capture is measured against."""

    min_completeness: float = 99.5
    max_latency_ms: float = 100.0
    """Of the 99th percentile, which has to be below."""
    max_undeclared: int = 0
    max_sequence_faults: int = 0
    """Holes and repeats."""


class Verdict(msgspec.Struct, frozen=True):
    """How one goal was met."""

    goal: str
    state: str
    """`met`, `missed`, or `unknown` where the capture does not say."""
    text: str
    missed_by: tuple[str, ...]


class Report(msgspec.Struct, frozen=True):
    """Everything that is known of a capture."""

    version: int
    capture: str
    goals: Goals
    verdicts: tuple[Verdict, ...]
    passed: bool
    remarks: tuple[str, ...]
    """What is odd and breaks no goal."""
    totals: Totals
    damage: tuple[BadLine, ...]
    """The first 20."""
    series: tuple[Series, ...]
