"""A test that does not pass never damages what was recorded before, however it ends and in whatever mode."""

from __future__ import annotations

import pytest

GOOD = """
@pytest.mark.marketreplay
def test_story():
    depth("BTCUSDT")
    depth("ETHUSDT")
"""

BAD_ENDS = {
    "assertion": ("", '    assert depth("BNBUSDT") < 0'),
    "exception": ("", '    depth("BNBUSDT")\n    raise RuntimeError("half way")'),
    "skip": ("", '    depth("BNBUSDT")\n    pytest.skip("not today")'),
    "teardown": (
        "@pytest.fixture(autouse=True)\ndef cleaner():\n    yield\n    raise RuntimeError('in teardown')\n",
        '    depth("BNBUSDT")',
    ),
    "setup": (
        "@pytest.fixture(autouse=True)\ndef broken():\n    depth('BNBUSDT')\n    raise RuntimeError('in setup')\n",
        "",
    ),
    "interrupt": ("", '    depth("BNBUSDT")\n    raise KeyboardInterrupt'),
    "exit": ("", '    depth("BNBUSDT")\n    pytest.exit("enough")'),
    "strict xfail": ("", '    depth("BNBUSDT")'),
}
LIVE = ["new_episodes", "all", "rewrite"]


def story(end: str) -> str:
    """Return the good story with a bad end."""
    before, after = BAD_ENDS[end]
    mark = "@pytest.mark.xfail(strict=True)\n" if end == "strict xfail" else ""
    return before + mark + GOOD.lstrip("\n") + after + "\n"


@pytest.mark.parametrize("mode", LIVE)
@pytest.mark.parametrize("end", BAD_ENDS)
def test_a_bad_end_leaves_the_old_recording_byte_for_byte(suite, mode, end):
    suite.tests(GOOD)
    suite.run(mode="once").assert_outcomes(passed=1)
    before = suite.tree()
    suite.asked()
    suite.tests(story(end))
    suite.run(mode=mode)
    assert suite.asked() >= 1, "nothing went live: the test shows nothing"
    assert suite.tree() == before
    suite.tests(GOOD)
    suite.run().assert_outcomes(passed=1)


@pytest.mark.parametrize("end", BAD_ENDS)
def test_a_bad_end_of_a_first_recording_leaves_no_cassette_so_that_once_can_try_again(suite, end):
    suite.tests(story(end))
    suite.run(mode="once")
    assert suite.asked() >= 1
    assert suite.tree() == {}
    suite.tests(GOOD)
    suite.run(mode="once").assert_outcomes(passed=1)
    assert len(suite.entries("test_it/test_story")) == 2


@pytest.mark.parametrize("end", ["interrupt", "exit"])
def test_an_interrupted_run_leaves_no_patch_behind(suite, end):
    import socket

    from pytest_marketreplay.intercept.install import PATCHES
    from pytest_marketreplay.replay.current import current

    before = socket.socket.connect, PATCHES.count
    suite.tests(story(end))
    suite.run(mode="once")
    assert (socket.socket.connect, PATCHES.count) == before
    assert current() is None


def test_what_was_not_kept_is_told(suite):
    suite.tests(story("assertion"))
    result = suite.run(mode="once")
    result.stdout.fnmatch_lines(["3 recorded answers were not kept, because the test did not pass*"])


@pytest.mark.parametrize("mode", ["once", *LIVE])
def test_an_expected_failure_is_a_good_end(suite, mode):
    suite.tests("""
        @pytest.mark.xfail(strict=True)
        @pytest.mark.marketreplay
        def test_refused_order():
            assert ask("/api/v3/depth", symbol="NOSUCH").status_code == 200
    """)
    suite.run(mode=mode).assert_outcomes(xfailed=1)
    assert [entry["meta"]["status"] for entry in suite.entries("test_it/test_refused_order")] == [400]
    suite.asked()
    suite.run().assert_outcomes(xfailed=1)
    assert suite.asked() == 0


