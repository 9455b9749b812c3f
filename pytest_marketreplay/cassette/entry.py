"""One line of a cassette: the four keys `timestamp`, `endpoint`, `params`, `response`, and `meta` (format, "Entry").

Two views of the same line: `Head` is what an index needs (10 us a line with the response skipped), `Entry` is all of it.
"""

from __future__ import annotations

from decimal import Decimal
from http.client import responses as _phrases
from typing import Annotated, Any, cast

import msgspec
import orjson

from pytest_marketreplay.cassette import payload as payloads
from pytest_marketreplay.cassette.payload import Payload

Headers = list[tuple[str, str]]
JsonValue = Any
Milliseconds = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Meta(msgspec.Struct, omit_defaults=True, frozen=True):
    """What replay needs beside the four keys. Unknown keys of later versions are ignored."""

    # a factory's default is read like any other, and always written: a line says its method and status
    method: str = msgspec.field(default_factory=lambda: "GET")
    status: int = msgspec.field(default_factory=lambda: 200)
    reason: str | None = None
    """The reason phrase; absent where it is the standard one."""
    version: str | None = None
    """HTTP version where it is not 1.1."""
    latency_ms: float | None = None
    headers: dict[str, str | list[str]] | None = None
    """Response headers as they replay; a name that came several times has a list."""
    request_headers: dict[str, str] | None = None
    """Only what a venue allows by name."""
    body: str | None = None
    """Kind of the request's body where it had one: form, json, text, base64, unread."""
    encoding: str = "json"
    """How the response stands in the line: json, text, base64."""
    space: tuple[str, str] | None = None
    content_encoding: str | None = None
    """The Content-Encoding that was undone before storing."""
    error: str | None = None
    """A failure instead of an answer (`connect`, `read_timeout`, ...), or a body that broke off (`incomplete`)."""
    redacted: list[str] | None = None
    """What in the response was replaced: names of fields, `echo` for a secret of the request's."""


class HeadMeta(msgspec.Struct, frozen=True):
    """The part of `meta` that a match needs."""

    method: str = "GET"
    body: str | None = None
    dir: str | None = None
    """Present on WebSocket frames, which REST replay passes over."""


_NO_META = HeadMeta()


class Head(msgspec.Struct, frozen=True):
    """A line without its payload's content: everything that an index asks for."""

    timestamp: Milliseconds
    endpoint: str
    params: dict[str, JsonValue]
    response: msgspec.Raw
    meta: HeadMeta = _NO_META


class Entry(msgspec.Struct, frozen=True):
    """One line, whole."""

    timestamp: Milliseconds
    """Unix epoch in milliseconds, when the call was made."""
    endpoint: str
    params: dict[str, JsonValue]
    response: msgspec.Raw
    meta: Meta = Meta()

    def body(self) -> bytes:
        """Return the payload exactly as the exchange sent it (content encoding undone)."""
        return payloads.decode(bytes(self.response), self.meta.encoding, self.meta.space)


_HEAD = msgspec.json.Decoder(Head, float_hook=Decimal)
_ENTRY = msgspec.json.Decoder(Entry, float_hook=Decimal)
_META = msgspec.json.Encoder()


class NotAnEntry(ValueError):
    """A line that is not an entry; `byte` is the offset in the line where it shows."""

    def __init__(self, reason: str, byte: int = 0) -> None:
        self.reason, self.byte = reason, byte
        super().__init__(reason)


