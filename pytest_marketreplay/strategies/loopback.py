"""A server on loopback that gives drawn answers to any client, in any process."""

from __future__ import annotations

import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from pytest_marketreplay.cassette.entry import standard_reason
from pytest_marketreplay.strategies.recorded import RecordedAnswer

_NOT_SENT = frozenset(("content-length", "transfer-encoding", "connection", "keep-alive", "date", "server"))
_NOTHING_LEFT = 599


class AnswerServer:
    """Give answers in the order in which they were put, whatever is asked; start it once, and `put` in each example.

    A request when no answer is left gets status 599, which no exchange gives.
    """

    def __init__(self) -> None:
        self._answers: deque[RecordedAnswer] = deque()
        self._lock = threading.Lock()
        self.asked: list[str] = []
        """Method and path with query of each request since the last `put`."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def handle_one_request(self) -> None:
                """Answer whatever the method is."""
                self.raw_requestline = self.rfile.readline(65_537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                server._answer(self)

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def host(self) -> str:
        """Host and port."""
        return self.url.removeprefix("http://")

    def put(self, *answers: RecordedAnswer) -> None:
        """Forget what was put before, and give these answers to the next requests."""
        with self._lock:
            self._answers = deque(answers)
            self.asked = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        with self._lock:
            self.asked.append(f"{handler.command} {handler.path}")
            answer = self._answers.popleft() if self._answers else None
        status = _NOTHING_LEFT if answer is None else answer.status or 200
        body = b"" if answer is None else answer.body
        handler.send_response_only(status, standard_reason(status) or "Unknown")
        for name, value in answer.headers if answer is not None else ():
            if name.lower() not in _NOT_SENT:
                handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)
        handler.wfile.flush()
