"""The lines of the log that the Parquet sinks keep: how a snapshot becomes one, and how many are read again."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import msgspec

from pytest_marketreplay.market.structs import Level
from pytest_marketreplay.sinks.items import Snapshot

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_NUMBERS = b"0123456789.E+-NasInfity"
"""What the text of a decimal is made of, NaN and Infinity too."""
_MARKS = b'[]"'


class Row(msgspec.Struct, frozen=True):
    """A snapshot in the log: the first `bids` of the levels are bids, the others asks."""

    exchange: str
    pair: str
    timestamp_ms: int
    levels: tuple[Level, ...]
    bids: int
    capture_latency_ms: float
    sequence_number: int
    update_id: int | None


class Read(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A line as it is read again: its levels are left as they stand there."""

    exchange: str
    pair: str
    timestamp_ms: Int64
    levels: msgspec.Raw
    bids: Annotated[int, msgspec.Meta(ge=0)]
    capture_latency_ms: float | None
    sequence_number: Int64
    update_id: Int64 | None


class Books(NamedTuple):
    """The snapshots of a log, and the levels of all of them after each other."""

    rows: list[Read]
    sizes: list[int]
    """How many levels each has."""
    numbers: bytes
    """`price,quantity,price,quantity`, as written, without a comma at the end."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Read).decode_lines


def line(book: Snapshot) -> bytes:
    """Return the line of a snapshot, line feed included."""
    row = Row(
        book.exchange,
        book.pair,
        book.timestamp_ms,
        book.bids + book.asks,
        len(book.bids),
        book.capture_latency_ms,
        book.sequence_number,
        book.update_id,
    )
    return _encode(row) + b"\n"


def read(data: bytes) -> Books:
    """Read whole lines. Raises ValueError where one is damaged.

    Each level is looked at as text only: that of all levels is checked at once, and makes columns without an object for
    each number.
    """
    try:
        rows = _decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(f"a line of the log is damaged: {error}") from None
    levels = [bytes(row.levels)[1:-1] for row in rows]
    sizes = [text.count(b"[") for text in levels]
    whole = b",".join(filter(None, levels))
    # each is a list of JSON by now: what is left without the numbers must be pairs of texts and nothing else
    if whole.translate(None, _NUMBERS) != (b'["",""],' * sum(sizes))[:-1]:
        raise ValueError("a line of the log is damaged: its levels are not pairs of numbers as text")
    if any(row.bids > size for row, size in zip(rows, sizes, strict=True)):
        raise ValueError("a line of the log is damaged: it has fewer levels than bids")
    return Books(rows, sizes, whole.translate(None, _MARKS))
