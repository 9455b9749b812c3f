"""When a recording starts: where the clock of the recording begins."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pytest_marketreplay.cassette import files, reader


def first_ns(layers: Iterable[Path]) -> int | None:
    """Return the time of the earliest entry of the first layer that has any, Unix epoch in nanoseconds; None: none has.

    Of each place only the first line is read. Raises DamagedCassette.
    """
    for layer in layers:
        times = []
        for place in files.places(layer):
            for path in files.files_in(place.within(layer)):
                first = next(reader.heads(path), None)
                if first is not None:
                    times.append(first[1].timestamp)
                    break
        if times:
            return min(times) * 1_000_000
    return None
