"""The Binance family: spot, Binance.US and the USD-M futures.

Sources: Binance Spot API documentation, "General API Information", "Request Security", "Error Codes";
USD-M Futures documentation, "General Info". Futures stand apart from spot because equal symbols mean other instruments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.cassette.request import Asked
from pytest_marketreplay.venues.profile import Location, Venue
from pytest_marketreplay.venues.registry import hookimpl

if TYPE_CHECKING:
    from pytest_marketreplay.market.decoding import Decoder

_LISTEN_KEY = ("listenKey",)


_ERRORS = {
    429: (-1003, "Too many requests; current limit is 6000 request weight per 1 MINUTE."),
    418: (-1003, "Way too much request weight used; IP banned."),
    503: (-1001, "Internal error; unable to process your request. Please try again."),
    504: (-1007, "Timeout waiting for response from backend server. Send status unknown; execution status unknown."),
}


class BinanceFamily(Venue):
    """What all of them share: `symbol` in upper case, `X-MBX-APIKEY`, a `signature`, `{"code": -1121, "msg": ...}`."""

    def __init__(self, name: str, hosts: tuple[str, ...], prefixes: tuple[str, ...]) -> None:
        super().__init__(
            name,
            hosts,
            secret_headers=("x-mbx-apikey",),
            secret_params=("signature", "listenKey", "apiKey"),
            # trading-session status and sub-account e-mail flags are no credentials
            public_params=("tokenSymbol", "sessionId"),
        )
        self.reference = frozenset(f"{prefix}/exchangeInfo" for prefix in prefixes)
        self.secret_fields: Mapping[str, tuple[str, ...]] = {  # type: ignore[misc]  # differs by member
            "/api/v3/userDataStream": _LISTEN_KEY,
            "/sapi/v1/userDataStream": _LISTEN_KEY,
            "/sapi/v1/userDataStream/isolated": _LISTEN_KEY,
            "/sapi/v1/userListenToken": ("token",),
            "/fapi/v1/listenKey": _LISTEN_KEY,
            "/dapi/v1/listenKey": _LISTEN_KEY,
            "/papi/v1/listenKey": _LISTEN_KEY,
        }

    def symbol(self, value: str) -> str | None:
        """Return the symbol in upper case; Binance refuses lower case, so nothing is mixed by it."""
        return value.upper()

    def locate_stream(self, asked: Asked) -> Location:
        """Return the one symbol that all streams of a URL are of (`/ws/btcusdt@depth`, `/stream?streams=a@b/a@c`)."""
        named = [str(value) for name, value in asked.params if name.lower() == "streams"]
        streams = "/".join([asked.path.partition("/ws/")[2], *named]).split("/")
        symbols = {stream.partition("@")[0].upper() for stream in streams if "@" in stream and stream[0] != "!"}
        whole = all("@" in stream and stream[0] != "!" for stream in streams if stream)
        return Location(self.endpoint(asked.path), symbols.pop() if whole and len(symbols) == 1 else None)

    def error_body(self, status: int) -> Any:
        """Return an error as Binance has it ("Error Codes")."""
        code, text = _ERRORS.get(status, (-1000, "An unknown error occurred while processing the request."))
        return {"code": code, "msg": text}

    def clock_error(self) -> tuple[int, Any]:
        """Return what Binance says to a timestamp that is off ("Error Codes", -1021)."""
        return 400, {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}

    def market(self, endpoint: str, *, websocket: bool = False) -> Decoder | None:
        """Return what reads an endpoint as market data."""
        from pytest_marketreplay.venues import binance_market

        return binance_market.decoder(self.name, self.endpoint(endpoint), websocket)

    def problem(self, status: int, answer: Any) -> str | None:
        """Tell the code and message of an error ("Error Codes"); 429 is the rate limit, 418 the ban that follows."""
        if status < 400:
            return None
        kind = {429: "rate limited (HTTP 429)", 418: "banned (HTTP 418)"}.get(status, f"HTTP {status}")
        if isinstance(answer, dict) and "code" in answer:
            return f"{kind}: {answer['code']} {answer.get('msg', '')}".rstrip()
        return kind


@hookimpl
def pytest_marketreplay_venues() -> list[Venue]:
    """Give the family's members."""
    return [
        BinanceFamily(
            "binance",
            (
                "api.binance.com",
                "api[1-4].binance.com",
                "api-gcp.binance.com",
                "data-api.binance.vision",
                "stream.binance.com",
                "stream.binance.com:9443",
                "data-stream.binance.vision",
                "ws-api.binance.com",
            ),
            ("/api/v3", "/api/v1"),
        ),
        BinanceFamily(
            "binance_us", ("api.binance.us", "stream.binance.us", "stream.binance.us:9443"), ("/api/v3", "/api/v1")
        ),
        BinanceFamily(
            "binance_futures",
            ("fapi.binance.com", "fstream.binance.com"),
            ("/fapi/v1",),
        ),
        # venues of their own: their prices are not those of the real markets, and must never play for them
        BinanceFamily(
            "binance_testnet", ("testnet.binance.vision", "*.testnet.binance.vision"), ("/api/v3", "/api/v1")
        ),
        BinanceFamily(
            "binance_futures_testnet",
            ("testnet.binancefuture.com", "stream.binancefuture.com", "demo-fapi.binance.com"),
            ("/fapi/v1",),
        ),
    ]
