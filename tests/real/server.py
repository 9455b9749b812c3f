"""The data set's own loopback server as a process, and a plain one for what it does not give."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .recorded_data import NOT_SERVED, entries, folder

_LONGEST_START_S = 20.0
_MOST_STARTS = 3


class RealExchange:
    """`exchange_server.py` on a free loopback port."""

    def __init__(self, log: Path, **options: Any) -> None:
        self.log = log
        self._options = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        for _ in range(_MOST_STARTS):
            if self._start():
                return
        raise AssertionError(f"the data set's server did not start: {self.log.read_text()}")

    def _start(self) -> bool:
        """Start it on a port that was free a moment ago; False where somebody else was faster."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        script = folder() / "tools" / "exchange_server.py"
        with self.log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, str(script), f"--port={self.port}", *self._options],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
        # the line says that it is this process which listens: the port alone could be another's
        end = time.monotonic() + _LONGEST_START_S
        while time.monotonic() < end and self._process.poll() is None:
            if b"loopback exchange on" in self.log.read_bytes():
                return True
            time.sleep(0.02)
        self.stop()
        return False

    @property
    def address(self) -> str:
        """Host and port, as `marketreplay_hosts` names them."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def _control(self, method: str, path: str, body: Any = None) -> Any:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def set(self, **options: Any) -> None:
        """Change options of the running server: faults, gzip, ..."""
        assert "error" not in self._control("POST", "/__ctl__", options)

    def reset(self) -> None:
        """Have it start over: counters, options, and what comes first for a URL with several answers."""
        assert self._control("POST", "/__reset__") == {"ok": True}

    def asked(self) -> int:
        """Return how many REST requests it has seen since its start or the last reset."""
        count: int = self._control("GET", "/__stats__")["rest"]
        return count

    def stop(self) -> None:
        """End it. It keeps nothing, and a request that it lets hang would hold up a polite end."""
        self._process.kill()
        self._process.wait(10)


@contextmanager
def plain_server() -> Iterator[str]:
    """Serve what the data set's server does not give, byte for byte; yields the address."""
    answers = {(entry.host, entry.path): entry for entry in entries() if entry.id in NOT_SERVED}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            entry = answers[self.headers["Host"], self.path.partition("?")[0]]
            body = entry.body()
            self.send_response(entry.status)
            self.send_header("Content-Type", entry.content_type or "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Recorded-Id", entry.id)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
