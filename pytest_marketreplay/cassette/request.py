"""What a client asked, as the format sees it: method, host, path, and named parameters from query and body together.

Exchanges take parameters in the query or in the body alike (Binance, "General Information on Endpoints": "parameters
may be sent in either the query string or request body"; Kraken takes public calls as GET and as POST), so an entry's
`params` holds both. `meta.body` keeps the kind of body.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, unquote_plus, urlsplit

import orjson

Params = tuple[tuple[str, Any], ...]
"""Names and values in the order sent. A value is a str, or for a JSON body a JSON value (floats as Decimal)."""

_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}
WEBSOCKET = "WEBSOCKET"
"""What stands for the method where a WebSocket connection is asked for."""
WHOLE = ""
"""The parameter name of a body that has no named parameters."""


class Asked(NamedTuple):
    """One request, taken apart."""

    method: str
    scheme: str
    host: str
    """Lower case, with the port where it is not the scheme's own: `api.binance.com`, `127.0.0.1:8080`."""
    path: str
    """Percent-encoded as sent: `/api/v3/depth`."""
    params: Params
    body_kind: str | None = None
    """form, json, text, base64, or `unread` for a stream that cannot be read without spending it."""
    userinfo: str = ""
    path_secrets: tuple[str, ...] = ()
    """Tokens that stood in the path, which has a placeholder for each."""


class _NotStandard(ValueError):
    pass


def _constant(name: str) -> Any:
    raise _NotStandard(name)


