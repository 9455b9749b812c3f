"""The fixtures of a streaming suite: market_clock, market_data, market_server, market_faults."""

from __future__ import annotations

from market_suite import StreamSuite


def test_the_clock_is_real_while_it_records_and_the_recordings_in_replay(streaming: StreamSuite) -> None:
    streaming.streaming("""
        pytestmark = pytest.mark.marketreplay("day")

        def test_clock(market_clock, market_replay):
            began = time.perf_counter()
            market_clock.advance(0.2)
            took = time.perf_counter() - began
            depth()
            first = market_clock.now_ns
            market_clock.move_to(first + 200_000_000)
            assert market_clock.now_ns - first >= 200_000_000
            assert market_clock.move_to(first) is None
            assert market_clock.now_ns >= first + 200_000_000
            streams.websockets(count=3)
            assert abs(market_clock.time() - time.time()) < 0.2
            assert market_clock.now().timestamp() - time.time() < 0.2
            with pytest.raises(ValueError):
                market_clock.advance(-1)
            if market_replay.is_recording:
                assert took >= 0.2
                assert market_clock.ticks
            else:
                assert took < 0.1
                assert not market_clock.ticks
                assert market_clock.now_ns == time.time_ns()
            (market_replay.cassettes[0].parent.parent / "time.txt").open("a").write(f"{time.time_ns()}\\n")
    """)
    streaming.run("-W", "ignore::pytest.PytestUnraisableExceptionWarning", mode="once").assert_outcomes(passed=1)
    for mode in (None, "once", None):
        streaming.run("-W", "ignore::pytest.PytestUnraisableExceptionWarning", mode=mode).assert_outcomes(passed=1)
    recorded, *replayed = map(int, (streaming.path / "time.txt").read_text().split())
    assert len(set(replayed)) == 1
    assert abs(replayed[0] - recorded) < 2_000_000_000


def test_new_episodes_on_the_recordings_clock_records_what_is_new(streaming: StreamSuite) -> None:
    streaming.streaming("""
        import os

        @pytest.mark.marketreplay(clock="recording")
        def test_clock(market_clock, market_replay):
            depth()
            streams.websockets(count=2)
            market_clock.advance(1)
            if "MORE" in os.environ:
                depth("ETHUSDT")
                streams.aiohttp("/ws/ethusdt@depth@100ms", 2)
                streams.websocket_client("/ws/ethusdt@depth@100ms", 2)
                streams.websockets_sync("/ws/ethusdt@depth@100ms", 2)
                streams.websockets("/ws/ethusdt@depth@100ms", 2)
    """)
    streaming.run(mode="new_episodes").assert_outcomes(passed=1)
    first, frames = streaming.tree(), streaming.frames()
    streaming.pytester._monkeypatch.setenv("MORE", "1")
    streaming.run(mode="new_episodes").assert_outcomes(passed=1)
    more = streaming.frames()
    assert more[:1] == frames
    tree = streaming.tree()
    assert first.items() <= tree.items()
    assert len(tree) > len(first)
    streaming.seen()
    streaming.exchange.stop()
    streaming.run().assert_outcomes(passed=1)
    assert streaming.frames() == more


def test_market_data_reads_books_and_trades_in_a_window(streaming: StreamSuite) -> None:
    streaming.streaming("""
        @pytest.mark.marketreplay("day")
        def test_recording():
            async def main():
                async with streams.connect(WS["binance"] + DEPTH) as diffs:
                    await diffs.recv()
                    book = await asyncio.to_thread(ask, "/api/v3/depth", symbol="BTCUSDT", limit=1000)
                    following = 0  # on a busy machine, older ones have piled up meanwhile
                    while following < 20:
                        following += json.loads(await diffs.recv())["u"] > book.json()["lastUpdateId"]
                await streams.websockets_frames("/ws/btcusdt@trade", 10)

            asyncio.run(main())

        @pytest.mark.marketreplay("day")
        def test_reads(market_data):
            trades = list(market_data.trades("binance", "BTCUSDT"))
            assert len(trades) >= 10
            diffs = list(market_data.diffs("binance", "BTCUSDT"))
            assert len(diffs) >= 21
            books = list(market_data.rebuilt("binance", "BTCUSDT"))
            assert len(books) > 1
            assert all(book.bids[0].price < book.asks[0].price for book in books)
            assert len(list(market_data.books("binance", "BTCUSDT"))) == 1
            window = market_data.trades("binance", start=trades[3].time_ns / 1e6, end=trades[7].time_ns / 1e6)
            assert 3 <= len(list(window)) <= 5
            entries = list(market_data.entries("binance"))
            assert {entry.endpoint for entry in entries} == {"/api/v3/depth", DEPTH, "/ws/btcusdt@trade"}
            assert [each.time_ns for each in entries] == sorted(each.time_ns for each in entries)
            half = entries[len(entries) // 2].time_ns // 1_000_000
            early = list(market_data.entries("binance", end=half))
            late = list(market_data.entries("binance", start=half))
            assert len(early) + len(late) == len(entries)
    """)
    streaming.run("-k", "recording", mode="once").assert_outcomes(passed=1, deselected=1)
    streaming.exchange.stop()
    result = streaming.run("-k", "reads")
    result.assert_outcomes(passed=1, deselected=1)


