"""A tree is packed into the same bytes whoever packs it, and any reader of ZIP files can read them."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import zipfile
from pathlib import Path

import pytest
from archive_lab import harvest, packed_tree, plant, reading
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_marketreplay.archive import layout, packing, scanning
from pytest_marketreplay.archive.checking import digest
from pytest_marketreplay.archive.extracting import extract
from pytest_marketreplay.archive.manifest import MEMBER, Manifest
from pytest_marketreplay.archive.packing import pack, survey
from pytest_marketreplay.errors import ArchiveError, UsageMistake

NOISE = bytes(byte for number in range(4_000) for byte in hashlib.sha256(str(number).encode()).digest())
LINES = b"".join(
    b'{"timestamp":%d,"response":{"bids":[["%d.00","1.5"]]}}\n' % (n, n * 7919 % 9973) for n in range(60_000)
)
FILES = {
    "binance/api_v3_depth/BTCUSDT/2026-11-28T08-00-00.jsonl": LINES,
    "binance/api_v3_depth/ETHUSDT/2026-11-28T08-00-00.jsonl.zst": NOISE,
    "kraken/public_Depth/BTC-USD/2026-11-28T08-00-00.jsonl": LINES[:500],
    "kraken/empty.jsonl": b"",
    "kraken/noise": NOISE[:100],
    "kraken/nothing/": b"",
    "Ünïcode/ζ.jsonl": b"x" * 300,
    "zeros": bytes(3 << 20),
}


def test_an_archive_unpacks_to_the_tree_and_tells_its_digests(tmp_path: Path) -> None:
    path, packed = packed_tree(tmp_path, FILES)
    assert len(LINES) > 2 * scanning.BLOCK  # in several blocks
    assert packed.size_bytes == path.stat().st_size
    assert packed.archive_sha256 == digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert packed.skipped == ()
    assert packed.manifest.size_bytes == sum(map(len, FILES.values()))
    assert packed.manifest == survey(tmp_path / "tree")
    assert path.stat().st_mode & 0o777 == 0o600
    (tmp_path / "out").mkdir()
    with open(path, "rb") as file:
        extract(file, reading(path), None, tmp_path / "out")
    assert harvest(tmp_path / "out") == FILES


def test_pythons_reader_reads_it(tmp_path: Path) -> None:
    path, packed = packed_tree(tmp_path, FILES)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [member.path for member in packed.manifest.members] + [MEMBER]
        assert all(archive.read(member.path) == FILES[member.path] for member in packed.manifest.members)
        assert archive.read(MEMBER) == packed.manifest.encode()
        infos = {info.filename: info for info in archive.infolist()}
        assert infos["kraken/noise"].compress_type == zipfile.ZIP_STORED
        assert infos["binance/api_v3_depth/ETHUSDT/2026-11-28T08-00-00.jsonl.zst"].compress_type == zipfile.ZIP_STORED
        assert {info.date_time for info in infos.values()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_unzip_reads_it(tmp_path: Path) -> None:
    path, _ = packed_tree(tmp_path, FILES)
    done = subprocess.run(["unzip", "-t", path], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No errors detected" in done.stdout


def test_equal_trees_have_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, packed = packed_tree(tmp_path / "one", FILES)
    backwards = plant(tmp_path / "two" / "elsewhere", dict(reversed(FILES.items())))
    for file in backwards.rglob("*"):
        os.utime(file, (1, 1))
    monkeypatch.setattr(packing, "_THREADS", 1)
    monkeypatch.setattr(packing, "_AHEAD", 0)
    again = pack(backwards, tmp_path / "two" / "other.zip")
    assert again == packed
    assert (tmp_path / "two" / "other.zip").read_bytes() == path.read_bytes()


def test_permission_bits_are_in_the_manifest_as_they_are_found(tmp_path: Path) -> None:
    _, packed = packed_tree(tmp_path, {"a/x": b"1", "y": b"2"})
    (tmp_path / "tree" / "a").chmod(0o700)
    (tmp_path / "tree" / "a" / "x").chmod(0o4600)
    again = pack(tmp_path / "tree", tmp_path / "again.zip")
    assert (again.manifest.members[0].path, again.manifest.members[0].mode) == ("a/x", 0o600)
    assert again.manifest.folders[0].mode == 0o700
    assert again.manifest.digest() != packed.manifest.digest()
    assert [part for part in again.manifest.members if part.path == "y"] == [packed.manifest.members[1]]


def test_what_is_no_file_is_told_and_what_is_hidden_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = plant(
        tmp_path / "tree", {"a/x": b"1", ".state/x": b"2", "a/.y": b"3", MEMBER: b"{}", "deep/" + MEMBER: b"4"}
    )
    outside = plant(tmp_path / "outside", {"secret": b"secret"})
    (tree / "link").symlink_to(outside)
    (tree / "a" / "link").symlink_to(outside / "secret")
    (tree / "dangling").symlink_to("nowhere")
    os.mkfifo(tree / "a" / "fifo")
    monkeypatch.chdir(tree)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        packed = pack(tree, tmp_path / "archive.zip")
    assert [member.path for member in packed.manifest.members] == ["a/x", "deep/" + MEMBER]
    assert packed.skipped == (
        "a/fifo (a FIFO)",
        "a/link (a symlink)",
        "dangling (a symlink)",
        "link (a symlink)",
        f"{MEMBER} (the manifest of an unpacked archive)",
        "socket (a socket)",
    )
    assert b"secret" not in (tmp_path / "archive.zip").read_bytes()


def test_a_device_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(scanning._KINDS, 0o120000)  # none can be made without rights: a symlink plays it
    tree = plant(tmp_path / "tree", {"x": b"1"})
    (tree / "null").symlink_to("/dev/null")
    assert pack(tree, tmp_path / "archive.zip").skipped == ("null (a device)",)


def test_the_tree_may_be_reached_by_a_symlink(tmp_path: Path) -> None:
    plant(tmp_path / "tree", {"x": b"1"})
    (tmp_path / "link").symlink_to(tmp_path / "tree")
    assert survey(tmp_path / "link") == survey(tmp_path / "tree")


def test_an_empty_tree_is_a_tree(tmp_path: Path) -> None:
    path, packed = packed_tree(tmp_path, {})
    assert packed.manifest == Manifest(()) == reading(path).manifest


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (b"back\\slash", "backslash"),
        (b"new\nline", "control character"),
        (b"latin\xe9", "no UTF-8"),
        (b"C:drive", "drive letter"),
        (b"/".join([b"y" * 250] * 5), "more than 1024 bytes"),
        (b"BOOK", "twice, where upper and lower case are one"),
        (b"Marketreplay-Manifest.json", "twice, where upper and lower case are one"),
        ("bu\u0308ch".encode(), "twice, where upper and lower case are one"),
    ],
)
def test_a_name_that_no_archive_may_hold_is_an_error(tmp_path: Path, name: bytes, reason: str) -> None:
    tree = plant(tmp_path / "tree", {"book": b"1", "b\u00fcch": b"2"})
    target = os.fsencode(tree) + b"/" + name
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "wb"):
        pass
    with pytest.raises(ArchiveError, match=reason) as caught:
        pack(tree, tmp_path / "archive.zip")
    assert "Rename it" in str(caught.value)
    assert not (tmp_path / "archive.zip").exists()


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_cannot_be_read_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    tree = plant(tmp_path / "tree", {"a/x": b"1", "a/y": b"2"})
    real = os.open

    def refused(path: str, *rest: int, **named: int) -> int:
        if path == ("y" if what == "file" else "a"):  # root, as which tests may run, can read whatever its mode is
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *rest, **named)

    monkeypatch.setattr(os, "open", refused)
    for act in (lambda: pack(tree, tmp_path / "archive.zip"), lambda: survey(tree)):
        with pytest.raises(ArchiveError, match=r"'a(/y)?' cannot be read: Permission denied.*move it out of the tree"):
            act()
    assert not (tmp_path / "archive.zip").exists()


def test_a_tree_or_a_target_that_cannot_be_one_is_a_mistake(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", {"x": b"1"})
    for wrong in (tmp_path / "nowhere", tree / "x"):
        with pytest.raises(UsageMistake, match="there is no tree to archive"):
            survey(wrong)
    with pytest.raises(UsageMistake, match="would be in the tree"):
        pack(tree, tree / "archive.zip")
    (tmp_path / "taken.zip").write_bytes(b"mine")
    with pytest.raises(UsageMistake, match="File exists"):
        pack(tree, tmp_path / "taken.zip")
    assert (tmp_path / "taken.zip").read_bytes() == b"mine"
    with pytest.raises(UsageMistake, match="No such file"):
        pack(tree, tmp_path / "nowhere" / "archive.zip")


def test_a_full_disk_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", {"a": NOISE, "x": NOISE * 30})
    script = (
        "import resource, signal, sys; from pathlib import Path; from pytest_marketreplay.archive.packing import pack\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)\n"
        "pack(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    for limit in (1000, 2_000_000):
        done = subprocess.run(
            ["python", "-c", script, tree, tmp_path / "archive.zip", str(limit)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert "ArchiveError" in done.stderr
        assert "cannot be written: File too large. Make room, and try again" in done.stderr
        assert harvest(tmp_path) == {"tree/a": NOISE, "tree/x": NOISE * 30}


def test_a_tree_that_is_too_large_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = plant(tmp_path / "tree", {"a/x": b"1", "a/y": b"2"})
    monkeypatch.setattr(layout, "LARGEST_MANIFEST", 100)
    with pytest.raises(ArchiveError, match=r"the names of 2 files make a manifest of \d+ bytes"):
        pack(tree, tmp_path / "archive.zip")
    monkeypatch.setattr(scanning, "MOST_ENTRIES", 2)
    with pytest.raises(ArchiveError, match="more than 2 files and folders"):
        survey(tree)


def test_progress_ends_with_all_of_it(tmp_path: Path) -> None:
    tree = plant(tmp_path / "tree", FILES)
    for act in (lambda told: pack(tree, tmp_path / "archive.zip", progress=told), lambda told: survey(tree, told)):
        told: list[tuple[int, int]] = []
        act(lambda done, total: told.append((done, total)))
        assert told == sorted(told)
        assert told[-1] == (survey(tree).size_bytes,) * 2


def test_a_block_is_packed_with_what_came_before_it(tmp_path: Path) -> None:
    again = NOISE[:30_000] * 36  # the copies end in a second block, which would have the noise once more
    assert scanning.BLOCK < len(again) < scanning.BLOCK + 40_000
    _, packed = packed_tree(tmp_path, {"again": again})
    assert packed.size_bytes < 45_000


PARTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\/"), min_size=1, max_size=20
).filter(lambda part: not part.startswith(".") and part[1:2] != ":" and len(part.encode()) < 250)
DATA = st.one_of(st.binary(max_size=200), st.binary(min_size=1, max_size=4).map(lambda data: data * 700_000))


@settings(max_examples=25)
@given(files=st.dictionaries(st.lists(PARTS, min_size=1, max_size=3).map("/".join), DATA, max_size=6))
def test_any_tree_that_can_be_packed_comes_back(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            path, packed = packed_tree(Path(folder), files)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            return  # a file against a folder: no file system has it
        except ArchiveError as error:
            if "upper and lower case" not in str(error):
                raise
            return
        (Path(folder) / "out").mkdir()
        with open(path, "rb") as file:
            extract(file, reading(path), None, Path(folder) / "out")
        assert harvest(Path(folder) / "out") == files
        assert survey(Path(folder) / "out").members == tuple(
            type(member)(member.path, member.size, member.sha256, 0o640) for member in packed.manifest.members
        )