def test_a_test_that_is_skipped_before_it_starts_touches_nothing(suite):
    suite.tests(GOOD)
    suite.run(mode="once").assert_outcomes(passed=1)
    before = suite.tree()
    suite.asked()
    suite.tests("@pytest.mark.skip\n" + GOOD.lstrip("\n"))
    suite.run(mode="rewrite").assert_outcomes(skipped=1)
    assert suite.tree() == before
    assert suite.asked() == 0


def test_one_bad_test_costs_only_its_own_part_of_a_shared_cassette(suite):
    suite.tests("""
        @pytest.mark.marketreplay("shared")
        def test_good():
            depth("BTCUSDT")

        @pytest.mark.marketreplay("shared")
        def test_bad():
            depth("ETHUSDT")
            assert False
    """)
    suite.run(mode="once").assert_outcomes(passed=1, failed=1)
    assert [entry["params"]["symbol"] for entry in suite.entries("shared")] == ["BTCUSDT"]


@pytest.mark.parametrize("mode", LIVE)
def test_a_block_inside_a_test_that_fails_later_is_not_kept_either(suite, mode):
    suite.tests("""
        @pytest.mark.marketreplay("outer")
        def test_blocks(market_replay):
            depth("BTCUSDT")
            with market_replay.use("inner"):
                depth("ETHUSDT")
    """)
    suite.run(mode="once").assert_outcomes(passed=1)
    before = suite.tree()
    assert suite.cassettes() == ["inner", "outer"]
    suite.tests("""
        @pytest.mark.marketreplay("outer")
        def test_blocks(market_replay):
            with market_replay.use("inner"):
                depth("BNBUSDT")
            assert False
    """)
    suite.run(mode=mode).assert_outcomes(failed=1)
    assert suite.tree() == before


def test_a_unittest_that_fails_keeps_nothing_and_one_that_passes_does(suite):
    suite.tests("""
        import unittest

        @pytest.mark.marketreplay
        class TestCase(unittest.TestCase):
            def test_good(self):
                self.assertGreater(depth("BTCUSDT"), 0)

            def test_bad(self):
                self.assertLess(depth("ETHUSDT"), 0)

            @unittest.expectedFailure
            def test_expected(self):
                self.assertLess(depth("BNBUSDT"), 0)
    """)
    suite.run(mode="once").assert_outcomes(passed=1, failed=1, xfailed=1)
    assert suite.cassettes() == ["test_it/TestCase.test_expected", "test_it/TestCase.test_good"]


def test_a_recording_that_cannot_be_written_fails_the_test(suite):
    (suite.path / "cassettes").write_text("a file is in the way")
    suite.tests(GOOD)
    result = suite.run(mode="once")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*RecordingError: cannot record into*"])


def test_a_damaged_cassette_fails_with_file_line_and_cure(suite):
    suite.tests(GOOD)
    suite.run(mode="once").assert_outcomes(passed=1)
    file = next((suite.path / "cassettes").rglob("*.jsonl"))
    file.write_bytes(file.read_bytes()[:50] + b"\n" + file.read_bytes())
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*DamagedCassette: *{file.name}, line 1*marketreplay cassette check*"])


@pytest.mark.parametrize("mode", ["once", "new_episodes", "all", "rewrite"])
def test_a_recording_that_cannot_be_written_fails_the_test_also_where_its_code_swallows_the_error(suite, mode):
    (suite.path / "in_the_way").write_text("a file, no folder")
    suite.tests(
        """
        @pytest.mark.marketreplay("in_the_way/cassette")
        def test_swallows():
            try:
                depth()
            except Exception:
                pass
        """
    )
    suite.ini("marketreplay_dir = .")
    result = suite.run(f"--record-mode={mode}")
    assert result.parseoutcomes().get("passed") is None
    result.stdout.fnmatch_lines(["*RecordingError: cannot record into*"])
