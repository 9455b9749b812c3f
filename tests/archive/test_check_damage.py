"""Whatever happened to an archive on its way is found: by its digest always, by its structure nearly always."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from archive_lab import harvest, name_of, packed_tree, reading
from hypothesis import given
from hypothesis import strategies as st

from pytest_marketreplay.archive import layout
from pytest_marketreplay.archive.checking import Checked, check, digest
from pytest_marketreplay.archive.extracting import extract, verify
from pytest_marketreplay.archive.packing import Packed
from pytest_marketreplay.errors import ArchiveError, DamagedArchive

FILES = {
    "binance/depth/BTC/1.jsonl": b"".join(b'{"timestamp":%d}\n' % (n * 7919) for n in range(40)),
    "binance/depth/BTC/2.jsonl": b"stored",
    "binance/empty": b"",
    "kraken/": b"",
}


@pytest.fixture
def whole(tmp_path: Path) -> tuple[bytes, str, Packed]:
    path, packed = packed_tree(tmp_path, FILES)
    return path.read_bytes(), name_of(packed), packed


def read_through(data: bytes, name: str) -> None:
    """Check and verify; raises what is raised."""
    file = io.BytesIO(data)
    verify(file, check(file, name))


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)
    assert digest(tmp_path / "file") == hashlib.sha256(b"x" * 3_000_000).hexdigest()
    with pytest.raises(ArchiveError, match="cannot be read: No such file"):
        digest(tmp_path / "nothing")


def test_every_flip_of_every_bit_is_found(tmp_path: Path, whole: tuple[bytes, str, Packed]) -> None:
    data, name, packed = whole
    survived = []
    for position in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            assert hashlib.sha256(flipped).hexdigest() != packed.archive_sha256
            try:
                read_through(bytes(flipped), name)
            except DamagedArchive:
                continue
            survived.append(position)
            target = tmp_path / f"{position}-{bit}"
            target.mkdir()
            extract(io.BytesIO(flipped), check(io.BytesIO(flipped), name), None, target)
            assert harvest(target) == FILES
    # without the digest, all but the bits that fill up the last byte of a deflate stream, which say nothing
    entries = reading(tmp_path / "archive.zip").entries
    first = entries[0].offset + layout.local_length(packed.manifest.members[0].path.encode(), 0) + entries[0].packed - 1
    directory = data.index(b"PK\1\2") - 1
    assert set(survived) <= {first, directory}
    assert len(survived) < 14


def test_every_truncation_is_found(whole: tuple[bytes, str, Packed]) -> None:
    data, name, packed = whole
    for length in range(len(data)):
        assert hashlib.sha256(data[:length]).hexdigest() != packed.archive_sha256
        with pytest.raises(DamagedArchive):
            check(io.BytesIO(data[:length]), name)


def test_everything_added_is_found(whole: tuple[bytes, str, Packed]) -> None:
    data, name, _ = whole
    for changed in (b"\0" + data, data + b"\0", data + data, data[:50] + b"\0" + data[50:], data + data[-22:]):
        with pytest.raises(DamagedArchive):
            check(io.BytesIO(changed), name)


def test_another_archive_of_the_same_size_is_found(tmp_path: Path, whole: tuple[bytes, str, Packed]) -> None:
    data, name, _ = whole
    path, other = packed_tree(tmp_path / "other", {**FILES, "binance/depth/BTC/2.jsonl": b"STORED"})
    assert path.stat().st_size == pytest.approx(len(data), abs=3)
    with pytest.raises(DamagedArchive, match="not the manifest that the name of the archive tells of"):
        reading(path, name)
    with pytest.raises(DamagedArchive, match="not the manifest that the name"):
        reading(path, name + ".part-0123456789abcdef")
    reading(path, name_of(other) + ".part-0123456789abcdef")
    reading(path, "renamed.zip")  # a name that is not ours proves nothing, and hinders nothing


def test_another_file_in_the_place_of_a_member_is_found(whole: tuple[bytes, str, Packed]) -> None:
    data, name, _ = whole
    swapped = data.replace(b"stored", b"STORED")
    assert len(swapped) == len(data)
    file = io.BytesIO(swapped)
    with pytest.raises(DamagedArchive, match=r"'binance/depth/BTC/2\.jsonl': its bytes do not have the CRC"):
        verify(file, check(file, name))


def test_a_member_that_vanished_is_found(tmp_path: Path, whole: tuple[bytes, str, Packed]) -> None:
    _, name, packed = whole
    path, _ = packed_tree(tmp_path / "less", {key: FILES[key] for key in list(FILES)[1:]})
    with pytest.raises(DamagedArchive, match="not the manifest"):
        reading(path, name)
    data = (tmp_path / "archive.zip").read_bytes()
    start = data.index(b"PK\1\2")
    length = layout.directory_length(packed.manifest.members[0].path.encode(), 0, 0)
    ends = layout.read_ends(data)
    assert ends is not None
    less = ends._replace(entries=ends.entries - 1, size=ends.size - length)
    without = data[:start] + data[start + length : -22] + layout.end_records(less)
    with pytest.raises(DamagedArchive, match="tells of 3 files, and its directory of 2"):
        check(io.BytesIO(without), name)


class Slow(io.BytesIO):
    """A file over a network: it gives a few bytes at a time."""

    def read(self, count: int | None = -1, /) -> bytes:
        return super().read(min(7, count) if count is not None and count > 0 else 7)


def test_a_file_may_give_less_than_it_is_asked_for(whole: tuple[bytes, str, Packed]) -> None:
    data, name, packed = whole
    file = Slow(data)
    checked = check(file, name)
    told: list[tuple[int, int]] = []
    verify(file, checked, lambda done, total: told.append((done, total)))
    assert checked.manifest == packed.manifest
    assert told[-1] == (packed.manifest.size_bytes,) * 2


def test_checking_reads_only_the_end(tmp_path: Path) -> None:
    path, packed = packed_tree(tmp_path, {"noise": b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(9000))})

    class Noting(io.BytesIO):
        lowest = 1 << 60

        def read(self, count: int | None = -1, /) -> bytes:
            self.lowest = min(self.lowest, self.tell())
            return super().read(count)

    file = Noting(path.read_bytes())
    checked = check(file, name_of(packed))
    assert isinstance(checked, Checked)
    assert file.lowest >= 9000 * 32


def test_a_file_that_is_cut_off_after_it_was_checked_is_found(whole: tuple[bytes, str, Packed]) -> None:
    data, name, _ = whole
    checked = check(io.BytesIO(data), name)
    for length in (0, 10, 60, 100):
        with pytest.raises(DamagedArchive, match="in the middle of something"):
            verify(io.BytesIO(data[:length]), checked)


def test_a_manifest_that_is_far_needs_the_field_for_it(
    whole: tuple[bytes, str, Packed], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, name, _ = whole
    ends = layout.read_ends(data)
    assert ends is not None
    monkeypatch.setattr(layout, "FAR_FROM", 10)
    with pytest.raises(DamagedArchive, match="its last member is not"):
        check(io.BytesIO(data[:-22] + layout.end_records(ends)), name)


CHANGES = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from(["put", "cut", "insert"]),
        st.one_of(st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\xff\xff", b"PK\1\2", b"PK\5\6"]), st.binary(max_size=12)),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("wide", [False, True])
def test_whatever_is_changed_is_found_and_raises_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wide: bool
) -> None:
    if wide:
        for limit in ("WIDE_FROM", "FAR_FROM", "MANY_FROM"):
            monkeypatch.setattr(layout, limit, 3)
    path, packed = packed_tree(tmp_path, FILES)
    data, files = path.read_bytes(), packed.manifest
    start = data.index(b"PK\1\2")

    @given(changes=CHANGES, anywhere=st.booleans())
    def try_one(changes: list[tuple[float, str, bytes]], anywhere: bool) -> None:
        changed = bytearray(data)
        for where, how, what in changes:
            low = 0 if anywhere else min(start, len(changed))
            at = low + int(where * (len(changed) - low))
            changed[at : at + (0 if how == "insert" else len(what))] = b"" if how == "cut" else what
        file = io.BytesIO(changed)
        try:
            checked = check(file, "renamed.zip")
            verify(file, checked)
        except DamagedArchive:
            return
        assert checked.manifest == files

    try_one()
