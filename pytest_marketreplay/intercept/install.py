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


def _both(first: Callable[[], Iterable[Patch]], second: Callable[[], Iterable[Patch]]) -> Callable[[], Iterable[Patch]]:
    return lambda: (*first(), *second())


PATCHERS: dict[str, Callable[[], Iterable[Patch]]] = {
    "socket": _late("guard", "sockets"),
    "ssl": _late("guard", "tls"),
    "uvloop": _both(_late("guard", "uvloop"), _late("virtual_time", "uvloop")),
    "time": _late("virtual_time", "times"),
    "asyncio.base_events": _late("virtual_time", "loops"),
    "threading": _late("threads", "threads"),
    "urllib3.connectionpool": _late("urllib3", "connection_pool"),
    "requests.adapters": _late("requests", "adapters"),
    "aiohttp": _late("aiohttp", "client"),
    "httpx": _late("httpx", "transports"),
    "websockets.protocol": _late("websockets_protocol", "protocol"),
    "websockets.asyncio.client": _late("websockets_asyncio", "client"),
    "websockets.sync.client": _late("websockets_sync", "client"),
    "websockets.legacy.client": _late("websockets_legacy", "client"),
    "websocket._app": _late("websocket_client", "client"),
}

PATCHES = Patches(PATCHERS)
"""Of this process; sessions count themselves in and out."""
