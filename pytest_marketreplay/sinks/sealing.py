"""Sealing: a closed segment is compressed beside itself, read back, renamed into place, and only then removed.

A kill at any moment leaves the plain file, or both (every reader takes the plain one then), never a half of either.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import shutil
from pathlib import Path
from typing import IO, Any, NamedTuple

from pytest_marketreplay.cassette import files
from pytest_marketreplay.cassette.writer import FILE_MODE
from pytest_marketreplay.errors import CassetteError, MissingExtra, SinkError
from pytest_marketreplay.sinks.segment import sync

log = logging.getLogger("pytest_marketreplay.collect")
SEALS = ("zst", "gz")
LEVELS = {"zst": 6, "gz": 6}
PART = ".sealing"
"""In the name of a file that is being made; what a kill leaves of it is removed at the next start."""


class Sealed(NamedTuple):
    """A segment that was sealed."""

    path: Path
    entries: int
    """How many lines were read back."""


def seal(path: Path, kind: str) -> Sealed:
    """Compress a closed segment, read it back and remove it.

    Raises SinkError; the plain file stays then.
    """
    sealed = path.with_name(f"{path.name}.{kind}")
    part = path.with_name(f".{path.name}{PART}.{kind}")  # the reader knows by the end how it is packed
    try:
        if sealed.exists():
            raise SinkError(f"{path} is not sealed: {sealed.name} is there already")
        with path.open("rb") as source, _packer(part, kind) as packed:
            shutil.copyfileobj(source, packed, files.CHUNK)
        os.chmod(part, FILE_MODE)
        sync(part)
        found = _digest(files.open_binary(part))
        if found != _digest(path.open("rb")):
            raise SinkError(f"{path}: the sealed copy does not read back as it was written; the plain file stays")
        os.rename(part, sealed)
        sync(path.parent)
        path.unlink()
    except (OSError, CassetteError) as error:
        part.unlink(missing_ok=True)
        raise SinkError(f"cannot seal {path}: {error}") from error
    except SinkError:
        part.unlink(missing_ok=True)
        raise
    return Sealed(sealed, found[1])


def leftovers(root: Path) -> int:
    """Finish what a killed process left: parts go, and of a plain file and its sealed twin one goes.

    That is the sealed one where it cannot be read, else the plain one. Where both are whole and differ, which no sealing
    leaves behind, both stay. Returns how many files were removed. Raises SinkError.
    """
    gone = 0
    try:
        for part in sorted(root.glob(f"*/*/*/.*{PART}.*")):
            part.unlink()
            gone += 1
        for kind in SEALS:
            for sealed in sorted(root.glob(f"*/*/*/*.jsonl.{kind}")):
                plain = sealed.with_name(sealed.name.removesuffix(f".{kind}"))
                if plain.exists() and (useless := _useless(plain, sealed)) is not None:
                    useless.unlink()
                    gone += 1
    except OSError as error:
        raise SinkError(f"cannot clear what an earlier capture left in {root}: {error}") from error
    return gone


def plain_files(root: Path) -> list[Path]:
    """Return the segments of a tree that are not sealed."""
    return [path for path in files.all_files(root) if path.suffix == ".jsonl"]


def _useless(plain: Path, sealed: Path) -> Path | None:
    try:
        same = _digest(files.open_binary(sealed)) == _digest(plain.open("rb"))
    except CassetteError as error:
        log.warning("%s cannot be read and is removed; %s is whole: %s", sealed, plain.name, error)
        return sealed
    if not same:
        log.warning("%s and %s differ; both stay, and readers take the plain one", plain, sealed.name)
    return plain if same else None


def _digest(stream: IO[bytes]) -> tuple[bytes, int]:
    """Return the digest of what a stream holds, and the number of its lines."""
    digest, lines = hashlib.sha256(), 0
    with stream:
        stream.seek(0)  # what was unpacked stands at its end
        while chunk := stream.read(files.CHUNK):
            digest.update(chunk)
            lines += chunk.count(b"\n")
    return digest.digest(), lines


def _packer(path: Path, kind: str) -> Any:
    if kind == "gz":
        return gzip.GzipFile(path, "wb", LEVELS[kind], mtime=0)  # without the time: equal input, equal bytes
    return _zstd_packer(path)


def _zstd_packer(path: Path) -> Any:
    try:
        from compression import zstd  # Python 3.14

        return zstd.ZstdFile(path, "w", level=LEVELS["zst"])  # pragma: no cover - Python 3.14
    except ImportError:
        pass
    try:
        import zstandard
    except ImportError:  # pragma: no cover - it comes with the package, before Python 3.14
        raise MissingExtra("writing .jsonl.zst", "zstandard") from None
    return zstandard.open(path, "wb", cctx=zstandard.ZstdCompressor(level=LEVELS["zst"], write_checksum=True))
