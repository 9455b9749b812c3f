"""Every recorded stream of depth diffs rebuilds its book without a gap; a lost frame or a changed level is found."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pytest_marketreplay.data.market import MarketData
from pytest_marketreplay.errors import BookGap
from pytest_marketreplay.market.structs import OrderBook

from . import recorded_data, recorded_streams
from .recorded_streams import Stream


def given(*venues: str) -> list[Any]:
    """Return the streams to test with; without the set there is one test, which is skipped with the reason."""
    found = [stream for stream in recorded_streams.checked() if not venues or stream.venue in venues]
    return [pytest.param(stream, id=stream.id) for stream in found] or [pytest.param(None, id="no-data")]


def rebuilt(cassette: Path, stream: Stream, **options: str) -> list[OrderBook]:
    return list(MarketData([cassette], **options).rebuilt(stream.venue, depth=5))


def common(stream: Stream, name: str) -> str:
    """Return the symbol that the index's book check means: `orderbook.200.BTCUSDT`, `book.X.raw`, `XBT/CHF`."""
    from pytest_marketreplay.venues.registry import Registry

    bare = {"bybit": name.rpartition(".")[2], "deribit": name.removeprefix("book.").removesuffix(".raw")}
    return Registry().venues[stream.venue].symbol(bare.get(stream.venue, name)) or name


@pytest.mark.parametrize("stream", given())
def test_every_depth_stream_joins_its_snapshot_and_chains_to_its_end(stream: Stream, tmp_path: Path) -> None:
    recorded_streams.write(tmp_path, stream)
    data = MarketData([tmp_path], gaps="report")

    books = list(data.rebuilt(stream.venue, depth=5))

    assert [str(gap) for gap in data.gaps] == []
    last = {book.symbol: book for book in books}
    if stream.venue != "coinbase":  # whose verdict is on the connection as a whole
        assert set(last) == {common(stream, name) for name in stream.book_check}
    for name, verdict in stream.book_check.items():
        if "last_u" in verdict:
            assert last[common(stream, name)].update_id == verdict["last_u"]
    # a snapshot that a stream sends itself has nothing yet to be checked by, but OKX's checksum
    checked = Counter(book.symbol for book in books if book.checked)
    all_of = Counter(book.symbol for book in books)
    assert all(all_of[symbol] - checked[symbol] <= 1 for symbol in all_of)
    assert all(book.bids[0].price < book.asks[0].price for book in books if book.bids and book.asks)


@pytest.mark.parametrize("stream", given("kraken", "okx"))
def test_every_update_has_the_venues_checksum(stream: Stream, tmp_path: Path) -> None:
    recorded_streams.write(tmp_path, stream)

    checked = Counter(book.symbol for book in rebuilt(tmp_path, stream) if book.checked)

    assert checked == {common(stream, name): verdict["crc_ok"] for name, verdict in stream.book_check.items()}


def is_diff(line: dict[str, Any]) -> bool:
    name = str(line.get("stream") or line.get("channel"))
    return any(word in name for word in ("@depth", "orderbook.", "l2_data", "book.", "books:"))


