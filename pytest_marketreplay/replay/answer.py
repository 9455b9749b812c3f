"""A recorded answer, ready for a client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_marketreplay.cassette.entry import header_pairs, standard_reason

if TYPE_CHECKING:
    from pytest_marketreplay.cassette.entry import Headers, Meta


class Answer:
    """What a client gets instead of the network: status, headers and the exact body, or a failure to raise again."""

    __slots__ = ("body", "error", "headers", "meta", "reason", "status")

    def __init__(self, meta: Meta, body: bytes) -> None:
        self.meta = meta
        self.status = meta.status
        self.body = body
        self.error = meta.error
        self.headers: Headers
        if meta.headers is None:
            # a hand-written or foreign line: JSON, as the format says
            self.headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
        else:
            self.headers = header_pairs(meta.headers)
        self.reason = meta.reason if meta.reason is not None else standard_reason(meta.status)

    @property
    def breaks_off(self) -> bool:
        """Tell whether the body ends before its time, as it did live."""
        return self.error == "incomplete"

    @property
    def fails(self) -> bool:
        """Tell whether there is no answer at all but a failure."""
        return self.error is not None and self.error != "incomplete"
