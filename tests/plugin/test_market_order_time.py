"""`order="time"`: one recorded market drives poller and stream together, on one clock."""

from __future__ import annotations

import json
from bisect import bisect_right
from typing import Any

import pytest
from market_suite import StreamSuite

from pytest_marketreplay.data import MarketData

POLLER = """
    import json
    import pathlib
    import requests

    pytestmark = pytest.mark.marketreplay("market", order="time", clock="recording")
    OUT = pathlib.Path("polled.jsonl")

    def book():
        answer = requests.get(BINANCE + "/api/v3/depth", params={"symbol": "BTCUSDT", "limit": 5}, timeout=10)
        return answer.json()["lastUpdateId"]

    async def poll(every, until, log):
        async with streams.aiohttp_client.ClientSession() as session:
            while time.time() < until:
                asked = time.time_ns()
                async with session.get(BINANCE + "/api/v3/depth", params={"symbol": "BTCUSDT", "limit": 5}) as answer:
                    log.append(["book", asked, (await answer.json())["lastUpdateId"], time.time_ns()])
                await asyncio.sleep(every)

    async def stream(log, until):
        async with streams.connect(WS["binance"] + DEPTH) as ws:
            while time.time() < until:
                event = json.loads(await ws.recv())
                log.append(["diff", time.time_ns(), event["u"], time.time_ns()])

    def run(every, seconds):
        log = []

        async def main():
            until = time.time() + seconds
            tasks = [asyncio.create_task(poll(every, until, log)), asyncio.create_task(stream(log, until))]
            await asyncio.gather(*tasks)

        asyncio.run(main())
        OUT.write_text(json.dumps(log))
        return log

    def test_recording():
        run(0.1, 1.5)

    @pytest.mark.parametrize("every", [0.03, 0.1, 0.35])
    def test_at_another_pace(every):
        run(every, 1.2)

    def test_blocking_poller(market_clock):
        log = []
        for _ in range(8):
            asked = time.time_ns()
            log.append(["book", asked, book(), time.time_ns()])
            time.sleep(0.17)
        OUT.write_text(json.dumps(log))
"""


@pytest.fixture
def recorded(streaming: StreamSuite) -> StreamSuite:
    streaming.streaming(POLLER)
    streaming.run("-k", "recording", mode="once").assert_outcomes(passed=1, deselected=4)
    streaming.exchange.stop()
    return streaming


def polls(suite: StreamSuite) -> list[tuple[int, int]]:
    """Return every recorded poll: when it was asked in milliseconds, and its update id."""
    entries = suite.entries("market")
    return sorted(
        (each["timestamp"], each["response"]["lastUpdateId"]) for each in entries if each["endpoint"] == "/api/v3/depth"
    )


def test_a_poller_at_another_pace_gets_the_newest_answer_not_later_than_the_clock(recorded: StreamSuite) -> None:
    for test in ("0.03", "0.1", "0.35", "blocking"):
        recorded.run("-k", test).assert_outcomes(passed=1, deselected=4)
        check(json.loads((recorded.path / "polled.jsonl").read_text()), polls(recorded))


