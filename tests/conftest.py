"""What all tests share: Hypothesis profiles, and pytest's own fixture for testing plugins."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester"]

# the same examples in every run; `--hypothesis-profile=search` looks for new ones
settings.register_profile(
    "fixed", derandomize=True, deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", deadline=None, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
