"""Fixtures of the doctor's tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from doctor_parts import Doctor


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    """A doctor with a state folder of its own."""
    return Doctor(tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Where a tree is to be."""
    return tmp_path / "captures"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
