"""Kraken spot: GET and POST for public calls, pair names in four spellings, errors with HTTP 200.

Sources: Kraken API documentation, "Spot REST", "Introduction", "Spot REST Authentication", "Errors"; its support page
"API symbols and tickers" for the names of assets (X for crypto, Z for fiat, XBT for BTC, XDG for DOGE).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_marketreplay.venues.profile import CLIENT_ORDER_IDS, VOLATILE, Venue
from pytest_marketreplay.venues.registry import hookimpl

if TYPE_CHECKING:
    from pytest_marketreplay.market.decoding import Decoder

_COMMON = {"XBT": "BTC", "XDG": "DOGE"}
_FIAT = ("USD", "EUR", "GBP", "CAD", "JPY", "CHF", "AUD")
_QUOTES = (
    *(f"Z{fiat}" for fiat in _FIAT),
    "USDT",
    "USDC",
    "USDQ",
    "USDR",
    "EURC",
    "EURQ",
    "EURR",
    "DAI",
    "PYUSD",
    *_FIAT,
    "XXBT",
    "XETH",
    "XBT",
    "BTC",
    "ETH",
    "DOT",
    "SOL",
)
_OLD_ASSETS = frozenset(
    ("ETC", "ETH", "LTC", "MLN", "REP", "XBT", "XDG", "XLM", "XMR", "XRP", "ZEC", "ICN", "NMC", "XVN")
)


def _asset(name: str) -> str:
    if len(name) == 4 and ((name[0] == "X" and name[1:] in _OLD_ASSETS) or (name[0] == "Z" and name[1:] in _FIAT)):
        name = name[1:]
    return _COMMON.get(name, name)


@lru_cache(maxsize=4096)
def pair_name(value: str) -> str | None:
    """Return the common name of a pair: `XBTUSD`, `XXBTZUSD`, `XBT/USD`, `BTC-USD` -> `BTC-USD`; None for a list.

    A name that cannot be taken apart is returned as it is, in upper case.
    """
    text = value.upper().replace("%2F", "/")
    if "," in text:
        return None
    text, dot, suffix = text.partition(".")  # dark pools: XBTUSD.d
    tail = f".{suffix.lower()}" if dot else ""
    if "/" in text or "-" in text:  # the common name itself, too: people ask for what the folder is called
        base, _, quote = text.partition("/" if "/" in text else "-")
        return f"{_asset(base)}-{_asset(quote)}{tail}"
    if match := re.fullmatch(r"(X[A-Z]{3})([XZ][A-Z]{3})", text):
        base, quote = match[1], match[2]
        if base[1:] in _OLD_ASSETS and (quote[1:] in _FIAT or quote[1:] in _OLD_ASSETS):
            return f"{_asset(base)}-{_asset(quote)}{tail}"
    for quote in _QUOTES:
        base = text.removesuffix(quote)
        # ZUSD and its kind only follow a base of four letters (USDTZUSD); XTZUSD is XTZ and USD
        if base != text and (len(base) == 4 if quote[0] in "ZX" and len(quote) == 4 else len(base) >= 2):
            return f"{_asset(base)}-{_asset(quote)}{tail}"
    return text + tail


class Kraken(Venue):
    """Kraken spot."""

    name = "kraken"
    hosts = ("api.kraken.com", "ws.kraken.com", "ws-auth.kraken.com", "api.cf.kraken.com")
    volatile = VOLATILE | CLIENT_ORDER_IDS | {"userref"}
    reference = frozenset(("/public/AssetPairs", "/public/Assets"))
    secret_fields: ClassVar[Mapping[str, tuple[str, ...]]] = {"/private/GetWebSocketsToken": ("token",)}

    def __init__(self) -> None:
        super().__init__(secret_headers=("api-key", "api-sign", "api-otp"), secret_params=("otp", "token"))

    def endpoint(self, path: str) -> str:
        """Strip the version prefix `/0`."""
        return path.removeprefix("/0") if path.startswith("/0/") else path

    def symbol(self, value: str) -> str | None:
        """Return the pair's common name; None for a list of pairs."""
        return pair_name(value)

    def error_body(self, status: int) -> Any:
        """Return an error as Kraken has it ("Errors")."""
        limited = {429: "EAPI:Rate limit exceeded", 418: "EGeneral:Temporary lockout", 503: "EService:Unavailable"}
        return {"error": [limited.get(status, "EGeneral:Internal error")]}

    def clock_error(self) -> tuple[int, Any]:
        """Return what Kraken says to a nonce that is not above the last one ("Errors")."""
        return 200, {"error": ["EAPI:Invalid nonce"]}

    def market(self, endpoint: str, *, websocket: bool = False) -> Decoder | None:
        """Return what reads an endpoint as market data."""
        from pytest_marketreplay.venues import kraken_market

        return kraken_market.decoder(self.name, self.endpoint(endpoint), websocket)

    def problem(self, status: int, answer: Any) -> str | None:
        """Tell the first error of the `error` list, which comes with HTTP 200."""
        errors = answer.get("error") if isinstance(answer, dict) else None
        if isinstance(errors, list) and errors:
            return ", ".join(map(str, errors))
        return super().problem(status, answer)


@hookimpl
def pytest_marketreplay_venues() -> list[Venue]:
    """Give Kraken."""
    return [Kraken()]
