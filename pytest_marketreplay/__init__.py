"""Record what an exchange really said into plain JSONL cassettes, and play it back to unmodified client code.

The pytest plugin (`pytest_marketreplay.plugin`) is what most people use. In a script, `use_cassette` does the same:

    with pytest_marketreplay.use_cassette("cassettes/btc_crash"):
        requests.get("https://api.binance.com/api/v3/depth", params={"symbol": "BTCUSDT"})

Importing this package is cheap: no client library and no parser is loaded until a cassette is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_marketreplay.api import use_cassette
    from pytest_marketreplay.replay.session import Session
    from pytest_marketreplay.venues.profile import Location, Venue

__version__ = "0.1.0"

__all__ = ["Location", "Session", "Venue", "use_cassette"]

_HOMES = {
    "Location": "pytest_marketreplay.venues.profile",
    "Session": "pytest_marketreplay.replay.session",
    "Venue": "pytest_marketreplay.venues.profile",
    "use_cassette": "pytest_marketreplay.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
