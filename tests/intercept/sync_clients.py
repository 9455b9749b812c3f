"""`requests`, `urllib3` and `httpx.Client`, each telling what it sees."""

from __future__ import annotations

import pickle
import ssl
from typing import Any

import httpx
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from .story import Call, Once, Probe, Seen, Site, catch, failure_of, generator, headers_of

TLS = ssl.create_default_context()  # a client that makes its own takes 20 ms for it


def body_of(call: Call) -> Any:
    """Return the body of a call as all three take it."""
    if call.stream_body == "file":
        return Once(call.data or b"")
    return generator(call.data or b"") if call.stream_body == "generator" else call.data


class Requests:
    """`requests.Session`."""

    name = "requests"

    def tell(self, probe: Probe, site: Site) -> list[Seen]:
        with requests.Session() as session:
            session.trust_env = False
            if retry := probe.session.get("retry"):
                session.mount("http://", HTTPAdapter(max_retries=Retry(**retry)))
            hooked: list[int] = []
            session.hooks["response"].append(lambda response, **_: hooked.append(response.status_code))
            return [self.call(session, call, site) | {"hooks": list(hooked)} for call in probe.calls]

    def call(self, session: requests.Session, call: Call, site: Site) -> Seen:
        try:
            response = session.request(
                call.method,
                site.url(call),
                headers=dict(call.headers),
                params=call.params or None,
                json=call.json,
                data=dict(call.form) or body_of(call),
                stream=call.read != "all",
                allow_redirects=call.follow,
                timeout=(call.connect_timeout or 10.0, call.timeout),
                **dict(call.options),
            )
            return self.seen(response, call) | {"cookie jar": dict(session.cookies)}
        except Exception as error:
            return failure_of(error)

    def seen(self, response: requests.Response, call: Call) -> Seen:
        raw = response.raw
        seen: Seen = {
            "class": type(response).__qualname__,
            "raw class": type(raw).__qualname__,
            "status": response.status_code,
            "ok": response.ok,
            "reason": response.reason,
            "version": raw.version,
            "headers": headers_of(response.headers.items()),
            "every header": headers_of(raw.headers.iteritems()),
            "url": response.url,
            "history": [(each.status_code, each.url, each.content) for each in response.history],
            "cookies": dict(response.cookies),
            "encoding": response.encoding,
            "links": response.links,
            "redirect": response.is_redirect,
            "next": response.next.url if response.next else None,
            "elapsed": type(response.elapsed).__name__,
            "request": (response.request.method, response.request.url, sorted(response.request.headers)),
            "connection": type(getattr(response, "connection", None)).__name__,
            "retries": [each.status for each in raw.retries.history] if raw.retries else None,
        }
        if call.read == "pieces":
            seen["pieces"] = list(response.iter_content(500))
        elif call.read == "lines":
            seen["lines"] = list(response.iter_lines())
        elif call.read == "raw":
            seen["raw bytes"] = raw.read(10, decode_content=False) + raw.read(decode_content=False)
            seen["raw tell"] = raw.tell()
        elif call.read == "some":
            seen["some"] = next(response.iter_content(100))
            response.close()
            seen["after close"] = catch(lambda: response.raw.closed)
        elif call.read == "nothing":
            response.close()
        else:
            seen["body"] = response.content
            seen["text"] = response.text
            seen["json"] = catch(response.json)
            seen["again"] = response.content
            seen["pieces again"] = b"".join(response.iter_content(7))
            seen["pickled"] = catch(lambda: vars(pickle.loads(pickle.dumps(response)))["headers"] == response.headers)
        seen["raised for status"] = catch(response.raise_for_status)
        seen["headers class"] = type(response.headers).__qualname__
        seen["raw closed"] = raw.closed
        return seen


_PLAIN = Retry(3, connect=0, read=0)


