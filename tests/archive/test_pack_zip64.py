"""Archives that are too large for the fields of 1989."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from archive_lab import harvest, name_of, packed_tree, plant, reading

from pytest_marketreplay.archive import layout
from pytest_marketreplay.archive.checking import check
from pytest_marketreplay.archive.extracting import extract, verify
from pytest_marketreplay.archive.manifest import MEMBER
from pytest_marketreplay.archive.packing import pack
from pytest_marketreplay.errors import DamagedArchive

FILES = {"a": b"small", "b": bytes(range(256)) * 10, "c/d": b"line\n" * 5000, "e": b"end"}


@pytest.mark.parametrize(
    "limits",
    [
        {"WIDE_FROM": 1000},
        {"FAR_FROM": 100},
        {"MANY_FROM": 3},
        {"WIDE_FROM": 1000, "FAR_FROM": 100, "MANY_FROM": 3},
    ],
    ids=str,
)
def test_the_wide_fields_are_read_by_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int]
) -> None:
    for name, value in limits.items():
        monkeypatch.setattr(layout, name, value)
    path, packed = packed_tree(tmp_path, FILES)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist() if name != MEMBER} == FILES
    with open(path, "rb") as file:
        checked = check(file, name_of(packed))
        verify(file, checked)
        (tmp_path / "out").mkdir()
        extract(file, checked, None, tmp_path / "out")
    assert harvest(tmp_path / "out") == FILES


def test_wide_fields_where_none_are_needed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, value in (("WIDE_FROM", 1000), ("FAR_FROM", 100), ("MANY_FROM", 3)):
        with monkeypatch.context() as patch:
            patch.setattr(layout, limit, value)
            path, _ = packed_tree(tmp_path / limit, FILES)
        with pytest.raises(DamagedArchive):
            reading(path)


@pytest.mark.slow
def test_a_file_of_more_than_4_gib_comes_back(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", {"after": b"the data of this one begins beyond 4 GiB\n"})
    size = (4 << 30) + 12345
    with open(tree / "a", "wb") as file:  # sparse: it takes no space
        file.truncate(size)
        file.write(b"first")
        file.seek(size - 4)
        file.write(b"last")
    path = tmp_path / "archive.zip"
    packed = pack(tree, path, level=0)  # the disk is slow enough
    assert packed.size_bytes > 4 << 30
    with zipfile.ZipFile(path) as archive:
        assert [info.file_size for info in archive.infolist()][:2] == [size, 41]
        assert archive.read("after").startswith(b"the data")
    with open(path, "rb") as file:
        checked = check(file, name_of(packed))
        assert checked.entries[1].offset > 4 << 30
        verify(file, checked)
