"""Streams, clock, faults and data cost nothing where a test asks for none of them."""

from __future__ import annotations

import pytest
from inner_suite import Suite

OURS = ("replay.stream.streams", "replay.stream.player", "replay.virtual_loop", "replay.faults", "data", "serve", "exchange",
        "strategies", "market.structs", "intercept.aiohttp", "intercept.websockets_protocol", "intercept.websocket_client")  # fmt: skip
THEIRS = ("asyncio", "aiohttp", "websockets", "websocket", "time_machine", "hypothesis")

WATCH = f"""
    import sys

    def pytest_unconfigure(config):
        ours = ["pytest_marketreplay." + name for name in {OURS!r}]
        print("LOADED:", sorted(name for name in [*ours, *{THEIRS!r}] if name in sys.modules))
"""

PLAIN = """
    def test_it():
        pass
"""
REST = """
    @pytest.mark.marketreplay
    def test_it(market_replay):
        depth()
        assert market_replay.played_frames == 0
"""


def loaded(suite: Suite, monkeypatch: pytest.MonkeyPatch, text: str, *args: str) -> list[str]:
    """Run a suite where only pytest itself and this plugin are loaded; return what of the costly it imported."""
    suite.write("conftest.py", WATCH)
    suite.write(
        "test_it.py",
        ("import pytest\nfrom market import *\n\n" if "depth" in text else "") + text.replace("\n    ", "\n"),
    )
    suite.pytester.plugins = []
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    result = suite.pytester.runpytest_subprocess("-s", "-p", "pytest_marketreplay.plugin", *args)
    result.assert_outcomes(passed=1)
    line = next(line for line in result.outlines if line.startswith("LOADED: "))
    return [name.strip("' ") for name in line.removeprefix("LOADED: ").strip("[]").split(",") if name]


def test_a_run_without_a_marked_test_loads_nothing_of_it(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(suite, monkeypatch, PLAIN) == []


def test_a_rest_test_loads_nothing_of_it(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    suite.tests(REST)
    suite.run(mode="once").assert_outcomes(passed=1)
    assert loaded(suite, monkeypatch, REST) == []


def test_a_rest_test_that_records_loads_nothing_of_it(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(suite, monkeypatch, REST, "--record-mode=once") == []


def test_the_clock_loads_when_it_is_asked_for(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sees that the watch above can see."""
    suite.tests(REST)
    suite.run(mode="once").assert_outcomes(passed=1)
    clocked = REST.replace("market_replay)", "market_replay, market_clock)")
    assert "time_machine" in loaded(suite, monkeypatch, clocked)
