"""One request and its answer as vcrpy keeps them, in every shape that its versions have had."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from pytest_marketreplay.bridge import encodings
from pytest_marketreplay.bridge.sources import Unusable
from pytest_marketreplay.cassette.entry import Headers

TIMESTAMP = "marketreplay_timestamp"
"""Key of a response in memory (never in a file of vcrpy's): epoch milliseconds, so that a tree that is saved again
keeps its times."""

_LONGEST = 4 << 20
"""Bytes of a request body that is written in YAML as a structure; aliases can make it endless."""
_VERSIONS = {"HTTP/1.0": "1.0", "HTTP/2": "2", "HTTP/2.0": "2", "HTTP/3": "3"}


class Interaction(NamedTuple):
    """A request and its answer, content encoding undone."""

    method: str
    url: str
    request_headers: Headers
    request_body: bytes | None
    request_given: dict[str, Any] | list[Any] | None
    """The body as aiohttp's caller gave it, where that was a structure: vcrpy compares this one."""
    status: int
    reason: str | None
    headers: Headers
    body: bytes
    version: str
    content_encoding: str | None
    left_encoded: str | None
    """The Content-Encoding in which the body still is."""
    moment_ms: int | None
    """When it was recorded, by what it says itself: epoch milliseconds."""


def interaction_of(raw: Any) -> Interaction:
    """Read one item of a cassette's list. Raises Unusable."""
    if not isinstance(raw, dict) or not isinstance(raw.get("request"), dict):
        raise Unusable("there is no request in it")
    if not isinstance(raw.get("response"), dict):
        raise Unusable("there is no response in it")
    request, response = raw["request"], raw["response"]
    method, url = request.get("method"), request.get("uri", request.get("url"))
    if not isinstance(method, str) or not method or not method.isascii() or not method.isprintable():
        raise Unusable("its request has no method")
    url = _url(url)
    request_headers = _headers(request.get("headers"))
    status, reason = _status(response)
    headers = _headers(response.get("headers"))
    bodiless = method.upper() == "HEAD" or status in (204, 304)
    plain = encodings.undo(headers, _answer_body(response), bodiless=bodiless)
    return Interaction(
        method=method.upper(),
        url=url,
        request_headers=request_headers,
        request_body=body_bytes(request.get("body"), request_headers),
        request_given=request.get("body") if isinstance(request.get("body"), dict | list) else None,
        status=status,
        reason=reason,
        headers=plain.headers,
        body=plain.body,
        version=_VERSIONS.get(str(response.get("http_version")), "1.1"),
        content_encoding=plain.undone,
        left_encoded=plain.left,
        moment_ms=_moment(raw, response, headers),
    )


def _url(url: Any) -> str:
    if not isinstance(url, str):
        raise Unusable("its request has no uri")
    try:
        parts = urlsplit(url)
        port = parts.port  # reading it checks it
        url.encode()
    except ValueError as error:
        raise Unusable("its uri cannot be read") from error  # the text of the error may hold a password
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise Unusable("its uri is not that of an HTTP request")
    return url


def _headers(headers: Any) -> Headers:
    if headers is None:
        return []
    pairs = headers.items() if hasattr(headers, "items") else headers
    out: Headers = []
    try:
        for name, values in pairs:
            for value in values if isinstance(values, list | tuple) else [values]:
                out.append((_text(name), _text(value)))
    except (TypeError, ValueError) as error:
        raise Unusable("its headers cannot be read") from error
    return out


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, str | int | float | datetime):  # YAML reads an unquoted 1.10 or date as such
        return str(value).encode("utf-8", "replace").decode()
    raise TypeError(value)


def _status(response: dict[str, Any]) -> tuple[int, str | None]:
    status = response.get("status", response.get("status_code"))
    reason = None
    if isinstance(status, dict):
        reason = status.get("message")
        status = status.get("code")
    try:
        code = int(status)  # type: ignore[arg-type]  # None is a TypeError, which is what is wanted
    except (TypeError, ValueError):
        code = 0
    if not 100 <= code <= 999:
        raise Unusable("its response has no status")
    return code, None if reason is None else str(reason).encode("utf-8", "replace").decode()


