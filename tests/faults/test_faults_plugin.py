"""The fixture `market_faults` in whole pytest runs: what a failing test tells, and what is never touched."""

from __future__ import annotations

import importlib

import pytest
from replay.wire import record, said

from .stories import answers, book

# an in-process run forgets what it imported first
for _name in ("requests", "aiohttp", "pytest_marketreplay.plugin.play", "pytest_marketreplay.serve.server", "pytest_marketreplay.exchange.listener"):  # fmt: skip
    importlib.import_module(_name)

DEPTH = '"https://api.binance.com/api/v3/depth", params={"symbol": "BTCUSDT"}, timeout=5'
BOTS = f"""
    import pytest, requests

    def ask():
        return requests.get({DEPTH})

    def books(count):
        out = []
        while len(out) < count:
            if (answer := ask()).status_code == 200:
                out.append(answer.json()["lastUpdateId"])
        return out
"""


@pytest.fixture
def run(pytester: pytest.Pytester):
    answers(pytester.path / "cassettes" / "market", *(book(number) for number in range(1, 7)))

    def inner(tests: str, *arguments: str):
        pytester.makepyfile(BOTS + tests)
        options = [f"-pno:{name}" for name in ("recording", "cassetter", "randomly", "cacheprovider")]
        return pytester.runpytest_inprocess(*options, *arguments)

    return inner


def test_a_failing_test_tells_what_was_injected_and_the_code_that_does_it_again(run, pytester):
    result = run("""
    @pytest.mark.marketreplay("market")
    def test_bot(market_faults):
        market_faults.random(0.6, seed=1, kinds=("429", "503", "stale"))
        assert books(4) == [1, 2, 3]
    """)
    result.assert_outcomes(failed=1)
    text = str(result.stdout)
    result.stdout.fnmatch_lines(["*- market_faults -*", "injected:", "1. *: GET https://api.binance.com/api/v3/depth*"])
    code = [line.strip() for line in text.splitlines() if line.startswith("market_faults.inject(")]
    said = [line for line in text.splitlines() if line.startswith("E ") and "assert [" in line]
    assert code
    assert said
    pasted = "\n".join(f"        {line}" for line in code if "number=" in line)
    again = run(f"""
    @pytest.mark.marketreplay("market")
    def test_bot(market_faults):
{pasted}
        assert books(4) == [1, 2, 3]
    """)
    assert [line for line in str(again.stdout).splitlines() if line.startswith("E ") and "assert [" in line] == said


def test_a_passing_test_says_nothing_and_faults_end_with_it(run):
    result = run("""
    @pytest.mark.marketreplay("market")
    def test_one(market_faults):
        market_faults.inject("503", times=2)
        assert books(2) == [1, 2]
        assert [each.kind for each in market_faults.injected] == ["503", "503"]

    @pytest.mark.marketreplay("market")
    def test_two(market_faults):
        assert market_faults.injected == []
        assert ask().status_code == 200
    """)
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*injected*")


def test_faults_reach_into_other_cassettes_of_the_test(run, pytester):
    answers(pytester.path / "cassettes" / "other", book(9))
    run("""
    @pytest.mark.marketreplay("market")
    def test_bot(market_faults, market_replay):
        market_faults.inject("503", at=2, times=2)
        assert books(1) == [1]
        with market_replay.use("other"):
            assert ask().status_code == 503
            assert ask().status_code == 503
            assert books(1) == [9]
        assert books(2) == [2, 3]
    """).assert_outcomes(passed=1)


def test_a_wrong_rule_fails_the_test_with_what_is_wrong(run):
    result = run("""
    @pytest.mark.marketreplay("market")
    def test_bot(market_faults):
        market_faults.inject("429", retry_after=0.5)
    """)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*retry_after=0.5 of the fault '429': wanted is whole seconds*"])


def test_what_is_recorded_holds_no_fault_and_a_skewed_clock_waits_for_the_replay(run, pytester):
    tests = """
    import time

    @pytest.mark.marketreplay(clock="recording")
    def test_bot(market_exchange, market_faults, market_replay, market_clock):
        market_faults.inject("503", every=1)
        market_faults.inject("skew", seconds=100)
        url = market_exchange.url("binance") + "/api/v3/time"
        assert requests.get(url).status_code == (200 if market_replay.is_recording else 503)
        assert abs(time.time() - market_clock.time() - (0 if market_replay.is_recording else 100)) < 1
    """
    run(tests, "--record-mode=once").assert_outcomes(passed=1)
    (file,) = (pytester.path / "cassettes").glob("test_*/**/*.jsonl")
    assert '"status":200' in file.read_text()
    run(tests).assert_outcomes(passed=1)


def test_faults_also_happen_to_what_is_served_to_other_processes(run, pytester):
    update = b'{"e":"depthUpdate","E":1759399201000,"s":"BTCUSDT","U":%d,"u":%d,"b":[["99.0","1"]],"a":[]}'
    updates = [update % (number, number) for number in range(1, 6)]
    record(pytester.path / "cassettes" / "stream", said("/ws/btcusdt@depth", *updates))
    result = run("""
    import websocket

    @pytest.mark.marketreplay("market")
    def test_rest(market_faults, market_server):
        market_faults.inject("429", at=1, retry_after=7)
        market_faults.inject("crossed", at=1, endpoint="/api/v3/depth")
        market_faults.inject("reset", at=3)
        url = market_server.url("binance") + "/api/v3/depth?symbol=BTCUSDT"
        limited, crossed = requests.get(url), requests.get(url)
        assert (limited.status_code, limited.headers["Retry-After"], limited.json()["code"]) == (429, "7", -1003)
        assert crossed.json()["bids"][0] == ["101.0", "2"]
        with pytest.raises(requests.ConnectionError):
            requests.get(url)
        assert requests.get(url).json()["bids"][0][0] == "99.0"
        assert [each.kind for each in market_faults.injected] == ["429", "crossed", "reset"]

    @pytest.mark.marketreplay("stream")
    def test_stream(market_faults, market_server):
        market_faults.inject("gap", at=1)
        market_faults.inject("disconnect", at=3, code=1013)
        url = market_server.ws_url("binance") + "/ws/btcusdt@depth"
        ws = websocket.create_connection(url, timeout=10)
        seen = [ws.recv_data() for _ in range(2)]
        ws.shutdown()
        assert (seen[0][0], b'"u":2' in seen[0][1]) == (1, True)
        assert seen[1] == (8, (1013).to_bytes(2, "big"))
        assert [each.kind for each in market_faults.injected] == ["gap", "disconnect"]
        assert market_faults.unused == []
    """)
    result.assert_outcomes(passed=2)
