"""A cassette as a live exchange on loopback: HTTP and WebSocket on the recording's clock, for any process or language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .seam import Faults
    from .server import CassetteServer

__all__ = ["CassetteServer", "Faults"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name == "CassetteServer":
        from .server import CassetteServer

        return CassetteServer
    if name == "Faults":
        from .seam import Faults

        return Faults
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
