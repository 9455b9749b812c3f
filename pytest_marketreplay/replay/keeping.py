"""What is kept of a request and its answer: the line that is written, without their secrets.

A live answer (`session`) and one that another tool recorded (`bridge`) become a line in the same way.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import NamedTuple

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import redaction
from pytest_marketreplay.cassette import request as requests_
from pytest_marketreplay.cassette.entry import Headers, Meta
from pytest_marketreplay.cassette.payload import Payload
from pytest_marketreplay.cassette.redaction import SECRETS
from pytest_marketreplay.cassette.request import Asked
from pytest_marketreplay.venues.profile import Venue

Pairs = Iterable[tuple[str | bytes, str | bytes]]


def request_secrets(venue: Venue, asked: Asked, headers: Pairs) -> tuple[list[str], dict[str, str] | None]:
    """Return the secrets that a request carries, and those of its headers that may be stored (None: none may)."""
    found, stored = header_secrets(venue, headers)
    return found + url_secrets(venue, asked), stored


def url_secrets(venue: Venue, asked: Asked) -> list[str]:
    """Return the secrets in a request's URL and body."""
    found = [asked.userinfo, *asked.userinfo.split(":", 1)] if asked.userinfo else []
    found += asked.path_secrets
    venue.rules.redact_params(asked.params, found)
    return found


def header_matters(venue: Venue, name: str | bytes) -> bool:
    """Tell whether a request header carries a secret, or may be stored."""
    text = _text(name)
    return venue.rules.is_secret_header(text) or text.lower() in venue.stored_headers


def header_secrets(venue: Venue, headers: Pairs) -> tuple[list[str], dict[str, str] | None]:
    """Return the secrets in request headers, and those headers that may be stored (None: none may)."""
    found: list[str] = []
    stored: dict[str, str] | None = None
    for name, value in headers:
        if venue.rules.is_secret_header(_text(name)):
            found += _header_secrets(_text(name), _text(value))
        elif venue.stored_headers and _text(name).lower() in venue.stored_headers:
            stored = stored or {}
            stored[_text(name)] = _text(value)
    return found, stored


def clean_path(asked: Asked) -> Asked:
    """Return a request without a secret in its path (`/ws/<listen key>`): the path names a folder."""
    if not len(SECRETS):
        return asked
    path = SECRETS.scrub(asked.path)
    return asked if path == asked.path else asked._replace(path=path)


class Redacted(NamedTuple):
    """An answer without its secrets."""

    reason: str | None
    headers: Headers
    body: bytes
    replaced: list[str]
    """What in the body was replaced, as `meta.redacted` tells it: names of fields, `echo` for a secret of a request."""


def redact_answer(venue: Venue, endpoint: str, reason: str | None, headers: Headers, body: bytes) -> Redacted:
    """Replace what is secret in an answer: fields that the venue names, and any echo of a secret in `SECRETS`.

    `endpoint` is that of the request's `Location`.
    """
    replaced: list[str] = []
    for field in venue.secret_fields.get(endpoint, ()):
        body, found = redaction.redact_field(body, field)
        if found:
            SECRETS.add(found)
            replaced.append(field)
    cookies: list[str] = []
    kept = [
        (name, redaction.redact_response_header(name, value, venue.rules, cookies))
        if redaction.header_matters(name, venue.rules)
        else (name, value)
        for name, value in headers
    ]
    SECRETS.add(cookies)
    if len(SECRETS):
        body, echoed = SECRETS.scrub_payload(body)
        if echoed:
            replaced.append("echo")
        # one look at all of it first: with 1,024 known signatures each look costs 2 ms
        together = "\0".join([reason or "", *(value for _, value in kept)])
        if SECRETS.scrub(together) != together:
            kept = [(name, SECRETS.scrub(value)) for name, value in kept]
            reason = SECRETS.scrub(reason) if reason else reason
    return Redacted(reason, kept, body, replaced)


def line(
    venue: Venue, asked: Asked, timestamp_ms: int, meta: Meta, response: Payload, *, innocent: bool = False
) -> bytes:
    """Return the line of a request and its answer, line feed included; secrets of the request are replaced.

    `asked` has gone through `clean_path`; `meta` and `response` are written as they are: `redact_answer` has seen them.
    `innocent` says that no parameter of the request is a secret.
    """
    params = asked.params if innocent else venue.rules.redact_params(asked.params)
    fragment = requests_.params_fragment(params)
    if len(SECRETS):  # a key in an innocent parameter
        fragment = SECRETS.scrub(fragment.decode()).encode()
    return entries.write_line(timestamp_ms, asked.path, fragment, meta, response)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _header_secrets(name: str, value: str) -> list[str]:
    """Return what is secret in a header: the value, its parts, and what basic authentication says."""
    out = [value]
    scheme, _, rest = value.partition(" ")
    if rest:
        out.append(rest.strip())
        if scheme.lower() == "basic":
            try:
                raw = base64.b64decode(rest.strip(), validate=True)
            except ValueError:
                raw = b""
            plain = raw.decode("latin-1")  # as `requests` writes it; what was UTF-8 is known by its spelling
            out += [plain, *plain.split(":", 1)]
    if name.lower() == "cookie":
        out += [part.partition("=")[2].strip().strip('"') for part in value.split(";")]
    return out
