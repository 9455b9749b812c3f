"""Deribit: JSON-RPC over HTTP and WebSocket, instruments as `BTC-PERPETUAL`.

Sources: Deribit API documentation, "Authentication" (public/auth: client_id, client_secret, access and refresh tokens),
"RPC Error Codes", "Rate Limits" (10028).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_marketreplay.venues.profile import Venue
from pytest_marketreplay.venues.registry import hookimpl

if TYPE_CHECKING:
    from pytest_marketreplay.market.decoding import Decoder

_TOKENS = ("access_token", "refresh_token")


class Deribit(Venue):
    """`{"jsonrpc": "2.0", "result": ...}` or `{"error": {"code": ..., "message": ...}}`."""

    reference = frozenset(("/api/v2/public/get_instruments", "/api/v2/public/get_currencies"))
    secret_fields: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "/api/v2/public/auth": _TOKENS,
        "/api/v2/public/exchange_token": _TOKENS,
        "/api/v2/public/fork_token": _TOKENS,
    }

    def __init__(self, name: str, hosts: tuple[str, ...]) -> None:
        super().__init__(
            name,
            hosts,
            secret_headers=("authorization",),
            secret_params=("client_id", "client_secret", "access_token", "refresh_token", "signature"),
        )

    def symbol(self, value: str) -> str | None:
        """Return the instrument in upper case; None for a list."""
        return None if "," in value else value.upper()

    def problem(self, status: int, answer: Any) -> str | None:
        """Tell code and message of a JSON-RPC error."""
        error = answer.get("error") if isinstance(answer, dict) else None
        if isinstance(error, dict):
            kind = "rate limited: " if error.get("code") == 10028 else ""
            return f"{kind}{error.get('code')} {error.get('message', '')}".rstrip()
        return super().problem(status, answer)

    def market(self, endpoint: str, *, websocket: bool = False) -> Decoder | None:
        """Return what reads an endpoint as market data."""
        from pytest_marketreplay.venues import deribit_market

        return deribit_market.decoder(self.name, self.endpoint(endpoint), websocket)


@hookimpl
def pytest_marketreplay_venues() -> list[Venue]:
    """Give the real market and the test network."""
    return [
        Deribit("deribit", ("www.deribit.com", "deribit.com", "streams.deribit.com")),
        Deribit("deribit_testnet", ("test.deribit.com",)),
    ]
