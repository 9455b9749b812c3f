"""The command line: `marketreplay collect ...`, `marketreplay demo`, `marketreplay cassette ...`, `marketreplay serve`.

Exit codes: 0 all is well, 1 something is wrong with what was looked at, 2 the command was wrong, 3 another process is at it.
"""

from __future__ import annotations

import sys

import click

from pytest_marketreplay import __version__
from pytest_marketreplay.cli.backup import backup
from pytest_marketreplay.cli.cassette import cassette
from pytest_marketreplay.cli.collect import collect
from pytest_marketreplay.cli.demo import demo
from pytest_marketreplay.cli.doctor import doctor
from pytest_marketreplay.cli.report import report
from pytest_marketreplay.cli.restore import restore
from pytest_marketreplay.cli.serve import serve
from pytest_marketreplay.errors import Busy, MarketReplayError, UsageMistake


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="marketreplay")
def cli() -> None:
    """Record what exchanges really said, and replay it in tests."""


cli.add_command(backup)
cli.add_command(cassette)
cli.add_command(collect)
cli.add_command(demo)
cli.add_command(doctor)
cli.add_command(report)
cli.add_command(restore)
cli.add_command(serve)


def main() -> None:
    """Run the command line and exit: 1 for a failure, 2 for a user's mistake, 3 where another is at it."""
    try:
        cli(standalone_mode=True)
    except UsageMistake as error:
        click.echo(f"marketreplay: {error}", err=True)
        sys.exit(2)
    except Busy as error:
        click.echo(f"marketreplay: {error}", err=True)
        sys.exit(3)
    except MarketReplayError as error:
        click.echo(f"marketreplay: {error}", err=True)
        sys.exit(1)
