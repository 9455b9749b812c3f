"""A venue that a test scripts, and a feed on virtual time: what a poll feed asks, when, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from pytest_marketreplay import clock
from pytest_marketreplay.collect.fetching import Answer
from pytest_marketreplay.collect.polling import PollFeed, PollStats
from pytest_marketreplay.sinks.items import Item
from pytest_marketreplay.venues.registry import Registry

START_NS = 1_759_399_200_000_000_000
BOOK = b'{"lastUpdateId":7,"bids":[["4.00000000","431.00000000"]],"asks":[["4.10000000","2.5"]]}'


class _Idle(selectors.SelectSelector):
    """A selector that never waits: it moves the loop's time to the next timer instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout:
            self.loop.now_s += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only where everything waits."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        selector = _Idle()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now_s


def answer(body: bytes = BOOK, status: int = 200, *headers: tuple[str, str]) -> Answer:
    return Answer(status, None, [("content-type", "application/json"), *headers], body)


def book(update_id: int, **more: Any) -> bytes:
    return orjson.dumps({"lastUpdateId": update_id, "bids": [["4.0", "1"]], "asks": [["4.1", "2"]], **more})


Script = Callable[[int, str], Awaitable[Answer]]


class Lab:
    """One feed, driven by a script; `asked` has the loop's time and the URL of each request."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = VirtualLoop()
        self.jump_ns = 0
        monkeypatch.setattr(clock, "counter_ns", lambda: int((self.loop.now_s - 1000) * 1e9))
        monkeypatch.setattr(clock, "now_ns", lambda: START_NS + clock.counter_ns() + self.jump_ns)
        self.items: list[Item] = []
        self.asked: list[tuple[float, str]] = []

    def feed(
        self, script: Script, *pairs: str, venue: str = "binance", interval_s: float = 1.0, **more: Any
    ) -> PollFeed:
        numbers: dict[str, int] = {}

        async def fetch(url: str) -> Answer:
            self.asked.append((self.loop.now_s - 1000, url))
            numbers[url] = number = numbers.get(url, -1) + 1
            return await script(number, url)

        profile = Registry().venues[venue]
        names = pairs or ("BTC-USDT",)
        return PollFeed(profile, names, interval_s, emit=self.items.append, fetch=fetch, rng=random.Random(7), **more)

    def run(self, feed: PollFeed, seconds: float, *steps: tuple[float, Callable[[], Any]]) -> PollStats:
        """Run a feed for so many virtual seconds; `steps` are done at their times."""

        async def go() -> None:
            stop = asyncio.Event()
            for at, step in (*steps, (seconds - 0.001, stop.set)):
                self.loop.call_at(1000 + at, step)
            await feed.run(stop)

        self.loop.run_until_complete(go())
        stats = feed.stats()
        assert stats.ticks == stats.stored + stats.empty + stats.failed + stats.missed
        declared = sum(gap.count for gap in self.gaps() if gap.kind in ("missed", "failed"))
        assert declared == stats.failed + stats.missed
        assert stats.stored == len(self.snapshots())
        return stats

    def gaps(self) -> list[Any]:
        return [each.gap for each in self.items if each.gap is not None]

    def snapshots(self) -> list[Any]:
        return [each.snapshot for each in self.items if each.snapshot is not None]

    def meta(self, index: int = 0) -> dict[str, Any]:
        line = [each.line for each in self.items if each.snapshot is not None][index]
        return orjson.loads(line or b"")["meta"]  # type: ignore[no-any-return]
