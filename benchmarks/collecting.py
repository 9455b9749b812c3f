"""How much one process collects: symbols polled many times a second from another process, and the lag of the event loop.

`python benchmarks/collecting.py --symbols 20 --per-second 10 --seconds 30`. The exchange runs in a process of its own, as it would.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from aiohttp import web

from pytest_marketreplay.collect.engine import Engine
from pytest_marketreplay.collect.polling import PollFeed
from pytest_marketreplay.collect.queueing import SinkQueue
from pytest_marketreplay.sinks.local import LocalSink
from pytest_marketreplay.venues.registry import Registry

LEVELS = 20


def serve(told: Connection) -> None:
    """Answer every request with a book of 20 levels a side."""

    async def go() -> None:
        number = 0

        async def handle(_request: web.BaseRequest) -> web.Response:
            nonlocal number
            number += 1
            bids = ",".join(
                f'["{100 - level / 100:.8f}","{1 + (number * level) % 977 / 1000:.8f}"]' for level in range(LEVELS)
            )
            asks = ",".join(
                f'["{101 + level / 100:.8f}","{1 + (number + level) % 977 / 1000:.8f}"]' for level in range(LEVELS)
            )
            body = f'{{"lastUpdateId":{number},"bids":[{bids}],"asks":[{asks}]}}'
            return web.Response(body=body.encode(), content_type="application/json")

        runner = web.ServerRunner(web.Server(handle))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        told.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(go())


async def collect(url: str, symbols: int, per_second: float, seconds: float, folder: Path) -> None:
    """Collect, and print what it took."""
    queue = SinkQueue(LocalSink(folder))
    engine = Engine([queue])
    feeds: list[PollFeed] = []

    def make(emit):  # type: ignore[no-untyped-def]
        pairs = [f"C{number:02d}-USDT" for number in range(symbols)]
        feeds.append(PollFeed(Registry().venues["binance"], pairs, 1 / per_second, emit=emit, base_url=url, levels=100))
        return feeds[-1]

    engine.add_feed("binance", make)
    engine.open()
    stop = asyncio.Event()
    lags: list[float] = []

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            due = loop.time() + 0.02
            await asyncio.sleep(0.02)
            lags.append(loop.time() - due)

    asyncio.get_running_loop().call_later(seconds, stop.set)
    cpu = time.process_time()
    watching = asyncio.create_task(watch())
    await engine.run(stop)
    cpu = time.process_time() - cpu
    await watching
    engine.drain()
    stats = feeds[0].stats()
    lags.sort()
    print("| symbols | snapshots/s each | ticks | stored | missed | failed | lag p50 ms | lag p99 ms | CPU s/s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    print(
        f"| {symbols} | {per_second:g} | {stats.ticks} | {stats.stored} | {stats.missed} | {stats.failed} "
        f"| {statistics.median(lags) * 1000:.1f} | {lags[int(len(lags) * 0.99)] * 1000:.1f} | {cpu / seconds:.2f} |"
    )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=20)
    parser.add_argument("--per-second", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    told, teller = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(teller,), daemon=True)
    server.start()
    with tempfile.TemporaryDirectory() as folder:
        url = f"http://127.0.0.1:{told.recv()}"
        asyncio.run(collect(url, options.symbols, options.per_second, options.seconds, Path(folder)))
    server.terminate()


if __name__ == "__main__":
    main()
