"""Packing a tree, which may be written meanwhile, into one deterministic archive (docs/reference/archive.md)."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

from pytest_marketreplay.archive.checking import digest
from pytest_marketreplay.archive.deflating import WINDOW, deflate, packs
from pytest_marketreplay.archive.manifest import Manifest, Member
from pytest_marketreplay.archive.remote import Progress
from pytest_marketreplay.archive.scanning import Scan, Source, Vanished, opened, scan, walk
from pytest_marketreplay.archive.telling import Told
from pytest_marketreplay.archive.walking import Walker
from pytest_marketreplay.archive.writing import Writer, created
from pytest_marketreplay.errors import ArchiveError, UsageMistake

LEVEL = 4
"""Of deflate. For 1 GB of order books: level 1 takes 5 s of a core and makes 161 MB, 4 takes 8 s (134), 6 takes 15 s (127)."""
SCANS = 20
"""How often a tree is scanned because a file of it vanished, before that is an error."""
_THREADS = min(4, os.cpu_count() or 1)
_AHEAD = 4 * _THREADS
"""Blocks that are read and not written yet."""

T = TypeVar("T")


class Packed(NamedTuple):
    """A new archive."""

    manifest: Manifest
    size_bytes: int
    archive_sha256: str
    skipped: tuple[str, ...]
    """Symlinks and special files, which are not in it: `path (a symlink)`."""


def pack(tree: Path, target: Path, *, level: int = LEVEL, progress: Progress | None = None) -> Packed:
    """Pack every file and folder of a tree but those whose name begins with '.', and bring the archive to the disk.

    `target` is a path where nothing is yet; it gets mode 600, and is gone again after any error. A file is packed as it
    was when it was opened; after one that vanished, the tree is scanned anew. Equal trees give equal bytes, for one
    version of zlib. Raises UsageMistake for a tree or target that cannot be one, and ArchiveError, which names the path.
    """
    with walk(tree) as walker:
        if target.parent.resolve().is_relative_to(tree.resolve()):
            raise UsageMistake(f"the archive {target} would be in the tree {tree} that it is of; put it elsewhere")
        with created(target) as writer:
            found, manifest = _steady(tree, walker, lambda found: _pack(tree, walker, found, writer, level, progress))
        return Packed(manifest, target.stat().st_size, digest(target), tuple(found.skipped))


def survey(tree: Path, progress: Progress | None = None) -> Manifest:
    """Return the manifest that an archive of a tree would have, without packing it. Raises as `pack` does."""

    def look(found: Scan) -> Manifest:
        told = Told(progress, found.size_bytes)
        members = []
        for path in found.files:
            with opened(walker, tree, path) as source:
                sha256 = hashlib.sha256()
                for block in source.blocks():
                    sha256.update(block)
                    told.add(len(block))
                members.append(Member(path, source.size, sha256.hexdigest(), source.mode))
        return Manifest(tuple(members), tuple(found.folders))

    with walk(tree) as walker:
        return _steady(tree, walker, look)[1]


def _steady(tree: Path, walker: Walker, use: Callable[[Scan], T]) -> tuple[Scan, T]:
    gone = ""
    for _ in range(SCANS):
        try:
            found = scan(walker, tree)
            return found, use(found)
        except Vanished as error:
            gone = str(error)
    raise ArchiveError(
        f"{tree}: in each of {SCANS} scans a file vanished before it could be read, the last time {gone!r}. "
        "Try again when fewer files are rotated or removed"
    )


def _pack(tree: Path, walker: Walker, found: Scan, writer: Writer, level: int, progress: Progress | None) -> Manifest:
    writer.restart()
    told = Told(progress, found.size_bytes)
    members = []
    with ThreadPoolExecutor(_THREADS, "marketreplay-pack") as pool:
        line = _Line(writer, pool, level)
        for path in found.files:
            with opened(walker, tree, path) as source:
                members.append(Member(path, source.size, line.put(path, source, told), source.mode))
        line.drain(0)
    manifest = Manifest(tuple(members), tuple(found.folders))
    writer.finish(manifest)
    return manifest


class _Block(NamedTuple):
    path: str
    size: int
    """Of the whole file."""
    first: bool
    last: bool
    crc: int
    """Of the file up to here."""
    raw: bytes
    packed: Future[bytes] | None
    """None in a file that is stored."""


class _Line:
    """Blocks in the order of the archive, of which some are being packed."""

    def __init__(self, writer: Writer, pool: ThreadPoolExecutor, level: int) -> None:
        self._writer, self._pool, self._level = writer, pool, level
        self._blocks: deque[_Block] = deque()

    def put(self, path: str, source: Source, told: Told) -> str:
        """Put a file in line, and return its SHA-256."""
        sha256, crc, done, before, stored = hashlib.sha256(), 0, 0, b"", False
        for block in source.blocks():
            sha256.update(block)
            crc = zlib.crc32(block, crc)
            first, last = not done, done + len(block) == source.size
            if first and not last:
                stored = not packs(block, self._level)
            packed = None if stored else self._pool.submit(deflate, block, before, self._level, last)
            self._blocks.append(_Block(path, source.size, first, last, crc, block, packed))
            self.drain(_AHEAD)
            before = block[-WINDOW:]
            done += len(block)
            told.add(len(block))
        if not source.size:
            self._blocks.append(_Block(path, 0, True, True, 0, b"", None))
        return sha256.hexdigest()

    def drain(self, left: int) -> None:
        """Write what is packed, until no more than `left` blocks are in line."""
        while len(self._blocks) > left:
            block = self._blocks.popleft()
            packed = block.raw if block.packed is None else block.packed.result()
            stored = block.packed is None
            if block.first and block.last:
                if not stored and len(packed) >= len(block.raw):
                    packed, stored = block.raw, True
                self._writer.member(block.path, block.size, block.crc, stored, packed)
                continue
            if block.first:
                self._writer.begin(block.path, block.size)
            self._writer.add(packed)
            if block.last:
                self._writer.end(block.path, block.size, block.crc, stored)
