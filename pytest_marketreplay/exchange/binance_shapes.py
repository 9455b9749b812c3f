"""The rows that Binance's endpoints give: field names, order and types as the Spot REST API documents them."""

from __future__ import annotations

from collections.abc import Sequence

from .book import Level
from .candles import Span
from .decimals import E8, decimal_text
from .instruments import Instrument
from .listing import Listing
from .trades import DAY_MS, Trade


def price_text(instrument: Instrument, tick: int) -> str:
    """Write the price of a tick."""
    return decimal_text(instrument.price_e8(tick))


def level_row(instrument: Instrument, level: Level) -> list[str]:
    """Give a book level as price and quantity."""
    return [price_text(instrument, level.tick), decimal_text(level.quantity)]


def trade_row(instrument: Instrument, trade: Trade) -> dict[str, object]:
    """Give a public trade."""
    return {
        "id": trade.id,
        "price": price_text(instrument, trade.tick),
        "qty": decimal_text(trade.quantity),
        "quoteQty": decimal_text(instrument.price_e8(trade.tick) * trade.quantity // E8),
        "time": trade.time_ms,
        "isBuyerMaker": trade.buyer_is_maker,
        "isBestMatch": True,
    }


def grouped(trades: Sequence[Trade]) -> list[list[Trade]]:
    """Put trades together that one taker made at one price."""
    groups: list[list[Trade]] = []
    for trade in trades:
        if groups and groups[-1][0].aggregate_id == trade.aggregate_id:
            groups[-1].append(trade)
        else:
            groups.append([trade])
    return groups


def aggregate_row(instrument: Instrument, group: list[Trade]) -> dict[str, object]:
    """Give an aggregate trade."""
    first = group[0]
    return {
        "a": first.aggregate_id,
        "p": price_text(instrument, first.tick),
        "q": decimal_text(sum(trade.quantity for trade in group)),
        "f": first.id,
        "l": group[-1].id,
        "T": first.time_ms,
        "m": first.buyer_is_maker,
        "M": True,
    }


def kline_row(instrument: Instrument, open_ms: int, close_ms: int, span: Span) -> list[object]:
    """Give a candle."""
    return [
        open_ms,
        price_text(instrument, span.open),
        price_text(instrument, span.high),
        price_text(instrument, span.low),
        price_text(instrument, span.close),
        decimal_text(span.volume),
        close_ms,
        decimal_text(span.quote_volume),
        span.trade_count,
        decimal_text(span.taker_volume),
        decimal_text(span.taker_quote_volume),
        "0",
    ]


def best_prices(listing: Listing) -> dict[str, str]:
    """Give the best bid and ask with their quantities."""
    bid_price, bid_quantity = level_row(listing.instrument, listing.book.best(True))
    ask_price, ask_quantity = level_row(listing.instrument, listing.book.best(False))
    return {"bidPrice": bid_price, "bidQty": bid_quantity, "askPrice": ask_price, "askQty": ask_quantity}


def day_row(listing: Listing, now_ms: int, mini: bool) -> dict[str, object]:
    """Give the 24-hour statistics of a symbol, in full or without the change and the best prices."""
    instrument = listing.instrument
    span, trades, previous = listing.last_day(now_ms)
    last = listing.trades[-1]
    change = span.close - span.open
    percent = abs(change) * 100 * E8 // span.open * (1 if change >= 0 else -1)
    prices = {
        "openPrice": price_text(instrument, span.open),
        "highPrice": price_text(instrument, span.high),
        "lowPrice": price_text(instrument, span.low),
    }
    tail: dict[str, object] = {
        "volume": decimal_text(span.volume),
        "quoteVolume": decimal_text(span.quote_volume),
        "openTime": now_ms - DAY_MS,
        "closeTime": now_ms,
        "firstId": trades[0].id if trades else -1,
        "lastId": trades[-1].id if trades else -1,
        "count": span.trade_count,
    }
    symbol, last_price = instrument.symbol, price_text(instrument, last.tick)
    if mini:
        return {"symbol": symbol, **prices, "lastPrice": last_price, **tail}
    return {
        "symbol": symbol,
        "priceChange": price_text(instrument, change),
        "priceChangePercent": decimal_text(percent, 3),
        "weightedAvgPrice": decimal_text(span.quote_volume * E8 // span.volume if span.volume else 0),
        "prevClosePrice": price_text(instrument, previous.tick),
        "lastPrice": last_price,
        "lastQty": decimal_text(last.quantity),
        **best_prices(listing),
        **prices,
        **tail,
    }


def rate_limit_row(kind: str, interval: str, number: int, limit: int) -> dict[str, object]:
    """Give one rate limit of exchangeInfo."""
    return {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}


def symbol_info(instrument: Instrument) -> dict[str, object]:
    """Give the trading rules of a symbol: only order types that the simulated exchange knows are listed."""
    tick, step = decimal_text(instrument.tick_e8), decimal_text(instrument.step_e8)
    return {
        "symbol": instrument.symbol,
        "status": "TRADING",
        "baseAsset": instrument.base,
        "baseAssetPrecision": 8,
        "quoteAsset": instrument.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": False,
        "ocoAllowed": False,
        "otoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": False,
        "allowAmend": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000.00000000", "stepSize": step},
            {
                "filterType": "MARKET_LOT_SIZE",
                "minQty": "0.00000000",
                "maxQty": "9000.00000000",
                "stepSize": "0.00000000",
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": decimal_text(instrument.minimum_e8),
                "applyMinToMarket": True,
                "maxNotional": "9000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "NONE",
        "allowedSelfTradePreventionModes": ["NONE"],
    }
