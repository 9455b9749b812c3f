"""`requests`: a short way past urllib3's pools for plain answers.

Patch point: `requests.adapters.HTTPAdapter.send`. The short way takes two thirds of the time of the way through
`urllib3` and is taken only where nobody can tell: a session that replays, an answer that is no failure, and an adapter
whose `Retry` would not ask for more. Everything else goes through `urllib3`, where it is intercepted too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from pytest_marketreplay.intercept.patches import Patch
from pytest_marketreplay.intercept.urllib3 import handed, readable, response
from pytest_marketreplay.replay.answer import Answer
from pytest_marketreplay.replay.current import current


def _pairs(headers: Any) -> Any:
    """Return request headers as pairs; the view of `CaseInsensitiveDict.items` costs ten times its values."""
    store = getattr(headers, "_store", None)
    return headers.items() if store is None else store.values()


@lru_cache(maxsize=1)
def _parts() -> Any:
    """Make, once `requests` is there, what builds its response: a read-out urllib3 response that is made when asked for."""
    from requests import Response
    from requests.adapters import HTTPAdapter
    from requests.structures import CaseInsensitiveDict
    from requests.utils import get_encoding_from_headers
    from urllib3.response import HTTPResponse

    class ReadOut(HTTPResponse):
        """A response that was read to its end, as `Response.raw` is after `.content`.

        Hardly anybody looks at it, and it costs as much as all the rest of a replay, so it is made at the first look.
        """

        def __getattr__(self, name: str) -> Any:
            own = self.__dict__
            if "_answer" not in own:
                raise AttributeError(name)
            answer, method, url, retries = own.pop("_answer")
            own.clear()
            own.update(response(answer, method, url, decode=False).__dict__)
            self._fp.close()  # type: ignore[union-attr]
            self.retries = retries
            return getattr(self, name)

        @property
        def closed(self) -> bool:
            return "_answer" in self.__dict__ or super().closed

        def close(self) -> None:
            """Do nothing: it was read to its end."""

    class LazyHeaders(CaseInsensitiveDict[str]):
        """Headers that are put into their dictionary when somebody looks at them."""

        def __init__(self, headers: dict[str, str], names: set[str]) -> None:
            self._headers, self._names = headers, names

        def __getattr__(self, name: str) -> Any:
            if name != "_store":
                raise AttributeError(name)
            super().__init__(self._headers)  # sets `_store`
            return self._store

        def __reduce__(self) -> Any:
            return CaseInsensitiveDict, (dict(self),)  # a response can be pickled

        def __contains__(self, name: object) -> bool:
            # `requests` asks for a location after every answer
            if "_store" not in self.__dict__ and isinstance(name, str):
                return name.lower() in self._names
            return super().__contains__(name)

    LazyHeaders.__name__ = LazyHeaders.__qualname__ = "CaseInsensitiveDict"
    ReadOut.__name__ = ReadOut.__qualname__ = "HTTPResponse"

    @lru_cache(maxsize=256)
    def encoding_of(content_type: str) -> str | None:
        return get_encoding_from_headers(CaseInsensitiveDict({"content-type": content_type}))

    def build(adapter: Any, request: Any, answer: Answer) -> Any:
        """Do what `HTTPAdapter.build_response` does, for an answer that is read already."""
        headers = answer.meta.headers
        if headers is None or type(adapter).build_response is not HTTPAdapter.build_response:
            return None
        content_type = None
        names = set()
        for name, value in headers.items():
            lower = name.lower()
            names.add(lower)
            if type(value) is not str or lower in ("set-cookie", "content-encoding"):
                return None
            if lower == "content-type":
                content_type = value
        if len(names) != len(headers):
            return None
        out = Response()
        raw = ReadOut.__new__(ReadOut)
        raw.__dict__.update(
            _answer=(answer, request.method, request.url, adapter.max_retries),
            _original_response=None,
            _pool=None,
            _connection=None,
        )
        out.raw = raw
        out.status_code = answer.status
        out.headers = LazyHeaders(headers, names)  # type: ignore[arg-type]
        out.encoding = encoding_of(content_type) if content_type else None
        out.reason = answer.reason
        out.url = request.url
        out.request = request
        out.connection = adapter
        out._content = answer.body
        out._content_consumed = True  # type: ignore[attr-defined]
        return out

    return build


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
        data, unread = readable(request.body)
        turn = session.ask(request.method, request.url, data, _pairs(request.headers), unread=unread)
        if not isinstance(turn, Answer) or turn.error is not None:
            handed.turn = turn  # a failure is raised below, where urllib3 makes its own of it
            try:
                return original(
                    self, request, stream=stream, timeout=timeout, verify=verify, cert=cert, proxies=proxies
                )
            finally:
                handed.turn = None
        if not stream and (quick := _parts()(self, request, turn)) is not None:
            return quick
        raw = response(turn, request.method, request.path_url, decode=False)
        raw.retries = retries
        built = self.build_response(request, raw)
        if not stream and "content-encoding" not in raw.headers:
            built._content = turn.body  # what `.content` would read from `raw`
            built._content_consumed = True
            raw._fp.close()  # type: ignore[union-attr]
        return built

    return send


def adapters() -> Iterable[Patch]:
    """Give the patch of `requests.adapters`."""
    from requests.adapters import HTTPAdapter

    yield Patch(HTTPAdapter, "send", _send)
