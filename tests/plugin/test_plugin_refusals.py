"""A miss explains itself; a refusal fails the test, wherever it happens and whoever swallows it."""

from __future__ import annotations

import shlex

import pytest

RECORD = """
@pytest.mark.marketreplay("tape")
def test_record():
    ask(symbol="BTCUSDT", limit=5)
    ask(symbol="BTCUSDT", limit=100)
    ask("/0/public/Depth", base=KRAKEN, pair="XBTUSD")
"""


@pytest.fixture
def recorded(suite):
    suite.tests(RECORD, "test_record.py")
    suite.run("test_record.py", mode="once").assert_outcomes(passed=1)
    suite.asked()
    return suite


def test_a_miss_names_what_was_asked_what_is_near_and_what_differs(recorded):
    recorded.tests("""
        @pytest.mark.marketreplay("tape")
        def test_miss():
            ask(symbol="BTCUSDT", limit=10)
    """)
    result = recorded.run("test_it.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([
        "*UnrecordedRequest: no recorded answer for GET http://127.0.0.1:*/api/v3/depth[?]symbol=BTCUSDT&limit=10",
        "*cassette: *tape, mode none, place binance/api_v3_depth/BTCUSDT",
        "*nearest recorded:",
        "*GET /api/v3/depth[?]limit=100&symbol=BTCUSDT",
        "*limit: '10' asked, '100' recorded",
        "*GET /api/v3/depth[?]limit=5&symbol=BTCUSDT",
        "*to record it: pytest test_it.py::test_miss --record-mode=new_episodes",
    ])  # fmt: skip
    assert recorded.asked() == 0


def test_a_miss_of_a_venue_without_recordings_says_which_are_recorded(recorded):
    recorded.tests("""
        @pytest.mark.marketreplay("tape", hosts={"api.elsewhere.example": "elsewhere"})
        def test_miss():
            requests.get("https://api.elsewhere.example/v1/book")
    """)
    result = recorded.run("test_it.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*nothing of 'elsewhere' is recorded, only of: binance, kraken (marketreplay_hosts*"])


@pytest.mark.parametrize(
    ("mark", "name", "folder"),
    [
        ("", "test_miss", "."),
        ("@pytest.mark.parametrize('x', [\"it's $HOME; a b\"])", "test_miss", "."),
        ("@pytest.mark.parametrize('x', ['a::b', 'c/d'])", "test_miss", "."),
        ("", "test_miss", "sub dir"),
    ],
)
def test_the_command_that_a_miss_names_records_it(suite, mark, name, folder, monkeypatch):
    import os

    suite.tests(f"""
        {mark or "pass"}
        @pytest.mark.marketreplay
        def {name}({"x" if mark else ""}):
            ask(symbol="BTCUSDT", limit=10)
    """)
    (suite.path / folder).mkdir(exist_ok=True)
    # from a folder below the root, names count from there
    monkeypatch.chdir(suite.path / folder)
    result = suite.run(str(suite.path / "test_it.py"))
    lines = [
        line.split("to record it: ")[1] for line in result.outlines if line.startswith("E") and "to record it: " in line
    ]
    assert lines
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "pytest"
        suite.run(*words[1:]).assert_outcomes(passed=1)
    assert suite.asked() == len(lines)
    suite.run(str(suite.path / "test_it.py")).assert_outcomes(passed=len(lines))
    assert suite.asked() == 0
    assert os.getcwd() == str(suite.path / folder)


def test_the_command_wins_over_the_mode_of_a_marker(suite):
    suite.tests("""
        @pytest.mark.marketreplay(mode="none")
        def test_miss():
            depth()
    """)
    result = suite.run()
    line = next(line for line in result.outlines if "to record it: " in line)
    words = shlex.split(line.split("to record it: ")[1])
    suite.run(*words[1:]).assert_outcomes(passed=1)
    assert suite.asked() == 1


@pytest.mark.parametrize(
    "end",
    [
        "pass",
        "pytest.skip('the exchange is down')",
        "return",
    ],
)
def test_a_swallowed_refusal_fails_the_test_at_its_end(suite, end):
    suite.tests(f"""
        @pytest.mark.marketreplay
        def test_swallows():
            try:
                depth()
            except Exception:
                {end}
    """)
    result = suite.run("-rA")
    outcomes = result.parseoutcomes()
    assert outcomes.get("failed", 0) + outcomes.get("errors", 0) == 1
    result.stdout.fnmatch_lines(["*UnrecordedRequest: no recorded answer for GET*"])


