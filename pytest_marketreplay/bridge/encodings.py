"""Content encodings of recorded bodies: undone where the body is still encoded, known where another tool undid them.

vcrpy keeps a body as its client library gave it: compressed from `requests` and `httpx`, plain from `aiohttp` (with a
`Content-Encoding` that is no longer true), and plain without that header by `decode_compressed_response`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

from pytest_marketreplay.cassette.entry import Headers
from pytest_marketreplay.cassette.payload import is_json

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


class _Cannot(Exception):
    """A body that stays encoded: cut off, or nothing is installed that undoes it."""


class Plain(NamedTuple):
    """A body without its content encoding, and headers that are true of it."""

    headers: Headers
    body: bytes
    undone: str | None = None
    """The Content-Encoding that is undone."""
    left: str | None = None
    """The Content-Encoding in which the body still is: a client that knows it undoes it."""


def undo(headers: Headers, body: bytes, *, bodiless: bool) -> Plain:
    """Undo the content encoding of a body and make the headers say so.

    `bodiless` says that there is never a body (HEAD, 204, 304): the headers speak of another answer and stay.
    """
    if bodiless:
        return Plain(headers, body)
    said = ", ".join(value for name, value in headers if name.lower() == "content-encoding")
    tokens = [token for part in said.split(",") if (token := part.strip().lower()) not in ("", "identity")]
    decoded = body
    if tokens and body and not _is_plain(headers, body):
        try:
            for token in reversed(tokens):
                decoded = _undo(token, decoded)
        except _Cannot:
            return Plain(headers, body, left=said)
    kept = [
        (name, str(len(decoded)) if name.lower() == "content-length" else value)
        for name, value in headers
        if not (tokens and body and name.lower() == "content-encoding")
    ]
    return Plain(kept, decoded, undone=said if tokens and body else None)


def _is_plain(headers: Headers, body: bytes) -> bool:
    """Tell whether a body that is said to be encoded is not: it is JSON, or has not the length that was on the wire."""
    lengths = [value for name, value in headers if name.lower() == "content-length" and value.isdigit()]
    return (bool(lengths) and int(lengths[0]) != len(body)) or is_json(body.strip(b" \t\r\n"))


def _undo(token: str, body: bytes) -> bytes:
    """Return a body without one encoding, or as it is where it never had it. Raises _Cannot."""
    undoing = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate, "br": _brotli, "zstd": _zstd}.get(token)
    if undoing is None:
        raise _Cannot(token)
    return undoing(body)


def _gzip(body: bytes) -> bytes:
    out = b""
    while body.startswith(
        _GZIP
    ):  # a body can have several members; what follows the last is passed over, as clients do
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            out += member.decompress(body)
        except zlib.error as error:
            raise _Cannot(str(error)) from error
        if not member.eof:
            raise _Cannot("cut off")
        body = member.unused_data
    return out or body


def _deflate(body: bytes) -> bytes:
    for window in (zlib.MAX_WBITS, -zlib.MAX_WBITS):  # RFC 9110 says zlib, some servers send it raw
        stream = zlib.decompressobj(window)
        try:
            out = stream.decompress(body)
        except zlib.error:
            continue
        if stream.eof and not stream.unused_data:
            return out
        if out and not stream.eof and window > 0:
            raise _Cannot("cut off")
    return body


def _brotli(body: bytes) -> bytes:
    undo = _brotli_library()
    if undo is None:
        if _is_text(body):
            return body
        raise _Cannot("neither brotli nor brotlicffi is installed")
    try:
        return undo(body)
    except Exception as error:  # each library has an error of its own, both by this name
        if type(error).__name__ != "error":
            raise
        return body


def _brotli_library() -> Callable[[bytes], bytes] | None:
    from importlib import import_module

    for name in ("brotli", "brotlicffi"):
        try:
            module: Any = import_module(name)
        except ImportError:
            continue
        undo: Callable[[bytes], bytes] = module.decompress
        return undo
    return None


def _zstd(body: bytes) -> bytes:
    if not body.startswith(_ZSTD):
        return body
    new, error = _zstd_library()
    out = b""
    while body.startswith(_ZSTD):
        frame = new()
        try:
            out += frame.decompress(body)
        except error as damaged:
            raise _Cannot(str(damaged)) from damaged
        if not frame.eof:
            raise _Cannot("cut off")
        body = frame.unused_data
    return out


def _zstd_library() -> tuple[Callable[[], Any], type[Exception]]:
    """Return what makes a decompressor of one frame, and what it raises."""
    try:
        from compression import zstd  # pragma: no cover - Python 3.14
    except ImportError:
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj, zstandard.ZstdError
    return zstd.ZstdDecompressor, zstd.ZstdError  # pragma: no cover - Python 3.14


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
