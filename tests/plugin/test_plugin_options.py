"""Options, ini keys and the marker's arguments: which wins, and what a wrong one says."""

from __future__ import annotations

import importlib.metadata

import pytest
from inner_suite import QUIET, installed_plugin

SHOW = """
@pytest.mark.marketreplay{arguments}
def test_mode(market_replay):
    print("mode is", market_replay.mode)
"""

# what pytest-recording and cassetter do, one of them with its own idea of the values
SHARING = """
def pytest_addoption(parser):
    group = parser.getgroup("sharing")
    group.addoption("--record-mode", action="store", default=None, choices=("none", "once", "all", "verify"))
"""


@pytest.mark.parametrize(
    ("arguments", "options", "mode"),
    [
        ("", (), "none"),
        ("", ("--record-mode=once",), "once"),
        ("", ("--market-record-mode=all",), "all"),
        ("", ("--record-mode=once", "--market-record-mode=rewrite"), "rewrite"),
        ("(mode='new_episodes')", (), "new_episodes"),
        ("(mode='new_episodes')", ("--record-mode=once",), "new_episodes"),
        ("(mode='new_episodes')", ("--market-record-mode=none",), "none"),
        ("(mode='none')", ("--record-mode=all",), "none"),
        ("(mode=None)", ("--record-mode=once",), "once"),
    ],
)
def test_the_market_option_wins_over_the_marker_and_the_marker_over_the_shared_option(suite, arguments, options, mode):
    suite.tests(SHOW.format(arguments=arguments))
    result = suite.run("-s", *options)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"*mode is {mode}*"])


@pytest.mark.parametrize("option", ["--record-mode", "--market-record-mode"])
def test_an_unknown_mode_is_a_usage_error_that_names_the_known_ones(suite, option):
    suite.tests(SHOW.format(arguments=""))
    result = suite.run(f"{option}=sometimes")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"*argument {option}: invalid choice: 'sometimes'*none*once*new_episodes*all*rewrite*"]
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("(mode='sometimes')", "*the record mode is 'sometimes'; it can be none, once, new_episodes, all, rewrite*"),
        ("(mode=3)", "*the record mode is 3; it can be*"),
        ("(exhausted='never')", "*exhausted is 'never'; it can be error, last, loop*"),
        ("(unplayed='tell')", "*unplayed is 'tell'; it can be ignore, warn, fail*"),
        ("(modus='all')", "*has no argument 'modus'; it has mode, exhausted,*"),
        ("(ignore_params='depth')", "*ignore_params is the text 'depth'; give a tuple: ('depth',)*"),
        ("(ignore_params=(1,))", "*ignore_params is (1,); give a tuple of texts*"),
        ("(ignore_params=5)", "*ignore_params is 5; give a tuple of texts*"),
        ("(allow_hosts='db.example')", "*allow_hosts is the text 'db.example'; give a tuple: ('db.example',)*"),
        ("(hosts='127.0.0.1')", "*hosts is '127.0.0.1'; give a dict, as in*127.0.0.1:8080*binance*"),
        ("(hosts={'127.0.0.1': 7})", "*hosts is {'127.0.0.1': 7}; give a dict*"),
        ("(42)", "*marketreplay(42): a cassette is named by a text*"),
        ("('')", "*marketreplay(''): a cassette is named by a text*"),
        ("('../other')", "*the cassette '../other' is outside of cassettes; give a whole path*"),
        ("('a/../../other')", "*is outside of cassettes*"),
        ("('notes.txt')", "*the cassette 'notes.txt' is a file; a cassette is a folder*"),
    ],
)
def test_a_wrong_marker_says_what_is_wrong_once_and_without_our_source(suite, arguments, said):
    (suite.path / "cassettes").mkdir()
    (suite.path / "cassettes" / "notes.txt").touch()
    suite.tests(SHOW.format(arguments=arguments))
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([said])
    result.stdout.no_fnmatch_line("*play.py*")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("marketreplay_unplayed = often", "*unplayed is 'often'; it can be ignore, warn, fail*"),
        ("marketreplay_reference = ../reference", "*the cassette '../reference' is outside of*"),
    ],
)
def test_a_wrong_ini_value_says_what_is_wrong(suite, line, said):
    suite.ini(line)
    suite.tests(SHOW.format(arguments=""))
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([said])


def test_a_wrong_line_of_hosts_says_what_is_wrong(suite):
    (suite.path / "pytest.ini").write_text("[pytest]\nmarketreplay_hosts =\n    api.binance.com\n")
    suite.tests(SHOW.format(arguments=""))
    result = suite.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*marketreplay_hosts: 'api.binance.com' is not 'host = venue'*"])


def test_a_mode_that_only_another_plugin_knows_is_refused_by_name(suite):
    suite.write("sharing.py", SHARING)
    suite.tests(SHOW.format(arguments=""))
    result = suite.run("-p", "sharing", "--record-mode=verify")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the record mode is 'verify'; it can be none, once*"])


@pytest.mark.parametrize("first", ["sharing", "marketreplay"])
def test_another_plugin_with_the_same_option_shares_it_in_either_order(suite, first):
    suite.write("sharing.py", SHARING)
    suite.tests(SHOW.format(arguments=""))
    # ours by its file, so that the order is that of the command line and not the entry point's
    order = ["-p", "sharing", "-p", "pytest_marketreplay.plugin"]
    if first == "marketreplay":
        order = order[2:] + order[:2]
    result = suite.spawn("-s", "-p", "no:marketreplay", *order, "--record-mode=once", quiet=QUIET)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*mode is once*"])
    result = suite.spawn("-s", "-p", "no:marketreplay", *order, "--record-mode=once", "--market-record-mode=all")
    result.stdout.fnmatch_lines(["*mode is all*"])
    assert suite.spawn("-p", "no:marketreplay", *order, "--help").stdout.str().count("--record-mode=") == 1


