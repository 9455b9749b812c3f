"""Where a late subscriber of Binance's depth diffs starts: at the REST snapshot that it will be given.

A client can build a book only from diffs that chain to a snapshot (Binance, "How to manage a local order book
correctly"). The snapshot that a served recording has may be minutes old, so the diffs since then come first, at once.
"""

from __future__ import annotations

from bisect import bisect_right

import msgspec

from pytest_marketreplay.cassette import names
from pytest_marketreplay.replay.tape import Tape

from .timeline import Route, Timeline

_MS = 1_000_000


class _Ids(msgspec.Struct):
    last_in_diff: int | None = msgspec.field(name="u", default=None)
    last_in_book: int | None = msgspec.field(name="lastUpdateId", default=None)


class _Wrapped(msgspec.Struct):
    data: _Ids | None = None


_IDS = msgspec.json.Decoder(_Ids)
_WRAPPED = msgspec.json.Decoder(_Wrapped)


class Joining:
    """Finds the diff that chains to the snapshot which REST gives now."""

    def __init__(self, tape: Tape, venue: str, timeline: Timeline) -> None:
        self._tape, self._timeline = tape, timeline
        self._places = [
            (layer, place)
            for layer, place in tape.places()
            if place.venue == names.venue_folder(venue) and place.endpoint.endswith("_depth")
        ]

    def start(self, route: Route, now_ns: int) -> int | None:
        """Return the position of a diff stream where a book can begin; None where there is no snapshot before now."""
        symbol, _, kind = route[0].partition("@")
        if kind.partition("@")[0] != "depth":
            return None
        known = self._oldest_snapshot(names.symbol_folder(symbol.upper()), now_ns // _MS)
        if known is None:
            return None
        lines = self._timeline.streams[route].lines
        position = bisect_right(lines, known, key=self._last_in_diff)
        # one that ends with the snapshot shows that nothing is missing in between
        return max(position - 1, 0)

    def _oldest_snapshot(self, symbol: str, now_ms: int) -> int | None:
        """Return the update id of the oldest book that REST gives now: one request may be answered by an older one."""
        found = []
        for layer, place in self._places:
            if place.symbol != symbol:
                continue
            index = self._tape.index(layer, place)
            for slots in index.slots.values():
                if position := bisect_right(slots, now_ms, key=index.time_ms):
                    try:
                        book = _IDS.decode(index.answer(slots[position - 1])[1])
                    except msgspec.DecodeError:  # an error page is no book
                        continue
                    if book.last_in_book is not None:
                        found.append(book.last_in_book)
        return min(found, default=None)

    def _last_in_diff(self, at: int) -> int:
        data = self._timeline.frames.read(at).data()
        try:
            diff = _IDS.decode(data)
            if diff.last_in_diff is None:
                diff = _WRAPPED.decode(data).data or diff
        except msgspec.DecodeError:
            return 0
        return diff.last_in_diff or 0
