"""The HTTP side of one venue: a recorded answer, with status, headers and the exact body, or the reason why there is none."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from aiohttp import web
from multidict import CIMultiDict

from pytest_marketreplay.cassette.entry import Headers
from pytest_marketreplay.replay.answer import Answer

from .answers import Answers, NotYet, Question
from .shared import OF_THE_HOP, Shared, dropped, missed, utc
from .tally import Miss, Served

_LONGEST_FAILURE_S = 60.0


class RestSide:
    """Answers the HTTP requests to one venue."""

    def __init__(self, venue: str, answers: Answers, served: Served, shared: Shared) -> None:
        self.name, self._answers, self.served = venue, answers, served
        self._shared, self._pace = shared, shared.pace

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request."""
        headers = list(request.headers.items())
        question = self._answers.question(request.method, request.raw_path, await request.read(), headers)
        found = self._answers.find(question, self._pace.now_ns() // 1_000_000)
        if isinstance(found, NotYet):
            found = await self._wait_for(question, found)
        if not isinstance(found, Answer):
            return self._missed(question, found)
        self.served.answers += 1
        status, body = found.status, found.body
        kept = [(name, self._local(name, value)) for name, value in found.headers if name.lower() not in OF_THE_HOP]
        if self._shared.faults is not None and not found.fails:
            changed = self._shared.faults.answer(self.name, question.location.endpoint, status, kept, body)
            if changed is None:
                return dropped(request)
            status, kept, body = changed
        if found.fails:
            # the client waits as long as it did then (a timeout), and is then cut off
            latency_s = (found.meta.latency_ms or 0.0) / 1000 / (self._pace.speed or 1e9)
            await asyncio.sleep(min(latency_s, _LONGEST_FAILURE_S))
            return dropped(request)
        if found.breaks_off:
            return await self._broken_off(request, status, found.reason, kept, body)
        return web.Response(status=status, reason=found.reason or None, headers=CIMultiDict(kept), body=body)

    async def _wait_for(self, question: Question, found: NotYet) -> Answer | NotYet | None:
        """Hold a request until the tape gets to its first answer, which is not told before its time."""
        delay = self._pace.delay_s(self._pace.lap(), found.first_ms * 1_000_000)
        if delay > self._shared.patience_s:
            return found
        await asyncio.sleep(max(delay, 0.0))
        return self._answers.find(question, max(found.first_ms, self._pace.now_ns() // 1_000_000))

    def _missed(self, question: Question, found: NotYet | None) -> web.Response:
        if found is None:
            why = self._answers.explain(question)
        else:
            now = utc(self._pace.now_ns() // 1_000_000)
            why = f"it was first recorded at {utc(found.first_ms)}, and the tape is at {now}"
        miss = self._shared.tally.miss(Miss(self.name, "rest", self._answers.show(question), why))
        return missed(miss)

    def _local(self, name: str, value: str) -> str:
        """Return a header's value; one that would lead a client to the real exchange leads it here."""
        if name.lower() != "location":
            return value
        parts = urlsplit(value)
        local = self._shared.local(parts.netloc.lower()) if parts.netloc else None
        return value if local is None else parts._replace(scheme="", netloc="").geturl().join((local, ""))

    async def _broken_off(
        self, request: web.BaseRequest, status: int, reason: str, headers: Headers, body: bytes
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=status, reason=reason or None, headers=CIMultiDict(headers))
        response.content_length = len(body) + 1
        await response.prepare(request)
        await response.write(body)
        dropped(request)
        return response
