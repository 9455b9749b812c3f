"""The house: what importing costs, what is public, and that the installed package is whole."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_marketreplay
from pytest_marketreplay import errors

HEAVY = (
    "aiohttp",
    "requests",
    "urllib3",
    "httpx",
    "vcr",
    "yaml",
    "msgspec",
    "orjson",
    "click",
    "rich",
    "hypothesis",
    "asyncio",
)


def loaded_by(statement: str) -> set[str]:
    """Return which heavy modules a fresh interpreter has after a statement."""
    code = f"import sys; {statement}; print(' '.join(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import pytest_marketreplay") == set()


def test_loading_the_plugin_loads_nothing_heavy_that_pytest_has_not() -> None:
    assert loaded_by("import pytest, pytest_marketreplay.plugin") - loaded_by("import pytest") == set()


def test_the_exchange_is_not_loaded_with_its_package() -> None:
    assert loaded_by("import pytest_marketreplay.exchange") == set()


def test_vcr_is_imported_only_where_the_bridge_needs_it() -> None:
    everything = ", ".join(
        name
        for _, name, _ in pkgutil.walk_packages(pytest_marketreplay.__path__, "pytest_marketreplay.")
        if "bridge" not in name
    )
    assert "vcr" not in loaded_by(f"import {everything}")


def test_everything_public_is_there_and_sorted() -> None:
    assert pytest_marketreplay.__all__ == sorted(pytest_marketreplay.__all__)
    for name in pytest_marketreplay.__all__:
        assert getattr(pytest_marketreplay, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = pytest_marketreplay.nonsense  # type: ignore[attr-defined]


def test_the_installed_version_is_the_one_it_says() -> None:
    from importlib.metadata import version

    assert version("pytest-marketreplay") == pytest_marketreplay.__version__


def test_the_package_is_typed_for_others() -> None:
    assert (Path(pytest_marketreplay.__file__).parent / "py.typed").exists()


def test_every_module_has_a_docstring_that_says_what_lives_there() -> None:
    for module in pkgutil.walk_packages(pytest_marketreplay.__path__, "pytest_marketreplay."):
        assert importlib.import_module(module.name).__doc__, module.name


def test_the_drawn_tree_of_errors_is_the_real_one() -> None:
    drawn = {line.strip("│├└─ ").split()[0] for line in (errors.__doc__ or "").splitlines()[2:] if line.strip()}
    real = {name for name, item in vars(errors).items() if isinstance(item, type) and issubclass(item, Exception)}
    assert drawn == real


def test_no_file_has_two_jobs() -> None:
    long = {
        file.name: count
        for file in Path(pytest_marketreplay.__file__).parent.rglob("*.py")
        if (count := file.read_text(encoding="utf-8").count("\n")) > 400
    }
    assert long == {}
