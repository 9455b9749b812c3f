"""Where the marker may stand, what its arguments do, and which folder a test gets."""

from __future__ import annotations

import pytest


def test_the_nearest_marker_wins_argument_by_argument(suite):
    suite.tests("""
        pytestmark = pytest.mark.marketreplay("of_module", mode="new_episodes")

        def test_module(market_replay):
            assert [folder.name for folder in market_replay.cassettes] == ["of_module"]
            assert market_replay.mode == "new_episodes"

        @pytest.mark.marketreplay("of_class", exhausted="loop")
        class TestClass:
            def test_class(self, market_replay):
                assert [folder.name for folder in market_replay.cassettes] == ["of_class"]
                assert market_replay.mode == "new_episodes"
                assert market_replay.session.settings.exhausted == "loop"

            @pytest.mark.marketreplay("of_test", "base", mode="none")
            def test_test(self, market_replay):
                assert [folder.name for folder in market_replay.cassettes] == ["of_test", "base"]
                assert market_replay.mode == "none"
                assert market_replay.session.settings.exhausted == "loop"

            @pytest.mark.marketreplay(exhausted="last")
            def test_no_name(self, market_replay):
                assert [folder.name for folder in market_replay.cassettes] == ["of_class"]
                assert market_replay.session.settings.exhausted == "last"
    """)
    suite.run().assert_outcomes(passed=4)


def test_the_fixture_alone_is_as_good_as_the_marker(suite):
    suite.tests("""
        def test_fixture(market_replay):
            depth()
    """)
    suite.run(mode="once").assert_outcomes(passed=1)
    assert suite.cassettes() == ["test_it/test_fixture"]
    suite.exchange.stop()
    suite.run().assert_outcomes(passed=1)


def test_asking_for_the_fixture_too_late_is_an_error_that_says_so(suite):
    suite.tests("""
        def test_late(request):
            request.getfixturevalue("market_replay")
    """)
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*market_replay is asked for too late*"])


def test_unmarked_tests_go_live_and_record_nothing(suite):
    suite.tests("""
        def test_plain():
            depth()
    """)
    suite.run(mode="once").assert_outcomes(passed=1)
    assert suite.asked() == 1
    assert suite.tree() == {}


