"""What all tests share: Hypothesis profiles, and pytest's own fixture for testing plugins."""

from __future__ import annotations

import importlib
import os
import pkgutil

from hypothesis import HealthCheck, settings

import pytest_marketreplay

pytest_plugins = ["pytester"]

# an inner pytest run forgets the modules that it was the first to import: a client that is imported again has other
# exception classes than the one that httpx mapped, and our own modules other secrets
for _client in ("aiohttp", "httpcore", "httpx", "requests", "urllib3", "vcr"):
    importlib.import_module(_client)
for _module in pkgutil.walk_packages(pytest_marketreplay.__path__, "pytest_marketreplay."):
    importlib.import_module(_module.name)

# the same examples in every run; `--hypothesis-profile=search` looks for new ones
settings.register_profile(
    "fixed", derandomize=True, deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", deadline=None, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
