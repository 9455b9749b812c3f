"""The pytest plugin: options, marker and hooks. Nothing heavy is imported until a test asks for a cassette."""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_marketreplay.venues.registry import Hooks

if TYPE_CHECKING:
    from pytest_marketreplay.data import MarketData
    from pytest_marketreplay.exchange.server import SimulatedExchange
    from pytest_marketreplay.plugin.liveclock import LiveClock
    from pytest_marketreplay.plugin.play import MarketReplay, Play
    from pytest_marketreplay.replay.faults import Faults
    from pytest_marketreplay.replay.marketclock import MarketClock
    from pytest_marketreplay.serve import CassetteServer

# `verify` of other plugins' options is refused when it is read; these five are pytest-recording's and cassetter's too
_MODES = ("none", "once", "new_episodes", "all", "rewrite")
_MODE_HELP = (
    "none: replay, nothing reaches the network (default); once: record what has no cassette yet; new_episodes: replay "
    "what is recorded, record the rest; all: record everything anew; rewrite: like all, from an empty cassette"
)
_NOTSET = object()
_PLAY = pytest.StashKey["Play"]()
_RUN_FOLDER = pytest.StashKey[Path]()
_DIRECTORY = pytest.StashKey[str]()
_PLAYING = pytest.StashKey[pytest.Item]()
_RESTORED = pytest.StashKey[str]()


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks that plugins and `conftest.py` may implement."""
    pluginmanager.add_hookspecs(Hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare what always exists; `--record-mode` comes later, where nobody else has it."""
    group = parser.getgroup("marketreplay", "record and replay of exchanges")
    group.addoption(
        "--market-record-mode",
        dest="market_record_mode",
        default=None,
        choices=_MODES,
        help=f"Record mode of marketreplay tests; wins over --record-mode and the marker. {_MODE_HELP}",
    )
    group.addoption(
        "--restore-cassettes",
        action="store_true",
        default=False,
        help="Before collection, restore the cassettes from where the ini key marketreplay_restore says, unless they are there.",
    )
    parser.addini("marketreplay_dir", "folder of the cassettes, from the root folder", default="cassettes")
    parser.addini("marketreplay_reference", "cassette of reference data, which all tests share", default="")
    parser.addini("marketreplay_hosts", "lines 'host[:port] = venue': which host is which venue", type="linelist")
    parser.addini("marketreplay_allow_hosts", "hosts that stay open and are not recorded", type="linelist")
    parser.addini(
        "marketreplay_unplayed",
        "what recorded answers that a test did not play are: ignore, warn, fail",
        default="ignore",
    )
    parser.addini("marketreplay_restore", "where --restore-cassettes finds snapshots, as rclone writes it", default="")
    parser.addini(
        "marketreplay_restore_snapshot", "the snapshot that is restored: its name, or latest", default="latest"
    )
    parser.addini("marketreplay_restore_label", "whose latest snapshot is restored", default="")
    parser.addini(
        "marketreplay_restore_always", "restore in every run, as --restore-cassettes does", "bool", default=False
    )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser) -> None:
    """Add `--record-mode` where no other plugin has it: all are registered by now, and nothing is parsed strictly yet.

    Two plugins that both add it stop pytest at its start (pytest-recording, cassetter); sharing theirs works in either
    load order.
    """
    if early_config.getoption("--record-mode", default=_NOTSET) is _NOTSET:
        parser.getgroup("marketreplay").addoption(
            "--record-mode", dest="record_mode", default=None, choices=_MODES, help=_MODE_HELP
        )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        "marketreplay(*cassettes, mode=None, exhausted='error', unplayed='ignore', ignore_params=(), hosts={}, "
        "allow_hosts=(), clock='system', order='sequence', pace='virtual', end_of_tape='error', patience=0.7, "
        "max_frames=None, max_seconds=None, max_bytes=None): record and replay what the test asks of exchanges; without a name, in a cassette of its own",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker where the decisions of this run are kept."""
    config: pytest.Config = node.config
    if _RUN_FOLDER not in config.stash:
        config.stash[_RUN_FOLDER] = Path(tempfile.mkdtemp(prefix="marketreplay-run-"))
    node.workerinput["marketreplay_run"] = str(config.stash[_RUN_FOLDER])


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Restore the cassettes where that is asked for, before xdist starts its workers, which do not."""
    config = session.config
    asked = config.getoption("restore_cassettes") or config.getini("marketreplay_restore_always")
    if asked and not hasattr(config, "workerinput"):
        from pytest_marketreplay.plugin.restoring import restore_cassettes

        config.stash[_RESTORED] = restore_cassettes(config)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what was restored."""
    return [config.stash[_RESTORED]] if _RESTORED in config.stash else []


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Keep collection out of the cassettes: a suite of 500 has thousands of folders there, and no tests."""
    folder = config.stash.get(_DIRECTORY, None)
    if folder is None:
        folder = config.stash[_DIRECTORY] = str(config.rootpath / str(config.getini("marketreplay_dir")))
        if folder == str(config.rootpath):
            folder = config.stash[_DIRECTORY] = ""
    return True if str(collection_path) == folder else None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the decisions of this run."""
    folder = config.stash.get(_RUN_FOLDER, None)
    if folder is not None:
        shutil.rmtree(folder)


_FIXTURES = frozenset(("market_replay", "market_clock", "market_data", "market_server", "market_faults"))


def _asks(item: pytest.Item) -> bool:
    return item.get_closest_marker("marketreplay") is not None or not _FIXTURES.isdisjoint(
        getattr(item, "fixturenames", ())
    )


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Put the test's cassette in play before its first fixture.

    The innermost wrapper: where it fails, those of pytest's own plugins have begun and can end.
    """
    if _asks(item):
        from pytest_marketreplay.plugin.play import start

        item.stash[_PLAY] = start(item)
        item.config.stash[_PLAYING] = item
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that swallowed a refusal, and one that left recorded answers unplayed where that matters."""
    result = yield
    play: Play | None = item.stash.get(_PLAY, None)
    if play is not None:
        play.judge()
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Take the cassette out of play after the last finaliser; keep a recording only where the test passed."""
    play: Play | None = item.stash.get(_PLAY, None)
    if play is None:
        return (yield)
    try:
        result = yield
    except BaseException:
        play.failed = True
        raise
    finally:
        del item.stash[_PLAY], item.config.stash[_PLAYING]
        play.finish(item)
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, object, object]:
    """Take back what a test recorded that Ctrl-C or `pytest.exit` ended: its teardown has no hook of its own."""
    try:
        return (yield)
    finally:
        item = session.config.stash.get(_PLAYING, None)
        if item is not None:
            play = item.stash[_PLAY]
            del item.stash[_PLAY], session.config.stash[_PLAYING]
            play.failed = True
            play.finish(item)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep secrets out of a report before any other plugin sees it."""
    report = yield
    _scrub(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True, specname="pytest_runtest_makereport")
def pytest_marketreplay_note(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note how the test went, after other plugins had their say: an expected failure is told only then."""
    report = yield
    play: Play | None = item.stash.get(_PLAY, None)
    if play is not None:
        play.note(report)
    _scrub(report)
    return report


