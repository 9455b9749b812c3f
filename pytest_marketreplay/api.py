"""Cassettes outside a test: the context manager `use_cassette`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pytest_marketreplay.config import PATIENCE_S, Settings
from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.intercept.install import PATCHES
from pytest_marketreplay.replay.current import in_play
from pytest_marketreplay.replay.run import Run
from pytest_marketreplay.replay.session import Session
from pytest_marketreplay.venues.profile import Venue
from pytest_marketreplay.venues.registry import Registry


class WaitedForMore(UserWarning):
    """A client waited for another frame where the recorded client had closed the connection (docs/how-to/stream.md)."""


@contextmanager
def playing(session: Session) -> Iterator[Session]:
    """Have clients intercepted and a session in play for a block; closes nothing."""
    PATCHES.install()
    try:
        with in_play(session):
            if session.clock is None:
                yield session
            else:
                session.clock.start()
                try:
                    yield session
                finally:
                    session.clock.stop()
    finally:
        PATCHES.uninstall()


@contextmanager
def closing(session: Session) -> Iterator[Session]:
    """Play a session for a block and close it: what it recorded is kept where the block ends well and refused nothing."""
    try:
        with playing(session):
            yield session
        raise_refusals(session)
        warn_of_late_verdicts(session)
    except BaseException:
        session.close(keep=False)
        raise
    session.close()


@contextmanager
def use_cassette(
    *cassettes: str | os.PathLike[str],
    mode: str = "none",
    exhausted: str = "error",
    ignore_params: Iterable[str] = (),
    hosts: Mapping[str, str] | None = None,
    allow_hosts: Iterable[str] = (),
    reference: str | os.PathLike[str] | None = None,
    clock: str = "system",
    order: str = "sequence",
    pace: str | float = "virtual",
    end_of_tape: str = "error",
    patience: float = PATIENCE_S,
    max_frames: int | None = None,
    max_seconds: float | None = None,
    max_bytes: int | None = None,
    venues: Iterable[Venue] = (),
    run: Run | None = None,
) -> Iterator[Session]:
    """Play (or record) cassettes in a block of code; the arguments are those of the pytest marker.

    Several cassettes are layers: all are read, in this order, the first is written. Blocks can be nested, and can overlap
    in different tasks: each task sees its own. `venues` adds profiles, `run` shares decisions of mode `once` between
    blocks.

    Raises UsageMistake for a wrong argument, UnrecordedRequest and NetworkRefused (out of the client's call, and again at
    the end of the block where the code swallowed it), DamagedCassette, RecordingError. Where the block raises, what it
    recorded is dropped, and the old recording stays as it was.
    """
    if not cassettes:
        raise UsageMistake("use_cassette() needs the folder of a cassette, as in use_cassette('cassettes/btc_crash')")
    settings = Settings.of(
        mode=mode,
        exhausted=exhausted,
        ignore_params=ignore_params,
        hosts=hosts,
        allow_hosts=allow_hosts,
        reference=Path(reference) if reference is not None else None,
        clock=clock,
        order=order,
        pace=pace,
        end_of_tape=end_of_tape,
        patience=patience,
        max_frames=max_frames,
        max_seconds=max_seconds,
        max_bytes=max_bytes,
    )
    registry = Registry(venues, settings.hosts)
    session = Session([Path(cassette) for cassette in cassettes], settings, registry=registry, run=run)
    with closing(session):
        yield session


def raise_refusals(session: Session) -> None:
    """Raise the first refusal, if there is one: the code under test has swallowed it. Raises ReplayError."""
    if session.refusals:
        first = session.refusals[0]
        if len(session.refusals) > 1:
            first.add_note(f"... and {len(session.refusals) - 1} more refusals")
        raise first


def warn_of_late_verdicts(session: Session) -> None:
    """Warn of clients that waited for more frames than the recorded client had waited for."""
    for error in session.late_verdicts:
        warnings.warn(WaitedForMore(str(error)), stacklevel=2)