def parse_json(data: bytes | str) -> Any:
    """Read JSON without losing a digit: integers of any size, other numbers as Decimal.

    Raises ValueError for anything that is not JSON, NaN, Infinity and too deep nesting included.
    """
    try:
        return json.loads(data, parse_float=Decimal, parse_constant=_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except ArithmeticError as error:  # 1e99999999999999999999 is grammar, but no Decimal
        raise ValueError("a number out of range") from error


def dump_json(value: Any, *, canonical: bool = False) -> str:
    """Write a value of `parse_json` as compact JSON; canonical sorts the keys of objects."""
    if isinstance(value, str):
        return orjson.dumps(value.encode("utf-8", "replace").decode()).decode()
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        items: Iterable[tuple[str, Any]] = sorted(value.items()) if canonical else value.items()
        inner = ",".join(f"{dump_json(k)}:{dump_json(v, canonical=canonical)}" for k, v in items)
        return "{" + inner + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(dump_json(item, canonical=canonical) for item in value) + "]"
    return str(value)


def query_pairs(query: str) -> list[tuple[str, str]]:
    """Take a query string apart, in order, blank values kept."""
    if not query:
        return []
    if "%" in query or "+" in query:
        return _pairs(query)
    pairs = []
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((name, value))
    return pairs


_LOOSE_FORM = re.compile(r"(?=[^=]*=)(?=[^&]*&)[^\s\"<>{}]+")


def _pairs(text: str, *, strict: bool = False) -> list[tuple[str, str]]:
    # `%FF` is no UTF-8; replaced by U+FFFD it would be the same as `%FE`
    return parse_qsl(text, keep_blank_values=True, strict_parsing=strict, errors="backslashreplace")


def _body_params(body: bytes, taken: list[tuple[str, str]]) -> tuple[list[tuple[str, Any]], str]:
    try:
        value = parse_json(body)
    except ValueError:  # UnicodeDecodeError is one
        pass
    else:
        names = {name for name, _ in taken}
        if isinstance(value, dict) and WHOLE not in value and len(names) == len(taken) and not names & value.keys():
            return list(value.items()), "json"
        if isinstance(value, dict | list):
            return [(WHOLE, value)], "json"
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return [(WHOLE, base64.b64encode(body).decode())], "base64"
    if "\n" in text.strip():  # multipart has a `=` in it too
        return [(WHOLE, text)], "text"
    try:
        return _pairs(text, strict=True), "form"
    except ValueError:
        # a name without a value (`apiKey=x&flag`) is still a form, and what is secret in it is known by its name
        return (_pairs(text), "form") if _LOOSE_FORM.fullmatch(text) else ([(WHOLE, text)], "text")


_PLACEHOLDER = "REDACTED"
_PATH_TOKEN = re.compile(
    r"(?<=/bot)[0-9]{5,}(?::|%3A|%3a)[\w-]{20,}"  # Telegram
    r"|(?<=/webhooks/)[0-9]{10,}/[\w-]{30,}"  # Discord
    r"|(?<=/ws/)[A-Za-z0-9]{48,}(?=/|$)"  # a listen key, as Binance's user data streams have it
    r"|(?<=/services/)[A-Z0-9]{6,}/[A-Z0-9]{6,}/\w{16,}"  # Slack
)
_PLAYED_SECRET = re.compile(rf"(?<=/)(?:{_PLACEHOLDER})+R?E?D?A?C?T?E?(?=/|$)")


@lru_cache(maxsize=1024)
def _target(url: str) -> tuple[str, str, str, str, tuple[str, ...]]:
    """Take the part of a URL before its query apart: scheme, host, path, user information, secrets in the path."""
    parts = urlsplit(url)
    userinfo, _, netloc = parts.netloc.rpartition("@")
    host, _, port = netloc.partition("]")[2].partition(":") if netloc.startswith("[") else netloc.partition(":")
    if netloc.startswith("["):
        host = netloc.partition("]")[0] + "]"
    host = host.lower()
    if port and port != _PORTS.get(parts.scheme):
        host = f"{host}:{port}"
    path = parts.path or "/"
    if not path.isascii() or not path.isprintable() or " " in path:
        path = quote(path, safe="/%:@!$&'()*+,;=~-._", errors="surrogatepass")
    tokens = tuple(_PATH_TOKEN.findall(path))
    for token in tokens:
        path = path.replace(token, _PLACEHOLDER)
    if (
        _PLACEHOLDER in path
    ):  # a listen key that was played has the length of the real one, and stands in no folder name
        path = _PLAYED_SECRET.sub(_PLACEHOLDER, path)
    return (
        parts.scheme,
        host,
        path,
        unquote_plus(userinfo),
        (*tokens, *(unquote(token) for token in tokens if "%" in token)),
    )


def parse(method: str, url: str, body: bytes | str | None = None, *, unread: bool = False) -> Asked:
    """Take a request apart.

    `unread` says that there is a body which is a stream; it cannot be part of a match.
    """
    target, _, query = url.partition("?")
    scheme, host, path, userinfo, tokens = _target(target)
    if "#" in url:
        query = "" if "#" in target else query.partition("#")[0]
    pairs: list[tuple[str, Any]] = list(query_pairs(query))
    kind = None
    if body:
        raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
        more, kind = _body_params(raw, pairs)
        pairs += more
    elif unread:
        kind = "unread"
    return Asked(method.upper(), scheme, host, path, tuple(pairs), kind, userinfo, tokens)


_STREAM_KEY = re.compile(r"(?<![A-Za-z0-9])[A-Za-z0-9]{48,}(?![A-Za-z0-9@])")


def hide_stream_keys(text: str, found: list[str]) -> str:
    """Return a text without what is as long as a listen key and as shapeless; such keys go into `found`."""
    keys = _STREAM_KEY.findall(text)
    if not keys:
        return text
    found += keys
    return _STREAM_KEY.sub(_PLACEHOLDER, text)


def without_stream_keys(asked: Asked) -> Asked:
    """Return a WebSocket's URL without listen keys in its query (`/stream?streams=<listen key>/btcusdt@depth`)."""
    found: list[str] = []
    params = tuple(
        (name, hide_stream_keys(value, found) if isinstance(value, str) else value) for name, value in asked.params
    )
    return asked._replace(params=params, path_secrets=(*asked.path_secrets, *found)) if found else asked


def params_object(params: Params) -> dict[str, Any]:
    """Return parameters as they are stored: a repeated name has a list of its values."""
    out: dict[str, Any] = {}
    repeated: set[str] = set()
    for name, value in params:
        if name not in out:
            out[name] = value
        elif name in repeated:
            out[name].append(value)
        else:
            out[name] = [out[name], value]
            repeated.add(name)
    return out


def params_fragment(params: Params) -> bytes:
    """Return parameters as a JSON object for a line."""
    if all(type(value) is str for _, value in params) and len({name for name, _ in params}) == len(params):
        try:
            return orjson.dumps(dict(params))  # the usual case, a fifth of the time
        except TypeError:  # lone surrogates
            pass
    return dump_json(params_object(params)).encode()


def stored_params(params: Mapping[str, Any], body_kind: str | None) -> Params:
    """Return the parameters of a stored entry, as `parse` would have given them.

    A hand-written line may hold numbers and lists where a query has text: `"limit":100` means `limit=100`.
    """
    out: list[tuple[str, Any]] = []
    whole = WHOLE in params  # then whatever has a name came from the query
    for name, value in params.items():
        if body_kind == "json" and (name == WHOLE or not whole):
            out.append((name, value))
            continue
        items = value if isinstance(value, list) else [value]
        out += [(name, item if isinstance(item, str) else dump_json(item)) for item in items]
    return tuple(out)
