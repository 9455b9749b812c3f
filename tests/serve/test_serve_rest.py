"""REST of a served cassette: by the tape's time or in sequence, to the byte, and what a miss says."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from pytest_marketreplay import use_cassette
from pytest_marketreplay.errors import CassetteNotFound, DamagedCassette, UsageMistake
from pytest_marketreplay.exchange import SimulatedExchange
from pytest_marketreplay.serve import CassetteServer

from .tapes import START_MS, Tape

Serve = Callable[..., CassetteServer]
DEPTH = "/api/v3/depth"
BTC = "symbol=BTCUSDT"


def get(url: str, **options: object) -> requests.Response:
    return requests.get(url, timeout=10, **options)  # type: ignore[arg-type]


def test_an_answer_is_the_newest_that_was_recorded_until_now(tape: Tape, serve: Serve) -> None:
    for at_ms in (0, 1_000, 2_000, 1_000_000):
        tape.rest(at_ms, "binance", DEPTH, BTC, b'{"at":%d}' % at_ms)
    server = serve(start_at=START_MS + 1_500, speed=1)
    assert server.now() == START_MS + 1_500
    assert get(f"{server.url('binance')}{DEPTH}?{BTC}").content == b'{"at":1000}'
    assert get(f"{server.url('binance')}{DEPTH}?{BTC}").content == b'{"at":1000}'
    assert server.served["binance"].answers == 2


def test_the_answers_follow_the_tape_as_time_goes_by(tape: Tape, serve: Serve) -> None:
    for at_ms in range(0, 60_000, 100):
        tape.rest(at_ms, "binance", DEPTH, BTC, b"%d" % (START_MS + at_ms))
    server = serve(speed=100)
    url = f"{server.url('binance')}{DEPTH}?{BTC}"
    seen = []
    while server.now() < START_MS + 59_900:
        before = server.now()
        answer = int(get(url).content)
        assert before - 100 <= answer <= server.now()
        seen.append(answer)
    assert seen == sorted(seen)
    assert len(set(seen)) > 10


def test_the_tape_stands_still_until_the_first_client_comes(tape: Tape, serve: Serve) -> None:
    tape.rest(0, "binance", DEPTH, BTC, b"first").rest(50, "binance", DEPTH, BTC, b"second")
    server = serve(speed=1_000)
    assert server.wait_end(0.1) is False
    assert server.now() == START_MS
    get(server.url("binance") + DEPTH)  # whatever is asked
    assert server.wait_end(5)
    assert server.now() == START_MS + 50


def test_a_server_that_begins_at_once_does_not_wait_for_a_client(tape: Tape, serve: Serve) -> None:
    ends: list[int] = []
    tape.rest(0, "binance", DEPTH, BTC, b"first").rest(50, "binance", DEPTH, BTC, b"second")
    server = serve(speed=100, begin="start", on_end=lambda: ends.append(1))
    assert server.wait_end(5)
    assert get(f"{server.url('binance')}{DEPTH}?{BTC}").content == b"second"
    assert ends == [1]


def test_an_answer_of_the_near_future_is_held_until_its_time(tape: Tape, serve: Serve) -> None:
    tape.rest(0, "binance", "/api/v3/ping").rest(3_000, "binance", DEPTH, BTC, b"later")
    server = serve(speed=10)
    started = time.perf_counter()
    assert get(f"{server.url('binance')}{DEPTH}?{BTC}").content == b"later"
    assert time.perf_counter() - started > 0.25
    assert server.now() >= START_MS + 3_000


def test_an_answer_of_the_far_future_is_not_told_and_the_refusal_says_when(tape: Tape, serve: Serve) -> None:
    tape.rest(0, "binance", "/api/v3/ping").rest(3_600_000, "binance", DEPTH, BTC, b"later")
    tape.rest(3_600_000, "binance", "/api/v3/exchangeInfo", "", b"reference")
    server = serve(speed=1)
    answer = get(f"{server.url('binance')}{DEPTH}?{BTC}")
    assert answer.status_code == 501
    assert "first recorded at 2025-10-02T11:00:00.000Z, and the tape is at 2025-10-02T10:00:00" in str(answer.json())
    assert get(server.url("binance") + "/api/v3/exchangeInfo").content == b"reference"


def test_in_sequence_answers_come_one_after_the_other_and_the_last_one_stays(tape: Tape, serve: Serve) -> None:
    for body in (b"1", b"2"):
        tape.rest(0, "binance", DEPTH, BTC, body)
    for options in ({"order": "sequence"}, {"speed": 0}, {"speed": None}):
        server = serve(**options)
        url = f"{server.url('binance')}{DEPTH}?{BTC}"
        assert [get(url).content for _ in range(4)] == [b"1", b"2", b"2", b"2"]


def test_status_headers_and_body_are_those_of_the_recording(tape: Tape, serve: Serve) -> None:
    body = b'{ "price":0.10000000,\r\n"price":"0.1", "s":"\\u00e9" }\n'
    headers: dict[str, object] = {
        "Content-Type": "application/json;charset=UTF-8",
        "Date": "Thu, 02 Oct 2025 10:00:00 GMT",
        "Server": "nginx",
        "X-Twice": ["a", "b"],
        "Retry-After": "7",
        "Content-Encoding": "gzip",
        "Content-Length": "99999",
        "Transfer-Encoding": "chunked",
        "Connection": "keep-alive",
    }
    tape.rest(0, "binance", DEPTH, BTC, body, status=429, reason="Slow Down", headers=headers)
    server = serve()
    answer = requests.get(f"{server.url('binance')}{DEPTH}?{BTC}", timeout=10, stream=True)
    assert (answer.status_code, answer.reason, answer.raw.read()) == (429, "Slow Down", body)
    assert answer.headers == {
        "Content-Type": "application/json;charset=UTF-8",
        "Date": "Thu, 02 Oct 2025 10:00:00 GMT",
        "Server": "nginx",
        "X-Twice": "a, b",
        "Retry-After": "7",
        "Content-Length": str(len(body)),
    }


def test_binary_and_empty_bodies_are_served_too(tape: Tape, serve: Serve) -> None:
    packed = gzip.compress(b"x" * 100)
    tape.rest(0, "binance", "/a", body=packed).rest(0, "binance", "/b", body=b"", status=204)
    server = serve()
    assert get(server.url("binance") + "/a").content == packed
    empty = get(server.url("binance") + "/b")
    assert (empty.status_code, empty.content) == (204, b"")


def test_signed_requests_match_with_other_credentials_and_times(tape: Tape, serve: Serve) -> None:
    tape.rest(0, "binance", "/api/v3/account", "timestamp=1&recvWindow=5000&signature=abc", b"mine")
    tape.rest(0, "kraken", "/0/private/Balance", "", b"yours", method="POST", form="nonce=1")
    server = serve()
    query = f"timestamp={int(time.time() * 1000)}"
    signature = hmac.new(b"another secret", query.encode(), hashlib.sha256).hexdigest()
    url = f"{server.url('binance')}/api/v3/account?{query}&signature={signature}"
    assert get(url, headers={"X-MBX-APIKEY": "k" * 64}).content == b"mine"
    posted = requests.post(server.url("kraken") + "/0/private/Balance", data={"nonce": "77"}, timeout=10)
    assert posted.content == b"yours"


def test_a_miss_tells_the_nearest_and_no_secret(tape: Tape, serve: Serve) -> None:
    tape.rest(0, "binance", DEPTH, f"{BTC}&limit=5", b"{}")
    server = serve()
    secret = "c0ffee" * 10
    answer = get(f"{server.url('binance')}{DEPTH}?{BTC}&limit=50&signature={secret}", headers={"X-MBX-APIKEY": secret})
    assert answer.status_code == 501
    text = answer.text
    assert "limit: '50' asked, '5' recorded" in text
    assert answer.json()["msg"].startswith(f"marketreplay: no recorded answer for GET {DEPTH}?")
    assert secret not in text
    (miss,) = server.misses
    assert (miss.venue, miss.kind) == ("binance", "rest")
    assert "limit=50" in miss.asked
    assert "limit: '50' asked, '5' recorded" in miss.explanation
    assert secret not in str(miss)
    assert server.served["binance"].missed == 1


def test_a_redirect_leads_to_the_server_and_never_to_the_real_exchange(tape: Tape, serve: Serve) -> None:
    headers = {"Location": "https://api.binance.com/api/v3/time?x=1"}
    tape.rest(0, "binance", "/old", status=302, headers=headers).rest(0, "binance", "/api/v3/time", "x=1", b"now")
    server = serve()
    answer = get(server.url("binance") + "/old")
    assert (answer.content, answer.url) == (b"now", f"{server.url('binance')}/api/v3/time?x=1")


def test_a_recorded_failure_fails_again_and_a_broken_body_breaks_off(tape: Tape, serve: Serve) -> None:
    tape.rest(0, "binance", "/reset", status=0, error="reset")
    tape.rest(0, "binance", "/half", body=b"half of it", error="incomplete", headers={"content-type": "text/plain"})
    server = serve()
    with pytest.raises(requests.ConnectionError):
        get(server.url("binance") + "/reset")
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="10 bytes read"):
        get(server.url("binance") + "/half")


def test_layers_are_one_tape(tmp_path: Path, serve: Serve) -> None:
    first = Tape(tmp_path / "a").rest(0, "binance", DEPTH, BTC, b"a").close()
    second = Tape(tmp_path / "b").rest(500, "binance", DEPTH, BTC, b"b").rest(0, "kraken", "/0/public/Time").close()
    server = serve(first, second, start_at=datetime.fromtimestamp(START_MS / 1000 + 0.5, UTC))
    assert server.venues == ("binance", "kraken")
    assert get(f"{server.url('binance')}{DEPTH}?{BTC}").content == b"b"
    assert server.url("binance") != server.url("kraken")
    assert server.ws_url("kraken") == server.url("kraken").replace("http", "ws")


def test_faults_can_change_or_drop_an_answer(tape: Tape, serve: Serve) -> None:
    tape.rest(0, "binance", DEPTH, BTC, b"good").rest(0, "binance", "/api/v3/time", "", b"good")

    class Banned:
        def answer(self, venue: str, endpoint: str, status: int, headers: list[tuple[str, str]], body: bytes) -> object:
            assert (venue, status, body) == ("binance", 200, b"good")
            return (418, [("Retry-After", "60")], b"banned") if endpoint == DEPTH else None

    server = serve(faults=Banned())
    answer = get(f"{server.url('binance')}{DEPTH}?{BTC}")
    assert (answer.status_code, answer.headers["Retry-After"], answer.content) == (418, "60", b"banned")
    with pytest.raises(requests.ConnectionError):
        get(server.url("binance") + "/api/v3/time")


def test_what_the_package_recorded_is_served_to_the_byte(tmp_path: Path, serve: Serve) -> None:
    paths = (f"{DEPTH}?{BTC}&limit=20", "/api/v3/exchangeInfo", "/api/v3/klines?symbol=ETHUSDT&interval=1m")
    with SimulatedExchange(seed=5) as exchange:
        base = exchange.url("binance")
        with use_cassette(tmp_path / "recorded", mode="once", hosts={base.partition("//")[2]: "binance"}):
            live = [get(base + path) for path in paths]
    server = serve(tmp_path / "recorded", order="sequence")
    for path, was in zip(paths, live, strict=True):
        again = get(server.url("binance") + path)
        assert (again.status_code, again.content) == (was.status_code, was.content)
        assert again.headers["x-mbx-used-weight"] == was.headers["x-mbx-used-weight"]


def test_a_wrong_argument_or_cassette_is_told_before_anything_listens(tape: Tape, tmp_path: Path) -> None:
    for wrong in ({"speed": -1}, {"order": "random"}, {"port": 70_000}, {"begin": "never"}):
        with pytest.raises(UsageMistake):
            CassetteServer(tape.root, **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageMistake, match="no time zone"):
        CassetteServer(tape.root, start_at=datetime(2025, 10, 2))
    with pytest.raises(UsageMistake, match="needs a cassette"):
        CassetteServer([])
    with pytest.raises(CassetteNotFound):
        CassetteServer(tmp_path / "none").start()
    (tmp_path / "empty").mkdir()
    with pytest.raises(CassetteNotFound):
        CassetteServer(tmp_path / "empty").start()
    tape.rest(0, "binance", DEPTH, BTC).close()
    with pytest.raises(UsageMistake, match="the tape goes from 2025-10-02T10:00:00"):
        CassetteServer(tape.root, start_at=5).start()
    server = CassetteServer(tape.root)
    for early in (lambda: server.url("binance"), server.now):
        with pytest.raises(UsageMistake, match="call start"):
            early()
    with server, pytest.raises(UsageMistake, match="nothing of 'kraken'; they have binance"):
        server.url("kraken")
    next(tape.root.rglob("*.jsonl")).write_bytes(b"{broken}\n")
    with pytest.raises(DamagedCassette):
        CassetteServer(tape.root).start()


def test_a_port_can_be_named_and_the_venues_follow(tape: Tape, serve: Serve) -> None:
    import socket

    tape.rest(0, "binance", DEPTH, BTC).rest(0, "kraken", "/0/public/Time")
    for _ in range(20):  # two neighbours that are free
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
        break
    server = serve(port=port)
    assert [server.url(venue) for venue in server.venues] == [f"http://127.0.0.1:{port + n}" for n in (0, 1)]
    with pytest.raises(OSError, match="address already in use"):
        serve(port=port)
