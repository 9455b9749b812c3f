"""What is in a cassette: counted, for `cassette ls` and `cassette check`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from pytest_marketreplay.cassette import files, names, reader
from pytest_marketreplay.cassette.entry import Entry
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.frame import Frame
from pytest_marketreplay.cassette.reader import Damage
from pytest_marketreplay.cassette.request import stored_params
from pytest_marketreplay.errors import CassetteNotFound, UsageMistake
from pytest_marketreplay.replay.matching import show as in_one_line
from pytest_marketreplay.venues.registry import Registry


@dataclass
class Row:
    """One place of a cassette."""

    cassette: str
    venue: str
    endpoint: str
    symbol: str | None
    files: int = 0
    entries: int = 0
    size_bytes: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    failures: int = 0
    """Entries that are a failure, or an error in the venue's own shape."""
    damaged: int = 0

    def add(self, entry: Entry | Frame, problem: str | None) -> None:
        """Count one entry."""
        self.entries += 1
        self.first_ms = entry.timestamp if self.first_ms is None else min(self.first_ms, entry.timestamp)
        self.last_ms = entry.timestamp if self.last_ms is None else max(self.last_ms, entry.timestamp)
        self.failures += problem is not None

    def as_json(self) -> dict[str, Any]:
        """Return the row for machines."""
        return asdict(self)


@dataclass
class Checked:
    """What `cassette check` found."""

    files: int = 0
    entries: int = 0
    size_bytes: int = 0
    damage: list[Damage] = field(default_factory=list)
    leftovers: list[Path] = field(default_factory=list)
    """Recordings that a killed process left staged."""

    @property
    def is_good(self) -> bool:
        """Whether a replay can use every file."""
        return not self.damage

    def as_json(self) -> dict[str, Any]:
        """Return the findings for machines."""
        return {
            "files": self.files,
            "entries": self.entries,
            "size_bytes": self.size_bytes,
            "damage": [{**item._asdict(), "path": str(item.path)} for item in self.damage],
            "leftovers": [str(path) for path in self.leftovers],
        }


def cassettes(root: Path) -> list[Path]:
    """Return the cassettes at or below a folder, sorted; a file is its own.

    Raises CassetteNotFound where there is none, UsageMistake for a file that is none of a cassette: `repair` would empty it.
    """
    if root.is_file() and names.file_order(root.name) is None:
        raise UsageMistake(f"{root} is no file of a cassette: their names end in .jsonl, .jsonl.zst or .jsonl.gz")
    found = [root] if root.is_file() or files.exists(root) else []
    if root.is_dir():
        found += sorted({file.parents[3] for file in root.rglob("*.jsonl*") if _is_recorded(root, file)} - {root})
    if not found:
        raise CassetteNotFound(root)
    return found


def _is_recorded(root: Path, file: Path) -> bool:
    inside = file.relative_to(root)
    return len(inside.parts) >= 4 and names.file_order(file.name) is not None and not _hidden(inside)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def problem_of(registry: Registry, venue: str, entry: Entry | Frame) -> str | None:
    """Tell what went wrong in a recorded answer: a failure, or an error in the venue's own shape.

    Of a connection: a handshake that failed or was refused, and one that was lost without a close frame.
    """
    if isinstance(entry, Frame):
        meta = entry.meta
        if meta.dir == "open" and meta.error is None and meta.status not in (None, 101):
            return f"HTTP {meta.status}"
        return None if meta.error == "limit" else meta.error
    if entry.meta.error:
        return entry.meta.error
    try:
        answer = orjson.loads(entry.body())
    except ValueError:
        answer = None
    return registry.by_folder(venue).problem(entry.meta.status, answer)


def payload_of(entry: Entry | Frame) -> bytes:
    """Return a payload exactly as it replays."""
    return entry.body() if isinstance(entry, Entry) else entry.data()


_ARROWS = {"open": "opened", "recv": "<-", "send": "->", "end": "lost", "gap": "gap"}


def line_of(registry: Registry, place: Place, entry: Entry | Frame) -> str:
    """Return an entry or a frame in one line for people."""
    problem = problem_of(registry, place.venue, entry)
    size = len(payload_of(entry))
    latency = f", {entry.meta.latency_ms:.1f} ms" if entry.meta.latency_ms is not None else ""
    said = f"{latency}, {problem}" if problem else latency
    if isinstance(entry, Entry):
        line = in_one_line(entry.meta.method, entry.endpoint, stored_params(entry.params, entry.meta.body))
        return f"{line} -> {entry.meta.status}, {size} bytes{said}"
    meta = entry.meta
    line = in_one_line("WebSocket", entry.endpoint, tuple(entry.params.items()))
    if meta.dir in ("open", "end", "gap"):
        status = f" {meta.status}" if meta.status is not None else ""
        return f"{line} {_ARROWS[meta.dir]}{status}{said}"
    code = f" {meta.code}" if meta.code is not None else ""
    return f"{line} {_ARROWS[meta.dir]} {meta.opcode}{code}, {size} bytes"


def survey(root: Path, advance: Callable[[int], None]) -> Iterator[Row]:
    """Count what each place of each cassette has; damaged lines are counted and passed over."""
    registry = Registry()
    for cassette in cassettes(root):
        where = [Place("", "", "")] if cassette.is_file() else list(files.places(cassette))
        for place in where:
            endpoint, websocket = names.endpoint_of(place.endpoint)
            row = Row(
                str(cassette), place.venue, f"ws {endpoint}" if websocket else endpoint, names.symbol_of(place.symbol)
            )
            for file in [cassette] if cassette.is_file() else files.files_in(place.within(cassette)):
                row.files += 1
                row.size_bytes += file.stat().st_size
                for item in reader.check(file):
                    if isinstance(item, Damage):
                        row.damaged += 1
                    else:
                        row.add(item, problem_of(registry, place.venue, item))
                advance(1)
            yield row


def check(root: Path, advance: Callable[[int], None], into: Checked) -> None:
    """Read every line of every file at or below a path, and note what is wrong."""
    for cassette in cassettes(root):
        if cassette.is_dir():
            into.leftovers += sorted(cassette.glob(".recording-*"))
        for file in files.all_files(cassette):
            size = file.stat().st_size
            into.files += 1
            into.size_bytes += size
            for item in reader.check(file):
                if isinstance(item, Damage):
                    into.damage.append(item)
                else:
                    into.entries += 1
            advance(size)


def when(timestamp_ms: int | None) -> str:
    """Return a moment in UTC for people."""
    if timestamp_ms is None:
        return "-"
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