def test_an_absolute_name_is_used_as_it_is(suite, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    suite.tests(f"""
        @pytest.mark.marketreplay({str(folder / "crash")!r})
        def test_it():
            depth()
    """)
    suite.run(mode="once").assert_outcomes(passed=1)
    assert len(list((folder / "crash").rglob("*.jsonl"))) == 1
    assert not (suite.path / "cassettes").exists()


def test_a_name_may_have_folders(suite):
    suite.tests("""
        @pytest.mark.marketreplay("2025/btc_crash")
        def test_it():
            depth()
    """)
    suite.run(mode="once").assert_outcomes(passed=1)
    assert suite.cassettes() == ["2025/btc_crash"]


HOSTILE = ["../../up", "a/b", "a::b", "", ".", "..", "x" * 300, "nul", "Zürich ₿", "a\\b", "a%2Fb", "%", "*", "a b", "-rf",
           "a[b]", "A", "a"]  # fmt: skip


def test_hostile_parameters_get_folders_of_their_own_inside_the_tree(suite):
    suite.tests(f"""
        VALUES = {HOSTILE!r}

        @pytest.mark.marketreplay
        @pytest.mark.parametrize("number,value", list(enumerate(VALUES)), ids=[repr(v) + v for v in VALUES])
        def test_value(number, value):
            ask(symbol="BTCUSDT", limit=5 + number)
    """)
    outside = {path for path in suite.path.parent.rglob("*") if suite.path not in path.parents}
    suite.run(mode="once").assert_outcomes(passed=len(HOSTILE))
    assert len(suite.cassettes()) == len(HOSTILE)
    for name in suite.cassettes():
        assert name.startswith("test_it/test_value[")
        assert len(suite.entries(name)) == 1, name
    assert {path for path in suite.path.parent.rglob("*") if suite.path not in path.parents} == outside
    live = suite.seen()
    suite.run().assert_outcomes(passed=len(HOSTILE))
    assert suite.seen() == live


def test_tests_of_the_same_name_in_other_modules_and_classes_do_not_share(suite):
    text = """
        @pytest.mark.marketreplay
        def test_same():
            depth()

        @pytest.mark.marketreplay
        class TestGroup:
            def test_same(self):
                depth()

            class TestInner:
                def test_same(self):
                    depth()
    """
    (suite.path / "sub").mkdir()
    suite.tests(text, "test_one.py")
    suite.tests(text, "sub/test_two.py")
    suite.run(mode="once").assert_outcomes(passed=6)
    names = ["TestGroup.TestInner.test_same", "TestGroup.test_same", "test_same"]
    assert suite.cassettes() == sorted(
        [f"test_one/{name}" for name in names] + [f"sub/test_two/{name}" for name in names]
    )


def test_unittest_and_asyncio_tests_record_and_replay(suite):
    suite.tests("""
        import asyncio
        import unittest
        import aiohttp
        import httpx

        def note(value):
            with SEEN.open("a") as out:
                out.write(json.dumps(value) + "\\n")

        @pytest.mark.marketreplay
        class TestCase(unittest.TestCase):
            def setUp(self):
                self.first = depth("BTCUSDT")

            def test_case(self):
                self.assertGreater(depth("BTCUSDT"), 0)

        @pytest.mark.marketreplay
        class TestAsync(unittest.IsolatedAsyncioTestCase):
            async def test_case(self):
                async with httpx.AsyncClient() as client:
                    answer = await client.get(BINANCE + "/api/v3/depth?symbol=BTCUSDT")
                note(answer.text)

        @pytest.mark.marketreplay
        def test_run():
            async def main():
                async with aiohttp.ClientSession() as session:
                    async def one(limit):
                        async with session.get(f"{BINANCE}/api/v3/depth?symbol=BTCUSDT&limit={limit}") as answer:
                            return await answer.text()
                    return await asyncio.gather(*(one(limit) for limit in range(5, 25)))
            texts = asyncio.run(main())
            assert len(texts) == 20
            note(texts)
    """)
    suite.run(mode="once").assert_outcomes(passed=3)
    live = suite.seen()
    assert suite.asked() == 2 + 1 + 20
    suite.run().assert_outcomes(passed=3)
    assert suite.seen() == live
    assert suite.asked() == 0


def test_exhausted_says_what_comes_after_the_last_answer(suite):
    suite.tests("""
        @pytest.mark.marketreplay("polls")
        def test_record():
            depth(), depth()
    """)
    suite.run(mode="once").assert_outcomes(passed=1)
    suite.tests("""
        def four():
            return [depth() for _ in range(4)]

        @pytest.mark.marketreplay("polls", exhausted="last")
        def test_last():
            one, two, three, four_ = four()
            assert one != two == three == four_

        @pytest.mark.marketreplay("polls", exhausted="loop")
        def test_loop():
            one, two, three, four_ = four()
            assert one != two and (one, two) == (three, four_)

        @pytest.mark.marketreplay("polls")
        def test_error():
            four()
    """)
    result = suite.run()
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*RecordingExhausted: no recorded answer for GET *", "*it is recorded 2 times*"])


def test_ignored_parameters_do_not_count_in_a_match(suite):
    suite.tests("""
        @pytest.mark.marketreplay("any_limit")
        def test_record():
            ask(symbol="BTCUSDT", limit=5)
    """)
    suite.run(mode="once").assert_outcomes(passed=1)
    suite.tests("""
        @pytest.mark.marketreplay("any_limit", ignore_params=("LIMIT",))
        def test_ignores():
            ask(symbol="BTCUSDT", limit=10)

        @pytest.mark.marketreplay("any_limit")
        def test_compares():
            ask(symbol="BTCUSDT", limit=10)
    """)
    suite.run().assert_outcomes(passed=1, failed=1)


def test_a_block_plays_another_cassette_and_then_the_outer_one_again(suite):
    suite.tests("""
        @pytest.mark.marketreplay("outer")
        def test_blocks(market_replay, market_exchange):
            def one():
                return ask("/api/v3/depth?symbol=BTCUSDT", base=market_exchange.url("binance"))
            one()
            with market_replay.use("inner", mode=market_replay.mode) as inner:
                one()
                with market_replay.use("innermost", exhausted="last"):
                    one()
                one()
            one()
            assert inner.layers[0].name == "inner"
    """)
    suite.run(mode="once").assert_outcomes(passed=1)
    live = suite.seen()
    assert len({body for _, _, body in live}) == 5
    assert [len(suite.entries(name)) for name in ("outer", "inner", "innermost")] == [2, 2, 1]
    suite.run().assert_outcomes(passed=1)
    assert suite.seen() == live


def test_a_wrong_argument_of_a_block_is_named(suite):
    suite.tests("""
        @pytest.mark.marketreplay
        def test_wrong(market_replay):
            with market_replay.use("inner", modus="all"):
                pass

        @pytest.mark.marketreplay
        def test_outside(market_replay):
            with market_replay.use("../inner"):
                pass
    """)
    result = suite.run()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        ["*market_replay.use() has no argument 'modus'; it has mode,*", "*'../inner' is outside of cassettes*"]
    )


@pytest.mark.parametrize(("value", "outcome"), [("ignore", "passed"), ("warn", "passed"), ("fail", "failed")])
@pytest.mark.parametrize("where", ["ini", "marker"])
def test_unplayed_answers_can_be_ignored_warned_of_and_failed_on(suite, value, outcome, where):
    suite.tests("""
        @pytest.mark.marketreplay("tape")
        def test_record():
            depth("BTCUSDT"), depth("ETHUSDT"), depth("BNBUSDT")
    """)
    suite.run(mode="once").assert_outcomes(passed=1)
    argument = f", unplayed={value!r}" if where == "marker" else ""
    if where == "ini":
        suite.ini(f"marketreplay_unplayed = {value}", filterwarnings="default")
    else:
        suite.ini(filterwarnings="default")
    suite.tests(f"""
        @pytest.mark.marketreplay("tape"{argument})
        def test_leaves_two(market_replay):
            depth("ETHUSDT")
            assert len(market_replay.unplayed) == 2
    """)
    result = suite.run()
    result.assert_outcomes(**{outcome: 1}, **({"warnings": 1} if value == "warn" else {}))
    if value != "ignore":
        result.stdout.fnmatch_lines(["*2 recorded answers were not played:", "*tape*BTCUSDT*line 1: /api/v3/depth"])
    suite.tests(f"""
        @pytest.mark.marketreplay("tape"{argument})
        def test_leaves_none():
            depth("ETHUSDT"), depth("BTCUSDT"), depth("BNBUSDT")
    """)
    result = suite.run()
    result.assert_outcomes(passed=1)


def test_parameters_that_differ_only_by_colons_do_not_share_a_cassette(suite):
    suite.tests(
        """
        @pytest.mark.marketreplay
        @pytest.mark.parametrize("name", ["a::b", "a.b"])
        def test_it(name, market_replay):
            assert market_replay.cassettes[0].name == {"a::b": "test_it[a%3A%3Ab]", "a.b": "test_it[a.b]"}[name]
        """
    )
    suite.run().assert_outcomes(passed=2)
