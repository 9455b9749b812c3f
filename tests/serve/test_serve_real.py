"""Real captures, served: every frame equal, books that join their snapshots, checksums that hold, `ccxt.pro` on top."""

from __future__ import annotations

import asyncio
import json
import zlib
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import ccxt.pro
import pytest
import requests

from pytest_marketreplay.serve import CassetteServer

from .conftest import hear, listen
from .tapes import missing, real_connections, real_frames, real_tape

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

BINANCE = "binance/ws/s20211012.ws1"
KRAKEN = [f"kraken/ws/s20210417.ws{number}" for number in (48, 49, 50)]
BY_URL = [BINANCE, "binance/ws/s20210417.ws1", "binance_us/ws/s20211012.ws1", "binance_futures/ws/s20210722.ws1"]
BY_MESSAGE = ["okx/ws/s20220513.ws1", "bitstamp/ws/s20220105.ws1", "deribit/ws/s20210722.ws1", "bybit/ws/s20260809.ws3"]


def one(name: str) -> dict[str, Any]:
    return real_connections(name)[0]


def frames(name: str, *, sent: bool) -> list[str]:
    return [raw.decode() for was_sent, _, raw in real_frames(one(name)) if was_sent is sent]


@pytest.mark.parametrize("name", BY_URL)
def test_a_connection_of_the_binance_family_is_served_to_the_byte(name: str, tmp_path: Path) -> None:
    with CassetteServer(real_tape(tmp_path, name), speed=0) as server:
        path = one(name)["url"].partition("://")[2].partition("/")[2]
        heard = hear(f"{server.ws_url(one(name)['venue'])}/{path}")
        assert heard.messages == frames(name, sent=False)
        assert heard.code == 1001
        assert server.served[one(name)["venue"]].unrouted == 0


@pytest.mark.parametrize("name", BY_MESSAGE)
def test_a_connection_of_another_venue_is_served_to_the_byte(name: str, tmp_path: Path) -> None:
    with CassetteServer(real_tape(tmp_path, name), speed=0) as server:
        heard = hear(server.ws_url(one(name)["venue"]) + (one(name)["path"] or "/"), *frames(name, sent=True))
        assert heard.messages == frames(name, sent=False)
        assert server.misses == []


def test_depth_streams_and_snapshots_agree_in_time_and_join_without_a_gap(tmp_path: Path) -> None:
    """Binance, "How to manage a local order book correctly": subscribe, ask for a snapshot, drop what is older."""

    async def joined(server: CassetteServer, symbol: str) -> tuple[int, int, int]:
        url = f"{server.ws_url('binance')}/ws/{symbol.lower()}@depth@100ms"
        heard = asyncio.create_task(listen(url))
        while not server.served["binance"].frames:
            await asyncio.sleep(0.005)
        asked = f"{server.url('binance')}/api/v3/depth?symbol={symbol}&limit=1000"
        answer = await asyncio.to_thread(requests.get, asked, timeout=10)
        now_ms = server.now()
        last = int(answer.json()["lastUpdateId"])
        diffs = [json.loads(message) for message in (await heard).messages]
        later = [diff for diff in diffs if diff["u"] > last]
        assert later[0]["U"] <= last + 1
        for before, after in pairwise(later):
            assert after["U"] == before["u"] + 1
        # the snapshot is not from the future: what it holds had been told by then
        assert max(diff["E"] for diff in diffs if diff["u"] <= last) <= now_ms + 500
        return last, len(diffs), len(later)

    with CassetteServer(real_tape(tmp_path, BINANCE), speed=30) as server:
        last, diffs, later = asyncio.run(joined(server, "NKNUSDT"))
    assert (last, diffs, later) == (499869752, 150, 149)


def test_ccxt_pro_joins_the_served_book_without_a_gap(tmp_path: Path) -> None:
    async def watch(server: CassetteServer) -> tuple[list[int], Exception]:
        exchange = ccxt.pro.binance({"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}})
        exchange.has["fetchCurrencies"] = False
        exchange.urls["api"]["public"] = server.url("binance") + "/api/v3"
        exchange.urls["api"]["ws"]["spot"] = server.ws_url("binance") + "/ws"
        nonces = []
        try:
            while True:
                book = await asyncio.wait_for(exchange.watch_order_book("NKN/USDT", 1000), 5)
                nonces.append(int(book["nonce"]))
        except Exception as error:
            return nonces, error
        finally:
            await exchange.close()

    with CassetteServer(real_tape(tmp_path, BINANCE), speed=10) as server:
        nonces, ended = asyncio.run(watch(server))
        # the tape has ended and the connection with it; a gap would be a ChecksumError, silence a TimeoutError
        assert isinstance(ended, ccxt.NetworkError | ConnectionError), repr(ended)
        assert not isinstance(ended, ccxt.ChecksumError)
        assert nonces == sorted(nonces)
        assert nonces[-1] == 499870179  # the last update of the recording is in the book
        assert len(set(nonces)) > 20
        assert server.misses == []


def crc(book: dict[str, dict[Decimal, tuple[str, str]]]) -> int:
    """Kraken, "Book checksum (v1)": ten asks up, ten bids down, price and volume without point and leading zeros."""
    asks = [book["a"][price] for price in sorted(book["a"])[:10]]
    bids = [book["b"][price] for price in sorted(book["b"], reverse=True)[:10]]
    text = "".join(part.replace(".", "").lstrip("0") for level in asks + bids for part in level)
    return zlib.crc32(text.encode())


@pytest.mark.parametrize("late_ms", [0, 15_000])
def test_kraken_checksums_hold_from_a_subscription_at_any_time(tmp_path: Path, late_ms: int) -> None:
    start_at = 1618678132368 + late_ms if late_ms else None
    pairs = ["ADA/XBT", "XBT/CHF", "OMG/USD"]
    subscribe = {"event": "subscribe", "pair": pairs, "subscription": {"name": "book", "depth": 1000}}
    with CassetteServer(real_tape(tmp_path, *KRAKEN), speed=60, start_at=start_at) as server:
        heard = hear(server.ws_url("kraken"), json.dumps(subscribe))
    books: dict[str, dict[str, dict[Decimal, tuple[str, str]]]] = {}
    checked = 0
    for message in heard.messages:
        frame = json.loads(message)
        if not isinstance(frame, list):
            continue
        for part in frame[1:-2]:
            if "as" in part or "bs" in part:
                books[frame[-1]] = {"a": {}, "b": {}}
            for side in "ab":
                levels = books[frame[-1]][side]
                for price, volume, *_ in [*part.get(side, ()), *part.get(f"{side}s", ())]:
                    if Decimal(volume):
                        levels[Decimal(price)] = price, volume
                    else:
                        levels.pop(Decimal(price), None)
        if "c" in frame[-3]:
            assert int(frame[-3]["c"]) == crc(books[frame[-1]]), message[:200]
            checked += 1
    assert checked == 347 + 289 + 573  # all that were recorded, a late subscription's too
