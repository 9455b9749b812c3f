"""The bounded queue in front of a sink, and the thread that drains it.

A sink that fails gets the same batch again, after a pause that grows. Meanwhile the queue fills; once it is full, items
are dropped for this sink alone, and counted by place. When the sink has taken half of the queue again, one gap for each
place goes into the queue, between what was kept before and what comes after, so that its ends and count are exact.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from pytest_marketreplay import clock
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.collect.gaps import place_gap_item
from pytest_marketreplay.errors import SinkError
from pytest_marketreplay.sinks.items import Gap, Item, Sink

MAX_ITEMS = 50_000
MAX_BYTES = 64 << 20
BATCH_ITEMS = 1_000
BATCH_BYTES = 4 << 20
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
"""The longest is what a sink that works again waits at most."""
ROTATE_EVERY_S = 1.0
_LAST_S = 0.3
"""For closing the sink once its time is up."""
_LEVEL_BYTES = 200
"""What a level of a snapshot takes in memory, about: a tuple and two decimals."""

_logger = logging.getLogger("pytest_marketreplay.collect")

OnWrite = Callable[[str, Sequence[Item], float, str], None]
"""Told of each call of `write`: the sink's name, the batch, seconds taken, `ok` or `error`."""
OnGap = Callable[[Place, Gap], None]
"""Told of each gap that is declared, and where."""
OnDrop = Callable[[str, int], None]
"""Told of items that are dropped: the sink's name, how many."""


class QueueStats(msgspec.Struct, frozen=True):
    """What a queue did since it began."""

    sink: str
    items: int
    """Waiting now."""
    size_bytes: int
    accepted: int
    written: int
    """Items that the sink acknowledged, gaps of this queue among them."""
    dropped: int
    """Never accepted, because the queue was full."""
    gaps: int
    """Gaps that were put into the queue."""
    failures: int
    """Calls of the sink that failed."""
    failing: bool
    """Whether the last call failed."""
    last_error: str


def weight(item: Item) -> int:
    """Return about how many bytes of memory an item holds."""
    size = 200 + (len(item.line) if item.line is not None else 0)
    if item.snapshot is not None:
        size += _LEVEL_BYTES * (len(item.snapshot.bids) + len(item.snapshot.asks))
    return size


class _Missing:
    """What is dropped at one place since the queue got full."""

    def __init__(self, item: Item) -> None:
        self.first_ns = self.last_ns = item.time_ns
        self.items = self.count = 0

    def add(self, item: Item) -> None:
        """Add an item; of a gap, what is missing in it: the one that is declared instead says no less."""
        first_ns = last_ns = item.time_ns
        if item.gap is not None:
            first_ns, last_ns = item.gap.from_ms * 1_000_000, item.gap.to_ms * 1_000_000
        self.first_ns, self.last_ns = min(self.first_ns, first_ns), max(self.last_ns, last_ns)
        self.items += 1
        self.count += 1 if item.gap is None else item.gap.count


