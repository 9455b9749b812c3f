"""`urllib3`, and `requests` on it.

Patch point: `HTTPConnectionPool._make_request`, below `Retry`, redirects and pools, so that every attempt is seen. Works
with urllib3 2.0 and later.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.intercept.headers import incomplete_text, stored_headers
from pytest_marketreplay.intercept.patches import Patch
from pytest_marketreplay.intercept.urllib3_failures import (
    Body,
    answer_body,
    body_failure_name,
    broken_body,
    failure,
    failure_name,
)
from pytest_marketreplay.replay.answer import Answer
from pytest_marketreplay.replay.current import current

if TYPE_CHECKING:
    from urllib3.connectionpool import HTTPConnectionPool
    from urllib3.response import HTTPResponse

    from pytest_marketreplay.replay.live import Live

_HTTP_11 = (11, "HTTP/1.1")
_VERSIONS: dict[str | None, tuple[int, str]] = {"1.0": (10, "HTTP/1.1"), "1.1": _HTTP_11, "2": (20, "HTTP/2")}
"""`version` and `version_string`; the latter is the connection's, and stays at 1.1 when an answer is 1.0."""
handed = threading.local()
"""An answer that the short way of `requests` took and leaves to `_make_request`, in the same thread."""


class _Message:
    """What `requests` reads cookies from: the original response's `msg`."""

    __slots__ = ("_headers",)

    def __init__(self, headers: Any) -> None:
        self._headers = headers

    @property
    def msg(self) -> _Message:
        return self

    def get_all(self, name: str, default: Any = None) -> Any:
        return self._headers.getlist(name) or default

    def isclosed(self) -> bool:
        return True

    def close(self) -> None:
        """Do nothing: there is no socket."""


def response(
    answer: Answer, method: str | None, url: str, *, preload: bool = False, decode: bool = True, enforce: bool = True
) -> HTTPResponse:
    from urllib3._collections import HTTPHeaderDict
    from urllib3.response import HTTPResponse

    headers = HTTPHeaderDict(answer.headers)
    version, version_string = _VERSIONS.get(answer.meta.version, _HTTP_11)
    more: dict[str, Any] = {"version_string": version_string} if _has_version_string() else {}
    return HTTPResponse(
        body=answer_body(answer),
        headers=headers,
        status=answer.status,
        version=version,
        reason=answer.reason,
        preload_content=preload,
        decode_content=decode,
        enforce_content_length=enforce,
        original_response=_Message(headers) if "set-cookie" in headers else None,  # type: ignore[arg-type]
        request_method=method,
        request_url=url,
        **more,
    )


_version_string: bool | None = None


def _has_version_string() -> bool:
    """Tell whether this urllib3 (2.3 and later) knows `version_string`."""
    global _version_string
    if _version_string is None:
        import inspect

        from urllib3.response import HTTPResponse

        _version_string = "version_string" in inspect.signature(HTTPResponse.__init__).parameters
    return _version_string


def _full_url(pool: HTTPConnectionPool, url: str) -> str:
    if not url.startswith("/"):
        return url  # through a plain HTTP proxy
    host = f"[{pool.host}]" if ":" in pool.host and not pool.host.startswith("[") else pool.host
    port = f":{pool.port}" if pool.port else ""
    return f"{pool.scheme}://{host}{port}{url}"


def readable(body: Any) -> tuple[Any, bool]:
    """Return a body that can be matched, and whether there is one that cannot."""
    if body is None or isinstance(body, bytes | str):
        return body, False
    return (bytes(body), False) if isinstance(body, bytearray | memoryview) else (None, True)


