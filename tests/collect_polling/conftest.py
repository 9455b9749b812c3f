"""A feed on virtual time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from poll_lab import Lab


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    lab = Lab(monkeypatch)
    yield lab
    lab.loop.close()
