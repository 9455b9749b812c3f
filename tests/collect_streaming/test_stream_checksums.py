"""Books that the stream itself sends, and that only a checksum can check."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import msgspec

from pytest_marketreplay.market.book import Book
from pytest_marketreplay.market.checksum import kraken
from pytest_marketreplay.market.structs import Level

from .scripted import QUICK, Scripted, Talk, running, trade


class KrakenLike(Scripted):
    """Answer the n-th subscription to a book with a snapshot and one diff, as the n-th of `plan` says."""

    def __init__(self, plan: list[str]) -> None:
        super().__init__(self.converse)
        self.plan = plan
        self.asked = 0

    async def converse(self, talk: Talk) -> None:
        async for message in talk.socket:
            said = json.loads(message.data)
            self.heard.append(said)
            if said["event"] == "subscribe":
                await self.subscribed(talk, said)

    async def subscribed(self, talk: Talk, said: dict[str, Any]) -> None:
        status = {"event": "subscriptionStatus", "pair": "XBT/USD", "status": "subscribed"}
        await talk.say(json.dumps({**status, "subscription": said["subscription"]}))
        if said["subscription"]["name"] != "book":
            return
        step = self.plan[min(self.asked, len(self.plan) - 1)]
        self.asked += 1
        if step == "nothing":
            return
        price = str(self.asked)
        book = Book()
        book.replace([level("4.0")], [level("5.0")])
        book.apply([level(f"3.{price}")], [])
        crc = kraken(book) if step == "good" else 1
        await talk.say(
            '[0,{"as":[["5.0","1.0","1.1"]],"bs":[["4.0","1.0","1.1"]]},"book-10","XBT/USD"]',
            f'[0,{{"b":[["3.{price}","1.0","1.2"]],"c":"{crc}"}},"book-10","XBT/USD"]',
        )


def level(price: str) -> Level:
    return Level(Decimal(price), Decimal("1.0"))


def test_a_wrong_checksum_is_told_and_the_book_is_subscribed_to_until_it_is_right() -> None:
    async def story() -> None:
        venue = KrakenLike(["bad", "nothing", "bad", "good"])
        patience = msgspec.structs.replace(QUICK, acknowledgement_s=0.1)
        options: dict[str, Any] = {"venue": "kraken", "path": "/ws", "patience": patience, "channels": ("depth",)}
        async with (
            venue.serve() as address,
            running(address, ("BTC-USD",), interval_s=0.01, levels=10, **options) as run,
        ):
            await run.until(lambda: run.count("snapshots") >= 3)
            assert run.feed.stats().pairs["BTC-USD"].ready
        assert [said["event"] for said in venue.heard] == ["subscribe", *["unsubscribe", "subscribe"] * 3]
        assert (run.count("checksum"), run.count("resubscriptions"), run.count("connections")) == (2, 3, 1)
        told = [gap.reason for gap in run.caught.gaps if gap.kind == "sequence"]
        assert all("BTC-USD depth: checksum, 1 was expected, and " in reason for reason in told)
        assert len(told) == 2
        bids = [[str(one.price) for one in snapshot.bids] for snapshot in run.caught.snapshots]
        assert bids == [["4.0", "3.4"]] * len(bids)  # none of the books that were wrong

    asyncio.run(story())


def test_a_refusal_that_names_nothing_ends_the_wait_for_all() -> None:
    async def story() -> None:
        venue = Scripted(Talk.listen)
        venue.answer = lambda said: (
            '{"event":"error","code":"60018","msg":"no such channel"}' if said != "ping" else "pong"
        )
        patience = msgspec.structs.replace(QUICK, acknowledgement_s=0.1, heartbeat_s=0.05)
        async with venue.serve() as address, running(address, ("NO-PAIR",), venue="okx", patience=patience) as run:
            await run.until(lambda: venue.heard.count("ping") > 5)
            assert run.feed.stats().pairs["NO-PAIR"].problem == "60018 no such channel"
        assert run.count("connections") == 1

    asyncio.run(story())


def test_other_market_data_in_a_stream_is_kept_and_not_counted() -> None:
    async def script(talk: Talk) -> None:
        ticker = {"u": 1, "s": "BTCUSDT", "b": "4", "B": "1", "a": "5", "A": "1"}
        await talk.say(json.dumps({"stream": "btcusdt@bookTicker", "data": ticker}), trade(1), trade(1, "XRPUSDT"))
        await talk.listen()

    async def story() -> None:
        async with Scripted(script).serve() as address, running(address) as run:
            await run.until(lambda: run.count("frames") == 3)
        assert (run.count("trades"), run.count("depth"), run.count("unreadable")) == (1, 0, 0)

    asyncio.run(story())