@pytest.mark.parametrize(
    "stream", given("binance", "binance_us", "binance_futures", "bybit", "coinbase", "deribit", "okx")
)
def test_a_lost_frame_is_found(stream: Stream, tmp_path: Path) -> None:
    """Of the symbol with the most diffs, one in the middle is taken out; the gap shows at its next one."""
    lines = [json.loads(line) for line in stream.file.read_bytes().splitlines()]
    received = [line for line in lines if line.get("dir") != "send"]
    busiest, _ = Counter(line["symbol"] for line in received if is_diff(line)).most_common(1)[0]
    numbers = [number for number, line in enumerate(received) if line["symbol"] == busiest and is_diff(line)]
    lost = numbers[len(numbers) // 2]
    recorded_streams.write(tmp_path, stream, lambda number, line: None if number == lost else line)

    with pytest.raises(BookGap) as caught:
        rebuilt(tmp_path, stream)

    gap = caught.value
    assert gap.kind == ("checksum" if stream.venue == "okx" else "chain")
    assert gap.expected != gap.found
    if stream.venue != "coinbase":  # any book of the connection may be the one that lost it
        assert gap.symbol == common(stream, busiest)
    # the open line, the sent ones and the lost one stand before it or are gone
    sent_before = sum(line.get("dir") == "send" for line in lines)
    assert gap.line >= lost + 1 + sent_before
    assert gap.path.read_bytes().count(b"\n") >= gap.line


@pytest.mark.parametrize("stream", given("kraken", "okx"))
def test_a_changed_size_near_the_best_price_is_found_at_once(stream: Stream, tmp_path: Path) -> None:
    changed: list[int] = []

    def change(number: int, line: dict[str, Any]) -> dict[str, Any]:
        data = line["data"]
        if changed or number < 150:
            return line
        if isinstance(data, list) and isinstance(data[1], dict):
            rows = data[1].get("b") or data[1].get("a") or []
        elif isinstance(data, dict) and data.get("action") == "update":
            rows = data["data"][0]["bids"][:1]
        else:
            rows = []
        if rows and float(rows[0][1]):
            rows[0][1] = rows[0][1][:-1] + ("1" if rows[0][1][-1] != "1" else "2")
            changed.append(number)
            return dict(line)
        return line

    recorded_streams.write(tmp_path, stream, change)

    with pytest.raises(BookGap) as caught:
        rebuilt(tmp_path, stream)
    assert caught.value.kind == "checksum"
    assert changed


@pytest.mark.parametrize("stream", given("bitstamp"))
def test_a_stream_without_ids_is_held_to_the_order_of_its_times(stream: Stream, tmp_path: Path) -> None:
    held: list[dict[str, Any]] = []

    def swap(number: int, line: dict[str, Any]) -> dict[str, Any] | None:
        if line["symbol"] != "BATBTC" or "microtimestamp" not in json.dumps(line["data"]) or number < 300:
            return line
        held.append(line)
        if len(held) == 2:  # the second diff says that it is older than the first
            held[1]["data"]["data"]["microtimestamp"] = str(int(held[0]["data"]["data"]["microtimestamp"]) - 1)
        return dict(line)

    recorded_streams.write(tmp_path, stream, swap)

    with pytest.raises(BookGap, match="goes backwards") as caught:
        rebuilt(tmp_path, stream)
    assert caught.value.symbol == "BATBTC"


@pytest.mark.parametrize("stream", given("binance_futures"))
def test_diffs_that_begin_after_the_snapshot_do_not_join_it(stream: Stream, tmp_path: Path) -> None:
    """The frames around the snapshot are lost, so what remains does not follow it: no book is better than a wrong one."""
    recorded_streams.write(tmp_path, stream, lambda number, line: None if number < 800 and is_diff(line) else line)

    with pytest.raises(BookGap, match="no snapshot that the diffs follow") as caught:
        rebuilt(tmp_path, stream)
    assert caught.value.kind == "join"


@pytest.mark.parametrize("stream", given("bybit"))
def test_spot_and_linear_of_one_symbol_are_not_mixed(stream: Stream, tmp_path: Path) -> None:
    for each in recorded_streams.checked():
        if each.venue == "bybit":
            recorded_streams.write(tmp_path, each)
    data = MarketData([tmp_path])

    with pytest.raises(Exception, match="may be two markets"):
        list(data.rebuilt("bybit", "BTCUSDT"))
    books = list(data.rebuilt("bybit", "BTCUSDT", endpoint=stream.path, depth=1))
    assert len(books) == stream.book_check["orderbook.200.BTCUSDT"]["frames"]


def test_every_answer_of_the_set_can_be_read_as_what_it_is(tmp_path: Path) -> None:
    """Depth, trades and candles of every venue that is described; the numbers are those of the bodies."""
    folder = recorded_data.folder() / "market-data"
    index = json.loads((folder / "index.json").read_bytes())["rest"]
    described = {
        "binance",
        "binance_us",
        "binance_futures",
        "kraken",
        "coinbase",
        "coinbase_exchange",
        "okx",
        "bitstamp",
    }
    wanted = [
        one
        for one in index
        if one["venue"] in described
        and one["endpoint"] in ("depth", "trades", "aggTrades", "historicalTrades", "klines")
    ]
    for moment, one in enumerate(wanted, 1_600_000_000):
        recorded_streams.answer(tmp_path, one, folder, moment * 1000)
    data = MarketData([tmp_path])

    books, trades, candles = list(data.books()), list(data.trades()), list(data.candles())

    kinds = Counter("book" if one["endpoint"] == "depth" else "other" for one in wanted)
    assert len(books) == kinds["book"]
    assert {trade.venue for trade in trades} == {"binance", "kraken", "coinbase_exchange", "okx"}
    assert {candle.venue for candle in candles} == {"binance", "kraken", "coinbase"}
    assert all(trade.side in ("buy", "sell") for trade in trades)
    assert all(candle.low <= min(candle.open, candle.close) <= candle.high for candle in candles)
    for book in books:
        assert list(book.bids) == sorted(book.bids, reverse=True)
        assert list(book.asks) == sorted(book.asks)
        assert book.bids[0].price < book.asks[0].price


@pytest.mark.parametrize("stream", given("binance", "kraken", "okx", "bybit", "coinbase", "bitstamp", "deribit"))
def test_every_frame_of_a_stream_can_be_read(stream: Stream, tmp_path: Path) -> None:
    recorded_streams.write(tmp_path, stream)
    data = MarketData([tmp_path])
    count = sum(1 for _ in data.entries(stream.venue, endpoint=stream.path or "/"))
    assert count == stream.file.read_bytes().count(b"\n") + 1
    for trade in data.trades(stream.venue):
        assert trade.price > 0
        assert trade.size > 0
        assert trade.side in ("buy", "sell")


@pytest.mark.parametrize("stream", given("coinbase"))
def test_coinbase_says_the_makers_side_and_the_takers_is_given(stream: Stream, tmp_path: Path) -> None:
    """A taker that sells is filled at the bid, and one that buys at the ask, whatever the venue's word for it is."""
    recorded_streams.write(tmp_path, stream)
    data = MarketData([tmp_path])
    best: dict[str, Any] = {}
    right = wrong = 0
    for each in sorted([*data.tickers("coinbase"), *data.trades("coinbase")], key=lambda each: each.time_ns):
        if hasattr(each, "bid"):
            best[each.symbol] = each
        elif each.symbol in best:
            bid, ask = best[each.symbol].bid, best[each.symbol].ask
            if each.price >= ask or each.price <= bid:
                right += (each.side == "buy") == (each.price >= ask)
                wrong += (each.side == "buy") != (each.price >= ask)
    assert wrong == 0
    assert right > 20
