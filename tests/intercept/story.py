"""Calls that every client makes in its own words, and what is seen of the answer in the end."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

Seen = dict[str, Any]
"""Aspect of an answer (`status`, `headers`, `error`, ...) -> its value, comparable."""


@dataclass(frozen=True)
class Call:
    """One call; `url` is `wire:/path`, `lab:/path`, `refused:/`, `full:/` (never accepts), `tls:/` or `unknown:/`."""

    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    json: Any = None
    form: tuple[tuple[str, str], ...] = ()
    data: bytes | None = None
    stream_body: str | None = None
    """`file` or `generator`: a body that can be read only once."""
    read: str = "all"
    """`all`; `pieces`, `lines`, `raw` (as they came, still encoded), `some` (closed early), `nothing` (closed unread)."""
    follow: bool = True
    timeout: float = 10.0
    connect_timeout: float | None = None
    total_timeout: float | None = None
    options: tuple[tuple[str, Any], ...] = ()
    """What only this client knows."""


@dataclass(frozen=True)
class Probe:
    """A short story: calls in one client session."""

    name: str
    calls: tuple[Call, ...]
    clients: frozenset[str] | None = None
    """Only these clients can tell it; None is all of them."""
    session: dict[str, Any] = field(default_factory=dict, hash=False)
    """Options of the client session."""


class Site(NamedTuple):
    """Where the scheme of a call's URL leads."""

    wire: str
    lab: str
    refused: str
    full: str

    def url(self, call: Call) -> str:
        place, _, path = call.url.partition(":")
        base = {
            "wire": self.wire,
            "lab": self.lab,
            "refused": self.refused,
            "full": self.full,
            "tls": self.wire.replace("http:", "https:"),
            "unknown": "http://exchange.invalid",
        }[place]
        return base + path


class Client(Protocol):
    """One client library behind one method."""

    name: str

    def tell(self, probe: Probe, site: Site) -> list[Seen]: ...


class Once(io.BytesIO):
    """A file that counts how often it is read to its end: twice is once too often."""


def generator(data: bytes) -> Iterator[bytes]:
    """Yield a body in two parts, once."""
    yield data[: len(data) // 2]
    yield data[len(data) // 2 :]


def headers_of(pairs: Any) -> list[tuple[str, str]]:
    """Return header pairs as text, the date left out."""
    out = []
    for name, value in pairs:
        name = name.decode("latin-1") if isinstance(name, bytes) else str(name)
        value = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
        out.append((name, "(a date)" if name.lower() == "date" else value))
    return out


def failure_of(error: BaseException) -> Seen:
    """Return what a client's code can see of an error, memory addresses left out."""
    chain, cause = [], error.__cause__ or error.__context__
    while cause is not None and len(chain) < 8:
        chain.append(type(cause).__qualname__)
        cause = cause.__cause__ or cause.__context__
    seen = {
        "error": [f"{each.__module__}.{each.__qualname__}" for each in type(error).__mro__],
        "error message": re.sub(r"0x[0-9a-f]+", "0x", str(error)),
        "error causes": chain,
        "error arguments": [type(each).__qualname__ for each in error.args],
    }
    for name in ("request", "response", "pool", "conn", "reason", "errno", "os_error", "host", "port", "status"):
        value = getattr(error, name, None) if _has(error, name) else None
        seen[f"error {name}"] = value if isinstance(value, int | str) else type(value).__qualname__
    return seen


def _has(error: BaseException, name: str) -> bool:
    try:
        return hasattr(error, name)
    except RuntimeError:  # httpx: the request has not been set
        return False


def catch(aspect: Callable[[], Any]) -> Any:
    """Return a value, or the class of the error that asking for it raised."""
    try:
        return aspect()
    except Exception as error:
        return f"raises {type(error).__module__}.{type(error).__qualname__}"
