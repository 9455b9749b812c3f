"""What looks like a credential in an entry: whatever recording would have replaced, by the rules of its venue."""

from __future__ import annotations

from typing import Any

from pytest_marketreplay.cassette import names, redaction
from pytest_marketreplay.cassette.entry import Entry, header_pairs
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.frame import Frame, any_json
from pytest_marketreplay.cassette.request import WHOLE
from pytest_marketreplay.doctor.codes import ERROR, WARNING
from pytest_marketreplay.venues.registry import Registry

_LONG = 16
"""Characters of a value under a doubtful name from where on it is told: `token=BTC` is a coin."""


class SecretScan:
    """Looks at the entries of one place."""

    def __init__(self, registry: Registry, place: Place) -> None:
        venue = registry.by_folder(place.venue)
        self._rules = venue.rules
        self._fields = venue.secret_fields.get(names.endpoint_of(place.endpoint)[0], ())

    def find(self, entry: Entry | Frame) -> tuple[str, str] | None:
        """Return where in an entry a credential stands, never what it is, and how severe that is; None: nowhere."""
        if entry.params and (found := self._in_params(entry.params, "the parameter")):
            return found
        headers = entry.meta.headers
        if headers:
            for name, value in header_pairs(headers):
                if not redaction.header_matters(name, self._rules):
                    continue
                if redaction.redact_response_header(name, value, self._rules, []) != value:
                    return f"the response header {name}", ERROR
        if isinstance(entry, Entry):
            for name, value in (entry.meta.request_headers or {}).items():
                if self._rules.is_secret_header(name) and not value.startswith(redaction.PLACEHOLDER):
                    return f"the request header {name}", ERROR
            return self._in_fields(entry.body()) if self._fields else None
        if entry.meta.dir == "send":
            message = any_json(entry.data())
            return self._in_params(message, "the sent field") if isinstance(message, dict) else None
        return self._in_fields(entry.data()) if self._fields and entry.meta.dir == "recv" else None

    def _in_params(self, params: dict[str, Any], what: str) -> tuple[str, str] | None:
        for name, value in params.items():
            found: list[str] = []
            self._rules.redact_params(((name, value),), found)
            if not found:
                continue
            if name == WHOLE:
                return "the request's body", ERROR
            if self._rules.kind(name) != "doubtful":
                return f"{what} {name}", ERROR
            if len(found[0]) >= _LONG:
                return f"{what} {name}", WARNING
        return None

    def _in_fields(self, body: bytes) -> tuple[str, str] | None:
        for field in self._fields:
            for secret in redaction.redact_field(body, field)[1]:
                if secret.encode() != redaction.same_length(len(secret.encode())):
                    return f"the response field {field}", ERROR
        return None
