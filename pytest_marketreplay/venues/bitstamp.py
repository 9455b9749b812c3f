"""Bitstamp, version 2 of its API: the pair stands in the path.

Sources: Bitstamp HTTP API, "Authentication" (X-Auth, X-Auth-Signature, X-Auth-Nonce), "Response codes", "Request limits";
Bitstamp WebSocket API v2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_marketreplay.venues.profile import Location, Venue
from pytest_marketreplay.venues.registry import hookimpl

if TYPE_CHECKING:
    from pytest_marketreplay.cassette.request import Asked
    from pytest_marketreplay.market.decoding import Decoder

_PAIR = re.compile(r"/api/v2/(?:order_book|transactions|ticker|ticker_hour|ohlc)/([^/]+)/?$")


class Bitstamp(Venue):
    """Pairs as `BTCUSD`, whatever case a path has them in; `{"status": "error", "reason": ...}`."""

    name = "bitstamp"
    hosts = ("www.bitstamp.net", "bitstamp.net", "ws.bitstamp.net")
    reference = frozenset(("/api/v2/trading-pairs-info", "/api/v2/markets", "/api/v2/currencies"))
    secret_fields: ClassVar[Mapping[str, tuple[str, ...]]] = {"/api/v2/websockets_token": ("token",)}

    def __init__(self) -> None:
        super().__init__(
            secret_headers=("x-auth", "x-auth-signature", "x-auth-nonce"),
            secret_params=("key", "signature", "auth"),
        )

    def endpoint(self, path: str) -> str:
        """Return the path without the slash that Bitstamp takes with or without."""
        return path.rstrip("/") or "/"

    def symbol(self, value: str) -> str | None:
        """Return the pair in upper case and without a slash: `btcusd`, `BTC/USD` -> `BTCUSD`."""
        return None if "," in value else value.upper().replace("%2F", "").replace("/", "")

    def locate(self, asked: Asked) -> Location:
        """Return where an answer belongs; the pair stands in the path."""
        found = _PAIR.search(asked.path)
        return Location(self.endpoint(asked.path), self.symbol(found[1])) if found else super().locate(asked)

    def problem(self, status: int, answer: Any) -> str | None:
        """Tell the reason of an error; some come with HTTP 200."""
        failed = isinstance(answer, dict) and (answer.get("status") == "error" or "error" in answer)
        if status < 400 and not failed:
            return None
        kind = "rate limited (HTTP 429)" if status == 429 else f"HTTP {status}" if status >= 400 else ""
        said = str(answer.get("reason") or answer.get("error") or "") if isinstance(answer, dict) else ""
        return ": ".join(part for part in (kind, said) if part) or "error"

    def market(self, endpoint: str, *, websocket: bool = False) -> Decoder | None:
        """Return what reads an endpoint as market data."""
        from pytest_marketreplay.venues import bitstamp_market

        return bitstamp_market.decoder(self.name, self.endpoint(endpoint), websocket)


@hookimpl
def pytest_marketreplay_venues() -> list[Venue]:
    """Give Bitstamp."""
    return [Bitstamp()]
