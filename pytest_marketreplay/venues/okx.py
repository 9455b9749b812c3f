"""OKX (once OKEx), version 5 of its API; of version 3 what recordings have.

Sources: OKX V5 API documentation, "Overview", "REST Authentication" (OK-ACCESS-*), "WebSocket", "Login", "Error Code",
"Rate Limits" (50011). Errors come with HTTP 200.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.venues.profile import CLIENT_ORDER_IDS, VOLATILE, Location, Venue
from pytest_marketreplay.venues.registry import hookimpl

if TYPE_CHECKING:
    from pytest_marketreplay.cassette.request import Asked
    from pytest_marketreplay.market.decoding import Decoder

_INSTRUMENT = re.compile(r"/v3/instruments/([^/]+)(?:/|$)")
_RATE_LIMIT = frozenset(("50011", "50061"))


class Okx(Venue):
    """Instruments as `BTC-USDT` and `BTC-USD-SWAP`, `{"code": "0", "msg": "", "data": [...]}`."""

    name = "okx"
    hosts = (
        "www.okx.com",
        "www.okex.com",
        "okx.com",
        "aws.okx.com",
        "my.okx.com",
        "us.okx.com",
        "ws.okx.com",
        "ws.okx.com:8443",
        "wsaws.okx.com:8443",
        "wseea.okx.com:8443",
        "wsus.okx.com:8443",
        "real.okex.com:8443",
    )
    volatile = VOLATILE | CLIENT_ORDER_IDS | {"exptime"}
    reference = frozenset(("/api/v5/public/instruments", "/api/spot/v3/instruments"))

    def __init__(self) -> None:
        super().__init__(
            secret_headers=("ok-access-key", "ok-access-sign", "ok-access-passphrase"),
            secret_params=("apiKey", "passphrase", "sign"),
        )

    def symbol(self, value: str) -> str | None:
        """Return the instrument in upper case; None for a list."""
        return None if "," in value else value.upper()

    def locate(self, asked: Asked) -> Location:
        """Return where an answer belongs; version 3 has the instrument in the path."""
        found = _INSTRUMENT.search(asked.path)
        if found:
            return Location(self.endpoint(asked.path), self.symbol(found[1]))
        return super().locate(asked)

    def problem(self, status: int, answer: Any) -> str | None:
        """Tell code and message; a code other than "0" is an error, whatever the HTTP status."""
        code = str(answer.get("code", "0")) if isinstance(answer, dict) else "0"
        if status < 400 and code in ("0", ""):
            return None
        kind = "rate limited" if code in _RATE_LIMIT or status == 429 else ""
        said = f"{code} {answer.get('msg') or ''}".strip() if isinstance(answer, dict) and code != "0" else ""
        return ": ".join(part for part in (kind, f"HTTP {status}" if status >= 400 else "", said) if part)

    def error_body(self, status: int) -> Any:
        """Return an error as OKX has it ("Error Code")."""
        limited = status in (418, 429)
        code, text = ("50011", "Too Many Requests") if limited else ("50001", "Service temporarily unavailable")
        return {"code": code, "data": [], "msg": text}

    def clock_error(self) -> tuple[int, Any]:
        """Return what OKX says to a timestamp that is off ("Error Code", 50102)."""
        return 401, {"code": "50102", "data": [], "msg": "Timestamp request expired"}

    def market(self, endpoint: str, *, websocket: bool = False) -> Decoder | None:
        """Return what reads an endpoint as market data."""
        from pytest_marketreplay.venues import okx_market

        return okx_market.decoder(self.name, self.endpoint(endpoint), websocket)


@hookimpl
def pytest_marketreplay_venues() -> list[Venue]:
    """Give OKX."""
    return [Okx()]
