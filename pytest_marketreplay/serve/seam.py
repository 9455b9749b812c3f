"""Where faults come in: whatever is served can be changed, doubled or dropped on its way out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from pytest_marketreplay.cassette.entry import Headers
from pytest_marketreplay.cassette.frame import Opcode


class Faults(Protocol):
    """Changes what is sent. Called in the server's own thread; it must not block."""

    def answer(
        self, venue: str, endpoint: str, status: int, headers: Headers, body: bytes
    ) -> tuple[int, Headers, bytes] | None:
        """Return the REST answer to send in place of this one; None drops the connection without an answer."""
        ...

    def frames(self, venue: str, endpoint: str, opcode: Opcode, data: bytes) -> Iterable[tuple[Opcode, bytes]]:
        """Return the frames to send in place of this one: none, it or several.

        A `close` has the payload of a close frame, code and reason; it ends the connection.
        """
        ...
