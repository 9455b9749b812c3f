"""The REST snapshots that local books join: asked for sparingly, kept in the tree, and never against the venue's word."""

from __future__ import annotations

import asyncio
import random

from pytest_marketreplay import clock
from pytest_marketreplay.collect.fetching import Answer, HttpFetch, Unanswered
from pytest_marketreplay.collect.limits import Limits, asked_to_wait_s, is_refusal
from pytest_marketreplay.collect.stream_entries import Emit, Target, poll_line
from pytest_marketreplay.collect.stream_ledger import Ledger
from pytest_marketreplay.collect.stream_states import Backoff, Patience
from pytest_marketreplay.market.decoding import UNREADABLE, Decoder, Source
from pytest_marketreplay.market.structs import OrderBook
from pytest_marketreplay.sinks.items import Gap, Item
from pytest_marketreplay.venues.profile import Venue

_MS = 1_000_000


class SnapshotDesk:
    """Fetches snapshots for the books of one venue."""

    def __init__(
        self, venue: Venue, base_url: str, patience: Patience, emit: Emit, ledger: Ledger, rng: random.Random
    ) -> None:
        self._venue, self._base, self._patience = venue, base_url.rstrip("/"), patience
        self._emit, self._ledger = emit, ledger
        self._decoders: dict[str, Decoder] = {}
        self._asked_at: dict[str, float] = {}
        self._fetch = HttpFetch(patience.rest_s)
        self.limits = Limits(rng, first_s=patience.backoff_s, cap_s=patience.backoff_cap_s)

    async def close(self) -> None:
        """Close the connections."""
        await self._fetch.close()

    async def fetch(self, pair: str, own: str, path: str, backoff: Backoff) -> OrderBook | None:
        """Ask for one snapshot as soon as that is allowed; None where it failed, which is written as a gap.

        `own` is the venue's own base URL, under which the answer is stored.
        """
        await self._turn(pair)
        target = Target(self._venue, "GET", own.rstrip("/") + path)
        self._ledger.count("book_requests")
        started_ns, started, sent_s = clock.now_ns(), clock.counter_ns(), asyncio.get_running_loop().time()
        answer: Answer | None = None
        try:
            answer = await self._fetch(self._base + path)
        except TimeoutError:
            problem = "no answer in time"
        except Unanswered as error:
            problem = str(error)
        took_ns = clock.counter_ns() - started
        status = answer.status if answer is not None else "failed"
        self._ledger.meter.request(target.place.venue, target.place.endpoint, status, took_ns / 1e9)
        if answer is not None:
            line = poll_line(target, started_ns, round(took_ns / 1e6, 3), None, answer)
            self._emit(Item(target.place, started_ns, line))
            book = self._read(target, started_ns, answer.body) if answer.status == 200 else None
            if book is not None:
                backoff.reset()
                self.limits.answered(None, sent_s)
                return book
            problem = f"HTTP {answer.status}" if answer.status != 200 else "no order book in the answer"
            self._obey(answer, sent_s)
        self._ledger.count("book_failures")
        gap = Gap(
            "failed", started_ns // _MS, (started_ns + took_ns) // _MS, 1, f"{pair}: snapshot of the book: {problem}"
        )
        self._ledger.gap(target, gap, pair)
        await asyncio.sleep(backoff.next_s())
        return None

    def _obey(self, answer: Answer, sent_s: float) -> None:
        wait_s, now_s = asked_to_wait_s(answer.headers, clock.now_ns()), asyncio.get_running_loop().time()
        if is_refusal(self._venue.name, answer.status):
            self.limits.refused(answer.status, wait_s, now_s, sent_s)
        elif wait_s is not None:
            self.limits.hold(now_s + wait_s, f"asked to wait ({answer.status})")

    async def _turn(self, pair: str) -> None:
        """Wait until this pair may be asked for, and the venue forbids nothing."""
        loop = asyncio.get_running_loop()
        while True:
            due = max(self.limits.free_s, self._asked_at.get(pair, float("-inf")) + self._patience.book_pause_s)
            if due <= loop.time():
                self._asked_at[pair] = loop.time()
                return
            await asyncio.sleep(due - loop.time())

    def _read(self, target: Target, started_ns: int, body: bytes) -> OrderBook | None:
        endpoint = target.asked.path
        decoder = self._decoders.get(endpoint) or self._venue.market(endpoint)
        assert decoder is not None, "a venue whose books join a snapshot has a decoder for it"
        self._decoders[endpoint] = decoder
        try:
            records = decoder.read(body, Source(started_ns, target.location.symbol, dict(target.asked.params)))
        except UNREADABLE:
            return None  # told as a failure by who asked, and the answer is in the tree
        return next((record for record in records if isinstance(record, OrderBook)), None)
