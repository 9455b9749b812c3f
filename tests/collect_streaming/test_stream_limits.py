"""What a venue forbids a stream: no snapshot and no handshake before that ends, by the venue's own clock."""

from __future__ import annotations

import asyncio
import itertools
import time
from email.utils import formatdate

import msgspec
import pytest
from aiohttp import web

from pytest_marketreplay.collect.limits import forbidden_s

from .scripted import QUICK, Scripted, Talk, running
from .test_stream_life import endless


def refusal(status: int, wait_s: float, wrong_s: float = 0.0) -> web.Response:
    """Answer with a Retry-After that is a date, by a clock that is `wrong_s` off ours; whole seconds, as HTTP has them."""
    now_s = int(time.time() + wrong_s)
    headers = {"Retry-After": formatdate(now_s + wait_s, usegmt=True), "Date": formatdate(now_s, usegmt=True)}
    return web.Response(status=status, headers=headers)


class Timed(Scripted):
    """Notes when it was asked for what, by the loop's clock."""

    def __init__(self, *scripts: object) -> None:
        super().__init__(*scripts)  # type: ignore[arg-type]
        self.handshakes_s: list[float] = []
        self.books_s: list[float] = []

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        self.handshakes_s.append(asyncio.get_running_loop().time())
        return await super()._socket(request)

    async def _book(self, request: web.Request) -> web.Response:
        self.books_s.append(asyncio.get_running_loop().time())
        return await super()._book(request)


@pytest.mark.parametrize("wrong_s", [-3600, 3600], ids=["behind", "ahead"])
@pytest.mark.parametrize("what", ["book", "handshake"])
def test_a_date_to_wait_for_is_read_by_the_venues_own_clock(what: str, wrong_s: float) -> None:
    async def story() -> None:
        venue = Timed(endless)
        (venue.book_answers if what == "book" else venue.refusals).append(refusal(429, 1, wrong_s))
        async with venue.serve() as address, running(address) as run:
            await run.until(lambda: run.feed.stats().pairs["BTC-USDT"].ready)
        first, second, *_ = venue.books_s if what == "book" else venue.handshakes_s
        assert 1.0 <= second - first < 4.0

    asyncio.run(story())


def test_what_a_refused_handshake_forbids() -> None:
    now_ns = 1_700_000_000 * 10**9
    said = formatdate(1_700_000_030, usegmt=True)
    date = formatdate(1_700_000_020, usegmt=True)
    cases = (
        (418, []),
        (418, [("Retry-After", "3")]),
        (429, [("retry-after", said)]),
        (429, [("retry-after", said), ("date", date)]),
        (500, []),
    )
    assert [forbidden_s(status, headers, now_ns) for status, headers in cases] == [120.0, 3.0, 30.0, 10.0, None]


def test_a_renewal_that_is_refused_is_not_tried_again_before_it_may_be_even_where_the_old_one_ends() -> None:
    async def story() -> None:
        renew = asyncio.Event()
        cut = asyncio.Event()

        async def first(talk: Talk) -> None:
            telling = asyncio.ensure_future(endless(talk))
            await renew.wait()
            talk.venue.refusals = [web.Response(status=429, headers={"Retry-After": "1"})]
            await talk.say('{"data":{"e":"serverShutdown"}}')
            await cut.wait()
            telling.cancel()
            talk.cut()

        venue = Timed(first, endless)
        async with venue.serve() as address, running(address) as run:
            await run.until(lambda: run.feed.stats().pairs["BTC-USDT"].ready)
            renew.set()
            await run.until(lambda: run.count("handshakes_failed") == 1)
            cut.set()
            await run.until(lambda: run.count("connections") == 2)
        _, refused, again = venue.handshakes_s
        assert again - refused >= 1.0

    asyncio.run(story())


