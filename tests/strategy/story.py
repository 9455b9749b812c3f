"""The suite: a strategy that polls, streams, sleeps, waits with timeouts and limits itself, and writes a log."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pytest_marketreplay.exchange import SimulatedExchange

STRATEGY = '''
"""A strategy as users write them: nothing in it knows of a recording."""
import asyncio
import json
import logging
import threading
import time
from datetime import datetime, timezone

import aiohttp
import requests
from websockets.asyncio.client import connect

BASE = {base!r}
WS = {ws!r}


class Limiter:
    """At most so many requests a second, as clients limit themselves."""

    def __init__(self, per_second):
        self.every, self.next = 1 / per_second, time.monotonic()

    async def wait(self):
        delay = self.next - time.monotonic()
        self.next = max(self.next, time.monotonic()) + self.every
        if delay > 0:
            await asyncio.sleep(delay)


class Strategy:
    def __init__(self, seconds):
        self.lines = []
        self.seconds = seconds
        self.limiter = Limiter(8)
        self.best = None
        self.seen = asyncio.Event()

    def note(self, *what):
        self.lines.append(f"{{time.time():.6f}} {{datetime.now(timezone.utc).isoformat()}} " + " ".join(map(str, what)))

    async def run(self, in_threads=False):
        self.until = time.time() + self.seconds
        self.note("start")
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
            group.create_task(self.books(session))
            group.create_task(self.trades())
            group.create_task(self.poll(session))
            group.create_task(self.prices(in_threads))
            group.create_task(self.think())
        self.note("end")

    async def books(self, session):
        async with session.ws_connect(WS + "/ws/btcusdt@depth@100ms", heartbeat=5) as ws:
            while time.time() < self.until:
                event = await ws.receive_json(timeout=5)
                self.best = event["u"]
                self.seen.set()
                self.note("diff", event["U"], event["u"])

    async def trades(self):
        async with connect(WS + "/ws/btcusdt@trade") as ws:
            while time.time() < self.until:
                try:
                    async with asyncio.timeout(0.15):
                        event = json.loads(await ws.recv())
                    self.note("trade", event["t"], event["p"])
                except TimeoutError:
                    self.note("no trade in time")

    async def poll(self, session):
        while time.time() < self.until:
            await self.limiter.wait()
            params = {{"symbol": "BTCUSDT", "limit": 5}}
            async with session.get(BASE + "/api/v3/depth", params=params) as answer:
                self.note("book", (await answer.json())["lastUpdateId"])
            await asyncio.sleep(0.25)

    async def prices(self, in_threads):
        def price():
            return requests.get(BASE + "/api/v3/ticker/price", params={{"symbol": "BTCUSDT"}}, timeout=5).json()["price"]

        while time.time() < self.until:
            await self.limiter.wait()
            self.note("price", await asyncio.to_thread(price) if in_threads else price())
            await asyncio.sleep(0.4)

    async def think(self):
        while time.time() < self.until:
            try:
                await asyncio.wait_for(self.seen.wait(), 0.03)
                self.seen.clear()
                self.note("thinks of", self.best)
                await asyncio.sleep(0.033)
            except TimeoutError:
                self.note("nothing to think of")
'''

TESTS = """
import asyncio
import os
import time
import uuid
from pathlib import Path

import pytest
from strategy import Strategy

pytestmark = pytest.mark.marketreplay("market", order="time", clock="recording")
LOGS = Path(__file__).parent / "logs"
SECONDS = {seconds}


def play(name, seconds, in_threads=False):
    began = time.perf_counter()

    async def main():
        strategy = Strategy(seconds)
        await strategy.run(in_threads)
        return strategy.lines

    lines = asyncio.run(main())
    took = time.perf_counter() - began
    LOGS.mkdir(exist_ok=True)
    (LOGS / f"{{name}}-{{uuid.uuid4().hex}}.txt").write_text("\\n".join(lines) + "\\n")
    with (LOGS / "took.txt").open("a") as out:
        out.write(f"{{name}} {{took:.4f}}\\n")


def test_recording():
    play("recorded", SECONDS + 0.5)


@pytest.mark.parametrize("copy", range(4))
def test_plays(copy):
    play("plain", SECONDS)


@pytest.mark.parametrize("copy", range(2))
def test_plays_with_threads(copy):
    play("threads", SECONDS, in_threads=True)
"""

_LIGHT = ("-p", "no:recording", "-p", "no:cassetter", "-p", "no:hypothesispytest", "-p", "no:anyio")
PLAIN = ("-p", "no:randomly", "-p", "no:xdist")
WORKERS = ("-p", "no:randomly", "-n", "4")
_LONGEST_S = 120


class Story:
    """The suite in its folder, and the logs of its runs."""

    def __init__(self, pytester: pytest.Pytester, exchange: SimulatedExchange) -> None:
        self.path: Path = pytester.path
        self.exchange = exchange
        self.logs = self.path / "logs"
        self._write("strategy.py", STRATEGY.format(base=exchange.url("binance"), ws=exchange.ws_url("binance")))
        host = exchange.url("binance").partition("://")[2]
        self._write("pytest.ini", f"[pytest]\nfilterwarnings = error\nmarketreplay_hosts = {host} = binance\n")

    def _write(self, name: str, text: str) -> None:
        (self.path / name).write_text(textwrap.dedent(text).lstrip("\n"))

    def record(self, seconds: float) -> None:
        """Record so many seconds, and stop the exchange."""
        self._write("test_strategy.py", TESTS.format(seconds=seconds))
        self.run("-k", "recording", "--record-mode=once", *PLAIN)
        self.exchange.stop()
        for log in self.logs.iterdir():
            log.unlink()

    def run(self, *args: str) -> None:
        """Run the suite in a process of its own; all its tests pass."""
        installed = any(point.name == "marketreplay" for point in importlib.metadata.entry_points(group="pytest11"))
        plugin = () if installed else ("-p", "pytest_marketreplay.plugin")
        command = [sys.executable, "-m", "pytest", "-q", *_LIGHT, *plugin, *args]
        done = subprocess.run(command, cwd=self.path, capture_output=True, text=True, timeout=_LONGEST_S)
        assert done.returncode == 0, done.stdout + done.stderr

    def told(self, name: str) -> list[str]:
        """Return the logs of all runs so far."""
        return [log.read_text() for log in sorted(self.logs.glob(f"{name}-*.txt"))]

    def took(self, name: str) -> list[float]:
        """Return how many real seconds each run of the strategy took."""
        lines = [line.split() for line in (self.logs / "took.txt").read_text().splitlines()]
        return [float(took) for kind, took in lines if kind == name]