class Urllib3:
    """`urllib3.PoolManager`."""

    name = "urllib3"

    def tell(self, probe: Probe, site: Site) -> list[Seen]:
        retry = Retry(**probe.session["retry"]) if "retry" in probe.session else None
        with urllib3.PoolManager() as pool:
            return [self.call(pool, call, site, retry) for call in probe.calls]

    def call(self, pool: urllib3.PoolManager, call: Call, site: Site, retry: Retry | None) -> Seen:
        more: dict[str, Any] = {"body": body_of(call)} if call.data is not None else {}
        if call.form or call.params:
            more = {"fields": call.form or call.params}
            if call.form:
                more["encode_multipart"] = False
        if call.json is not None:
            more["json"] = call.json
        try:
            response = pool.request(
                call.method,
                site.url(call),
                headers=dict(call.headers),
                preload_content=call.read == "all",
                redirect=call.follow,
                timeout=urllib3.Timeout(connect=call.connect_timeout or 10.0, read=call.timeout),
                retries=retry if retry is not None else (_PLAIN if call.follow and call.method == "GET" else False),
                **more,
                **dict(call.options),
            )
            return self.seen(response, call)
        except Exception as error:
            return failure_of(error)

    def seen(self, response: Any, call: Call) -> Seen:
        seen: Seen = {
            "class": type(response).__qualname__,
            "status": response.status,
            "reason": response.reason,
            "version": response.version,
            "version text": getattr(response, "version_string", None),
            "headers": headers_of(response.headers.items()),
            "every header": headers_of(response.headers.iteritems()),
            "url": response.geturl(),
            "retries": [(each.status, each.redirect_location) for each in response.retries.history]
            if response.retries
            else None,
        }
        if call.read == "pieces":
            seen["pieces"] = list(response.stream(500))
        elif call.read == "lines":
            seen["lines"] = b"".join(response).splitlines()
        elif call.read == "raw":
            seen["raw bytes"] = response.read(10, decode_content=False) + response.read(decode_content=False)
            seen["tell"] = response.tell()
        elif call.read == "some":
            seen["some"] = response.read(100)
            response.close()
        elif call.read == "nothing":
            response.release_conn()
        else:
            seen["body"] = response.data
            seen["json"] = catch(response.json)
        response.release_conn()
        seen["closed"] = response.closed
        return seen


class Httpx:
    """`httpx.Client`."""

    name = "httpx"

    def tell(self, probe: Probe, site: Site) -> list[Seen]:
        hooked: list[str] = []
        hooks = {
            "request": [lambda request: hooked.append(request.method)],
            "response": [lambda response: hooked.append(str(response.status_code))],
        }
        with httpx.Client(trust_env=False, verify=TLS, event_hooks=hooks) as client:
            return [self.call(client, call, site) | {"hooks": list(hooked)} for call in probe.calls]

    def call(self, client: httpx.Client, call: Call, site: Site) -> Seen:
        try:
            request = client.build_request(call.method, site.url(call), **build(call, body_of(call)))
            response = client.send(request, stream=call.read != "all", follow_redirects=call.follow)
            seen = httpx_seen(response)
            if call.read == "pieces":
                seen["pieces"] = list(response.iter_bytes(500))
            elif call.read == "lines":
                seen["lines"] = list(response.iter_lines())
            elif call.read == "raw":
                seen["raw bytes"] = b"".join(response.iter_raw())
            elif call.read == "some":
                seen["some"] = next(response.iter_bytes(100))
            response.close()
            return seen | httpx_after(response) | {"cookie jar": dict(client.cookies)}
        except Exception as error:
            return failure_of(error)


def build(call: Call, body: Any) -> dict[str, Any]:
    """Return the arguments of `build_request`."""
    return {
        "headers": dict(call.headers),
        "params": dict(call.params) or None,
        "json": call.json,
        "data": dict(call.form) or None,
        "content": body,
        "timeout": httpx.Timeout(call.timeout, connect=call.connect_timeout or 10.0),
    }


def httpx_seen(response: httpx.Response) -> Seen:
    """Return what an httpx response shows, sync or async."""
    seen: Seen = {
        "class": type(response).__qualname__,
        "status": response.status_code,
        "reason": response.reason_phrase,
        "version": response.http_version,
        "every header": headers_of(response.headers.raw),
        "url": str(response.url),
        "history": [(each.status_code, str(each.url)) for each in response.history],
        "cookies": dict(response.cookies),
        "encoding": response.encoding,
        "redirect": response.is_redirect,
        "next": str(response.next_request.url) if response.next_request else None,
        "links": response.links,
        "request": (response.request.method, str(response.request.url), sorted(response.request.headers)),
        "extensions": sorted(response.extensions),
        "stream class": type(response.stream).__qualname__,
    }
    if response.is_closed:
        seen |= {
            "body": response.content,
            "text": response.text,
            "json": catch(response.json),
            "elapsed": type(response.elapsed).__name__,
        }
    return seen


def httpx_after(response: httpx.Response) -> Seen:
    """Return what is left to see once it is closed."""
    return {
        "closed": response.is_closed,
        "consumed": response.is_stream_consumed,
        "downloaded": response.num_bytes_downloaded,
        "raised for status": catch(lambda: bool(response.raise_for_status())),
        "content after close": catch(lambda: response.content),
    }
