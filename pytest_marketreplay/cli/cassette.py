"""`marketreplay cassette ls|show|check|repair|import`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pytest_marketreplay.config import parse_hosts

_PATH = click.Path(exists=True, path_type=Path)


@click.group()
def cassette() -> None:
    """Look at cassettes, check and mend them, and import those of vcrpy."""


def _emit(value: Any) -> None:
    import orjson

    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _count_files(path: Path) -> int:
    from pytest_marketreplay.cassette import files
    from pytest_marketreplay.cli import survey

    return sum(len(files.all_files(found)) for found in survey.cassettes(path))


@cassette.command()
@click.argument("path", type=_PATH, default="cassettes")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def ls(path: Path, as_json: bool) -> None:
    """List what is recorded: venue, endpoint, symbol, entries, size, first and last moment (UTC).

    PATH is a folder of cassettes, one cassette, or one file.

    \b
    Example:
      marketreplay cassette ls cassettes
    """
    from pytest_marketreplay.cli import survey
    from pytest_marketreplay.cli.progress import progress

    with progress("reading", _count_files(path)) as advance:
        rows = list(survey.survey(path, advance))
    if as_json:
        _emit([row.as_json() for row in rows])
        return
    from rich.console import Console
    from rich.table import Table

    for found in dict.fromkeys(row.cassette for row in rows):
        table = Table(title=found, title_justify="left", box=None, pad_edge=False)
        for name in ("venue", "endpoint", "symbol"):
            table.add_column(name, overflow="fold")
        for name in ("files", "entries", "errors", "size"):
            table.add_column(name, justify="right")
        table.add_column("first (UTC)", no_wrap=True)
        table.add_column("last (UTC)", no_wrap=True)
        for row in rows:
            if row.cassette != found:
                continue
            errors = str(row.failures) if not row.damaged else f"{row.failures} + {row.damaged} damaged"
            size = f"{row.size_bytes / 1024:.1f} KiB"
            moments = survey.when(row.first_ms), survey.when(row.last_ms)
            table.add_row(
                row.venue, row.endpoint, row.symbol or "-", str(row.files), str(row.entries), errors, size, *moments
            )
        Console(width=None if sys.stdout.isatty() else 200).print(table)


@cassette.command()
@click.argument("path", type=_PATH)
@click.option("-n", "--limit", type=click.IntRange(min=0), default=10, show_default=True, help="How many; 0 for all.")
@click.option("--body", is_flag=True, help="Print each payload, exactly as it replays.")
@click.option("--venue", help="Only this venue.")
@click.option("--endpoint", help="Only endpoints that contain this text.")
@click.option("--symbol", help="Only this symbol.")
def show(path: Path, limit: int, body: bool, venue: str | None, endpoint: str | None, symbol: str | None) -> None:
    """Show recorded answers one by one, with status, latency, size and what went wrong.

    \b
    Example:
      marketreplay cassette show cassettes/btc_crash --symbol BTCUSDT -n 3 --body
    """
    from pytest_marketreplay.cassette import files, names, reader
    from pytest_marketreplay.cassette.files import Place
    from pytest_marketreplay.cli import survey
    from pytest_marketreplay.venues.registry import Registry

    registry = Registry()
    left = limit or -1
    for found in survey.cassettes(path):
        for place in [Place("", "", "_all")] if found.is_file() else files.places(found):
            if (venue and place.venue != names.venue_folder(venue)) or (
                symbol and place.symbol != names.symbol_folder(symbol)
            ):
                continue
            for file in [found] if found.is_file() else files.files_in(place.within(found)):
                for entry in reader.read(file):
                    if endpoint and endpoint not in entry.endpoint:
                        continue
                    payload = survey.payload_of(entry)
                    click.echo(f"{survey.when(entry.timestamp)} {place.venue} {survey.line_of(registry, place, entry)}")
                    if body:
                        sys.stdout.flush()
                        sys.stdout.buffer.write(payload + (b"" if payload.endswith(b"\n") else b"\n"))
                        sys.stdout.buffer.flush()
                    left -= 1
                    if left == 0:
                        return


@cassette.command()
@click.argument("paths", type=_PATH, nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def check(paths: tuple[Path, ...], as_json: bool) -> None:
    """Read every line of every file and name each that is not an entry; exit 1 where there is one.

    A torn last line, as a kill leaves it, is named too; it does not stop a replay.

    \b
    Example:
      marketreplay cassette check cassettes --json
    """
    from pytest_marketreplay.cassette import files
    from pytest_marketreplay.cli import survey
    from pytest_marketreplay.cli.progress import progress

    checked = survey.Checked()
    total = sum(
        file.stat().st_size for path in paths for found in survey.cassettes(path) for file in files.all_files(found)
    )
    with progress("checking", total, unit_bytes=True) as advance:
        for path in paths:
            survey.check(path, advance, checked)
    if as_json:
        _emit(checked.as_json())
    else:
        for item in checked.damage:
            click.echo(f"{item.path}, line {item.line}, byte {item.byte}: {item.reason}")
        for left in checked.leftovers:
            click.echo(
                f"{left}: left by a recording that was killed before its test passed; it is not played, remove it"
            )
        size = f"{checked.size_bytes / 1024:.1f} KiB"
        click.echo(f"{checked.files} files, {checked.entries} entries, {size}: {len(checked.damage)} damaged lines")
        if checked.damage:
            click.echo("keep what is good: marketreplay cassette repair PATH")
    if not checked.is_good:
        sys.exit(1)


@cassette.command()
@click.argument("paths", type=_PATH, nargs=-1, required=True)
def repair(paths: tuple[Path, ...]) -> None:
    """Write a good file in place of each damaged one, and keep the old one beside it as <name>.damaged.

    \b
    Example:
      marketreplay cassette repair cassettes/btc_crash
    """
    from pytest_marketreplay.cassette import files, reader
    from pytest_marketreplay.cli import survey

    mended = 0
    for path in paths:
        for found in survey.cassettes(path):
            for file in files.all_files(found):
                kept, dropped, old = reader.repair(file)
                if old is not None:
                    mended += 1
                    click.echo(f"{file}: {kept} entries kept, {dropped} lines left out; the old file is {old}")
    click.echo(f"{mended} files mended" if mended else "nothing to mend")


@cassette.command("import")
@click.argument("sources", type=_PATH, nargs=-1, required=True)
@click.option("--to", type=click.Path(path_type=Path), required=True, help="The cassette (a folder) to import into.")
@click.option("--add", is_flag=True, help="Add to a cassette that already has recordings.")
@click.option("--host", "hosts", multiple=True, metavar="HOST=VENUE", help="Which host is which venue; several times.")
def import_(sources: tuple[Path, ...], to: Path, add: bool, hosts: tuple[str, ...]) -> None:
    """Import cassettes of vcrpy, pytest-recording and pytest-vcr (YAML or JSON), with exact bodies, secrets redacted.

    \b
    Example:
      marketreplay cassette import tests/cassettes/test_depth.yaml --to cassettes/depth
    """
    from pytest_marketreplay.bridge.importing import import_cassettes
    from pytest_marketreplay.cli.progress import progress
    from pytest_marketreplay.venues.registry import Registry

    registry = Registry(hosts=parse_hosts(hosts))
    with progress("importing", 0) as advance:
        done = 0

        def on_progress(now: int, total: int) -> None:
            nonlocal done
            advance(now - done)
            done = now

        report = import_cassettes(sources, to, registry=registry, add=add, on_progress=on_progress)
    click.echo(str(report))
    if report.skipped:
        sys.exit(1)
