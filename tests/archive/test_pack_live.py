"""A tree is packed while somebody writes, rotates, seals and removes: what happens when is chosen by the progress told."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from archive_lab import harvest, plant, reading

from pytest_marketreplay.archive import packing, scanning
from pytest_marketreplay.archive.extracting import extract, verify
from pytest_marketreplay.archive.manifest import Manifest
from pytest_marketreplay.archive.packing import pack, survey
from pytest_marketreplay.errors import ArchiveError

LONG = b"0123456789abcdef" * (scanning.BLOCK // 8)  # two blocks
FILES = {"a/1.jsonl": LONG, "b/2.jsonl": b"two\n", "c/3.jsonl": b"three\n"}


class Once:
    """Does something when the first block was read."""

    def __init__(self, act: Callable[[], object], times: int = 1) -> None:
        self._act, self._left = act, times

    def __call__(self, done: int, total: int) -> None:
        if self._left and done == scanning.BLOCK:
            self._left -= 1
            self._act()


def packed(tmp_path: Path, told: Once) -> Manifest:
    """Pack a tree to which something happens, and see that the archive is whole."""
    path = tmp_path / "archive.zip"
    manifest = pack(tmp_path / "tree", path, progress=told).manifest
    with open(path, "rb") as file:
        verify(file, reading(path))
        (tmp_path / "out").mkdir()
        extract(file, reading(path), None, tmp_path / "out")
    return manifest


def append(path: Path, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


def test_a_file_that_grows_is_packed_as_it_was_when_it_was_opened(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", FILES)
    packed(tmp_path, Once(lambda: append(tree / "a/1.jsonl", b"more")))
    assert harvest(tmp_path / "out") == FILES
    assert (tree / "a/1.jsonl").stat().st_size == len(LONG) + 4


def test_a_file_that_grows_before_it_is_opened_has_what_came(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", FILES)
    packed(tmp_path, Once(lambda: append(tree / "c/3.jsonl", b"more\n")))
    assert harvest(tmp_path / "out") == {**FILES, "c/3.jsonl": b"three\nmore\n"}


def test_a_segment_that_is_sealed_meanwhile_is_there_in_its_new_form(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", FILES)

    def seal() -> None:
        (tree / "b/2.jsonl.zst").write_bytes(b"packed")
        (tree / "b/2.jsonl").unlink()
        plant(tree, {"a/0.jsonl": b"sorted before what was read\n"})

    packed(tmp_path, Once(seal))
    assert harvest(tmp_path / "out") == {
        "a/0.jsonl": b"sorted before what was read\n",
        "a/1.jsonl": LONG,
        "b/2.jsonl.zst": b"packed",
        "c/3.jsonl": b"three\n",
    }


def test_a_folder_that_vanishes_is_not_missed(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", FILES)
    packed(tmp_path, Once(lambda: (tree / "b").rename(tree / "d")))
    assert set(harvest(tmp_path / "out")) == {"a/1.jsonl", "c/3.jsonl", "d/2.jsonl"}


@pytest.mark.parametrize("kind", ["link", "fifo", "folder link"])
def test_what_takes_the_place_of_a_file_is_not_followed(tmp_path: Path, kind: str) -> None:
    tree = plant(tmp_path / "tree", FILES)
    outside = plant(tmp_path / "outside", {"2.jsonl": b"secret"})

    def swap() -> None:
        (tree / "b/2.jsonl").unlink()
        if kind == "link":
            (tree / "b/2.jsonl").symlink_to(outside / "2.jsonl")
        elif kind == "fifo":
            os.mkfifo(tree / "b/2.jsonl")
        else:
            (tree / "b").rmdir()
            (tree / "b").symlink_to(outside)

    told = Once(swap)
    skipped = pack(tree, tmp_path / "archive.zip", progress=told).skipped
    assert skipped == {"link": ("b/2.jsonl (a symlink)",), "fifo": ("b/2.jsonl (a FIFO)",)}.get(
        kind, ("b (a symlink)",)
    )
    assert b"secret" not in (tmp_path / "archive.zip").read_bytes()


@pytest.mark.parametrize("size", [0, scanning.BLOCK, scanning.BLOCK + 5, len(LONG) - 1])
def test_a_file_that_shrinks_is_an_error(tmp_path: Path, size: int) -> None:
    tree = plant(tmp_path / "tree", FILES)
    with pytest.raises(ArchiveError, match=r"'a/1\.jsonl' became shorter while it was read"):
        packed(tmp_path, Once(lambda: os.truncate(tree / "a/1.jsonl", size)))
    assert not (tmp_path / "archive.zip").exists()


def test_a_file_that_shrinks_after_its_last_byte_was_read_is_an_error(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", {"a": LONG[: scanning.BLOCK]})
    with pytest.raises(ArchiveError, match="became shorter"):
        packed(tmp_path, Once(lambda: os.truncate(tree / "a", 5)))


def test_a_file_that_is_changed_in_place_is_an_error(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", FILES)
    os.utime(tree / "a/1.jsonl", (1, 1))

    def change() -> None:
        with open(tree / "a/1.jsonl", "r+b") as file:
            file.write(b"X")

    with pytest.raises(ArchiveError, match="was changed in place while it was read"):
        packed(tmp_path, Once(change))


def test_a_document_that_is_replaced_is_one_of_both(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", FILES)

    def replace() -> None:
        (tree / "new").write_bytes(b"new " * 10)
        (tree / "new").rename(tree / "a/1.jsonl")

    packed(tmp_path, Once(replace))
    assert harvest(tmp_path / "out") == FILES


@pytest.mark.parametrize("use", ["pack", "survey"])
def test_a_tree_of_which_something_vanishes_each_time_is_given_up(tmp_path: Path, use: str) -> None:
    tree = plant(tmp_path / "tree", FILES)
    names = iter(range(1000))

    def rename() -> None:
        next((tree / "c").iterdir()).rename(tree / "c" / f"{next(names)}")

    told = Once(rename, times=1000)
    with pytest.raises(
        ArchiveError, match=f"in each of {packing.SCANS} scans a file vanished .* 'c/{packing.SCANS - 2}'"
    ):
        packed(tmp_path, told) if use == "pack" else survey(tree, told)
    assert not (tmp_path / "archive.zip").exists()
    assert next(names) == packing.SCANS
