"""The demonstration: a simulated exchange is recorded, stopped, and replayed by the same client code."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pytest_marketreplay.errors import MarketReplayError, UnrecordedRequest, UsageMistake

Say = Callable[[str], None]


class DemoFailed(MarketReplayError):
    """The demonstration did not show what it promises."""


def strategy(binance: str, kraken: str) -> list[tuple[str, bytes]]:
    """Ask two exchanges with two libraries, as a client would; returns a label and the exact body of each answer."""
    import requests

    out = []
    with requests.Session() as session:
        for _ in range(3):  # a strategy polls: three books, each a little later
            book = session.get(f"{binance}/api/v3/depth", params={"symbol": "BTCUSDT", "limit": "5"}, timeout=10)
            out.append(("requests  binance depth BTCUSDT", book.content))
        wrong = session.get(f"{binance}/api/v3/depth", params={"symbol": "NOSUCHCOIN"}, timeout=10)
        out.append((f"requests  binance error, HTTP {wrong.status_code}", wrong.content))
    return out + asyncio.run(_trades(binance, kraken))


async def _trades(binance: str, kraken: str) -> list[tuple[str, bytes]]:
    import aiohttp

    async def get(session: aiohttp.ClientSession, label: str, url: str) -> tuple[str, bytes]:
        async with session.get(url) as answer:
            return label, await answer.read()

    async with aiohttp.ClientSession() as session:
        return list(
            await asyncio.gather(
                get(session, "aiohttp   binance trades ETHUSDT", f"{binance}/api/v3/trades?symbol=ETHUSDT&limit=3"),
                get(session, "aiohttp   kraken depth XBTUSD", f"{kraken}/0/public/Depth?pair=XBTUSD&count=3"),
            )
        )


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

    with SimulatedExchange(seed=seed) as exchange:
        binance, kraken = exchange.url("binance"), exchange.url("kraken")
        hosts = {url.partition("://")[2]: venue for venue, url in (("binance", binance), ("kraken", kraken))}
        say(f"1. a simulated exchange listens: Binance on {binance}, Kraken on {kraken}")
        started = time.perf_counter()
        with use_cassette(cassette, mode="once", hosts=hosts) as session:
            recorded = strategy(binance, kraken)
        spent = time.perf_counter() - started
        say(f"2. recorded {session.recorded} answers with requests and aiohttp in {spent * 1000:.0f} ms:")
        for file in sorted(cassette.rglob("*.jsonl")):
            answers = file.read_bytes().count(b"\n")
            say(f"     {file.relative_to(cassette)}  ({answers} answer{'s' if answers != 1 else ''})")
    say("3. the exchange is stopped; the same code again, offline:")
    started = time.perf_counter()
    with use_cassette(cassette, hosts=hosts) as session:
        replayed = strategy(binance, kraken)
        spent = time.perf_counter() - started
        for (label, live), (_, again) in zip(recorded, replayed, strict=True):
            if live != again:
                raise DemoFailed(f"{label}: the replay differs from what was recorded")
            digest = hashlib.sha256(again).hexdigest()[:12]
            say(f"     {label:36} {len(again):5} bytes, sha256 {digest}, the same")
        say(f"   {session.replayed} answers replayed in {spent * 1000:.0f} ms, byte for byte")
    _refuses(say, cassette, hosts, binance)
    if kept:
        say(f"The cassette is in {cassette}: plain JSONL, look at it with: marketreplay cassette ls {cassette}")
    else:
        say("Keep the cassette with --to FOLDER. Next: docs/tutorial.md, your first recorded test.")


def _refuses(say: Say, cassette: Path, hosts: dict[str, str], binance: str) -> None:
    """Show what a request that is not recorded gets."""
    import requests

    from pytest_marketreplay.api import use_cassette

    try:
        with use_cassette(cassette, hosts=hosts):
            requests.get(f"{binance}/api/v3/depth", params={"symbol": "BTCUSDT", "limit": "50"}, timeout=10)
    except UnrecordedRequest as error:
        say("4. what is not recorded is refused, with the reason:")
        for line in str(error).splitlines():
            say(f"     {line}")
    else:
        raise DemoFailed("an unrecorded request was answered")
