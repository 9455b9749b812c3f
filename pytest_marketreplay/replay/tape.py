"""A cassette as it is played: its places are read when the first request touches them, and each answer is taken once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_marketreplay.cassette import files
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.index import Index
from pytest_marketreplay.replay.matching import Key, Matcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_marketreplay.cassette.entry import Meta


class Slot(NamedTuple):
    """One recorded answer."""

    source: Index
    number: int


class Queue:
    """The recorded answers to one request, in the order in which they play, over all layers."""

    __slots__ = ("position", "slots")

    def __init__(self, slots: list[Slot]) -> None:
        self.slots = slots
        self.position = 0


class Tape:
    """The answers of several layers. Not safe under threads by itself: the session holds its lock around each call."""

    def __init__(self, layers: list[Path], matcher_of: Callable[[str], Matcher]) -> None:
        self.layers = layers
        self._matcher_of = matcher_of
        self._indexes: dict[tuple[int, Place], Index] = {}
        self._queues: dict[tuple[Place, Key], Queue] = {}
        self._played: dict[int, set[int]] = {}

    def index(self, layer: int, place: Place) -> Index:
        """Return the index of a place in a layer; reads its files at the first call. Raises DamagedCassette."""
        known = self._indexes.get((layer, place))
        if known is None:
            known = Index(self._matcher_of(place.venue).of_head)
            known.load(files.files_in(place.within(self.layers[layer])))
            self._indexes[layer, place] = known
            self._played[id(known)] = set()
        return known

    def queue(self, place: Place, key: Key) -> Queue:
        """Return the answers to a request: those of the first layer, then those of the next."""
        queue = self._queues.get((place, key))
        if queue is None:
            slots = []
            for layer in range(len(self.layers)):
                index = self.index(layer, place)
                slots += [Slot(index, number) for number in index.slots.get(key, ())]
            queue = self._queues[place, key] = Queue(slots)
        return queue

    def take(self, queue: Queue, exhausted: str) -> Slot | None:
        """Take the next answer; after the last, what `exhausted` says. None: there is none (left)."""
        if queue.position >= len(queue.slots):
            if not queue.slots or exhausted == "error":
                return None
            queue.position = len(queue.slots) - 1 if exhausted == "last" else 0
        slot = queue.slots[queue.position]
        queue.position += 1
        self._played[id(slot.source)].add(slot.number)
        return slot

    def answer(self, slot: Slot) -> tuple[Meta, bytes]:
        """Read an answer. Raises DamagedCassette."""
        return slot.source.answer(slot.number)

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
            played = self._played[id(index)]
            for slot in sorted(slot for slots in index.slots.values() for slot in slots if slot not in played):
                path, line = index.where(slot)
                out.append((path, line, index.entry(slot).endpoint))
        return out

    def count_played(self) -> int:
        """Return how many different answers were played."""
        return sum(map(len, self._played.values()))

    def close(self) -> None:
        """Close the files."""
        for index in self._indexes.values():
            index.close()
