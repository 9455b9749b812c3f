"""Reports without secrets: tracebacks, captured output and logs of a test, before anybody prints or stores them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.cassette.redaction import SECRETS

if TYPE_CHECKING:
    import warnings

    import pytest

_DEEPEST = 40
_SEAM = re.compile(r"""['"]\n[E>]?[\s+?-]*b?['"]""")
"""Where a pretty-printed text goes on in the next line (`-l -vv`, full diffs): it may be in the middle of a secret."""


def scrub_report(report: pytest.TestReport) -> None:
    """Replace every secret that this process's requests carried, wherever the report shows it.

    The terminal, JUnit XML, xdist and other plugins all read the report, so it is cleaned at its source.
    """
    if not len(SECRETS):
        return
    report.longrepr = _scrub(report.longrepr, 0)
    report.sections = [(_text(name), _text(text)) for name, text in report.sections]
    report.user_properties = [(name, _scrub(value, 0)) for name, value in report.user_properties]
    if isinstance(reason := getattr(report, "wasxfail", None), str):
        report.wasxfail = SECRETS.scrub(reason)


def scrub_warning(warning: warnings.WarningMessage) -> None:
    """Replace every secret in a recorded warning."""
    text = str(warning.message)
    clean = SECRETS.scrub(text)
    if clean != text:
        warning.message = UserWarning(clean)  # any class: only its text is shown


def _text(text: str) -> str:
    clean = SECRETS.scrub(text)
    if _SEAM.search(text) is None:
        return clean
    joined = SECRETS.scrub(_SEAM.sub("", text))
    return clean if joined == _SEAM.sub("", clean) else joined


def _scrub(value: Any, depth: int) -> Any:
    """Return a value with all texts in it cleaned; pytest's representation objects are changed in place."""
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool | int | float | bytes) or depth > _DEEPEST:
        return value
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return _text("\n".join(value)).split("\n")
    if isinstance(value, list):
        return [_scrub(item, depth + 1) for item in value]
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(_scrub(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return {_scrub(key, depth + 1): _scrub(item, depth + 1) for key, item in value.items()}
    if type(value).__module__.startswith("_pytest."):
        for name, item in list(getattr(value, "__dict__", {}).items()):
            object.__setattr__(value, name, _scrub(item, depth + 1))
    return value
