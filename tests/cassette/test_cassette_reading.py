"""Files and readers: which files count, in which order, how lines are cut, and what repair leaves."""

from __future__ import annotations

import gzip
import random
import sys
from itertools import pairwise

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import files, reader
from pytest_marketreplay.cassette.entry import Meta, NotAnEntry
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.payload import Payload
from pytest_marketreplay.errors import CassetteError, DamagedCassette, MissingExtra

STEM = "2025-10-02T10-00-00"


def line_of(number: int) -> bytes:
    return entries.write_line(number, "/x", b"{}", Meta(), Payload(b'{"n":%d}' % number))


def timestamps(path) -> list[int]:
    return [entry.timestamp for entry in reader.read(path)]


# ---------------------------------------------------------------- lines


@given(
    content=st.lists(st.sampled_from([b"a", b"bcd", b"\n", b"\r", b"\x85", "\u2028".encode(), b"x" * 50])).map(b"".join)
)
@pytest.mark.parametrize("chunk", [1, 2, 7, 1 << 20])
def test_lines_are_cut_at_line_feeds_alone_whatever_the_chunks(chunk, content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"lines-{chunk}"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch, path.open("rb", buffering=0) as stream:
        patch.setattr(files, "CHUNK", chunk)
        found = list(files.lines(stream))
    naive = content.split(b"\n")
    assert [line.data for line in found] == (naive if naive[-1] else naive[:-1])
    assert [line.number for line in found] == list(range(1, len(found) + 1))
    assert all(content[line.offset : line.offset + len(line.data)] == line.data for line in found)
    assert [line.ended for line in found] == [True] * (len(naive) - 1) + [False] * bool(naive[-1])


# ---------------------------------------------------------------- sealed files


@given(
    content=st.lists(st.integers(0, 99), max_size=30).map(lambda items: b"".join(map(line_of, items))),
    cuts=st.lists(st.integers(0, 3000), max_size=4),
)
@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_sealed_file_of_any_frames_reads_like_the_plain_one(ending, content, cuts, tmp_path_factory):
    edges = sorted({0, len(content), *(cut % (len(content) + 1) for cut in cuts)})
    pack = gzip.compress if ending == ".gz" else zstandard.compress
    packed = b"".join(pack(content[start:end]) for start, end in pairwise(edges))
    path = tmp_path_factory.getbasetemp() / f"{STEM}.jsonl{ending}"
    path.write_bytes(packed or pack(b""))
    with files.open_binary(path) as stream:
        assert b"".join(line.data + b"\n" for line in files.lines(stream)) == content


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_sealed_file_that_is_cut_anywhere_is_never_read_as_a_shorter_one(ending, tmp_path):
    content = b"".join(map(line_of, range(50)))
    pack = gzip.compress if ending == ".gz" else zstandard.compress
    packed = pack(content) + pack(content)
    first = len(pack(content))
    path = tmp_path / f"{STEM}.jsonl{ending}"
    for length in (*range(1, first, 3), *range(first + 1, len(packed), 3)):
        path.write_bytes(packed[:length])
        with pytest.raises(DamagedCassette, match="cannot be unpacked"):
            files.open_binary(path)


def test_a_large_zstd_file_is_unpacked_in_parts(tmp_path):
    content = b"".join(line_of(number) + random.Random(number).randbytes(500).hex().encode() for number in range(600))
    path = tmp_path / f"{STEM}.jsonl.zst"
    packed = zstandard.compress(content)
    assert len(packed) > 4 * files._ZstdFrames._PART
    path.write_bytes(packed + packed)
    with files.open_binary(path) as stream:
        stream.seek(0)
        assert stream.read() == content * 2


def test_without_zstandard_the_error_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / f"{STEM}.jsonl.zst"
    path.write_bytes(zstandard.compress(line_of(1)))
    monkeypatch.setitem(sys.modules, "compression", None)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingExtra, match="pip install zstandard"):
        files.open_binary(path)


