"""What a line keeps for vcrpy (`meta.vcr`), and how an entry becomes a request of vcrpy's again."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec

from pytest_marketreplay.bridge.writing import Told
from pytest_marketreplay.cassette import files, reader
from pytest_marketreplay.cassette import request as requests_
from pytest_marketreplay.cassette.entry import Entry, Meta
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.redaction import SECRETS
from pytest_marketreplay.cassette.request import WHOLE, Params, dump_json
from pytest_marketreplay.config import is_loopback
from pytest_marketreplay.errors import CassetteError, DamagedCassette
from pytest_marketreplay.venues.registry import Registry


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """A request as vcrpy matches it, without its secrets."""

    uri: str
    body: str | None = None
    base64: bool = False
    """The body is not UTF-8 and stands in base64."""
    given: str | None = None
    """The body as JSON, where aiohttp's caller gave a structure; as a text, so that its floats stay floats."""
    content_type: str | None = None
    """vcrpy compares bodies by their meaning only where it knows what they are."""


class VcrMeta(Meta, frozen=True, omit_defaults=True):
    """The format's `meta` with one key more; other readers pass over it (format, "Evolution")."""

    vcr: Said | None = None


class _VcrEntry(Entry, frozen=True):
    meta: VcrMeta = VcrMeta()


_CONTENT_TYPES = {"form": "application/x-www-form-urlencoded", "json": "application/json"}
_ENTRY = msgspec.json.Decoder(_VcrEntry, float_hook=Decimal)


class Loaded(NamedTuple):
    """An entry as vcrpy wants it."""

    timestamp_ms: int
    method: str
    uri: str
    body: Any
    headers: dict[str, str]
    meta: Meta
    answer: bytes


def of(told: Told) -> Said:
    """Return what to keep of a request. Text that holds no secret stays as it was sent, to the byte."""
    asked, rules = told.asked, told.venue.rules
    parts = urlsplit(told.interaction.url)
    in_query = len(requests_.query_pairs(parts.query))
    redacted = rules.redact_params(asked.params)
    query = parts.query
    if redacted[:in_query] != asked.params[:in_query]:
        query = urlencode(redacted[:in_query])
    host = parts.netloc.rpartition("@")[2]
    uri = SECRETS.scrub(urlunsplit((parts.scheme, host, parts.path, query, "")))
    body = told.interaction.request_body
    if body and redacted[in_query:] != asked.params[in_query:]:
        body = _body(redacted[in_query:], asked.body_kind)
    content_type = next(
        (value for name, value in told.interaction.request_headers if name.lower() == "content-type"), None
    )
    given = told.interaction.request_given
    if given is not None:
        clean = rules.redact_params(((WHOLE, given),))[0][1]
        return Said(uri, given=SECRETS.scrub(json.dumps(clean)), content_type=content_type)
    text: str | None = None
    if body is not None:
        try:
            text = SECRETS.scrub(body.decode())
        except UnicodeDecodeError:
            coded = base64.b64encode(SECRETS.scrub_payload(body)[0]).decode()
            return Said(uri, coded, base64=True, content_type=content_type)
    return Said(uri, text, content_type=content_type)


def meta_of(told: Told) -> VcrMeta:
    """Return the `meta` of an entry that vcrpy will load again, to be filled."""
    return VcrMeta(vcr=of(told))


def _body(params: Params, kind: str | None) -> bytes | None:
    """Return a request's body from its parameters."""
    if kind is None or kind == "unread":
        return None
    if len(params) == 1 and params[0][0] == WHOLE:
        value = params[0][1]
        if kind == "base64":
            return base64.b64decode(value)
        return str(value).encode() if kind == "text" else dump_json(value).encode()
    return dump_json(dict(params)).encode() if kind == "json" else urlencode(params).encode()


def read(cassette: Path, registry: Registry) -> Iterator[Loaded]:
    """Read the REST entries of a cassette in the order they were recorded.

    Raises DamagedCassette, and CassetteError for what vcrpy cannot play: a recorded failure.
    """
    found: list[tuple[int, Place, Path, Any]] = []
    for place in files.places(cassette):
        for path in files.files_in(place.within(cassette)):
            latest = 0
            with files.open_binary(path) as stream:
                for line, head in reader.heads(path, stream):
                    if head.meta.dir is not None:
                        continue
                    try:
                        entry = _ENTRY.decode(line.data)
                        answer = entry.body()
                    except ValueError as error:
                        raise DamagedCassette(path, line.number, line.offset, str(error)) from error
                    if entry.meta.error is not None:
                        raise CassetteError(
                            f"{path}, line {line.number}: this is a recorded failure ({entry.meta.error}), which vcrpy "
                            "cannot play. Play the cassette with @pytest.mark.marketreplay instead"
                        )
                    latest = max(latest, entry.timestamp)
                    found.append((latest, place, path, (entry, answer)))
    found.sort(key=lambda item: item[0])
    for _, place, _, (entry, answer) in found:
        yield _loaded(entry, answer, place, registry)


def _loaded(entry: _VcrEntry, answer: bytes, place: Place, registry: Registry) -> Loaded:
    meta = entry.meta
    if meta.vcr is not None:
        kept = meta.vcr
        body: Any = None
        if kept.given is not None:
            body = json.loads(kept.given)
        elif kept.body is not None:
            body = base64.b64decode(kept.body) if kept.base64 else kept.body.encode()
        headers = {"Content-Type": kept.content_type} if kept.content_type else {}
        return Loaded(entry.timestamp, meta.method, kept.uri, body, headers, meta, answer)
    # an entry of another recorder: it does not say which of the venue's hosts was asked
    params = requests_.stored_params(entry.params, meta.body)
    query = "" if meta.body else urlencode(params)
    host = _host(place.venue, registry)
    scheme = "http" if is_loopback(host.rpartition(":")[0] or host) else "https"
    uri = urlunsplit((scheme, host, entry.endpoint, query, ""))
    kind = _CONTENT_TYPES.get(meta.body or "")
    headers = {"Content-Type": kind} if kind else {}
    return Loaded(entry.timestamp, meta.method.upper(), uri, _body(params, meta.body), headers, meta, answer)


def _host(folder: str, registry: Registry) -> str:
    venue = registry.by_folder(folder)
    hosts = [host for host, named in registry.named.items() if named.name == venue.name] + list(venue.hosts)
    return next((host for host in hosts if "*" not in host and "?" not in host and "[" not in host[1:]), venue.name)
