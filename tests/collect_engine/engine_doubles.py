"""Sinks that do as they are told, feeds that are driven by hand, and a loop whose time is made up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.errors import SinkError
from pytest_marketreplay.sinks.items import Gap, Item

PLACE = Place("binance", "api_v3_depth", "BTCUSDT")
OTHER = Place("binance", "api_v3_depth", "ETHUSDT")
PATIENCE_S = 10.0
MS = 1_000_000


def item(number: int, place: Place = PLACE, size: int = 10) -> Item:
    """An item whose time is its number, in milliseconds."""
    return Item(place, number * MS, b"x" * size + b"\n")


class ListSink:
    """Keeps what it is given; fails or waits while it is told to."""

    name: ClassVar[str] = "list"

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.batches: list[list[Item]] = []
        self.tries: list[list[Item]] = []
        self.rotations = 0
        self.closed = 0
        self.threads: set[int] = set()
        self.problem: BaseException | None = None
        self.open_problem: BaseException | None = None
        self.may_write = threading.Event()
        self.may_write.set()
        self.entered = threading.Semaphore(0)
        self.changed = threading.Condition()

    def open(self) -> None:
        self.threads.add(threading.get_ident())
        if self.open_problem is not None:
            raise self.open_problem

    def write(self, items: Sequence[Item]) -> None:
        self.threads.add(threading.get_ident())
        self.entered.release()
        assert self.may_write.wait(PATIENCE_S)
        with self.changed:
            self.tries.append(list(items))
            self.changed.notify_all()
            if self.problem is not None:
                raise self.problem
            self.batches.append(list(items))
            self.items.extend(items)

    def rotate(self, now_ns: int) -> None:
        with self.changed:
            self.threads.add(threading.get_ident())
            self.rotations += 1
            self.changed.notify_all()

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed += 1

    def wait_for(self, what: Callable[[], Any]) -> None:
        """Wait until something holds of this sink."""
        with self.changed:
            assert self.changed.wait_for(what, PATIENCE_S)

    @property
    def numbers(self) -> list[int]:
        """The items without gaps, by their numbers."""
        return [each.time_ns // MS for each in self.items if each.gap is None]

    @property
    def gaps(self) -> list[tuple[str, Gap]]:
        """The gaps, with the symbol of their place."""
        return [(each.place.symbol, each.gap) for each in self.items if each.gap is not None]


def full() -> SinkError:
    """What a sink says of a full disk."""
    return SinkError("no space left on the device")


class HandFeed:
    """A feed that runs a function given by the test."""

    def __init__(self, emit: Callable[[Item], None], body: Callable[[HandFeed, asyncio.Event], Any]) -> None:
        self.emit, self.body = emit, body
        self.runs = 0
        self.pairs: list[str] = []
        self.interval = 1.0

    async def run(self, stop: asyncio.Event) -> None:
        self.runs += 1
        await self.body(self, stop)

    def add(self, pair: str) -> None:
        self.pairs.append(pair)

    def remove(self, pair: str) -> None:
        self.pairs.remove(pair)

    def set_interval(self, interval: float) -> None:
        self.interval = interval

    def stats(self) -> dict[str, int]:
        return {"runs": self.runs}


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that never waits: where it would, its time moves on to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0
        real = self._selector.select

        def select(timeout: float | None = None) -> Any:
            events = real(0)
            if not events and timeout is not None and timeout > 0:
                self.now += timeout
            return events or ([] if timeout is not None else real(None))

        self._selector.select = select

    def time(self) -> float:
        return self.now
