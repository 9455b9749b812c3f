"""Clients that wait, sign and limit themselves, on the recording's clock."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.replay.marketclock import MarketClock

from .conftest import START_NS, Opened

_URL = "https://api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=5"
_BOOK = '{"lastUpdateId":1027024,"bids":[["4.00000000","431.00000000"]],"asks":[]}'

real_time = time.perf_counter


def line(status: int, response: str, offset_ms: int, **headers: str) -> str:
    meta = json.dumps({"method": "GET", "status": status, "latency_ms": 40.0, "headers": headers})
    return (
        f'{{"timestamp":{START_NS // 1_000_000 + offset_ms},"endpoint":"/api/v3/depth",'
        f'"params":{{"symbol":"BTCUSDT","limit":"5"}},"meta":{meta},"response":{response}}}\n'
    )


@pytest.fixture
def limited(tmp_path: Path) -> Path:
    """A recording in which the exchange said twice to wait."""
    file = tmp_path / "limited" / "binance" / "api_v3_depth" / "BTCUSDT" / "2025-10-02T10-00-00.jsonl"
    file.parent.mkdir(parents=True)
    wait = '{"code":-1003,"msg":"Too many requests."}'
    file.write_text(
        line(429, wait, 0, **{"Retry-After": "30"})
        + line(429, wait, 100, **{"Retry-After": "30"})
        + line(200, _BOOK, 200),
        encoding="utf-8",
    )
    return tmp_path / "limited"


def test_retries_of_urllib3_wait_on_the_clock(limited: Path) -> None:
    started = real_time()
    with use_cassette(limited, clock="recording") as session:
        assert session.clock is not None
        assert session.clock.now_ns // 10**9 == START_NS // 10**9
        began = time.time()
        with requests.Session() as client:
            client.mount("https://", HTTPAdapter(max_retries=Retry(3, status_forcelist=[429], backoff_factor=1)))
            assert client.get(_URL, timeout=10).text == _BOOK
        assert time.time() - began == pytest.approx(60.12, abs=0.01)
    assert real_time() - started < 2


def test_back_off_without_retry_after_waits_too(limited: Path) -> None:
    with use_cassette(limited, clock="recording"), urllib3.PoolManager() as pool:
        began = time.time()
        retries = Retry(3, status_forcelist=[429], backoff_factor=4, respect_retry_after_header=False)
        assert pool.request("GET", _URL, retries=retries).data.decode() == _BOOK
        assert time.time() - began == pytest.approx(8.18, abs=0.01)


def test_signatures_are_the_same_in_every_run(clocked: Opened) -> None:
    """As binance signs: HMAC-SHA256 of the query, with the time in milliseconds; and a nonce as kraken wants it."""

    def sign() -> tuple[str, int]:
        query = urlencode({"symbol": "BTCUSDT", "timestamp": int(time.time() * 1000), "recvWindow": 5000})
        return hmac.new(b"secret", query.encode(), hashlib.sha256).hexdigest(), time.time_ns()

    def run() -> list[tuple[str, int]]:
        out = []
        with clocked():
            for _ in range(3):
                out.append(sign())
                time.sleep(0.1)
        return out

    first = run()
    assert first == run()
    assert len({signature for signature, _ in first}) == 3


class Bucket:
    """A limiter that counts by `time.monotonic` and waits by what it is given."""

    def __init__(self, per_second: float) -> None:
        self._every, self._next = 1 / per_second, time.monotonic()

    def wait(self) -> float:
        now = time.monotonic()
        self._next = max(self._next, now) + self._every
        return self._next - self._every - now


def test_a_limiter_by_the_monotonic_clock_spaces_its_calls(clock: MarketClock) -> None:
    bucket, moments = Bucket(4), []
    for _ in range(5):
        time.sleep(bucket.wait())
        moments.append(clock.now_ns - START_NS)
    assert moments == [number * 250_000_000 for number in range(5)]


def test_a_limiter_in_a_loop_spaces_its_calls(clock: MarketClock) -> None:
    moments = []

    async def main() -> None:
        bucket = Bucket(4)

        async def call() -> None:
            await asyncio.sleep(bucket.wait())
            moments.append(clock.now_ns - START_NS)

        await asyncio.gather(*(call() for _ in range(5)))

    asyncio.run(main())
    assert moments == [number * 250_000_000 for number in range(5)]


def test_ccxt_limits_its_rate_on_the_clock(clocked: Opened) -> None:
    """`throttle` is what every request of ccxt goes through; the async one spins on `time.time()`."""
    ccxt = pytest.importorskip("ccxt")
    ccxt_async = pytest.importorskip("ccxt.async_support")

    async def asynchronous(clock: MarketClock) -> list[int]:
        exchange, moments = ccxt_async.binance({"enableRateLimit": True, "rateLimit": 50}), []

        async def call() -> None:
            await exchange.throttle(10)
            moments.append(clock.now_ns - START_NS)

        await asyncio.gather(*(call() for _ in range(6)))
        await exchange.close()
        return moments

    runs = []
    started = real_time()
    for _ in range(2):
        with clocked() as clock:
            runs.append(asyncio.run(asynchronous(clock)))
    assert runs[0] == runs[1]
    assert runs[0][-1] >= 2_000_000_000
    assert runs[0] == sorted(runs[0])
    with clocked() as clock:
        exchange = ccxt.binance({"enableRateLimit": True, "rateLimit": 500})
        for _ in range(6):
            exchange.throttle(1)
            exchange.lastRestRequestTimestamp = exchange.milliseconds()
        assert clock.now_ns - START_NS >= 2_000_000_000
    assert real_time() - started < 10


@pytest.mark.parametrize("library", ["aiohttp", "httpx"])
def test_async_clients_time_out_on_the_clock(clock: MarketClock, library: str) -> None:
    """A server of the test's own that never answers: real sockets, real time, counted."""
    client = pytest.importorskip(library)

    async def ask(port: int) -> None:
        url = f"http://127.0.0.1:{port}/"
        if library == "aiohttp":
            async with client.ClientSession(timeout=client.ClientTimeout(total=0.2)) as session:
                await session.get(url)
        else:
            async with client.AsyncClient(timeout=0.2) as session:
                await session.get(url)

    async def main(ask: Callable[[int], Awaitable[None]]) -> None:
        over = asyncio.Event()

        async def silence(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await over.wait()
            writer.close()

        async with await asyncio.start_server(silence, "127.0.0.1", 0) as server:
            with pytest.raises((asyncio.TimeoutError, getattr(client, "TimeoutException", asyncio.TimeoutError))):
                await ask(server.sockets[0].getsockname()[1])
            over.set()
            await asyncio.sleep(0)

    asyncio.run(main(ask))
    assert 0.19 <= (clock.now_ns - START_NS) / 1e9 < 5
