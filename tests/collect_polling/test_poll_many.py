"""Many pairs of one venue, and the refusals of its firewall."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from aiohttp import web
from poll_lab import Lab, answer, book

from pytest_marketreplay.collect.fetching import MOST_CONNECTIONS, Answer, HttpFetch

PAIRS = [f"A{number}-USDT" for number in range(100)]


def test_a_hundred_slow_pairs_do_not_delay_each_other(lab: Lab) -> None:
    async def script(number: int, url: str) -> Answer:
        await asyncio.sleep(0.9)
        return answer(book(number))

    stats = lab.run(lab.feed(script, *PAIRS), 20)
    assert (stats.stored, stats.missed) == (2000, 0)


def test_as_many_connections_as_requests_that_may_be_under_way_are_open_at_once() -> None:
    async def go() -> None:
        here, all_here = 0, asyncio.Event()

        async def serve(request: web.Request) -> web.Response:
            nonlocal here
            here += 1
            if here == MOST_CONNECTIONS:
                all_here.set()
            await all_here.wait()
            return web.Response(body=b"{}")

        app = web.Application()
        app.router.add_get("/", serve)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        fetch = HttpFetch(20.0)
        try:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
            await asyncio.gather(*(fetch(url) for _ in range(MOST_CONNECTIONS)))
        finally:
            await fetch.close()
            await runner.cleanup()

    asyncio.run(go())


@pytest.mark.parametrize(
    ("venue", "held"), [("binance", True), ("binance_futures", True), ("bybit", True), ("kraken", False)]
)
def test_a_403_of_a_firewall_is_backed_off_from_as_a_429_is(lab: Lab, venue: str, held: bool) -> None:
    async def script(number: int, url: str) -> Answer:
        return answer(b"<html>403 Forbidden</html>", 403)

    pair = "BTC-USD" if venue == "kraken" else "BTC-USDT"
    lab.run(lab.feed(script, pair, venue=venue), 200)
    asked = [at for at, _ in lab.asked]
    assert len(asked) < 15 if held else len(asked) == 200
    if held:  # a back-off that doubles, up to a minute
        assert max(after - before for before, after in itertools.pairwise(asked)) > 25