def _make_request(original: Callable[..., Any]) -> Callable[..., Any]:
    def make_request(
        self: HTTPConnectionPool,
        conn: Any,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        retries: Any = None,
        **more: Any,
    ) -> Any:
        session = current()
        if session is None:
            return original(self, conn, method, url, body=body, headers=headers, retries=retries, **more)
        turn = getattr(handed, "turn", None)
        if turn is not None:
            handed.turn = None
        else:
            data, unread = readable(body)
            pairs = headers.items() if headers else ()
            turn = session.ask(method, _full_url(self, url), data, pairs, unread=unread)
        if isinstance(turn, Answer):
            if turn.fails:
                raise failure(turn.error or "", self, conn, url, more.get("timeout"))
            replayed = response(
                turn,
                method,
                url,
                preload=more.get("preload_content", True),
                decode=more.get("decode_content", True),
                enforce=more.get("enforce_content_length", True),
            )
            replayed.retries = retries
            replayed._pool = self
            replayed._connection = more.get("response_conn")
            return replayed
        if getattr(conn, "_marketreplay_proxy", False):
            conn._marketreplay_proxy = False
            self._prepare_proxy(conn)
        if turn is None:
            return original(self, conn, method, url, body=body, headers=headers, retries=retries, **more)
        return _live(turn, original, self, conn, method, url, body, headers, retries, more)

    return make_request


def _live(
    live: Live,
    original: Callable[..., Any],
    pool: HTTPConnectionPool,
    conn: Any,
    method: str,
    url: str,
    body: Any,
    headers: Any,
    retries: Any,
    more: dict[str, Any],
) -> Any:
    """Let a request go out, record the answer, and give the client one that it can still read in its own way."""
    from urllib3.exceptions import HTTPError
    from urllib3.response import HTTPResponse

    preload, decode = more.get("preload_content", True), more.get("decode_content", True)
    sent = {**more, "preload_content": False, "decode_content": False}
    broken: str | None = None
    chunks: list[bytes] = []
    try:
        got = original(pool, conn, method, url, body=body, headers=headers, retries=retries, **sent)
    except Exception as error:
        if (name := failure_name(error)) is not None:
            live.fail(name)
        raise
    try:
        while chunk := got.read(1 << 16, decode_content=False):
            chunks.append(chunk)
    except HTTPError as error:
        broken = body_failure_name(error)
    raw = b"".join(chunks)
    version = {9: "0.9", 10: "1.0", 20: "2"}.get(got.version, "1.1")
    pairs = [(name, value) for name, value in got.headers.iteritems()]
    kept, stored, undone = stored_headers(pairs, raw, None if broken else _decoded(got, raw, method))
    live.record(
        got.status,
        got.reason,
        kept,
        stored,
        version=version,
        content_encoding=undone,
        error=broken,
    )
    text: dict[str, Any] = {"version_string": got.version_string} if _has_version_string() else {}
    kept_open = HTTPResponse(
        body=Body(raw) if broken is None else broken_body(raw, broken, incomplete_text(pairs, 0)[0]),
        headers=got.headers,
        status=got.status,
        version=got.version,
        reason=got.reason,
        preload_content=preload,
        decode_content=decode,
        enforce_content_length=more.get("enforce_content_length", True),
        original_response=got._original_response,
        request_method=method,
        request_url=url,
        **text,
    )
    kept_open.retries = retries
    kept_open._pool = pool
    return kept_open


def _decoded(got: Any, raw: bytes, method: str) -> bytes | None:
    """Return a body without its content encoding, or None where there is none or this urllib3 cannot undo it."""
    from urllib3.exceptions import DecodeError
    from urllib3.response import HTTPResponse

    encoding = got.headers.get("content-encoding", "").lower()
    known = HTTPResponse.CONTENT_DECODERS
    if not encoding or not raw or not all(part.strip() in known for part in encoding.split(",")):
        return None
    try:
        return HTTPResponse(
            body=io.BytesIO(raw), headers={"content-encoding": encoding}, status=got.status, request_method=method
        ).data
    except DecodeError:
        return None


def _prepare_proxy(original: Callable[..., Any]) -> Callable[..., Any]:
    def prepare_proxy(self: Any, conn: Any) -> Any:
        if current() is not None and getattr(conn, "_marketreplay_proxy", None) is not False:
            conn._marketreplay_proxy = True  # the tunnel is opened only when the request does go out
            return None
        return original(self, conn)

    return prepare_proxy


def connection_pool() -> Iterable[Patch]:
    """Give the patches of `urllib3.connectionpool`."""
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    yield Patch(HTTPConnectionPool, "_make_request", _make_request)
    yield Patch(HTTPSConnectionPool, "_prepare_proxy", _prepare_proxy)
