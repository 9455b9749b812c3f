"""Coinbase: Advanced Trade, and Coinbase Exchange (once GDAX and Pro), which has other paths and messages.

Sources: Advanced Trade API documentation, "API Key Authentication", "Rate Limits", "WebSocket"; Coinbase Exchange API
documentation, "REST API Authentication" (CB-ACCESS-KEY, -SIGN, -PASSPHRASE), "Errors".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.venues.profile import Location, Venue
from pytest_marketreplay.venues.registry import hookimpl

if TYPE_CHECKING:
    from pytest_marketreplay.cassette.request import Asked
    from pytest_marketreplay.market.decoding import Decoder

_PRODUCT = re.compile(r"/products/([^/]+)(?:/|$)")
_SECRET_HEADERS = (
    "cb-access-key",
    "cb-access-sign",
    "cb-access-passphrase",
)


class Coinbase(Venue):
    """What both have: products as `BTC-USD`, in the path or as `product_id`, `{"message": ...}` or `{"error": ...}`."""

    def __init__(self, name: str, hosts: tuple[str, ...], reference: tuple[str, ...]) -> None:
        super().__init__(
            name,
            hosts,
            secret_headers=_SECRET_HEADERS,
            secret_params=("jwt", "signature", "passphrase", "api_key", "key"),
        )
        self.reference = frozenset(reference)

    def symbol(self, value: str) -> str | None:
        """Return the product in upper case; None for a list."""
        return None if "," in value else value.upper()

    def locate(self, asked: Asked) -> Location:
        """Return where an answer belongs; the product may stand in the path."""
        found = _PRODUCT.search(asked.path)
        if found:
            return Location(self.endpoint(asked.path), self.symbol(found[1]))
        return super().locate(asked)

    def problem(self, status: int, answer: Any) -> str | None:
        """Tell the message of an error."""
        if status < 400:
            return None
        kind = "rate limited (HTTP 429)" if status == 429 else f"HTTP {status}"
        if isinstance(answer, dict):
            said = answer.get("message") or answer.get("error_details") or answer.get("error")
            if said:
                return f"{kind}: {said}"
        return kind

    def error_body(self, status: int) -> Any:
        """Return an error as Coinbase has it ("Errors")."""
        return {"message": "Public rate limit exceeded" if status in (418, 429) else "Internal server error"}

    def clock_error(self) -> tuple[int, Any]:
        """Return what Coinbase says to a timestamp that is off by more than 30 seconds ("Authentication")."""
        return 400, {"message": "request timestamp expired"}

    def market(self, endpoint: str, *, websocket: bool = False) -> Decoder | None:
        """Return what reads an endpoint as market data."""
        from pytest_marketreplay.venues import coinbase_market

        make = coinbase_market.decoder if self.name == "coinbase" else coinbase_market.old_decoder
        return make(self.name, self.endpoint(endpoint), websocket)


@hookimpl
def pytest_marketreplay_venues() -> list[Venue]:
    """Give both."""
    return [
        Coinbase(
            "coinbase",
            ("api.coinbase.com", "advanced-trade-ws.coinbase.com", "advanced-trade-ws-user.coinbase.com"),
            ("/api/v3/brokerage/products", "/api/v3/brokerage/market/products"),
        ),
        Coinbase(
            "coinbase_exchange",
            (
                "api.exchange.coinbase.com",
                "ws-feed.exchange.coinbase.com",
                "ws-direct.exchange.coinbase.com",
                "api.pro.coinbase.com",
                "ws-feed.pro.coinbase.com",
                "api.gdax.com",
                "ws-feed.gdax.com",
            ),
            ("/products", "/currencies"),
        ),
    ]
