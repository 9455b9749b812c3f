"""What the venues of one server have in common, and how they say that something is not recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web

from .native import dumps
from .pace import Pace
from .seam import Faults
from .tally import Miss, Tally

NOT_RECORDED = 501
# RFC 9110, 7.6.1, and what describes a body as it went over another wire: it is stored without its encoding
OF_THE_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "content-encoding",
    )
)


@dataclass
class Shared:
    """What all venues of a server have in common."""

    pace: Pace
    tally: Tally
    faults: Faults | None
    patience_s: float
    ended: Callable[[], None]
    local: Callable[[str], str | None]
    """Where a host (`api.binance.com`) is served; None where it is not."""


def utc(time_ms: int) -> str:
    """Return a moment for people."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def dropped(request: web.BaseRequest) -> web.Response:
    """Cut a connection without an answer."""
    if request.transport is not None:  # pragma: no branch - None where the client went a moment ago
        request.transport.abort()
    return web.Response(status=499)  # nobody reads it


def missed(miss: Miss, status: int = NOT_RECORDED) -> web.Response:
    """Return what a client reads: in the shapes of both Binance and Kraken, so that their SDKs show the text."""
    text = f"marketreplay: no recorded answer for {miss.asked}"
    body = {
        "code": -1,
        "msg": text,
        "error": [f"EGeneral:{text}"],
        "asked": miss.asked,
        "explanation": miss.explanation.splitlines(),
    }
    return web.Response(status=status, body=dumps(body), content_type="application/json")