def test_the_standard_librarys_zstd_is_used_where_there_is_one(tmp_path, monkeypatch):
    path = tmp_path / f"{STEM}.jsonl.zst"
    path.write_bytes(zstandard.compress(line_of(1)))
    module = type(sys)("compression")
    module.zstd = type(sys)("compression.zstd")
    module.zstd.ZstdFile = lambda name: zstandard.open(name, "rb")
    monkeypatch.setitem(sys.modules, "compression", module)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert timestamps(path) == [1]


# ---------------------------------------------------------------- the tree


def test_only_cassette_files_three_folders_deep_are_of_the_tree(tmp_path):
    good = tmp_path / "binance" / "api_v3_depth" / "BTCUSDT" / f"{STEM}.jsonl"
    for path in (
        good,
        tmp_path / "stray.jsonl",
        tmp_path / "binance" / "stray.jsonl",
        good.with_name("notes.txt"),
        good.with_name(f".{STEM}.jsonl.repair"),
        good.with_name(f"{STEM}.jsonl.torn"),
        tmp_path / ".recording-1" / "binance" / "x" / f"{STEM}.jsonl",
        tmp_path / "kraken" / "empty" / "x" / "readme.md",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(line_of(1))
    good.with_name("folder.jsonl").mkdir()
    assert list(files.places(tmp_path)) == [Place("binance", "api_v3_depth", "BTCUSDT")]
    assert files.all_files(tmp_path) == [good]
    assert files.all_files(good) == [good]
    assert files.exists(tmp_path)


def test_a_cassette_that_is_not_there_has_no_files(tmp_path):
    (tmp_path / "file").write_text("")
    assert not files.exists(tmp_path / "none")
    assert files.all_files(tmp_path / "none") == []
    assert files.files_in(tmp_path / "file") == []


def test_files_come_in_recorded_order_and_a_plain_file_hides_its_sealed_twin(tmp_path):
    for name in (
        "b.jsonl",
        f"{STEM}-10.jsonl",
        f"{STEM}-9.jsonl.gz",
        f"{STEM}.jsonl.zst",
        f"{STEM}.jsonl",
        "2024-01-01T00-00-00.jsonl.gz",
    ):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in files.files_in(tmp_path)] == [
        "2024-01-01T00-00-00.jsonl.gz", f"{STEM}.jsonl", f"{STEM}-9.jsonl.gz", f"{STEM}-10.jsonl", "b.jsonl",
    ]  # fmt: skip


# ---------------------------------------------------------------- reading and repair


def test_a_torn_tail_is_warned_of_and_passed_over(tmp_path):
    path = tmp_path / f"{STEM}.jsonl"
    path.write_bytes(line_of(1) + line_of(2)[:20])
    with pytest.warns(reader.TornTail, match=r"line 2: .*20 bytes") as caught:
        assert timestamps(path) == [1]
    assert "cassette repair" in str(caught[0].message)


def test_a_line_whose_meta_is_not_of_the_format_is_damage(tmp_path):
    path = tmp_path / f"{STEM}.jsonl"
    path.write_bytes(line_of(1) + line_of(2).replace(b'"status":200', b'"status":"x"'))
    with pytest.raises(DamagedCassette) as caught:
        timestamps(path)
    assert (caught.value.line, caught.value.byte) == (2, len(line_of(1)))
    assert caught.value.path == path


def test_repair_of_a_good_file_changes_nothing(tmp_path):
    path = tmp_path / f"{STEM}.jsonl"
    path.write_bytes(line_of(1) + line_of(2))
    before = path.stat()
    assert reader.repair(path) == (2, 0, None)
    assert path.stat().st_ino == before.st_ino
    assert list(tmp_path.iterdir()) == [path]