def check(log: list[list[Any]], tape: list[tuple[int, int]]) -> None:
    """Compare each poll of a run with the tape, and see that nobody's time went back."""
    times = [timestamp for timestamp, _ in tape]
    asked = [each for each in log if each[0] == "book"]
    assert len(asked) >= 2
    for _, asked_ns, update_id, _ in asked:
        newest = max(bisect_right(times, asked_ns // 1_000_000) - 1, 0)
        assert update_id == tape[newest][1]
    ids = [update_id for _, _, update_id, _ in asked]
    assert ids == sorted(ids)
    reached = bisect_right(times, asked[-1][1] // 1_000_000)  # a busy machine has recorded few
    assert len(set(ids)) >= min(3, reached)
    moments = [each[3] for each in log]
    assert moments == sorted(moments)


def test_the_same_market_comes_in_every_run(recorded: StreamSuite) -> None:
    logs = set()
    for _ in range(3):
        recorded.run("-k", "0.03").assert_outcomes(passed=1, deselected=4)
        logs.add((recorded.path / "polled.jsonl").read_text())
    assert len(logs) == 1


def test_the_stream_never_runs_ahead_of_the_book_by_more_than_the_poll(recorded: StreamSuite) -> None:
    """Diffs and books are of one market: what a poll says is never newer than the diffs that come after it."""
    recorded.run("-k", "0.1").assert_outcomes(passed=1, deselected=4)
    log = json.loads((recorded.path / "polled.jsonl").read_text())
    diffs = [(moment, update_id) for kind, moment, update_id, _ in log if kind == "diff"]
    assert diffs == sorted(diffs)
    for kind, asked_ns, update_id, _ in log:
        later = [diff for moment, diff in diffs if moment > asked_ns + 250_000_000]
        if kind == "book" and later:
            assert update_id <= later[0]


CCXT = """
    from urllib.parse import urlsplit
    import ccxt.pro

    def redirected(value, base):
        if isinstance(value, dict):
            return {name: redirected(each, base) for name, each in value.items()}
        return base + urlsplit(value).path if isinstance(value, str) else value

    @pytest.mark.marketreplay("pro", order="time", clock="recording")
    def test_watches(market_replay):
        books = []

        async def main():
            client = ccxt.pro.VENUE({"enableRateLimit": True})
            ws = redirected(client.urls["api"].pop("ws"), WS["VENUE"])
            client.urls["api"] = {**redirected(client.urls["api"], WS["VENUE"].replace("ws", "http")), "ws": ws}
            try:
                # live, frames are missed while Python computes; and what a client did before its first request is not
                # on the tape, so that its rate limit lets it ask some ms later: the replay wants less than there is
                for _ in range(24 if market_replay.is_recording else 12):
                    book = await client.watch_order_book("SYMBOL")
                    books.append([book["nonce"], book["timestamp"], [*book["bids"][0]], [*book["asks"][0]]])
                    assert book["bids"][0][0] < book["asks"][0][0]
            finally:
                await client.close()

        asyncio.run(main())
        streams.note("ccxt", books)
        assert market_replay.is_recording or market_replay.played_frames >= 12
"""


@pytest.mark.parametrize(("venue", "symbol"), [("binance", "BTC/USDT"), ("kraken", "BTC/USD")])
def test_ccxt_pro_joins_snapshot_and_diffs_on_one_clock(streaming: StreamSuite, venue: str, symbol: str) -> None:
    pytest.importorskip("ccxt.pro", reason="ccxt.pro is not installed")
    streaming.streaming(CCXT.replace("VENUE", venue).replace("SYMBOL", symbol))
    quiet = ("-W", "ignore::DeprecationWarning", "-W", "ignore::ResourceWarning")
    streaming.run(*quiet, mode="once").assert_outcomes(passed=1)
    streaming.frames()
    streaming.exchange.stop()
    replayed = []
    for _ in range(2):
        streaming.run(*quiet).assert_outcomes(passed=1)
        replayed.append(streaming.frames())
    assert replayed[0] == replayed[1]
    again = replayed[0][0][1]
    assert len(again) == 12
    best = tops(streaming, venue, symbol.replace("/", "" if venue == "binance" else "-"))
    assert [book for book in again if (*book[2], *book[3]) not in best] == []
    ids = [book[0] for book in again]
    assert venue == "kraken" or ids == sorted(set(ids))


def tops(suite: StreamSuite, venue: str, symbol: str) -> set[tuple[float, ...]]:
    """Return best bid and ask of every book of the tape, rebuilt and checked by the venue's own rules."""
    data = MarketData([suite.path / "cassettes/pro"])
    books = [*data.books(venue, symbol), *data.rebuilt(venue, symbol)]
    return {
        tuple(float(each) for side in (book.bids, book.asks) for each in (side[0].price, side[0].size))
        for book in books
    }
