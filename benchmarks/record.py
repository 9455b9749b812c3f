"""One measured recording in a process of its own: `python record.py '{"tool": ..., "host": ...}'` prints one line of JSON.

Two parts. The pairs: 100 requests live, 100 recorded into a new cassette, and so on; the difference of the medians is what
recording adds, whatever else the machine does meanwhile. The long one: `count` requests into one cassette, for what
grows with it, and the time that leaving the context takes (the save step).
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import measure
import payloads
from peers import TOOLS

clock = time.perf_counter_ns
BLOCK = 100
Get = Callable[[str], Awaitable[int]]


class Record:
    """What one process records, and what it sees."""

    def __init__(
        self, *, tool: str, client: str, host: str, folder: str, pairs: int, count: int, budget: float
    ) -> None:
        self.tool, self.client, self.host, self.folder = TOOLS[tool], client, host, Path(folder)
        self.pairs, self.count, self.budget_ns = pairs, count, int(budget * 1e9)
        self.urls = (payloads.book_url(number, "distinct", f"http://{host}") for number in range(10_000_000))

    def context(self, name: str, session: Any) -> AbstractContextManager[Any]:
        return self.tool.record(self.folder / name, session, self.host)

    async def measure(self, session: Any, get: Get) -> measure.Result:
        """Run both parts; `get` asks for a URL and returns the nanoseconds that took."""
        with self.context("warm", session):
            await get(next(self.urls))
        live: list[int] = []
        recorded: list[int] = []
        live_cpu: list[float] = []
        recorded_cpu: list[float] = []
        for number in range(self.pairs):
            for times, cpu, context in (
                (live, live_cpu, nullcontext()),
                (recorded, recorded_cpu, self.context(f"pair{number}", session)),
            ):
                with context:
                    await get(next(self.urls))  # opens the connection, or creates the file
                    before = time.process_time_ns()
                    times += [await get(next(self.urls)) for _ in range(BLOCK)]
                    cpu.append((time.process_time_ns() - before) / BLOCK)
        long: list[int] = []
        path = self.folder / "long"
        with self.context("long", session):
            await get(next(self.urls))
            end = clock() + self.budget_ns
            while len(long) < self.count and clock() < end:
                long.append(await get(next(self.urls)))
            before_save = clock()
        save = clock() - before_save
        width = max(1, min(50, len(long) // 4))
        out = {
            "live_us": statistics.median(live) / 1e3,
            "recorded_us": statistics.median(recorded) / 1e3,
            "adds_us": (statistics.median(recorded) - statistics.median(live)) / 1e3,
            "adds_cpu_us": (statistics.median(recorded_cpu) - statistics.median(live_cpu)) / 1e3,
            "early_us": statistics.median(long[:width]) / 1e3,
            "late_us": statistics.median(long[-width:]) / 1e3,
            "done": len(long),
            "save_ms": save / 1e6,
            "peak_mb": measure.peak_mb(),
        }
        try:
            out["readable"] = self.tool.count(path)
        except Exception as error:  # each peer has its own; that what was recorded cannot be read is the result
            out["readable"] = f"no: {type(error).__name__}"
        return out

    def run(self) -> measure.Result:
        return asyncio.run(self.with_requests() if self.client == "requests" else self.with_aiohttp())

    async def with_requests(self) -> measure.Result:
        import requests

        session = requests.Session()

        async def get(url: str) -> int:
            start = clock()
            body = session.get(url).content
            end = clock()
            assert body.startswith(b'{"lastUpdateId"')
            return end - start

        return await self.measure(session, get)

    async def with_aiohttp(self) -> measure.Result:
        import aiohttp

        async with aiohttp.ClientSession() as session:

            async def get(url: str) -> int:
                start = clock()
                async with session.get(url) as response:
                    body = await response.read()
                end = clock()
                assert body.startswith(b'{"lastUpdateId"')
                return end - start

            return await self.measure(session, get)


if __name__ == "__main__":
    print(json.dumps(Record(**json.loads(sys.argv[1])).run()))