def test_a_ban_of_one_side_holds_for_the_other() -> None:
    """418 bans an address, whatever it asks for (Binance, "IP Limits")."""

    async def story() -> None:
        cut = asyncio.Event()

        async def first(talk: Talk) -> None:
            await talk.diffs(1)
            await cut.wait()
            talk.cut()

        venue = Timed(first, endless)
        venue.book_answers = [web.Response(status=418, headers={"Retry-After": "1"})]
        async with venue.serve() as address, running(address) as run:
            await run.until(lambda: run.count("book_failures") == 1)
            banned_s = venue.books_s[0]
            cut.set()
            await run.until(lambda: run.count("connections") == 2)
            assert venue.handshakes_s[1] - banned_s >= 1.0

        renew = asyncio.Event()

        async def refused(talk: Talk) -> None:
            telling = asyncio.ensure_future(endless(talk))
            await renew.wait()
            talk.venue.refusals = [web.Response(status=418, headers={"Retry-After": "1"})]
            await talk.say('{"data":{"e":"serverShutdown"}}')
            await telling

        venue = Timed(refused)
        async with venue.serve() as address, running(address) as run:
            await run.until(lambda: run.feed.stats().pairs["BTC-USDT"].ready)
            renew.set()
            await run.until(lambda: run.count("handshakes_failed") == 1)
            run.feed.add("ETH-USDT")  # needs a snapshot, and its diffs come on the old connection
            await run.until(lambda: run.feed.stats().pairs["ETH-USDT"].ready)
        assert venue.books_s[1] - venue.handshakes_s[1] >= 1.0

    asyncio.run(story())


def test_answers_that_were_under_way_together_are_one_refusal() -> None:
    async def story() -> None:
        venue = Timed(endless)
        together = asyncio.Event()
        inner = venue._book

        async def both(request: web.Request) -> web.Response:
            if venue.books_asked + len(waiting) < 2:
                waiting.append(request)
                if len(waiting) == 2:
                    together.set()
                await together.wait()
                venue.books_s.append(asyncio.get_running_loop().time())
                return web.Response(status=429)
            return await inner(request)

        waiting: list[web.Request] = []
        venue._book = both  # type: ignore[method-assign]
        patience = msgspec.structs.replace(QUICK, backoff_s=0.2, backoff_cap_s=60.0)
        async with venue.serve() as address, running(address, ("BTC-USDT", "ETH-USDT"), patience=patience) as run:
            await run.until(lambda: run.count("book_failures") == 2)
            assert run.feed.limits._limited == 1

    asyncio.run(story())


def test_a_ban_that_holds_already_is_waited_for_by_the_first_handshake_and_by_a_renewal() -> None:
    async def story() -> None:
        renew = asyncio.Event()

        async def leaving(talk: Talk) -> None:
            telling = asyncio.ensure_future(endless(talk))
            await renew.wait()
            await talk.say('{"data":{"e":"serverShutdown"}}')
            await telling

        venue = Timed(leaving, endless)
        async with venue.serve() as address, running(address) as run:
            loop = asyncio.get_running_loop()
            first_s = loop.time() + 0.4
            run.feed.limits.ban(first_s)
            await run.until(lambda: run.feed.stats().pairs["BTC-USDT"].ready)
            second_s = loop.time() + 0.4
            run.feed.limits.ban(second_s)
            renew.set()
            await run.until(lambda: run.count("renewals") == 1)
        assert first_s <= venue.handshakes_s[0]
        assert second_s <= venue.handshakes_s[1]

    asyncio.run(story())


def test_a_handshake_that_is_reset_is_one_request() -> None:
    """aiohttp by itself asks once more."""

    async def story() -> None:
        asked = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            await reader.readuntil(b"\r\n\r\n")
            asked += 1
            writer.transport.abort()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            async with running(f"127.0.0.1:{server.sockets[0].getsockname()[1]}") as run:
                await run.until(lambda: run.count("handshakes_failed") == 3)
                assert asked == 3
        finally:
            server.close()
            await server.wait_closed()

    asyncio.run(story())


def test_a_403_of_a_firewall_holds_all_snapshots() -> None:
    async def story() -> None:
        venue = Timed(endless)
        venue.book_answers = [web.Response(status=403)]
        patience = msgspec.structs.replace(QUICK, backoff_s=0.6, backoff_cap_s=0.6)
        async with venue.serve() as address, running(address, ("BTC-USDT", "ETH-USDT"), patience=patience) as run:
            await run.until(lambda: run.count("book_failures") == 1)
            assert run.feed.limits.reason == "rate limited (403)"
            await run.until(lambda: all(pair.ready for pair in run.feed.stats().pairs.values()))
        assert max(after - before for before, after in itertools.pairwise(venue.books_s)) > 0.25

    asyncio.run(story())


def test_a_503_that_says_how_long_holds_all_snapshots() -> None:
    async def story() -> None:
        venue = Timed(endless)
        venue.book_answers = [web.Response(status=503, headers={"Retry-After": "1"})]
        async with venue.serve() as address, running(address) as run:
            await run.until(lambda: run.feed.stats().pairs["BTC-USDT"].ready)
            assert run.feed.limits.reason == "asked to wait (503)"
        assert venue.books_s[1] - venue.books_s[0] >= 1.0

    asyncio.run(story())
