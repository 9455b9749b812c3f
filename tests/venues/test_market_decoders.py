"""What each venue's payloads say of the market, in the shapes that their documentation shows."""

from __future__ import annotations

import json
import zlib
from decimal import Decimal

import pytest
from venue_records import NOW, brief, rest, stream

from pytest_marketreplay.market.decoding import UNREADABLE, iso_ms, seconds_ms
from pytest_marketreplay.market.following import Break, Follower
from pytest_marketreplay.market.structs import DepthDiff
from pytest_marketreplay.venues.registry import Registry

KRAKEN_BOOK = {
    "channel": "book",
    "type": "snapshot",
    "data": [
        {"symbol": "BTC/USD", "bids": [{"price": 4.5, "qty": 1}], "asks": [{"price": 5, "qty": 2}], "checksum": 7}
    ],
}

REST = [
    ("binance", "/api/v3/depth", b'{"lastUpdateId":1,"bids":[["4.0","431.00"]],"asks":[]}', "BTCUSDT", {},
     ("book", "BTCUSDT", "4.0:431.00", "")),
    ("binance", "/api/v1/depth", b'{"lastUpdateId":1,"bids":[["4.0","1",[]]],"asks":[["5","1",[]]]}', "BTCUSDT", {},
     ("book", "BTCUSDT", "4.0:1", "5:1")),
    ("binance", "/api/v3/trades", [{"id": 1, "price": "4", "qty": "2", "time": 9, "isBuyerMaker": False}], "BTCUSDT", {},
     ("trade", "BTCUSDT", "4", "2", "buy", "1", 9)),
    ("binance", "/api/v3/aggTrades", [{"a": 5, "p": "4", "q": "2", "f": 1, "l": 2, "T": 9, "m": True}], "BTCUSDT", {},
     ("trade", "BTCUSDT", "4", "2", "sell", "5", 9)),
    ("binance_futures", "/fapi/v1/klines", [[9, "1", "3", "0.5", "2", "7", 10, "1", 4, "1", "1", "0"]], "X",
     {"interval": "1h"}, ("candle", "X", "1h", 9, "1 3 0.5 2 7")),
    ("binance", "/api/v3/ticker/bookTicker", {"symbol": "A", "bidPrice": "1", "bidQty": "1", "askPrice": "2", "askQty": "1"},
     "A", {}, ("ticker", "A", "1", "2")),
    ("kraken", "/0/public/Depth", {"error": [], "result": {"XXBTZUSD": {"bids": [["4", "1", 3]], "asks": []}}}, "BTC-USD", {},
     ("book", "BTC-USD", "4:1", "")),
    ("kraken", "/0/public/Trades", b'{"error":[],"result":{"XXBTZUSD":[["4","1",3.25,"b","m","",77]],"last":"9"}}', "BTC-USD",
     {}, ("trade", "BTC-USD", "4", "1", "buy", "77", 3250)),
    ("kraken", "/0/public/OHLC", {"error": [], "result": {"XBTUSD": [[60, "1", "3", "0.5", "2", "1.5", "7", 4]], "last": 1}},
     "BTC-USD", {"interval": "5"}, ("candle", "BTC-USD", "5", 60_000, "1 3 0.5 2 7")),
    ("coinbase", "/api/v3/brokerage/market/product_book",
     {"pricebook": {"product_id": "BTC-USD", "bids": [{"price": "4", "size": "1"}], "asks": []}}, "BTC-USD", {},
     ("book", "BTC-USD", "4:1", "")),
    ("coinbase", "/api/v3/brokerage/market/products/BTC-USD/ticker",
     {"trades": [{"trade_id": "1", "product_id": "BTC-USD", "price": "4", "size": "1", "time": "1970-01-01T00:00:01Z",
                  "side": "SELL"}]}, "BTC-USD", {}, ("trade", "BTC-USD", "4", "1", "buy", "1", 1000)),
    ("coinbase", "/api/v3/brokerage/market/products/BTC-USD/candles",
     {"candles": [{"start": "60", "low": "0.5", "high": "3", "open": "1", "close": "2", "volume": "7"}]}, "BTC-USD",
     {"granularity": "ONE_HOUR"}, ("candle", "BTC-USD", "ONE_HOUR", 60_000, "1 3 0.5 2 7")),
    ("coinbase_exchange", "/products/BTC-USD/book", {"sequence": 5, "bids": [["4", "1", 2]], "asks": []}, "BTC-USD", {},
     ("book", "BTC-USD", "4:1", "")),
    ("coinbase_exchange", "/products/BTC-USD/candles", b"[[60,0.5,3,1,2.10,7]]", "BTC-USD", {"granularity": "60"},
     ("candle", "BTC-USD", "60", 60_000, "1 3 0.5 2.10 7")),
    ("bybit", "/v5/market/orderbook", {"retCode": 0, "result": {"s": "X", "b": [["4", "1"]], "a": [], "ts": 1, "u": 3}}, "X",
     {}, ("book", "X", "4:1", "")),
    ("bybit", "/v5/market/recent-trade", {"retCode": 0, "result": {"list": [
        {"execId": "e", "symbol": "X", "price": "4", "size": "1", "side": "Sell", "time": "9"}]}}, "X", {},
     ("trade", "X", "4", "1", "sell", "e", 9)),
    ("bybit", "/v5/market/kline", {"retCode": 0, "result": {"symbol": "X", "list": [["9", "1", "3", "0.5", "2", "7", "8"]]}},
     "X", {"interval": "60"}, ("candle", "X", "60", 9, "1 3 0.5 2 7")),
    ("bybit", "/v5/market/tickers", {"retCode": 0, "result": {"list": [{"symbol": "X", "bid1Price": "1", "ask1Price": "2"}]}},
     "X", {}, ("ticker", "X", "1", "2")),
    ("bybit", "/v2/public/orderBook/L2", {"ret_code": 0, "result": [
        {"symbol": "X", "price": "4", "size": 1, "side": "Buy"}, {"symbol": "X", "price": "5", "size": 2, "side": "Sell"}]},
     "X", {}, ("book", "X", "4:1", "5:2")),
    ("okx", "/api/v5/market/books", {"code": "0", "data": [{"asks": [["5", "1", "0", "2"]], "bids": [], "ts": "9"}]},
     "BTC-USDT", {}, ("book", "BTC-USDT", "", "5:1")),
    ("okx", "/api/v5/market/trades", {"code": "0", "data": [
        {"instId": "A-B", "tradeId": "1", "px": "4", "sz": "2", "side": "buy", "ts": "9"}]}, "A-B", {},
     ("trade", "A-B", "4", "2", "buy", "1", 9)),
    ("okx", "/api/v5/market/candles", {"code": "0", "data": [["9", "1", "3", "0.5", "2", "7", "1", "1", "1"]]}, "A-B",
     {"bar": "1H"}, ("candle", "A-B", "1H", 9, "1 3 0.5 2 7")),
    ("okx", "/api/v5/market/ticker", {"code": "0", "data": [{"instId": "A-B", "bidPx": "1", "askPx": "2", "ts": "9"}]}, "A-B",
     {}, ("ticker", "A-B", "1", "2")),
    ("okx", "/api/spot/v3/instruments/A-B/candles", [["2020-03-27T10:38:00.000Z", "1", "3", "0.5", "2", "7"]], "A-B",
     {"granularity": "60"}, ("candle", "A-B", "60", 1585305480000, "1 3 0.5 2 7")),
    ("bitstamp", "/api/v2/order_book/btcusd/", {"timestamp": "1", "microtimestamp": "1000", "bids": [["4", "1"]], "asks": []},
     "BTCUSD", {}, ("book", "BTCUSD", "4:1", "")),
    ("bitstamp", "/api/v2/order_book/btcusd", {"timestamp": "1", "bids": [["4", "1", "17"], ["4", "2", "18"]], "asks": []},
     "BTCUSD", {"group": "2"}, ("book", "BTCUSD", "4:3", "")),
    ("bitstamp", "/api/v2/transactions/btcusd/", [{"date": "2", "tid": "1", "price": "4", "amount": "2", "type": "1"}],
     "BTCUSD", {}, ("trade", "BTCUSD", "4", "2", "sell", "1", 2000)),
    ("bitstamp", "/api/v2/ohlc/btcusd/", {"data": {"pair": "BTC/USD", "ohlc": [
        {"timestamp": "60", "open": "1", "high": "3", "low": "0.5", "close": "2", "volume": "7"}]}}, "BTCUSD", {"step": "60"},
     ("candle", "BTCUSD", "60", 60_000, "1 3 0.5 2 7")),
    ("bitstamp", "/api/v2/ticker/btcusd/", {"last": "4", "bid": "3", "ask": "5", "timestamp": "1"}, "BTCUSD", {},
     ("ticker", "BTCUSD", "3", "5")),
    ("kraken", "/0/public/Ticker", {"error": [], "result": {"XXBTZUSD": {"a": ["5", "1", "1.0"], "b": ["4", "1", "1.0"],
     "c": ["4.5", "1"]}}}, "BTC-USD", {}, ("ticker", "BTC-USD", "4", "5")),
    ("deribit", "/api/v2/public/get_order_book", b'{"result":{"instrument_name":"X","change_id":1,"bids":[[4.50,10.0]],"asks":[]}}',
     "X", {}, ("book", "X", "4.50:10.0", "")),
    ("deribit", "/api/v2/public/get_last_trades_by_instrument", {"result": {"trades": [
        {"instrument_name": "X", "price": 4, "amount": 1, "direction": "sell", "timestamp": 9, "trade_id": "t"}]}}, "X", {},
     ("trade", "X", "4", "1", "sell", "t", 9)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("venue", "endpoint", "body", "symbol", "params", "expected"), REST, ids=[f"{row[0]}{row[1]}" for row in REST]
)
def test_a_rest_answer_says_what_its_endpoint_documents(venue, endpoint, body, symbol, params, expected) -> None:
    (record,) = rest(venue, endpoint, body, symbol, **params)
    assert brief(record) == expected
    assert (record.venue, record.time_ns) == (venue, NOW)


STREAMS = [
    ("binance", "/ws/btcusdt@depth5", b'{"lastUpdateId":1,"bids":[["4.00","1"]],"asks":[]}', ("book", "BTCUSDT", "4.00:1", "")),
    ("binance", "/ws", {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": 1, "u": 2, "b": [["4", "0"]], "a": []},
     ("diff", "BTCUSDT", "4:0", "")),
    ("binance", "/ws/btcusdt@bookTicker", {"u": 1, "s": "BTCUSDT", "b": "4", "B": "1", "a": "5", "A": "1"},
     ("ticker", "BTCUSDT", "4", "5")),
    ("binance", "/stream", {"stream": "!ticker@arr", "data": [{"e": "24hrTicker", "s": "X", "b": "1", "a": "2", "p": "0.1"}]},
     ("ticker", "X", "1", "2")),
    ("kraken", "/v2", KRAKEN_BOOK, ("whole", "BTC-USD", "4.5:1", "5:2")),
    ("kraken", "/v2", {"channel": "trade", "type": "update", "data": [{"symbol": "ETH/USD", "side": "sell", "price": 4,
     "qty": 1, "ord_type": "market", "trade_id": 8, "timestamp": "1970-01-01T00:00:02.5Z"}]},
     ("trade", "ETH-USD", "4", "1", "sell", "8", 2500)),
    ("kraken", "/v2", {"channel": "ohlc", "type": "update", "data": [{"symbol": "ETH/USD", "open": 1, "high": 3, "low": 0.5,
     "close": 2, "trades": 1, "volume": 7, "vwap": 1, "interval_begin": "1970-01-01T00:01:00Z", "interval": 5}]},
     ("candle", "ETH-USD", "5", 60_000, "1 3 0.5 2 7")),
    ("kraken", "/v2", {"channel": "ticker", "type": "update", "data": [{"symbol": "ETH/USD", "bid": 1, "ask": 2}]},
     ("ticker", "ETH-USD", "1", "2")),
    ("kraken", "/", [7, {"a": [["5", "1", "2.5"]]}, {"b": [["4", "1", "2.6", "r"]], "c": "9"}, "book-10", "XBT/USD"],
     ("diff", "BTC-USD", "4:1", "5:1")),
    ("kraken", "/", [7, [["4", "1", "2.5", "b", "m", ""]], "trade", "XBT/USD"],
     ("trade", "BTC-USD", "4", "1", "buy", None, 2500)),
    ("kraken", "/", [7, ["100.5", "360.0", "1", "3", "0.5", "2", "1.5", "7", 4], "ohlc-5", "XBT/USD"],
     ("candle", "BTC-USD", "5", 60_000, "1 3 0.5 2 7")),
    ("kraken", "/", [7, {"a": ["5", 1, "1.0"], "b": ["4", 1, "1.0"], "c": ["4.5", "1"]}, "ticker", "XBT/USD"],
     ("ticker", "BTC-USD", "4", "5")),
    ("coinbase", "/", {"channel": "l2_data", "sequence_num": 0, "events": [{"type": "snapshot", "product_id": "BTC-USD",
     "updates": [{"side": "bid", "price_level": "4", "new_quantity": "1"}, {"side": "offer", "price_level": "5",
     "new_quantity": "2"}]}]}, ("whole", "BTC-USD", "4:1", "5:2")),
    ("coinbase_exchange", "/", {"type": "l2update", "product_id": "BTC-USD", "changes": [["buy", "4", "0"], ["sell", "5", "1"]]},
     ("diff", "BTC-USD", "4:0", "5:1")),
    ("coinbase_exchange", "/", {"type": "snapshot", "product_id": "BTC-USD", "bids": [["4", "1"]], "asks": []},
     ("whole", "BTC-USD", "4:1", "")),
    ("coinbase_exchange", "/", {"type": "match", "trade_id": 3, "side": "buy", "size": "1", "price": "4",
     "product_id": "BTC-USD", "time": "1970-01-01T00:00:01.5Z"}, ("trade", "BTC-USD", "4", "1", "sell", "3", 1500)),
    ("coinbase_exchange", "/", {"type": "ticker", "product_id": "BTC-USD", "best_bid": "4", "best_ask": "5"},
     ("ticker", "BTC-USD", "4", "5")),
    ("okx", "/ws/v5/public", {"arg": {"channel": "books5", "instId": "A-B"}, "data": [{"asks": [], "bids":
     [["4", "1", "0", "1"]], "ts": "9", "seqId": 3}]}, ("book", "A-B", "4:1", "")),
    ("okx", "/ws/v5/business", {"arg": {"channel": "candle1m", "instId": "A-B"}, "data": [["9", "1", "3", "0.5", "2", "7",
     "1", "1", "0"]]}, ("candle", "A-B", "1m", 9, "1 3 0.5 2 7")),
    ("okx", "/ws/v3", {"table": "spot/trade", "data": [{"instrument_id": "A-B", "price": "4", "size": "1", "side": "sell",
     "timestamp": "1970-01-01T00:00:01Z", "trade_id": "1"}]}, ("trade", "A-B", "4", "1", "sell", "1", 1000)),
    ("okx", "/ws/v3", {"table": "spot/candle60s", "data": [{"candle": ["1970-01-01T00:01:00Z", "1", "3", "0.5", "2", "7"],
     "instrument_id": "A-B"}]}, ("candle", "A-B", "60s", 60_000, "1 3 0.5 2 7")),
    ("deribit", "/ws/api/v2", {"method": "subscription", "params": {"channel": "trades.X.raw", "data": [{"price": 4,
     "instrument_name": "X", "amount": 1, "direction": "buy", "timestamp": 9, "trade_id": "t"}]}},
     ("trade", "X", "4", "1", "buy", "t", 9)),
    ("deribit", "/ws/api/v2", {"method": "subscription", "params": {"channel": "ticker.X.raw", "data": {"timestamp": 9,
     "instrument_name": "X", "best_bid_price": 4, "best_ask_price": 5}}}, ("ticker", "X", "4", "5")),
    ("coinbase", "/", {"channel": "candles", "sequence_num": 0, "events": [{"candles": [{"start": "60", "open": "1",
     "high": "3", "low": "0.5", "close": "2", "volume": "7", "product_id": "X"}]}]},
     ("candle", "X", "FIVE_MINUTE", 60_000, "1 3 0.5 2 7")),
    ("bitstamp", "/", {"event": "data", "channel": "order_book_btcusd", "data": {"microtimestamp": "1", "bids": [["4", "1"]],
     "asks": []}}, ("book", "BTCUSD", "4:1", "")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("venue", "path", "frame", "expected"), STREAMS, ids=[f"{row[0]}{row[1]}-{row[3][0]}" for row in STREAMS]
)
def test_a_frame_says_what_its_channel_documents(venue, path, frame, expected) -> None:
    (record,) = stream(venue, path, frame)
    assert brief(record) == expected


def test_okex_version_3_frames_are_deflated() -> None:
    book = {"table": "spot/depth_l2_tbt", "action": "partial", "data": [
        {"instrument_id": "A-B", "asks": [["5", "1", "0", "2"]], "bids": [], "timestamp": "1970-01-01T00:00:01Z", "checksum": -1}]}  # fmt: skip
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(json.dumps(book).encode()) + packer.flush()
    (diff,) = stream("okx", "/ws/v3", packed)
    assert isinstance(diff, DepthDiff)
    assert (diff.snapshot, diff.checksum, diff.exchange_ms) == (True, 0xFFFFFFFF, 1000)
    with pytest.raises(ValueError, match="deflated"):
        stream("okx", "/ws/v3", b"\xff\xfe\xfd")


def test_a_checksum_of_0_beside_a_sequence_is_none() -> None:
    body = {"arg": {"channel": "books", "instId": "A-B"}, "action": "update"}
    row = {"asks": [], "bids": [], "ts": "1", "checksum": 0}
    with_ids, without = stream(
        "okx", "/", {**body, "data": [{**row, "seqId": 5, "prevSeqId": 4}]}, {**body, "data": [row]}
    )
    assert isinstance(with_ids, DepthDiff)
    assert isinstance(without, DepthDiff)
    assert (with_ids.checksum, with_ids.previous_id, with_ids.last_id) == (None, 4, 5)
    assert without.checksum == 0


@pytest.mark.parametrize(("rows", "depth"), [(10, 10), (7, None), (25, 25)])
def test_a_full_kraken_v2_snapshot_tells_its_depth(rows: int, depth: int | None) -> None:
    levels = [{"price": 100 - number, "qty": 1} for number in range(rows)]
    book = {"symbol": "BTC/USD", "bids": levels, "asks": levels[:3], "checksum": 1}
    whole, update = stream(
        "kraken",
        "/v2",
        {"channel": "book", "type": "snapshot", "data": [book]},
        {"channel": "book", "type": "update", "data": [{**book, "bids": [], "asks": []}]},
    )
    assert isinstance(whole, DepthDiff)
    assert isinstance(update, DepthDiff)
    assert (whole.depth, update.depth, whole.snapshot, update.snapshot) == (depth, depth, True, False)


def test_kraken_v2_numbers_keep_their_zeros() -> None:
    frame = b'{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":4.50,"qty":0.10000000}],"asks":[]}]}'
    (diff,) = stream("kraken", "/v2", frame)
    assert isinstance(diff, DepthDiff)
    assert str(diff.bids[0].size) == "0.10000000"


def coinbase(number: int, symbol: str, kind: str = "update") -> dict[str, object]:
    return {
        "channel": "l2_data",
        "sequence_num": number,
        "events": [{"type": kind, "product_id": symbol, "updates": []}],
    }


def test_a_lost_coinbase_message_breaks_every_book_of_the_connection() -> None:
    """Message 3 is missing, and nobody knows whose it was."""
    diffs = stream(
        "coinbase",
        "/",
        coinbase(0, "BTC-USD", "snapshot"),
        coinbase(1, "ETH-USD", "snapshot"),
        {"channel": "heartbeats", "sequence_num": 2, "events": [{"heartbeat_counter": 1}]},
        coinbase(4, "BTC-USD"),
        coinbase(5, "BTC-USD"),
        coinbase(6, "ETH-USD"),
    )
    followers = {"BTC-USD": Follower(), "ETH-USD": Follower()}
    breaks = [followers[diff.symbol].apply(diff) for diff in diffs if isinstance(diff, DepthDiff)]
    assert breaks == [None, None, Break("chain", 0, 3), None, Break("chain", 1, 3)]


QUIET = [
    ("binance", "/ws", {"result": None, "id": 1}),
    ("binance", "/ws/key", {"e": "outboundAccountPosition", "E": 1, "u": 1, "B": [{"a": "BTC", "f": "1", "l": "0"}]}),
    ("binance", "/ws/key", {"e": "executionReport", "s": "X", "c": "mine", "p": "1", "q": "1", "t": -1, "b": 1, "m": False}),
    ("kraken", "/v2", {"channel": "heartbeat"}),
    ("kraken", "/v2", {"method": "pong", "req_id": 1}),
    ("kraken", "/v2", {"channel": "status", "type": "update", "data": [{"system": "online"}]}),
    ("kraken", "/", {"event": "heartbeat"}),
    ("kraken", "/", [[{"X": {}}], "openOrders", {"sequence": 1}]),
    ("coinbase", "/", {"channel": "user", "sequence_num": 0, "events": [{"type": "snapshot", "orders": []}]}),
    ("coinbase", "/", {"channel": "subscriptions", "sequence_num": 0, "events": [{"subscriptions": {}}]}),
    ("coinbase_exchange", "/", {"type": "subscriptions", "channels": []}),
    ("coinbase_exchange", "/", {"type": "open", "side": "sell", "trade_id": "no"}),
    ("bybit", "/v5/public/spot", {"success": True, "op": "subscribe"}),
    ("bybit", "/v5/private", {"topic": "wallet", "ts": "text", "data": [{}]}),
    ("okx", "/", b"pong"),
    ("okx", "/", {"event": "subscribe", "arg": {"channel": "books", "instId": "A-B"}}),
    ("okx", "/", {"arg": {"channel": "account", "uid": "1"}, "data": [{}]}),
    ("bitstamp", "/", {"event": "bts:subscription_succeeded", "channel": "live_trades_btcusd", "data": {}}),
    ("deribit", "/ws/api/v2", {"jsonrpc": "2.0", "id": 1, "result": ["book.X.raw"]}),
]  # fmt: skip


@pytest.mark.parametrize(("venue", "path", "frame"), QUIET)
def test_what_is_no_market_data_says_nothing(venue: str, path: str, frame: object) -> None:
    assert stream(venue, path, frame) == []


FAILED = [
    ("kraken", "/0/public/Depth", {"error": ["EQuery:Unknown asset pair"]}),
    ("bybit", "/v5/market/kline", {"retCode": 10001, "retMsg": "no", "result": {}}),
    ("bybit", "/v2/public/orderBook/L2", {"ret_code": 0, "result": None}),
    ("bybit", "/v5/market/orderbook", {"retCode": 10001, "retMsg": "no", "result": {}}),
    ("okx", "/api/v5/market/books", {"code": "51001", "msg": "no", "data": []}),
    ("deribit", "/api/v2/public/get_order_book", {"error": {"code": 1}}),
]


@pytest.mark.parametrize(("venue", "endpoint", "body"), FAILED)
def test_an_error_that_comes_with_status_200_says_nothing(venue: str, endpoint: str, body: object) -> None:
    assert rest(venue, endpoint, body, "X") == []


WRONG = [
    ("binance", "/ws", {"e": "trade", "s": "X", "q": "1"}),
    ("binance", "/ws", {"e": "depthUpdate", "s": "X", "U": 1, "u": 1, "b": "4", "a": []}),
    ("binance", "/ws", {"e": "trade", "s": "X", "p": [], "q": "1"}),
    ("binance", "/ws", {"e": "kline", "s": "X"}),
    ("binance", "/ws", {"e": "bookTicker", "s": "X", "b": [], "a": []}),
    ("kraken", "/", [1, {"a": [["4"]]}, "book-10", "XBT/USD"]),
    ("kraken", "/v2", {"channel": "book", "data": {}}),
    ("coinbase", "/", {"channel": "l2_data", "events": [{"updates": [{"side": 1}]}]}),
    ("coinbase_exchange", "/", {"type": "match", "product_id": "X"}),
    ("coinbase_exchange", "/", {"type": "l2update", "product_id": "X", "changes": [["buy"]]}),
    ("coinbase_exchange", "/", {"type": "l2update"}),
    ("bybit", "/", {"topic": "orderbook.50.X", "type": "delta", "data": {"s": "X"}}),
    ("bybit", "/", {"topic": "orderbook.50.X", "ts": "no", "data": {"s": "X"}}),
    ("okx", "/", {"arg": {"channel": "trades", "instId": "A-B"}, "data": [{"side": "buy"}]}),
    ("bitstamp", "/", {"event": "trade", "channel": "live_trades_x", "data": {}}),
    ("deribit", "/", {"method": "subscription", "params": {"channel": "book.X.raw", "data": {}}}),
]  # fmt: skip


WRONG_ANSWERS = [
    ("binance", "/api/v3/depth", {"lastUpdateId": 1, "bids": [], "asks": []}),
    ("kraken", "/0/public/Depth", {"error": []}),
    ("coinbase_exchange", "/products/X/trades", []),
    ("bybit", "/v5/market/orderbook", {"retCode": 0, "result": {"s": "X"}}),
    ("bybit", "/v5/market/kline", {"retCode": 0, "result": {"list": []}}),
    ("okx", "/api/v5/market/books", {"code": "0", "data": [{"asks": [], "bids": []}]}),
    ("bitstamp", "/api/v2/order_book/x", {"asks": [], "bids": []}),
    ("deribit", "/api/v2/public/get_order_book", {"result": {"asks": [], "bids": []}}),
]  # fmt: skip


@pytest.mark.parametrize(("venue", "endpoint", "body"), WRONG_ANSWERS)
def test_an_answer_that_names_no_symbol_or_lacks_its_parts_is_an_error(venue: str, endpoint: str, body: object) -> None:
    with pytest.raises(UNREADABLE):
        rest(venue, endpoint, body)


@pytest.mark.parametrize(("venue", "path", "frame"), WRONG)
def test_market_data_in_another_shape_is_an_error_and_not_nothing(venue: str, path: str, frame: object) -> None:
    with pytest.raises(UNREADABLE):
        stream(venue, path, frame)


def test_an_endpoint_without_market_data_has_no_decoder() -> None:
    for venue in Registry().venues.values():
        assert venue.market("/api/v3/account") is None, venue
    assert Registry().of("api.example.org").market("/x", websocket=True) is None


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:00.001Z", 1),
        ("2026-08-09T21:05:48.228568804Z", 1786309548228),
        ("2026-08-09T21:05:48.228568", 1786309548228),
        ("2026-08-09T23:05:48+02:00", 1786309548000),
    ],
)
def test_iso_times_lose_no_millisecond(text: str, milliseconds: int) -> None:
    assert iso_ms(text) == milliseconds


def test_seconds_lose_no_millisecond() -> None:
    assert seconds_ms("1618678163.323") == 1618678163323
    assert seconds_ms(Decimal("1762795433.9717445")) == 1762795433971
