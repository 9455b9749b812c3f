"""The client code of the demonstration: `requests` and `aiohttp`, REST and WebSocket; it knows nothing of this package."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp

Heard = list[tuple[str, bytes]]
"""A label and the exact bytes of each answer; of a stream, its messages one below the other."""

_FRAMES = 40


def strategy(binance: str, kraken: str) -> Heard:
    """Ask two exchanges with two libraries, as a client would, and listen to a stream of each."""
    import requests

    out = []
    with requests.Session() as session:
        for _ in range(3):  # a strategy polls: three books, each a little later
            book = session.get(f"{binance}/api/v3/depth", params={"symbol": "BTCUSDT", "limit": "5"}, timeout=10)
            out.append(("requests  binance depth BTCUSDT", book.content))
        wrong = session.get(f"{binance}/api/v3/depth", params={"symbol": "NOSUCHCOIN"}, timeout=10)
        out.append((f"requests  binance error, HTTP {wrong.status_code}", wrong.content))
    return out + asyncio.run(_listen(binance, kraken))


async def _listen(binance: str, kraken: str) -> Heard:
    import aiohttp

    diffs = {"method": "SUBSCRIBE", "params": ["btcusdt@depth@100ms", "btcusdt@trade"], "id": 1}
    book = {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USD"], "depth": 10}}
    async with aiohttp.ClientSession() as session:
        return list(
            await asyncio.gather(
                _get(session, "aiohttp   binance trades ETHUSDT", f"{binance}/api/v3/trades?symbol=ETHUSDT&limit=3"),
                _get(session, "aiohttp   kraken depth XBTUSD", f"{kraken}/0/public/Depth?pair=XBTUSD&count=3"),
                _stream(session, "aiohttp   binance stream BTCUSDT", f"{binance}/stream", diffs),
                _stream(session, "aiohttp   kraken book BTC/USD", f"{kraken}/v2", book),
            )
        )


async def _get(session: aiohttp.ClientSession, label: str, url: str) -> tuple[str, bytes]:
    async with session.get(url) as answer:
        return label, await answer.read()


async def _stream(session: aiohttp.ClientSession, label: str, url: str, subscribe: object) -> tuple[str, bytes]:
    async with session.ws_connect(url.replace("http://", "ws://", 1)) as stream:
        await stream.send_json(subscribe)
        messages = [await stream.receive_str(timeout=10) for _ in range(_FRAMES)]
    return f"{label}, {len(messages)} messages", "\n".join(messages).encode()
