"""Tables in Markdown, and verdicts: a goal, what was measured, and by how much it was missed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Table(NamedTuple):
    """One table."""

    title: str
    columns: list[str]
    rows: list[list[Any]]
    note: str = ""

    def markdown(self) -> str:
        """Return the table as Markdown."""
        lines = [
            f"### {self.title}",
            "",
            "| " + " | ".join(self.columns) + " |",
            "|" + " --- |" * len(self.columns),
            *("| " + " | ".join(map(number, row)) + " |" for row in self.rows),
        ]
        return "\n".join([*lines, *(["", self.note] if self.note else [])])


class Verdict(NamedTuple):
    """Whether a goal was reached."""

    goal: str
    measured: float | None
    limit: float
    unit: str
    at_least: bool = False
    """Whether the measured figure shall be at least the limit; else at most."""
    remark: str = ""

    @property
    def reached(self) -> bool | None:
        """Tell whether it was reached; None where it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def row(self) -> list[Any]:
        """Return goal, figure and verdict for a table."""
        sign = "at least" if self.at_least else "at most"
        if self.measured is None:
            return [self.goal, f"{sign} {number(self.limit)} {self.unit}", "", f"not measured {self.remark}".strip()]
        if self.reached:
            said = "reached"
        else:
            said = f"**missed by {number(abs(self.measured - self.limit))} {self.unit}**"
        return [
            self.goal,
            f"{sign} {number(self.limit)} {self.unit}",
            number(self.measured),
            f"{said} {self.remark}".strip(),
        ]


def verdicts(found: Sequence[Verdict]) -> Table:
    """Return the verdicts as a table."""
    return Table("Verdicts", ["goal", "limit", "measured", "verdict"], [verdict.row() for verdict in found])


def number(value: object) -> str:
    """Return a figure with three digits that count; all else as it is."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    if value != value:  # NaN
        return ""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"
