"""`marketreplay serve`."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from pytest_marketreplay.config import ORDERS, parse_hosts
from pytest_marketreplay.errors import CassetteError, UsageMistake

if TYPE_CHECKING:
    from pytest_marketreplay.serve import CassetteServer


@click.command()
@click.argument("cassettes", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Port of the first venue, the others follow; 0 takes free ones.",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Factor of real time; 0 waits for nothing.",
)
@click.option("--loop", is_flag=True, help="Start over at the end; update ids go backwards then.")
@click.option(
    "--order",
    type=click.Choice(ORDERS),
    default="time",
    show_default=True,
    help="REST: the newest answer as of the tape's time, or one after the other.",
)
@click.option("--from-start", is_flag=True, help="Let the tape run at once, not when the first client comes.")
@click.option("--host-map", is_flag=True, help="Print which host of an exchange is served where.")
@click.option("--host", "hosts", multiple=True, metavar="HOST=VENUE", help="Which host is which venue; several times.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for machines.")
def serve(
    cassettes: tuple[Path, ...],
    port: int,
    speed: float,
    loop: bool,
    order: str,
    from_start: bool,
    host_map: bool,
    hosts: tuple[str, ...],
    as_json: bool,
) -> None:
    """Serve recorded cassettes as live exchanges on loopback, HTTP and WebSocket, until Ctrl-C or SIGTERM.

    For programs in any language: point them at the printed addresses. Several CASSETTES are layers.

    \b
    Example:
      marketreplay serve cassettes/btc_crash --port 8100 --speed 10
    """
    from pytest_marketreplay.serve import CassetteServer

    server = CassetteServer(
        cassettes,
        port=port,
        speed=speed,
        loop=loop,
        order=order,
        begin="start" if from_start else "first_request",
        hosts=parse_hosts(hosts),
        on_end=lambda: click.echo("the recording has ended; REST goes on with the last answers", err=True),
    )
    asked_to_stop = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        asked_to_stop.set()

    # before anything is printed: whoever starts this may stop it as soon as it reads the first line
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        try:
            server.start()
        except CassetteError as error:  # what was named on the command line cannot be served: the command was wrong
            raise UsageMistake(str(error)) from error
        except OSError as error:
            raise UsageMistake(f"cannot listen: {error.strerror or error}") from error
        with server:
            _say(server, host_map=host_map, as_json=as_json)
            asked_to_stop.wait()
            for miss in server.misses:
                click.echo(f"not recorded: {miss.venue} {miss.asked}", err=True)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(server: CassetteServer, *, host_map: bool, as_json: bool) -> None:
    """Print where each venue is; the first line is out as soon as clients can come."""
    if as_json:
        import orjson

        venues: dict[str, Any] = {
            venue: {"rest": server.url(venue), "websocket": server.ws_url(venue)} for venue in server.venues
        }
        said: dict[str, Any] = {"venues": venues, "now_ms": server.now()}
        if host_map:
            said["hosts"] = server.hosts()
        click.echo(orjson.dumps(said).decode())
    else:
        for venue in server.venues:
            click.echo(f"{venue}: REST {server.url(venue)}, WebSocket {server.ws_url(venue)}")
        for host, address in server.hosts().items() if host_map else ():
            click.echo(f"{host} = {address}")
