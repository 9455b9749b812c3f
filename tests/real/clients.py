"""The four clients, each as people use it: make requests one after the other, and say what came."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import aiohttp
import httpx
import requests

from .recorded_data import digest


@dataclass(frozen=True)
class Call:
    """One request, ready for any client."""

    url: str
    params: dict[str, str] = field(default_factory=dict)
    host: str | None = None
    """The Host header, by which the data set's server tells venues apart."""
    form: bool = False
    """Send the parameters as the form body of a POST, as krakenex does with public calls."""
    encoding: str | None = None
    """The content encoding to accept, instead of what the client accepts by itself."""
    timeout: float = 20.0

    @property
    def method(self) -> str:
        return "POST" if self.form else "GET"

    @property
    def options(self) -> dict[str, Any]:
        headers = {"Host": self.host} if self.host else {}
        if self.encoding:
            headers["Accept-Encoding"] = self.encoding
        return {"headers": headers, "data" if self.form else "params": self.params}


class Got(NamedTuple):
    """What a client gave: an answer, or the class of its exception."""

    status: int
    sha256: str
    headers: dict[str, str]
    error: type[BaseException] | None = None


def _got(status: int, body: bytes, headers: Iterable[tuple[str, str]]) -> Got:
    return Got(status, digest(body), {name.lower(): value for name, value in headers})


def _failed(error: BaseException) -> Got:
    return Got(0, "", {}, type(error))


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()  # httpx makes one for every client: 20 ms each


def with_requests(calls: Iterable[Call]) -> list[Got]:
    """Use one `requests.Session`."""
    out = []
    with requests.Session() as session:
        for call in calls:
            try:
                answer = session.request(call.method, call.url, timeout=call.timeout, **call.options)
                out.append(_got(answer.status_code, answer.content, answer.headers.items()))
            except requests.RequestException as error:
                out.append(_failed(error))
    return out


def with_httpx(calls: Iterable[Call]) -> list[Got]:
    """Use one `httpx.Client`."""
    out = []
    with httpx.Client(verify=_tls()) as client:
        for call in calls:
            try:
                answer = client.request(call.method, call.url, timeout=call.timeout, **call.options)
                out.append(_got(answer.status_code, answer.content, answer.headers.items()))
            except httpx.HTTPError as error:
                out.append(_failed(error))
    return out


def with_httpx_async(calls: Iterable[Call]) -> list[Got]:
    """Use one `httpx.AsyncClient`."""

    async def run() -> list[Got]:
        out = []
        async with httpx.AsyncClient(verify=_tls()) as client:
            for call in calls:
                try:
                    answer = await client.request(call.method, call.url, timeout=call.timeout, **call.options)
                    out.append(_got(answer.status_code, answer.content, answer.headers.items()))
                except httpx.HTTPError as error:
                    out.append(_failed(error))
        return out

    return asyncio.run(run())


def with_aiohttp(calls: Iterable[Call]) -> list[Got]:
    """Use one `aiohttp.ClientSession`."""

    async def run() -> list[Got]:
        out = []
        async with aiohttp.ClientSession() as session:
            for call in calls:
                limit = aiohttp.ClientTimeout(total=call.timeout)
                try:
                    async with session.request(call.method, call.url, timeout=limit, **call.options) as answer:
                        out.append(_got(answer.status, await answer.read(), answer.headers.items()))
                except (aiohttp.ClientError, TimeoutError) as error:
                    out.append(_failed(error))
        return out

    return asyncio.run(run())


Client = Callable[[Iterable[Call]], list[Got]]

CLIENTS: dict[str, Client] = {
    "requests": with_requests,
    "aiohttp": with_aiohttp,
    "httpx": with_httpx,
    "httpx-async": with_httpx_async,
}