def test_repair_of_a_sealed_file_writes_a_plain_one(tmp_path):
    path = tmp_path / f"{STEM}.jsonl.gz"
    path.write_bytes(gzip.compress(line_of(1) + b"{}\n" + line_of(2) + b"torn"))
    plain = tmp_path / f"{STEM}.jsonl"
    assert reader.repair(path) == (2, 2, tmp_path / f"{STEM}.jsonl.gz.damaged")
    assert timestamps(plain) == [1, 2]
    assert files.files_in(tmp_path) == [plain]


def test_repair_never_overwrites_an_older_damaged_file(tmp_path):
    path = tmp_path / f"{STEM}.jsonl"
    older = tmp_path / f"{STEM}.jsonl.damaged"
    path.write_bytes(b"{}\n" + line_of(1))
    older.write_bytes(b"older")
    with pytest.raises(CassetteError, match="in the way"):
        reader.repair(path)
    assert older.read_bytes() == b"older"
    assert path.read_bytes() == b"{}\n" + line_of(1)
    assert len(list(tmp_path.iterdir())) == 2


def test_repair_of_a_sealed_file_never_overwrites_its_plain_twin(tmp_path):
    sealed, plain = tmp_path / f"{STEM}.jsonl.gz", tmp_path / f"{STEM}.jsonl"
    sealed.write_bytes(gzip.compress(b"{}\n" + line_of(1)))
    plain.write_bytes(line_of(7))
    with pytest.raises(CassetteError, match="in the way"):
        reader.repair(sealed)
    assert timestamps(plain) == [7]
    assert sorted(tmp_path.iterdir()) == [plain, sealed]


def test_repair_of_a_file_that_cannot_be_unpacked_is_an_error_and_leaves_it(tmp_path):
    path = tmp_path / f"{STEM}.jsonl.gz"
    path.write_bytes(gzip.compress(line_of(1))[:-5])
    with pytest.raises(DamagedCassette):
        reader.repair(path)
    assert list(tmp_path.iterdir()) == [path]


# ---------------------------------------------------------------- entries


@pytest.mark.parametrize(
    ("line", "byte", "reason"),
    [
        (b"", 0, "an empty line"),
        (b"x", 0, "not JSON"),
        (line_of(1)[:-1] + b"  x", len(line_of(1)) + 1, "trailing characters"),
        (line_of(1)[:-2], len(line_of(1)) - 2, "cut off"),
    ],
)
def test_a_bad_line_is_named_by_its_byte(line, byte, reason):
    with pytest.raises(NotAnEntry, match=reason) as caught:
        entries.read_entry(line)
    assert caught.value.byte == byte
    assert "(byte" not in caught.value.reason  # which would be that in the line, beside that in the file


def test_headers_come_back_in_order_and_repeated():
    pairs = [("A", "1"), ("b", "2"), ("A", "3"), ("A", "4"), ("c", "")]
    stored = entries.header_object(pairs)
    assert stored == {"A": ["1", "3", "4"], "b": "2", "c": ""}
    assert entries.header_pairs(stored) == [("A", "1"), ("A", "3"), ("A", "4"), ("b", "2"), ("c", "")]
    assert entries.header_pairs(None) == []


def test_a_header_that_is_not_utf_8_can_be_recorded():
    stored = entries.header_object([("server", b"caf\xe9 \xc3\xa9".decode("utf-8", "surrogateescape"))])
    line = entries.write_line(1, "/x", b"{}", Meta(headers=stored), Payload(b"1"))
    assert entries.read_entry(line[:-1]).meta.headers == {"server": "caf\ufffd é"}


def test_a_written_line_has_the_keys_in_order_and_says_its_method_and_status():
    line = entries.write_line(5, "/é", b'{"a":"1"}', Meta(), Payload(b"[1, 2]", "json", ("", "\n")))
    assert line == (
        '{"timestamp":5,"endpoint":"/é","params":{"a":"1"},'
        '"meta":{"method":"GET","status":200,"space":["","\\n"]},"response":[1, 2]}\n'.encode()
    )


def test_reasons_are_the_standard_ones():
    assert entries.standard_reason(404) == "Not Found"
    assert entries.standard_reason(599) == ""
