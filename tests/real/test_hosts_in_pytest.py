"""A user's test file: `marketreplay_hosts` in the ini, one run that records, the server stopped, and runs that replay."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

import pytest

from .recorded_data import entries
from .server import RealExchange

PLUGIN = (
    () if any(point.value == "pytest_marketreplay.plugin" for point in entry_points(group="pytest11"))
    else ("-p", "pytest_marketreplay.plugin")
)  # fmt: skip
"""What loads the plugin where it is not installed but only on the path."""

TESTS = """
    import asyncio, hashlib
    import aiohttp, httpx, pytest, requests

    BASE = "http://{address}"
    PARAMS = {params!r}
    SHA256 = {sha256!r}

    @pytest.mark.marketreplay
    def test_requests():
        answer = requests.get(BASE + {path!r}, params=PARAMS, timeout=5)
        assert hashlib.sha256(answer.content).hexdigest() == SHA256

    @pytest.mark.marketreplay("shared_book")
    def test_httpx(market_replay):
        answer = httpx.get(BASE + {path!r}, params=PARAMS, timeout=5)
        assert hashlib.sha256(answer.content).hexdigest() == SHA256
        assert market_replay.played + market_replay.recorded == 1

    def test_aiohttp(market_replay):
        async def ask():
            async with aiohttp.ClientSession() as session:
                async with session.get(BASE + {path!r}, params=PARAMS) as answer:
                    return await answer.read()

        assert hashlib.sha256(asyncio.run(ask())).hexdigest() == SHA256
"""


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    fixed = ("-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:recording", "-p", "no:cassetter")
    return pytester.runpytest_subprocess(*PLUGIN, *fixed, *arguments, timeout=60)


def test_hosts_in_the_ini_make_a_loopback_server_a_venue(
    pytester: pytest.Pytester, start: Callable[..., RealExchange]
) -> None:
    server = start()
    entry = next(one for one in entries() if one.id == "kraken/rest/depth/XBTUSDT.undated")
    pytester.makeini(f"[pytest]\nmarketreplay_hosts =\n    {server.address} = kraken\n")
    pytester.makepyfile(
        test_book=TESTS.format(address=server.address, params=entry.query, path=entry.path, sha256=entry.sha256)
    )

    run(pytester, "--record-mode=once").assert_outcomes(passed=3)
    assert server.asked() == 3
    run(pytester).assert_outcomes(passed=3)
    assert server.asked() == 3
    server.stop()
    run(pytester, "--market-record-mode=none").assert_outcomes(passed=3)

    found = sorted(str(file.parent.relative_to(pytester.path)) for file in pytester.path.rglob("*.jsonl"))
    assert found == [
        "cassettes/shared_book/kraken/public_Depth/BTC-USDT",
        "cassettes/test_book/test_aiohttp/kraken/public_Depth/BTC-USDT",
        "cassettes/test_book/test_requests/kraken/public_Depth/BTC-USDT",
    ]


def test_a_loopback_server_that_nobody_named_is_left_alone(
    pytester: pytest.Pytester, start: Callable[..., RealExchange]
) -> None:
    server = start()
    pytester.makepyfile(
        test_time=f"""
        import pytest, requests

        @pytest.mark.marketreplay
        def test_time():
            assert requests.get("http://{server.address}/0/public/Time", timeout=5).status_code == 200
        """
    )
    run(pytester).assert_outcomes(passed=1)
    assert server.asked() == 1
    assert not list(pytester.path.rglob("*.jsonl"))