def test_a_unittest_that_skips_after_a_refusal_fails(suite):
    suite.tests("""
        import unittest

        @pytest.mark.marketreplay
        class TestCase(unittest.TestCase):
            def test_swallows(self):
                try:
                    depth()
                except Exception:
                    self.skipTest("the exchange is down")
    """)
    result = suite.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*UnrecordedRequest: no recorded answer for GET*"])


def test_several_swallowed_refusals_are_counted(suite):
    suite.tests("""
        @pytest.mark.marketreplay
        def test_swallows():
            for limit in (5, 10, 20):
                try:
                    ask(symbol="BTCUSDT", limit=limit)
                except Exception:
                    pass
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*limit=5*", "*... and 2 more refusals*"])


def test_a_refusal_in_a_thread_fails_the_test(suite):
    suite.tests("""
        import threading

        @pytest.mark.marketreplay
        def test_thread():
            def work():
                try:
                    depth()
                except Exception:
                    pass
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
    """)
    suite.run().assert_outcomes(failed=1)
    assert suite.asked() == 0


def test_a_refusal_in_a_setup_that_swallows_it_fails_the_test(suite):
    suite.tests("""
        @pytest.fixture
        def careless():
            try:
                depth()
            except Exception:
                return None

        @pytest.mark.marketreplay
        def test_uses(careless):
            pass
    """)
    suite.run().assert_outcomes(failed=1)


@pytest.mark.parametrize("swallow", [True, False])
def test_a_refusal_in_the_teardown_is_an_error(suite, swallow):
    suite.tests(f"""
        @pytest.fixture
        def leaving():
            yield
            try:
                depth()
            except Exception:
                if not {swallow}:
                    raise

        @pytest.mark.marketreplay
        def test_uses(leaving):
            pass
    """)
    result = suite.run()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*UnrecordedRequest: no recorded answer for GET*"])


def test_an_expected_refusal_does_not_fail_the_test(suite):
    suite.tests("""
        from pytest_marketreplay.errors import NetworkRefused, UnrecordedRequest

        def test_expects(market_replay):
            with market_replay.expect_refusal(UnrecordedRequest) as refused:
                with pytest.raises(UnrecordedRequest):
                    depth()
            assert len(refused) == 1 and refused[0].asked.startswith("GET http://127.0.0.1")
            assert market_replay.refusals == []

        def test_expects_nothing(market_replay):
            with market_replay.expect_refusal():
                pass

        def test_expects_another_kind(market_replay):
            with market_replay.expect_refusal(NetworkRefused):
                with pytest.raises(UnrecordedRequest):
                    depth()
    """)
    result = suite.run()
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*nothing was refused with ReplayError", "*nothing was refused with NetworkRefused"])


def test_an_expected_failure_by_a_refusal_is_an_expected_failure(suite):
    suite.tests("""
        @pytest.mark.xfail(strict=True)
        @pytest.mark.marketreplay
        def test_miss():
            depth()

        @pytest.mark.xfail(strict=True)
        @pytest.mark.marketreplay
        def test_swallowed_miss():
            try:
                depth()
            except Exception:
                pass
    """)
    suite.run().assert_outcomes(xfailed=2)


def test_a_refusal_inside_a_block_fails_where_it_is_swallowed(suite):
    suite.tests("""
        def test_block(market_replay):
            with market_replay.use("inner"):
                try:
                    depth()
                except Exception:
                    pass
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*UnrecordedRequest: no recorded answer for GET*"])


def test_a_library_that_cannot_be_recorded_is_refused_and_named(suite):
    suite.tests("""
        import socket
        import urllib.request

        @pytest.mark.marketreplay
        def test_urllib():
            urllib.request.urlopen("http://api.binance.com/api/v3/time", timeout=1)

        @pytest.mark.marketreplay
        def test_named_loopback():
            host, port = BINANCE.removeprefix("http://").split(":")
            socket.create_connection((host, int(port)), timeout=1)
    """)
    result = suite.run()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*the name look-up of api.binance.com was refused: test_it.py::test_urllib replays*",
            "*a connection to 127.0.0.1*",
        ]
    )
    assert suite.asked() == 0


def test_loopback_and_unix_sockets_stay_open(suite):
    suite.tests("""
        import socket

        @pytest.mark.marketreplay
        def test_own_server():
            with socket.create_server(("127.0.0.1", 0)) as server:
                with socket.create_connection(server.getsockname()) as client:
                    assert client.getpeername() == server.getsockname()

        @pytest.mark.marketreplay
        def test_unix(tmp_path):
            left, right = socket.socketpair()
            left.close(), right.close()
    """)
    suite.run().assert_outcomes(passed=2)
