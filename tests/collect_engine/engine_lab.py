"""A capture in this process, with sinks and feeds made by hand."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from engine_doubles import HandFeed, ListSink, item

from pytest_marketreplay.collect import control, sessions
from pytest_marketreplay.collect.running import Capture
from pytest_marketreplay.collect.sessions import SessionState
from pytest_marketreplay.collect.settings import CollectSettings
from pytest_marketreplay.sinks.items import Item


async def waiting(feed: HandFeed, stop: asyncio.Event) -> None:
    feed.emit(item(1))
    await stop.wait()


class Lab:
    """A capture of one hand-made feed into list sinks."""

    def __init__(self, tmp_path: Path) -> None:
        self.sinks = [ListSink()]
        self.body: Any = waiting
        self.feeds: list[HandFeed] = []
        self.shown: list[SessionState] = []
        self.settings = CollectSettings(
            {"binance": ["BTC-USDT"]}, "s", str(tmp_path), to={"local": str(tmp_path / "to")}
        )
        self.doing: Callable[[Lab], Any] | None = None
        self.done: Future[Any] = Future()
        self.is_stopped = False
        """Whether the capture was told to end otherwise than by a signal."""

    def make_feed(self, settings: CollectSettings, venue: str, pairs: Any, meter: Any) -> Callable[..., HandFeed]:
        def make(emit: Callable[[Item], None]) -> HandFeed:
            feed = HandFeed(emit, self.body)
            feed.pairs = list(pairs)
            self.feeds.append(feed)
            return feed

        return make

    @property
    def capture(self) -> Capture:
        return Capture(self.settings, show=self.show, heartbeat=0.01)

    def ask(self, **request: Any) -> dict[str, Any]:
        state: dict[str, Any] = control.ask(sessions.SessionFolder(Path(self.settings.state_dir), "s").socket, request)
        return state["state"]

    def show(self, state: SessionState) -> None:
        self.shown.append(state)
        if len(self.shown) == 1 and self.doing is not None:
            threading.Thread(target=self._do).start()

    def _do(self) -> None:
        try:
            assert self.doing is not None
            self.done.set_result(self.doing(self))
        except BaseException as error:
            self.done.set_exception(error)
        finally:
            if not self.is_stopped:
                os.kill(os.getpid(), signal.SIGTERM)

    def run(self, doing: Callable[[Lab], Any]) -> tuple[SessionState, Any]:
        """Run until `doing`, in another thread, is done; then SIGTERM."""
        self.doing = doing
        last = self.capture.run()
        return last, self.done.result()
