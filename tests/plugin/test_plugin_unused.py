"""A plugin that no test uses costs nothing: no heavy import, no patch."""

from __future__ import annotations

HEAVY = (
    "msgspec",
    "orjson",
    "aiohttp",
    "requests",
    "urllib3",
    "httpx",
    "vcr",
    "filelock",
    "asyncio",
    "http.client",
    "yaml",
)

WATCH = f"""
    import socket
    import sys
    import threading
    import concurrent.futures

    BEFORE = {{}}

    def state():
        return (
            socket.socket.connect, socket.socket.connect_ex, socket.socket.sendto, socket.getaddrinfo,
            socket.gethostbyname, threading.Thread.start, concurrent.futures.ThreadPoolExecutor.submit,
            tuple(map(repr, sys.meta_path)),
        )

    PATCHED = state()

    def pytest_unconfigure(config):
        print("HEAVY:", sorted(name for name in {HEAVY!r} if name in sys.modules))
        print("OURS:", sorted(name for name in sys.modules if name.startswith("pytest_marketreplay")))
        print("SAME:", state() == PATCHED)
"""


def spawn(suite, *args):
    """Run the suite where only pytest itself and this plugin are loaded."""
    suite.write("conftest.py", WATCH)
    suite.pytester.plugins = []
    import os

    before = os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        return suite.pytester.runpytest_subprocess("-s", "-p", "pytest_marketreplay.plugin", *args)
    finally:
        if before is None:
            del os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]
        else:
            os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = before


def test_a_run_without_a_marked_test_imports_and_patches_nothing(suite):
    suite.write(
        "test_plain.py",
        """
        import pytest
        from conftest import PATCHED, state

        def test_plain():
            assert state() == PATCHED

        @pytest.fixture(scope="module")
        def wide():
            return 1

        def test_fixture(wide):
            assert state() == PATCHED

        def test_fails():
            assert False
    """,
    )
    result = spawn(suite, "--record-mode=once")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["HEAVY: []", "OURS: *", "SAME: True"])
    ours = next(line for line in result.outlines if line.startswith("OURS: "))
    assert "plugin.play" not in ours
    assert "redaction" not in ours


def test_patches_are_there_in_a_marked_test_only(suite):
    suite.write(
        "test_some.py",
        """
        import pytest
        from conftest import PATCHED, state

        def test_before():
            assert state() == PATCHED

        @pytest.mark.marketreplay
        def test_marked():
            assert state() != PATCHED

        def test_after():
            assert state() == PATCHED
    """,
    )
    result = spawn(suite)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["SAME: True"])


def test_a_marked_test_imports_no_client_that_it_does_not_use(suite):
    suite.write(
        "test_marked.py",
        """
        import pytest

        @pytest.mark.marketreplay
        def test_marked(market_replay):
            assert market_replay.played == 0
    """,
    )
    result = spawn(suite)
    result.assert_outcomes(passed=1)
    heavy = next(line for line in result.outlines if line.startswith("HEAVY: "))
    for client in ("aiohttp", "requests", "urllib3", "httpx", "vcr"):
        assert repr(client) not in heavy
