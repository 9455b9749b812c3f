"""What third parties add: venues, ignored and secret parameters, in a `conftest.py`, a plugin or an entry point."""

from __future__ import annotations

import pytest


def test_a_venue_of_a_conftest_names_its_hosts_endpoints_and_symbols(suite):
    host = suite.exchange.url("lab").partition("://")[2]
    suite.write(
        "conftest.py",
        f"""
        from pytest_marketreplay import Venue

        class House(Venue):
            name = "house"
            hosts = ({host!r},)
            volatile = Venue.volatile | {{"call"}}

            def endpoint(self, path):
                return path.removeprefix("/__lab__")

            def symbol(self, value):
                return value.upper().replace("/", "-")

        def pytest_marketreplay_venues():
            return [House()]
    """,
    )
    ini = (suite.path / "pytest.ini").read_text()
    (suite.path / "pytest.ini").write_text(ini.replace(f"{host} = lab", f"{host} = house"))
    suite.tests("""
        @pytest.mark.marketreplay
        @pytest.mark.parametrize("turn", [1])
        def test_house(turn):
            import os
            assert ask("/__lab__/echo", base=LAB, pair="btc/usd", call=os.urandom(4).hex()).ok
    """)
    suite.run(mode="once").assert_outcomes(passed=1)
    assert [name.split("/")[2:5] for name in suite.tree()] == [["house", "echo", "BTC-USD"]]
    suite.exchange.stop()
    suite.run().assert_outcomes(passed=1)


def test_a_venue_of_a_conftest_takes_the_place_of_a_built_in_one(suite):
    suite.write(
        "conftest.py",
        """
        from pytest_marketreplay import Venue

        def pytest_marketreplay_venues():
            return [Venue("binance", ["api.binance.com"])]
    """,
    )
    suite.tests("""
        @pytest.mark.marketreplay
        def test_it(market_replay):
            venue = market_replay.session.registry.of("api.binance.com")
            assert type(venue).__name__ == "Venue"
            assert market_replay.session.registry.of("api.kraken.com").name == "kraken"
    """)
    suite.run().assert_outcomes(passed=1)


def test_ignored_parameters_of_a_hook_count_for_their_endpoint_only(suite):
    suite.write(
        "conftest.py",
        """
        def pytest_marketreplay_ignore_params(venue, endpoint):
            return ["Limit"] if (venue, endpoint) == ("binance", "/api/v3/depth") else ()
    """,
    )
    suite.tests("""
        @pytest.mark.marketreplay("tape")
        def test_record():
            ask("/api/v3/depth", symbol="BTCUSDT", limit=5)
            ask("/api/v3/trades", symbol="BTCUSDT", limit=5)
    """)
    suite.run(mode="once").assert_outcomes(passed=1)
    suite.tests("""
        @pytest.mark.marketreplay("tape")
        def test_ignored():
            ask("/api/v3/depth", symbol="BTCUSDT", limit=10)

        @pytest.mark.marketreplay("tape")
        def test_compared():
            ask("/api/v3/trades", symbol="BTCUSDT", limit=10)
    """)
    suite.run().assert_outcomes(passed=1, failed=1)


def test_secret_parameters_of_a_hook_are_redacted_and_still_match(suite):
    suite.write(
        "conftest.py",
        """
        def pytest_marketreplay_secret_params(venue):
            return ["Desk", "X-Desk"] if venue == "binance" else ()
    """,
    )
    text = """
        @pytest.mark.marketreplay("tape")
        def test_it():
            params = {{"symbol": "BTCUSDT", "desk": "{desk}"}}
            requests.get(BINANCE + "/api/v3/time", params=params, headers={{"X-Desk": "{header}"}})
    """
    suite.tests(text.format(desk="corner-desk-71", header="window-desk-72"))
    suite.run(mode="once").assert_outcomes(passed=1)
    stored = b"".join(suite.tree().values())
    assert b"desk-71" not in stored
    assert b"desk-72" not in stored
    assert suite.entries("tape")[0]["params"]["desk"].startswith("REDACTED")
    suite.tests(text.format(desk="another-desk-81", header="another-desk-82"))
    suite.run().assert_outcomes(passed=1)


def test_hooks_of_one_suite_do_not_reach_the_next_run(suite):
    conftest = suite.write(
        "conftest.py",
        """
        def pytest_marketreplay_secret_params(venue):
            return ["desk"]
    """,
    )
    text = """
        @pytest.mark.marketreplay
        def test_it():
            requests.get(BINANCE + "/api/v3/time", params={{"desk": "{desk}"}})
    """
    suite.tests(text.format(desk="corner-desk-73"))
    suite.run(mode="once").assert_outcomes(passed=1)
    conftest.unlink()
    suite.tests(text.format(desk="window-desk-74"))
    suite.run(mode="rewrite").assert_outcomes(passed=1)
    assert suite.entries("test_it/test_it")[0]["params"]["desk"] == "window-desk-74"


def test_a_venue_of_an_entry_point_is_known(suite):
    suite.write(
        "house_venue.py",
        """
        from pytest_marketreplay import Venue
        from pytest_marketreplay.venues.registry import hookimpl

        @hookimpl
        def pytest_marketreplay_venues():
            return [Venue("house", ["api.house.example"])]
    """,
    )
    suite.write("house_venue-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: house-venue\nVersion: 1.0\n")
    suite.write("house_venue-1.0.dist-info/entry_points.txt", "[marketreplay]\nhouse = house_venue\n")
    suite.tests("""
        @pytest.mark.marketreplay
        def test_it(market_replay):
            assert market_replay.session.registry.of("api.house.example").name == "house"
    """)
    suite.spawn().assert_outcomes(passed=1)  # entry points are read once a process


def test_a_hook_of_that_prefix_that_does_not_exist_is_an_error(suite):
    suite.write(
        "conftest.py",
        """
        def pytest_marketreplay_venuez():
            return []
    """,
    )
    suite.tests("def test_it(): pass")
    result = suite.run()
    assert result.ret != pytest.ExitCode.OK
    assert "unknown hook 'pytest_marketreplay_venuez'" in result.stdout.str() + result.stderr.str()
