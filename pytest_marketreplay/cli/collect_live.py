"""How a session looks on the terminal: a live table in the foreground, plain lines elsewhere."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from pytest_marketreplay import clock

if TYPE_CHECKING:
    from rich.table import Table

    from pytest_marketreplay.collect.sessions import SessionState

_LINE_EVERY_MS = 10_000
"""How often a capture that has no terminal says how it is."""


def _utc(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _lasted(state: SessionState) -> str:
    from pytest_marketreplay.collect import durations

    end_ms = state.ended_ms if state.ended_ms is not None else state.heartbeat_ms
    return durations.spoken((end_ms - state.started_ms) / 1000)


def _captures(state: SessionState) -> str:
    return "; ".join(f"{venue} {' '.join(pairs)}" for venue, pairs in state.pairs.items())


def one_line(state: SessionState, verdict: str) -> str:
    """Return a session in one line."""
    return f"{state.session_id}  {verdict}  {_utc(state.started_ms)}  {_lasted(state)}  {_captures(state)}"


def _gaps(state: SessionState) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(state.gaps.items())) or "none"


def lines(state: SessionState, verdict: str) -> list[str]:
    """Return what there is to say of a session, as lines."""
    now_ms = clock.now_ns() // 1_000_000
    out = [
        f"{state.session_id}: {verdict}",
        f"  captures   {_captures(state)}, {state.feed}, every {state.interval_s:g} s, into {', '.join(state.storage)}",
        f"  began      {_utc(state.started_ms)}, ran {_lasted(state)}, process {state.pid}",
        f"  heartbeat  {_utc(state.heartbeat_ms)}, {max(0, now_ms - state.heartbeat_ms) / 1000:.0f} s ago",
        f"  items      {state.counts.get('items', 0)}, snapshots {state.counts.get('snapshots', 0)}",
        f"  gaps       {_gaps(state)}",
        f"  loop lag   {state.lag_p99_ms:.1f} ms (99th percentile)",
    ]
    for queue in state.queues:
        fails = f", fails: {queue.last_error}" if queue.failing else ""
        out.append(f"  sink {queue.sink}: {queue.written} written, {queue.items} wait, {queue.dropped} dropped{fails}")
    if state.last_error:
        out.append(f"  last error {state.last_error}")
    if state.metrics:
        out.append(f"  metrics    {state.metrics}/metrics")
    if state.log:
        out.append(f"  log        {state.log}")
    return out


def table(state: SessionState, before: SessionState | None) -> Table:
    """Return a session as a table of the last heartbeat; `before` is the heartbeat before it, for the rates."""
    from rich.table import Table

    out = Table(title=f"{state.session_id}  {state.status}  {_lasted(state)}", title_justify="left", show_header=False)
    rate = 0.0
    if before is not None and state.heartbeat_ms > before.heartbeat_ms:
        items = state.counts["items"] - before.counts["items"]
        rate = items * 1000 / (state.heartbeat_ms - before.heartbeat_ms)
    out.add_row("captures", f"{_captures(state)}, {state.feed}, every {state.interval_s:g} s")
    out.add_row("items", f"{state.counts['items']:,}, {rate:,.1f} a second, {state.counts['snapshots']:,} snapshots")
    out.add_row("gaps", _gaps(state), style="yellow" if state.gaps else "")
    out.add_row("loop lag", f"{state.lag_p99_ms:.1f} ms (99th percentile)")
    for queue in state.queues:
        said = f"{queue.written:,} written, {queue.items:,} wait, {queue.dropped:,} dropped"
        out.add_row(
            f"sink {queue.sink}",
            f"{said}; {queue.last_error}" if queue.failing else said,
            style="red" if queue.failing else "",
        )
    if state.last_error:
        out.add_row("last error", state.last_error, style="red")
    out.add_row("log", state.log)
    return out


class Display:
    """Shows the heartbeats of a capture: a live table on a terminal, a line now and then otherwise."""

    def __init__(self) -> None:
        """Look where standard output goes."""
        self._live: Any = None
        self._before: SessionState | None = None
        self._said_ms = 0

    def __enter__(self) -> Self:
        if sys.stdout.isatty():
            from rich.live import Live

            self._live = Live(auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, state: SessionState) -> None:
        """Show a heartbeat."""
        if self._live is not None:
            self._live.update(table(state, self._before), refresh=True)
        elif self._before is None:
            click.echo(f"session {state.session_id} runs: {_captures(state)}; log: {state.log}")
        elif state.heartbeat_ms - self._said_ms >= _LINE_EVERY_MS:
            self._say(state)
        if self._before is None:
            self._said_ms = state.heartbeat_ms
        self._before = state

    def _say(self, state: SessionState) -> None:
        self._said_ms = state.heartbeat_ms
        waits = ", ".join(f"{queue.sink} {queue.items}" for queue in state.queues)
        items = state.counts["items"]
        click.echo(
            f"{_utc(state.heartbeat_ms)} items {items}, gaps {_gaps(state)}, lag {state.lag_p99_ms:.1f} ms, waiting {waits}"
        )

    def conclude(self, state: SessionState) -> None:
        """Say how a capture ended."""
        click.echo("\n".join(lines(state, state.status)))
