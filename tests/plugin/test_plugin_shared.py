"""Cassettes that several tests, workers or a whole suite share."""

from __future__ import annotations

import pytest

SHARED = """
@pytest.mark.marketreplay("shared")
def test_first():
    depth("BTCUSDT")

@pytest.mark.marketreplay("shared")
def test_second():
    depth("ETHUSDT")
"""

REFERENCE = """
@pytest.mark.marketreplay
@pytest.mark.parametrize("number", range(3))
def test_reference(number):
    ask("/api/v3/exchangeInfo", symbol="BTCUSDT")
    depth()
"""


def test_once_is_decided_once_for_all_tests_of_a_run(suite):
    suite.tests(SHARED)
    suite.run(mode="once").assert_outcomes(passed=2)
    assert [entry["params"]["symbol"] for entry in suite.entries("shared")] == ["BTCUSDT", "ETHUSDT"]
    suite.exchange.stop()
    suite.run(mode="once").assert_outcomes(passed=2)


def test_once_is_decided_once_for_all_workers_of_a_run(suite):
    suite.tests("""
        import pathlib, time

        # the second worker begins only after the first has written, and must still record
        FLAG = pathlib.Path(__file__).with_name("flag")

        @pytest.mark.xdist_group("a")
        @pytest.mark.marketreplay("shared")
        def test_first():
            depth("BTCUSDT")

        @pytest.mark.xdist_group("a")
        def test_flag():
            FLAG.touch()

        @pytest.mark.xdist_group("b")
        def test_wait():
            until = time.monotonic() + 60
            while not FLAG.exists() and time.monotonic() < until:
                time.sleep(0.01)
            assert FLAG.exists()

        @pytest.mark.xdist_group("b")
        @pytest.mark.marketreplay("shared")
        def test_second():
            depth("ETHUSDT")
    """)
    suite.spawn("-n", "2", "--dist", "loadgroup", mode="once").assert_outcomes(passed=4)
    assert {entry["params"]["symbol"] for entry in suite.entries("shared")} == {"BTCUSDT", "ETHUSDT"}
    suite.asked()
    suite.run(mode="once").assert_outcomes(passed=4)
    assert suite.asked() == 0


@pytest.mark.parametrize("mode", ["all", "rewrite"])
def test_workers_that_replace_one_cassette_keep_each_others_recordings(suite, mode):
    suite.tests("""
        @pytest.mark.marketreplay("shared")
        @pytest.mark.parametrize("limit", range(5, 17))
        def test_part(limit):
            for _ in range(3):
                ask(symbol="BTCUSDT", limit=limit)
    """)
    suite.run(mode="once").assert_outcomes(passed=12)
    old = {entry["response"]["lastUpdateId"] for entry in suite.entries("shared")}
    assert len(old) == 36
    suite.spawn("-n", "2", mode=mode).assert_outcomes(passed=12)
    new = suite.entries("shared")
    assert len(new) == 36
    assert not old & {entry["response"]["lastUpdateId"] for entry in new}
    assert [name for name in suite.tree() if ".recording-" in name] == []
    suite.asked()
    suite.run().assert_outcomes(passed=12)
    assert suite.asked() == 0


def test_nothing_of_a_run_is_left_in_the_temporary_folder(suite, monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    suite.tests(SHARED)
    suite.spawn("-n", "2", mode="once").assert_outcomes(passed=2)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("marketreplay-run-")] == []


def test_reference_data_is_recorded_once_and_shared(suite):
    suite.ini("marketreplay_reference = reference")
    suite.tests(REFERENCE)
    suite.run(mode="once").assert_outcomes(passed=3)
    assert suite.asked() == 3 + 1
    assert [entry["endpoint"] for entry in suite.entries("reference")] == ["/api/v3/exchangeInfo"]
    for number in range(3):
        own = suite.entries(f"test_it/test_reference[{number}]")
        assert [entry["endpoint"] for entry in own] == ["/api/v3/depth"]
    live = suite.seen()
    assert len({body for path, _, body in live if path == "/api/v3/exchangeInfo"}) == 1
    suite.exchange.stop()
    suite.run().assert_outcomes(passed=3)
    assert suite.seen() == live


def test_a_new_test_takes_the_reference_data_that_is_there(suite):
    suite.ini("marketreplay_reference = reference")
    suite.tests(REFERENCE)
    suite.run(mode="once").assert_outcomes(passed=3)
    before = suite.tree()
    suite.asked()
    suite.tests(REFERENCE.replace("range(3)", "range(4)"))
    suite.run(mode="once").assert_outcomes(passed=4)
    assert suite.asked() == 1, "only the new test's own request"
    after = suite.tree()
    assert {name: after[name] for name in before} == before


def test_reference_data_is_asked_anew_in_mode_all_and_the_other_reference_data_stays(suite):
    suite.ini("marketreplay_reference = reference")
    suite.tests("""
        @pytest.mark.marketreplay
        def test_btc():
            ask("/api/v3/exchangeInfo", symbol="BTCUSDT")

        @pytest.mark.marketreplay
        def test_eth():
            ask("/api/v3/exchangeInfo", symbol="ETHUSDT")
    """)
    suite.run(mode="once").assert_outcomes(passed=2)
    before = {entry["params"]["symbol"]: entry for entry in suite.entries("reference")}
    for mode in ("all", "rewrite"):
        suite.asked()
        suite.run("-k", "btc", mode=mode).assert_outcomes(passed=1)
        assert suite.asked() == 1
        after = {entry["params"]["symbol"]: entry for entry in suite.entries("reference")}
        assert len(suite.entries("reference")) == 2
        assert after["ETHUSDT"] == before["ETHUSDT"]
        assert after["BTCUSDT"]["timestamp"] >= before["BTCUSDT"]["timestamp"]
        assert after["BTCUSDT"] != before["BTCUSDT"], mode
        before = after


def test_a_failed_test_leaves_no_reference_data(suite):
    suite.ini("marketreplay_reference = reference")
    suite.tests("""
        @pytest.mark.marketreplay
        def test_bad():
            ask("/api/v3/exchangeInfo", symbol="BTCUSDT")
            assert False
    """)
    suite.run(mode="once").assert_outcomes(failed=1)
    assert suite.tree() == {}


def test_layers_are_read_in_order_and_the_first_is_written(suite):
    suite.tests("""
        @pytest.mark.marketreplay("base")
        def test_base():
            depth("BTCUSDT")
            depth("ETHUSDT")
    """)
    suite.run(mode="once").assert_outcomes(passed=1)
    base = suite.seen()
    suite.tests("""
        @pytest.mark.marketreplay("day", "base")
        def test_day():
            depth("BTCUSDT")
            depth("BNBUSDT")
            depth("BTCUSDT")
    """)
    before = suite.tree()
    suite.run(mode="new_episodes").assert_outcomes(passed=1)
    seen = suite.seen()
    assert seen[0] == base[0]
    assert [entry["params"]["symbol"] for entry in suite.entries("day")] == ["BNBUSDT", "BTCUSDT"]
    after = suite.tree()
    assert {name: after[name] for name in before} == before
    suite.tests("""
        @pytest.mark.marketreplay("day", "base")
        def test_day():
            depth("BTCUSDT")
            depth("BTCUSDT")
            depth("BNBUSDT")
            depth("ETHUSDT")
    """)
    suite.run().assert_outcomes(passed=1)
    assert suite.seen() == [seen[2], base[0], seen[1], base[1]]
