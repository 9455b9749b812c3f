"""The sockets of the simulated exchange: an event loop in a thread, one port for each venue.

Imported only when the server starts, because it needs aiohttp.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

from aiohttp import web

from .lab import Lab
from .sockets import Sockets
from .wire import Asked, Call

if TYPE_CHECKING:
    from .server import SimulatedExchange

_Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Listener:
    """Serve one exchange from `run` until `stop`."""

    def __init__(self, exchange: SimulatedExchange) -> None:
        self._exchange = exchange
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._woken: asyncio.Event | None = None
        self._sockets = Sockets(exchange.streaming)

    def run(self, ready: Future[dict[str, str]]) -> None:
        """Run the loop of this thread; `ready` receives the base URLs, or what went wrong."""
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    def stop(self) -> None:
        """Ask the loop to end, from any thread."""
        loop, closing = self._loop, self._closing
        if loop is not None and closing is not None and not loop.is_closed():
            loop.call_soon_threadsafe(closing.set)

    def wake(self) -> None:
        """Look again how often the market moves by itself; from any thread."""
        loop, woken = self._loop, self._woken
        # None while the thread is only starting, closed when it has just ended: then there is nothing to wake
        if loop is not None and woken is not None and not loop.is_closed():  # pragma: no branch - as said
            loop.call_soon_threadsafe(woken.set)

    async def _serve(self, ready: Future[dict[str, str]]) -> None:
        self._loop, self._closing, self._woken = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        handlers = {
            "binance": self._venue("binance"),
            "kraken": self._venue("kraken"),
            "lab": self._lab(Lab(self._closing)),
        }
        urls: dict[str, str] = {}
        runners: list[web.ServerRunner] = []
        try:
            for venue, handler in handlers.items():
                runner = web.ServerRunner(web.Server(handler, access_log=None), shutdown_timeout=1.0)
                runners.append(runner)
                await runner.setup()
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                urls[venue] = f"http://127.0.0.1:{runner.addresses[0][1]}"
            ready.set_result(urls)
            beats = [
                asyncio.create_task(self._beat(1.0, self._exchange.streaming.tick)),
                asyncio.create_task(self._steps(self._woken)),
            ]
            closing = asyncio.create_task(self._closing.wait())
            await asyncio.wait([closing, *beats], return_when=asyncio.FIRST_COMPLETED)
            for beat in beats:
                beat.cancel()
            for outcome in await asyncio.gather(*beats, return_exceptions=True):
                if isinstance(outcome, Exception):
                    raise outcome
        finally:
            await self._sockets.close()
            for runner in runners:
                await runner.cleanup()

    async def _steps(self, woken: asyncio.Event) -> None:
        """Let the market move by itself as often as the exchange says at this moment."""
        while True:
            woken.clear()
            every_s = self._exchange.step_every
            moving = None if every_s is None else asyncio.create_task(self._beat(every_s, self._exchange.step))
            waking = asyncio.create_task(woken.wait())
            tasks = [waking] if moving is None else [waking, moving]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if moving is not None and moving.done():
                    moving.result()  # raises
            finally:
                for task in tasks:
                    task.cancel()

    async def _beat(self, every_s: float, call: Callable[[], None]) -> None:
        """Call something on a grid of real time; moments that were missed are not made up for."""
        loop = asyncio.get_running_loop()
        due_s = loop.time() + every_s
        while True:
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            call()
            due_s = max(due_s + every_s, loop.time())

    def _venue(self, venue: str) -> _Handler:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            path, _, query = request.raw_path.partition("?")
            if request.headers.get("Upgrade", "").lower() == "websocket":
                refusal = self._exchange.answer_upgrade(venue, path)
                if refusal is None:
                    return await self._sockets.serve(request, venue, path, query)
                return web.Response(status=refusal.status, body=refusal.body, headers=refusal.headers)
            headers = {name.lower(): value for name, value in request.headers.items()}
            call = Call(request.method, path, query, headers, await request.read())
            answer = self._exchange.answer(venue, call)
            response = web.Response(status=answer.status, body=answer.body, headers=answer.headers)
            if self._exchange.compress:
                response.enable_compression()
            return response

        return handle

    def _lab(self, lab: Lab) -> _Handler:
        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            path, exchange = request.raw_path.partition("?")[0], self._exchange
            failure = exchange.next_failure("lab")
            if failure is not None:
                headers = {"Retry-After": f"{failure.retry_after}"} if failure.status in (418, 429) else {}
                response: web.StreamResponse = web.Response(
                    status=failure.status, headers=headers, text=failure.message or "the lab was told to fail\n"
                )
            else:
                response = await lab.answer(request)
            dropped = request.transport is None or path.startswith("/__lab__/drop")
            exchange.note(Asked("lab", request.method, path, None if dropped else response.status))
            return response

        return handle
