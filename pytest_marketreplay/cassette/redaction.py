"""Redaction: what a cassette, an error text or a report may never show (docs/explanation/redaction.md).

Requests are closed by default: a parameter that a venue names, or that merely looks like a credential, is replaced by a
placeholder. Responses stay as sent, but for fields that a venue names and any echo of a secret of this run's requests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

from pytest_marketreplay.cassette.request import WHOLE, Params

PLACEHOLDER = "REDACTED"
SHORTEST = 8
"""Values shorter than this are not searched for in responses: they would be found everywhere."""

_CERTAIN = re.compile(
    r"apikey|apisecret|accesskey|accesstoken|authtoken|bearer|secret|passphrase|password|passwd|privatekey"
    r"|signature|authorization|credential|listenkey|jwt|cookie|mnemonic|^auth$|^sign$|^sig$|^otp$|^pwd$|^totp$|apisign$"
)
_DOUBTFUL = re.compile(r"token|session|^key$|key$|^auth|auth$|^code$|^pin$|^2fa$|^tfa$")


@lru_cache(maxsize=4096)
def looks_secret(name: str) -> str | None:
    """Tell how a parameter's or header's name looks: "certain", "doubtful", or None for no credential."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    if _CERTAIN.search(plain):
        return "certain"
    return "doubtful" if _DOUBTFUL.search(plain) else None


def placeholder(value: str, kind: str) -> str:
    """Return what stands for a secret.

    Where only the name is suspicious (`token=BTC`), 16 bits of a digest keep two different requests apart; they tell
    next to nothing about a real credential.
    """
    if kind == "certain":
        return PLACEHOLDER
    return f"{PLACEHOLDER}-{hashlib.sha256(value.encode('utf-8', 'replace')).hexdigest()[:4]}"


