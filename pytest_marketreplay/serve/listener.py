"""The sockets of a cassette server: an event loop in a thread, one port for each venue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future

from aiohttp import web

from .pace import Pace
from .rest import RestSide
from .sockets import SocketSide
from .tally import log

_LOOK_S = 0.25
_Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Listener:
    """Serve from `run` until `stop`."""

    def __init__(
        self,
        sides: dict[str, tuple[RestSide, SocketSide]],
        ports: dict[str, int],
        pace: Pace,
        *,
        begin_at_once: bool,
        slow_client_s: float,
        ended: Callable[[], None],
    ) -> None:
        self._sides, self._ports, self._pace = sides, ports, pace
        self._begin_at_once, self._slow_client_s, self._ended = begin_at_once, slow_client_s, ended
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None

    def run(self, ready: Future[dict[str, int]]) -> None:
        """Run the loop of this thread; `ready` receives the ports, or what went wrong."""
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:
            if ready.done():
                raise  # pragma: no cover - once it listens, only a failure of the event loop itself ends it
            ready.set_exception(error)

    def stop(self) -> None:
        """Ask the loop to end, from any thread."""
        loop, closing = self._loop, self._closing
        if loop is not None and closing is not None and not loop.is_closed():
            loop.call_soon_threadsafe(closing.set)

    async def _serve(self, ready: Future[dict[str, int]]) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        ports: dict[str, int] = {}
        runners: list[web.ServerRunner] = []
        watch = asyncio.create_task(self._watch())
        try:
            for venue, (rest, sockets) in self._sides.items():
                runner = web.ServerRunner(
                    web.Server(self._handler(rest, sockets), access_log=None), shutdown_timeout=1.0
                )
                runners.append(runner)
                await runner.setup()
                await web.TCPSite(runner, "127.0.0.1", self._ports[venue]).start()
                ports[venue] = runner.addresses[0][1]
            if self._begin_at_once:
                self._pace.begin()
            ready.set_result(ports)
            await self._closing.wait()
        finally:
            watch.cancel()
            for _, sockets in self._sides.values():
                await sockets.close()
            for runner in runners:
                await runner.cleanup()

    async def _watch(self) -> None:
        """Cut clients that do not read, and tell the end of the tape."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for _, sockets in self._sides.values():
                sockets.cut_slow(self._slow_client_s)
            if self._pace.is_over():
                self._ended()

    def _handler(self, rest: RestSide, sockets: SocketSide) -> _Handler:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            self._pace.begin()
            try:
                if request.headers.get("Upgrade", "").lower() == "websocket":
                    return await sockets.connect(request)
                return await rest.answer(request)
            except ConnectionError:  # pragma: no cover - a client that goes in the middle of its handshake
                raise
            except Exception:
                log.exception("%s: a request could not be served", rest.name)
                raise

        return handle
