"""Seeded payloads in the shape of Binance spot: order books of 100 levels that evolve (6.4 KB), and tickers (120 B)."""

from __future__ import annotations

import random
from collections.abc import Iterator

BASE = "https://api.binance.com"
FIRST_UPDATE_ID = 1_027_024_000
FIRST_TIME_MS = 1_700_000_000_000
LEVELS = 100
SYMBOLS = ("BTC", "ETH", "SOL", "XRP", "ADA", "DOT", "LTC", "BNB", "TRX", "UNI")

RESPONSE_HEADERS = {
    "Content-Type": "application/json;charset=UTF-8",
    "Connection": "keep-alive",
    "Date": "Thu, 02 Oct 2025 10:00:00 GMT",
    "Server": "nginx",
    "x-mbx-uuid": "0c9f6a77-52a5-4f0b-9b0e-7d1f0a2c3b4e",
    "x-mbx-used-weight": "5",
    "x-mbx-used-weight-1m": "5",
    "Strict-Transport-Security": "max-age=31536000; includeSubdomains",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Xss-Protection": "1; mode=block",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'self'",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Expires": "0",
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "X-Cache": "Miss from cloudfront",
    "Via": "1.1 4f5d1c0b9a8e7d6c5b4a39281706f5e4.cloudfront.net (CloudFront)",
    "X-Amz-Cf-Pop": "FRA60-P10",
}
"""Twenty headers, as many and as long as the exchange's own."""

REQUEST_HEADERS = {
    "User-Agent": "benchmark/1.0",
    "Accept-Encoding": "gzip, deflate",
    "Accept": "*/*",
    "Connection": "keep-alive",
}


def headers_for(body: bytes) -> dict[str, str]:
    """Return the response headers of one body."""
    return {**RESPONSE_HEADERS, "Content-Length": str(len(body))}


def books(count: int, seed: int = 1) -> Iterator[bytes]:
    """Make order books of one symbol: the price walks, and a fifth of the sizes change from one book to the next."""
    chance = random.Random(seed)
    middle = 6_700_000
    sizes = [[chance.randrange(1_000, 900_000) for _ in range(LEVELS)] for _ in range(2)]
    for number in range(count):
        middle += chance.randrange(-40, 41)
        sides = []
        for side, step in zip(sizes, (-1, 1), strict=True):
            for _ in range(LEVELS // 5):
                side[chance.randrange(LEVELS)] = chance.randrange(1_000, 900_000)
            levels = []
            for level, size in enumerate(side, 1):
                price = middle + step * level * 7
                levels.append(f'["{price // 100}.{price % 100:02d}000000","{size // 100_000}.{size % 100_000:05d}000"]')
            sides.append(",".join(levels))
        yield f'{{"lastUpdateId":{FIRST_UPDATE_ID + number},"bids":[{sides[0]}],"asks":[{sides[1]}]}}'.encode()


def tickers(count: int, seed: int = 2) -> Iterator[bytes]:
    """Make best bids and asks."""
    chance = random.Random(seed)
    for _ in range(count):
        bid = 6_700_000 + chance.randrange(-5_000, 5_001)
        sizes = [chance.randrange(1_000, 900_000) / 1e5 for _ in range(2)]
        yield (
            f'{{"symbol":"BTCUSDT","bidPrice":"{bid / 100:.8f}","bidQty":"{sizes[0]:.8f}",'
            f'"askPrice":"{(bid + 1) / 100:.8f}","askQty":"{sizes[1]:.8f}"}}'
        ).encode()


def book_url(number: int, case: str, base: str = BASE) -> str:
    """Return the URL of a book: `distinct` differs in a parameter, `polled` is one URL, `symbols` goes round ten."""
    symbol = SYMBOLS[number % len(SYMBOLS)] if case == "symbols" else "BTC"
    url = f"{base}/api/v3/depth?symbol={symbol}USDT&limit={LEVELS}"
    return url if case == "polled" else f"{url}&startTime={FIRST_TIME_MS + number * 1000}"


def ticker_url(number: int, base: str = BASE) -> str:
    """Return the URL of a ticker."""
    return f"{base}/api/v3/ticker/bookTicker?symbol=BTCUSDT&n={number}"


def entries(count: int, case: str, base: str = BASE) -> Iterator[tuple[str, bytes]]:
    """Make URLs and books, in the order they are recorded."""
    for number, body in enumerate(books(count)):
        yield book_url(number, case, base), body


def is_book(number: int, body: bytes) -> bool:
    """Tell whether this is the book that was recorded under this number."""
    return str(FIRST_UPDATE_ID + number).encode() in body[:40]


def is_compact(body: bytes) -> bool:
    """Tell whether a book is written as it was recorded: without a space. cassetter writes the JSON anew."""
    return b" " not in body
