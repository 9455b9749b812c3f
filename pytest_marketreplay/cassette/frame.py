"""One line of a WebSocket connection (format, "WebSocket frames"): the same four keys as every entry, and a `meta` that
holds direction, connection, opcode, sequence in the connection and offset in nanoseconds.

A connection is an `open` line (the handshake, or why there was none), then its messages both ways in the order they came
and went, pings, pongs and close frames included, and an `end` line where it ended without a close frame.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import payload as payloads
from pytest_marketreplay.cassette.entry import JsonValue, Milliseconds, NotAnEntry
from pytest_marketreplay.cassette.payload import Payload

Direction = Literal["open", "recv", "send", "end", "gap"]
Opcode = Literal["text", "binary", "ping", "pong", "close"]
OPCODES: tuple[Opcode, ...] = get_args(Opcode)
DATA = frozenset(("text", "binary"))
"""The opcodes that carry a message; the others belong to the connection."""

_MS = 1_000_000


class FrameMeta(msgspec.Struct, omit_defaults=True, frozen=True):
    """What a frame is. Unknown keys of later versions are ignored."""

    dir: Direction
    """`open`: the handshake; `recv`: from the exchange; `send`: from the client; `end`: the connection was lost;
    `gap`: no frame, the collector says that something is missing here (format, "Gap entries")."""
    # a factory's default is read like any other, and always written
    conn: str = msgspec.field(default_factory=str)
    """Which connection; unique in its folder. A hand-written file may leave it out."""
    seq: int | None = None
    """Counts the lines of a connection from 0, which is its `open` line."""
    offset_ns: int | None = None
    """Nanoseconds since the connection's handshake, by a monotonic clock; the `timestamp` is made from it."""
    opcode: Opcode = "text"
    code: int | None = None
    """The close code of a close frame (RFC 6455, 7.4); absent where the frame was empty."""
    status: int | None = None
    """Of an `open` line: 101, another status for an upgrade that was refused, 0 where nothing answered."""
    reason: str | None = None
    latency_ms: float | None = None
    """Of an `open` line: how long the handshake took."""
    headers: dict[str, str | list[str]] | None = None
    """Of an `open` line: the headers of the answer, as they replay."""
    subprotocol: str | None = None
    scheme: str | None = None
    """Of an `open` line, where it was not `wss`."""
    error: str | None = None
    """Of an `open` line, what failed (`connect`, `dns`, ...); of an `end` line, how it ended: `disconnected`, `reset`, or
    `limit` where the recording stopped and the connection did not."""
    encoding: str = "json"
    space: tuple[str, str] | None = None
    redacted: list[str] | None = None


class Frame(msgspec.Struct, frozen=True):
    """One line of a connection, whole."""

    timestamp: Milliseconds
    """Unix epoch in milliseconds, when the frame arrived or was sent."""
    endpoint: str
    """The path of the connection's URL."""
    params: dict[str, JsonValue]
    """The query of the connection's URL on its `open` line; empty on the others."""
    response: msgspec.Raw
    meta: FrameMeta

    @property
    def time_ns(self) -> int:
        """Unix epoch in nanoseconds; the digits below a millisecond are those of the offset."""
        return self.timestamp * _MS + (self.meta.offset_ns or 0) % _MS

    def data(self) -> bytes:
        """Return the payload exactly as it was sent (a close frame: its reason). Raises ValueError."""
        return payloads.decode(bytes(self.response), self.meta.encoding, self.meta.space)


class FrameHead(msgspec.Struct, frozen=True):
    """A line without its payload's content: what an index of connections asks for."""

    timestamp: Milliseconds
    meta: FrameMeta


_FRAME = msgspec.json.Decoder(Frame)
_FRAME_HEAD = msgspec.json.Decoder(FrameHead)
_META = msgspec.json.Encoder()


def read_frame(line: bytes) -> Frame:
    """Read a line (without its line feed). Raises NotAnEntry where it is damaged or no frame."""
    entries.read_head(line)
    try:
        frame = _FRAME.decode(line)
        frame.data()
    except ValueError as error:  # msgspec's errors are ValueErrors too
        raise NotAnEntry(f"not a frame: {error}") from None
    return frame


def read_trusted_frame(line: bytes) -> Frame:
    """Read a line that was read before; raises msgspec.DecodeError where it is no frame."""
    return _FRAME.decode(line)


def read_frame_head(line: bytes) -> FrameHead:
    """Read what an index needs; raises msgspec.DecodeError where the line is no frame, RecursionError."""
    return _FRAME_HEAD.decode(line)


def write_frame(timestamp_ms: int, endpoint: str, params: bytes, meta: FrameMeta, payload: Payload) -> bytes:
    """Return a whole line, line feed included. `params` is a JSON object, spliced as it is."""
    if payload.encoding != "json" or payload.space is not None:
        meta = msgspec.structs.replace(meta, encoding=payload.encoding, space=payload.space)
    encoded = _META.encode(meta)
    if meta.opcode == "text" and meta.dir in ("recv", "send"):  # a default, but a line says its opcode
        encoded = encoded[:-1] + b',"opcode":"text"}'
    return entries.splice(timestamp_ms, endpoint, params, encoded, payload.fragment)


def close_payload(code: int | None, reason: bytes = b"") -> bytes:
    """Return the payload of a close frame as it goes over the wire (RFC 6455, 5.5.1)."""
    return b"" if code is None else code.to_bytes(2, "big") + reason


def close_parts(data: bytes) -> tuple[int | None, bytes]:
    """Take the payload of a close frame apart: code and reason; an empty one has no code."""
    return (int.from_bytes(data[:2], "big"), data[2:]) if len(data) >= 2 else (None, b"")


def any_json(data: bytes) -> Any:
    """Return the JSON value of a frame's payload, or None where it is not JSON."""
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return None
