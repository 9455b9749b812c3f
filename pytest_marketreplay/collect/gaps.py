"""The entry of a gap at a place, for those who know the place and not the request."""

from __future__ import annotations

import orjson

from pytest_marketreplay.cassette import entry, names
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.sinks.items import Gap, Item


def place_gap_item(place: Place, gap: Gap, time_ns: int) -> Item:
    """Return the item of a gap; replay passes over its entry, as its `meta` has a direction that no frame has.

    `time_ns` (Unix epoch) is the entry's own time. What the gap says stands in `meta.gap`.
    """
    told = {"kind": gap.kind, "from_ms": gap.from_ms, "to_ms": gap.to_ms, "count": gap.count, "reason": gap.reason}
    endpoint, _websocket = names.endpoint_of(place.endpoint)
    line = entry.splice(time_ns // 1_000_000, endpoint, b"{}", orjson.dumps({"dir": "gap", "gap": told}), b"null")
    return Item(place, time_ns, line, gap=gap)
