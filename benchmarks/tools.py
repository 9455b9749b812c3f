"""This project and the in-memory floor, each behind the verbs that every measured tool has (`Tool`).

A tool's library is imported only inside its verbs, so that a process holds nothing but the tool it measures.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import payloads

Entries = Iterable[tuple[str, bytes]]
"""URL and body, in the order they are recorded."""
BOTH = ("requests", "aiohttp")


class Tool(Protocol):
    """What can be measured."""

    name: str
    module: str
    """What must be importable for it."""
    clients: tuple[str, ...]
    scans: bool
    """Whether a request costs more the more entries lie before it: such a tool is not run to the end of a long cassette."""

    def build(self, path: Path, entries: Entries) -> None:
        """Write a cassette, with the tool's own code where it has some; not timed."""

    def prepare(self, path: Path) -> None:
        """Do what comes before a cassette is opened; not timed."""

    def replay(self, path: Path, session: Any) -> AbstractContextManager[Any]:
        """Return a context: entering it opens the cassette, inside it the client is served."""

    def record(self, path: Path, session: Any, host: str) -> AbstractContextManager[Any]:
        """Return a context that records what a loopback host answers."""

    def count(self, path: Path) -> int:
        """Return how many entries can be read from what was recorded."""


class MarketReplay:
    """This project."""

    name = "marketreplay"
    module = "pytest_marketreplay"
    clients = BOTH
    scans = False

    def build(self, path: Path, entries: Entries) -> None:
        """Write the tree by the format's specification (docs/reference/format.md), with the headers that a recording has."""
        files: dict[Path, list[bytes]] = defaultdict(list)
        for number, (url, body) in enumerate(entries):
            parts = urlsplit(url)
            params = dict(parse_qsl(parts.query))
            headers = {name.lower(): value for name, value in payloads.headers_for(body).items()}
            head = {
                "timestamp": payloads.FIRST_TIME_MS + number * 1000,
                "endpoint": parts.path,
                "params": params,
                "meta": {"method": "GET", "status": 200, "latency_ms": 41.7, "headers": headers},
            }
            text = json.dumps(head, separators=(",", ":")).encode()
            folder = path / "binance" / parts.path.removeprefix("/").replace("/", "_") / params["symbol"]
            files[folder].append(text[:-1] + b',"response":' + body + b"}\n")
        for folder, lines in files.items():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "2025-10-02T10-00-00.jsonl").write_bytes(b"".join(lines))

    def prepare(self, path: Path) -> None:
        """Do nothing."""

    def replay(self, path: Path, session: Any) -> AbstractContextManager[Any]:
        from pytest_marketreplay import use_cassette

        return use_cassette(path, mode="none")

    def record(self, path: Path, session: Any, host: str) -> AbstractContextManager[Any]:
        from pytest_marketreplay import use_cassette

        return use_cassette(path, mode="once", hosts={host: "binance"})

    def count(self, path: Path) -> int:
        return sum(file.read_bytes().count(b"\n") for file in path.rglob("*.jsonl"))


class Floor:
    """The client alone: answers come from memory, by the shortest way that the client has; recording nothing."""

    name = "floor"
    module = "requests"
    clients = BOTH
    scans = False

    def build(self, path: Path, entries: Entries) -> None:
        """Write URLs and bodies in turn, one a line; `prepare` reads them."""
        path.write_bytes(b"".join(url.encode() + b"\n" + body + b"\n" for url, body in entries))

    def prepare(self, path: Path) -> None:
        self.answers: dict[str, deque[bytes]] = defaultdict(deque)
        with path.open("rb") as file:
            for url, body in zip(file, file, strict=True):
                self.answers[url[:-1].decode()].append(body[:-1])

    def replay(self, path: Path, session: Any) -> AbstractContextManager[Any]:
        if type(session).__module__.startswith("requests"):
            session.mount("https://", _adapter(self.answers))
            return nullcontext()
        return _patched(self.answers)

    def record(self, path: Path, session: Any, host: str) -> AbstractContextManager[Any]:
        return nullcontext()

    def count(self, path: Path) -> int:
        return 0


def _adapter(answers: dict[str, deque[bytes]]) -> Any:
    import requests

    class Adapter(requests.adapters.BaseAdapter):
        def send(self, request: Any, **_: Any) -> Any:
            response = requests.Response()
            response.status_code, response.reason, response.encoding = 200, "OK", "utf-8"
            response.url, response.request = request.url, request
            response.headers.update(payloads.RESPONSE_HEADERS)
            response._content = answers[request.url].popleft()
            return response

        def close(self) -> None:
            """Nothing is open."""

    return Adapter()


@contextmanager
def _patched(answers: dict[str, deque[bytes]]) -> Iterator[None]:
    import asyncio

    import aiohttp
    from multidict import CIMultiDict, CIMultiDictProxy
    from yarl import URL

    headers = CIMultiDictProxy(CIMultiDict(payloads.RESPONSE_HEADERS))
    nothing: Any = CIMultiDictProxy(CIMultiDict())

    class Writer:
        output_size = 0

    needs_writer = "stream_writer" in aiohttp.ClientResponse.__init__.__code__.co_varnames  # aiohttp 3.14 and later
    more: dict[str, Any] = {"stream_writer": Writer} if needs_writer else {}

    async def request(self: Any, method: str, url: str, **_: Any) -> Any:
        target = URL(url)
        response = aiohttp.ClientResponse(
            method, target, writer=None, continue100=None, timer=None, traces=[], session=None,
            loop=asyncio.get_running_loop(), request_info=aiohttp.RequestInfo(target, method, nothing, target), **more,
        )  # fmt: skip
        response.status, response._headers = 200, headers
        response._body = answers[url].popleft()
        return response

    with mock.patch.object(aiohttp.ClientSession, "_request", request):
        yield
