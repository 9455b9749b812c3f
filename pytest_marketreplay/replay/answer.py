"""A recorded answer, ready for a client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_marketreplay.cassette.entry import header_pairs, standard_reason

if TYPE_CHECKING:
    from pytest_marketreplay.cassette.entry import Headers, Meta


_END_A_BODY = frozenset(("read_timeout", "timeout", "reset"))


class Answer:
    """What a client gets instead of the network: status, headers and the exact body, or a failure to raise again."""

    __slots__ = ("_headers", "body", "due_ns", "error", "meta", "reason", "status")

    def __init__(self, meta: Meta, body: bytes) -> None:
        self.meta = meta
        self.status = meta.status
        self.body = body
        self.error = meta.error
        self._headers: Headers | None = None
        self.due_ns = 0
        """When it arrives by the clock of the recording, Unix epoch in nanoseconds; 0: at once."""
        self.reason = meta.reason if meta.reason is not None else standard_reason(meta.status)

    @property
    def headers(self) -> Headers:
        """The headers as pairs, in recorded order; a line without headers is JSON, as the format says."""
        if self._headers is None:
            if self.meta.headers is None:
                self._headers = [("content-type", "application/json"), ("content-length", str(len(self.body)))]
            else:
                self._headers = header_pairs(self.meta.headers)
        return self._headers

    @property
    def breaks_off(self) -> bool:
        """Tell whether the body ends before its time, as it did live."""
        # a timeout or reset is a whole failure where no headers had come
        return self.error == "incomplete" or (self.error in _END_A_BODY and self.meta.headers is not None)

    @property
    def fails(self) -> bool:
        """Tell whether there is no answer at all but a failure."""
        return self.error is not None and not self.breaks_off
