"""A story for each record mode, told against a running exchange and then without it."""

from __future__ import annotations

import pytest

TWO = """
@pytest.mark.marketreplay
def test_two_symbols():
    assert depth("BTCUSDT") > 0
    assert depth("ETHUSDT") > 0
"""


def test_none_is_the_default_and_lets_nothing_out(suite):
    suite.tests(TWO)
    result = suite.run()
    result.assert_outcomes(failed=1)
    assert suite.asked() == 0
    assert suite.tree() == {}


def test_once_records_what_has_no_cassette_and_then_replays_the_same_bytes(suite):
    suite.tests(TWO)
    suite.run(mode="once").assert_outcomes(passed=1)
    live = suite.seen()
    assert suite.asked() == 2
    suite.run(mode="once").assert_outcomes(passed=1)
    assert suite.seen() == live
    suite.exchange.stop()
    suite.run().assert_outcomes(passed=1)
    assert suite.seen() == live
    assert suite.asked() == 0


def test_once_does_not_add_to_a_cassette_that_exists(suite):
    suite.tests(TWO)
    suite.run(mode="once").assert_outcomes(passed=1)
    before = suite.tree()
    suite.tests(TWO.replace("ETHUSDT", "BNBUSDT"))
    suite.asked()
    result = suite.run(mode="once")
    result.assert_outcomes(failed=1)
    assert suite.asked() == 0
    assert suite.tree() == before


def test_new_episodes_plays_what_is_recorded_and_records_the_rest(suite):
    suite.tests(TWO)
    suite.run(mode="once").assert_outcomes(passed=1)
    first = suite.seen()
    before = suite.tree()
    suite.asked()
    suite.tests(TWO + '    assert depth("BNBUSDT") > 0\n')
    suite.run(mode="new_episodes").assert_outcomes(passed=1)
    assert suite.asked() == 1
    seen = suite.seen()
    assert seen[:2] == first
    after = suite.tree()
    assert {name: after[name] for name in before} == before, "a recorded file was touched"
    assert len(suite.entries("test_it/test_two_symbols")) == 3
    suite.exchange.stop()
    suite.run().assert_outcomes(passed=1)
    assert suite.seen() == seen


def test_new_episodes_records_the_answers_that_are_missing_at_the_end_of_a_row(suite):
    suite.tests("""
        @pytest.mark.marketreplay
        def test_polls():
            depth()
    """)
    suite.run(mode="once").assert_outcomes(passed=1)
    suite.seen()
    suite.tests("""
        @pytest.mark.marketreplay
        def test_polls():
            assert len({depth(), depth(), depth()}) == 3
    """)
    suite.asked()
    suite.run(mode="new_episodes").assert_outcomes(passed=1)
    assert suite.asked() == 2
    recorded = suite.seen()
    suite.run().assert_outcomes(passed=1)
    assert suite.seen() == recorded


def test_all_replaces_what_was_asked_and_leaves_the_rest(suite):
    suite.tests("""
        @pytest.mark.marketreplay("shared")
        def test_btc():
            depth("BTCUSDT")
            depth("BTCUSDT")

        @pytest.mark.marketreplay("shared")
        def test_eth():
            depth("ETHUSDT")
    """)
    suite.run(mode="once").assert_outcomes(passed=2)
    suite.seen()
    suite.asked()
    before = suite.entries("shared")
    suite.run("-k", "btc", mode="all").assert_outcomes(passed=1)
    assert suite.asked() == 2
    fresh = [line[2] for line in suite.seen()]
    after = suite.entries("shared")
    assert len(after) == 3
    eth = [entry for entry in before if entry["params"]["symbol"] == "ETHUSDT"]
    assert [entry for entry in after if entry["params"]["symbol"] == "ETHUSDT"] == eth
    btc = [entry["response"]["lastUpdateId"] for entry in after if entry["params"]["symbol"] == "BTCUSDT"]
    old = {entry["response"]["lastUpdateId"] for entry in before}
    assert not old & set(btc), "an old answer to what was asked is still there"
    suite.run("-k", "btc").assert_outcomes(passed=1)
    assert [line[2] for line in suite.seen()] == fresh


