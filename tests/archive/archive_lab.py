"""Trees to archive, and archives that no honest hand made."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from pytest_marketreplay.archive import layout
from pytest_marketreplay.archive.checking import Checked, check
from pytest_marketreplay.archive.layout import Ends, Entry
from pytest_marketreplay.archive.manifest import MEMBER, Folder, Manifest, Member
from pytest_marketreplay.archive.naming import SnapshotName
from pytest_marketreplay.archive.packing import Packed, pack


def plant(root: Path, files: dict[str, bytes]) -> Path:
    """Make a tree; a path that ends in `/` is an empty folder."""
    root.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        target = root / path
        if path.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    return root


def harvest(root: Path) -> dict[str, bytes]:
    """Return what `plant` would make the tree of; folders that are not empty are not told."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = os.fsencode(path.readlink())
        elif path.is_file():
            found[name] = path.read_bytes()
        elif not any(path.iterdir()):
            found[f"{name}/"] = b""
    return found


def name_of(packed: Packed, label: str = "lab") -> str:
    """Return the name that a snapshot gets."""
    return SnapshotName(1_790_000_000, label, packed.manifest.digest()[:32], packed.archive_sha256).file


def packed_tree(folder: Path, files: dict[str, bytes]) -> tuple[Path, Packed]:
    """Plant and pack a tree."""
    packed = pack(plant(folder / "tree", files), folder / "archive.zip")
    return folder / "archive.zip", packed


def reading(path: Path, name: str = "archive.zip") -> Checked:
    """Check a file."""
    with open(path, "rb") as file:
        return check(file, name)


class Part(NamedTuple):
    """A member of a forged archive; what is None is as it would be."""

    path: str
    data: bytes = b"data"
    size: int | None = None
    """In the directory and its local header."""
    told: int | None = None
    """In the manifest."""
    mode: int = 0o640
    stored: bool = False
    crc: int | None = None
    sha256: str | None = None


Change = Callable[[bytes], bytes]


def same(data: bytes) -> bytes:
    """Change nothing."""
    return data


def parents(parts: Sequence[Part]) -> tuple[Folder, ...]:
    """Return the folders of the members."""
    found = set()
    for part in parts:
        path = part.path.rpartition("/")[0]
        while path:
            found.add(path)
            path = path.rpartition("/")[0]
    return tuple(Folder(path, 0o750) for path in sorted(found))


def forge(
    *parts: Part,
    folders: tuple[Folder, ...] | None = None,
    manifest: Change = same,
    local: Change = same,
    entry: Change = same,
    end: Change = same,
    before: bytes = b"",
    between: bytes = b"",
    offsets: Callable[[int], int] = lambda offset: offset,
) -> bytes:
    """Make an archive, consistent in all but what is asked for: `local`, `entry` and `end` change the headers."""
    out = bytearray(before)
    directory = b""
    members = []
    for part in parts:
        size = len(part.data) if part.size is None else part.size
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = part.data if part.stored else packer.compress(part.data) + packer.flush()
        crc = zlib.crc32(part.data) if part.crc is None else part.crc
        found = Entry(len(out), len(packed), crc, part.stored)
        path = part.path.encode("utf-8", "surrogateescape")
        out += local(layout.local_header(path, size, found)) + packed + between
        directory += entry(layout.directory_entry(path, size, part.mode, found._replace(offset=offsets(found.offset))))
        told = size if part.told is None else part.told
        members.append(Member(part.path, told, part.sha256 or hashlib.sha256(part.data).hexdigest(), part.mode))
    raw = manifest(Manifest(tuple(members), parents(parts) if folders is None else folders).encode())
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packer.compress(raw) + packer.flush()
    last = Entry(len(out), len(data), zlib.crc32(raw), False)
    out += layout.local_header(MEMBER.encode(), len(raw), last) + data
    directory += layout.directory_entry(MEMBER.encode(), len(raw), layout.MANIFEST_MODE, last)
    ends = Ends(len(parts) + 1, len(out), len(directory))
    return bytes(out) + directory + end(layout.end_records(ends))


def put(offset: int, shape: str, value: int) -> Change:
    """Return a change that puts a number into a header."""

    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        struct.pack_into(f"<{shape}", changed, offset, value)
        return bytes(changed)

    return change


def instead(old: bytes, new: bytes) -> Change:
    """Return a change that replaces something that is there once."""

    def change(data: bytes) -> bytes:
        assert data.count(old) == 1
        return data.replace(old, new)

    return change


def checked_bytes(data: bytes, name: str = "forged.zip") -> Checked:
    """Check what is in memory."""
    return check(io.BytesIO(data), name)