def test_market_server_serves_requests_and_a_process_without_any_package(streaming: StreamSuite) -> None:
    streaming.write(
        "bot.py",
        """
        import json, os, socket, struct, sys, urllib.request
        from urllib.parse import urlsplit

        rest, ws = sys.argv[1:]
        book = json.load(urllib.request.urlopen(rest + "/api/v3/depth?symbol=BTCUSDT&limit=5", timeout=10))
        at = urlsplit(ws)
        stream = socket.create_connection((at.hostname, at.port), 10)
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        stream.sendall(
            f"GET /ws/btcusdt@depth@100ms HTTP/1.1\\r\\nHost: {at.netloc}\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
            f"Sec-WebSocket-Key: {key}\\r\\nSec-WebSocket-Version: 13\\r\\n\\r\\n".encode()
        )
        file = stream.makefile("rb")
        status = file.readline()
        assert b"101" in status, status
        while file.readline().strip():
            pass
        for _ in range(3):
            first, length = file.read(2)
            if length == 126:
                (length,) = struct.unpack(">H", file.read(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", file.read(8))
            event = json.loads(file.read(length))
            print(event["e"], event["s"], book["lastUpdateId"])
        stream.close()
        """,
    )
    streaming.streaming("""
        import subprocess
        import sys
        import requests

        pytestmark = pytest.mark.marketreplay("day")

        def test_recording():
            depth()
            streams.websockets(count=3)

        def test_served(market_server, market_replay):
            base = market_server.url("binance")
            answer = requests.get(base + "/api/v3/depth", params={"symbol": "BTCUSDT", "limit": 5}, timeout=10)
            assert answer.status_code == 200
            assert market_replay.played == 0
            done = subprocess.run(
                [sys.executable, "bot.py", base, market_server.ws_url("binance")], capture_output=True, text=True, timeout=20
            )
            assert done.returncode == 0, done.stderr
            assert done.stdout.splitlines() == [f"depthUpdate BTCUSDT {answer.json()['lastUpdateId']}"] * 3

        @pytest.mark.marketreplay(clock="recording")
        def test_served_on_the_recordings_clock(market_server):
            answer = requests.get(
                market_server.url("binance") + "/api/v3/depth", params={"symbol": "BTCUSDT", "limit": 5}, timeout=10
            )
            assert "bids" in answer.json()
    """)
    streaming.run("-k", "recording and not served", mode="once").assert_outcomes(passed=1, deselected=2)
    streaming.exchange.stop()
    streaming.run("-k", "served").assert_outcomes(passed=2, deselected=1)


def test_market_server_without_a_recording_says_so(streaming: StreamSuite) -> None:
    streaming.streaming("""
        @pytest.mark.marketreplay("missing")
        def test_served(market_server):
            raise AssertionError("it began")
    """)
    result = streaming.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*CassetteNotFound: *missing*"])


FAULTS = """
    @pytest.mark.marketreplay("day")
    def test_it(market_faults, market_replay):
        market_faults.inject("429", endpoint="/api/v3/depth", retry_after=3)
        market_faults.inject("gap", at=2)
        market_faults.inject("reset", endpoint="/api/v3/time")
        answers = [ask(symbol="BTCUSDT", limit=5).status_code for _ in range(2)]
        frames = streams.aiohttp(count=3 if market_replay.is_recording else 2)
        if not market_replay.is_recording:
            assert answers == [429, 200]
            assert len(market_faults.injected) == 2
            {end}
"""


def test_what_was_injected_is_told_where_the_test_fails_and_only_there(streaming: StreamSuite) -> None:
    streaming.streaming(FAULTS.format(end="pass"))
    streaming.run(mode="once").assert_outcomes(passed=1)
    recorded = streaming.frames()[0][1]
    streaming.exchange.stop()
    result = streaming.run("-rA")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*market_faults*")
    assert streaming.frames()[0][1][0] == recorded[0]
    streaming.streaming(FAULTS.format(end="assert 0"))
    result = streaming.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        "*- market_faults -*",
        "injected:",
        "1. *429*/api/v3/depth*",
        "2. gap: *btcusdt@depth*",
        "to inject exactly these again, and nothing else:",
        "market_faults.inject(*429*",
        "market_faults.inject('gap'*",
        "nothing happened by:",
        "market_faults.inject('reset'*",
    ])  # fmt: skip
