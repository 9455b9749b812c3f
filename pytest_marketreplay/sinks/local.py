"""The sink `local`: a cassette tree of JSONL segments, which every reader of cassettes reads while it grows."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import msgspec

from pytest_marketreplay import clock
from pytest_marketreplay.cassette import files, names
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.writer import end_torn_line
from pytest_marketreplay.errors import SinkError, UsageMistake
from pytest_marketreplay.metrics import Meter, NoMetrics
from pytest_marketreplay.sinks import sealing
from pytest_marketreplay.sinks.items import Item
from pytest_marketreplay.sinks.segment import Segment, Undo, make_folder, sync

log = logging.getLogger("pytest_marketreplay.collect")
_NS = 1_000_000_000
_HOUR_NS = 3600 * _NS
_RETAIN_EACH_NS = 60 * _NS
_MOST_OPEN = 128
_SEALED_A_CALL = 4
"""How many segments one `rotate` seals: writing waits for it."""


class Rotation(msgspec.Struct, frozen=True):
    """When a segment is closed and the next one begun; None: not for that reason."""

    max_entries: int | None = None
    max_bytes: int | None = 256 * 1024 * 1024
    hours: float | None = 1.0
    """Of the segment's age; at most so much is unsealed."""


class LocalSink:
    """Appends each item's line to the segment of its place; items without a line are passed over.

    What `write` returned from is in the kernel, and with `durability="fsync"` on the disk. A batch that could not be
    written is taken back from every file, so that it can come again. Several sinks may write to one tree: each has segments
    of its own, and what a killed one left is mended only while no other writes.
    """

    name: ClassVar[str] = "local"

    def __init__(
        self,
        root: Path | str,
        *,
        rotation: Rotation = Rotation(),  # noqa: B008 - frozen
        seal: str | None = None,
        retain_s: float | None = None,
        durability: str = "kill",
        meter: Meter | None = None,
    ) -> None:
        """Write below `root`; `seal` is `zst` or `gz`. Raises UsageMistake."""
        if seal is not None and seal not in sealing.SEALS:
            raise UsageMistake(f"a capture can be sealed with {' or '.join(sealing.SEALS)}, not with {seal!r}")
        if durability not in ("kill", "fsync"):
            raise UsageMistake(f"durability is 'kill' or 'fsync', not {durability!r}")
        self.root = Path(root)
        self._rotation, self._seal, self._fsync = rotation, seal, durability == "fsync"
        self._meter = meter or NoMetrics()
        self._retain_ns = None if retain_s is None else int(retain_s * _NS)
        self._segments: dict[Place, Segment] = {}
        self._open: OrderedDict[Segment, None] = OrderedDict()
        self._undo = Undo()
        self._lock = -1
        self._new_names: set[Path] = set()
        self._to_seal: list[Path] = []
        self._retained_ns = self._began_ns = clock.now_ns()
        self._counter_ns = clock.counter_ns()

    def open(self) -> None:
        """Make the tree, end torn lines, finish interrupted sealings. Raises SinkError."""
        try:
            make_folder(self.root)
            if self._is_alone():
                self._mend()
                self._share()
        except (OSError, SinkError) as error:
            self._unlock()
            raise SinkError(f"cannot capture into {self.root}: {error}") from error

    def write(self, items: Sequence[Item]) -> None:
        """Append the items' lines, in order, one system call for each place. Raises SinkError."""
        by_place: dict[Place, list[bytes]] = {}
        for item in items:
            if item.line is not None:
                by_place.setdefault(item.place, []).append(item.line)
        try:
            self._undo.run()
            for place, lines in by_place.items():
                self._append(place, lines)
            if self._fsync:
                self._sync()
        except OSError as error:
            self._take_back()
            raise SinkError(f"cannot write to {self.root}: {error}") from error
        self._undo.keep()

    def rotate(self, now_ns: int) -> None:
        """Close segments by age, seal a few that are closed, remove what is older than `retain_s`. Raises SinkError."""
        self._undo_first()
        if self._rotation.hours is not None:
            limit = int(self._rotation.hours * _HOUR_NS)
            for place, segment in list(self._segments.items()):
                if not 0 <= now_ns - segment.started_ns < limit:  # a clock set back closes it too
                    self._end(place)
        self._seal_some(_SEALED_A_CALL)
        if self._retain_ns is not None:
            # by the monotonic clock since the start: a wall clock that jumps ahead must not make everything old
            true_ns = min(now_ns, self._began_ns + clock.counter_ns() - self._counter_ns)
            if true_ns - self._retained_ns >= _RETAIN_EACH_NS:
                self._retained_ns = true_ns
                self._expire(true_ns - self._retain_ns)

    def close(self) -> None:
        """Close every segment and seal them. Raises SinkError."""
        try:
            self._undo_first()
            for place in list(self._segments):
                self._end(place)
            self._seal_some(None)
        finally:
            for segment in self._open:
                segment.close()
            self._open.clear()
            self._unlock()

    def _is_alone(self) -> bool:
        """Take a lock on the tree's folder, which ends with the process; tell whether nobody else has one."""
        while True:
            self._lock = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_alone = True
            except BlockingIOError:
                self._share()
                is_alone = False
            except OSError as error:  # some network file systems
                log.info("%s cannot be locked, and is taken to be written by this session only: %s", self.root, error)
                return True
            if os.path.samestat(os.fstat(self._lock), self.root.stat()):
                if not is_alone:
                    log.info("%s is written by another session too; what is torn or half sealed stays", self.root)
                return is_alone
            self._unlock()  # a restore has put another tree in its place while we waited

    def _share(self) -> None:
        with contextlib.suppress(OSError):  # where there are no locks
            fcntl.flock(self._lock, fcntl.LOCK_SH)

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _mend(self) -> None:
        sealing.leftovers(self.root)
        for path in sealing.plain_files(self.root):
            if torn := end_torn_line(path):
                log.warning("%s: %d bytes of a torn last line are kept aside in %s.torn", path, torn, path.name)
            if self._seal is not None and not _has_twin(path):  # what an earlier process had no time to seal
                self._to_seal.append(path)

    def _append(self, place: Place, lines: list[bytes]) -> None:
        start = 0
        while start < len(lines):
            segment = self._segment(place)
            end = self._fitting(segment, lines, start)
            self._undo.note(segment)
            self._use(segment)
            segment.append(b"".join(lines[start:end]), end - start)
            start = end

    def _fitting(self, segment: Segment, lines: list[bytes], start: int) -> int:
        """Return up to which line a segment, which is not full, takes a batch; at least one."""
        end = len(lines)
        if (most := self._rotation.max_entries) is not None:
            end = min(end, start + max(1, most - segment.entries))
        if (limit := self._rotation.max_bytes) is not None:
            size = segment.size
            for index in range(start, end):
                size += len(lines[index])
                if size > limit and index > start:
                    return index
        return end

    def _take_back(self) -> None:
        segments = self._undo.segments()
        try:
            self._undo.run()
            for segment in segments:  # else each try of a batch that is rotated leaves empty files
                if not segment.size and segment not in self._segments.values():
                    segment.path.unlink(missing_ok=True)
                    if segment.path in self._to_seal:  # its name is free again
                        self._to_seal.remove(segment.path)
        except OSError as error:  # before anything else is written, it is tried again
            log.warning("%s: what was written of a batch cannot be taken back yet: %s", self.root, error)

    def _undo_first(self) -> None:
        try:
            self._undo.run()
        except OSError as error:
            raise SinkError(f"cannot take back what was written of a batch to {self.root}: {error}") from error

    def _sync(self) -> None:
        for segment in self._undo.segments():
            self._use(segment)
            segment.sync()
        for folder in sorted(self._new_names):
            sync(folder)
        self._new_names.clear()

    def _segment(self, place: Place) -> Segment:
        segment = self._segments.get(place)
        if segment is not None and self._is_full(segment):
            self._end(place)
            segment = None
        if segment is None:
            segment = self._segments[place] = self._create(place)
        return segment

    def _use(self, segment: Segment) -> None:
        """Have a segment open, and not too many others."""
        self._open[segment] = None
        self._open.move_to_end(segment)
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)[0].close()

    def _is_full(self, segment: Segment) -> bool:
        most, limit = self._rotation.max_entries, self._rotation.max_bytes
        return (most is not None and segment.entries >= most) or (limit is not None and segment.size >= limit)

    def _create(self, place: Place) -> Segment:
        folder = place.within(self.root)
        if self._fsync:
            self._new_names |= {folder, *(made.parent for made in make_folder(folder))}
        else:
            make_folder(folder)
        now_ns = clock.now_ns()
        stem = names.file_stem(now_ns)
        number = 0
        while True:
            path = folder / (f"{stem}-{number}.jsonl" if number else f"{stem}.jsonl")
            number += 1
            if not _has_twin(path):  # which a plain one would hide
                try:
                    return Segment(path, now_ns)
                except FileExistsError:
                    pass

    def _end(self, place: Place) -> None:
        segment = self._segments.pop(place)
        self._open.pop(segment, None)
        segment.close()
        if self._seal is not None:
            self._to_seal.append(segment.path)
        else:
            self._meter.closed_file(place.venue, segment.size)

    def _seal_some(self, most: int | None) -> None:
        failed: SinkError | None = None
        for _ in range(len(self._to_seal) if most is None else min(most, len(self._to_seal))):
            assert self._seal is not None
            path = self._to_seal.pop(0)
            if path.exists():  # retention may have been faster
                try:
                    sealed = sealing.seal(path, self._seal)
                    venue, endpoint = path.parts[-4:-2]
                    self._meter.closed_file(venue, sealed.path.stat().st_size)
                    self._meter.read(venue, endpoint, self.name, sealed.entries, "ok")
                except SinkError as error:
                    failed = failed or error
                    self._to_seal.append(path)  # after the others: they need not fail too
        if failed is not None:
            raise failed

    def _expire(self, before_ns: int) -> None:
        """Remove segments that ended before a moment; never the newest of a place, nor one that is open."""
        held = {each.path for each in self._segments.values()}
        try:
            for place in files.places(self.root):
                for path in files.files_in(place.within(self.root))[:-1]:
                    # both: a name says when it began by a clock that may have been off, the file when it was last written
                    began = names.file_order(path.name)
                    if path in held or began is None or began[0] == "~":
                        continue
                    started = datetime.strptime(began[0], "%Y-%m-%dT%H-%M-%S").replace(tzinfo=UTC)
                    if int(started.timestamp()) * _NS < before_ns and path.stat().st_mtime_ns < before_ns:
                        path.unlink()
                        log.info("%s is older than the capture is to be kept; removed", path)
        except OSError as error:
            raise SinkError(f"cannot remove old segments from {self.root}: {error}") from error


def _has_twin(path: Path) -> bool:
    return any(path.with_name(path.name + end).exists() for end in files.SEALED)
