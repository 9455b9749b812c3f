"""One test's cassette: from marker, ini and options to a session, and from the test's end to a kept recording."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_marketreplay.api import playing, raise_refusals
from pytest_marketreplay.cassette import names
from pytest_marketreplay.config import Settings, parse_hosts
from pytest_marketreplay.errors import ReplayError, UsageMistake
from pytest_marketreplay.replay.run import Run
from pytest_marketreplay.replay.session import Session
from pytest_marketreplay.venues.registry import Registry

if TYPE_CHECKING:
    from pytest_marketreplay.exchange.server import SimulatedExchange
    from pytest_marketreplay.venues.profile import Venue

_ARGUMENTS = ("mode", "exhausted", "unplayed", "ignore_params", "hosts", "allow_hosts")
_RUN = pytest.StashKey[Run]()
_VENUES = pytest.StashKey["list[Venue]"]()


class UnplayedAnswers(UserWarning):
    """A test did not play all that is recorded for it (`marketreplay_unplayed = warn`)."""


class MarketReplay:
    """What a test sees of its cassette."""

    def __init__(self, play: Play) -> None:
        self._play = play

    @property
    def session(self) -> Session:
        """The session itself."""
        return self._play.session

    @property
    def mode(self) -> str:
        """The record mode that is in force for this test."""
        return self.session.settings.mode

    @property
    def cassettes(self) -> tuple[Path, ...]:
        """The folders that are played, in order; the first is written."""
        return self.session.layers

    @property
    def is_recording(self) -> bool:
        """Whether requests may reach the network."""
        return not self.session.refuses

    @property
    def played(self) -> int:
        """How many answers came from the recording so far, repetitions included."""
        return self.session.replayed

    @property
    def recorded(self) -> int:
        """How many answers were recorded so far."""
        return self.session.recorded

    @property
    def unplayed(self) -> list[tuple[Path, int, str]]:
        """File, line and endpoint of what the test's first cassette holds and was not asked for so far."""
        return self.session.unplayed()

    @property
    def refusals(self) -> list[ReplayError]:
        """What was refused so far; the test fails at its end if anything stands here."""
        return self.session.refusals

    @contextmanager
    def expect_refusal(self, kind: type[ReplayError] = ReplayError) -> Iterator[list[ReplayError]]:
        """Expect that something in this block is refused; such refusals do not fail the test.

        The block itself deals with the exception, where the client lets it through. Raises AssertionError where nothing
        of this kind was refused.
        """
        before = len(self.refusals)
        refused: list[ReplayError] = []
        yield refused
        refused += [error for error in self.refusals[before:] if isinstance(error, kind)]
        self.refusals[before:] = [error for error in self.refusals[before:] if not isinstance(error, kind)]
        if not refused:
            raise AssertionError(f"nothing was refused with {kind.__name__}")

    def use(self, *cassettes: str, **arguments: Any) -> AbstractContextManager[Session]:
        """Play other cassettes in a block, inside this one; names and arguments are those of the marker."""
        return self._play.nested(cassettes, arguments)


