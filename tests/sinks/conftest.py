"""Fixtures of the sinks' tests."""

from __future__ import annotations

import pytest
from sink_parts import Clock


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still until it is told to move."""
    return Clock(monkeypatch)
