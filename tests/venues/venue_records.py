"""Reading payloads with a venue's own decoders, and records in one line."""

from __future__ import annotations

import json

from pytest_marketreplay.market.decoding import Decoder, Source
from pytest_marketreplay.market.structs import Candle, DepthDiff, OrderBook, Record, Ticker, Trade
from pytest_marketreplay.venues.registry import Registry

NOW = 1_700_000_000_000_000_000


def decoder(venue: str, endpoint: str, *, websocket: bool = False) -> Decoder:
    found = Registry().venues[venue].market(endpoint, websocket=websocket)
    assert found is not None
    return found


def rest(venue: str, endpoint: str, body: object, symbol: str | None = None, **params: str) -> list[Record]:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return list(decoder(venue, endpoint).read(payload, Source(NOW, symbol, params)))


def stream(venue: str, path: str, *frames: object, symbol: str | None = None) -> list[Record]:
    reader = decoder(venue, path, websocket=True)
    out: list[Record] = []
    for frame in frames:
        payload = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
        out += reader.read(payload, Source(NOW, symbol))
    return out


def brief(record: Record) -> tuple[object, ...]:
    """A record in one line, to compare with what is expected."""
    if isinstance(record, OrderBook | DepthDiff):
        kind = "book" if isinstance(record, OrderBook) else "whole" if record.snapshot else "diff"
        sides = [" ".join(f"{price}:{size}" for price, size in side) for side in (record.bids, record.asks)]
        return kind, record.symbol, *sides
    if isinstance(record, Trade):
        return (
            "trade",
            record.symbol,
            str(record.price),
            str(record.size),
            record.side,
            record.trade_id,
            record.exchange_ms,
        )
    if isinstance(record, Candle):
        ohlc = " ".join(map(str, (record.open, record.high, record.low, record.close, record.volume)))
        return "candle", record.symbol, record.interval, record.open_ms, ohlc
    assert isinstance(record, Ticker)
    return "ticker", record.symbol, str(record.bid), str(record.ask)
