"""`marketreplay collect ...`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytest_marketreplay.errors import CollectError, MarketReplayError

if TYPE_CHECKING:
    from pytest_marketreplay.collect.sessions import SessionFolder, SessionState

_STOP_S = 6.0
_state_dir = click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    help="Folder of all sessions; by default $XDG_STATE_HOME/marketreplay, or ~/.local/state/marketreplay.",
)
_session_id = click.option("--session-id", required=True, help="Which session, as `list` names it.")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


@click.group()
def collect() -> None:
    """Capture what exchanges say, for minutes or months; what is captured is a cassette from its first line."""


@collect.command()
@click.option("--venue", multiple=True, help="Venue to capture; several times.")
@click.option(
    "--pairs",
    multiple=True,
    metavar="PAIRS",
    help="BTC-USDT,ETH-USDT for each venue, or kraken=BTC-USD for one; several times.",
)
@click.option("--interval", type=float, help="Seconds between two snapshots of a pair; by default 1.0.")
@click.option("--duration", help="How long: 30s, 10m, 1h30m, 7d; by default until it is stopped.")
@click.option(
    "--storage", multiple=True, help="Sink (local, parquet, a URL, or a plugin's); several at once; by default local."
)
@click.option(
    "--to",
    multiple=True,
    metavar="[SINK=]PLACE",
    help="Folder or URL to write to, or of one sink of several; by default captures (local), captures-SINK.",
)
@click.option("--feed", help="poll (whole order books over REST) or stream (WebSocket); by default poll.")
@click.option("--base-url", multiple=True, metavar="VENUE=URL", help="Another server for a venue; several times.")
@click.option(
    "--metrics-port", type=int, help="Serve Prometheus metrics and /healthz on this port; 0 takes a free one."
)
@click.option("--metrics-host", help="Address that the metrics are served at; by default 127.0.0.1.")
@click.option("--retain", help="Remove what is older: 7d, 36h; by default nothing.")
@click.option("--rotate-entries", type=int, help="Begin a new file after so many entries.")
@click.option("--rotate-size", help="Begin a new file at this size: 100MB, 64MiB.")
@click.option("--rotate-hours", type=float, help="Begin a new file after so many hours.")
@click.option("--seal", help="Compress files that are complete: zst or gz.")
@click.option("--session-id", help="Name of the session; by default venue and pairs, and the time where that one runs.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="File with these settings; by default marketreplay.toml [collect] or pyproject.toml [tool.marketreplay.collect].",
)
@_state_dir
@click.option("--detach", is_flag=True, help="Return once the capture runs, and leave it running.")
def start(config: Path | None, detach: bool, state_dir: Path | None, **flags: Any) -> None:
    """Capture order books and trades, until the duration is over, Ctrl-C, SIGTERM or `stop`.

    A configuration file has the same names as the flags; a flag wins. Exit codes: 0 the capture ended and all is written,
    1 it could not start or something could not be written, 2 the command was wrong.

    \b
    Example:
      marketreplay collect start --venue binance --pairs BTC-USDT,ETH-USDT --interval 1.0 --duration 10m --storage local
    """
    from pytest_marketreplay.collect import settings

    given = settings.read_file(config, Path.cwd())
    flags["state_dir"] = state_dir
    given |= {name.replace("_", "-"): value for name, value in flags.items() if value is not None and value != ()}
    made = settings.make(given)
    if detach:
        from pytest_marketreplay.collect import detach as detached

        pid = detached.start(made)
        click.echo(f"session {made.session_id} runs, process {pid}")
        return
    from pytest_marketreplay.cli.collect_live import Display
    from pytest_marketreplay.collect.running import Capture

    with Display() as display:
        last = Capture(made, show=display.show).run()
    display.conclude(last)
    if last.status == "failed":
        raise CollectError(last.last_error)


@collect.command()
@click.option("--session-id", help="Which session; by default all.")
@_state_dir
@_as_json
def status(session_id: str | None, state_dir: Path | None, as_json: bool) -> None:
    """Tell how sessions are, right after a crash too; exit 1 where one crashed, failed or hangs.

    `crashed`: the process is gone and did not end in order. `silent`: it is there, and gave no heartbeat for 10 s.

    \b
    Example:
      marketreplay collect status --session-id binance_BTC-USDT --json
    """
    from pytest_marketreplay.cli.collect_live import lines
    from pytest_marketreplay.collect import sessions

    if session_id is not None:
        states = [_folder(state_dir, session_id).load()]
    else:
        states = _readable(state_dir)
    told = [(sessions.verdict(state), state) for state in states]
    if as_json:
        _print_json([_plain(verdict, state) for verdict, state in told])
    else:
        for verdict, state in told:
            click.echo("\n".join(lines(state, verdict)))
        if not told:
            click.echo("no sessions")
    if any(verdict in ("crashed", "failed", "silent") for verdict, _ in told):
        sys.exit(1)


@collect.command()
@_session_id
@_state_dir
def stop(session_id: str, state_dir: Path | None) -> None:
    """Let a session write what waits and end, within 5 s; exit 1 where it does not, or could not write everything.

    \b
    Example:
      marketreplay collect stop --session-id binance_BTC-USDT
    """
    from pytest_marketreplay.collect import control, sessions

    folder = _folder(state_dir, session_id)
    state = folder.load()
    if sessions.verdict(state) not in (*sessions.ALIVE, "silent"):
        click.echo(f"session {session_id} does not run: {sessions.verdict(state)}")
        return
    try:
        control.ask(folder.socket, {"do": "stop"}, 1.0)
    except CollectError:  # it hangs, or is just ending: the signal reaches it all the same
        if sessions.is_alive(state):
            os.kill(state.pid, signal.SIGTERM)
    until = time.monotonic() + _STOP_S
    while sessions.is_alive(state):
        if time.monotonic() > until:
            raise CollectError(f"session {session_id} (process {state.pid}) has not ended after {_STOP_S:g} s")
        time.sleep(0.05)
    last = folder.load()
    if last.status != "ended":
        raise CollectError(f"session {session_id}: {sessions.verdict(last)}. {last.last_error}")
    click.echo(f"session {session_id} ended: {last.counts.get('items', 0)} items")


@collect.command(name="list")
@_state_dir
@_as_json
def list_(state_dir: Path | None, as_json: bool) -> None:
    """List all sessions, one a line: name, how it is, since when, what it captures.

    \b
    Example:
      marketreplay collect list
    """
    from pytest_marketreplay.cli.collect_live import one_line
    from pytest_marketreplay.collect import sessions

    told = [(sessions.verdict(state), state) for state in _readable(state_dir)]
    if as_json:
        _print_json([_plain(verdict, state) for verdict, state in told])
        return
    for verdict, state in told:
        click.echo(one_line(state, verdict))
    if not told:
        click.echo("no sessions")


@collect.command()
@_session_id
@click.option("--venue", required=True, help="Venue whose pairs are meant.")
@click.option("--pairs", required=True, metavar="PAIRS", help="BTC-USDT,ETH-USDT.")
@_state_dir
def add(session_id: str, venue: str, pairs: str, state_dir: Path | None) -> None:
    """Capture more pairs in a running session.

    \b
    Example:
      marketreplay collect add --session-id night --venue binance --pairs SOL-USDT
    """
    _change(state_dir, session_id, {"do": "add", "venue": venue, "pairs": pairs})


@collect.command()
@_session_id
@click.option("--venue", required=True, help="Venue whose pairs are meant.")
@click.option("--pairs", required=True, metavar="PAIRS", help="BTC-USDT,ETH-USDT.")
@_state_dir
def remove(session_id: str, venue: str, pairs: str, state_dir: Path | None) -> None:
    """Capture pairs no longer, in a running session; a venue keeps at least one.

    \b
    Example:
      marketreplay collect remove --session-id night --venue binance --pairs SOL-USDT
    """
    _change(state_dir, session_id, {"do": "remove", "venue": venue, "pairs": pairs})


@collect.command()
@_session_id
@click.argument("seconds", type=float)
@_state_dir
def interval(session_id: str, seconds: float, state_dir: Path | None) -> None:
    """Change the SECONDS between two snapshots of a running session.

    \b
    Example:
      marketreplay collect interval --session-id night 0.5
    """
    _change(state_dir, session_id, {"do": "interval", "seconds": seconds})


def _folder(state_dir: Path | None, session_id: str) -> SessionFolder:
    from pytest_marketreplay.collect import sessions
    from pytest_marketreplay.documents import default_state_dir

    return sessions.SessionFolder(state_dir or default_state_dir(), sessions.check_id(session_id))


def _readable(state_dir: Path | None) -> list[SessionState]:
    """Return the states that can be read; the others are named on standard error."""
    from pytest_marketreplay.collect import sessions
    from pytest_marketreplay.documents import default_state_dir

    out = []
    for state in sessions.all_sessions(state_dir or default_state_dir()):
        if isinstance(state, MarketReplayError):
            click.echo(f"marketreplay: {state}", err=True)
        else:
            out.append(state)
    return out


def _change(state_dir: Path | None, session_id: str, request: dict[str, Any]) -> None:
    from pytest_marketreplay.collect import control, sessions

    folder = _folder(state_dir, session_id)
    state = folder.load()
    if sessions.verdict(state) not in sessions.ALIVE:
        raise CollectError(f"the session {session_id!r} does not run: {sessions.verdict(state)}")
    now = control.ask(folder.socket, request)["state"]
    pairs = ", ".join(f"{venue} {' '.join(of_venue)}" for venue, of_venue in now["pairs"].items())
    click.echo(f"session {session_id}: {pairs}, every {now['interval_s']:g} s")


def _plain(verdict: str, state: SessionState) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(state)
    return plain | {"status": verdict, "venues": state.venues}


def _print_json(value: Any) -> None:
    import orjson

    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
