"""Which modules are patched, and the one set of patches of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pytest_marketreplay.intercept import aiohttp, guard, httpx, requests, threads, urllib3
from pytest_marketreplay.intercept.patches import Patch, Patches

PATCHERS: dict[str, Callable[[], Iterable[Patch]]] = {
    "socket": guard.sockets,
    "ssl": guard.tls,
    "uvloop": guard.uvloop,
    "threading": threads.threads,
    "urllib3.connectionpool": urllib3.connection_pool,
    "requests.adapters": requests.adapters,
    "aiohttp": aiohttp.client,
    "httpx": httpx.transports,
}

PATCHES = Patches(PATCHERS)
"""Of this process; sessions count themselves in and out."""
