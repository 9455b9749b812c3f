"""One HTTP answer, and what asks for it: the seam at which a test puts another network under a feed."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from pytest_marketreplay.cassette.entry import Headers

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

MOST_BYTES = 64 << 20
"""What an answer may take once it is unpacked: the deepest books there are take about a megabyte."""
MOST_CONNECTIONS = 128
_CODINGS = "gzip, deflate"


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
            async with session.get(url, allow_redirects=False, headers={"Accept-Encoding": _CODINGS}) as response:
                body = await _whole(response)
                headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers]
                return Answer(response.status, response.reason, headers, body)
        except (ClientError, OSError, zlib.error) as error:
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
            connector=TCPConnector(limit=MOST_CONNECTIONS),
            timeout=ClientTimeout(total=self._timeout_s),
            auto_decompress=False,  # which unpacks a chunk whole, however large that becomes
        )
        ask_once(self._session)
        return self._session


def ask_once(session: ClientSession) -> None:
    """Keep a session from asking once more by itself where a connection is reset: a venue counts each request.

    aiohttp 3.11 to 3.14 have no public way for all of them (a middleware could, from 3.12 on); its own test client uses this.
    """
    session._retry_connection = False


async def _whole(response: ClientResponse) -> bytes:
    """Read and unpack an answer. Raises Unanswered for one that is too large, cut, or packed in a way nobody asked for."""
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip", "x-gzip", "deflate", ""):
        raise Unanswered(f"the answer is packed as {coding!r}, which was not asked for")
    unpacked = bytearray()
    unpack = _Unpacking(gzip="gzip" in coding) if coding in ("gzip", "x-gzip", "deflate") else None
    async for chunk in response.content.iter_any():
        unpacked += chunk if unpack is None else unpack.feed(chunk, MOST_BYTES + 1 - len(unpacked))
        if len(unpacked) > MOST_BYTES:
            raise Unanswered(f"the answer is larger than {MOST_BYTES / (1 << 20):g} MiB")
    if unpack is not None and not unpack.is_whole:
        raise Unanswered("the packed answer is cut off")
    return bytes(unpacked)


class _Unpacking:
    """Undoes gzip or deflate in pieces, and never more than is asked for."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._work = zlib.decompressobj(16 + zlib.MAX_WBITS if gzip else zlib.MAX_WBITS)
        self._fed = 0

    @property
    def is_whole(self) -> bool:
        """Whether all came; an answer without a body is whole too."""
        return self._work.eof or not self._fed

    def feed(self, data: bytes, room: int) -> bytes:
        """Return what is in the next piece, `room` bytes at most. Raises zlib.error."""
        if not self._fed and not self._gzip and data[:1] and data[0] & 15 != 8:
            self._work = zlib.decompressobj(-zlib.MAX_WBITS)  # some send it without the head of RFC 1950
        out = bytearray()
        while data and room > len(out):
            if self._work.eof:  # a gzip file may have several parts (RFC 1952, 2.2)
                self._work, self._fed = zlib.decompressobj(16 + zlib.MAX_WBITS), 0
            self._fed += len(data)
            out += self._work.decompress(data, room - len(out))
            data = self._work.unused_data
        return bytes(out)