def _scrub(report: pytest.TestReport) -> None:
    # a wide fixture may fail in the teardown of a test that has no cassette, and name its key
    if "pytest_marketreplay.cassette.redaction" in sys.modules:
        from pytest_marketreplay.plugin.reports import scrub_report

        scrub_report(report)


@pytest.hookimpl(tryfirst=True)
def pytest_warning_recorded(warning_message: warnings.WarningMessage) -> None:
    """Keep secrets out of the summary of warnings."""
    if "pytest_marketreplay.cassette.redaction" in sys.modules:
        from pytest_marketreplay.plugin.reports import scrub_warning

        scrub_warning(warning_message)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Give what a wider fixture asks a cassette of its own: it is not the business of the test that comes first."""
    if fixturedef.scope == "function":
        return (yield)
    item = getattr(request, "_pyfuncitem", None)
    play = item.stash.get(_PLAY, None) if item is not None else None
    if play is None:
        return (yield)
    with play.fixture(fixturedef, request):
        return (yield)


def _play_of(request: pytest.FixtureRequest) -> Play:
    play: Play | None = request.node.stash.get(_PLAY, None)
    if play is None:  # `getfixturevalue` in a test without the marker: the test has begun, what it asked went live
        name = request.fixturename
        raise pytest.UsageError(f"{name} is asked for too late: name it as an argument, or mark the test")
    return play


@pytest.fixture
def market_replay(request: pytest.FixtureRequest) -> MarketReplay:
    """The cassette in play: what was played, recorded, refused, and what was not asked for."""
    return _play_of(request).replay


@pytest.fixture
def market_clock(request: pytest.FixtureRequest) -> MarketClock | LiveClock:
    """The clock of the test: the recording's time, moved by what is played and by `advance`.

    Asking for it is as good as `clock="recording"`. While a cassette is recorded it is the real clock, with the same
    methods; `advance` then really waits.
    """
    return _play_of(request).clock()


@pytest.fixture
def market_data(request: pytest.FixtureRequest) -> MarketData:
    """The test's cassettes as a market: entries, order books, trades, candles, in a window of time."""
    from pytest_marketreplay.data import MarketData

    session = _play_of(request).session
    return MarketData(session.layers, session.registry)


@pytest.fixture
def market_server(request: pytest.FixtureRequest) -> Iterator[CassetteServer]:
    """A server on loopback that plays the test's cassettes to any process or language.

    `market_server.url("binance")` and `market_server.ws_url("binance")` are its URLs.
    """
    from pytest_marketreplay.serve import CassetteServer

    play = _play_of(request)
    session = play.session
    faults = None
    if "market_faults" in request.fixturenames:
        from pytest_marketreplay.replay.faults.served import ServedFaults

        faults = ServedFaults(play.faults(), session.registry)
    with CassetteServer(session.layers, registry=session.registry, faults=faults) as server:
        yield server


@pytest.fixture
def market_faults(request: pytest.FixtureRequest) -> Faults:
    """What goes wrong in this test's replay: rate limits, errors, timeouts, gaps, ... by rule, by count or seeded.

    Where a test fails, its report tells what was injected, and the code that injects it again. It also applies to the
    test's `market_server`. What is recorded is never touched.
    """
    return _play_of(request).faults()


@pytest.fixture
def market_exchange(request: pytest.FixtureRequest) -> Iterator[SimulatedExchange]:
    """A simulated exchange on loopback, Binance- and Kraken-shaped, the same in every run.

    `market_exchange.url("binance")` is its base URL. In a test with a cassette, its hosts are known as those venues, so
    that what the test asks of it is recorded, and replayed without it.
    """
    from pytest_marketreplay.exchange import SimulatedExchange

    with SimulatedExchange() as exchange:
        play = request.node.stash.get(_PLAY, None)
        if play is not None:
            play.know(exchange)
        yield exchange
