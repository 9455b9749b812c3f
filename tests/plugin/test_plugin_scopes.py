"""Fixtures that live longer than a test and talk to the exchange have cassettes of their own."""

from __future__ import annotations

import pytest

WIDE = """
    NUMBERS = {{"session": 5, "package": 10, "module": 20, "class": 50}}

    def make(scope):
        @pytest.fixture(scope=scope, name="client_of_" + scope)
        def client():
            yield ask(symbol="BTCUSDT", limit=NUMBERS[scope]).json()["lastUpdateId"]
            ask(symbol="ETHUSDT", limit=NUMBERS[scope])
        return client

    client_of_session, client_of_package, client_of_module, client_of_class = map(make, NUMBERS)

    @pytest.mark.marketreplay
    class TestOne:
        def test_a(self, client_of_session, client_of_class):
            depth()

        def test_b(self, client_of_module, client_of_class, client_of_package):
            depth()

    @pytest.mark.marketreplay
    class TestTwo:
        def test_c(self, client_of_class, client_of_session):
            depth()

        def test_d(self, client_of_module, client_of_package, client_of_session, client_of_class):
            depth()
"""
TESTS = ["test_it/TestOne.test_a", "test_it/TestOne.test_b", "test_it/TestTwo.test_c", "test_it/TestTwo.test_d"]


@pytest.fixture
def wide(suite):
    suite.tests(WIDE.replace("{{", "{").replace("}}", "}"))
    suite.run(mode="once").assert_outcomes(passed=4)
    return suite


def test_each_wide_fixture_has_a_cassette_for_its_setup_and_one_for_its_teardown(wide):
    fixtures = [f"test_it/{phase}.client_of_{scope}" for scope in ("session", "package", "module", "class")
                for phase in ("_fixture", "_teardown")]  # fmt: skip
    assert wide.cassettes() == sorted(fixtures + TESTS)
    for name in TESTS:
        assert [entry["params"]["limit"] for entry in wide.entries(name)] == ["5"], "only what the test itself asked"


@pytest.mark.parametrize("select", ["test_a", "test_b", "test_c", "test_d", "TestTwo", "test_b or test_c"])
def test_any_selection_of_tests_replays(wide, select):
    wide.exchange.stop()
    result = wide.run("-k", select)
    assert result.ret == 0
    result.assert_outcomes(passed=result.parseoutcomes()["passed"], deselected=4 - result.parseoutcomes()["passed"])


@pytest.mark.parametrize("order", [("d", "c", "b", "a"), ("c", "a", "d", "b"), ("b", "d", "a", "c")])
def test_any_order_of_tests_replays(wide, order):
    wide.write(
        "conftest.py",
        f"""
        def pytest_collection_modifyitems(items):
            items.sort(key=lambda item: {order!r}.index(item.name[-1]))
    """,
    )
    wide.exchange.stop()
    wide.run().assert_outcomes(passed=4)


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_random_orders_replay(wide, seed):
    pytest.importorskip("pytest_randomly")
    wide.exchange.stop()
    quiet = ("-p", "no:recording", "-p", "no:cassetter")
    wide.spawn(f"--randomly-seed={seed}", quiet=quiet).assert_outcomes(passed=4)


def test_a_parametrised_wide_fixture_has_a_cassette_for_each_parameter(suite):
    suite.tests("""
        @pytest.fixture(scope="module", params=["BTCUSDT", "ETHUSDT"])
        def book(request):
            return depth(request.param)

        @pytest.mark.marketreplay
        def test_one(book):
            assert book > 0

        @pytest.mark.marketreplay
        def test_two(book):
            assert book > 0
    """)
    suite.run(mode="once").assert_outcomes(passed=4)
    assert suite.cassettes() == ["test_it/_fixture.book[0]", "test_it/_fixture.book[1]"]
    live = suite.seen()
    suite.exchange.stop()
    suite.run().assert_outcomes(passed=4)
    assert suite.seen() == live


def test_a_fixture_of_conftest_has_its_cassette_beside_the_modules(suite):
    fixture = """
        import pytest
        from market import depth

        @pytest.fixture(scope="session")
        def {name}():
            return depth("{symbol}")
    """
    suite.write("conftest.py", fixture.format(name="top", symbol="BTCUSDT"))
    suite.write("sub/conftest.py", fixture.format(name="below", symbol="ETHUSDT"))
    suite.tests(
        """
        @pytest.mark.marketreplay
        def test_both(top, below):
            assert top != below
    """,
        "sub/test_it.py",
    )
    suite.run(mode="once").assert_outcomes(passed=1)
    assert suite.cassettes() == ["_fixture.top", "sub/_fixture.below"]
    suite.exchange.stop()
    suite.run().assert_outcomes(passed=1)


def test_the_recording_of_a_wide_fixture_survives_the_failure_of_the_test_that_came_first(suite):
    suite.tests("""
        @pytest.fixture(scope="module")
        def book():
            return depth()

        @pytest.mark.marketreplay
        def test_fails(book):
            depth("ETHUSDT")
            assert False

        @pytest.mark.marketreplay
        def test_passes(book):
            depth("BNBUSDT")
    """)
    suite.run(mode="once").assert_outcomes(passed=1, failed=1)
    assert suite.cassettes() == ["test_it/_fixture.book", "test_it/test_passes"]


def test_a_wide_fixture_that_fails_keeps_nothing(suite):
    suite.tests("""
        @pytest.fixture(scope="module")
        def book():
            depth()
            raise RuntimeError("no book")

        @pytest.mark.marketreplay
        def test_uses(book):
            pass
    """)
    suite.run(mode="once").assert_outcomes(errors=1)
    assert suite.asked() == 1
    assert suite.tree() == {}


def test_a_refusal_that_a_wide_fixture_swallows_is_an_error_in_setup_and_in_teardown(suite):
    text = """
        @pytest.fixture(scope="module")
        def book():
            {setup}
            yield
            {teardown}

        def careful():
            try:
                depth()
            except Exception:
                pass

        @pytest.mark.marketreplay
        def test_uses(book):
            pass
    """
    suite.tests(text.format(setup="careful()", teardown="pass"))
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*UnrecordedRequest*"])
    suite.tests(text.format(setup="pass", teardown="careful()"))
    result = suite.run()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*UnrecordedRequest*"])


def test_a_client_that_a_wide_fixture_made_plays_the_cassette_of_each_test(suite):
    suite.tests("""
        @pytest.fixture(scope="session")
        def client():
            with requests.Session() as session:
                yield session

        @pytest.mark.marketreplay
        @pytest.mark.parametrize("limit", [5, 10])
        def test_uses(client, limit):
            assert client.get(f"{BINANCE}/api/v3/depth?symbol=BTCUSDT&limit={limit}").ok
    """)
    suite.run(mode="once").assert_outcomes(passed=2)
    assert suite.cassettes() == ["test_it/test_uses[10]", "test_it/test_uses[5]"]
    suite.exchange.stop()
    suite.run().assert_outcomes(passed=2)
