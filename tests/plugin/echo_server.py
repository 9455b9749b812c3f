"""A server that gives back whatever it is sent, in every form in which a careless exchange could."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import quote, unquote, urlsplit


class Echo(BaseHTTPRequestHandler):
    """Answer a request with itself."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, query = urlsplit(self.path).path, urlsplit(self.path).query
        headers = dict(self.headers.items())
        every = "\n".join([self.path, unquote(query), *headers.values(), body.decode("utf-8", "replace")])
        answer = json.dumps({
            "plain": every,
            "percent": quote(every, safe=""),
            "base64": [base64.b64encode(b"x" * offset + every.encode()).decode() for offset in range(3)],
            "single": [base64.b64encode(value.encode()).decode() for value in headers.values()],
            "nested": json.dumps({"inside": json.dumps(headers)}),
            "market": {"token": "BTC", "key": "not-a-secret"},
        }).encode()  # fmt: skip
        self.send_response(
            429 if path.endswith("/limit") else 200, "You sent " + headers.get("X-Foo-Secret", "nothing")
        )
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("X-Echo", headers.get("X-MBX-APIKEY", "none"))
        self.send_header("Set-Cookie", f"sid={headers.get('X-New-Cookie', 'plain-cookie')}; Path=/; HttpOnly")
        self.send_header("Location", f"http://user:{headers.get('X-Foo-Secret', 'x')}@127.0.0.1/?{query}")
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def echoing() -> Iterator[str]:
    """Serve on loopback and give the base URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
