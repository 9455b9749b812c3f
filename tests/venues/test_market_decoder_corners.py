"""The channels and endpoints that are asked for less often, and messages that say nothing of the market."""

from __future__ import annotations

import pytest
from venue_records import NOW, brief, decoder, rest, stream

from pytest_marketreplay.market.decoding import Decoder, Source, side_of
from pytest_marketreplay.market.structs import DepthDiff

STREAMS = [
    ("bitstamp", {"event": "data", "channel": "diff_order_book_btcusd", "data": {"microtimestamp": "2000", "bids":
     [["4", "0"]], "asks": [["5", "1"]]}}, ("diff", "BTCUSD", "4:0", "5:1")),
    ("bitstamp", {"event": "trade", "channel": "live_trades_btcusd", "data": {"id": 3, "type": 1, "price_str": "4.50",
     "amount_str": "0.10", "microtimestamp": "2500000"}}, ("trade", "BTCUSD", "4.50", "0.10", "sell", "3", 2500)),
    ("bybit", {"topic": "publicTrade.X", "type": "snapshot", "ts": 9, "data": [{"T": 8, "s": "X", "S": "Sell", "v": "1",
     "p": "4.50", "i": "e"}]}, ("trade", "X", "4.50", "1", "sell", "e", 8)),
    ("bybit", {"topic": "kline.5.X", "type": "snapshot", "ts": 9, "data": [{"start": 60_000, "end": 359_999, "interval": "5",
     "open": "1", "close": "2", "high": "3", "low": "0.5", "volume": "7", "confirm": False, "timestamp": 9}]},
     ("candle", "X", "5", 60_000, "1 3 0.5 2 7")),
    ("bybit", {"topic": "tickers.X", "type": "snapshot", "ts": 9, "data": {"symbol": "X", "bid1Price": "1", "ask1Price": ""}},
     ("ticker", "X", "1", "None")),
    ("coinbase", {"channel": "market_trades", "sequence_num": 0, "events": [{"type": "update", "trades": [{"trade_id": "3",
     "product_id": "BTC-USD", "price": "4", "size": "1", "side": "BUY", "time": "1970-01-01T00:00:01.5Z"}]}]},
     ("trade", "BTC-USD", "4", "1", "sell", "3", 1500)),
    ("coinbase", {"channel": "ticker", "sequence_num": 0, "events": [{"type": "update", "tickers": [
     {"product_id": "BTC-USD", "best_bid": "4", "best_ask": "5"}]}]}, ("ticker", "BTC-USD", "4", "5")),
    ("deribit", {"method": "subscription", "params": {"channel": "book.X.100ms", "data": {"type": "change", "timestamp": 9,
     "instrument_name": "X", "change_id": 8, "prev_change_id": 7, "bids": [["delete", 4, 0]], "asks": [["new", 5, 1]]}}},
     ("diff", "X", "4:0", "5:1")),
    ("okx", {"arg": {"channel": "tickers", "instId": "A-B"}, "data": [{"instId": "A-B", "bidPx": "1", "askPx": "2",
     "ts": "9"}]}, ("ticker", "A-B", "1", "2")),
]  # fmt: skip


@pytest.mark.parametrize(("venue", "frame", "expected"), STREAMS, ids=[f"{row[0]}-{row[2][0]}" for row in STREAMS])
def test_a_frame_says_what_its_channel_documents(venue, frame, expected) -> None:
    (record,) = stream(venue, "/", frame)
    assert brief(record) == expected
    assert (record.venue, record.time_ns) == (venue, NOW)


REST = [
    ("coinbase_exchange", "/products/BTC-USD/trades", [{"trade_id": 3, "side": "sell", "size": "1", "price": "4",
     "time": "1970-01-01T00:00:01.5Z"}], "BTC-USD", ("trade", "BTC-USD", "4", "1", "buy", "3", 1500)),
    ("okx", "/api/spot/v3/instruments/A-B/book", {"asks": [["5", "1", "2"]], "bids": [],
     "timestamp": "1970-01-01T00:00:01Z"}, "A-B", ("book", "A-B", "", "5:1")),
    ("okx", "/api/spot/v3/instruments/A-B/trades", [{"price": "4", "size": "1", "side": "sell", "trade_id": "1",
     "timestamp": "1970-01-01T00:00:01Z"}], "A-B", ("trade", "A-B", "4", "1", "sell", "1", 1000)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("venue", "endpoint", "body", "symbol", "expected"), REST, ids=[f"{row[0]}{row[1]}" for row in REST]
)
def test_an_older_endpoint_is_read_too(venue, endpoint, body, symbol, expected) -> None:
    (record,) = rest(venue, endpoint, body, symbol)
    assert brief(record) == expected


@pytest.mark.parametrize(
    ("venue", "frame"),
    [
        ("binance", {"e": "markPriceUpdate", "E": 1, "s": "X", "p": "4", "T": 2}),
        ("bitstamp", {"event": "data", "channel": "live_orders_btcusd", "data": {"id": 1}}),
        ("coinbase", {"channel": "user", "sequence_num": 0, "events": [{"type": "snapshot", "updates": "none"}]}),
        ("deribit", {"method": "subscription", "params": {"channel": "quote.X", "data": {"timestamp": 1}}}),
        ("deribit", {"method": "subscription", "params": {"channel": "book.X.none.10.100ms", "data": {"bids": []}}}),
        ("kraken", [7, ["4", "5", "1.5", "1", "1"], "spread", "XBT/USD"]),
        ("okx", {"arg": {"channel": "funding-rate", "instId": "A-B"}, "data": [{"fundingRate": "0.1"}]}),
        ("okx", {"table": "spot/ticker", "data": [{"instrument_id": "A-B"}]}),
    ],
)
def test_a_channel_that_nobody_described_gives_nothing_and_no_error(venue, frame) -> None:
    assert stream(venue, "/", frame) == []


def test_a_decoder_of_a_third_party_that_reads_nothing_gives_nothing() -> None:
    assert list(Decoder("mine").read(b"{}", Source(NOW, None))) == []


def test_coinbase_diffs_without_a_number_have_no_ids_to_chain() -> None:
    """A recording by hand may lack `sequence_num`; a diff then claims nothing about its place."""
    frame = {"channel": "l2_data", "events": [{"type": "update", "product_id": "BTC-USD", "updates": []}]}
    for diff in stream("coinbase", "/", frame, frame):
        assert isinstance(diff, DepthDiff)
        assert (diff.previous_id, diff.last_id) == (None, None)


def test_a_market_frame_of_another_shape_is_an_error() -> None:
    with pytest.raises(ValueError, match="updates"):
        stream("coinbase", "/", {"channel": "l2_data", "sequence_num": 1, "events": [{"updates": "none"}]})
    assert decoder("coinbase", "/", websocket=True).venue == "coinbase"


@pytest.mark.parametrize(("word", "side"), [("BUY", "buy"), ("s", "sell"), ("", None), (None, None), ("none", None)])
def test_a_side_is_one_of_two_words_or_unknown(word: str | None, side: str | None) -> None:
    assert side_of(word) == side