@pytest.mark.parametrize("other", ["recording", "cassetter"])
@pytest.mark.parametrize("order", ["theirs first", "ours first"])
def test_the_real_plugins_share_their_option_in_either_order(suite, other, order):
    found = [point.value for point in importlib.metadata.entry_points(group="pytest11") if point.name == other]
    if not found:
        pytest.skip(f"the plugin {other} is not installed")
    suite.tests(SHOW.format(arguments=""))
    load = ["-p", found[0], "-p", "pytest_marketreplay.plugin"]
    if order == "ours first":
        load = load[2:] + load[:2]
    # by their modules, in the order of the command line; the entry points of all three are left out
    result = suite.spawn("-s", "-p", "no:marketreplay", *load, "--record-mode=once", quiet=QUIET)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*mode is once*"])


@pytest.mark.skipif(not installed_plugin("recording"), reason="the plugin recording is not installed")
def test_beside_pytest_recording_by_entry_points_both_replay(suite):
    suite.tests("""
        @pytest.mark.vcr
        def test_theirs():
            assert requests.get("http://127.0.0.1:1/nothing").status_code == 200

        @pytest.mark.marketreplay
        def test_ours():
            assert depth() > 0
    """)
    quiet = ("-p", "no:cassetter", "-p", "no:randomly")
    result = suite.spawn("--record-mode=once", "-k", "ours", quiet=quiet)
    result.assert_outcomes(passed=1, deselected=1)
    suite.asked()
    result = suite.spawn(quiet=quiet)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_theirs - *CannotOverwriteExistingCassette*"])
    assert suite.asked() == 0


def test_the_marker_is_known_under_strict_markers_and_the_options_have_help(suite):
    suite.tests(SHOW.format(arguments=""))
    suite.run("--strict-markers", "--strict-config").assert_outcomes(passed=1)
    suite.run("--markers").stdout.fnmatch_lines(["@pytest.mark.marketreplay(*cassettes, mode=None,*"])
    help_text = suite.run("--help").stdout.str()
    for name in ("--market-record-mode", "--record-mode", "marketreplay_dir", "marketreplay_reference",
                 "marketreplay_hosts", "marketreplay_allow_hosts", "marketreplay_unplayed"):  # fmt: skip
        assert name in help_text


def test_the_ini_names_the_folder_of_the_cassettes(suite):
    suite.ini("marketreplay_dir = tests/tapes")
    suite.tests("""
        @pytest.mark.marketreplay("crash")
        def test_it():
            depth()
    """)
    suite.run(mode="once").assert_outcomes(passed=1)
    assert len(suite.entries("crash", root="tests/tapes")) == 1
    assert not (suite.path / "cassettes").exists()


def test_hosts_that_the_ini_opens_are_neither_recorded_nor_refused(suite):
    suite.tests("""
        @pytest.mark.marketreplay(allow_hosts=["127.0.0.1:*"])
        def test_open():
            depth()
    """)
    ini = (suite.path / "pytest.ini").read_text()
    (suite.path / "pytest.ini").write_text(
        ini.partition("marketreplay_hosts")[0] + "marketreplay_allow_hosts = x.example\n"
    )
    suite.run().assert_outcomes(passed=1)
    assert suite.asked() == 1
    assert suite.tree() == {}


@pytest.mark.slow
@pytest.mark.parametrize("version", ["7.4.4", "8.0.2", "8.4.2", "9.0.1"])
def test_the_plugin_works_with_older_and_newer_pytest(suite, version, tmp_path, monkeypatch):
    import os
    import subprocess
    import sys

    target = tmp_path / "other"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), f"pytest=={version}"],
        check=True,
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(target), os.environ.get("PYTHONPATH", "")])))
    suite.tests("""
        import unittest

        @pytest.fixture(scope="module")
        def wide():
            yield depth("ETHUSDT")
            depth("BNBUSDT")

        @pytest.mark.marketreplay
        def test_story(wide, market_replay):
            assert wide > 0
            depth()
            with market_replay.use("inner"):
                depth()

        @pytest.mark.xfail
        @pytest.mark.marketreplay
        def test_expected():
            assert depth() < 0

        @pytest.mark.marketreplay
        class TestCase(unittest.TestCase):
            def test_case(self):
                assert depth() > 0

        @pytest.mark.marketreplay
        def test_fails():
            assert depth() < 0
    """)
    result = suite.spawn(mode="once")
    result.stdout.fnmatch_lines([f"*pytest-{version}*"])
    result.assert_outcomes(passed=2, xfailed=1, failed=1)
    own = ["TestCase.test_case", "_fixture.wide", "_teardown.wide", "test_expected", "test_story"]
    assert suite.cassettes() == ["inner", *(f"test_it/{name}" for name in own)]
    suite.asked()
    suite.spawn("-k", "not fails").assert_outcomes(passed=2, xfailed=1, deselected=1)
    suite.spawn("-k", "not fails", "-n", "2").assert_outcomes(passed=2, xfailed=1)
    assert suite.asked() == 0
    assert suite.spawn("--record-mode=wrong").ret == pytest.ExitCode.USAGE_ERROR
