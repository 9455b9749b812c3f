"""The exchange in the box: a seeded exchange on loopback, shaped like Binance and Kraken, and awkward answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .limits import Limits
    from .server import SimulatedExchange

__all__ = ["Limits", "SimulatedExchange"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name == "SimulatedExchange":
        from .server import SimulatedExchange

        return SimulatedExchange
    if name == "Limits":
        from .limits import Limits

        return Limits
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
