"""Drawn fault plans."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from pytest_marketreplay import strategies
from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.replay.faults import KINDS, Fault
from pytest_marketreplay.replay.faults.plan import Place
from pytest_marketreplay.strategies import fault_plans

from .shrinking import smallest


def test_every_kind_of_fault_is_drawn_with_arguments_that_it_has() -> None:
    seen: set[str] = set()
    named: set[str] = set()

    @settings(max_examples=200, derandomize=True, database=None)
    @given(fault_plans(length=(1, 6), positions=(2, 5), venue="binance"))
    def look(plan: list[Fault]) -> None:
        assert 1 <= len(plan) <= 6
        for fault in plan:
            assert 2 <= fault.at <= 5
            assert fault.fits(Place("request", "binance", "/x", "_all", "/x"))
            assert not fault.fits(Place("request", "kraken", "/x", "_all", "/x"))
            seen.add(fault.kind)
            named.update(fault.arguments)

    look()
    assert seen == set(KINDS)
    assert named == {"retry_after", "seconds", "keep", "code"}


def test_plans_can_be_of_requests_or_of_frames_alone() -> None:
    @settings(max_examples=60, derandomize=True, database=None)
    @given(fault_plans(frames=False), fault_plans(requests=False), fault_plans(kinds=["gap"]))
    def look(requests: list[Fault], frames: list[Fault], gaps: list[Fault]) -> None:
        assert not {"gap", "disconnect", "duplicate", "reorder"} & {fault.kind for fault in requests}
        assert not {"429", "reset", "timeout", "503"} & {fault.kind for fault in frames}
        assert {fault.kind for fault in gaps} <= {"gap"}

    look()


def test_a_plan_shrinks_to_one_fault_at_the_first_position() -> None:
    assert smallest(fault_plans(), lambda plan: True) == []
    assert smallest(fault_plans(), lambda plan: bool(plan)) == [Fault("429")]
    assert smallest(fault_plans(), lambda plan: any(fault.at > 3 for fault in plan)) == [Fault("429", at=4)]


@pytest.mark.parametrize("arguments", [{"kinds": ["flood"]}, {"kinds": []}, {"positions": (0, 3)}])
def test_a_plan_that_cannot_be_is_a_mistake(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageMistake):
        fault_plans(**arguments)


def test_everything_public_is_there_and_sorted() -> None:
    assert strategies.__all__ == sorted(strategies.__all__)
    for name in strategies.__all__:
        assert callable(getattr(strategies, name))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = strategies.nonsense  # type: ignore[attr-defined]


def test_hypothesis_is_missed_with_the_command_that_installs_it() -> None:
    code = (
        "import sys; import pytest_marketreplay.strategies as s; assert 'hypothesis' not in sys.modules\n"
        "sys.modules['hypothesis'] = None\n"
        "try: s.order_books\nexcept Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("MissingExtra ")
    assert "pip install hypothesis" in done.stdout


def test_one_file_imports_hypothesis() -> None:
    folder = Path(strategies.__file__).parents[1]
    importing = [
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*.py")
        if any(
            line.strip().startswith(("import hypothesis", "from hypothesis")) for line in file.read_text().splitlines()
        )
    ]
    assert importing == ["strategies/draws.py"]
