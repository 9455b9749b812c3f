"""WebSocket captures of the developers' set, as cassettes: written straight from the files, with the REST answers beside."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import names, payload
from pytest_marketreplay.cassette.entry import Meta
from pytest_marketreplay.cassette.frame import FrameMeta, write_frame
from pytest_marketreplay.cassette.request import parse
from pytest_marketreplay.venues.registry import Registry

from . import recorded_data

Change = Callable[[int, dict[str, Any]], dict[str, Any] | None]
"""Called with the number and the line of each received frame; returns it, another in its place, or None to drop it."""


@dataclass(frozen=True)
class Stream:
    """One recorded connection, as `index.json` names it."""

    id: str
    venue: str
    session: str
    host: str
    path: str
    url: str
    file: Path
    book_check: dict[str, dict[str, Any]]


@lru_cache(maxsize=1)
def streams() -> tuple[Stream, ...]:
    """Return all connections; none where the set is missing."""
    if recorded_data.missing():
        return ()
    data = recorded_data.folder() / "market-data"
    return tuple(
        Stream(
            one["file"].removesuffix(".jsonl"),
            one["venue"],
            one["session"],
            one["host"],
            one["path"],
            one["url"],
            data / one["file"],
            one.get("book_check") or {},
        )
        for one in json.loads((data / "index.json").read_bytes())["ws"]
    )


def checked() -> tuple[Stream, ...]:
    """Return the connections whose books the index has a verdict on."""
    return tuple(stream for stream in streams() if stream.book_check)


def write(cassette: Path, stream: Stream, change: Change = lambda number, line: line) -> None:
    """Write a connection as a recording of it would be, and the REST answers of its session."""
    venue = Registry().of(stream.host)
    asked = parse("GET", stream.url)
    symbol = venue.locate_stream(asked).symbol
    folder = cassette / names.venue_folder(venue.name) / names.endpoint_folder(stream.path, websocket=True)
    folder = folder / names.symbol_folder(symbol)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.loads(line) for line in stream.file.read_bytes().splitlines()]
    start_ns = int(lines[0]["recv_ms"] * 1000) * 1000
    params = json.dumps(dict(asked.params), separators=(",", ":")).encode()
    first = FrameMeta("open", stream.session, 0, 0, status=101)
    out = [write_frame(start_ns // 1_000_000, stream.path, params, first, payload.encode(b""))]
    received = 0
    for number, line in enumerate(stream.file.read_bytes().splitlines(), 1):
        said = json.loads(line)
        sent = said.get("dir") == "send"
        if not sent:
            received += 1
            changed = change(received - 1, said)
            if changed is None:
                continue
            if changed is not said:
                line = json.dumps(changed, separators=(",", ":")).encode()
        time_ns = int(said["recv_ms"] * 1000) * 1000
        meta = FrameMeta("send" if sent else "recv", stream.session, number, max(0, time_ns - start_ns))
        out.append(write_frame(time_ns // 1_000_000, stream.path, b"{}", meta, payload.encode(wire(said, line))))
    (folder / f"{names.file_stem(start_ns)}-{stream.file.stem.rpartition('.')[2][2:]}.jsonl").write_bytes(b"".join(out))
    answers(cassette, stream)


def wire(said: dict[str, Any], line: bytes) -> bytes:
    """Return the bytes of a frame as the exchange sent them."""
    data = line[line.index(b'"data":') + 7 : -1]
    if "stream" not in said:
        return data
    return b'{"stream":%b,"data":%b}' % (json.dumps(said["stream"]).encode(), data)


def answers(cassette: Path, stream: Stream) -> None:
    """Write the order books of the connection's session."""
    data = recorded_data.folder() / "market-data"
    for one in json.loads((data / "index.json").read_bytes())["rest"]:
        if (one["venue"], one.get("session"), one["endpoint"]) == (stream.venue, stream.session, "depth"):
            answer(cassette, one, data)


def answer(cassette: Path, one: dict[str, Any], data: Path, timestamp_ms: int | None = None) -> None:
    """Write one REST answer of the set."""
    venue = Registry().venues[one["venue"]]
    query = "&".join(f"{name}={value}" for name, value in one["query"].items())
    asked = parse("GET", f"https://{one['host']}{one['path']}?{query}")
    location = venue.locate(asked)
    folder = cassette / names.venue_folder(venue.name) / names.endpoint_folder(location.endpoint)
    folder = folder / names.symbol_folder(location.symbol)
    folder.mkdir(parents=True, exist_ok=True)
    moment = int(one["recorded_ms"] or 0) if timestamp_ms is None else timestamp_ms
    params = json.dumps(one["query"]).encode()
    body = payload.encode((data / one["file"]).read_bytes())
    line = entries.write_line(moment, one["path"], params, Meta(status=one["status"]), body)
    name = f"{names.file_stem(moment * 1_000_000)}.jsonl"
    with (folder / name).open("ab") as file:
        file.write(line)
