"""Writing small tapes, and tapes of the developers' set of real captures, in the format's own functions."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from pytest_marketreplay.cassette import entry, names, payload, request
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.frame import Direction, FrameMeta, Opcode, write_frame
from pytest_marketreplay.cassette.writer import Recording
from pytest_marketreplay.venues.registry import Registry

START_MS = 1_759_399_200_000
VARIABLE = "MARKETREPLAY_SHARED"
REGISTRY = Registry()


class Tape:
    """A cassette under construction; times are milliseconds after `START_MS` unless they are a whole epoch."""

    def __init__(self, root: Path, start_ms: int = START_MS) -> None:
        self.root, self.start_ms = root, start_ms
        self._recording = Recording(root)
        self._connections = 0

    def close(self) -> Path:
        self._recording.close()
        return self.root

    def rest(
        self,
        at_ms: float,
        venue: str,
        path: str,
        query: str = "",
        body: bytes = b"{}",
        *,
        method: str = "GET",
        form: str | None = None,
        **meta: Any,
    ) -> Tape:
        profile = REGISTRY.venues[venue]
        asked = request.parse(method, f"https://x.invalid{path}?{query}", form)
        location = profile.locate(asked)
        place = Place(venue, names.endpoint_folder(location.endpoint), names.symbol_folder(location.symbol))
        params = request.params_fragment(profile.rules.redact_params(asked.params))
        line = entry.write_line(
            self._ms(at_ms),
            path,
            params,
            entry.Meta(method=method, body=asked.body_kind, **meta),
            payload.encode(body),
        )
        self._recording.append(place, line)
        return self

    def _ms(self, at_ms: float) -> int:
        return int(at_ms if at_ms > 10**12 else self.start_ms + at_ms)

    def connection(self, at_ms: float, venue: str, path: str, query: str = "", **meta: Any) -> Connection:
        self._connections += 1
        return Connection(self, self._ms(at_ms), venue, path, query, f"c{self._connections}", meta)

    def write(self, place: Place, line: bytes) -> None:
        self._recording.append(place, line)


class Connection:
    """One recorded connection under construction."""

    def __init__(
        self, tape: Tape, opened_ms: int, venue: str, path: str, query: str, conn: str, meta: dict[str, Any]
    ) -> None:
        self._tape, self._opened_ms, self._path, self._conn = tape, opened_ms, path, conn
        self._sequence = 0
        asked = request.parse("WEBSOCKET", f"wss://x.invalid{path}?{query}")
        profile = REGISTRY.by_folder(venue)
        location = profile.locate_stream(asked)
        folder = names.endpoint_folder(location.endpoint, websocket=True)
        self._place = Place(venue, folder, names.symbol_folder(location.symbol))
        opening = {"status": 101, **meta}
        body = opening.pop("body", b"")
        self._line("open", opened_ms, "text", body, request.params_fragment(asked.params), **opening)

    def _line(
        self, direction: Direction, at_ms: float, opcode: Opcode, data: bytes, params: bytes = b"{}", **meta: Any
    ) -> Connection:
        offset_ns = round((at_ms - self._opened_ms) * 1_000_000)
        whole = FrameMeta(direction, self._conn, self._sequence, offset_ns, opcode, **meta)
        self._sequence += 1
        self._tape.write(self._place, write_frame(int(at_ms), self._path, params, whole, payload.encode(data)))
        return self

    def _ms(self, at_ms: float) -> float:
        return at_ms if at_ms > 10**12 else self._tape.start_ms + at_ms

    def recv(self, at_ms: float, data: bytes | dict[str, Any] | list[Any], opcode: Opcode = "text") -> Connection:
        return self._line("recv", self._ms(at_ms), opcode, _bytes(data))

    def send(self, at_ms: float, data: bytes | dict[str, Any] | list[Any], opcode: Opcode = "text") -> Connection:
        return self._line("send", self._ms(at_ms), opcode, _bytes(data))

    def closed(self, at_ms: float, code: int | None = 1001, reason: bytes = b"") -> Connection:
        return self._line("recv", self._ms(at_ms), "close", reason, code=code)

    def lost(self, at_ms: float, error: str = "reset") -> Connection:
        return self._line("end", self._ms(at_ms), "text", b"", error=error)


def _bytes(data: bytes | dict[str, Any] | list[Any]) -> bytes:
    return data if isinstance(data, bytes) else json.dumps(data, separators=(",", ":")).encode()


# ---------------------------------------------------------------- real captures


def folder() -> Path:
    """Return where the set of real captures is; it need not be there."""
    named = os.environ.get(VARIABLE)
    return (Path(named) if named else Path(__file__).resolve().parents[2].parent / "shared") / "market-data"


def missing() -> str | None:
    """Return why there is nothing real to test with, or None."""
    if (folder() / "index.json").is_file():
        return None
    return f"the real data set is not here ({folder()}); {VARIABLE} names the folder that has it"


@lru_cache(maxsize=1)
def _index() -> dict[str, Any]:
    return dict(json.loads((folder() / "index.json").read_bytes()))


def real_connections(*ids: str) -> list[dict[str, Any]]:
    return [one for one in _index()["ws"] if one["id"] in ids]


def real_frames(one: dict[str, Any]) -> Iterable[tuple[bool, float, bytes]]:
    """Give whether it was sent by the client, when, and the wire frame, byte for byte."""
    with (folder() / one["file"]).open("rb") as file:
        for line in file:
            head = json.loads(line)
            raw = line.rstrip(b"\n")[line.index(b'"data":') + 7 : -1]
            if "stream" in head:
                raw = b'{"stream":%b,"data":%b}' % (json.dumps(head["stream"]).encode(), raw)
            yield head.get("dir") == "send", head["recv_ms"], raw


def real_tape(root: Path, *ids: str) -> Path:
    """Write connections of the set and the REST answers of the same sessions into a cassette."""
    chosen = real_connections(*ids)
    tape = Tape(root, 0)
    for one in chosen:
        query = one["url"].partition("?")[2]
        connection = tape.connection(one["connect_ms"], one["venue"], one["path"] or "/", query)
        for sent, at_ms, raw in real_frames(one):
            (connection.send if sent else connection.recv)(at_ms, raw)
    sessions = {(one["venue"], one["session"]) for one in chosen}
    answers = [one for one in _index()["rest"] if (one["venue"], one.get("session")) in sessions]
    for one in sorted(answers, key=lambda one: float(one["recorded_ms"])):
        query = "&".join(f"{name}={value}" for name, value in one["query"].items())
        headers = {name: value for name, value in one["headers"].items() if value}
        headers.setdefault("content-type", "application/json")
        body = (folder() / one["file"]).read_bytes()
        tape.rest(one["recorded_ms"], one["venue"], one["path"], query, body, status=one["status"], headers=headers)
    return tape.close()
