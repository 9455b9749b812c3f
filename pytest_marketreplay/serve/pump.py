"""Sends one client the messages of the streams it has subscribed to, each when the tape gets there."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable

from pytest_marketreplay.cassette.frame import close_payload

from .client import GOING_AWAY, Client
from .frames import Connection
from .pace import Pace
from .timeline import Route, Timeline

_BREATH = 64
"""After so many frames without a wait the others get their turn."""
_SETTLE_S = 0.05
"""Without a clock: how long a client that has just sent something may send more before its streams start (or end)."""

Render = Callable[[Route, bytes], bytes]


class Pump:
    """The streams of one connection, merged in the order of the recording. Several laps where the tape loops."""

    def __init__(
        self, client: Client, timeline: Timeline, pace: Pace, render: Render, ended: Callable[[], None]
    ) -> None:
        """Send through `client`; `render` gives a message the form that the endpoint has."""
        self._client, self._timeline, self._pace = client, timeline, pace
        self.render, self._ended = render, ended
        self._due: list[tuple[int, int, int, int, Route]] = []
        self._turns: dict[Route, int] = {}
        self._turn = 0
        self._lap = pace.lap()
        self._changed = asyncio.Event()
        self._heard_s = asyncio.get_running_loop().time()
        self._position_ns: int | None = None
        self.arrived_ns = pace.now_ns()
        """When the client came; what its URL names is sent from then on, however long the handshake takes."""
        self.follows: Connection | None = None
        """The recorded connection whose end is this one's end too."""

    @property
    def routes(self) -> list[Route]:
        """What is subscribed, in the order it was."""
        return list(self._turns)

    def subscribe(self, routes: Iterable[Route], *, since_arrival: bool = False) -> None:
        """Send these streams from now on; what is subscribed already stays as it is."""
        now = self._now()
        if since_arrival and now is not None:
            now = min(now, self.arrived_ns)
        for route in routes:
            if route not in self._turns:
                self._turn += 1
                self._turns[route] = self._turn
                self._push(route, self._turn, self._timeline.start(route, now))
        self.heard()

    def unsubscribe(self, routes: Iterable[Route]) -> None:
        """Send these streams no more."""
        for route in routes:
            self._turns.pop(route, None)
        self.heard()

    def heard(self) -> None:
        """Note that the client has said something."""
        self._heard_s = asyncio.get_running_loop().time()
        self._changed.set()

    def _now(self) -> int | None:
        if self._pace.is_free:
            return self._position_ns
        # whoever follows the tape into a new lap late starts that lap with its streams, not in the middle
        return self._pace.now_ns() if self._pace.lap() == self._lap else None

    def _push(self, route: Route, turn: int, position: int) -> None:
        lines = self._timeline.streams[route].lines
        if position < len(lines):
            at = lines[position]
            # by moment, and of one moment in the order of the files
            heapq.heappush(self._due, (self._timeline.frames.time_ns[at], at, position, turn, route))

    async def run(self) -> None:
        """Send until the tape ends or the client is gone. Raises ConnectionError where it goes while it is sent to."""
        sent = 0
        while not self._client.is_gone:
            if self._pace.is_free and (settle := self._heard_s + _SETTLE_S - asyncio.get_running_loop().time()) > 0:
                await self._wait(settle)
                continue
            moment = self._next()
            if moment is None:
                if await self._lap_is_over():
                    return
                continue
            delay = self._pace.delay_s(self._lap, moment)
            if delay > 0:
                sent = 0
                await self._wait(delay)
                continue
            if await self._send():
                return
            sent += 1
            if sent % _BREATH == 0:
                await asyncio.sleep(0)

    async def _wait(self, delay_s: float) -> None:
        """Wait, at most until a subscription changes."""
        self._changed.clear()
        timer = asyncio.get_running_loop().call_later(delay_s, self._changed.set)
        try:
            await self._changed.wait()
        finally:
            timer.cancel()

    def _next(self) -> int | None:
        """Return the moment of the next message, or of the end that this connection had."""
        due = self._due
        while due and self._turns.get(due[0][4]) != due[0][3]:
            heapq.heappop(due)  # unsubscribed since
        moment = due[0][0] if due else None
        if (ending := self._ending_ns()) is not None and (moment is None or ending < moment):
            return ending
        return moment

    def _ending_ns(self) -> int | None:
        follows = self.follows
        if follows is None or follows.ending is None:
            return None
        return self._timeline.frames.time_ns[follows.ending]

    async def _send(self) -> bool:
        """Send what is next; True where that was the end."""
        ending = self._ending_ns()
        if ending is not None and (not self._due or ending < self._due[0][0]):
            await self._end_as_recorded()
            return True
        moment, at, position, turn, route = heapq.heappop(self._due)
        self._push(route, turn, position + 1)
        frame = self._timeline.frames.read(at)
        opcode = frame.meta.opcode
        if self._pace.is_free:
            self._position_ns = moment + 1
            self._pace.note(moment)
        data = frame.data()
        await self._client.send(opcode, self.render(route, data) if opcode == "text" else data)
        return False

    async def _end_as_recorded(self) -> None:
        assert self.follows is not None
        assert self.follows.ending is not None
        frame = self._timeline.frames.read(self.follows.ending)
        if frame.meta.dir == "end":
            self._client.abort()
        else:
            await self._client.send("close", close_payload(frame.meta.code, frame.data()))

    async def _lap_is_over(self) -> bool:
        """Wait until something changes or the lap ends, then start over or close. True where that was the end."""
        pace = self._pace
        if not pace.is_free:
            until = (self._lap + 1, pace.start_ns) if pace.loop else (self._lap, pace.end_ns)
            delay = pace.delay_s(*until)
            if delay > 0:
                await self._wait(delay)
                return False
        elif not self._turns:
            await self._wait(3600.0)  # nothing is subscribed, so there is no tape to come to an end
            return False
        if not pace.loop:
            self._ended()
            await self._client.close(GOING_AWAY, "the recording has ended")
            return True
        if pace.is_free and not any(len(self._timeline.streams[route].lines) for route in self._turns):
            await self._wait(_SETTLE_S)  # streams without a message go round at no speed at all
        self._lap += 1
        self._position_ns = None
        for route, turn in self._turns.items():
            self._push(route, turn, 0)
        return False
