"""The peers, each written and read with its own code: vcrpy, cassetter, betamax; and all tools by name."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import payloads
from tools import BOTH, Entries, Floor, MarketReplay, Tool


def _lists(headers: dict[str, str]) -> dict[str, list[str]]:
    return {name: [value] for name, value in headers.items()}


class Vcrpy:
    """vcrpy as it comes: matching on method, scheme, host, port, path and query."""

    module = "vcr"
    clients = BOTH
    scans = True

    def __init__(self, serializer: str) -> None:
        self.name = f"vcrpy-{serializer}"
        self.serializer = serializer

    def build(self, path: Path, entries: Entries) -> None:
        from vcr.persisters.filesystem import FilesystemPersister
        from vcr.request import Request
        from vcr.serializers import jsonserializer, yamlserializer

        requests, responses = [], []
        for url, body in entries:
            requests.append(Request("GET", url, None, dict(payloads.REQUEST_HEADERS)))
            responses.append(
                {
                    "status": {"code": 200, "message": "OK"},
                    "headers": _lists(payloads.headers_for(body)),
                    "body": {"string": body},
                }
            )
        serializer = {"yaml": yamlserializer, "json": jsonserializer}[self.serializer]
        data = {"requests": requests, "responses": responses}
        FilesystemPersister.save_cassette(str(path), data, serializer=serializer)

    def prepare(self, path: Path) -> None:
        """Do nothing."""

    def _use(self, path: Path, mode: str) -> AbstractContextManager[Any]:
        import vcr

        return vcr.VCR(serializer=self.serializer, record_mode=mode).use_cassette(str(path))

    def replay(self, path: Path, session: Any) -> AbstractContextManager[Any]:
        return self._use(path, "none")

    def record(self, path: Path, session: Any, host: str) -> AbstractContextManager[Any]:
        return self._use(path, "once")

    def count(self, path: Path) -> int:
        with self._use(path, "none") as cassette:
            return len(cassette)


class Cassetter:
    """cassetter; its index is flat."""

    module = "cassetter"
    clients = BOTH
    scans = False

    def __init__(self, ending: str) -> None:
        self.name = f"cassetter-{ending}"
        self.ending = ending

    def _path(self, path: Path) -> Path:
        return path.with_name(f"{path.name}.{self.ending}")  # the ending chooses the format

    def build(self, path: Path, entries: Entries) -> None:
        from cassetter.cassette import Cassette
        from cassetter.recording import RecordMode

        cassette = Cassette(str(self._path(path)), record_mode=RecordMode.ONCE)
        cassette.load()
        asked = {name.lower(): values for name, values in _lists(payloads.REQUEST_HEADERS).items()}
        for url, body in entries:
            headers = {name.lower(): values for name, values in _lists(payloads.headers_for(body)).items()}
            cassette.record("GET", url, asked, None, 200, headers, body)
        cassette.save()

    def prepare(self, path: Path) -> None:
        """Do nothing."""

    def _use(self, path: Path, mode: str) -> AbstractContextManager[Any]:
        from cassetter import use_cassette

        return use_cassette(str(self._path(path)), record_mode=mode)

    def replay(self, path: Path, session: Any) -> AbstractContextManager[Any]:
        return self._use(path, "none")

    def record(self, path: Path, session: Any, host: str) -> AbstractContextManager[Any]:
        return self._use(path, "once")

    def count(self, path: Path) -> int:
        from cassetter import _core

        return len(_core.Cassette.load(str(self._path(path))))


class Betamax:
    """betamax, for `requests` only."""

    name = "betamax"
    module = "betamax"
    clients = ("requests",)
    scans = True

    def build(self, path: Path, entries: Entries) -> None:
        interactions = []
        for url, body in entries:
            interactions.append(
                {
                    "request": {
                        "method": "GET",
                        "uri": url,
                        "headers": _lists(payloads.REQUEST_HEADERS),
                        "body": {"encoding": "utf-8", "string": ""},
                    },
                    "response": {
                        "status": {"code": 200, "message": "OK"},
                        "url": url,
                        "headers": _lists(payloads.headers_for(body)),
                        "body": {"encoding": "UTF-8", "string": body.decode()},
                    },
                    "recorded_at": "2025-10-02T10:00:00",
                }
            )
        document = {"http_interactions": interactions, "recorded_with": "betamax/0.9.0"}
        path.with_name(path.name + ".json").write_text(json.dumps(document))

    def prepare(self, path: Path) -> None:
        """Do nothing."""

    @contextmanager
    def _use(self, path: Path, session: Any, mode: str) -> Iterator[None]:
        import betamax

        recorder = betamax.Betamax(session, cassette_library_dir=str(path.parent))
        with recorder.use_cassette(path.name, record=mode, match_requests_on=["method", "uri"]):
            yield

    def replay(self, path: Path, session: Any) -> AbstractContextManager[Any]:
        return self._use(path, session, "none")

    def record(self, path: Path, session: Any, host: str) -> AbstractContextManager[Any]:
        return self._use(path, session, "once")

    def count(self, path: Path) -> int:
        return len(json.loads(path.with_name(path.name + ".json").read_text())["http_interactions"])


OURS, FLOOR = "marketreplay", "floor"
TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        MarketReplay(),
        Floor(),
        Cassetter("toml"),
        Cassetter("yaml"),
        Vcrpy("json"),
        Vcrpy("yaml"),
        Betamax(),
    )
}


def installed() -> tuple[list[str], list[str]]:
    """Return the tools that can be measured here, and those whose library is missing; imports nothing."""
    there = [name for name, tool in TOOLS.items() if importlib.util.find_spec(tool.module) is not None]
    return there, [name for name in TOOLS if name not in there]
