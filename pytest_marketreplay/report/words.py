"""Figures and foreign text for people."""

from __future__ import annotations

from datetime import UTC, datetime


def encodable(text: str) -> str:
    """Return a text without lone surrogates, which neither JSON nor HTML can hold."""
    return text.encode("utf-8", "replace").decode()


def visible(text: str) -> str:
    """Return foreign text that cannot steer a terminal or turn the reading direction of what stands beside it."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def moment(time_ms: int | None) -> str:
    """Return a moment in UTC."""
    if time_ms is None:
        return "-"
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):  # what a damaged clock or a hostile line says
        return f"{time_ms} ms"


def short_moment(time_ms: int, span_ms: int) -> str:
    """Return a moment in UTC, as exact as a span of time asks for."""
    whole = moment(time_ms)
    if whole.endswith("ms"):
        return whole
    if span_ms < 10_000:
        return f"{whole[11:]}.{time_ms % 1000:03}"
    return whole[11:] if span_ms < 86_400_000 else whole[5:16]


def duration(milliseconds: float) -> str:
    """Return a duration in the two largest units that fit."""
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.3g} s"
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    left = round(seconds)
    out: list[str] = []
    for name, size in units:
        if left >= size or out:
            out.append(f"{left // size} {name}")
            left %= size
    return " ".join(part for part in out[:2] if not part.startswith("0 "))


def size(count: float | None) -> str:
    """Return bytes in the unit that fits."""
    if count is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def number(value: float | None) -> str:
    """Return a number with about four digits, large ones with a suffix."""
    if value is None:
        return "-"
    magnitude = abs(value)
    if magnitude >= 1e15:
        return f"{value:.3g}"
    for divisor, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e5, "k")):
        if magnitude >= divisor:
            return f"{value / min(divisor, 1e3 if suffix == 'k' else divisor):.4g} {suffix}"
    return f"{value:,.0f}" if magnitude >= 1000 or value == int(value) else f"{value:.4g}"


def percent(value: float | None) -> str:
    """Return a percentage, cut off and never rounded up to a goal that it misses."""
    if value is None:
        return "-"
    return f"{int(value * 1000 + 1e-6) / 1000:.3f}".rstrip("0").rstrip(".") + " %"
