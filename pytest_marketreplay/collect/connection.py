"""One WebSocket connection of a feed, from its handshake to its end: subscriptions, heartbeats, frames, local books."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from pytest_marketreplay import clock
from pytest_marketreplay.cassette.frame import Opcode, close_payload
from pytest_marketreplay.cassette.request import WEBSOCKET
from pytest_marketreplay.collect.books import LocalBook
from pytest_marketreplay.collect.fetching import ask_once
from pytest_marketreplay.collect.limits import forbidden_s
from pytest_marketreplay.collect.stream_entries import Emit, Tape, Target
from pytest_marketreplay.collect.stream_frames import Frames
from pytest_marketreplay.collect.stream_ledger import Ledger
from pytest_marketreplay.collect.stream_states import Patience
from pytest_marketreplay.venues.profile import Venue
from pytest_marketreplay.venues.streaming import Channel, Message, Streaming

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientWebSocketResponse, WSMessage

GOING = 1000


class Failure(NamedTuple):
    """Why there is no connection."""

    reason: str
    retry_after_s: float | None = None
    is_ban: bool = False


class Connection:
    """Talks to one venue; `open`, then `run` until it ends, then `close` whatever happened."""

    def __init__(
        self,
        venue: Venue,
        streaming: Streaming,
        base_url: str,
        pairs: Iterable[str],
        channels: tuple[Channel, ...],
        patience: Patience,
        emit: Emit,
        ledger: Ledger,
        wants_book: Callable[[Connection, str], None],
    ) -> None:
        """`wants_book` hears of a pair whose book was lost, and needs a snapshot."""
        import aiohttp

        self.venue, self.streaming, self.channels = venue, streaming, channels
        self.pairs = list(pairs)
        self._patience, self._ledger = patience, ledger
        path = streaming.path(self.pairs, channels)
        self._url = base_url if path == "/" else base_url.rstrip("/") + path
        target = Target(venue, WEBSOCKET, streaming.ws.rstrip("/") + path)
        self.tape = Tape(target, self._url.partition("://")[0], emit)
        self.moved_ns = ledger.moved_ns
        """How far the wall clock had been set when the tape began."""
        self._frames = Frames(target, streaming, ledger, lambda pair: wants_book(self, pair))
        for pair in self.pairs:
            self._frames.know(pair)
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._answered)
        self._session = aiohttp.ClientSession(trace_configs=[trace])
        ask_once(self._session)
        self._socket: ClientWebSocketResponse | None = None
        self._answer: ClientResponse | None = None
        self._transport: asyncio.Transport | None = None
        self._pending: list[str] = []
        self._pending_since = 0.0
        self._number = 0
        self._heard_at = 0.0
        self.first_data_at: float | None = None
        self.last_data_at = 0.0
        self.last_frame_ns = 0
        self.farewell = asyncio.Event()
        """Set where the venue asks to connect anew."""

    @property
    def books(self) -> dict[str, LocalBook]:
        """The local book of each pair."""
        return self._frames.books

    # ---------------------------------------------------------------- its life

    async def open(self) -> Failure | None:
        """Shake hands and subscribe; gives why that failed."""
        import aiohttp

        try:
            async with asyncio.timeout(self._patience.handshake_s):
                self._socket = await self._session.ws_connect(
                    self._url,
                    autoping=False,
                    autoclose=False,
                    max_msg_size=0,
                    timeout=aiohttp.ClientWSTimeout(ws_close=self._patience.close_s),
                )
        except aiohttp.WSServerHandshakeError as error:
            headers = self._headers()
            self.tape.opened(error.status, headers, self._answer.reason if self._answer is not None else None)
            wait_s = forbidden_s(error.status, headers, clock.now_ns())
            return Failure(f"HTTP {error.status}", wait_s, is_ban=error.status == 418)
        except aiohttp.ClientConnectorDNSError as error:
            return self._failed("dns", error)
        except TimeoutError as error:
            return self._failed("connect_timeout", error)
        except (aiohttp.ClientError, OSError) as error:
            return self._failed("connect", error)
        answer = self._answer
        assert answer is not None
        self._transport = answer.connection.transport if answer.connection is not None else None
        self.last_frame_ns = self.tape.opened(101, self._headers(), answer.reason)
        self._heard_at = asyncio.get_running_loop().time()
        try:
            for message in self._messages(lambda number: self.streaming.subscribe(
                self.pairs, self.channels, number, opening=True
            )):  # fmt: skip
                await self._send(message)
        except (ConnectionError, RuntimeError) as error:
            self.tape.lost("disconnected")
            return Failure(str(error) or type(error).__name__)
        return None

    async def _answered(self, session: Any, context: Any, told: Any) -> None:
        """Note the answer to the handshake: a socket of aiohttp does not show its headers."""
        self._answer = told.response

    def _headers(self) -> list[tuple[str, str]]:
        raw = self._answer.raw_headers if self._answer is not None else ()
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]

    def _failed(self, kind: str, error: BaseException) -> Failure:
        self.tape.failed(kind)
        return Failure(f"{kind}: {error}" if str(error) else kind)

    async def run(self) -> str:
        """Read until the end; gives why it ended."""
        reader, watcher = asyncio.create_task(self._read()), asyncio.create_task(self._watch())
        try:
            done, _ = await asyncio.wait((reader, watcher), return_when=asyncio.FIRST_COMPLETED)
            return (reader if reader in done else watcher).result()
        finally:
            for task in (reader, watcher):
                task.cancel()
            await asyncio.gather(reader, watcher, return_exceptions=True)

    async def close(self) -> None:
        """Say goodbye where somebody is there, and let go of the socket."""
        socket = self._socket
        if socket is not None and not self.tape.ended and not socket.closed:
            self.tape.sent("close", close_payload(GOING))
            with contextlib.suppress(ConnectionError, RuntimeError):
                # the answer to it is not read here: what comes after our close is no longer of the capture
                await socket.close(code=GOING)
        await self.abandon()

    async def abandon(self) -> None:
        """Let go of the socket without a word; a dead one is not waited for."""
        self.tape.lost("disconnected")
        self._socket = None
        if self._transport is not None:
            self._transport.abort()  # a mere close waits until a dead peer has taken what is unsent
        if self._answer is not None:
            self._answer.close()
        await self._session.close()

    async def _watch(self) -> str:
        """Ping a silent venue; end where it stays silent, or does not acknowledge."""
        loop, patience = asyncio.get_running_loop(), self._patience
        beat = patience.heartbeat_s if patience.heartbeat_s is not None else self.streaming.heartbeat_s
        asked_at = pinged_at = 0.0
        while True:
            now, heard_at = loop.time(), self._heard_at
            ping_at = max(heard_at, pinged_at) + beat
            # where the process itself was late, frames may wait that were not read: the venue is asked first
            dead_at = max(heard_at + beat * patience.silent_beats, asked_at + beat) if asked_at > heard_at else inf
            late_at = self._pending_since + patience.acknowledgement_s if self._pending else inf
            if now >= dead_at:
                self._ledger.count("dead")
                return f"silent for {now - heard_at:.3f} s"
            if now >= late_at:
                return f"no acknowledgement of {', '.join(self._pending)}"
            if now >= ping_at:
                pinged_at = now
                if asked_at <= heard_at:
                    asked_at = now
                await self._ping()
                continue
            # a subscription may be sent meanwhile
            await asyncio.sleep(min(dead_at - now, ping_at - now, late_at - now, patience.acknowledgement_s))

    async def _ping(self) -> None:
        socket = self._socket
        assert socket is not None
        self._number += 1
        text = self.streaming.ping(self._number)
        # a socket that is closing ends the reader, which says so
        with contextlib.suppress(ConnectionError, RuntimeError):
            if text is not None:
                await self._send(Message(text))
            else:
                self.tape.sent("ping", b"")
                await socket.ping()

    # ---------------------------------------------------------------- subscriptions

    def _messages(self, make: Callable[[int], list[Message]]) -> list[Message]:
        self._number += 1
        return make(self._number)

    async def _send(self, message: Message) -> None:
        socket = self._socket
        assert socket is not None
        if message.expects:
            if not self._pending:
                self._pending_since = asyncio.get_running_loop().time()
            self._pending += message.expects
        self.tape.sent("text", message.text.encode())
        await socket.send_str(message.text)

    async def change(self, add: Iterable[str], remove: Iterable[str]) -> None:
        """Subscribe to more pairs and leave others. Raises ConnectionError, RuntimeError where nobody is there."""
        gone, new = list(remove), list(add)
        for pair in gone:
            self.pairs.remove(pair)
            self._frames.forget(pair)
        for pair in new:
            self.pairs.append(pair)
            self._frames.know(pair)
        messages: list[Message] = []
        if gone:
            messages += self._messages(lambda number: self.streaming.unsubscribe(gone, self.channels, number))
        if new:
            messages += self._messages(lambda number: self.streaming.subscribe(new, self.channels, number))
        for message in messages:
            await self._send(message)

    async def settled(self) -> None:
        """Wait until every pair's book is ready, where depth is streamed."""
        if "depth" in self.channels:
            await asyncio.gather(*(book.became_ready.wait() for book in self.books.values()))

    async def renew_book(self, pair: str) -> None:
        """Ask for a pair's depth anew, where the stream itself sends the snapshot."""
        for make in (self.streaming.unsubscribe, self.streaming.subscribe):
            for message in self._messages(lambda number, make=make: make([pair], ("depth",), number)):  # type: ignore[misc]
                await self._send(message)

    # ---------------------------------------------------------------- frames

    async def _read(self) -> str:
        from aiohttp import WSMsgType

        socket = self._socket
        assert socket is not None
        while True:
            message = await socket.receive()
            self._heard_at = asyncio.get_running_loop().time()
            kind = message.type
            if kind is WSMsgType.TEXT:
                self._data("text", message.data.encode())
            elif kind is WSMsgType.BINARY:
                self._data("binary", bytes(message.data))
            elif kind is WSMsgType.PING:
                self.last_frame_ns = self.tape.received("ping", bytes(message.data))
                self.tape.sent("pong", bytes(message.data))
                with contextlib.suppress(ConnectionError, RuntimeError):  # the next message is that it is closed
                    await socket.pong(bytes(message.data))
            elif kind is WSMsgType.PONG:
                self.last_frame_ns = self.tape.received("pong", bytes(message.data))
            else:
                return await self._ended(socket, message)

    async def _ended(self, socket: ClientWebSocketResponse, message: WSMessage) -> str:
        from aiohttp import WebSocketError, WSMsgType

        if message.type is WSMsgType.CLOSE:
            code: int | None = message.data or None
            self.tape.received("close", close_payload(code, str(message.extra or "").encode()))
            self.tape.sent("close", close_payload(code))
            with contextlib.suppress(ConnectionError, RuntimeError):
                await socket.close(code=code or GOING)
            return f"closed by the venue: {code} {message.extra or ''}".rstrip()
        error = message.data if message.type is WSMsgType.ERROR else socket.exception()
        if isinstance(error, WebSocketError):  # what came is no frame; the library has said so, and closed
            self.tape.sent("close", close_payload(error.code))
        self.tape.lost("reset" if isinstance(error, ConnectionResetError) else "disconnected")
        return f"lost: {error}" if error is not None else "lost"

    def _data(self, opcode: Opcode, data: bytes) -> None:
        ledger = self._ledger
        time_ns = self.last_frame_ns = self.tape.received(opcode, data)
        ledger.count("frames")
        ledger.count("bytes", len(data))
        said = self._frames.read(data, time_ns)
        if said:
            self.last_data_at = asyncio.get_running_loop().time()
            if self.first_data_at is None:
                self.first_data_at = self.last_data_at
                ledger.recovered(ledger.by_now(time_ns, self.moved_ns))
        elif said is not None:
            self._control(data)

    def _control(self, data: bytes) -> None:
        try:
            message: Any = msgspec.json.decode(data)
        except (ValueError, RecursionError):
            return
        if self.streaming.farewell(message) is not None:
            self.farewell.set()
        verdict = self.streaming.verdict(message)
        if verdict is None:
            return
        if verdict.problem is not None:
            named = [pair for pair in self.pairs if self.streaming.wire(pair) in verdict.key.split()]
            self._ledger.refused(named or self.pairs, verdict.problem)
        if verdict.key in self._pending:
            self._pending.remove(verdict.key)
        elif not verdict.key:
            self._pending.clear()
