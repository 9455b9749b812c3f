"""REST answers on the clock of the recording: a task waits for its answer as long as the exchange took, in no real time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest

from pytest_marketreplay.api import use_cassette

URL = "https://api.binance.com/api/v3/depth?symbol=BTCUSDT"
LATENCY_MS = 5000
START_MS = 1_759_399_200_000

Get = Callable[[float | None, float | None], Coroutine[Any, Any, str]]
"""Ask once, with a limit for reading and one for the whole call, in seconds."""


async def get_aiohttp(read: float | None, total: float | None) -> str:
    timeout = aiohttp.ClientTimeout(total=total, sock_read=read)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(URL) as response:
        return await response.text()


async def get_httpx(read: float | None, total: float | None) -> str:
    async with httpx.AsyncClient(timeout=httpx.Timeout(None, read=read)) as client, asyncio.timeout(total):
        return (await client.get(URL)).text


CLIENTS: dict[str, Get] = {"aiohttp": get_aiohttp, "httpx": get_httpx}
READ_TIMEOUTS = {"aiohttp": aiohttp.SocketTimeoutError, "httpx": httpx.ReadTimeout}


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """A cassette of one answer that took five seconds."""
    folder = tmp_path / "binance" / "api_v3_depth" / "BTCUSDT"
    folder.mkdir(parents=True)
    line = {
        "timestamp": START_MS,
        "endpoint": "/api/v3/depth",
        "params": {"symbol": "BTCUSDT"},
        "meta": {"latency_ms": LATENCY_MS},
        "response": {"lastUpdateId": 1},
    }
    (folder / "2025-10-02T10-00-00.jsonl").write_text(json.dumps(line) + "\n")
    return tmp_path


@pytest.mark.parametrize("name", CLIENTS)
def test_other_tasks_go_on_while_one_waits_for_its_answer(tape: Path, name: str) -> None:
    log: list[tuple[str, float]] = []

    async def ask() -> None:
        await CLIENTS[name](None, None)
        log.append(("answer", time.time() - START_MS / 1000))

    async def tick() -> None:
        for _ in range(3):
            await asyncio.sleep(2)
            log.append(("tick", time.time() - START_MS / 1000))

    async def main() -> None:
        await asyncio.gather(ask(), tick())

    started = time.perf_counter()
    with use_cassette(tape, clock="recording"):
        asyncio.run(main())
    assert time.perf_counter() - started < 3
    assert [(what, round(when, 1)) for what, when in log] == [("tick", 2), ("tick", 4), ("answer", 5), ("tick", 6)]


@pytest.mark.parametrize("name", CLIENTS)
def test_a_limit_for_reading_that_is_shorter_than_the_answer_took_ends_the_call(tape: Path, name: str) -> None:
    async def main() -> float:
        before = time.time()
        with pytest.raises(READ_TIMEOUTS[name]):
            await CLIENTS[name](3.0, None)
        return time.time() - before

    with use_cassette(tape, clock="recording"):
        assert asyncio.run(main()) == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize("name", CLIENTS)
def test_a_limit_for_the_whole_call_ends_it_too(tape: Path, name: str) -> None:
    async def main() -> float:
        before = time.time()
        with pytest.raises(TimeoutError):
            await CLIENTS[name](None, 2.0)
        return time.time() - before

    with use_cassette(tape, clock="recording"):
        assert asyncio.run(main()) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("name", CLIENTS)
def test_without_the_clock_an_answer_comes_at_once(tape: Path, name: str) -> None:
    with use_cassette(tape):
        assert asyncio.run(CLIENTS[name](1.0, 1.0)) == '{"lastUpdateId": 1}'
