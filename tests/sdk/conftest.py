"""Give each SDK's tests its stories; record each story once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from real import recorded_data

from .stage import Play, Recorded, record

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)  # they record seconds in real time


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for argument in ("play", "streaming_play"):
        if argument in metafunc.fixturenames:
            plays: dict[str, Play] = getattr(metafunc.cls, "plays", {})
            metafunc.parametrize(
                (argument, "clock"),
                [
                    pytest.param(play, clock, id=f"{name}-{clock}", marks=_needs(play))
                    for name, play in plays.items()
                    for clock in play.clocks
                    if play.streams or argument == "play"
                ],
            )


def _needs(play: Play) -> list[pytest.MarkDecorator]:
    reason = None if play.real_speed is None else recorded_data.missing()
    return [pytest.mark.skip(reason=reason)] if reason else []


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Play], Recorded]:
    """Record a story, or take the recording that was made of it before in this run."""
    made: dict[int, tuple[Play, Recorded]] = {}

    def recording(play: Play) -> Recorded:
        if id(play) not in made:
            made[id(play)] = play, record(play, tmp_path_factory.mktemp("sdk"))
        return made[id(play)][1]

    return recording


@pytest.fixture
def recorded(play: Play, recording: Callable[[Play], Recorded]) -> Recorded:
    return recording(play)


@pytest.fixture
def recorded_stream(streaming_play: Play, recording: Callable[[Play], Recorded]) -> Recorded:
    return recording(streaming_play)
