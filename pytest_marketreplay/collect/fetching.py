"""One HTTP answer, and what asks for it: the seam at which a test puts another network under a feed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from pytest_marketreplay.cassette.entry import Headers

if TYPE_CHECKING:
    from aiohttp import ClientSession


class Answer(NamedTuple):
    """An answer, whole."""

    status: int
    reason: str | None
    headers: Headers
    body: bytes
    """Content-Encoding undone."""


class Unanswered(Exception):
    """No answer came, or none that is whole."""


Fetch = Callable[[str], Awaitable[Answer]]
"""Takes a URL. Raises Unanswered, TimeoutError."""


class HttpFetch:
    """Asks over HTTP, with connections that are kept for the next time."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._session: ClientSession | None = None

    async def __call__(self, url: str) -> Answer:
        """Ask for a URL."""
        from aiohttp import ClientError

        session = self._session or self.open()
        try:
            async with session.get(url, allow_redirects=False) as response:
                body = await response.read()
                headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers]
                return Answer(response.status, response.reason, headers, body)
        except (ClientError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise Unanswered(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def open(self) -> ClientSession:
        """Make ready to ask: the first request then costs no import."""
        from aiohttp import ClientSession, ClientTimeout, TCPConnector

        self._session = ClientSession(
            connector=TCPConnector(limit_per_host=32), timeout=ClientTimeout(total=self._timeout_s)
        )
        return self._session
