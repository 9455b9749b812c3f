"""Lengths of time and sizes as people write them: `10m`, `1h30m`, `7d`, `100MB`. A number alone is refused."""

from __future__ import annotations

import re

from pytest_marketreplay.errors import UsageMistake

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_BYTES = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b", re.IGNORECASE)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d+)?", text) is not None


def seconds(text: str, what: str) -> float:
    """Return a length of time in seconds; `what` names the setting in the message.

    Units are ms, s, m, h, d, w, several in a row (`1h30m`). Raises UsageMistake, with the cure where the unit is missing,
    and for nothing at all (`0s`).
    """
    whole = text.strip().lower()
    if _is_number(whole):
        number = whole.lstrip("+-")
        raise UsageMistake(
            f"{what} is {text!r}, a number without a unit; say {number}s, {number}m, {number}h or {number}d"
        )
    parts = _PART.findall(whole)
    if not parts or "".join(number + unit for number, unit in parts) != whole:
        raise UsageMistake(f"{what} is {text!r}; it can be 30s, 10m, 1h30m, 7d (units: {', '.join(_SECONDS)})")
    total = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not total > 0:
        raise UsageMistake(f"{what} is {text!r}; it must be longer than nothing")
    return total


def size_bytes(text: str, what: str) -> int:
    """Return a size in bytes: `512KB` and `512kb` are 512,000, `1MiB` is 1,048,576. Raises UsageMistake."""
    whole = text.strip()
    if _is_number(whole):
        number = whole.lstrip("+-")
        raise UsageMistake(f"{what} is {text!r}, a number without a unit; say {number}MB, {number}KB or {number}B")
    match = _SIZE.fullmatch(whole)
    if match is None:
        raise UsageMistake(f"{what} is {text!r}; it can be 512KB, 100MB, 1.5GB, 64MiB")
    unit = match[2].lower()
    factor = 1024 ** "bkmgt".index(unit or "b") if match[3] else _BYTES[unit]
    size = round(float(match[1]) * factor)
    if size <= 0:
        raise UsageMistake(f"{what} is {text!r}; it must be more than nothing")
    return size


def spoken(length: float) -> str:
    """Return a length in seconds as text: `45s`, `12m05s`, `3h07m`, `2d04h`."""
    whole = max(0, int(length))
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{left:02}s" if minutes else f"{left}s"
