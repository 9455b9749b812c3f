"""Reading whole files: every entry in order, damage found and named, and repair that keeps the old file."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import files
from pytest_marketreplay.cassette.entry import Entry, Head, NotAnEntry
from pytest_marketreplay.cassette.files import Line
from pytest_marketreplay.cassette.frame import Frame, read_frame
from pytest_marketreplay.errors import CassetteError, DamagedCassette

_Read = TypeVar("_Read")


class TornTail(UserWarning):
    """A recording was cut off in its last line, which is passed over; its bytes stay in the file."""


class Damage(NamedTuple):
    """One bad line."""

    path: Path
    line: int
    byte: int
    """Offset in the file (unpacked, where it is sealed)."""
    reason: str
    torn: bool = False
    """An unterminated last line: what a kill in the middle of a write leaves. It does not stop a replay."""


def torn_tail(path: Path, line: Line) -> None:
    """Warn that an unterminated last line is passed over."""
    warnings.warn(
        TornTail(
            f"{path}, line {line.number}: the last line has no line feed and is no entry ({len(line.data)} bytes, cut off "
            f"while it was written); it is passed over. Move it aside: marketreplay cassette repair {path}"
        ),
        stacklevel=2,
    )


def heads(path: Path | str, stream: IO[bytes] | None = None) -> Iterator[tuple[Line, Head]]:
    """Read the heads of a file; raises DamagedCassette at the first line that is not an entry.

    An unterminated last line counts where it is a whole entry (a hand-made file), else it is warned of and passed over.
    """
    with nullcontext(stream) if stream is not None else files.open_binary(path) as source:
        for line in files.lines(source):
            try:
                yield line, entries.read_head(line.data)
            except NotAnEntry as error:
                if not line.ended:
                    torn_tail(Path(path), line)
                    continue
                raise DamagedCassette(Path(path), line.number, line.offset + error.byte, error.reason) from None


def read_line(line: bytes) -> Entry | Frame:
    """Read a line (without its line feed), whatever it is. Raises NotAnEntry where it is damaged."""
    head = entries.read_head(line)
    return entries.read_entry(line) if head.meta.dir is None else read_frame(line)


def read(path: Path) -> Iterator[Entry | Frame]:
    """Read every line of a file in order; raises DamagedCassette, warns of a torn tail."""
    with files.open_binary(path) as stream:
        for line, head in heads(path, stream):
            try:
                yield entries.read_entry(line.data) if head.meta.dir is None else read_frame(line.data)
            except NotAnEntry as error:
                raise DamagedCassette(path, line.number, line.offset + error.byte, error.reason) from None


def check(path: Path) -> Iterator[Entry | Frame | Damage]:
    """Read every line of a file, and yield each entry or frame, or what is wrong with the line."""
    return read_or_tell(path, read_line)


def read_or_tell(path: Path, read_one: Callable[[bytes], _Read]) -> Iterator[_Read | Damage]:
    """Read every line of a file, plain or sealed, with `read_one`; yield what it gives, or what is wrong with the line.

    `read_one` takes a line without its line feed, and raises NotAnEntry.
    """
    try:
        stream = files.open_binary(path)
    except DamagedCassette as error:
        yield Damage(path, 0, error.byte, error.reason)
        return
    with stream:
        for line in files.lines(stream):
            try:
                yield read_one(line.data)
            except NotAnEntry as error:
                torn = not line.ended
                reason = f"cut off while it was written: {error.reason}" if torn else error.reason
                yield Damage(path, line.number, line.offset + error.byte, reason, torn)


def repair(path: Path) -> tuple[int, int, Path | None]:
    """Write a good file in place of a damaged one and keep the old one beside it as `<name>.damaged`.

    Returns how many entries were kept, how many lines were left out, and where the old file is (None: nothing to do).
    Raises CassetteError where the file cannot be unpacked, or an older `.damaged` file is in the way.
    """
    kept = dropped = 0
    old = path.with_name(path.name + ".damaged")
    if path.suffix in files.SEALED:
        new_name = path.with_name(path.name.removesuffix(path.suffix))
    else:
        new_name = path
    temporary = new_name.with_name(f".{new_name.name}.repair")
    with files.open_binary(path) as stream, temporary.open("wb") as out:
        for line in files.lines(stream):
            try:
                read_line(line.data)
            except NotAnEntry:
                dropped += 1
                continue
            out.write(line.data + b"\n")
            kept += 1
        out.flush()
        os.fchmod(out.fileno(), stat.S_IMODE(path.stat().st_mode))  # what was kept from others stays so
        os.fsync(out.fileno())
    if not dropped:
        temporary.unlink()
        return kept, 0, None
    if old.exists():
        temporary.unlink()
        raise CassetteError(
            f"{old} is in the way: it is the damaged file of an earlier repair. Move it, then repair again"
        )
    if new_name != path and new_name.exists():
        temporary.unlink()
        raise CassetteError(
            f"{new_name} is in the way: it counts instead of {path.name}, which is never read beside it"
        )
    os.link(path, old)  # at every moment there is a file of the old name or the new one
    temporary.replace(new_name)
    if new_name != path:
        path.unlink()
    return kept, dropped, old
