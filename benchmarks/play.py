"""One measured replay in a process of its own: `python play.py '{"do": "play", ...}'` prints one line of JSON."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import measure
import payloads
from peers import TOOLS

clock = time.perf_counter_ns
PROBED = 31
WARM = 20
"""Entries of the cassette that is played before the clock starts."""


def numbers(count: int, order: str) -> list[int]:
    """Return which entries are asked for, in order.

    `first` is one answer, what a cassette that is read lazily costs before it is of use. `probe` is 11 first, 10 middle
    and 10 last: what a request costs at each place, where playing all of them takes an hour. `one symbol` of ten.
    """
    if order == "first":
        return [0]
    if order == "probe" and count > PROBED:
        middle = count // 2
        return [*range(11), *range(middle, middle + 10), *range(count - 10, count)]
    if order == "one symbol":
        return list(range(0, count, len(payloads.SYMBOLS)))
    return list(range(count))


class Play:
    """What one process asks for, and what it sees."""

    def __init__(
        self, *, tool: str, client: str, count: int, case: str, order: str, path: str, warm: str, budget: float
    ) -> None:
        self.tool, self.client, self.path, self.warm = TOOLS[tool], client, Path(path), Path(warm)
        self.budget_ns = budget * 1e9
        self.numbers = numbers(count, order)
        self.probed = order == "probe" and count > PROBED
        self.urls = [payloads.book_url(number, case) for number in self.numbers]
        self.warm_urls = [payloads.book_url(number, case) for number in range(WARM)]
        self.times: list[int] = []
        self.wrong = self.changed = self.open_ns = self.end_ns = 0
        self.base_mb = 0.0

    def ready(self) -> int:
        """Note what the process holds before the cassette is opened; returns the time."""
        self.base_mb = measure.peak_mb()
        return clock()

    def entered(self, before: int) -> None:
        """Note that the cassette is open."""
        self.open_ns = clock() - before
        self.end_ns = clock() + int(self.budget_ns)

    def took(self, position: int, start: int, body: bytes, end: int) -> bool:
        """Note one answer; tells whether there is time for more."""
        self.times.append(end - start)
        self.wrong += not payloads.is_book(self.numbers[position], body)
        self.changed += not payloads.is_compact(body)
        return end < self.end_ns

    def with_requests(self) -> None:
        import requests

        session = requests.Session()
        self.tool.prepare(self.warm)
        with self.tool.replay(self.warm, session):
            for url in self.warm_urls:  # imports, pools, caches: what only a process's first requests cost
                assert session.get(url).content
        self.tool.prepare(self.path)
        before = self.ready()
        with self.tool.replay(self.path, session):
            self.entered(before)
            for position, url in enumerate(self.urls):
                start = clock()
                body = session.get(url).content
                if not self.took(position, start, body, clock()):
                    break

    async def with_aiohttp(self) -> None:
        import aiohttp

        async with aiohttp.ClientSession() as session:
            self.tool.prepare(self.warm)
            with self.tool.replay(self.warm, session):
                for url in self.warm_urls:
                    async with session.get(url) as response:
                        assert await response.read()
            self.tool.prepare(self.path)
            before = self.ready()
            with self.tool.replay(self.path, session):
                self.entered(before)
                for position, url in enumerate(self.urls):
                    start = clock()
                    async with session.get(url) as response:
                        body = await response.read()
                    if not self.took(position, start, body, clock()):
                        break

    def run(self) -> measure.Result:
        """Play, and return times in the units of their names."""
        if self.client == "requests":
            self.with_requests()
        else:
            asyncio.run(self.with_aiohttp())
        times = [time / 1e3 for time in self.times]
        later = times[1:] or times
        width = 10 if self.probed else max(1, min(500, len(later) // 4))
        middle = 10 if self.probed and len(later) == PROBED - 1 else (len(later) - width) // 2
        return {
            "open_ms": self.open_ns / 1e6,
            "first_ms": times[0] / 1e3,
            "load_ms": self.open_ns / 1e6 + times[0] / 1e3,
            "us": statistics.median(later),
            "early_us": statistics.median(later[:width]),
            "middle_us": statistics.median(later[middle : middle + width]),
            "late_us": statistics.median(later[-width:]),
            "done": len(times),
            "asked": len(self.numbers),
            "wrong": self.wrong,
            "changed": self.changed,
            "base_mb": self.base_mb,
            "peak_mb": measure.peak_mb(),
        }


def child(order: dict[str, Any]) -> measure.Result:
    """Do what the parent asks for: build a cassette, or play one."""
    if order.pop("do") == "build":
        TOOLS[order["tool"]].build(Path(order["path"]), payloads.entries(order["count"], order["case"]))
        return {}
    return Play(**order).run()


if __name__ == "__main__":
    print(json.dumps(child(json.loads(sys.argv[1]))))
