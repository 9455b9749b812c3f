"""Turn exact integers into the decimal strings that exchanges send, and back."""

from __future__ import annotations

import re

E8 = 10**8
"""Parts in one whole: amounts are integers of 1e-8 everywhere in this package."""

_DECIMAL = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")


def decimal_text(value_e8: int, decimals: int = 8) -> str:
    """Write an amount in 1e-8 parts with exactly `decimals` digits after the point, cut, never rounded up.

    Binance writes eight digits everywhere; Kraken's number of digits depends on the pair and the endpoint.
    """
    sign = "-" if value_e8 < 0 else ""
    whole, part = divmod(abs(value_e8), E8)
    digits = f"{part:08d}"
    digits = digits[:decimals] if decimals <= 8 else digits.ljust(decimals, "0")
    return f"{sign}{whole}.{digits}" if decimals else f"{sign}{whole}"


def decimal_e8(text: str) -> int | None:
    """Read an unsigned decimal as 1e-8 parts; None when it is malformed or finer than eight digits."""
    if not _DECIMAL.fullmatch(text):
        return None
    whole, _, part = text.partition(".")
    part = part.rstrip("0")
    if len(part) > 8:
        return None
    return int(whole) * E8 + int(part.ljust(8, "0"))


def product_e8(left_e8: int, right_e8: int) -> int:
    """Multiply two amounts in 1e-8 parts, such as a price by a quantity, cut to 1e-8 parts."""
    return left_e8 * right_e8 // E8
