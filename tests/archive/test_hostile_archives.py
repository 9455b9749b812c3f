"""Archives that no honest hand made are refused, and nothing gets out of the folder that they are unpacked in."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from archive_lab import Part, checked_bytes, forge, harvest, plant
from hostile_archives import FOLDER, HOSTILE, METHOD, NAMES, X, Y, both

from pytest_marketreplay.archive import layout
from pytest_marketreplay.archive.checking import check
from pytest_marketreplay.archive.extracting import extract, verify
from pytest_marketreplay.archive.manifest import Folder
from pytest_marketreplay.errors import ArchiveError, DamagedArchive


@pytest.mark.parametrize(("make", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_archive_is_refused(tmp_path: Path, make: Callable[[], bytes], reason: str) -> None:
    staging = plant(tmp_path / "deep" / "er" / "staging", {})
    file = io.BytesIO(make())
    with pytest.raises(DamagedArchive, match=reason) as caught:
        extract(file, check(file, "hostile.zip"), None, staging)
    assert str(caught.value).startswith("hostile.zip")
    with pytest.raises(DamagedArchive):
        verify(file, check(file, "hostile.zip"))
    outside = [path for path in harvest(tmp_path) if not path.startswith("deep/er/staging/")]
    assert outside == []
    assert sum(len(data) for data in harvest(staging).values()) <= 1 << 20


def test_what_is_forged_without_a_change_is_accepted(tmp_path: Path) -> None:
    file = io.BytesIO(forge(X, Y, Part("b/z", b"as it is", stored=True)))
    extract(file, check(file, "honest.zip"), None, plant(tmp_path / "out", {}))
    assert harvest(tmp_path / "out") == {"a/x": b"data", "b/y": b"other", "b/z": b"as it is"}


def test_hostile_names_are_refused_before_anything_is_written() -> None:
    for name in NAMES:
        with pytest.raises(DamagedArchive):
            checked_bytes(forge(X, Part(name), folders=FOLDER))


def test_a_stream_without_an_end_or_with_something_after_it_is_refused() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = packer.compress(b"data") + packer.flush()
    unended = zlib.compressobj(9, zlib.DEFLATED, -15)
    cut = unended.compress(b"data") + unended.flush(zlib.Z_SYNC_FLUSH)
    for data, reason in (
        (cut, "has no end"),
        (stream + b"more", "something after"),
        (b"\xff" * 20, "cannot be inflated"),
    ):
        part = Part("x", data, stored=True, size=4, crc=zlib.crc32(b"data"))
        file = io.BytesIO(forge(part, **both(8, METHOD, "H", 8)))
        with pytest.raises(DamagedArchive, match=reason):
            verify(file, check(file, "hostile.zip"))


@pytest.mark.parametrize("what", ["folder", "file", "staging", "a file for a folder", "a file in the way"])
def test_a_link_or_a_file_that_stands_in_the_way_is_not_followed(tmp_path: Path, what: str) -> None:
    outside = plant(tmp_path / "outside", {"x": b"mine"})
    staging = tmp_path / "staging"
    if what == "staging":
        staging.symlink_to(outside)
    else:
        plant(staging, {"a/": b""} if "file" in what and what != "a file for a folder" else {})
    if what == "folder":
        (staging / "a").symlink_to(outside)
    elif what == "file":
        (staging / "a" / "x").symlink_to(outside / "new")
    elif what == "a file for a folder":
        (staging / "a").write_bytes(b"mine")
    elif what == "a file in the way":
        (staging / "a" / "x").write_bytes(b"mine")
    before = harvest(tmp_path)
    file = io.BytesIO(forge(X))
    with pytest.raises(ArchiveError, match="cannot be unpacked there") as caught:
        extract(file, check(file, "honest.zip"), None, staging)
    assert not isinstance(caught.value, DamagedArchive)  # it is not the archive's fault
    assert harvest(tmp_path) == before


def test_limits_are_those_that_packing_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    many = forge(*(Part(f"{number:03d}") for number in range(100)))
    assert len(checked_bytes(many).entries) == 100
    monkeypatch.setattr(layout, "MOST_ENTRIES", 99)
    with pytest.raises(DamagedArchive, match="its directory has 101 entries, and 99 is the most"):
        checked_bytes(many)
    folders = tuple(Folder(f"{number:03d}", 0o750) for number in range(100))
    with pytest.raises(DamagedArchive, match="more than 99 files and folders"):
        checked_bytes(forge(folders=folders))
