"""`krakenex`: public and signed calls, all of them POST with a form body."""

from __future__ import annotations

from typing import Any, ClassVar

from .contract import SdkContract
from .needed import needed
from .stage import Play, Stage

krakenex = needed("krakenex", "krakenex")


def client(stage: Stage) -> Any:
    api = krakenex.API(key=stage.key, secret=stage.secret)
    api.uri = stage.rest
    return api


def public(stage: Stage) -> list[Any]:
    api = client(stage)
    try:
        return [
            api.query_public(method, data)
            for method, data in (
                ("Time", {}),
                ("AssetPairs", {"pair": "XBTUSD"}),
                ("Depth", {"pair": "XBTUSD", "count": "5"}),
                ("Depth", {"pair": "ETHUSD", "count": "5"}),
                ("Depth", {"pair": "XBTUSD", "count": "5"}),
                ("Ticker", {"pair": "XBTUSD"}),
                ("Trades", {"pair": "XBTUSD"}),
                ("OHLC", {"pair": "XBTUSD", "interval": "1"}),
                ("Depth", {"pair": "NOPE"}),
            )
        ]
    finally:
        api.close()


def signed(stage: Stage) -> list[Any]:
    api = client(stage)
    order = {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "price": "100.0", "volume": "0.5"}
    try:
        got = [api.query_private("Balance"), api.query_private("AddOrder", order)]
        placed = got[-1]["result"]["txid"][0]
        got += [api.query_private("OpenOrders"), api.query_private("CancelOrder", {"txid": placed})]
        got.append(api.query_private("OpenOrders"))
        return got
    finally:
        api.close()


class TestKrakenex(SdkContract):
    plays: ClassVar[dict[str, Play]] = {"public": Play("kraken", public), "signed": Play("kraken", signed)}
