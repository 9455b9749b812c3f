"""A restore into a tree that stands there: what of it stays, what would be in the way, and how both become one tree."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from pytest_marketreplay.archive.manifest import Member
from pytest_marketreplay.archive.placing import sync
from pytest_marketreplay.archive.restored import OWN_NAMES
from pytest_marketreplay.errors import RestoreRefused

_CHUNK = 1 << 20
_SHOWN = 3


class Merge(NamedTuple):
    """What a merge does with the files of a snapshot."""

    missing: tuple[str, ...]
    equal: tuple[str, ...]
    different: tuple[str, ...]


def compare(target: Path, members: Iterable[Member]) -> Merge:
    """Compare what stands in a tree with what is to be restored, to the byte.

    Raises RestoreRefused where a folder, link or special file stands where a file would, or a file or link where a folder
    would; and OSError.
    """
    missing, equal, different, in_the_way = [], [], [], []
    folders: dict[str, str] = {"": "folder"}
    for member in members:
        kind = _kind_of_folder(target, member.path.rpartition("/")[0], folders)
        if kind == "folder":
            kind = _kind(target / member.path)
        elif kind == "other":
            in_the_way.append(member.path)
            continue
        if kind == "missing":
            missing.append(member.path)
        elif kind != "file":
            in_the_way.append(member.path)
        elif _is_equal(target / member.path, member):
            equal.append(member.path)
        else:
            different.append(member.path)
    if in_the_way:
        raise RestoreRefused(
            target,
            f"what stands there is no plain file or folder at {_some(in_the_way)}",
            "Move it away, or restore to another folder",
        )
    return Merge(tuple(missing), tuple(equal), tuple(different))


def refuse_different(target: Path, merge: Merge) -> None:
    """Raise RestoreRefused where a file of a tree has other bytes than that of the snapshot."""
    if merge.different:
        raise RestoreRefused(
            target,
            f"{len(merge.different)} of its files are there with other bytes: {_some(merge.different)}",
            "Add --overwrite to --merge to have those of the snapshot, or restore to another folder",
        )


def link_in(target: Path, tree: Path, but: Collection[str], *, under: str = "") -> None:
    """Give a new tree everything of the one that stands there, but some files: by hard links, so that no byte is copied.

    Links and special files come along as they are. Folders keep the permissions that they have. Raises OSError.
    """
    with os.scandir(target / under) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path = f"{under}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            (tree / path).mkdir(exist_ok=True)
            link_in(target, tree, but, under=f"{path}/")
        elif path not in but and path not in OWN_NAMES:
            os.link(target / path, tree / path, follow_symlinks=False)
    os.chmod(tree / under, stat.S_IMODE(os.stat(target / under).st_mode))
    sync(tree / under)


def _kind_of_folder(target: Path, folder: str, known: dict[str, str]) -> str:
    """Tell whether a folder is a `folder`, `missing`, or `other`: a file or link is there, or where one above it would be."""
    if folder not in known:
        above = _kind_of_folder(target, folder.rpartition("/")[0], known)
        kind = _kind(target / folder) if above == "folder" else above
        known[folder] = "other" if kind == "file" else kind
    return known[folder]


def _kind(path: Path) -> str:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return "missing"
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def _is_equal(path: Path, member: Member) -> bool:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size != member.size:
            return False
        while data := file.read(_CHUNK):
            digest.update(data)
    return digest.hexdigest() == member.sha256


def _some(paths: Collection[str]) -> str:
    shown = sorted(paths)[:_SHOWN]
    more = len(paths) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
