"""Corners of the plugin: a folder of cassettes that is the root, an exchange without a cassette, odd properties."""

from __future__ import annotations

import pytest

from pytest_marketreplay.cassette.redaction import Secrets
from pytest_marketreplay.plugin import reports


def test_tests_are_collected_where_the_root_folder_is_that_of_the_cassettes(suite):
    suite.ini("marketreplay_dir = .")
    suite.tests("def test_it(): pass")
    suite.run().assert_outcomes(passed=1)


def test_tests_in_the_folder_of_the_cassettes_are_not_collected(suite):
    suite.tests("def test_it(): pass")
    suite.write("cassettes/test_hidden.py", "def test_hidden(): assert False")
    suite.run().assert_outcomes(passed=1)


def test_the_exchange_fixture_serves_a_test_without_a_cassette(suite):
    suite.tests("""
        def test_live(market_exchange):
            assert ask("/api/v3/depth?symbol=BTCUSDT", base=market_exchange.url("binance")).ok
            assert market_exchange.count() == 1
    """)
    suite.run().assert_outcomes(passed=1)
    assert suite.tree() == {}


class Plain:
    """What somebody keeps as a property: it is theirs, and stays as it is."""

    def __init__(self) -> None:
        self.text = "TOP-SECRET-0123"


def test_properties_of_any_kind_come_out_of_a_report_without_the_secret(monkeypatch: pytest.MonkeyPatch):
    secrets, plain = Secrets(), Plain()
    secrets.add(["TOP-SECRET-0123"])
    monkeypatch.setattr(reports, "SECRETS", secrets)
    report = pytest.TestReport("test_it", ("test_it.py", 1, "test_it"), {}, "passed", None, "call")
    report.user_properties = [
        ("asked", {"key": ["TOP-SECRET-0123", 1], "TOP-SECRET-0123": None}),
        ("pair", ("a TOP-SECRET-0123", 2.5)),
        ("plain", plain),
    ]
    reports.scrub_report(report)
    shown = dict(report.user_properties)
    assert "TOP-SECRET-0123" not in repr((shown["asked"], shown["pair"]))
    assert [next(iter(shown["asked"])), shown["asked"]["key"][1], shown["pair"][1]] == ["key", 1, 2.5]
    assert shown["plain"] is plain
    assert plain.text == "TOP-SECRET-0123"