def _reject(line: bytes, error: Exception) -> NotAnEntry:
    """Say why a line is no entry, and at which byte."""
    nul = line.find(b"\0")
    if nul >= 0:
        return NotAnEntry("NUL bytes, as a crash of the file system leaves them", nul)
    try:
        line.decode()
    except UnicodeDecodeError as unicode_error:
        return NotAnEntry("not UTF-8", unicode_error.start)
    text = str(error)
    if isinstance(error, RecursionError):
        return NotAnEntry("nested too deeply to be read")
    if not line.strip():
        return NotAnEntry("an empty line")
    if line.startswith(b"\xef\xbb\xbf"):
        return NotAnEntry("a byte order mark, as some editors put it in front")
    if isinstance(error, ArithmeticError):
        return NotAnEntry("a number in params is out of range")
    if isinstance(error, msgspec.ValidationError):
        return NotAnEntry(f"not an entry: {text}")
    if "truncated" in text and line.endswith(b"}") and b"\\ud" in line.lower():  # how msgspec says it near the end
        return NotAnEntry("not JSON: half of a surrogate pair, or the line is cut off")
    if "truncated" in text:
        return NotAnEntry("the line is cut off", len(line))
    what, _, digits = text.removesuffix(")").rpartition(" (byte ")
    byte = int(digits) if digits.isdigit() else 0
    if what.endswith("trailing characters"):  # msgspec counts the first of them as read
        byte -= 1
    return NotAnEntry(f"not JSON: {what or text}", byte)


def read_head(line: bytes) -> Head:
    """Read what an index needs from a line (without its line feed).

    Raises NotAnEntry where the line is damaged. The whole line is checked, the response too.
    """
    try:
        head = _HEAD.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ArithmeticError) as error:
        raise _reject(line, error) from None
    if not payloads.is_utf8(line):  # msgspec skips a Raw without looking at its UTF-8
        raise _reject(line, ValueError())
    return head


def read_entry(line: bytes) -> Entry:
    """Read a line (without its line feed). Raises NotAnEntry where it is damaged."""
    read_head(line)
    try:
        entry = _ENTRY.decode(line)
        entry.body()
    except msgspec.ValidationError as error:
        raise NotAnEntry(f"not an entry: {error}") from None
    except ValueError as error:  # of the payload; the line itself was read before
        raise NotAnEntry(str(error)) from None
    return entry


def read_trusted(line: bytes) -> Entry:
    """Read a line that `read_head` accepted before; raises msgspec.DecodeError where its `meta` is not of the format."""
    return _ENTRY.decode(line)


def standard_reason(status: int) -> str:
    """Return the standard reason phrase of a status (RFC 9110), or the empty text."""
    return _phrases.get(status, "")


def header_pairs(headers: dict[str, str | list[str]] | None) -> Headers:
    """Return stored headers as pairs, in order."""
    if not headers:
        return []
    return [
        (name, value) for name, values in headers.items() for value in ([values] if isinstance(values, str) else values)
    ]


def header_object(pairs: Headers) -> dict[str, str | list[str]]:
    """Return pairs as they are stored: a repeated name has a list."""
    plain = dict(pairs)
    if len(plain) == len(pairs) and "".join(plain.values()).isascii():
        return cast("dict[str, str | list[str]]", plain)  # as nearly always
    out: dict[str, str | list[str]] = {}
    for name, value in pairs:
        if not value.isascii():  # a byte that is not UTF-8 came as a lone surrogate, which JSON cannot hold
            value = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        seen = out.get(name)
        if seen is None:
            out[name] = value
        elif isinstance(seen, list):
            seen.append(value)
        else:
            out[name] = [seen, value]
    return out


def write_line(timestamp_ms: int, endpoint: str, params: bytes, meta: Meta, payload: Payload) -> bytes:
    """Return a whole line, line feed included. `params` is a JSON object, spliced as it is."""
    if payload.encoding != "json" or payload.space is not None:
        meta = msgspec.structs.replace(meta, encoding=payload.encoding, space=payload.space)
    return splice(timestamp_ms, endpoint, params, _META.encode(meta), payload.fragment)


def splice(timestamp_ms: int, endpoint: str, params: bytes, meta: bytes, response: bytes) -> bytes:
    """Return a line, line feed included, of parts that are JSON already."""
    return b'{"timestamp":%d,"endpoint":%b,"params":%b,"meta":%b,"response":%b}\n' % (
        timestamp_ms,
        orjson.dumps(endpoint),
        params,
        meta,
        response,
    )
