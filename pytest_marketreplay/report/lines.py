"""Lines of a capture, read once: an answer, a gap, or what is wrong with the line. A WebSocket frame is an answer, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import files, payload
from pytest_marketreplay.cassette.entry import Milliseconds, NotAnEntry
from pytest_marketreplay.cassette.reader import Damage, read_or_tell
from pytest_marketreplay.errors import DamagedCassette


class GapMeta(msgspec.Struct, frozen=True):
    """A stretch of time that the collector says is missing."""

    kind: str
    from_ms: Milliseconds
    to_ms: Milliseconds
    count: Milliseconds = 0
    reason: str = ""


class LineMeta(msgspec.Struct, frozen=True):
    """What a report needs of `meta`, of an answer, a frame or a gap alike."""

    status: int = 200
    dir: str | None = None
    gap: GapMeta | None = None
    error: str | None = None
    latency_ms: float | None = None
    capture_latency_ms: float | None = None
    sequence_number: int | None = None
    encoding: str = "json"
    space: tuple[str, str] | None = None

    @property
    def latency(self) -> float | None:
        """How long the capture took, in milliseconds: what the collector measured, else the call's own latency."""
        return self.latency_ms if self.capture_latency_ms is None else self.capture_latency_ms


class CaptureLine(msgspec.Struct, frozen=True):
    """One good line."""

    timestamp: Milliseconds
    endpoint: str
    params: dict[str, Any]
    response: msgspec.Raw
    meta: LineMeta = LineMeta()

    def body(self) -> bytes:
        """Return the payload exactly as it was sent. Raises ValueError."""
        return payload.decode(bytes(self.response), self.meta.encoding, self.meta.space)


_LINE = msgspec.json.Decoder(CaptureLine)


def read_line(data: bytes) -> CaptureLine:
    """Read a line without its line feed. Raises NotAnEntry."""
    try:
        line = _LINE.decode(data)
        if not payload.is_utf8(data):
            raise ValueError("not UTF-8")
    except (ValueError, RecursionError, ArithmeticError) as error:  # msgspec's errors are ValueErrors
        entries.read_head(data)  # says better what is wrong, where the line is no entry at all
        raise NotAnEntry(f"not an entry: {error}") from None
    if line.meta.dir == "gap" and line.meta.gap is None:
        raise NotAnEntry("a gap that does not say which")
    return line


def read_file(path: Path) -> Iterator[CaptureLine | Damage]:
    """Read every line of a file, plain or sealed, one at a time."""
    return read_or_tell(path, read_line)


def read_gaps(path: Path) -> Iterator[tuple[GapMeta, str]]:
    """Read the gaps of a file only, each with the pair that its entry names (or nothing); other lines are not decoded."""
    try:
        stream = files.open_binary(path)
    except DamagedCassette:  # `read_file` counts it
        return
    with stream:
        for line in files.lines(stream):
            if b'"gap"' not in line.data:
                continue
            try:
                entry = read_line(line.data)
            except NotAnEntry:
                continue
            if entry.meta.dir == "gap" and entry.meta.gap is not None:
                yield entry.meta.gap, str(entry.params.get("pair", ""))
