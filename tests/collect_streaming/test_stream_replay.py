"""What a feed wrote is a cassette: it plays through a client frame by frame, and its books can be rebuilt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import aiohttp
import pytest

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.data.market import MarketData
from pytest_marketreplay.exchange import SimulatedExchange
from pytest_marketreplay.sinks.items import Item

from .scripted import Caught, Running, running

PAIRS = {"binance": ("BTC-USDT", "ETH-USDT"), "kraken": ("BTC-USD", "ETH-USD")}
PATHS = {"binance": "", "kraken": "/ws"}


def keep(items: Iterable[Item], root: Path, *, gaps: bool) -> Path:
    """Write lines as a tree, each place a file; with the entries of gaps or without."""
    for item in items:
        if item.line is not None and (gaps or item.gap is None):
            folder = item.place.within(root)
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "2025-10-02T10-00-00.jsonl").open("ab") as file:
                file.write(item.line)
    return root


def distinct(run: Running) -> int:
    """Return how many different books the pair with the fewest had."""
    return min(
        len({(one.bids, one.asks) for one in run.caught.snapshots if one.pair == pair}) for pair in run.feed.pairs
    )


async def captured(exchange: SimulatedExchange, venue: str, interval_s: float = 0.02) -> Running:
    """Capture from the exchange in the box."""
    address = exchange.url(venue).removeprefix("http://")
    async with running(address, PAIRS[venue], venue=venue, path=PATHS[venue], levels=10, interval_s=interval_s) as run:
        await run.until(lambda: all(pair.ready for pair in run.feed.stats().pairs.values()))
        await run.until(lambda: run.count("frames") >= 60 and distinct(run) >= 5)
    return run


async def played(root: Path, url: str, caught: Caught) -> list[bytes]:
    """Be a client that does as the feed did; gives the messages it got."""
    got = []
    with use_cassette(root, mode="none"):
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
            for frame in caught.frames:
                if frame.meta.dir == "send" and frame.meta.opcode == "text":
                    await socket.send_str(frame.data().decode())
                elif frame.meta.dir == "recv" and frame.meta.opcode == "text":
                    got.append((await socket.receive_str()).encode())
    return got


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("venue", ["binance", "kraken"])
def test_a_capture_of_the_exchange_in_the_box_plays_frame_by_frame(venue: str, gaps: bool, tmp_path: Path) -> None:
    with SimulatedExchange(seed=5, step_every=0.005) as exchange:
        exchange.market(venue)
        run = asyncio.run(captured(exchange, venue, 0.001 if gaps else 0.02))
    caught = run.caught
    assert run.count("unreadable") == run.count("checksum") == run.count("sequence_gap") == 0
    root = keep(caught.items, tmp_path / "capture", gaps=gaps)
    streams = "/".join(
        f"{pair.replace('-', '').lower()}@{kind}" for pair in PAIRS[venue] for kind in ("depth@100ms", "trade")
    )
    url = {"binance": f"wss://stream.binance.com:9443/stream?streams={streams}", "kraken": "wss://ws.kraken.com"}[venue]
    got = asyncio.run(played(root, url, caught))
    assert got == [frame.data() for frame in caught.frames if frame.meta.dir == "recv" and frame.meta.opcode == "text"]
    assert len(got) >= 60


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("venue", ["binance", "kraken"])
def test_the_books_of_a_capture_are_rebuilt_to_what_the_feed_had(venue: str, gaps: bool, tmp_path: Path) -> None:
    with SimulatedExchange(seed=6, step_every=0.005) as exchange:
        exchange.market(venue)
        caught = asyncio.run(captured(exchange, venue, 0.001 if gaps else 0.02)).caught
    root = keep(caught.items, tmp_path / "capture", gaps=gaps)
    tape = MarketData([root])
    for pair in PAIRS[venue]:
        symbol = pair.replace("-", "") if venue == "binance" else pair
        rebuilt = {(book.bids, book.asks) for book in tape.rebuilt(venue, symbol)}
        polled = {(book.bids, book.asks) for book in tape.books(venue, symbol)}
        mine = {(one.bids, one.asks) for one in caught.snapshots if one.pair == pair}
        # before a diff has joined it, the venue's own snapshot is the book
        assert mine <= rebuilt | polled
        assert len(mine & rebuilt) >= 4
