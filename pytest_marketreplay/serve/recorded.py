"""A connection as it was recorded, for venues whose protocol nobody has described here: each frame in its order, never
before what the client had sent until then, and on the tape's clock."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable

from pytest_marketreplay.cassette.frame import DATA, Frame, close_payload
from pytest_marketreplay.replay.matching import Matcher
from pytest_marketreplay.replay.stream.messages import Message, renumbered

from .client import GOING_AWAY, POLICY_VIOLATION, SERVICE_RESTART, Client
from .frames import Connection, Frames
from .native import shown
from .pace import Pace
from .tally import Miss, Tally

_BREATH = 64


class RecordedSession:
    """One client on a URL that was recorded. Which of several recordings it is shows in the client's first message."""

    def __init__(
        self,
        client: Client,
        candidates: list[Connection],
        frames: Frames,
        matcher: Matcher,
        pace: Pace,
        tally: Tally,
        ended: Callable[[], None],
    ) -> None:
        self._client, self._frames, self._matcher = client, frames, matcher
        self._pace, self._tally, self._ended = pace, tally, ended
        self._lap = pace.lap()
        self._candidates = candidates
        self._heard = asyncio.Event()
        self._waiting: dict[str, deque[dict[str, bytes]]] = {}
        self._left: Counter[str] = Counter()
        self._numbers: dict[tuple[str, bytes], bytes] = {}
        self._pong: bytes | None = None
        self.connection: Connection | None = None
        """The recorded connection that is served; None before the client has told which it is."""
        silent = [one for one in candidates if not one.sends]
        if len(candidates) == 1 or silent:
            self._bind((silent or candidates)[0])

    def _message(self, at: int) -> Message:
        frame = self._frames.read(at)
        return Message(self._matcher, frame.data(), binary=frame.meta.opcode == "binary")

    def _bind(self, connection: Connection) -> None:
        self.connection = connection
        messages = [self._message(at) for at in connection.sends]
        self._left = Counter(message.text for message in messages if not message.is_keepalive)
        self._pong = self._find_pong(connection)

    def _find_pong(self, connection: Connection) -> bytes | None:
        """Return what the exchange answered to a message that only keeps the connection open."""
        for at in connection.lines:
            frame = self._frames.read(at)
            if frame.meta.dir == "recv" and frame.meta.opcode in DATA and self._is_pong(frame):
                return frame.data()
        return None

    def _is_pong(self, frame: Frame) -> bool:
        data = frame.data()
        return len(data) < 400 and Message(self._matcher, data, binary=frame.meta.opcode == "binary").is_keepalive

    async def message(self, data: bytes) -> None:
        """Take a message of the client: what was recorded lets the tape go on, anything else ends the connection."""
        message = Message(self._matcher, data)
        if message.is_keepalive:
            # a client that is served faster than real time says fewer of them than were recorded, so none is waited for
            pong = self._pong if self._pong is not None else data.replace(b"ping", b"pong")
            await self._client.send("text", pong)
            return
        if self.connection is None:
            fitting = [
                one for one in self._candidates if any(self._message(at).text == message.text for at in one.sends)
            ]
            if fitting:
                self._bind(fitting[0])
        if self._left[message.text] <= 0:
            await self._refuse(data)
            return
        self._left[message.text] -= 1
        self._waiting.setdefault(message.text, deque()).append(message.ids)
        self._heard.set()

    async def _refuse(self, data: bytes) -> None:
        recorded = sorted({self._message(at).text for one in self._candidates for at in one.sends})
        near = "; ".join(shown(text) for text in recorded[:3]) or "nothing"
        asked = shown(Message(self._matcher, data).text)
        self._tally.miss(
            Miss(self._client.venue, "websocket", f"message {asked}", f"clients sent when recorded: {near}")
        )
        await self._client.close(POLICY_VIOLATION, f"not in this recording: {asked}")

    async def run(self) -> None:
        """Send until the recording ends. Raises ConnectionError where the client goes while it is sent to."""
        while self.connection is None:
            await self._wait(None)
        sent = 0
        for at in self.connection.lines:
            frame = self._frames.read(at)
            if frame.meta.dir == "send":
                if frame.meta.opcode in DATA:
                    await self._heard_it(at)
                continue
            if await self._play(at, frame):
                return
            sent += 1
            if sent % _BREATH == 0:
                await asyncio.sleep(0)
        await self._finish()

    async def _heard_it(self, at: int) -> None:
        """Wait until the client has sent what it sent here when it was recorded."""
        message = self._message(at)
        if message.is_keepalive:
            return
        while not (said := self._waiting.get(message.text)):
            await self._wait(None)
        ids = said.popleft()
        for name, number in message.ids.items():
            if name in ids and ids[name] != number:
                self._numbers[name, number] = ids[name]

    async def _play(self, at: int, frame: Frame) -> bool:
        """Do what the exchange did; True where that was the end of the connection."""
        moment = self._frames.time_ns[at]
        while (delay := self._pace.delay_s(self._lap, moment)) > 0:
            await self._wait(delay)
        if self._pace.is_free:
            self._pace.note(moment)
        meta = frame.meta
        if meta.dir == "end":
            if meta.error in ("disconnected", "reset"):
                self._client.abort()
                return True
            return False
        data = frame.data()
        if meta.opcode == "close":
            await self._client.send("close", close_payload(meta.code, data))
            return True
        if meta.opcode == "pong" or (meta.opcode in DATA and len(data) < 400 and self._is_pong(frame)):
            return False
        await self._client.send(meta.opcode, renumbered(data, self._numbers) if self._numbers else data)
        return False

    async def _finish(self) -> None:
        """Stay open until the tape ends, as the exchange would have."""
        pace = self._pace
        until = (self._lap + 1, pace.start_ns) if pace.loop else (self._lap, pace.end_ns)
        while (delay := pace.delay_s(*until)) > 0:
            await self._wait(delay)
        if pace.loop:
            await self._client.close(SERVICE_RESTART, "the recording starts over")
        else:
            self._ended()
            await self._client.close(GOING_AWAY, "the recording has ended")

    async def _wait(self, delay_s: float | None) -> None:
        """Wait until the client says something, or so many seconds."""
        self._heard.clear()
        timer = None if delay_s is None else asyncio.get_running_loop().call_later(delay_s, self._heard.set)
        try:
            await self._heard.wait()
        finally:
            if timer is not None:
                timer.cancel()
