"""How Kraken reads parameters, names its pairs and says no."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_marketreplay.errors import MarketReplayError

from .decimals import decimal_e8
from .instruments import Instrument
from .listing import Listing
from .market import Market

INVALID_ARGUMENTS = "EGeneral:Invalid arguments"
UNKNOWN_PAIR = "EQuery:Unknown asset pair"
UNKNOWN_METHOD = "EGeneral:Unknown method"

ASSETS = {
    "BNB": ("BNB", 8, 5),
    "USDT": ("USDT", 8, 4),
    "XETH": ("ETH", 10, 5),
    "XXBT": ("XBT", 10, 5),
    "ZUSD": ("USD", 4, 2),
}
"""Assets by Kraken's name: the short name, the decimals of the ledger, the decimals that are shown."""


class KrakenRefusal(MarketReplayError):
    """Carry an error of the Kraken API, which comes with HTTP status 200.

    Texts: "API error messages" in Kraken's support pages.
    """

    def __init__(self, error: str) -> None:
        self.error = error
        super().__init__(error)


class Arguments:
    """Read the arguments of one call, from the query string, a form or a JSON body."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = {name: "" if value is None else _text(value) for name, value in values.items()}

    def text(self, name: str) -> str:
        """Give an argument, or an empty text."""
        return self._values.get(name, "")

    def integer(self, name: str, default: int) -> int:
        """Read a whole number; raises KrakenRefusal when it is none."""
        value = self.text(name)
        if not value:
            return default
        if not value.isdecimal() or len(value) > 20:
            raise KrakenRefusal(INVALID_ARGUMENTS)
        return int(value)

    def amount_e8(self, name: str) -> int:
        """Read a mandatory positive decimal as 1e-8 parts; raises KrakenRefusal that names the argument."""
        amount = decimal_e8(self.text(name))
        if not amount:
            raise KrakenRefusal(f"{INVALID_ARGUMENTS}:{name}")
        return amount

    def flag(self, name: str) -> bool:
        """Read a yes or no."""
        return self.text(name).lower() in ("true", "1")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class Pairs:
    """Find a pair by any of its names: `XXBTZUSD`, `XBTUSD`, `XBT/USD`, `BTC/USD`."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._by_name: dict[str, str] = {}
        for symbol, listing in market.listings.items():
            instrument = listing.instrument
            for name in (symbol, instrument.altname, instrument.wsname, modern_name(instrument)):
                self._by_name[name] = symbol

    def find(self, name: str) -> Listing:
        """Give the listing; raises KrakenRefusal for a name that is missing or unknown."""
        if not name:
            raise KrakenRefusal(INVALID_ARGUMENTS)
        symbol = self._by_name.get(name)
        if symbol is None:
            raise KrakenRefusal(UNKNOWN_PAIR)
        return self._market.listings[symbol]

    def each(self, names: str) -> list[tuple[str, Listing]]:
        """List pairs of a comma-separated text, or all, with the key that each has in the answer.

        A pair that is asked for by a WebSocket name comes back under that name, else under its full name.
        """
        listings = self._market.listings
        if not names:
            return list(listings.items())
        found = [(name, self.find(name)) for name in names.split(",")]
        return [(result_key(name, listing.instrument), listing) for name, listing in found]


def result_key(asked: str, instrument: Instrument) -> str:
    """Give the key under which a pair stands in an answer."""
    return asked if asked in (instrument.wsname, modern_name(instrument)) else instrument.symbol


def modern_name(instrument: Instrument) -> str:
    """Give a pair's name in version 2 of the WebSocket, where bitcoin is BTC."""
    return instrument.wsname.replace("XBT", "BTC")


def find_asset(name: str) -> str:
    """Give the full name of an asset; raises KrakenRefusal for an unknown one."""
    for asset, (altname, _, _) in ASSETS.items():
        if name in (asset, altname):
            return asset
    raise KrakenRefusal("EQuery:Unknown asset")


def chosen_assets(names: str) -> Iterable[str]:
    """List the assets of a comma-separated text, or all."""
    return [find_asset(name) for name in names.split(",")] if names else list(ASSETS)
