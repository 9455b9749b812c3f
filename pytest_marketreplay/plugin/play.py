"""One test's cassette: from marker, ini and options to a session, and from the test's end to a kept recording."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_marketreplay.api import closing, playing, raise_refusals, warn_of_late_verdicts
from pytest_marketreplay.cassette import names
from pytest_marketreplay.config import Moment, Settings, moment_ns
from pytest_marketreplay.errors import MarketReplayError, ReplayError, UsageMistake
from pytest_marketreplay.plugin.choices import Choices, check_arguments, marker_arguments, names_of
from pytest_marketreplay.plugin.liveclock import LiveClock
from pytest_marketreplay.replay.session import Session

if TYPE_CHECKING:
    from pytest_marketreplay.exchange.server import SimulatedExchange
    from pytest_marketreplay.replay.faults import Faults
    from pytest_marketreplay.replay.marketclock import MarketClock
    from pytest_marketreplay.replay.stream.player import Event
    from pytest_marketreplay.replay.stream.timeline import Timeline

_CHOICES = pytest.StashKey[Choices]()


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
    def played_frames(self) -> int:
        """How many WebSocket frames came from the recording so far."""
        return self.session.played_frames

    def step(self, count: int = 1) -> Event | None:
        """Let the next recorded frames come (`pace="step"`), each to the connection it was recorded on.

        Returns the frame that is next, or None where there is none before the client does something. It comes when the
        client is ready for it: await or read it as ever. Raises UsageMistake at another pace.
        """
        return self._stepping("step").step(count)

    def run_until(self, moment: Moment) -> Event | None:
        """Let all frames up to a moment of the recording come (`pace="step"`); returns as `step` does.

        `moment`: a datetime (naive: UTC), ISO 8601 text, or Unix epoch in milliseconds. With the recording's clock and
        outside of an event loop, the clock moves there too. Raises UsageMistake.
        """
        timeline = self._stepping("run_until")
        time_ns = moment_ns(moment)
        event = timeline.run_until(time_ns)
        if self.session.clock is not None and not _in_a_loop():
            self.session.clock.move_to(time_ns)
        return event

    def _stepping(self, what: str) -> Timeline:
        if self.session.settings.pace != "step":
            raise UsageMistake(f'market_replay.{what}() needs pace="step" in the marker; it is {self._pace!r}')
        return self.session.streams.timeline

    @property
    def _pace(self) -> str | float:
        return self.session.settings.pace

    @property
    def recorded(self) -> int:
        """How many answers were recorded so far."""
        return self.session.recorded

    @property
    def unplayed(self) -> list[tuple[Path, int, str]]:
        """File, line and endpoint of what the test's first cassette holds and was not asked for so far."""
        return self.session.unplayed()

    @property
    def refusals(self) -> list[MarketReplayError]:
        """What was refused so far; the test fails at its end if anything stands here."""
        return self.session.refusals

    @contextmanager
    def expect_refusal(self, kind: type[MarketReplayError] = ReplayError) -> Iterator[list[MarketReplayError]]:
        """Expect that something in this block is refused; such refusals do not fail the test.

        The block itself deals with the exception, where the client lets it through. Raises AssertionError where nothing
        of this kind was refused.
        """
        before = len(self.refusals)
        refused: list[MarketReplayError] = []
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

    def __init__(self, item: pytest.Item, session: Session, settings: Settings, choices: Choices) -> None:
        self.item, self.session, self.settings, self._choices = item, session, settings, choices
        self.failed = False
        self.passed = False
        self._told = 0
        self._blocks: list[Session] = []
        self._hosts: dict[str, str] = {}
        self._context = playing(session)
        self._context.__enter__()

    @property
    def replay(self) -> MarketReplay:
        """What the test sees; made when it asks, so that a play is no cycle that waits for the garbage collector."""
        return MarketReplay(self)

    def clock(self) -> MarketClock | LiveClock:
        """Give the session's clock; while it records, the real one."""
        if self.session.clock is None:
            if self.settings.clock != "recording":
                text = 'the fixture market_clock needs clock="recording"; the test began with clock="system"'
                pytest.fail(f"usage error: {text}", pytrace=False)
            return LiveClock()
        return self.session.clock

    def faults(self) -> Faults:
        """Give what is injected into the session, made when it is first asked for."""
        if self.session.faults is None:
            from pytest_marketreplay.replay.faults import Faults

            self.session.faults = Faults(clock=self.session.clock, is_recording=self.session.all_live)
        return self.session.faults

    def judge(self) -> None:
        """Raise what the test swallowed, and tell what it left unplayed. Raises ReplayError, pytest's Failed."""
        raise_refusals(self.session)
        warn_of_late_verdicts(self.session)
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
        if report.failed and self.session.faults is not None and (told := self.session.faults.report()):
            report.sections.append(("market_faults", told))
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
        check_arguments(arguments, "market_replay.use()")
        settings = self._choices.settings(self.item, {**marker_arguments(self.item), **arguments})
        layers = [self._choices.folder(name) for name in cassettes] or [*self.session.layers]
        session = self._session(layers, settings)
        session.faults = self.session.faults
        return self._block(session)

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
        root = self._choices.module_folder(file)

        def cassette(phase: str) -> Session:
            layer = root / names.cassette_folder(".".join((*classes, phase, f"{fixturedef.argname}{index}")))
            return self._session([layer], self.settings)

        torn_down: list[AbstractContextManager[Session]] = []

        def leave() -> None:
            if torn_down:
                torn_down.pop().__exit__(None, None, None)

        def enter() -> None:
            torn_down.append(closing(cassette("_teardown")))
            torn_down[-1].__enter__()

        # finalisers run last in, first out: `enter`, then the fixture's own, then `leave`
        fixturedef.addfinalizer(leave)
        with closing(cassette("_fixture")):
            yield
        fixturedef.addfinalizer(enter)

    def _session(self, layers: list[Path], settings: Settings) -> Session:
        session = Session(
            layers,
            settings,
            registry=self._choices.registry(settings),
            run=self._choices.run,
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


def _in_a_loop() -> bool:
    if "asyncio" not in sys.modules:
        return False  # pragma: no cover - a suite without asyncio; this one's has it from its start
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def start(item: pytest.Item) -> Play:
    """Open a test's cassette. Fails the test, without a traceback, where marker, ini or options are wrong."""
    try:
        choices = item.config.stash.get(_CHOICES, None)
        if choices is None:
            choices = item.config.stash[_CHOICES] = Choices(item.config)
        settings = choices.settings(item, marker_arguments(item))
        layers = [choices.folder(name) for name in names_of(item)] or [choices.own_cassette(item)]
        session = Session(layers, settings, registry=choices.registry(settings), run=choices.run, name=item.nodeid)
        return Play(item, session, settings, choices)
    except UsageMistake as error:
        pytest.fail(f"usage error: {error}", pytrace=False)