def test_all_leaves_other_requests_of_the_same_file(suite):
    suite.tests("""
        @pytest.mark.marketreplay("shared")
        def test_short():
            ask(symbol="BTCUSDT", limit=5)

        @pytest.mark.marketreplay("shared")
        def test_long():
            ask(symbol="BTCUSDT", limit=10)
    """)
    suite.run(mode="once").assert_outcomes(passed=2)
    before = {entry["params"]["limit"]: entry for entry in suite.entries("shared")}
    suite.run("-k", "short", mode="all").assert_outcomes(passed=1)
    after = suite.entries("shared")
    assert len(after) == 2
    by_limit = {entry["params"]["limit"]: entry for entry in after}
    assert by_limit["10"] == before["10"]
    assert by_limit["5"] != before["5"]


def test_rewrite_starts_from_an_empty_cassette(suite):
    suite.tests(TWO)
    suite.run(mode="once").assert_outcomes(passed=1)
    suite.tests(TWO.replace("ETHUSDT", "BNBUSDT"))
    suite.run(mode="rewrite").assert_outcomes(passed=1)
    symbols = sorted(entry["params"]["symbol"] for entry in suite.entries("test_it/test_two_symbols"))
    assert symbols == ["BNBUSDT", "BTCUSDT"]


def test_rewrite_of_a_test_that_asks_nothing_any_more_leaves_no_recording(suite):
    suite.tests(TWO)
    suite.run(mode="once").assert_outcomes(passed=1)
    suite.tests("""
        @pytest.mark.marketreplay
        def test_two_symbols():
            pass
    """)
    suite.run(mode="rewrite").assert_outcomes(passed=1)
    assert suite.tree() == {}
    assert not (suite.path / "cassettes" / "test_it" / "test_two_symbols").exists()


def test_rewrite_of_a_shared_cassette_keeps_what_every_test_of_the_run_recorded(suite, monkeypatch):
    # all files start in the same second, so that new ones would like the names of old ones
    monkeypatch.setattr("pytest_marketreplay.clock.now_ns", lambda: 1_759_399_200_000_000_000)
    suite.tests("""
        @pytest.mark.marketreplay("shared")
        def test_gone():
            ask(symbol="BTCUSDT", limit=10)

        @pytest.mark.marketreplay("shared")
        @pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT", "BNBUSDT"])
        def test_one(symbol):
            depth(symbol)
            depth(symbol)
    """)
    suite.run(mode="once").assert_outcomes(passed=4)
    suite.seen()
    suite.run("-k", "test_one", mode="rewrite").assert_outcomes(passed=3)
    written = suite.entries("shared")
    assert sorted(entry["params"]["symbol"] for entry in written) == sorted(["BTCUSDT", "ETHUSDT", "BNBUSDT"] * 2)
    recorded = suite.seen()
    suite.exchange.stop()
    suite.run("-k", "test_one").assert_outcomes(passed=3)
    assert suite.seen() == recorded


@pytest.mark.parametrize("mode", ["once", "new_episodes", "all", "rewrite"])
def test_the_exchange_fixture_is_recorded_and_replays_from_another_port(suite, mode):
    suite.tests("""
        import json
        @pytest.mark.marketreplay
        def test_box(market_exchange, market_replay):
            for venue, path in (("binance", "/api/v3/depth?symbol=BTCUSDT"), ("kraken", "/0/public/Depth?pair=XBTUSD")):
                ask(path, base=market_exchange.url(venue))
            print("asked", market_exchange.count(), "mode", market_replay.mode)
    """)
    result = suite.run("-s", mode=mode)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"*asked 2 mode {mode}*"])
    live = suite.seen()
    result = suite.run("-s")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*asked 0 mode none*"])
    assert suite.seen() == live
    assert {entry["endpoint"] for entry in suite.entries("test_it/test_box")} == {"/api/v3/depth", "/0/public/Depth"}


def test_all_modes_are_known_to_the_fixture(suite):
    suite.tests("""
        @pytest.mark.marketreplay
        def test_state(market_replay):
            assert market_replay.is_recording == (market_replay.mode != "none")
            assert (market_replay.played, market_replay.recorded) == (0, 0)
            depth()
            depth()
            played, recorded = market_replay.played, market_replay.recorded
            assert (played, recorded) == ((0, 2) if market_replay.is_recording else (2, 0))
            assert market_replay.refusals == []
            assert market_replay.unplayed == []
            assert [folder.name for folder in market_replay.cassettes] == ["test_state"]
    """)
    for mode in ("rewrite", "all", "none"):
        suite.run(mode=mode).assert_outcomes(passed=1)
