"""A capture made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_lab import Lab

from pytest_marketreplay.collect import building


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    lab = Lab(tmp_path)
    monkeypatch.setattr(building, "make_sinks", lambda settings, meter: lab.sinks)
    monkeypatch.setattr(building, "_feed_maker", lab.make_feed)
    return lab