def same_length(length: int) -> bytes:
    """Return a placeholder of a given length, for payloads."""
    return (PLACEHOLDER.encode() * (length // len(PLACEHOLDER) + 1))[:length]


_YARL = "?/:@!$'()*,"
"""What `yarl` (aiohttp) leaves as it is in a query."""


def forms(secret: str) -> tuple[bytes, ...]:
    """Return the byte strings by which a secret can stand in a text: plain, percent, JSON, and inside base64.

    Where it has characters that JSON or percent encoding change, also those of each other: a body that is echoed inside
    JSON, a query inside base64.
    """
    shortest = min(SHORTEST, len(secret.encode("utf-8", "surrogatepass")))
    spelled = {secret, secret.replace(" ", "+"), quote(secret, safe="", errors="replace")}
    spelled |= {quote_plus(secret, safe=safe, errors="replace") for safe in ("", _YARL)}
    for ascii_ in (True, False):  # a server writes é as it is, or as \u00e9
        spelled.add(json.dumps(secret, ensure_ascii=ascii_)[1:-1])
    out = {form for text in spelled for form in _forms(text)}
    for form in tuple(out):
        if b"\\" in form or b"'" in form:  # a repr of that text: of a JSON body in a local variable
            doubled = form.replace(b"\\", b"\\\\")
            out |= {doubled, doubled.replace(b"'", b"\\'"), form.replace(b"'", b"\\'")}
    return tuple(sorted((form for form in out if len(form) >= shortest), key=len, reverse=True))


def _forms(secret: str) -> set[bytes]:
    raw = secret.encode("utf-8", "surrogatepass")
    out = {raw, quote(secret, safe="", errors="replace").encode(), quote_plus(secret, errors="replace").encode()}
    out.add(quote(secret, errors="replace").encode())
    out.add("".join(f"%{byte:02X}" for byte in raw).encode())
    out |= {re.sub(rb"%[0-9A-F]{2}", lambda m: m[0].lower(), form) for form in tuple(out) if b"%" in form}
    for ascii_ in (True, False):
        escaped = json.dumps(secret, ensure_ascii=ascii_)[1:-1]
        again = json.dumps(escaped)[1:-1]
        out |= {text.encode("utf-8", "surrogatepass") for text in (escaped, escaped.replace("/", "\\/"), again)}
    out.add(repr(secret)[1:-1].encode("utf-8", "replace"))
    out.add(repr(raw)[2:-1].encode())
    if len(raw) >= SHORTEST:
        # inside a longer base64 text the secret starts at one of three bit offsets; the outer characters mix with
        # its neighbours, the inner ones are the same wherever it stands
        for offset in range(3):
            data = b"\0" * offset + raw
            coded = base64.b64encode(data)
            inner = coded[(0, 2, 3)[offset] : len(data) // 3 * 4]
            quoted = {quote(inner, safe=safe).encode() for safe in ("", "/")}
            out |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_"), *quoted}
            out |= {re.sub(rb"%[0-9A-F]{2}", lambda m: m[0].lower(), form) for form in quoted}
    return out


def _spellings(value: str) -> Iterator[str]:
    """Give a value, and what it says where it came out of a header as Latin-1 and was sent as UTF-8."""
    yield value
    if not value.isascii():
        try:
            yield value.encode("latin-1").decode()
        except UnicodeError:
            return


_CUT = b"..."
_SHORTEST_CUT = 6


def _without_end(text: bytes, secret: bytes) -> bytes:
    """Return a text without the beginning of a secret at its end (6 bytes and more)."""
    at = secret.find(text[-_SHORTEST_CUT:]) if len(text) >= _SHORTEST_CUT else -1
    while at >= 0:
        length = at + _SHORTEST_CUT
        if text.endswith(secret[:length]):
            return text[:-length] + PLACEHOLDER.encode()
        at = secret.find(text[-_SHORTEST_CUT:], at + 1)
    return text


def _without_start(text: bytes, secret: bytes) -> bytes:
    """Return a text without the end of a secret at its start (6 bytes and more)."""
    at = secret.find(text[:_SHORTEST_CUT]) if len(text) >= _SHORTEST_CUT else -1
    while at >= 0:
        if text.startswith(secret[at:]):
            return PLACEHOLDER.encode() + text[len(secret) - at :]
        at = secret.find(text[:_SHORTEST_CUT], at + 1)
    return text


class Secrets:
    """The secrets that this process's requests carried; held in memory only, to keep them out of what is written.

    At most `limit` are held (the oldest one-time signature goes first; what is used again stays).
    """

    def __init__(self, limit: int = 1024) -> None:
        self._forms: OrderedDict[str, tuple[bytes, ...]] = OrderedDict()
        self._limit = limit
        self._lock = threading.Lock()

    def add(self, values: Iterable[str]) -> tuple[str, ...]:
        """Remember these values; returns those that can be searched for."""
        told = [spelling for value in values for spelling in _spellings(value)]
        kept = tuple(value for value in told if len(value) >= SHORTEST and PLACEHOLDER not in value)
        if kept:
            with self._lock:
                for value in kept:
                    self._forms[value] = self._forms.get(value) or forms(value)
                    self._forms.move_to_end(value)
                while len(self._forms) > self._limit:
                    self._forms.popitem(last=False)
        return kept

    def __len__(self) -> int:
        return len(self._forms)

    def _all(self, newest: int | None = None) -> Iterator[bytes]:
        with self._lock:
            known = list(self._forms.values())
        for group in known[-newest:] if newest else known:
            yield from group

    def scrub_payload(self, body: bytes) -> tuple[bytes, bool]:
        """Replace every secret in a payload by a placeholder of the same length; tells whether there was one.

        The newest 64 are looked for: a signature is of interest in its own answer, a key comes with every request.
        """
        hit = False
        for form in self._all(newest=64):
            if form in body:
                body, hit = body.replace(form, same_length(len(form))), True
        return body, hit

    def scrub(self, text: str) -> str:
        """Replace every secret in a text that people will read."""
        if not self._forms or not text:
            return text
        data = text.encode("utf-8", "surrogatepass")
        for form in self._all():
            if form in data:
                data = data.replace(form, PLACEHOLDER.encode())
        if _CUT in data:  # a shortened repr, as pytest shows locals and assertions, may have cut a secret in two
            parts = data.split(_CUT)
            for form in self._all():
                for number in range(len(parts) - 1):
                    parts[number] = _without_end(parts[number], form)
                    parts[number + 1] = _without_start(parts[number + 1], form)
            data = _CUT.join(parts)
        return data.decode("utf-8", "surrogatepass")


SECRETS = Secrets()
"""Of this process: reports and error texts of every test are cleaned of them."""


_IN_TEXT = tuple(
    re.compile(pattern)
    for pattern in (
        r'(")([\w.-]+)("\s*:\s*")((?:[^"\\]|\\.)+)',  # JSON with NaN in it, lines of JSON
        r'(")([\w.-]+)("\s*:\s*)([^\s",{}\[\]]+)',
        r"(<)([\w.:-]+)([^<>]*>)([^<\s][^<]*)",  # XML
        r"()(?<![\w.-])([\w.-]+)(\s*=\s*[\"']?)([^\s\"'&;<>]+)",
    )
)


_PART_NAME = re.compile(r'\bname="([^"\r\n]+)"')
_BLANK_LINE = re.compile(r"\r?\n\r?\n")


class Rules:
    """What one venue says of secrets, on top of what looks like one. Names are compared without case."""

    def __init__(self, headers: Iterable[str] = (), params: Iterable[str] = (), public: Iterable[str] = ()) -> None:
        self.headers = frozenset(name.lower() for name in headers)
        self.params = frozenset(name.lower() for name in params)
        self.public = frozenset(name.lower() for name in public)
        """Names that look like a credential and are none, by the venue's documentation."""

    def add(self, names: Iterable[str]) -> None:
        """Take more names of parameters and headers for secrets."""
        lower = frozenset(name.lower() for name in names)
        self.headers |= lower
        self.params |= lower
        header_matters.cache_clear()

    def kind(self, name: str) -> str | None:
        """Tell whether a parameter is a secret: "certain", "doubtful" or None."""
        lower = name.lower()
        if lower in self.params:
            return "certain"
        return None if lower in self.public else looks_secret(lower)

    def is_secret_header(self, name: str) -> bool:
        """Tell whether a request header carries a secret."""
        lower = name.lower()
        return lower in self.headers or looks_secret(lower) is not None

    def redact_params(self, params: Params, found: list[str] | None = None) -> Params:
        """Return parameters with placeholders for secrets; the values themselves go into `found`."""
        return tuple(
            (
                name,
                self.redact_text(value, found)
                if name == WHOLE and isinstance(value, str)
                else self._redact(name, value, found),
            )
            for name, value in params
        )

    def redact_text(self, text: str, found: list[str] | None = None) -> str:
        """Return a body without names (multipart, XML, what is almost JSON) without the secrets that a name betrays."""

        def value(match: re.Match[str]) -> str:
            before, name, between, secret = match.groups()
            kind = self.kind(name)
            if kind is None or secret.startswith(PLACEHOLDER):
                return match[0]
            if found is not None:
                found.append(secret)
            return before + name + between + placeholder(secret, kind)

        if text.startswith("--"):  # multipart: one part at a time, or a hostile body costs the square of its length
            boundary = text.partition("\n")[0].rstrip("\r")
            text = boundary.join(self._part(part, found) for part in text.split(boundary))
        for pattern in _IN_TEXT:
            text = pattern.sub(value, text)
        return text

    def _part(self, part: str, found: list[str] | None) -> str:
        """Return one part of a multipart body, with a placeholder where its name is a secret's."""
        blank, name = _BLANK_LINE.search(part), _PART_NAME.search(part)
        if blank is None or name is None or name.end() > blank.start() or (kind := self.kind(name[1])) is None:
            return part
        secret = part[blank.end() :].rstrip("\r\n")
        if not secret or secret.startswith(PLACEHOLDER):
            return part
        if found is not None:
            found.append(secret)
        end = blank.end() + len(secret)
        return part[: blank.end()] + placeholder(secret, kind) + part[end:]

    def _redact(self, name: str, value: Any, found: list[str] | None, above: str | None = None) -> Any:
        """Redact one value; `above` is the kind of the object that holds it: all of `"credentials": {...}` goes."""
        kind = (self.kind(name) if name != WHOLE else None) or above
        if isinstance(value, dict):
            return {key: self._redact(key, item, found, kind) for key, item in value.items()}
        if isinstance(value, list):
            return [self._redact(name, item, found, above) for item in value]
        if kind is None or value is None or isinstance(value, bool) or value == "":
            return value
        text = str(value)
        if text.startswith(PLACEHOLDER):  # already redacted: a stored entry
            return value
        if found is not None:
            found.append(text)
        return placeholder(text, kind)


def redact_field(body: bytes, field: str) -> tuple[bytes, list[str]]:
    """Replace the text values of a named field in a JSON payload, wherever it stands, keeping every other byte.

    Returns the payload and the values that were replaced.
    """
    found: list[str] = []

    def value(match: re.Match[bytes]) -> bytes:
        raw = match[2]
        try:
            found.append(json.loads(b'"' + raw + b'"'))
        except ValueError:
            found.append(raw.decode("utf-8", "replace"))
        return match[1] + same_length(len(raw)) + b'"'

    pattern = rb'("' + re.escape(json.dumps(field)[1:-1].encode()) + rb'"\s*:\s*")((?:[^"\\]|\\.)+)"'
    return re.sub(pattern, value, body), found


_COOKIE = re.compile(r"^(\s*[^=;,\s]+=)([^;]*)")
_URL_USER = re.compile(r"(://)[^/?#\s]+@")  # up to the last @: a password may hold one


@lru_cache(maxsize=4096)
def header_matters(name: str, rules: Rules) -> bool:
    """Tell whether `redact_response_header` looks into the values of a response header of this name."""
    lower = name.lower()
    return (
        lower in ("set-cookie", "location", "content-location", "refresh", "link")
        or lower in rules.headers
        or (looks_secret(lower) == "certain" and not lower.startswith("access-control-"))
    )


def redact_response_header(name: str, value: str, rules: Rules, found: list[str]) -> str:
    """Return a response header without its secrets: cookie values, and credentials in a Location."""
    lower = name.lower()
    if lower == "set-cookie":

        def cookie(match: re.Match[str]) -> str:
            found.append(match[2].strip('"'))
            return match[1] + (PLACEHOLDER if match[2] else "")

        return _COOKIE.sub(cookie, value)
    if lower in ("location", "content-location", "refresh", "link"):
        return redact_url(value, rules, found)
    if lower in rules.headers or (looks_secret(lower) == "certain" and not lower.startswith("access-control-")):
        found.append(value)
        return PLACEHOLDER
    return value


def redact_url(url: str, rules: Rules, found: list[str] | None = None) -> str:
    """Return a URL without user information and with placeholders for secret parameters; all else as it stands."""
    url = _URL_USER.sub(rf"\1{PLACEHOLDER}@", url)
    head, mark, query = url.partition("?")
    if not mark:
        return url
    query, hash_mark, fragment = query.partition("#")
    parts = []
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        kind = rules.kind(name) if equals and value else None
        if kind and not value.startswith(PLACEHOLDER):
            if found is not None:
                found.append(value)
            value = placeholder(value, kind)
        parts.append(name + equals + value)
    return head + mark + "&".join(parts) + hash_mark + fragment
