"""An SDK that is not installed is left out, but not in the environment that is there for it."""

from __future__ import annotations

import importlib
import os
import warnings
from typing import Any

import pytest

VARIABLE = "MARKETREPLAY_SDK"
"""Names the SDKs that must be there, by commas: what is missing then fails instead of being skipped."""


def needed(sdk: str, module: str) -> Any:
    """Import a module of an SDK; without it, its test module is skipped, or fails where the SDK was promised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # python-binance imports the old names of websockets
        if sdk in os.environ.get(VARIABLE, "").split(","):
            return importlib.import_module(module)
        return pytest.importorskip(module, reason=f"{sdk} is not installed")
