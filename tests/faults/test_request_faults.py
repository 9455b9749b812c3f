"""Faults of requests under the real clients: after each at each position, every recorded answer still comes, in order."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import urllib3

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.cassette.redaction import SECRETS
from pytest_marketreplay.errors import RecordingExhausted, UnrecordedRequest
from pytest_marketreplay.replay.faults import KINDS, Fault, Faults

from .stories import DEPTH, answers, book

BOOKS = [book(number) for number in range(1, 5)]
FAILED = object()
RETRIED = ["429", "418", "500", "502", "503", "504", "timeout", "refused", "reset", "truncated"]


def by_requests(url: str) -> Iterator[Any]:
    with requests.Session() as session:
        while True:
            try:
                response = session.get(url, timeout=5)
                yield response.content if response.status_code == 200 else FAILED
            except requests.RequestException:
                yield FAILED


def by_httpx(url: str) -> Iterator[Any]:
    with httpx.Client() as client:
        while True:
            try:
                response = client.get(url)
                yield response.content if response.status_code == 200 else FAILED
            except httpx.HTTPError:
                yield FAILED


def by_aiohttp(url: str) -> Iterator[Any]:
    async def ask() -> Any:
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as response:
                return await response.read() if response.status == 200 else FAILED
        except (aiohttp.ClientError, TimeoutError):
            return FAILED

    while True:
        yield asyncio.run(ask())


CLIENTS: dict[str, Callable[[str], Iterator[Any]]] = {"requests": by_requests, "httpx": by_httpx, "aiohttp": by_aiohttp}


@pytest.fixture(params=list(CLIENTS))
def client(request: pytest.FixtureRequest) -> Callable[[str], Iterator[Any]]:
    return CLIENTS[request.param]


def asked(
    folder: Any, count: int, client: Any = by_requests, *rules: Fault, **settings: Any
) -> tuple[list[Any], Faults]:
    """Return what so many requests get."""
    with use_cassette(folder, **settings) as session:
        session.faults = Faults(rules, clock=session.clock)
        asking = client(DEPTH)
        got = [next(asking) for _ in range(count)]
        asking.close()
    return got, session.faults


@pytest.mark.parametrize("kind", RETRIED)
@pytest.mark.parametrize("at", range(1, 5))
def test_the_retry_gets_the_recorded_answer_whatever_had_happened(tmp_path, client, kind, at):
    answers(tmp_path, *BOOKS)
    # aiohttp asks again by itself where a connection is reset before the answer to a GET
    failed = [] if kind == "reset" and client is by_aiohttp else [FAILED]
    got, faults = asked(tmp_path, 4 + len(failed), client, Fault(kind, at=at))
    assert got == [*BOOKS[: at - 1], *failed, *BOOKS[at - 1 :]]
    assert [(each.kind, each.number) for each in faults.injected] == [(kind, at)]
    again, _ = asked(tmp_path, 4 + len(failed), client, *faults.exactly())
    assert again == got


def test_every_kind_of_request_fault_is_in_these_tests():
    assert set(RETRIED) | {"stale", "crossed", "skew", "disconnect", "gap", "duplicate", "reorder"} == set(KINDS)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_stale_answer_is_the_previous_one_and_uses_nothing_up(tmp_path, client, at):
    answers(tmp_path, *BOOKS)
    got, faults = asked(tmp_path, 5, client, Fault("stale", at=at))
    assert got == [*BOOKS[:at], BOOKS[at - 1], *BOOKS[at:]]
    assert faults.injected[0].number == at + 1  # the first request had nothing before it


@pytest.mark.parametrize("at", [1, 4])
def test_a_crossed_book_is_the_recorded_one_with_its_best_levels_exchanged(tmp_path, client, at):
    answers(tmp_path, *BOOKS)
    got, _ = asked(tmp_path, 4, client, Fault("crossed", at=at))
    assert got.pop(at - 1) == BOOKS[at - 1].replace(b'["99.0","%d"]' % at, b"X").replace(b'["101.0","2"]', b'["99.0","%d"]' % at).replace(b"X", b'["101.0","2"]')  # fmt: skip
    assert got == [*BOOKS[: at - 1], *BOOKS[at:]]


def test_a_rule_counts_and_repeats(tmp_path):
    answers(tmp_path, *BOOKS)
    got, _ = asked(tmp_path, 8, by_requests, Fault("503", at=2, times=2, every=3))
    assert [each is FAILED for each in got] == [False, True, True, False, True, True, False, True]
    assert [each for each in got if each is not FAILED] == BOOKS[:3]


def test_of_several_rules_the_first_acts_and_the_others_at_the_next(tmp_path):
    answers(tmp_path, *BOOKS)
    got, faults = asked(tmp_path, 7, by_requests, Fault("500", at=2), Fault("429", at=2, times=2), Fault("reset", at=5))
    assert [each is FAILED for each in got] == [False, True, True, True, True, False, False]
    happened = [(each.kind, each.number) for each in faults.injected]
    assert happened == [("500", 2), ("429", 3), ("429", 4), ("reset", 5)]


@pytest.mark.parametrize("exhausted", ["last", "loop"])
def test_faults_use_nothing_up_where_answers_come_again(tmp_path, exhausted):
    answers(tmp_path, *BOOKS[:2])
    got, _ = asked(tmp_path, 9, by_requests, Fault("truncated", every=2, times=1, at=2), exhausted=exhausted)
    good = {"last": [*BOOKS[:2], BOOKS[1], BOOKS[1], BOOKS[1]], "loop": [*BOOKS[:2], *BOOKS[:2], BOOKS[0]]}[exhausted]
    assert got[0::2] == good
    assert got[1::2] == [FAILED] * 4


def test_what_is_not_recorded_is_refused_and_not_injected(tmp_path):
    answers(tmp_path, BOOKS[0])
    with pytest.raises(RecordingExhausted):
        asked(tmp_path, 2, by_requests, Fault("503", at=2))
    with pytest.raises(UnrecordedRequest), use_cassette(tmp_path) as session:
        session.faults = Faults([Fault("503", every=1)])
        requests.get("https://api.binance.com/api/v3/time", timeout=5)


def test_the_answer_of_a_fault_is_one_of_the_venue(tmp_path):
    answers(tmp_path, *BOOKS)
    with use_cassette(tmp_path) as session:
        session.faults = Faults([Fault("429", arguments={"retry_after": 259_200}), Fault("503", number=2)])
        limited, unavailable = (requests.get(DEPTH, timeout=5) for _ in range(2))
    assert limited.headers["Retry-After"] == "259200"
    assert limited.json()["code"] == -1003
    assert "Retry-After" not in unavailable.headers
    assert unavailable.json().keys() == {"code", "msg"}


def test_a_crossed_book_is_as_long_as_its_content_length_says(tmp_path):
    headers = {"content-type": "application/json", "content-length": str(len(BOOKS[0]))}
    answers(tmp_path, BOOKS[0], headers=headers)
    got, faults = asked(tmp_path, 1, by_requests, Fault("crossed"))
    assert len(got[0]) == len(BOOKS[0])
    assert len(faults.injected) == 1


# ---------------------------------------------------------------- time


def test_retry_after_passes_on_the_clock_of_the_recording(tmp_path):
    answers(tmp_path, *BOOKS)
    with use_cassette(tmp_path, clock="recording") as session:
        session.faults = Faults([Fault("429", arguments={"retry_after": 3600})])
        retry = urllib3.Retry(total=2, status_forcelist=[429], respect_retry_after_header=True)
        with requests.Session() as client:
            client.mount("https://", requests.adapters.HTTPAdapter(max_retries=retry))
            began = session.clock.now_ns
            assert client.get(DEPTH, timeout=5).content == BOOKS[0]
        assert 3600 <= (session.clock.now_ns - began) / 1e9 < 3601


@pytest.mark.parametrize("settings", [{"clock": "recording"}, {"clock": "recording", "order": "time"}])
def test_a_client_that_ignores_retry_after_is_turned_away_until_it_is_over(tmp_path, settings):
    answers(tmp_path, *BOOKS)
    with use_cassette(tmp_path, **settings) as session:
        session.faults = faults = Faults([Fault("429", arguments={"retry_after": 20, "strict": True})])
        first, second = (requests.get(DEPTH, timeout=5) for _ in range(2))
        assert (first.status_code, first.headers["Retry-After"]) == (429, "20")
        assert (second.status_code, second.headers["Retry-After"]) == (429, "20")
        session.clock.advance(15.5)
        assert requests.get(DEPTH, timeout=5).headers["Retry-After"] == "5"
        session.clock.advance(4.5)
        assert requests.get(DEPTH, timeout=5).content in BOOKS
        assert [each.again.arguments for each in faults.injected] == [{"retry_after": each} for each in (20, 20, 5)]


@pytest.mark.parametrize("kind", RETRIED)
def test_with_order_time_the_retry_gets_the_answer_of_its_time(tmp_path, kind):
    answers(tmp_path, *BOOKS)
    with use_cassette(tmp_path, clock="recording", order="time") as session:
        session.faults = Faults([Fault(kind, at=2)])
        asking = by_requests(DEPTH)
        assert next(asking) == BOOKS[0]
        session.clock.advance(1.5)
        assert next(asking) is FAILED
        assert [line for _, line, _ in session.unplayed()] == [2, 3, 4]  # a fault plays nothing
        assert next(asking) == BOOKS[3 if kind == "timeout" else 1]  # which takes 10 s on that clock
        asking.close()


# ---------------------------------------------------------------- threads and secrets


def test_seeded_faults_of_threads_are_the_same_in_every_run_and_nothing_is_lost(tmp_path):
    symbols = ["AAAUSDT", "BBBUSDT", "CCCUSDT", "DDDUSDT"]
    for symbol in symbols:
        answers(tmp_path, *(book(number) for number in range(40)), symbol=symbol)

    def run(*rules: Fault) -> tuple[dict[str, list[bytes]], Faults]:
        got: dict[str, list[bytes]] = {symbol: [] for symbol in symbols}
        with use_cassette(tmp_path) as session:
            session.faults = faults = Faults(rules)
            if not rules:
                faults.random(0.3, seed=7, kinds=RETRIED)

            def poll(symbol: str) -> None:
                asking = by_requests(DEPTH.replace("BTCUSDT", symbol))
                while len(got[symbol]) < 40:
                    if (answer := next(asking)) is not FAILED:
                        got[symbol].append(answer)

            threads = [threading.Thread(target=poll, args=(symbol,)) for symbol in symbols]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
        return got, faults

    def what(faults: Faults) -> set[tuple[str, str, int]]:
        return {(each.kind, each.where, each.number) for each in faults.injected}

    first, faults = run()
    assert first == {symbol: [book(number) for number in range(40)] for symbol in symbols}
    assert 30 < len(faults.injected) < 120
    assert what(run()[1]) == what(faults)
    assert what(run(*faults.exactly())[1]) == what(faults)


def test_no_secret_stands_in_what_is_reported(tmp_path):
    answers(tmp_path, b"{}", endpoint="/api/v3/account", symbol="_all")
    signature = "f00d" * 16
    with use_cassette(tmp_path) as session:
        session.faults = Faults([Fault("503")])
        url = f"https://api.binance.com/api/v3/account?timestamp=1&signature={signature}"
        requests.get(url, headers={"X-MBX-APIKEY": "KEYKEYKEYKEY"}, timeout=5)
        told = session.faults.report()
    assert "/api/v3/account" in told
    assert signature not in told
    assert SECRETS.scrub(told) == told


def test_the_report_is_code_that_makes_the_same_happen(tmp_path):
    answers(tmp_path, *BOOKS)
    got, faults = asked(tmp_path, 5, by_requests, Fault("truncated", at=2, arguments={"keep": 3}), Fault("gap"))
    report = faults.report()
    code = [line for line in report.splitlines() if line.startswith("market_faults.inject(")]
    assert code[0] == (
        "market_faults.inject('truncated', venue='binance', endpoint='/api/v3/depth', symbol='BTCUSDT', number=2, keep=3)"
    )
    assert code[1] == "market_faults.inject('gap')"
    assert report.splitlines()[-2:] == ["nothing happened by:", "market_faults.inject('gap')"]
    assert faults.unused == [Fault("gap")]
    again = Faults()
    exec(code[0], {"market_faults": again})
    with use_cassette(tmp_path) as session:
        session.faults = again
        asking = by_requests(DEPTH)
        assert [next(asking) for _ in range(5)] == got
        asking.close()


def test_live_requests_of_new_episodes_are_left_alone(tmp_path):
    from pytest_marketreplay.exchange import SimulatedExchange

    with SimulatedExchange() as exchange:
        url = exchange.url("binance") + "/api/v3/time"
        hosts = {exchange.url("binance").partition("://")[2]: "binance"}
        with use_cassette(tmp_path, mode="new_episodes", hosts=hosts) as session:
            session.faults = Faults([Fault("503", every=1)])
            assert requests.get(url, timeout=5).status_code == 200
            assert session.faults.injected == []
    with use_cassette(tmp_path, hosts=hosts) as session:
        session.faults = Faults([Fault("503")])
        assert [requests.get(url, timeout=5).status_code for _ in range(2)] == [503, 200]
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*.jsonl"))
    assert len(written.splitlines()) == 1
    assert json.loads(written)["meta"]["status"] == 200
