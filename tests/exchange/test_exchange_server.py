"""The server: starting, stopping, counting, and leaving nothing behind."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import requests

from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.exchange import SimulatedExchange
from pytest_marketreplay.exchange.wire import Asked


def test_each_venue_has_a_port_of_its_own_on_loopback(exchange: SimulatedExchange) -> None:
    parts = [urlsplit(exchange.url(venue)) for venue in ("binance", "kraken", "lab")]
    assert {part.hostname for part in parts} == {"127.0.0.1"}
    assert len({part.port for part in parts}) == 3
    assert {part.path for part in parts} == {""}


def test_every_request_is_noted_with_its_status(exchange: SimulatedExchange) -> None:
    requests.get(exchange.url("binance") + "/api/v3/depth", params={"symbol": "NOPE"})
    requests.post(exchange.url("kraken") + "/0/private/Balance")
    requests.head(exchange.url("lab") + "/__lab__/status/200")
    exchange.fail_next("binance", status=503)
    requests.get(exchange.url("binance") + "/api/v3/ping")
    assert exchange.requests == [
        Asked("binance", "GET", "/api/v3/depth", 400),
        Asked("kraken", "POST", "/0/private/Balance", 200),
        Asked("lab", "HEAD", "/__lab__/status/200", 200),
        Asked("binance", "GET", "/api/v3/ping", 503),
    ]
    assert (exchange.count(), exchange.count("binance"), exchange.count("kraken")) == (4, 2, 1)


def test_after_stop_nothing_listens_and_the_urls_are_still_known() -> None:
    exchange = SimulatedExchange()
    with exchange:
        url = exchange.url("binance")
    assert exchange.url("binance") == url
    with pytest.raises(requests.ConnectionError):
        requests.get(url + "/api/v3/ping", timeout=5)


def test_stop_does_not_wait_for_idle_or_hanging_clients() -> None:
    answered: list[bytes] = []
    with SimulatedExchange() as exchange, requests.Session() as idle:
        idle.get(exchange.url("binance") + "/api/v3/ping")
        arrived = threading.Event()

        def hang() -> None:
            where = urlsplit(exchange.url("lab"))
            with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
                connection.sendall(b"GET /__lab__/hang?seconds=60 HTTP/1.1\r\nHost: lab\r\n\r\n")
                arrived.set()
                answered.append(connection.recv(100))

        waiting = threading.Thread(target=hang)
        waiting.start()
        assert arrived.wait(10)
    waiting.join(10)
    assert not waiting.is_alive()


def test_a_port_that_cannot_be_had_is_told_where_start_was_called(monkeypatch: pytest.MonkeyPatch) -> None:
    from aiohttp import web

    async def fail(site: web.TCPSite) -> None:
        raise OSError("no port")

    monkeypatch.setattr(web.TCPSite, "start", fail)
    exchange = SimulatedExchange()
    with pytest.raises(OSError, match="no port"):
        exchange.start()
    monkeypatch.undo()
    with exchange:
        assert requests.get(exchange.url("binance") + "/api/v3/ping").ok


def test_starting_and_stopping_twice_changes_nothing_and_a_restart_goes_on() -> None:
    exchange = SimulatedExchange(seed=4)
    exchange.start()
    url = exchange.url("binance")
    assert exchange.start() is exchange
    assert exchange.url("binance") == url
    first = requests.get(url + "/api/v3/depth?symbol=BTCUSDT").json()["lastUpdateId"]
    exchange.stop()
    exchange.stop()
    with exchange:
        again = requests.get(exchange.url("binance") + "/api/v3/depth?symbol=BTCUSDT").json()["lastUpdateId"]
    assert again > first


def test_unknown_venues_and_missing_starts_are_explained() -> None:
    exchange = SimulatedExchange()
    with pytest.raises(UsageMistake, match="no venue 'nyse'; it has binance, kraken, lab"):
        exchange.url("nyse")
    with pytest.raises(UsageMistake, match="call start"):
        exchange.url("binance")
    for ask in (exchange.api_key, exchange.api_secret, exchange.market):
        with pytest.raises(UsageMistake, match="no venue 'lab'; it has binance, kraken"):
            ask("lab")
    with pytest.raises(UsageMistake, match="no venue"):
        exchange.fail_next("nyse", status=500)


@pytest.mark.parametrize(("status", "times"), [(199, 1), (600, 1), (500, 0)])
def test_an_impossible_failure_is_refused(status: int, times: int) -> None:
    with pytest.raises(UsageMistake, match="fail_next needs"):
        SimulatedExchange().fail_next("binance", status=status, times=times)


def test_impossible_credentials_are_refused() -> None:
    with pytest.raises(UsageMistake, match="64 letters and digits"):
        SimulatedExchange(api_key="short")
    with pytest.raises(UsageMistake, match="must not be empty"):
        SimulatedExchange(api_secret="")


def test_credentials_can_be_chosen() -> None:
    exchange = SimulatedExchange(api_key="K" * 64, api_secret="secret")
    assert exchange.api_key("binance") == exchange.api_key("kraken") == "K" * 64
    assert (exchange.api_secret("binance"), exchange.api_secret("kraken")) == ("secret", "c2VjcmV0")


def test_the_market_can_be_moved_without_a_request(exchange: SimulatedExchange) -> None:
    exchange.advance(10)
    exchange.advance(5, "kraken")
    assert (exchange.market("binance").steps, exchange.market("kraken").steps) == (10, 15)
    assert exchange.count() == 0


def test_asking_one_venue_does_not_move_the_other(exchange: SimulatedExchange) -> None:
    requests.get(exchange.url("binance") + "/api/v3/depth?symbol=BTCUSDT")
    assert (exchange.market("binance").steps, exchange.market("kraken").steps) == (1, 0)


def test_no_request_is_lost_or_mixed_under_threads(exchange: SimulatedExchange) -> None:
    url = exchange.url("binance") + "/api/v3/depth?limit=5&symbol="

    def ask(symbol: str) -> int:
        return int(requests.get(url + symbol, timeout=10).json()["lastUpdateId"])

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(ask, ["BTCUSDT"] * 80))
    assert len(set(ids)) == 80
    assert exchange.count("binance") == exchange.market("binance").steps == 80


def test_a_body_is_compressed_only_when_that_is_wanted_and_accepted() -> None:
    for compress, accept, expected in [(True, "gzip", "gzip"), (True, "identity", None), (False, "gzip", None)]:
        with SimulatedExchange(compress=compress) as exchange:
            url = exchange.url("binance") + "/api/v3/depth?symbol=BTCUSDT"
            response = requests.get(url, headers={"Accept-Encoding": accept})
            assert response.headers.get("content-encoding") == expected
            assert response.json()["bids"]


def test_importing_the_package_does_not_import_aiohttp() -> None:
    code = (
        "import sys, pytest_marketreplay.exchange as box\n"
        "exchange = box.SimulatedExchange()\n"
        "assert 'aiohttp' not in sys.modules and 'requests' not in sys.modules, 'too early'\n"
        "exchange.start(); exchange.stop()\n"
        "assert 'aiohttp' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def test_nothing_is_left_open_at_the_end_of_the_process() -> None:
    code = (
        "import gc, threading, urllib.request\n"
        "from pytest_marketreplay.exchange import SimulatedExchange\n"
        "for _ in range(3):\n"
        "    with SimulatedExchange() as exchange:\n"
        "        urllib.request.urlopen(exchange.url('binance') + '/api/v3/ping').close()\n"
        "gc.collect()\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60, capture_output=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_the_package_tells_its_public_names() -> None:
    import pytest_marketreplay.exchange as box

    assert box.__all__ == sorted(box.__all__)
    assert all(getattr(box, name).__name__ == name for name in box.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = box.Nothing
