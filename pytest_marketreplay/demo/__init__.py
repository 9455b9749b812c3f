"""The demonstration: a simulated exchange is recorded, stopped, and replayed by the same client code."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pytest_marketreplay.demo.client import strategy
from pytest_marketreplay.errors import MarketReplayError, UnrecordedRequest, UsageMistake

Say = Callable[[str], None]
_STEP_S = 0.005


class DemoFailed(MarketReplayError):
    """The demonstration did not show what it promises."""


def run(say: Say, *, seed: int = 1, folder: Path | None = None) -> None:
    """Record, stop the exchange, replay, and say what happened.

    Raises UsageMistake where `folder` exists, DemoFailed where the replay is not what was recorded.
    """
    if folder is not None and folder.exists():
        raise UsageMistake(f"{folder} exists; name a folder that does not, or leave --to out")
    with tempfile.TemporaryDirectory(prefix="marketreplay-demo-") as temporary:
        _run(say, seed, folder if folder is not None else Path(temporary) / "cassettes", kept=folder is not None)


def _run(say: Say, seed: int, cassette: Path, *, kept: bool) -> None:
    from pytest_marketreplay.api import use_cassette
    from pytest_marketreplay.exchange import SimulatedExchange

    with SimulatedExchange(seed=seed, step_every=_STEP_S) as exchange:
        binance, kraken = exchange.url("binance"), exchange.url("kraken")
        hosts = {url.partition("://")[2]: venue for venue, url in (("binance", binance), ("kraken", kraken))}
        say(f"1. a simulated exchange listens: Binance on {binance}, Kraken on {kraken}")
        started = time.perf_counter()
        with use_cassette(cassette, mode="once", hosts=hosts) as session:
            recorded = strategy(binance, kraken)
        spent = time.perf_counter() - started
        say(f"2. recorded {session.recorded} lines, REST and WebSocket, in {spent * 1000:.0f} ms:")
        for file in sorted(cassette.rglob("*.jsonl")):
            lines = file.read_bytes().count(b"\n")
            say(f"     {file.relative_to(cassette)}  ({lines} line{'s' if lines != 1 else ''})")
    say("3. the exchange is stopped; the same code again, offline:")
    started = time.perf_counter()
    with use_cassette(cassette, hosts=hosts) as session:
        replayed = strategy(binance, kraken)
        spent = time.perf_counter() - started
        for (label, live), (_, again) in zip(recorded, replayed, strict=True):
            if live != again:
                raise DemoFailed(f"{label}: the replay differs from what was recorded")
            digest = hashlib.sha256(again).hexdigest()[:12]
            say(f"     {label:46} {len(again):5} bytes, sha256 {digest}, the same")
        say(
            f"   {session.replayed} answers and {session.played_frames} WebSocket messages replayed "
            f"in {spent * 1000:.0f} ms, byte for byte"
        )
    _rebuilds(say, cassette)
    _refuses(say, cassette, hosts, binance)
    if kept:
        say(f"The cassette is in {cassette}: plain JSONL, look at it with: marketreplay cassette ls {cassette}")
    else:
        say("Keep the cassette with --to FOLDER. Next: docs/tutorial.md, your first recorded test.")


def _rebuilds(say: Say, cassette: Path) -> None:
    """Show that what was recorded is a market, not only text."""
    from pytest_marketreplay.data.market import MarketData

    books = list(MarketData([cassette]).rebuilt("kraken", "BTC-USD", depth=1))
    if not books or not all(book.checked for book in books):
        raise DemoFailed("the recorded book of kraken cannot be rebuilt")
    say(
        f"4. from the recorded frames, kraken's book of BTC-USD after each of {len(books)} messages; the checksums hold:"
    )
    for book in (books[0], books[-1]):
        bid, ask = book.bids[0], book.asks[0]
        say(f"     {bid.size} at {bid.price} | {ask.price} for {ask.size}")


def _refuses(say: Say, cassette: Path, hosts: dict[str, str], binance: str) -> None:
    """Show what a request that is not recorded gets."""
    import requests

    from pytest_marketreplay.api import use_cassette

    try:
        with use_cassette(cassette, hosts=hosts):
            requests.get(f"{binance}/api/v3/depth", params={"symbol": "BTCUSDT", "limit": "50"}, timeout=10)
    except UnrecordedRequest as error:
        say("5. what is not recorded is refused, with the reason:")
        for line in str(error).splitlines():
            say(f"     {line}")
    else:
        raise DemoFailed("an unrecorded request was answered")
