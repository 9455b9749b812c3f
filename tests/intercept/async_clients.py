"""`aiohttp` and `httpx.AsyncClient`, each telling what it sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx

from .story import Call, Once, Probe, Seen, Site, catch, failure_of, headers_of
from .sync_clients import TLS, build, httpx_after, httpx_seen


async def generator(data: bytes) -> AsyncIterator[bytes]:
    yield data[: len(data) // 2]
    yield data[len(data) // 2 :]


def body_of(call: Call) -> Any:
    if call.stream_body == "file":
        return Once(call.data or b"")
    return generator(call.data or b"") if call.stream_body == "generator" else call.data


class Aiohttp:
    """`aiohttp.ClientSession`."""

    name = "aiohttp"

    def tell(self, probe: Probe, site: Site) -> list[Seen]:
        return asyncio.run(self.session(probe, site))

    async def session(self, probe: Probe, site: Site) -> list[Seen]:
        events: list[str] = []
        through: list[str] = []
        options = dict(probe.session)
        options.pop("retry", None)

        async def middleware(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
            through.append(f"> {request.method} {request.url.path}")
            response = await handler(request)
            through.append(f"< {response.status}")
            return response

        jar = aiohttp.CookieJar(unsafe=True)  # cookies of an IP address, as the other clients keep them
        if hasattr(aiohttp, "ClientHandlerType"):  # aiohttp 3.11 knows no middlewares
            options["middlewares"] = [middleware]
        out = []
        async with aiohttp.ClientSession(cookie_jar=jar, trace_configs=[_trace(events)], **options) as session:
            for call in probe.calls:
                seen = await self.call(session, call, site)
                seen["cookie jar"] = {cookie.key: cookie.value for cookie in jar}
                seen["trace events"] = list(events)
                seen["middlewares"] = list(through)
                out.append(seen)
        return out

    async def call(self, session: aiohttp.ClientSession, call: Call, site: Site) -> Seen:
        timeout = aiohttp.ClientTimeout(
            total=call.total_timeout, sock_connect=call.connect_timeout or 10.0, sock_read=call.timeout
        )
        try:
            async with session.request(
                call.method,
                site.url(call),
                headers=dict(call.headers),
                params=call.params or None,
                json=call.json,
                data=dict(call.form) or body_of(call),
                allow_redirects=call.follow,
                timeout=timeout,
                **dict(call.options),
            ) as response:
                seen = self.seen(response)
                await self.read(response, call, seen)
            seen["closed after"] = response.closed
            try:
                seen["read after exit"] = await response.read()
            except Exception as error:
                seen["read after exit"] = f"raises {type(error).__qualname__}: {error}"
            seen["raised for status"] = catch(response.raise_for_status)
            return seen
        except Exception as error:
            return failure_of(error)

    async def read(self, response: aiohttp.ClientResponse, call: Call, seen: Seen) -> None:
        content = response.content
        if call.read == "pieces":
            seen["pieces"] = [piece async for piece in content.iter_chunked(500)]
        elif call.read == "lines":
            seen["lines"] = [line async for line in content]
        elif call.read == "raw":
            seen["raw bytes"] = await content.readexactly(10) + await content.read(-1)
            seen["at end"] = content.at_eof()
        elif call.read == "chunks":
            seen["chunks"] = [chunk async for chunk, _ in content.iter_chunks() if chunk]
        elif call.read == "some":
            seen["some"] = await content.readexactly(100)
            response.close()
        elif call.read == "all":
            seen["body"] = await response.read()
            seen["text"] = await response.text(errors="replace")
            try:
                seen["json"] = await response.json()
            except Exception as error:
                seen["json"] = f"raises {type(error).__qualname__}"
            seen["at end"] = content.at_eof()
            seen["total bytes"] = getattr(content, "total_bytes", None)

    def seen(self, response: aiohttp.ClientResponse) -> Seen:
        return {
            "class": type(response).__qualname__,
            "content class": type(response.content).__qualname__,
            "status": response.status,
            "ok": response.ok,
            "reason": response.reason,
            "version": tuple(response.version or ()),
            "headers": headers_of(response.headers.items()),
            "every header": headers_of(response.raw_headers),
            "url": str(response.url),
            "real url": str(response.real_url),
            "history": [(each.status, str(each.url)) for each in response.history],
            "cookies": {name: cookie.value for name, cookie in response.cookies.items()},
            "content type": (response.content_type, response.charset),
            "links": [str(link) for link in response.links],
            "request": (
                response.method,
                str(response.request_info.url),
                sorted(response.request_info.headers),
            ),
            "disposition": response.content_disposition,
        }


def _trace(events: list[str]) -> aiohttp.TraceConfig:
    config = aiohttp.TraceConfig()
    for name in (
        "request_start", "request_end", "request_exception", "request_redirect", "request_headers_sent",
        "request_chunk_sent", "response_chunk_received", "connection_create_start", "connection_create_end",
        "connection_reuseconn", "connection_queued_start", "dns_resolvehost_start",
    ):  # fmt: skip

        async def note(session: object, context: object, params: Any, name: str = name) -> None:
            chunk = getattr(params, "chunk", None)
            events.append(f"{name} {chunk!r}" if chunk else name)

        getattr(config, f"on_{name}").append(note)
    return config


class AsyncHttpx:
    """`httpx.AsyncClient`."""

    name = "httpx async"

    def tell(self, probe: Probe, site: Site) -> list[Seen]:
        return asyncio.run(self.session(probe, site))

    async def session(self, probe: Probe, site: Site) -> list[Seen]:
        hooked: list[str] = []

        async def on_request(request: httpx.Request) -> None:
            hooked.append(request.method)

        async def on_response(response: httpx.Response) -> None:
            hooked.append(str(response.status_code))

        hooks: dict[str, Any] = {"request": [on_request], "response": [on_response]}
        async with httpx.AsyncClient(trust_env=False, verify=TLS, event_hooks=hooks) as client:
            return [await self.call(client, call, site) | {"hooks": list(hooked)} for call in probe.calls]

    async def call(self, client: httpx.AsyncClient, call: Call, site: Site) -> Seen:
        body = generator(call.data or b"") if call.stream_body else call.data
        try:
            request = client.build_request(call.method, site.url(call), **build(call, body))
            response = await client.send(request, stream=call.read != "all", follow_redirects=call.follow)
            seen = httpx_seen(response)
            if call.read == "pieces":
                seen["pieces"] = [piece async for piece in response.aiter_bytes(500)]
            elif call.read == "lines":
                seen["lines"] = [line async for line in response.aiter_lines()]
            elif call.read == "raw":
                seen["raw bytes"] = b"".join([piece async for piece in response.aiter_raw()])
            elif call.read == "some":
                pieces = response.aiter_bytes(100)
                seen["some"] = await anext(pieces)
                await pieces.aclose()
            await response.aclose()
            return seen | httpx_after(response) | {"cookie jar": dict(client.cookies)}
        except Exception as error:
            return failure_of(error)
