"""The files of a cassette: which there are, in which order, and how their lines are read, plain or sealed."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from pytest_marketreplay.cassette import names
from pytest_marketreplay.errors import DamagedCassette, MissingExtra

CHUNK = 1 << 20
SEALED = (".zst", ".gz")
_DATED = re.compile(r"\d{4}-")


class Place(NamedTuple):
    """One folder of files: what is recorded for a venue, an endpoint and a symbol."""

    venue: str
    """Folder names, as `names` makes them."""
    endpoint: str
    symbol: str

    def within(self, root: Path) -> Path:
        """Return the folder in a cassette."""
        return root.joinpath(self.venue, self.endpoint, self.symbol)


def _folders(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def names_in(folder: str) -> list[str]:
    """Return the names of the cassette files of one folder in recorded order; where a plain and a sealed one have the
    same stem, the sealing was interrupted and the plain one counts."""
    try:
        listed = os.listdir(folder)  # a third faster than scandir, and this is done for every place of every test
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = [(order, name) for name in listed if (order := names.file_order(name))]
    if len(found) > 1 or (found and not _DATED.match(found[0][1])):
        found = [item for item in found if os.path.isfile(os.path.join(folder, item[1]))]
    if len(found) < 2:
        return [name for _, name in found]
    plain = {name for _, name in found if name.endswith(".jsonl")}
    return [name for _, name in sorted(found) if name in plain or name.removesuffix(Path(name).suffix) not in plain]


def files_in(folder: Path) -> list[Path]:
    """Return the cassette files of one folder in recorded order, as `names_in` does."""
    return [folder / name for name in names_in(str(folder))]


def places(root: Path) -> Iterator[Place]:
    """Walk the places of a cassette that have files, sorted."""
    for venue in _folders(root):
        for endpoint in _folders(root / venue):
            for symbol in _folders(root / venue / endpoint):
                place = Place(venue, endpoint, symbol)
                if files_in(place.within(root)):
                    yield place


def all_files(root: Path) -> list[Path]:
    """Return every file of a cassette, by place and then in recorded order; a single file is its own list."""
    if root.is_file():
        return [root]
    return [file for place in places(root) for file in files_in(place.within(root))]


def exists(root: Path) -> bool:
    """Tell whether a cassette has any recorded file."""
    return next(places(root), None) is not None


class _ZstdFrames:
    """All frames of a file, one after the other (a collector appends frames to a sealed file).

    The library's own `stream_reader` ends in silence where a frame is cut off; this raises EOFError.
    """

    _PART = 1 << 16  # packed bytes at a time: JSON unpacks to ten or twenty times as much

    def __init__(self, path: Path, decompressor: Any) -> None:
        self._file = path.open("rb")
        self._decompressor = decompressor
        self._frame: Any = None
        self._rest = b""

    def __enter__(self) -> _ZstdFrames:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def read(self, _size: int = -1) -> bytes:
        """Return the next unpacked bytes, of any number; empty at the end."""
        out = b""
        while not out:
            packed = self._rest or self._file.read(self._PART)
            if not packed:
                if self._frame is not None:
                    raise EOFError("the file ended before the end of its last zstd frame")
                return b""
            if self._frame is None:
                self._frame = self._decompressor.decompressobj()
            out = self._frame.decompress(packed)
            self._rest = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = None
        return out


def _zstd() -> Any:
    try:
        from compression import zstd  # Python 3.14

        return zstd.ZstdFile
    except ImportError:
        pass
    try:
        import zstandard
    except ImportError:
        raise MissingExtra("reading .jsonl.zst", "zstandard") from None
    return lambda path: _ZstdFrames(Path(path), zstandard.ZstdDecompressor())


def open_binary(path: Path | str) -> IO[bytes]:
    """Open a cassette file for reading, plain bytes whatever its sealing.

    A sealed file is unpacked into an unnamed temporary file, so that an entry can be read at its offset and a large
    capture does not have to fit into memory. Raises DamagedCassette where it cannot be unpacked.
    """
    if not str(path).endswith(SEALED):
        return open(path, "rb", buffering=0)
    path = Path(path)
    packed: Any
    if path.suffix == ".gz":
        import gzip

        packed = gzip.open(path, "rb")  # noqa: SIM115 - closed below, with what it is unpacked into
    else:
        packed = _zstd()(path)
    out = tempfile.TemporaryFile(buffering=CHUNK)  # noqa: SIM115 - the caller closes it
    try:
        with packed:
            while chunk := packed.read(CHUNK):
                out.write(chunk)
        out.flush()
    except Exception as error:  # EOFError, OSError, ZstdError, zlib.error: each library has its own
        done = out.tell()
        out.close()
        raise DamagedCassette(path, 0, done, f"cannot be unpacked: {error}") from error
    return out


class Line(NamedTuple):
    """One line of a file, without its line feed."""

    data: bytes
    number: int
    """From 1."""
    offset: int
    """In bytes from the start of the (unpacked) file."""
    ended: bool
    """False for the last line of a file that does not end with a line feed: a torn write, or a hand-made file."""


def lines(stream: IO[bytes]) -> Iterator[Line]:
    """Read lines by `\\n` alone (`splitlines` would break on U+2028 inside a payload), in chunks of 1 MiB."""
    rest = b""
    offset = number = 0
    fd = stream.fileno()
    position, size = 0, os.fstat(fd).st_size
    # asking for what is there, and not for a whole MiB, halves the time of a small file
    while position < size and (chunk := os.pread(fd, min(CHUNK, size - position), position)):
        position += len(chunk)
        if b"\n" not in chunk:
            rest += chunk  # one long line: joined once per MiB
            continue
        parts = (rest + chunk).split(b"\n")
        rest = parts.pop()
        for data in parts:
            number += 1
            yield Line(data, number, offset, True)
            offset += len(data) + 1
    if rest:
        yield Line(rest, number + 1, offset, False)
