"""`marketreplay backup schedule`, while it runs: signals, metrics, and a line for whatever happens."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from pytest_marketreplay.archive.schedule import EVERY_S, Event, Schedule
from pytest_marketreplay.cli import backup_live

if TYPE_CHECKING:
    from pytest_marketreplay.archive.backup import Backup
    from pytest_marketreplay.cli.backup_settings import Given
    from pytest_marketreplay.metrics.backups import BackupMetrics


class _Stopped(BaseException):
    """A signal came: whatever is being done is left, as a kill would leave it, and the next run begins anew."""


def _tell(event: Event) -> None:
    if event.made is not None:
        click.echo("\n".join(backup_live.made_lines(event.made)))
    if event.error is not None:
        click.echo(f"failed, {event.failures} times in a row: {event.error}", err=True)
    click.echo(f"the next backup is due at {backup_live.utc(event.next_s)}")


def _stop(number: int, frame: object) -> None:
    raise _Stopped


def _seed(metrics: BackupMetrics, backup: Backup) -> None:
    """Show what is known from before a restart."""
    known = backup.known()
    if known is not None:
        verified_ms = max(known.verified.values(), default=None)
        metrics.known(backup.label, known.last_backup_ms, verified_ms, known.last_size_bytes)


def run(given: Given) -> None:
    """Make backups until a signal comes. Raises UsageMistake."""
    over = threading.Event()
    with ExitStack() as parts:
        port = given.values.get("metrics-port")
        if port is None:
            backup = given.backup(tree=True)
        else:
            from pytest_marketreplay.metrics import Metrics, MetricsServer
            from pytest_marketreplay.metrics.backups import BackupMetrics

            metrics = Metrics(process=True)
            meter = BackupMetrics(metrics)
            backup = given.backup(tree=True, meter=meter)
            _seed(meter, backup)
        bars = backup_live.Bars()
        made = Schedule(backup, given.seconds("every", EVERY_S), over.wait, _tell, bars.watch)
        if port is not None:
            host = given.values.get("metrics-host") or "127.0.0.1"
            server = parts.enter_context(MetricsServer(metrics, host, port, made.health))
            click.echo(f"metrics    http://{host}:{server.port}/metrics")
        parts.enter_context(bars)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        try:
            made.run()
        except _Stopped:
            click.echo("ended by a signal")