def _answer_body(response: dict[str, Any]) -> bytes:
    body = response.get("body")
    if body is None:
        body = response.get("content")  # vcrpy 4 and 5.0 with httpx
    if isinstance(body, dict):
        if "base64_string" in body or "string" in body:
            return _stored_text(body)
        if body:
            raise Unusable("its response's body cannot be read")
        body = None
    if body is None:
        return b""
    return _stored_text({"string": body})


def _stored_text(body: dict[str, Any]) -> bytes:
    coded = body.get("base64_string")
    if coded is not None:
        try:
            return base64.b64decode(coded, validate=False)
        except (binascii.Error, TypeError, ValueError) as error:
            raise Unusable("a body is not base64") from error
    text = body.get("string")
    if text is None:
        return b""
    if isinstance(text, bytes | bytearray):
        return bytes(text)
    if not isinstance(text, str):
        raise Unusable(f"a body is neither text nor bytes but {type(text).__name__}")
    try:
        return text.encode(str(body.get("encoding") or "utf-8"))
    except (UnicodeEncodeError, LookupError):
        pass
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise Unusable("a body cannot be written as UTF-8") from error


def body_bytes(body: Any, headers: Headers) -> bytes | None:
    """Return a request's body as it was sent; vcrpy with aiohttp keeps what the caller gave. Raises Unusable."""
    if body is None:
        return None
    if isinstance(body, str):
        return _stored_text({"string": body})
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    if hasattr(body, "read"):
        return body_bytes(body.read(), headers)
    if isinstance(body, dict):
        if body.keys() & {"base64_string", "encoding"} and body.keys() <= {"base64_string", "encoding", "string"}:
            return _stored_text(body)
        # `data={...}` and `json={...}` look alike here; where all values are text they match alike too
        if not _says_json(headers) and all(isinstance(value, str) for value in body.values()):
            return urlencode(body).encode()
        return _json(body)
    if hasattr(body, "__iter__"):
        items = list(body)
        if items and all(isinstance(item, bytes) for item in items):  # a stream that was sent in parts
            return b"".join(items)
        if items and all(isinstance(item, tuple) and len(item) == 2 for item in items):
            return urlencode(items).encode()
        return _json(items)
    if isinstance(body, bool | int | float):
        return _json(body)
    raise Unusable(f"its request's body is a {type(body).__name__}")


def _says_json(headers: Headers) -> bool:
    return any(name.lower() == "content-type" and "json" in value.lower() for name, value in headers)


def _json(value: Any) -> bytes:
    parts, length = [], 0
    try:
        for part in json.JSONEncoder(separators=(",", ":")).iterencode(value):
            parts.append(part)
            length += len(part)
            if length > _LONGEST:
                raise Unusable("its request's body is larger than 4 MiB")
    except (TypeError, RecursionError) as error:
        raise Unusable("its request's body is not JSON") from error
    except ValueError as error:  # a value that contains itself
        raise error if isinstance(error, Unusable) else Unusable("its request's body is not JSON") from error
    return "".join(parts).encode()


def _moment(raw: dict[str, Any], response: dict[str, Any], headers: Headers) -> int | None:
    kept = response.get(TIMESTAMP)
    if isinstance(kept, int):
        return kept
    said = raw.get("recorded_at")
    moment: datetime | None = None
    try:
        if isinstance(said, datetime):
            moment = said
        elif isinstance(said, str):
            moment = datetime.fromisoformat(said)
    except ValueError:
        moment = None
    if moment is None:
        for name, value in headers:
            if name.lower() == "date":
                try:
                    moment = parsedate_to_datetime(value)
                except ValueError:
                    continue
                break
    if moment is None:
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
