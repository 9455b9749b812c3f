from __future__ import annotations

import pytest
from replay import wire


@pytest.fixture(autouse=True)
def every_session_is_closed():
    """Close what a test has opened by `wire.session`: its files are open until then."""
    yield
    while wire.OPEN:
        wire.OPEN.pop().close(keep=False)
