"""Bybit, version 5 of its API, spot and derivatives.

Sources: Bybit V5 API documentation, "Integration Guidance" (X-BAPI-* headers, recv_window), "Error Codes", "Rate Limit";
"WebSocket Stream", "Connect" (the login: `{"op": "auth", "args": [key, expires, signature]}`), "Websocket Trade Guideline"
(orders over WebSocket, with the time in a `header`). Errors come with HTTP 200.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_marketreplay.venues.profile import CLIENT_ORDER_IDS, VOLATILE, Venue
from pytest_marketreplay.venues.registry import hookimpl

if TYPE_CHECKING:
    from pytest_marketreplay.market.decoding import Decoder

_RATE_LIMIT = frozenset((10006, 10018))


class Bybit(Venue):
    """Symbols in upper case, `retCode` and `retMsg` with HTTP 200."""

    volatile = VOLATILE | CLIENT_ORDER_IDS | {"x-bapi-timestamp", "x-bapi-recv-window"}
    reference = frozenset(("/v5/market/instruments-info", "/v2/public/symbols"))

    def __init__(self, name: str, hosts: tuple[str, ...]) -> None:
        super().__init__(
            name,
            hosts,
            secret_headers=("x-bapi-api-key", "x-bapi-sign"),
            secret_params=("api_key", "sign", "signature"),
        )

    def symbol(self, value: str) -> str | None:
        """Return the symbol in upper case; None for a list."""
        return None if "," in value else value.upper()

    def problem(self, status: int, answer: Any) -> str | None:
        """Tell code and message; a code other than 0 is an error, whatever the HTTP status."""
        code = message = None
        if isinstance(answer, dict):
            code = answer.get("retCode", answer.get("ret_code"))
            message = answer.get("retMsg", answer.get("ret_msg"))
        if status < 400 and not code:
            return None
        # 403 is the ban of an address that was too fast ("Rate Limit", "IP Limit")
        kind = "rate limited" if code in _RATE_LIMIT or status in (403, 429) else ""
        parts = [kind, f"HTTP {status}" if status >= 400 else "", f"{code} {message or ''}".strip() if code else ""]
        return ": ".join(part for part in parts if part)

    def error_body(self, status: int) -> Any:
        """Return an error as Bybit has it ("Error Codes")."""
        code, text = (10006, "Too many visits!") if status in (403, 418, 429) else (10016, "Internal server error.")
        return {"retCode": code, "retMsg": text, "result": {}, "retExtInfo": {}}

    def clock_error(self) -> tuple[int, Any]:
        """Return what Bybit says to a timestamp that is off ("Error Codes", 10002)."""
        text = "invalid request, please check your server timestamp or recv_window param."
        return 200, {"retCode": 10002, "retMsg": text, "result": {}, "retExtInfo": {}}

    def market(self, endpoint: str, *, websocket: bool = False) -> Decoder | None:
        """Return what reads an endpoint as market data."""
        from pytest_marketreplay.venues import bybit_market

        return bybit_market.decoder(self.name, self.endpoint(endpoint), websocket)


@hookimpl
def pytest_marketreplay_venues() -> list[Venue]:
    """Give the real market and the test network, whose prices must never play for each other."""
    return [
        Bybit("bybit", ("api.bybit.com", "api.bytick.com", "stream.bybit.com")),
        Bybit("bybit_testnet", ("api-testnet.bybit.com", "stream-testnet.bybit.com")),
    ]
