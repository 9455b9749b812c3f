"""`marketreplay report`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pytest_marketreplay.errors import UsageMistake


@click.command()
@click.argument("capture", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--interval",
    type=click.FloatRange(min=0.001),
    metavar="SECONDS",
    help="Step of the grid; without it, the median step of each pair.",
)
@click.option(
    "--min-completeness",
    type=click.FloatRange(0, 100),
    default=99.5,
    show_default=True,
    metavar="PERCENT",
    help="Goal: how much of the grid each pair has at least.",
)
@click.option(
    "--max-latency",
    type=click.FloatRange(min=0),
    default=100.0,
    show_default=True,
    metavar="MS",
    help="Goal: the 99th percentile of each pair's capture latency is below this.",
)
@click.option(
    "--max-undeclared",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Goal: how many ticks of a pair may be missing without a gap entry.",
)
@click.option(
    "--max-sequence-faults",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Goal: how many sequence numbers of a pair may be left out or come again.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a page with plots to this file; it needs nothing from outside.",
)
def report(
    capture: Path,
    interval: float | None,
    min_completeness: float,
    max_latency: float,
    max_undeclared: int,
    max_sequence_faults: int,
    as_json: bool,
    html: Path | None,
) -> None:
    """Judge a capture: completeness, gaps, latency, spread, depth and size of every pair; exit 1 where a goal is missed.

    Reads order books that were polled, and rebuilds those of streams. Damaged lines are passed over, counted and named.

    \b
    Example:
      marketreplay report capture --interval 1 --html report.html
    """
    from pytest_marketreplay.cassette import files
    from pytest_marketreplay.cli import survey
    from pytest_marketreplay.cli.progress import progress
    from pytest_marketreplay.report.capture import read_capture
    from pytest_marketreplay.report.result import Goals

    if capture.is_file():
        raise UsageMistake(f"{capture} is a file; a capture is a folder")
    roots = survey.cassettes(capture)
    if len(roots) > 1:
        raise UsageMistake(
            f"{capture} holds {len(roots)} captures; name one of them: {', '.join(str(root) for root in roots[:5])}"
        )
    goals = Goals(min_completeness, max_latency, max_undeclared, max_sequence_faults)
    total = sum(file.stat().st_size for file in files.all_files(roots[0]))
    with progress("reading", total, unit_bytes=True) as advance:
        found = read_capture(
            roots[0],
            goals=goals,
            interval_ms=None if interval is None else max(1, round(interval * 1000)),
            advance=advance,
        )
    if html is not None:
        from pytest_marketreplay.report.page import render

        try:
            html.write_text(render(found), encoding="utf-8")
        except OSError as error:
            raise UsageMistake(f"{html} cannot be written: {error.strerror or error}") from error
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        from pytest_marketreplay.report.terminal import show

        show(found)
        if html is not None:
            click.echo(f"the page: {html}")
    if not found.passed:
        sys.exit(1)
