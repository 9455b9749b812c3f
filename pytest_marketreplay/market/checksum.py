"""Checksums of order books: how Kraken and OKX make a CRC-32 of the best levels.

Sources: Kraken, "Book checksum" (WebSocket v1 and v2): the ten best asks, then the ten best bids, price and size without
their point and without leading zeros. OKX, "Order book channel", "Checksum": the 25 best bids and asks in turn,
`price:size` joined by colons, as a signed integer. Both read the digits as they were sent, trailing zeros included.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import chain, zip_longest
from zlib import crc32

from pytest_marketreplay.market.book import Book
from pytest_marketreplay.market.structs import Level

_KRAKEN_LEVELS, _OKX_LEVELS = 10, 25


def plain(number: Decimal) -> str:
    """Return a number without an exponent, every digit kept: Python spells 0.00000010 as `1.0E-7`."""
    text = str(number)
    return format(number, "f") if "E" in text else text


def _kraken_text(level: Level) -> str:
    price, size = level
    return plain(price).replace(".", "").lstrip("0") + plain(size).replace(".", "").lstrip("0")


def _okx_text(level: Level) -> str:
    price, size = level
    return f"{plain(price)}:{plain(size)}"


def kraken(book: Book) -> int:
    """Return Kraken's checksum of a book, unsigned."""
    texts = book.asks.texts(_KRAKEN_LEVELS, _kraken_text)
    texts += book.bids.texts(_KRAKEN_LEVELS, _kraken_text)
    return crc32("".join(texts).encode())


def okx(book: Book) -> int:
    """Return OKX's checksum of a book, unsigned; the wire has it signed."""
    bids = book.bids.texts(_OKX_LEVELS, _okx_text)
    asks = book.asks.texts(_OKX_LEVELS, _okx_text)
    return crc32(":".join(filter(None, chain.from_iterable(zip_longest(bids, asks)))).encode())
