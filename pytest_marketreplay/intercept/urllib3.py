"""`urllib3`, and `requests` on it.

Patch points: `HTTPConnectionPool._make_request`, below `Retry`, redirects and pools, so that every attempt is seen; and
`requests.adapters.HTTPAdapter.send`, a short way past urllib3's pools for plain answers (a third of the time), taken
only where no `Retry` could ask for more. Works with urllib3 2.0 and later.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pytest_marketreplay.intercept import failures
from pytest_marketreplay.intercept.patches import Patch
from pytest_marketreplay.replay.answer import Answer
from pytest_marketreplay.replay.current import current

if TYPE_CHECKING:
    from urllib3.connectionpool import HTTPConnectionPool
    from urllib3.response import HTTPResponse

    from pytest_marketreplay.replay.session import Live

_VERSIONS = {"1.0": (10, "HTTP/1.0"), "1.1": (11, "HTTP/1.1"), "2": (20, "HTTP/2")}
_handed = threading.local()
"""An answer that `send` took and leaves to `_make_request`, in the same thread."""


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


class _BrokenOff(io.RawIOBase):
    """A body that ends before its time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        data = self._data.read(size)
        if not data and size != 0:
            raise http.client.IncompleteRead(b"")
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _response(
    answer: Answer, method: str | None, url: str, *, preload: bool = False, decode: bool = True, enforce: bool = True
) -> HTTPResponse:
    from urllib3._collections import HTTPHeaderDict
    from urllib3.response import HTTPResponse

    headers = HTTPHeaderDict(answer.headers)
    version, version_string = _VERSIONS.get(answer.meta.version or "", (11, "HTTP/1.1"))
    more: dict[str, Any] = {"version_string": version_string} if _has_version_string() else {}
    return HTTPResponse(
        body=_BrokenOff(answer.body) if answer.breaks_off else io.BytesIO(answer.body),
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


def _failure(error: str, pool: HTTPConnectionPool, conn: Any, url: str) -> Exception:
    """Make urllib3's own exception for a stored failure."""
    import ssl

    from urllib3 import exceptions

    said = "replayed from a recording"
    match error:
        case failures.CONNECT:
            return exceptions.NewConnectionError(conn, f"Failed to establish a new connection: {said}")
        case failures.DNS:
            return exceptions.NameResolutionError(pool.host, conn, socket.gaierror(socket.EAI_NONAME, said))
        case failures.CONNECT_TIMEOUT:
            return exceptions.ConnectTimeoutError(conn, f"Connection to {pool.host} timed out. ({said})")
        case failures.TLS:
            return exceptions.SSLError(ssl.SSLError(1, said))
        case failures.READ_TIMEOUT | failures.TIMEOUT:
            return exceptions.ReadTimeoutError(pool, url, f"Read timed out. ({said})")
        case failures.RESET:
            return ConnectionResetError(104, f"Connection reset by peer ({said})")
        case _:
            return http.client.RemoteDisconnected(f"Remote end closed connection without response ({said})")


def failure_name(error: BaseException) -> str | None:
    """Name a failure of urllib3's for storing; None where it is not one of the network's."""
    import ssl

    from urllib3 import exceptions

    kinds: list[tuple[Any, str]] = [
        (exceptions.NameResolutionError, failures.DNS),
        (exceptions.NewConnectionError, failures.CONNECT),
        (exceptions.ConnectTimeoutError, failures.CONNECT_TIMEOUT),
        ((exceptions.ReadTimeoutError, TimeoutError), failures.READ_TIMEOUT),
        ((exceptions.SSLError, ssl.SSLError), failures.TLS),
        (http.client.RemoteDisconnected, failures.DISCONNECTED),
        (ConnectionResetError, failures.RESET),
        ((OSError, http.client.HTTPException, exceptions.HTTPError), failures.DISCONNECTED),
    ]
    return next((name for kind, name in kinds if isinstance(error, kind)), None)


def _full_url(pool: HTTPConnectionPool, url: str) -> str:
    if not url.startswith("/"):
        return url  # through a plain HTTP proxy
    host = f"[{pool.host}]" if ":" in pool.host and not pool.host.startswith("[") else pool.host
    port = f":{pool.port}" if pool.port else ""
    return f"{pool.scheme}://{host}{port}{url}"


def _readable(body: Any) -> tuple[Any, bool]:
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
        turn = getattr(_handed, "turn", None)
        if turn is not None:
            _handed.turn = None
        else:
            data, unread = _readable(body)
            pairs = headers.items() if headers else ()
            turn = session.ask(method, _full_url(self, url), data, pairs, unread=unread)
        if isinstance(turn, Answer):
            if turn.fails:
                raise _failure(turn.error or "", self, conn, url)
            response = _response(
                turn,
                method,
                url,
                preload=more.get("preload_content", True),
                decode=more.get("decode_content", True),
                enforce=more.get("enforce_content_length", True),
            )
            response.retries = retries
            response._pool = self
            response._connection = more.get("response_conn")
            return response
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
    from urllib3.exceptions import HTTPError, ReadTimeoutError
    from urllib3.response import HTTPResponse

    preload, decode = more.get("preload_content", True), more.get("decode_content", True)
    sent = {**more, "preload_content": False, "decode_content": False}
    broken: Exception | None = None
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
    except ReadTimeoutError:
        live.fail(failures.READ_TIMEOUT)
        raise
    except HTTPError as error:
        broken = error
    raw = b"".join(chunks)
    version = {9: "0.9", 10: "1.0", 20: "2"}.get(got.version, "1.1")
    pairs = [(name, value) for name, value in got.headers.iteritems()]
    kept, stored, undone = failures.stored_headers(pairs, raw, None if broken else _decoded(got, raw, method))
    live.record(
        got.status,
        got.reason,
        kept,
        stored,
        version=version,
        content_encoding=undone,
        error=failures.INCOMPLETE if broken else None,
    )
    text: dict[str, Any] = {"version_string": got.version_string} if _has_version_string() else {}
    response = HTTPResponse(
        body=_BrokenOff(raw) if broken else io.BytesIO(raw),
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
    response.retries = retries
    response._pool = pool
    return response


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


def _send(original: Callable[..., Any]) -> Callable[..., Any]:
    def send(
        self: Any,
        request: Any,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> Any:
        session = current()
        retries = self.max_retries
        if session is None or not session.refuses or retries.total or retries.status_forcelist:
            return original(self, request, stream=stream, timeout=timeout, verify=verify, cert=cert, proxies=proxies)
        data, unread = _readable(request.body)
        turn = session.ask(request.method, request.url, data, request.headers.items(), unread=unread)
        if not isinstance(turn, Answer) or turn.error is not None:
            _handed.turn = turn  # a failure is raised below, where urllib3 makes its own of it
            try:
                return original(
                    self, request, stream=stream, timeout=timeout, verify=verify, cert=cert, proxies=proxies
                )
            finally:
                _handed.turn = None
        raw = _response(turn, request.method, request.path_url, decode=False)
        raw.retries = retries
        response = self.build_response(request, raw)
        if not stream:
            response._content = turn.body  # what `.content` would read from `raw`
            response._content_consumed = True
            raw._fp.close()  # type: ignore[union-attr]
        return response

    return send


def connection_pool() -> Iterable[Patch]:
    """Give the patches of `urllib3.connectionpool`."""
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

    yield Patch(HTTPConnectionPool, "_make_request", _make_request)
    yield Patch(HTTPSConnectionPool, "_prepare_proxy", _prepare_proxy)


def adapters() -> Iterable[Patch]:
    """Give the patch of `requests.adapters`."""
    from requests.adapters import HTTPAdapter

    yield Patch(HTTPAdapter, "send", _send)
