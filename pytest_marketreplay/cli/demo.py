"""`marketreplay demo`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the simulated exchange.")
@click.option("--to", type=click.Path(path_type=Path), help="Keep the cassette in this folder (must not exist).")
def demo(seed: int, to: Path | None) -> None:
    """Record REST and WebSocket from a simulated exchange on loopback, stop it, and replay: the product in a few seconds.

    Needs nothing but this package: no network, no account.

    \b
    Example:
      marketreplay demo
    """
    from pytest_marketreplay.demo import run

    run(click.echo, seed=seed, folder=to)
