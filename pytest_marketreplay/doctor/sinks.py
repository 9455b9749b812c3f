"""What sinks leave: Parquet files that can be read, and logs that were made Parquet files."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from pytest_marketreplay import clock
from pytest_marketreplay.doctor import modes
from pytest_marketreplay.doctor.health import Notebook
from pytest_marketreplay.doctor.holding import is_locked
from pytest_marketreplay.doctor.modes import Modes
from pytest_marketreplay.errors import MissingExtra
from pytest_marketreplay.sinks import arrow
from pytest_marketreplay.sinks.lines import Row

FRESH_S = 10
"""A log this young may be one that a sink has made and not locked yet; asking for its lock could be in the way."""
_NS = 10**9


class ParquetFiles:
    """Reads Parquet files, page checksums too, one row group at a time."""

    def __init__(self, notebook: Notebook) -> None:
        self._notebook = notebook
        self._unread = 0

    def check(self, path: Path) -> None:
        """Read a file whole, and note where that fails; without pyarrow it is only counted."""
        try:
            pa = arrow.pyarrow()
        except MissingExtra:
            self._unread += 1
            return
        try:
            with pa.parquet.ParquetFile(path, page_checksum_verification=True) as file:
                for group in range(file.num_row_groups):
                    file.read_row_group(group, use_threads=False)
        except FileNotFoundError:
            return
        except PermissionError as error:
            self._notebook.add("unreadable", path, str(error), f"give access to {path}")
        except (OSError, pa.ArrowException) as error:
            self._notebook.add("parquet-damaged", path, str(error), "take it from a backup: marketreplay restore")

    def conclude(self, root: Path) -> None:
        """Say how many files nobody looked into."""
        if self._unread:
            self._notebook.add(
                "not-checked",
                root,
                f"{self._unread} Parquet files were not opened: pyarrow is not installed",
                'pip install "pytest-marketreplay[parquet]"',
            )


def check_log(wal: Path, notebook: Notebook, permissions: Modes, root: Path) -> None:
    """Look at the log of a Parquet sink: every segment that nobody writes should have become a file."""
    permissions.check(wal, modes.FOLDER)
    try:
        segments = sorted(each for each in os.listdir(wal) if each.endswith(".jsonl"))
    except OSError as error:
        notebook.add("unreadable", wal, str(error), f"give access to {wal}")
        return
    left: list[str] = []
    for name in segments:
        path = wal / name
        if not permissions.check(path, modes.DATA):
            continue
        try:
            is_young = (clock.now_ns() - path.stat().st_mtime_ns) / _NS < FRESH_S
            if is_young or is_locked(path):
                continue
            _check_lines(path, notebook)
        except FileNotFoundError:  # a file was made of it just now
            continue
        except OSError as error:
            notebook.add("unreadable", path, str(error), f"give access to {path}")
            continue
        left.append(name)
    if left:
        notebook.add(
            "wal-left",
            wal,
            f"{len(left)} segments that nobody writes wait to be made Parquet files, the oldest is {left[0]}",
            f"the next capture into {root} makes them: marketreplay collect start --storage parquet --to {root} ...",
        )


def _check_lines(path: Path, notebook: Notebook) -> None:
    """Read every line; the last may be torn by a kill, and was not acknowledged then. Raises OSError."""
    decoder = msgspec.json.Decoder(Row)
    bad = first = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                bad += 1
                first = first or number
    if bad:
        notebook.add(
            "wal-damaged",
            path,
            f"{bad} lines are no snapshots, the first is line {first}; a sink cannot make a file of it",
            f"move those lines aside by hand, or the segment out of {path.parent}",
        )
