"""Answers that are hard to get from a well-behaved exchange, for testing HTTP clients: paths under `/__lab__/`.

Imported only when the server starts, because it needs aiohttp.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from urllib.parse import parse_qs, unquote

import orjson
from aiohttp import web

from .encodings import ENCODERS
from .wire import compact_json

Handler = Callable[[web.BaseRequest, str, dict[str, str]], Awaitable[web.StreamResponse]]

EXACT_JSON = b'{"price":0.10000000,"price":"0.10","big":123456789012345678901234567890,"exp":1.0E-8, "s":"\\u00e9"}'
"""JSON that changes when it is parsed and written again: digits, duplicate keys, spacing, escapes."""
PRETTY_JSON = b'{\r\n  "serverTime": 1759399200000,\r\n  "symbols": [\r\n    "BTCUSDT"\r\n  ]\r\n}\r\n'
BINARY = bytes(range(256))
NOT_UTF8 = "Zürich: Börse geschlossen".encode("latin-1")
SAMPLE = compact_json({"symbol": "BTCUSDT", "price": "118642.50000000", "rows": [f"{n:08d}" for n in range(200)]})
_ETAG = '"5f3e1a"'
_REDIRECTS = (301, 302, 303, 307, 308)


class Lab:
    """Answer requests to the lab; `closing` ends answers that hang when the server stops."""

    def __init__(self, closing: asyncio.Event) -> None:
        self._closing = closing
        self._handlers: dict[str, Handler] = {
            "encoded": self._encoded,
            "chunked": self._chunked,
            "redirect": self._redirect,
            "arrived": self._arrived,
            "cookies": self._cookies,
            "status": self._status,
            "etag": self._etag,
            "hang": self._hang,
            "drop": self._drop,
            "truncated": self._truncated,
            "bytes": self._bytes,
            "body": self._body,
            "echo": self._echo,
        }

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; an unknown path is a 404 that lists the known ones."""
        path, _, query = request.raw_path.partition("?")
        name, _, rest = path.removeprefix("/__lab__/").partition("/")
        handler = self._handlers.get(name) if path.startswith("/__lab__/") else None
        if handler is None:
            known = ", ".join(f"/__lab__/{each}" for each in self._handlers)
            return web.Response(status=404, text=f"the lab knows only {known}\n")
        values = {key: found[-1] for key, found in parse_qs(query, keep_blank_values=True).items()}
        try:
            return await handler(request, unquote(rest), values)
        except (ValueError, KeyError) as mistake:
            return web.Response(status=400, text=f"the lab cannot read this request: {mistake}\n")

    async def _encoded(self, request: web.BaseRequest, rest: str, values: dict[str, str]) -> web.StreamResponse:
        """`encoded/<gzip|deflate|br|zstd|identity>`: a JSON body in that content encoding, asked for or not."""
        body = ENCODERS[rest](SAMPLE)
        headers = {"Content-Type": "application/json", "Content-Encoding": rest, "Vary": "Accept-Encoding"}
        return web.Response(body=body, headers=headers)

    async def _chunked(self, request: web.BaseRequest, rest: str, values: dict[str, str]) -> web.StreamResponse:
        """`chunked?pieces=5&encoding=gzip`: a body that comes in chunks, without a Content-Length."""
        encoding = values.get("encoding", "identity")
        headers = {"Content-Type": "application/json"}
        if encoding != "identity":
            headers["Content-Encoding"] = encoding
        response = web.StreamResponse(headers=headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        for piece in _pieces(ENCODERS[encoding](SAMPLE), int(values.get("pieces", "5"))):
            await response.write(piece)
        await response.write_eof()
        return response

    async def _redirect(self, request: web.BaseRequest, rest: str, values: dict[str, str]) -> web.StreamResponse:
        """`redirect/<n>?status=302`: n redirects, each with a cookie of its own, then `arrived`."""
        left, status = int(rest or "1"), int(values.get("status", "302"))
        if status not in _REDIRECTS:
            raise ValueError(f"status must be one of {_REDIRECTS}")
        target = f"/__lab__/redirect/{left - 1}?status={status}" if left > 1 else "/__lab__/arrived"
        headers = {"Location": target, "Set-Cookie": f"hop{left}={left}; Path=/"}
        return web.Response(status=status, headers=headers, text="moved\n")

    async def _arrived(self, request: web.BaseRequest, rest: str, values: dict[str, str]) -> web.StreamResponse:
        """`arrived`: where redirects end; tells the method and the cookies that came along."""
        return _json({"method": request.method, "cookies": dict(request.cookies)})

    async def _cookies(self, request: web.BaseRequest, rest: str, values: dict[str, str]) -> web.StreamResponse:
        """`cookies`: two Set-Cookie headers in one answer."""
        response = _json({"cookies": dict(request.cookies)})
        response.headers.add("Set-Cookie", "session=abc; Path=/")
        response.headers.add("Set-Cookie", "theme=dark; Path=/")
        return response

    async def _status(self, request: web.BaseRequest, rest: str, values: dict[str, str]) -> web.StreamResponse:
        """`status/<code>`: that status with a short JSON body; 204 and 304 have none."""
        code = int(rest)
        if not 200 <= code <= 599:
            raise ValueError("a status lies between 200 and 599")
        if code in (204, 205, 304):
            return web.Response(status=code)
        return _json({"status": code}, code)

    async def _etag(self, request: web.BaseRequest, rest: str, values: dict[str, str]) -> web.StreamResponse:
        """`etag`: 200 with an ETag, or 304 when If-None-Match names it."""
        if request.headers.get("If-None-Match") == _ETAG:
            return web.Response(status=304, headers={"ETag": _ETAG})
        response = _json({"symbol": "BTCUSDT"})
        response.headers["ETag"] = _ETAG
        return response

    async def _hang(self, request: web.BaseRequest, rest: str, values: dict[str, str]) -> web.StreamResponse:
        """`hang?seconds=30`: an answer that comes late, or when the server stops."""
        try:
            await asyncio.wait_for(self._closing.wait(), float(values.get("seconds", "30")))
        except TimeoutError:
            return _json({"late": True})
        return _json({"late": True, "stopped": True})

    async def _drop(self, request: web.BaseRequest, rest: str, values: dict[str, str]) -> web.StreamResponse:
        """`drop`: the connection is cut without an answer."""
        _cut(request)
        return web.Response()

    async def _truncated(self, request: web.BaseRequest, rest: str, values: dict[str, str]) -> web.StreamResponse:
        """`truncated`: a Content-Length that promises twice what is sent."""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = 2 * len(SAMPLE)
        await response.prepare(request)
        await response.write(SAMPLE)
        if request.transport is not None:  # pragma: no branch - None only where the client left in between
            request.transport.close()  # what was written still goes out, unlike after an abort
        return response

    async def _bytes(self, request: web.BaseRequest, rest: str, values: dict[str, str]) -> web.StreamResponse:
        """`bytes/<n>`: a body of n bytes that never repeats a line."""
        size = int(rest)
        if not 0 <= size <= 64 * 2**20:
            raise ValueError("between 0 and 64 MiB")
        lines = b"".join(b"%015d\n" % number for number in range(size // 16 + 1))
        return web.Response(body=lines[:size], content_type="application/octet-stream")

    async def _body(self, request: web.BaseRequest, rest: str, values: dict[str, str]) -> web.StreamResponse:
        """`body/<binary|latin1|pretty|exact|empty|mislabelled>`: bodies that a careless recorder changes."""
        body, content_type = {
            "binary": (BINARY, "application/octet-stream"),
            "latin1": (NOT_UTF8, "text/plain; charset=ISO-8859-1"),
            "pretty": (PRETTY_JSON, "application/json"),
            "exact": (EXACT_JSON, "application/json"),
            "empty": (b"", "application/json"),
            "mislabelled": (b"<html>maintenance</html>", "application/json"),
        }[rest]
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _echo(self, request: web.BaseRequest, rest: str, values: dict[str, str]) -> web.StreamResponse:
        """`echo`: the method, path, raw query, headers and body of the request, as JSON."""
        body = await request.read()
        _, _, query = request.raw_path.partition("?")
        headers = [[name, value] for name, value in request.headers.items()]
        return _json(
            {
                "method": request.method,
                "path": request.raw_path,
                "query": query,
                "headers": headers,
                "body": body.decode("utf-8", "backslashreplace"),
                "size_bytes": len(body),
            }
        )


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), headers={"Content-Type": "application/json"})


def _pieces(data: bytes, count: int) -> Iterator[bytes]:
    size = max(1, -(-len(data) // max(1, count)))
    for start in range(0, len(data), size):
        yield data[start : start + size]


def _cut(request: web.BaseRequest) -> None:
    if request.transport is not None:  # pragma: no branch - None only where the client left in between
        request.transport.abort()
