"""What was written before anybody knew that it is a secret: the access token that a login answered, and that a later
request carried. Its lines are written anew when the recording is kept."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import payload
from pytest_marketreplay.cassette.entry import Entry
from pytest_marketreplay.cassette.frame import read_frame, write_frame
from pytest_marketreplay.cassette.redaction import Secrets
from pytest_marketreplay.cassette.request import dump_json
from pytest_marketreplay.cassette.writer import FILE_MODE


def scrub_recording(paths: Iterable[Path], late: Iterable[str]) -> int:
    """Replace secrets in files that were recorded before the secrets were known; returns how many lines it changed.

    In payloads a placeholder has the secret's length, and `meta.redacted` says `echo`. Raises OSError; each file is the
    old one or the new one at every moment.
    """
    secrets = Secrets()
    if not secrets.add(late):
        return 0
    changed = 0
    for path in paths:
        data = path.read_bytes()
        if not secrets.scrub_payload(data)[1]:
            continue
        lines = data.split(b"\n")
        for number, line in enumerate(lines):
            if line and secrets.scrub_payload(line)[1]:
                lines[number] = _cleaned(line, secrets)
                changed += 1
        temporary = path.with_name(f".{path.name}.scrubbed")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
        with os.fdopen(fd, "wb") as out:
            out.write(b"\n".join(lines))
        temporary.replace(path)
    return changed


def _cleaned(line: bytes, secrets: Secrets) -> bytes:
    if entries.read_head(line).meta.dir is None:
        return _without(entries.read_entry(line), secrets)
    frame = read_frame(line)
    data, found = secrets.scrub_payload(frame.data())
    meta = msgspec.structs.replace(
        frame.meta,
        headers=_clean_headers(frame.meta.headers, secrets),
        redacted=list(dict.fromkeys([*(frame.meta.redacted or ()), *(["echo"] if found else ())])) or None,
        encoding="json",
        space=None,
    )
    params = secrets.scrub(dump_json(frame.params)).encode()
    endpoint = secrets.scrub(frame.endpoint)
    return write_frame(frame.timestamp, endpoint, params, meta, payload.encode(data)).rstrip(b"\n")


def _clean_headers(headers: dict[str, str | list[str]] | None, secrets: Secrets) -> dict[str, str | list[str]] | None:
    if headers is None:
        return None
    return entries.header_object([(name, secrets.scrub(value)) for name, value in entries.header_pairs(headers)])


def _without(entry: Entry, secrets: Secrets) -> bytes:
    body, in_body = secrets.scrub_payload(entry.body())
    redacted = [*(entry.meta.redacted or ()), *(["echo"] if in_body else ())]
    meta = msgspec.structs.replace(
        entry.meta,
        headers=_clean_headers(entry.meta.headers, secrets),
        redacted=list(dict.fromkeys(redacted)) or None,
        encoding="json",
        space=None,
    )
    params = secrets.scrub(dump_json(entry.params)).encode()
    endpoint = secrets.scrub(entry.endpoint)
    return entries.write_line(entry.timestamp, endpoint, params, meta, payload.encode(body)).rstrip(b"\n")
