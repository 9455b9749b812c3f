"""A cassette as it is played: its places are read when the first request touches them, and each answer is taken once."""

from __future__ import annotations

import os
from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_marketreplay.cassette import files
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.index import Index
from pytest_marketreplay.replay.matching import Key, Matcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_marketreplay.cassette.entry import Meta


Slot = tuple[Index, int]
"""One recorded answer: an index and the slot's number in it."""


class Queue:
    """The recorded answers to one request, in the order in which they play, over all layers."""

    __slots__ = ("length", "parts", "position")

    def __init__(self, parts: list[tuple[Index, list[int]]]) -> None:
        """Play the slots of each part, in order; the lists are the indexes' own, not copies."""
        self.parts = parts
        self.length = sum(len(slots) for _, slots in parts)
        self.position = 0

    def __getitem__(self, position: int) -> Slot:
        """Return one answer."""
        for index, slots in self.parts:
            if position < len(slots):
                return index, slots[position]
            position -= len(slots)
        raise IndexError(position)


class Tape:
    """The answers of several layers. Not safe under threads by itself: the session holds its lock around each call."""

    def __init__(self, layers: list[Path], matcher_of: Callable[[str], Matcher]) -> None:
        self.layers = layers
        self._only = layers[0] if len(layers) == 1 else None
        self._matcher_of = matcher_of
        self._indexes: dict[tuple[int, Place], Index] = {}
        self._queues: dict[tuple[Place, Key], Queue] = {}
        self._timed: dict[tuple[Place, Key], list[Slot]] = {}

    def index(self, layer: int, place: Place) -> Index:
        """Return the index of a place in a layer; reads its files at the first call. Raises DamagedCassette."""
        known = self._indexes.get((layer, place))
        if known is None:
            known = Index(self._matcher_of(place.venue).of_head)
            try:
                folder = os.path.join(self.layers[layer], *place)
                known.load([os.path.join(folder, name) for name in files.names_in(folder)])
            except BaseException:
                known.close()
                raise
            self._indexes[layer, place] = known
        return known

    def queue(self, place: Place, key: Key) -> Queue:
        """Return the answers to a request: those of the first layer, then those of the next."""
        queue = self._queues.get((place, key))
        if queue is None:
            parts = []
            for layer in range(len(self.layers)):
                index = self.index(layer, place)
                if slots := index.slots.get(key):
                    parts.append((index, slots))
            queue = self._queues[place, key] = Queue(parts)
        return queue

    def take(self, place: Place, key: Key, exhausted: str) -> Slot | None:
        """Take the next answer to a request; after the last, what `exhausted` says. None: there is none (left)."""
        if self._only is not None:
            index = self._indexes.get((0, place)) or self.index(0, place)
            slots = index.slots.get(key)
            if slots is not None and len(slots) == 1:  # recorded once: nothing to keep but whether it was played
                number = slots[0]
                if index.played[number] and exhausted == "error":
                    return None
                index.played[number] = 1
                return index, number
        queue = self.queue(place, key)
        if queue.position >= queue.length:
            if not queue.length or exhausted == "error":
                return None
            queue.position = queue.length - 1 if exhausted == "last" else 0
        slot = queue[queue.position]
        queue.position += 1
        slot[0].played[slot[1]] = 1
        return slot

    def peek(self, place: Place, key: Key, exhausted: str) -> Slot | None:
        """Return the answer that `take` would, and leave it."""
        queue = self.queue(place, key)
        position = queue.position
        if queue.length == 1 and self._only is not None:  # `take` counts no position then
            index, number = queue[0]
            return None if index.played[number] and exhausted == "error" else queue[0]
        if position >= queue.length:
            if not queue.length or exhausted == "error":
                return None
            position = queue.length - 1 if exhausted == "last" else 0
        return queue[position]

    def as_of(self, place: Place, key: Key, now_ms: int, *, keep: bool = False) -> Slot | None:
        """Return the newest answer to a request not later than a moment; before the first, the first. None: none is there.

        Nothing is used up. With `keep` it does not count as played either.
        """
        queue = self.queue(place, key)
        slots = [queue[position] for position in range(queue.length)] if queue.length < 2 else self._in_time(place, key)
        if not slots:
            return None
        at = bisect_right(slots, now_ms, key=self.time_ms)
        index, number = slots[max(at - 1, 0)]
        if not keep:
            index.played[number] = 1
        return index, number

    def _in_time(self, place: Place, key: Key) -> list[Slot]:
        known = self._timed.get((place, key))
        if known is None:
            queue = self.queue(place, key)
            known = [queue[position] for position in range(queue.length)]
            known.sort(key=self.time_ms)
            self._timed[place, key] = known
        return known

    @staticmethod
    def time_ms(slot: Slot) -> int:
        """Return when an answer was asked for, Unix epoch in milliseconds."""
        return slot[0].time_ms(slot[1])

    def answer(self, slot: Slot) -> tuple[Meta, bytes]:
        """Read an answer. Raises DamagedCassette."""
        return slot[0].answer(slot[1])

    def places(self) -> list[tuple[int, Place]]:
        """Return every place of every layer, read or not."""
        return [(number, place) for number, layer in enumerate(self.layers) for place in files.places(layer)]

    def unplayed(self, layer: int) -> list[tuple[Path, int, str]]:
        """Return file, line and endpoint of every answer of a layer that was never played. Reads the whole layer."""
        out = []
        for number, place in self.places():
            if number != layer:
                continue
            index = self.index(number, place)
            for slot in sorted(slot for slots in index.slots.values() for slot in slots if not index.played[slot]):
                path, line = index.where(slot)
                out.append((path, line, index.entry(slot).endpoint))
        return out

    def count_played(self) -> int:
        """Return how many different answers were played."""
        return sum(sum(index.played) for index in self._indexes.values())

    def close(self) -> None:
        """Close the files."""
        for index in self._indexes.values():
            index.close()