class SinkQueue:
    """A sink with its queue and thread. `put` from any thread; nothing else may call the sink."""

    def __init__(
        self,
        sink: Sink,
        *,
        max_items: int = MAX_ITEMS,
        max_bytes: int = MAX_BYTES,
        batch_items: int = BATCH_ITEMS,
        first_pause: float = FIRST_PAUSE_S,
        longest_pause: float = LONGEST_PAUSE_S,
        on_write: OnWrite | None = None,
        on_gap: OnGap | None = None,
        on_drop: OnDrop | None = None,
    ) -> None:
        """Hold at most `max_items` and `max_bytes` (beside one gap for each place); pauses are in seconds."""
        self.name = sink.name
        self._sink, self._on_write, self._on_gap, self._on_drop = sink, on_write, on_gap, on_drop
        self._max_items, self._max_bytes, self._batch_items = max_items, max_bytes, batch_items
        self._first_pause, self._longest_pause = first_pause, longest_pause
        self._waiting: deque[tuple[Item, int]] = deque()
        self._bytes = 0
        self._missing: dict[Place, _Missing] = {}
        self._changed = threading.Condition()
        self._ended = False
        self._hurry, self._given_up = threading.Event(), threading.Event()
        self._opened = threading.Event()
        self._open_error: BaseException | None = None
        self._accepted = self._written = self._dropped = self._gaps = self._failures = 0
        self._failing, self._last_error = False, ""
        self._thread = threading.Thread(target=self._run, name=f"sink-{self.name}", daemon=True)

    def start(self) -> None:
        """Open the sink, in its thread, and return when it is open. Raises what `open` raised."""
        self._thread.start()
        self._opened.wait()
        if self._open_error is not None:
            self._thread.join()
            raise self._open_error

    def put(self, item: Item) -> bool:
        """Queue an item, and never wait; False where the queue is full and the item is counted as dropped instead."""
        size = weight(item)
        with self._changed:
            full = len(self._waiting) >= self._max_items or (self._waiting and self._bytes + size > self._max_bytes)
            if self._ended or self._missing or full:
                self._drop(item)
                return False
            self._append(item, size)
            self._accepted += 1
            self._changed.notify()
            return True

    def drain(self, timeout: float) -> int:
        """Write what waits, close the sink, end the thread; return how many items could not be written in that many seconds.

        Those that were dropped, and whose gap could not be written either, count too. `put` drops from here on.
        """
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._hurry.set()
        self._thread.join(timeout)
        self._given_up.set()
        self._thread.join(_LAST_S)
        with self._changed:
            return len(self._waiting) + sum(missing.items for missing in self._missing.values())

    @property
    def is_closed(self) -> bool:
        """Tell whether the thread has ended, and with it the sink was closed."""
        return not self._thread.is_alive()

    def stats(self) -> QueueStats:
        """Return the numbers as of now."""
        with self._changed:
            return QueueStats(
                self.name,
                len(self._waiting),
                self._bytes,
                self._accepted,
                self._written,
                self._dropped,
                self._gaps,
                self._failures,
                self._failing,
                self._last_error,
            )

    # ---------------------------------------------------------------- under the lock

    def _append(self, item: Item, size: int) -> None:
        self._waiting.append((item, size))
        self._bytes += size

    def _drop(self, item: Item) -> None:
        self._dropped += 1
        if self._on_drop is not None:
            self._on_drop(self.name, 1)
        missing = self._missing.get(item.place)
        if missing is None:
            missing = self._missing[item.place] = _Missing(item)
            if len(self._missing) == 1 and not self._ended:
                _logger.warning("sink %s: the queue is full; items are dropped for this sink", self.name)
        missing.add(item)

    def _declare(self) -> None:
        """Put the gaps into the queue, once there is room again."""
        half = len(self._waiting) <= self._max_items // 2 and self._bytes <= self._max_bytes // 2
        if not self._missing or not half:
            return
        for place, missing in self._missing.items():
            gap = Gap(
                "sink",
                missing.first_ns // 1_000_000,
                missing.last_ns // 1_000_000,
                missing.count,
                f"the sink {self.name} could not write: {self._last_error}" if self._last_error else "the sink is slow",
            )
            item = place_gap_item(place, gap, missing.last_ns)
            self._append(item, weight(item))
            self._gaps += 1
            if self._on_gap is not None:
                self._on_gap(place, gap)
        _logger.warning("sink %s: takes items again; %d gaps are declared", self.name, len(self._missing))
        self._missing.clear()

    def _batch(self) -> list[Item]:
        out: list[Item] = []
        size = 0
        for item, each in self._waiting:
            if out and (len(out) >= self._batch_items or size + each > BATCH_BYTES):
                break
            out.append(item)
            size += each
        return out

    # ---------------------------------------------------------------- in the thread

    def _run(self) -> None:
        try:
            self._sink.open()
        except BaseException as error:  # noqa: BLE001 - raised again by `start`, in the caller's thread
            self._open_error = error
            return
        finally:
            self._opened.set()
        pause = self._first_pause
        rotated_ns = clock.counter_ns()
        while not self._given_up.is_set():
            with self._changed:
                if not self._waiting and not self._missing and self._ended:
                    break
                if not self._waiting and not self._missing:
                    self._changed.wait(ROTATE_EVERY_S)
                if not self._waiting:
                    self._declare()
                batch = self._batch()
            worked = self._write(batch) if batch else True
            if worked and clock.counter_ns() - rotated_ns >= ROTATE_EVERY_S * 1e9:
                rotated_ns = clock.counter_ns()
                worked = self._call("rotate", lambda: self._sink.rotate(clock.now_ns()))
            if worked:
                pause = self._first_pause
            else:
                if self._hurry.wait(pause):  # the end has come: no long pause any more
                    self._given_up.wait(self._first_pause)
                pause = min(self._longest_pause, pause * 2)
        self._call("close", self._sink.close)

    def _write(self, batch: Sequence[Item]) -> bool:
        began = clock.counter_ns()
        worked = self._call("write", lambda: self._sink.write(batch))
        if self._on_write is not None:
            self._on_write(self.name, batch, (clock.counter_ns() - began) / 1e9, "ok" if worked else "error")
        if worked:
            with self._changed:
                for _ in batch:
                    self._bytes -= self._waiting.popleft()[1]
                self._written += len(batch)
                self._declare()
        return worked

    def _call(self, verb: str, call: Callable[[], None]) -> bool:
        """Call the sink; a failure is counted, kept as the last error and said once until the sink works again."""
        try:
            call()
        except SinkError as error:
            if not self._failing:
                _logger.warning("sink %s: %s failed, and is tried again: %s", self.name, verb, error)
            self._failed(str(error))
            return False
        except Exception as error:
            _logger.exception("sink %s: %s failed on a bug, and is tried again", self.name, verb)
            self._failed(f"{type(error).__name__}: {error}")
            return False
        with self._changed:
            if self._failing:
                _logger.info("sink %s: works again", self.name)
                self._failing = False
        return True

    def _failed(self, message: str) -> None:
        with self._changed:
            self._failures += 1
            self._failing, self._last_error = True, message
