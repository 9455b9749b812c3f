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


def request_secrets(
    venue: Venue, asked: Asked, headers: Iterable[tuple[str | bytes, str | bytes]]
) -> tuple[list[str], dict[str, str] | None]:
    """Return the secrets that a request carries, and those of its headers that may be stored (None: none may)."""
    found: list[str] = []
    stored: dict[str, str] | None = None
    for name, value in headers:
        if venue.rules.is_secret_header(_text(name)):
            found += _header_secrets(_text(name), _text(value))
        elif venue.stored_headers and _text(name).lower() in venue.stored_headers:
            stored = stored or {}
            stored[_text(name)] = _text(value)
    if asked.userinfo:
        found.append(asked.userinfo)
        found += asked.userinfo.split(":", 1)
    venue.rules.redact_params(asked.params, found)
    return found, stored


class Redacted(NamedTuple):
    """An answer without its secrets."""

    reason: str | None
    headers: Headers
    body: bytes
    replaced: list[str]
    """What in the body was replaced, as `meta.redacted` tells it: names of fields, `echo` for a secret of a request."""


def redact_answer(venue: Venue, asked: Asked, reason: str | None, headers: Headers, body: bytes) -> Redacted:
    """Replace what is secret in an answer: fields that the venue names, and any echo of a secret in `SECRETS`."""
    replaced: list[str] = []
    location = venue.locate(asked)
    for field in venue.secret_fields.get(location.endpoint, ()):
        body, found = redaction.redact_field(body, field)
        if found:
            SECRETS.add(found)
            replaced.append(field)
    cookies: list[str] = []
    kept = [(name, redaction.redact_response_header(name, value, venue.rules, cookies)) for name, value in headers]
    SECRETS.add(cookies)
    if len(SECRETS):
        body, echoed = SECRETS.scrub_payload(body)
        if echoed:
            replaced.append("echo")
        kept = [(name, SECRETS.scrub(value)) for name, value in kept]
        reason = SECRETS.scrub(reason) if reason else reason
    return Redacted(reason, kept, body, replaced)


def line(venue: Venue, asked: Asked, timestamp_ms: int, meta: Meta, response: Payload) -> bytes:
    """Return the line of a request and its answer, line feed included; secrets of the request are replaced.

    `meta` and `response` are written as they are: `redact_answer` has seen them.
    """
    fragment = requests_.params_fragment(venue.rules.redact_params(asked.params))
    path = asked.path
    if len(SECRETS):  # a listen key in a path, a key in an innocent parameter
        fragment = SECRETS.scrub(fragment.decode()).encode()
        path = SECRETS.scrub(path)
    return entries.write_line(timestamp_ms, path, fragment, meta, response)


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
                plain = base64.b64decode(rest.strip(), validate=True).decode()
            except ValueError:
                plain = ""
            out += [plain, *plain.split(":", 1)]
    if name.lower() == "cookie":
        out += [part.partition("=")[2].strip().strip('"') for part in value.split(";")]
    return out
