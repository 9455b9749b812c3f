"""Whole pytest runs in a folder of their own, against a simulated exchange that the outer test holds in its hand."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import textwrap
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from pytest_marketreplay.exchange import SimulatedExchange

MARKET = '''
"""What the inner tests ask with: one call, and a note of what came back."""
import json
import pathlib
import requests

BINANCE = {binance!r}
KRAKEN = {kraken!r}
LAB = {lab!r}
SEEN = pathlib.Path({seen!r})

def ask(path="/api/v3/depth", base=BINANCE, **params):
    response = requests.get(base + path, params=params, timeout=10)
    with SEEN.open("a") as out:
        out.write(json.dumps([path, response.status_code, response.text]) + "\\n")
    return response

def depth(symbol="BTCUSDT"):
    return ask("/api/v3/depth", symbol=symbol, limit=5).json()["lastUpdateId"]
'''

# neither of the two starts beside the other, and an order of tests is given where it matters
QUIET = ("-p", "no:recording", "-p", "no:cassetter", "-p", "no:randomly")
# a process of its own needs 0.3 s of CPU instead of 1.2 without these two
LIGHT = ("-p", "no:hypothesispytest", "-p", "no:anyio")


def installed_plugin(name: str) -> bool:
    """Tell whether a pytest plugin is installed under this entry point."""
    return any(point.name == name for point in importlib.metadata.entry_points(group="pytest11"))


def loading() -> tuple[str, ...]:
    """Return what loads the plugin where it is only on the path and not installed."""
    if installed_plugin("marketreplay"):
        return ()
    # in this process it is imported already, which matters only to asserts that a plugin would have
    return ("-p", "pytest_marketreplay.plugin", "-W", "ignore::pytest.PytestAssertRewriteWarning")


class Suite:
    """A folder with inner tests, and what their runs did."""

    def __init__(self, pytester: pytest.Pytester, exchange: SimulatedExchange) -> None:
        self.pytester = pytester
        self.exchange = exchange
        self.path = pytester.path
        self._seen = pytester.path / "seen.jsonl"
        self._asked = 0
        pytester.syspathinsert()
        urls = {venue: exchange.url(venue) for venue in ("binance", "kraken", "lab")}
        self.write("market.py", MARKET.format(seen=str(self._seen), **urls))
        self.ini()

    def ini(self, *lines: str, filterwarnings: str = "error") -> None:
        """Write the ini file: the exchange's hosts, and more lines."""
        hosts = [
            f"    {self.exchange.url(venue).partition('://')[2]} = {name}"
            for venue, name in (("binance", "binance"), ("kraken", "kraken"), ("lab", "lab"))
        ]
        text = ["[pytest]", f"filterwarnings = {filterwarnings}", "marketreplay_hosts =", *hosts, *lines]
        (self.path / "pytest.ini").write_text("\n".join(text) + "\n")

    def write(self, name: str, text: str) -> Path:
        """Write one file of the suite; the indentation of its first line goes."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"))
        return path

    def tests(self, text: str, name: str = "test_it.py") -> Path:
        """Write a test module that may use `ask`, `depth` and `pytest`."""
        head = "import pytest\nfrom market import *\n\n"
        return self.write(name, head + textwrap.dedent(text).lstrip("\n"))

    def run(self, *args: str, mode: str | None = None, quiet: tuple[str, ...] = QUIET) -> pytest.RunResult:
        """Run the suite in this process."""
        more = (f"--record-mode={mode}",) if mode else ()
        sys.path_importer_cache.clear()  # a module written within the clock tick of another one's import
        return self.pytester.runpytest_inprocess(*quiet, *loading(), *more, *args, no_reraise_ctrlc=True)

    def spawn(self, *args: str, mode: str | None = None, quiet: tuple[str, ...] = QUIET) -> pytest.RunResult:
        """Run the suite in a process of its own."""
        more = (f"--record-mode={mode}",) if mode else ()
        return self.pytester.runpytest_subprocess(*quiet, *LIGHT, *loading(), *more, *args)

    def asked(self) -> int:
        """Return how many requests reached the exchange since the last call."""
        before, self._asked = self._asked, self.exchange.count()
        return self._asked - before

    def seen(self) -> list[Any]:
        """Return what inner tests got since the last call: path, status, body."""
        if not self._seen.exists():
            return []
        lines = [json.loads(line) for line in self._seen.read_text().splitlines()]
        self._seen.unlink()
        return lines

    def tree(self, root: str = "cassettes") -> dict[str, bytes]:
        """Return every file under a folder, hidden ones too, with its bytes."""
        base = self.path / root
        return {str(file.relative_to(base)): file.read_bytes() for file in sorted(base.rglob("*")) if file.is_file()}

    def entries(self, cassette: str, root: str = "cassettes") -> list[dict[str, Any]]:
        """Return every entry of one cassette."""
        files = sorted((self.path / root / cassette).rglob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def cassettes(self, root: str = "cassettes") -> list[str]:
        """Return the folders that hold a venue's tree."""
        base = self.path / root
        return sorted({str(file.relative_to(base).parents[3]) for file in base.rglob("*.jsonl")})


class LogServer:
    """A server in this process that notes every answer, and can kill its client at a chosen one."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.generation = 0
        self._doomed: tuple[subprocess.Popen[bytes], int, float] | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                size = int(self.path.partition("size=")[2] or 0)
                answer = json.dumps({"you": self.path, "generation": outer.generation, "rows": "r" * size}).encode()
                outer.log.append(self.path)
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
                try:
                    self.wfile.write(head.encode() + answer)
                    outer.answered()
                except OSError:  # the client is gone
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing of clients that were killed."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"http://{self.host}"

    def kill(self, process: subprocess.Popen[bytes], moment: int, after_s: float) -> None:
        """Kill a process some seconds after the n-th answer."""
        self._doomed = (process, moment, after_s)
        if len(self.log) >= moment:
            self.answered()

    def answered(self) -> None:
        """Kill the client where its moment has come."""
        doomed = self._doomed
        if doomed is not None and len(self.log) >= doomed[1]:
            self._doomed = None
            Timer(doomed[2], doomed[0].kill).start()  # does nothing where it has ended by itself
