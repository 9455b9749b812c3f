"""How each venue's whole order book is asked for over REST: base URL, path and parameters, and how it spells a pair.

Sources: Binance Spot and USD-M Futures, "Order Book" (limits 5 to 5000, 5 to 1000); Kraken, "Get Order Book" (`count` to
500); Coinbase Advanced Trade, "Get Public Product Book"; Bybit V5, "Get Orderbook" (spot, `limit` to 200); OKX V5, "GET
/ Order book" (`sz` to 400); Bitstamp, "Order book".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

if TYPE_CHECKING:
    from pytest_marketreplay.venues.profile import Venue


class Polling(NamedTuple):
    """How one venue's order books are asked for."""

    rest: str
    """The venue's own base URL."""
    query: Callable[[str, int], str]
    """Path and query for a pair (`BTC-USDT`), and how many levels a side are wanted at the least."""
    depths: tuple[int, ...]
    """How many levels a side can be asked for, in rising order."""

    def target(self, pair: str, levels: int) -> str:
        """Return path and query that give at least so many levels a side, or the most that there are."""
        return self.query(pair, next((depth for depth in self.depths if depth >= levels), self.depths[-1]))


_KRAKEN = {"BTC": "XBT", "DOGE": "XDG"}


def joined(pair: str) -> str:
    """Return `BTCUSDT` of `BTC-USDT`."""
    return re.sub("[-/_]", "", pair).upper()


def _kraken(pair: str) -> str:
    return "".join(_KRAKEN.get(part, part) for part in re.split("[-/_]", pair.upper()))


def _path(path: str, depth_name: str, symbol_name: str, spell: Callable[[str], str], **more: str) -> Callable[..., str]:
    def query(pair: str, depth: int) -> str:
        return f"{path}?{urlencode({**more, symbol_name: spell(pair), depth_name: depth})}"

    return query


def _bitstamp(pair: str, depth: int) -> str:
    return f"/api/v2/order_book/{joined(pair).lower()}/"


_SPOT = _path("/api/v3/depth", "limit", "symbol", joined)
_FUTURES = _path("/fapi/v1/depth", "limit", "symbol", joined)
_SPOT_DEPTHS = (100, 500, 1000, 5000)
_FUTURES_DEPTHS = (5, 10, 20, 50, 100, 500, 1000)
_KNOWN = {
    "binance": Polling("https://api.binance.com", _SPOT, _SPOT_DEPTHS),
    "binance_us": Polling("https://api.binance.us", _SPOT, _SPOT_DEPTHS),
    "binance_testnet": Polling("https://testnet.binance.vision", _SPOT, _SPOT_DEPTHS),
    "binance_futures": Polling("https://fapi.binance.com", _FUTURES, _FUTURES_DEPTHS),
    "binance_futures_testnet": Polling("https://testnet.binancefuture.com", _FUTURES, _FUTURES_DEPTHS),
    "kraken": Polling("https://api.kraken.com", _path("/0/public/Depth", "count", "pair", _kraken), (100, 500)),
    "coinbase": Polling(
        "https://api.coinbase.com",
        _path("/api/v3/brokerage/market/product_book", "limit", "product_id", str.upper),
        (100, 500, 1000),
    ),
    "bybit": Polling(
        "https://api.bybit.com", _path("/v5/market/orderbook", "limit", "symbol", joined, category="spot"), (50, 200)
    ),
    "okx": Polling("https://www.okx.com", _path("/api/v5/market/books", "sz", "instId", str.upper), (100, 400)),
    "bitstamp": Polling("https://www.bitstamp.net", _bitstamp, (0,)),
}


def of(venue: Venue) -> Polling | None:
    """Return how a venue is polled; None where nobody has described it."""
    return _KNOWN.get(venue.name)