class Play:
    """One test's session and what becomes of it."""

    def __init__(self, item: pytest.Item, session: Session, settings: Settings) -> None:
        self.item, self.session, self.settings = item, session, settings
        self.failed = False
        self.passed = False
        self._told = 0
        self._blocks: list[Session] = []
        self._hosts: dict[str, str] = {}
        self.replay = MarketReplay(self)
        self._context = playing(session)
        self._context.__enter__()

    def judge(self) -> None:
        """Raise what the test swallowed, and tell what it left unplayed. Raises ReplayError, pytest's Failed."""
        raise_refusals(self.session)
        if self.settings.unplayed == "ignore" or not (left := self.session.unplayed()):
            return
        shown = "\n".join(f"  {path}, line {line}: {endpoint}" for path, line, endpoint in left[:10])
        more = f"\n  ... and {len(left) - 10} more" if len(left) > 10 else ""
        text = f"{len(left)} recorded answers were not played:\n{shown}{more}"
        if self.settings.unplayed == "fail":
            pytest.fail(text, pytrace=False)
        warnings.warn(UnplayedAnswers(text), stacklevel=2)

    def note(self, report: pytest.TestReport) -> None:
        """Learn how a phase of the test went: a recording is kept when the test passed, or failed as expected."""
        expected = report.when == "call" and hasattr(report, "wasxfail") and not report.failed
        if report.failed:
            self.failed = True
        elif report.when == "call" and (report.passed or expected):
            self.passed = True
        if report.failed or expected:
            self._told = len(self.session.refusals)  # a skip tells nothing: `except Exception: pytest.skip()`

    def finish(self, item: pytest.Item) -> None:
        """Take the cassette out of play. Raises what was refused and not told, and what went wrong in keeping."""
        untold = not self.failed and len(self.session.refusals) > self._told
        keep = self.passed and not self.failed and not untold
        self._context.__exit__(None, None, None)
        discarded = sum([session.close(keep=keep) for session in (*self._blocks, self.session)])
        if untold:
            raise_refusals(self.session)
        if discarded:
            item.add_report_section(
                "teardown",
                "marketreplay",
                f"{discarded} recorded answers were not kept, because the test did not pass; what was recorded before stays",
            )

    def nested(self, cassettes: Iterable[str], arguments: Mapping[str, Any]) -> AbstractContextManager[Session]:
        """Play other cassettes inside this one."""
        _check_arguments(arguments, "market_replay.use()")
        settings = _settings(self.item, {**_marker_arguments(self.item), **arguments})
        layers = [_folder(self.item.config, name) for name in cassettes] or [*self.session.layers]
        return self._block(self._session(layers, settings))

    @contextmanager
    def _block(self, session: Session) -> Iterator[Session]:
        """Play a block's cassette; what it recorded is kept or not with the whole test."""
        self._blocks.append(session)
        with playing(session):
            yield session
        raise_refusals(session)

    @contextmanager
    def fixture(self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Iterator[None]:
        """Play a wider fixture's own cassette while it is set up, and again while it is torn down."""
        file, *classes = fixturedef.baseid.split("::")
        index = f"[{getattr(request, 'param_index', 0)}]" if hasattr(request, "param") else ""
        root = _module_folder(self.item.config, file)

        def cassette(phase: str) -> Session:
            layer = root / names.cassette_folder(".".join((*classes, phase, f"{fixturedef.argname}{index}")))
            return self._session([layer], self.settings)

        torn_down: list[AbstractContextManager[Session]] = []

        def leave() -> None:
            if torn_down:
                torn_down.pop().__exit__(None, None, None)

        def enter() -> None:
            torn_down.append(_closing(cassette("_teardown")))
            torn_down[-1].__enter__()

        # finalisers run last in, first out: `enter`, then the fixture's own, then `leave`
        fixturedef.addfinalizer(leave)
        with _closing(cassette("_fixture")):
            yield
        fixturedef.addfinalizer(enter)

    def _session(self, layers: list[Path], settings: Settings) -> Session:
        session = Session(
            layers,
            settings,
            registry=_registry(self.item.config, settings),
            run=_run(self.item.config),
            name=self.session.name,
        )
        for host, venue in self._hosts.items():
            session.name_host(host, venue)
        return session

    def know(self, exchange: SimulatedExchange) -> None:
        """Record what is asked of a simulated exchange under the names of its venues."""
        for venue in ("binance", "kraken"):
            host = exchange.url(venue).partition("://")[2]
            self._hosts[host] = venue
            self.session.name_host(host, venue)


@contextmanager
def _closing(session: Session) -> Iterator[Session]:
    try:
        with playing(session):
            yield session
        raise_refusals(session)
    except BaseException:
        session.close(keep=False)
        raise
    session.close()


def start(item: pytest.Item) -> Play:
    """Open a test's cassette. Fails the test, without a traceback, where marker, ini or options are wrong."""
    try:
        settings = _settings(item, _marker_arguments(item))
        layers = [_folder(item.config, name) for name in _names_of(item)] or [own_cassette(item)]
        registry = _registry(item.config, settings)
        session = Session(layers, settings, registry=registry, run=_run(item.config), name=item.nodeid)
        return Play(item, session, settings)
    except UsageMistake as error:
        pytest.fail(f"usage error: {error}", pytrace=False)


def _names_of(item: pytest.Item) -> tuple[str, ...]:
    """Return the names that the nearest marker with names gives."""
    return next((marker.args for marker in item.iter_markers("marketreplay") if marker.args), ())


def _marker_arguments(item: pytest.Item) -> dict[str, Any]:
    """Return the arguments of all markers; the nearest to the test wins, name by name."""
    out: dict[str, Any] = {}
    for marker in reversed(list(item.iter_markers("marketreplay"))):
        _check_arguments(marker.kwargs, "the marker marketreplay")
        out.update(marker.kwargs)
    return out


def _check_arguments(arguments: Mapping[str, Any], what: str) -> None:
    """Refuse what a text or number in the wrong place would silently turn into something else. Raises UsageMistake."""
    unknown = [name for name in arguments if name not in _ARGUMENTS]
    if unknown:
        raise UsageMistake(f"{what} has no argument {unknown[0]!r}; it has {', '.join(_ARGUMENTS)}")
    for name in ("ignore_params", "allow_hosts"):
        value = arguments.get(name, ())
        if isinstance(value, str):
            raise UsageMistake(f"{name} is the text {value!r}; give a tuple: ({value!r},)")
        if not isinstance(value, Iterable) or not all(isinstance(item, str) for item in value):
            raise UsageMistake(f"{name} is {value!r}; give a tuple of texts")
    hosts = arguments.get("hosts", {})
    if not isinstance(hosts, Mapping) or not all(isinstance(text, str) for pair in hosts.items() for text in pair):
        raise UsageMistake(f"hosts is {hosts!r}; give a dict, as in {{'127.0.0.1:8080': 'binance'}}")


def _settings(item: pytest.Item, arguments: Mapping[str, Any]) -> Settings:
    config = item.config
    over = config.getoption("market_record_mode", default=None)
    shared = config.getoption("--record-mode", default=None)
    # --market-record-mode always wins; a marker's mode is a decision about this one test; then what other plugins share
    mode = over or arguments.get("mode") or shared or "none"
    option = "--market-record-mode=" if arguments.get("mode") or over else "--record-mode="
    reference = config.getini("marketreplay_reference")
    return Settings.of(
        mode=mode,
        exhausted=arguments.get("exhausted", "error"),
        unplayed=arguments.get("unplayed", config.getini("marketreplay_unplayed")),
        ignore_params=arguments.get("ignore_params", ()),
        hosts={**parse_hosts(config.getini("marketreplay_hosts")), **arguments.get("hosts", {})},
        allow_hosts=(*config.getini("marketreplay_allow_hosts"), *arguments.get("allow_hosts", ())),
        reference=_folder(config, reference) if reference else None,
        command=f"pytest {shlex.quote(_argument(item))} {option}",
    )


def _argument(item: pytest.Item) -> str:
    """Return what selects this test on a command line, from the folder where pytest was started."""
    file, colons, rest = item.nodeid.partition("::")
    return os.path.relpath(item.config.rootpath / file, item.config.invocation_params.dir) + colons + rest


def _directory(config: pytest.Config) -> Path:
    return config.rootpath / str(config.getini("marketreplay_dir"))


def _folder(config: pytest.Config, name: str) -> Path:
    """Return the folder of a named cassette: inside `marketreplay_dir`, or where an absolute path says."""
    if not isinstance(name, str) or not name:
        raise UsageMistake(f"marketreplay({name!r}): a cassette is named by a text")
    path = Path(name)
    if ".." in path.parts:
        raise UsageMistake(
            f"the cassette {name!r} is outside of {config.getini('marketreplay_dir')}; give a whole path"
        )
    folder = _directory(config) / path
    if folder.is_file():
        raise UsageMistake(f"the cassette {name!r} is a file; a cassette is a folder")
    return folder


def own_cassette(item: pytest.Item) -> Path:
    """Return the folder of a test's own cassette: `<marketreplay_dir>/<module path>/<class and test name>`."""
    file, *rest = item.nodeid.split("::", 1)
    test = ".".join((rest[0] if rest else item.name).split("::"))
    return _module_folder(item.config, file) / names.cassette_folder(test)


def _module_folder(config: pytest.Config, file: str) -> Path:
    """Return the folder for a module, or for a folder with a `conftest.py` (the root's is empty)."""
    parts = [part for part in file.removesuffix(".py").split("/") if part]
    return _directory(config).joinpath(*map(names.cassette_folder, parts))


def _run(config: pytest.Config) -> Run:
    if _RUN not in config.stash:
        folder = getattr(config, "workerinput", {}).get("marketreplay_run")
        config.stash[_RUN] = Run(Path(folder) if folder else None)
    return config.stash[_RUN]


def _registry(config: pytest.Config, settings: Settings) -> Registry:
    """Know the packaged venues, those of plugins and `conftest.py` files, and the hosts that the user named."""
    if _VENUES not in config.stash:
        found: list[Iterable[Venue]] = config.hook.pytest_marketreplay_venues()
        config.stash[_VENUES] = [venue for group in reversed(found) for venue in group]
    more: list[Venue] = config.stash[_VENUES]
    return Registry(
        more,
        settings.hosts,
        ignore_params=_names(config.hook.pytest_marketreplay_ignore_params),
        secret_params=_names(config.hook.pytest_marketreplay_secret_params),
    )


def _names(hook: Any) -> Callable[..., frozenset[str]] | None:
    """Return what asks all implementations of a hook for names; None where there is none."""
    if not hook.get_hookimpls():
        return None
    return lambda **arguments: frozenset(name.lower() for group in hook(**arguments) for name in group)
