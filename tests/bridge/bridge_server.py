"""A real server on loopback, and the three client libraries behind one face."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import brotli

EXACT = b'{"lastUpdateId": 1027024, "bids":[["0.10000000","431.00000000"]],"big":123456789012345678901234567890,"a":1,"a":1E-8,"u":"\xc3\xa9\xf0\x9f\x98\x80"}'
BODIES = {
    "/json": EXACT,
    "/pretty": json.dumps({"a": [1, 2], "b": None}, indent=2).encode(),
    "/text": "Zeile eins\r\nline two\ttab \x7f \u2028 \ufeff end\n".encode(),
    "/latin": "naïve".encode("latin-1"),
    "/binary": bytes(range(256)) * 3,
    "/empty": b"",
}
ENCODERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress}


class Server:
    """Answers by path; every answer to `/count` is another."""

    def __init__(self) -> None:
        outer = self
        self.hits: list[str] = []
        self._count = 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # headers and body are two writes: 40 ms each without

            def log_message(self, *arguments: Any) -> None:
                pass

            def answer(self) -> None:
                outer.hits.append(f"{self.command} {self.path}")
                sent = self.rfile.read(int(self.headers.get("content-length") or 0))
                path = urlsplit(self.path).path
                status, headers = 200, [("Content-Type", "application/json")]
                encoding = ""
                if path.startswith("/encoded/"):
                    _, _, encoding, rest = path.split("/", 3)
                    path = f"/{rest}"
                if path == "/count":
                    outer._count += 1
                    body = b'{"n":%d}' % outer._count
                elif path == "/login":
                    body = b'{"token":"tok-9f8e7d6c5b4a","expires":60}'
                elif path == "/redirect":
                    status, body = 302, b""
                    headers.append(("Location", "/json?hop=1"))
                elif path == "/echo":
                    body = json.dumps({"sent": sent.decode(), "key": self.headers.get("X-MBX-APIKEY")}).encode()
                elif path == "/missing":
                    status, body = 404, b'{"code":-1121,"msg":"Invalid symbol."}'
                else:
                    body = BODIES[path]
                if encoding:
                    body = ENCODERS[encoding](body)
                    headers.append(("Content-Encoding", encoding))
                if path == "/json":
                    headers += [("Set-Cookie", "sid=abcdefgh12345; Path=/"), ("Set-Cookie", "b=2")]
                self.send_response(status)
                for name, value in [*headers, ("Content-Length", str(len(body)))]:
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_POST = do_HEAD = do_DELETE = answer

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.host = f"127.0.0.1:{self._http.server_port}"
        self.url = f"http://{self.host}"

    def stop(self) -> None:
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
            self._http.server_close()


Asked = tuple[str, str, dict[str, Any]]
Answers = list[tuple[int, bytes]]


def with_requests(calls: list[Asked]) -> Answers:
    import requests

    with requests.Session() as session:
        session.trust_env = False
        return [
            (answer.status_code, answer.content)
            for answer in (session.request(method, url, timeout=10, **more) for method, url, more in calls)
        ]


def with_httpx(calls: list[Asked]) -> Answers:
    import httpx

    with httpx.Client(trust_env=False, follow_redirects=True) as client:
        return [
            (answer.status_code, answer.content)
            for answer in (client.request(method, url, **more) for method, url, more in calls)
        ]


def with_aiohttp(calls: list[Asked]) -> Answers:
    import aiohttp

    async def run() -> Answers:
        out = []
        async with aiohttp.ClientSession() as session:
            for method, url, more in calls:
                async with session.request(method, url, **more) as answer:
                    out.append((answer.status, await answer.read()))
        return out

    return asyncio.run(run())


CLIENTS = {"requests": with_requests, "httpx": with_httpx, "aiohttp": with_aiohttp}


def calls(url: str, *, binary: bool = True) -> list[Asked]:
    """What the round trips ask: every kind of body and encoding, equal requests, parameters, forms, errors."""
    paths = ["/json?symbol=BTCUSDT&limit=5", "/pretty", "/text", "/count", "/count", "/count?symbol=A%2FB", "/count"]
    paths += ["/redirect", "/missing", "/empty"]
    if binary:  # vcrpy's JSON serializer refuses what is not UTF-8, so do bodies that are still compressed
        paths += ["/latin", "/binary"]
        paths += [f"/encoded/{name}{path}" for name in ENCODERS for path in ("/json", "/binary", "/text", "/empty")]
    out: list[Asked] = [("GET", url + path, {}) for path in paths]
    out.append(("HEAD", f"{url}/json", {}))
    out.append(("POST", f"{url}/echo", {"data": {"side": "BUY", "price": "0.10", "note": "a b&c"}}))
    out.append(("POST", f"{url}/echo", {"json": {"pair": "XBTUSD", "depth": [1, 2], "deep": {"x": None}}}))
    out.append(("DELETE", f"{url}/echo?orderId=7", {}))
    return out
