"""The stage on which an SDK plays: where its exchange is, how it is recorded, how it is replayed and timed."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from real.server import RealExchange

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.exchange import SimulatedExchange

STEP_S = 0.05
"""How often the exchange in the box moves: twice as fast as the real one sends depth."""


class Stage:
    """What a story is told: where the exchange is, and what it accepts."""

    def __init__(self, venue: str, rest: str, ws: str, key: str = "", secret: str = "") -> None:
        self.venue, self.rest, self.ws, self.key, self.secret = venue, rest, ws, key, secret
        self.hosts = {urlsplit(rest).netloc: venue}
        self.streamed_s = 0.0
        """How long the story listened, in real seconds, without its way there and back."""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Time the part of a story in which it listens to a stream."""
        began = time.perf_counter_ns  # not called through `time`, whose clock a cassette may replace
        start = began()
        yield
        self.streamed_s += (began() - start) / 1e9


Story = Callable[[Stage], Any]
"""What a user does with an SDK; it returns all that the SDK gave it."""


@dataclass(frozen=True)
class Play:
    """A story and the venue that it is about."""

    venue: str
    story: Story
    streams: bool = False
    """Whether it listens for seconds, so that a replay has something to be faster than."""
    real_speed: float | None = None
    """How much faster than recorded the developers' set of real data is played to it; None: the exchange in the box."""
    clocks: tuple[str, ...] = ("system", "recording")
    """The clocks on which its replay is equal."""
    same: Callable[[Any, Any], bool] = operator.eq
    """Compares what it got live with what it got of the replay."""


@dataclass(frozen=True)
class Recorded:
    """A story that was recorded; its exchange is gone."""

    cassette: Path
    stage: Stage
    got: Any
    seconds: float

    def replay(self, play: Play, **more: Any) -> Replayed:
        """Tell the story again, in mode `none`."""
        stage = Stage(self.stage.venue, self.stage.rest, self.stage.ws, self.stage.key, self.stage.secret)
        with use_cassette(self.cassette, hosts=stage.hosts, **more):
            got = play.story(stage)
        return Replayed(got, stage.streamed_s)


@dataclass(frozen=True)
class Replayed:
    """What a replay gave."""

    got: Any
    seconds: float


def record(play: Play, folder: Path) -> Recorded:
    """Tell a story to its exchange and record it; the exchange is stopped at the end."""
    speed, log = play.real_speed, folder / "server.log"
    started = simulated(play.venue) if speed is None else on_real_data(play.venue, log, speed)
    with started as stage, use_cassette(folder / "cassette", mode="once", hosts=stage.hosts):
        got = play.story(stage)
    return Recorded(folder / "cassette", stage, got, stage.streamed_s)


@contextmanager
def simulated(venue: str) -> Iterator[Stage]:
    """Start the exchange in the box, which moves by itself."""
    with SimulatedExchange(step_every=STEP_S) as exchange:
        yield Stage(
            venue, exchange.url(venue), exchange.ws_url(venue), exchange.api_key(venue), exchange.api_secret(venue)
        )


@contextmanager
def on_real_data(venue: str, log: Path, speed: float) -> Iterator[Stage]:
    """Start the data set's own server, which plays half a minute of real frames."""
    server = RealExchange(log, speed=speed)
    try:
        yield Stage(venue, server.url, f"ws://{server.address}")
    finally:
        server.stop()
