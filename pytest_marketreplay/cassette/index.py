"""The index of one place: which lines answer which request, in recorded order, in O(1) a request.

Only offsets are held; a payload is read from its file when it is played, so memory does not grow with the payloads.
"""

from __future__ import annotations

import gc
import os
from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import IO

import msgspec

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import files, payload, reader
from pytest_marketreplay.cassette.entry import Entry, Head, Meta
from pytest_marketreplay.errors import DamagedCassette

KeyOf = Callable[[Head], Hashable]

_MOST_OPEN = 8
_LAST = (b'"response":', b'"response": ')


class _Envelope(msgspec.Struct, frozen=True):
    meta: Meta = Meta()


_ENVELOPE = msgspec.json.Decoder(_Envelope)


class Index:
    """The entries of some files, by key. Slots are numbered in file and line order."""

    def __init__(self, key_of: KeyOf) -> None:
        self._key_of = key_of
        self._open: OrderedDict[int, IO[bytes]] = OrderedDict()
        self._last = self._fd = -1  # the file that was read last, which is mostly the next one too
        self._paths: list[Path | str] = []
        self._file = array("L")
        self._offset = array("q")
        self._length = array("q")
        self._body = array("q")  # where the response starts in its line; -1: it is not the line's last key
        self._line = array("q")
        self._time = array("q")
        self.played = bytearray()
        """For each slot, whether it was played."""
        self.slots: dict[Hashable, list[int]] = {}
        """Key -> slots in the order they were recorded."""

    def __len__(self) -> int:
        return len(self._offset)

    def load(self, paths: Sequence[Path | str]) -> None:
        """Read files into the index; every line is checked. Raises DamagedCassette."""
        # what is made here stays, so collecting garbage meanwhile only costs: a sixth of the time
        collects = gc.isenabled()
        gc.disable()
        try:
            self._load(paths)
        finally:
            if collects:
                gc.enable()

    def _load(self, paths: Sequence[Path | str]) -> None:
        several: set[Hashable] = set()
        for path in paths:
            number = len(self._paths)
            self._paths.append(path)
            stream = self._stream(number)
            latest = 0
            slots, key_of = self.slots, self._key_of
            add_file, add_offset, add_length = self._file.append, self._offset.append, self._length.append
            add_body, add_line, add_time = self._body.append, self._line.append, self._time.append
            for line, head in reader.heads(path, stream):
                if head.meta.dir is not None:
                    continue
                data = line.data
                raw = bytes(head.response)
                body = len(data) - 1 - len(raw)
                # the last value may be another key's that merely ends in the same bytes
                if not (data.endswith(raw + b"}") and data.endswith(_LAST, 0, body)):
                    body = -1
                if head.timestamp > latest:
                    latest = head.timestamp
                slot = len(self._offset)
                add_file(number)
                add_offset(line.offset)
                add_length(len(data))
                add_body(body)
                add_line(line.number)
                add_time(latest)
                key = key_of(head)
                known = slots.get(key)
                if known is None:
                    slots[key] = [slot]
                else:
                    if self._file[known[-1]] != number:
                        several.add(key)
                    known.append(slot)
        self.played.extend(bytes(len(self._offset) - len(self.played)))
        # files of several workers overlap in time: by time across files, by line within one
        for key in several:
            self.slots[key].sort(key=lambda slot: (self._time[slot], slot))

    def entry(self, slot: int) -> Entry:
        """Read one entry whole."""
        return entries.read_trusted(self._read(slot))

    def where(self, slot: int) -> tuple[Path, int]:
        """Return the file and line of a slot."""
        return Path(self._paths[self._file[slot]]), self._line[slot]

    def time_ms(self, slot: int) -> int:
        """Return when an entry was asked for, Unix epoch in milliseconds; never before an earlier line of its file."""
        return self._time[slot]

    def answer(self, slot: int) -> tuple[Meta, bytes]:
        """Read the metadata and the payload of one entry, exactly as sent.

        Raises DamagedCassette where the metadata is not of the format, or the file changed since it was indexed.
        """
        line = self._read(slot)
        body = self._body[slot]
        try:
            if len(line) != self._length[slot]:  # cut off since: what is left would play as a shorter body
                raise ValueError("the file was cut off while it was played")
            if body < 0:
                whole = entries.read_trusted(line)
                return whole.meta, whole.body()
            meta = _ENVELOPE.decode(line[:body] + b"0}").meta
            if meta.encoding == "json" and meta.space is None:
                return meta, line[body:-1]
            return meta, payload.decode(line[body:-1], meta.encoding, meta.space)
        except ValueError as error:  # msgspec's errors are ValueErrors too
            path, number = self.where(slot)
            raise DamagedCassette(path, number, self._offset[slot], str(error)) from error

    def _read(self, slot: int) -> bytes:
        number = self._file[slot]
        if number != self._last:
            self._fd = self._stream(number).fileno()
            self._last = number
        return os.pread(self._fd, self._length[slot], self._offset[slot])

    def _stream(self, number: int) -> IO[bytes]:
        stream = self._open.get(number)
        if stream is None:
            if len(self._open) >= _MOST_OPEN:  # a month of hourly files is more than a process may hold open
                self._open.popitem(last=False)[1].close()
                self._last = -1
            stream = self._open[number] = files.open_binary(self._paths[number])
        return stream

    def close(self) -> None:
        """Close the files; what is read later opens them again."""
        self._last = -1
        while self._open:
            self._open.popitem()[1].close()
