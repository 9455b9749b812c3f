"""Payloads: any bytes in, the same bytes out, as a JSON value on one line (format, "The response").

A body that is JSON (RFC 8259, UTF-8, no BOM) and has no line break inside is written verbatim: `0.10000000` stays, so do
key order, inner spacing, duplicate keys and 30-digit numbers. Anything else becomes a JSON string: the text itself
(`text`), or base64 where it is not UTF-8 (`base64`). White space around a JSON body is kept aside.
"""

from __future__ import annotations

import base64
import binascii
from typing import Literal, NamedTuple

import msgspec
import orjson

Encoding = Literal["json", "text", "base64"]

_RAW = msgspec.json.Decoder(msgspec.Raw)
_SPACE = b" \t\r\n"


class Payload(NamedTuple):
    """A body as it stands in a line."""

    fragment: bytes
    """JSON, to be spliced after `"response":`."""
    encoding: Encoding = "json"
    space: tuple[str, str] | None = None
    """White space before and after a JSON body."""


def is_utf8(data: bytes) -> bool:
    """Tell whether these bytes are UTF-8 (ASCII, the usual case, costs a twentieth)."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_json(data: bytes) -> bool:
    """Tell whether these bytes, without white space around them, are one JSON value that a line can hold verbatim."""
    try:
        # msgspec checks the grammar without building objects (2.7 us for 6.4 KB, orjson 13), but not the UTF-8
        # inside strings; deep nesting is a RecursionError, which is no ValueError.
        _RAW.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return False
    return b"\n" not in data and b"\r" not in data and is_utf8(data)


def encode(body: bytes) -> Payload:
    """Return the line's form of a body; `decode` gives the same bytes again, for every input."""
    core = body.strip(_SPACE)
    if core and is_json(core):
        if len(core) == len(body):
            return Payload(core)
        lead = len(body) - len(body.lstrip(_SPACE))
        return Payload(core, "json", (body[:lead].decode(), body[lead + len(core) :].decode()))
    try:
        return Payload(orjson.dumps(body.decode()), "text")
    except UnicodeDecodeError:
        return Payload(b'"' + base64.b64encode(body) + b'"', "base64")


def decode(fragment: bytes, encoding: str = "json", space: tuple[str, str] | None = None) -> bytes:
    """Return the body that `encode` was given.

    Raises ValueError where the fragment is not what the encoding says, or the encoding is unknown.
    """
    if encoding == "json":
        return fragment if space is None else space[0].encode() + fragment + space[1].encode()
    if encoding not in ("text", "base64"):
        raise ValueError(f"unknown payload encoding {encoding!r}")
    text = msgspec.json.decode(fragment, type=str)
    if encoding == "text":
        return text.encode()
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"the response is not base64: {error}") from error
