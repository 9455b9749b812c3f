"""Faults of the real server, recorded and raised again as the client's own classes; and the good answer after them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import httpx
import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from pytest_marketreplay.api import use_cassette

from .clients import Call, Client
from .server import RealExchange

DEPTH = {"symbol": "BTCUSDT", "limit": "10"}


class Fault(NamedTuple):
    """An option of the server, and what comes of it."""

    option: dict[str, int]
    status: int = 0
    classes: dict[str, Any] = {}  # noqa: RUF012


FAULTS = {
    "429": Fault({"fail_429_next": 1, "retry_after": 7}, 429),
    "418": Fault({"fail_418_next": 1, "retry_after": 120}, 418),
    "500": Fault({"error_500_next": 1}, 500),
    "drop": Fault(
        {"drop_next": 1},
        classes={
            "requests": requests.exceptions.ConnectionError,
            "aiohttp": aiohttp.ServerDisconnectedError,
            "httpx": httpx.RemoteProtocolError,
            "httpx-async": httpx.RemoteProtocolError,
        },
    ),
    "truncate": Fault(
        {"truncate_next": 1},
        classes={
            "requests": requests.exceptions.ChunkedEncodingError,
            "aiohttp": aiohttp.ClientPayloadError,
            "httpx": httpx.RemoteProtocolError,
            "httpx-async": httpx.RemoteProtocolError,
        },
    ),
    "hang": Fault(
        {"hang_next": 1},
        classes={
            "requests": requests.exceptions.ReadTimeout,
            "aiohttp": TimeoutError,
            "httpx": httpx.ReadTimeout,
            "httpx-async": httpx.ReadTimeout,
        },
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_and_the_good_answer_after_it_replay_as_they_were_live(
    exchange: RealExchange, client: Client, client_name: str, tmp_path: Path, name: str
) -> None:
    fault = FAULTS[name]
    option = dict(fault.option)
    if (name, client_name) == ("drop", "aiohttp"):
        option["drop_next"] = 2  # aiohttp makes a GET again by itself when the server hangs up, once
    timeout = 0.3 if name == "hang" else 20.0
    ask = [Call(f"{exchange.url}/api/v3/depth", DEPTH, "api.binance.com", timeout=timeout)] * 2
    exchange.set(**option)
    live = client(ask)
    exchange.set(**option)
    with use_cassette(tmp_path / "c", mode="once", hosts={exchange.address: "binance"}):
        recorded = client(ask)
    seen = exchange.asked()
    assert seen == 2 * (1 + sum(option.get(key, 0) for key in option if key != "retry_after"))

    with use_cassette(tmp_path / "c", hosts={exchange.address: "binance"}) as session:
        replayed = client(ask)

    assert exchange.asked() == seen
    assert session.replayed == seen / 2
    assert replayed == recorded
    assert [(one.status, one.error) for one in replayed] == [(one.status, one.error) for one in live]
    assert replayed[0].status == fault.status
    assert replayed[0].error is fault.classes.get(client_name)
    assert replayed[0].headers.get("retry-after") == (str(fault.option.get("retry_after", "")) or None)
    assert replayed[1].status == 200
    assert replayed[1].sha256 == live[1].sha256


def test_urllib3_retries_through_recorded_faults_as_it_did_live(exchange: RealExchange, tmp_path: Path) -> None:
    def ask() -> tuple[int, bytes, int]:
        retry = Retry(total=5, status_forcelist=(429, 500), backoff_factor=0)
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=retry))
            headers = {"Host": "api.binance.com"}
            answer = session.get(f"{exchange.url}/api/v3/depth", params=DEPTH, headers=headers, timeout=20)
            return answer.status_code, answer.content, len(answer.raw.retries.history)

    exchange.set(fail_429_next=1, error_500_next=1, drop_next=1, retry_after=0)
    with use_cassette(tmp_path / "c", mode="once", hosts={exchange.address: "binance"}):
        live = ask()
    seen = exchange.asked()
    with use_cassette(tmp_path / "c", hosts={exchange.address: "binance"}) as session:
        replayed = ask()

    assert exchange.asked() == seen
    assert replayed == live
    assert live[0] == 200
    assert live[2] == 3
    assert session.replayed == 4


def test_a_server_that_is_down_is_recorded_as_such(client: Client, client_name: str, tmp_path: Path) -> None:
    from .server import plain_server

    with plain_server() as address:
        pass  # a port where nothing listens any more
    ask = [Call(f"http://{address}/api/v3/depth", DEPTH)]
    with use_cassette(tmp_path / "c", mode="once", hosts={address: "binance"}):
        live = client(ask)
    with use_cassette(tmp_path / "c", hosts={address: "binance"}) as session:
        replayed = client(ask)
    assert session.replayed == 1
    assert replayed == live
    assert (
        live[0].error
        is {
            "requests": requests.exceptions.ConnectionError,
            "aiohttp": aiohttp.ClientConnectorError,
            "httpx": httpx.ConnectError,
            "httpx-async": httpx.ConnectError,
        }[client_name]
    )
