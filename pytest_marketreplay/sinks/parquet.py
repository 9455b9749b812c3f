"""The sinks `parquet` and `s3`: order books as rows, in Parquet files in a folder or in a bucket.

Snapshots are first appended to a log, a JSONL segment in a local folder; a segment that is closed is made one Parquet file
and then removed. A kill leaves segments, which the next `open` makes files of: each once, for a file says in its metadata
which segment it was made of.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from pytest_marketreplay import clock
from pytest_marketreplay.errors import SinkError, UsageMistake
from pytest_marketreplay.metrics import Meter, NoMetrics
from pytest_marketreplay.sinks import arrow, lines, stores
from pytest_marketreplay.sinks.ahead import ahead
from pytest_marketreplay.sinks.items import Item
from pytest_marketreplay.sinks.segment import Segment, Undo, make_folder

log = logging.getLogger("pytest_marketreplay.collect")
_NS = 1_000_000_000
_MOST_BYTES = 64 * 1024 * 1024
"""Of a segment: it is converted in memory."""
_TOGETHER = 16
"""Files of which the names are brought to the disk together, before their logs are removed."""
WAL = ".wal"
FOLDER = "orderbook_data"
"""Where the files are, in the folder or bucket; in the metrics it is the platform."""


class ParquetSink:
    """Stores each snapshot as one row a level; items without a snapshot are passed over.

    What `write` returned from is in the log. Files are made by `rotate` and `close`; where that fails, as when the bucket
    cannot be reached, they raise SinkError, the log stays, and the next call tries again.
    """

    name: ClassVar[str] = "parquet"

    def __init__(
        self,
        to: Path | str,
        *,
        wal: Path | str | None = None,
        rotate_entries: int = 100,
        rotate_s: float = 300.0,
        decimals: bool = False,
        meter: Meter | None = None,
    ) -> None:
        """Write to a folder or to `s3://bucket/prefix`; `wal` is the local folder of the log.

        A file has `rotate_entries` snapshots, or those of `rotate_s` seconds. Prices and quantities are strings, or with
        `decimals` decimal128(38, 18). Raises UsageMistake, MissingExtra.
        """
        if rotate_entries < 1 or rotate_s <= 0:
            raise UsageMistake(
                f"a file holds at least one snapshot and some time, not {rotate_entries} and {rotate_s} s"
            )
        self.to, self._meter = str(to), meter or NoMetrics()
        self._wal = Path(wal) if wal is not None else default_wal(self.to)
        self._most, self._limit_ns, self._decimals = rotate_entries, int(rotate_s * _NS), decimals
        arrow.pyarrow()
        self._store = stores.store_of(self.to)
        self._current: Segment | None = None
        self._full: list[Segment] = []
        self._left: list[Segment] = []
        self._undo = Undo()
        self._next: tuple[str, int] = ("", 0)

    def open(self) -> None:
        """Make ready, and convert what a killed process left; where the bucket cannot be reached, that waits.

        Raises SinkError where nothing can be stored: no such bucket, wrong keys, a folder that cannot be made.
        """
        try:
            make_folder(self._wal)
            self._left = _left_in(self._wal)
        except OSError as error:
            raise SinkError(f"cannot keep a log in {self._wal}: {error}") from error
        try:
            with stores.told_as(f"cannot store in {self.to}"):
                self._store.check()
        except SinkError as error:
            if not stores.may_pass(error):
                self._release()
                raise
            log.warning("%s; what is captured waits in %s", error, self._wal)
            return
        try:
            self._convert()
        except SinkError as error:  # what is captured from now on can be stored all the same
            log.warning("%s", error)

    def write(self, items: Sequence[Item]) -> None:
        """Append the items' snapshots to the log, in order. Raises SinkError."""
        new = [lines.line(item.snapshot) for item in items if item.snapshot is not None]
        before, full = self._current, len(self._full)
        try:
            self._undo.run()
            start = 0
            while start < len(new):
                segment = self._current = self._current or self._create()
                end = start + self._most - segment.entries
                self._undo.note(segment)
                part = new[start:end]
                segment.append(b"".join(part), len(part))
                start = end
                if segment.entries >= self._most or segment.size >= _MOST_BYTES:
                    self._end()
        except OSError as error:
            self._take_back(before, full)
            raise SinkError(f"cannot write to the log {self._wal}: {error}") from error
        self._undo.keep()

    def rotate(self, now_ns: int) -> None:
        """Close a segment that is old enough, and make files of those that are closed. Raises SinkError."""
        self._undo_first()
        if self._current is not None and not 0 <= now_ns - self._current.started_ns < self._limit_ns:
            self._end()
        self._convert()

    def close(self) -> None:
        """Make files of everything. Raises SinkError; what is in the log then is for the next `open`."""
        try:
            self._undo_first()
            if self._current is not None:
                self._end()
            self._convert()
        finally:
            self._release()

    def _create(self) -> Segment:
        now_ns = clock.now_ns()
        stamp = datetime.fromtimestamp(now_ns // _NS, UTC).strftime("%Y%m%d_%H%M%S")
        # in hexadecimal: the order of segments, also of those of one second
        segment = Segment(self._wal / f"{stamp}-{now_ns:016x}-{secrets.token_hex(6)}.jsonl", now_ns)
        fcntl.flock(segment.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # another process must not take it for left behind
        return segment

    def _end(self) -> None:
        assert self._current is not None
        self._full.append(self._current)
        self._current = None

    def _convert(self) -> None:
        """Make files of all segments that are closed, the oldest first; one that fails does not hinder the others.

        Threads make the next ones, and bring them to the disk, while this one gives them their names and removes the logs.
        """
        failed: SinkError | None = None
        kept: list[Segment] = []
        todo = [*self._left, *self._full]
        with contextlib.closing(ahead(self._make, todo, _bytes_in, _MOST_BYTES)) as made:
            for segment, packed in made:
                if is_new := segment in self._full:
                    self._full.remove(segment)
                    self._left.append(segment)
                try:
                    self._keep(segment, packed, is_new=is_new)
                    kept.append(segment)
                    if len(kept) >= _TOGETHER:
                        self._remove(kept)
                except SinkError as error:
                    failed = failed or error
                    if stores.may_pass(error):  # the others would only wait for the network too
                        break
        try:
            self._remove(kept)
        except SinkError as error:
            failed = failed or error
        if failed is not None:
            raise failed

    def _make(self, segment: Segment) -> arrow.Packed | None:
        """Make the file of a segment and stage it, in any thread; None where there is no whole line in it."""
        data = segment.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            log.warning("%s ends with a line that a kill tore; it was not acknowledged", segment.path)
        if not whole:
            return None
        packed = arrow.pack(arrow.table(whole, segment.path.stem, decimals=self._decimals))
        self._store.stage(stores.part_of(packed, _name_of(segment)), packed.data)
        return packed

    def _keep(self, segment: Segment, made: Callable[[], arrow.Packed | None], *, is_new: bool) -> None:
        with stores.told_as(f"cannot store {segment.path} in {self.to}"):
            packed = made()
            if packed is not None:
                name = _name_of(segment)
                # what was tried before may be stored already, under any of the names of its second
                first = self._next[1] if self._next[0] == name and is_new else 0
                number = stores.keep(packed, self._store, name, first)
                self._next = (name, number + 1)
                self._meter.closed_file(FOLDER, len(packed.data))
                self._meter.read(FOLDER, "orderbook_snapshots", self.name, packed.rows, "ok")

    def _remove(self, kept: list[Segment]) -> None:
        """Remove the logs of which there are files, and not before these are on the disk. Empties the list."""
        segments = kept.copy()
        kept.clear()  # where it fails, the next call finds the files and removes their logs
        with stores.told_as(f"cannot store in {self.to}"):
            self._store.settle()
            for segment in segments:
                segment.path.unlink()
                segment.close()
                self._left.remove(segment)

    def _take_back(self, current: Segment | None, full: int) -> None:
        new = [*self._full[full:], *([self._current] if self._current is not None else [])]
        del self._full[full:]
        self._current = current
        try:
            self._undo.run()
            for segment in new:
                if segment is not current:
                    segment.path.unlink()
                    segment.close()
        except OSError as error:  # before anything else is written, it is tried again
            log.warning("%s: what was written of a batch cannot be taken back yet: %s", self._wal, error)
            self._full += [segment for segment in new if segment is not current]

    def _undo_first(self) -> None:
        try:
            self._undo.run()
        except OSError as error:
            raise SinkError(f"cannot take back what was written of a batch to {self._wal}: {error}") from error

    def _release(self) -> None:
        for segment in (*self._left, *self._full, *([self._current] if self._current is not None else [])):
            segment.close()
        self._left, self._full, self._current = [], [], None


class S3Sink(ParquetSink):
    """The same in a bucket that speaks S3, `s3://bucket/prefix`."""

    name: ClassVar[str] = "s3"


def default_wal(to: str) -> Path:
    """Return the folder of the log: `.wal` in a folder, and for a bucket one below the user's state folder."""
    if not to.startswith("s3://"):
        return Path(to) / WAL
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "marketreplay" / "wal" / quote(to.removeprefix("s3://").strip("/"), safe="")


def _name_of(segment: Segment) -> str:
    """Return the name of its file, without the end; by the second at which the segment was begun."""
    stamp = segment.path.stem[:15]
    return f"{FOLDER}/{stamp[:4]}/{stamp[4:6]}/{stamp[6:8]}/orderbook_snapshots_{stamp}"


def _bytes_in(segment: Segment) -> int:
    return os.fstat(segment.fd).st_size


def _left_in(wal: Path) -> list[Segment]:
    """Return the segments that no process writes any more, the oldest first, each locked. Raises OSError."""
    out = []
    for path in sorted(wal.glob("*.jsonl")):
        segment = Segment.of(path)
        try:
            fcntl.flock(segment.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            segment.close()
            continue
        if path.exists():  # else another process has just made a file of it
            out.append(segment)
        else:
            segment.close()
    return out
