"""The server of `/metrics` and `/healthz`: the standard library's, on threads of its own."""

from __future__ import annotations

import json
import logging
import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from pytest_marketreplay.errors import CollectError
from pytest_marketreplay.metrics.registry import Metrics

TIMEOUT_S = 5.0
"""How long a client may take to send its request."""

_NOTES = logging.getLogger("pytest_marketreplay.collect.metrics")


class MetricsServer:
    """Serve `/metrics` and `/healthz` over HTTP, from threads of its own, until it is closed.

    `health` returns what `/healthz` shows as JSON; the status is 200 where its `ok` is True, and 503 otherwise, or where it
    raises. With port 0 the system chooses a free one. `port` is the one that is served, once `start` returned.
    """

    def __init__(self, metrics: Metrics, host: str, port: int, health: Callable[[], dict[str, object]]) -> None:
        self.metrics, self.host, self.port, self.health = metrics, host, port, health
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Listen. Raises CollectError where the address cannot be had."""
        try:
            self._server = _Server((self.host, self.port), self)
        except (OSError, OverflowError) as error:
            raise CollectError(
                f"metrics cannot be served at {self.host}:{self.port}: {error}. Name another port, or 0 for any that is free"
            ) from error
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="metrics", daemon=True
        )
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop, end every connection and join every thread; a second call does nothing."""
        server, thread, self._server, self._thread = self._server, self._thread, None, None
        if server is not None and thread is not None:
            server.shutdown()
            server.hang_up()
            server.server_close()
            thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing joins them

    def __init__(self, address: tuple[str, int], owner: MetricsServer) -> None:
        self.owner = owner
        self._connections: set[socket.socket] = set()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind, without the look-up of the host's name that `http.server` makes."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.owner.host, int(self.server_address[1])

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End what clients hold open, so that no thread waits for them."""
        for connection in tuple(self._connections):
            with suppress(OSError):  # the client was faster
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        _NOTES.warning("a request for metrics from %s failed", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = TIMEOUT_S

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/metrics":
            body, content_type = self.server.owner.metrics.exposed(self.headers.get("Accept", ""))
            self._answer(200, content_type, body)
        elif path == "/healthz":
            self._answer(*_health(self.server.owner.health))
        else:
            self._answer(404, "text/plain; charset=utf-8", b"There are /metrics and /healthz.\n")

    do_HEAD = do_GET  # noqa: N815 - the names are those of `http.server`

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """Return nothing that tells versions."""
        return "marketreplay"

    def log_message(self, format: str, *args: Any) -> None:
        _NOTES.debug("%s: %s", self.client_address[0], format % args)


def _health(ask: Callable[[], dict[str, object]]) -> tuple[int, str, bytes]:
    """Return status, type and body; whatever keeps health from being told is itself bad health."""
    try:
        told = ask()
        body = json.dumps(told, default=str).encode()
        well = told.get("ok") is True
    except Exception as error:  # noqa: BLE001 - the caller's code, and no failure of it may go untold
        _NOTES.exception("the health of the capture cannot be told")
        body, well = json.dumps({"ok": False, "error": type(error).__name__}).encode(), False
    return (200 if well else 503), "application/json", body
