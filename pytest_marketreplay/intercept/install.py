"""Which modules are patched, and the one set of patches of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module

from pytest_marketreplay.intercept.patches import Patch, Patches


def _late(module: str, name: str) -> Callable[[], Iterable[Patch]]:
    """Return a patcher that is imported when its client is there; `aiohttp`'s alone brings `asyncio` with it."""

    def patches() -> Iterable[Patch]:
        return getattr(import_module(f"pytest_marketreplay.intercept.{module}"), name)()  # type: ignore[no-any-return]

    return patches


PATCHERS: dict[str, Callable[[], Iterable[Patch]]] = {
    "socket": _late("guard", "sockets"),
    "ssl": _late("guard", "tls"),
    "uvloop": _late("guard", "uvloop"),
    "threading": _late("threads", "threads"),
    "urllib3.connectionpool": _late("urllib3", "connection_pool"),
    "requests.adapters": _late("requests", "adapters"),
    "aiohttp": _late("aiohttp", "client"),
    "httpx": _late("httpx", "transports"),
}

PATCHES = Patches(PATCHERS)
"""Of this process; sessions count themselves in and out."""
