"""An archive on a remote, read in parts: as a file that can be sought in, of which only what is asked for is fetched."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from pytest_marketreplay.archive.remote import Remote

TAIL = 64 << 10
"""Fetched first: in most archives the directory and the manifest are in it."""
STEP = 8 << 20
"""The most that is fetched at once, and kept."""
_APART = 16 << 10
"""Two ranges nearer than this are fetched as one: a call of rclone costs as much as 10 MiB on loopback."""


class RangesRefused(Exception):
    """The remote gave something else than the part that was asked for."""


class RangedFile(io.RawIOBase):
    """Reads a remote's file in parts, and knows how many bytes that took.

    Raises RangesRefused where the remote gives more or less than it was asked for, and RemoteError.
    """

    def __init__(self, remote: Remote, file: str, size_bytes: int) -> None:
        self._remote, self._file, self._size = remote, file, size_bytes
        self._position = 0
        self._ranges: list[tuple[int, int]] = []
        self._block = (0, b"")
        self.fetched_bytes = 0
        start = max(0, size_bytes - TAIL)
        self._tail = (start, self._fetch(start, size_bytes - start))

    def expect(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Say what will be read: pairs of start and end. The rest is fetched only where it is asked for after all."""
        joined: list[tuple[int, int]] = []
        for start, end in sorted(ranges):
            if joined and start - joined[-1][1] < _APART:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((start, end))
        self._ranges = joined

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the offset of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset, as any file does."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, whole but at the end of the file."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and self._position < self._size:
            piece = self._some(len(view) - done)
            view[done : done + len(piece)] = piece
            done += len(piece)
            self._position += len(piece)
        return done

    def _some(self, count: int) -> memoryview:
        """Return one byte or more of those at the position, at most `count`."""
        for start, data in (self._tail, self._block):
            if start <= self._position < start + len(data):
                offset = self._position - start
                return memoryview(data)[offset : offset + count]
        end = next((end for start, end in self._ranges if start <= self._position < end), self._position + count)
        length = min(max(end - self._position, min(count, STEP)), STEP, self._size - self._position)
        self._block = (self._position, self._fetch(self._position, length))
        return memoryview(self._block[1])[:count]

    def _fetch(self, offset: int, count: int) -> bytes:
        if not count:
            return b""
        data = self._remote.read(self._file, offset, count)
        self.fetched_bytes += len(data)
        if len(data) != count:
            raise RangesRefused(
                f"{self._remote.name}: {count} bytes of {self._file} were asked for, and {len(data)} came"
            )
        return data
