"""An archive is unpacked below one folder, with modes that are never wider than they were, and nowhere else."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from archive_lab import harvest, packed_tree, plant, reading

from pytest_marketreplay.archive import extracting, syncing
from pytest_marketreplay.archive.extracting import extract
from pytest_marketreplay.errors import ArchiveError, DamagedArchive

NOISE = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(70_000))
FILES = {
    "binance/depth/BTC/1.jsonl": b"one\n",
    "binance/depth/ETH/1.jsonl": b"two\n",
    "kraken/nothing/": b"",
    "kraken/x": b"",
    "noise": NOISE,
}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return packed_tree(tmp_path, FILES)[0]


def unpack(path: Path, staging: Path, paths: list[str] | None = None, **more: Any) -> Path:
    with open(path, "rb") as file:
        extract(file, reading(path), paths, staging, **more)
    return staging


def modes(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): oct(stat.S_IMODE(path.stat().st_mode)) for path in sorted(root.rglob("*"))
    }


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_modes_are_those_of_a_capture_whatever_the_umask_is(tmp_path: Path, umask: int) -> None:
    tree = plant(tmp_path / "tree", {"a/wide": b"1", "a/own": b"2", "b/": b"", "a/group": b"3"})
    for name, mode in {"a/wide": 0o777, "a/own": 0o700, "a/group": 0o640, "b": 0o777}.items():
        (tree / name).chmod(mode)
    path, _ = packed_tree(tmp_path, {})
    out = plant(tmp_path / "out", {})
    before = os.umask(umask)
    try:
        unpack(path, out)
    finally:
        os.umask(before)
    assert modes(out) == {"a": "0o750", "a/group": "0o640", "a/own": "0o600", "a/wide": "0o640", "b": "0o750"}


def test_a_part_has_only_its_files_and_the_folders_that_they_are_in(tmp_path: Path, archive: Path) -> None:
    told: list[tuple[int, int]] = []
    wanted = ["binance/depth/ETH/1.jsonl", "kraken/x"]
    out = unpack(archive, plant(tmp_path / "out", {}), wanted, progress=lambda *how: told.append(how))
    assert harvest(out) == {name: FILES[name] for name in wanted}
    assert told == [(4, 4)]
    assert harvest(unpack(archive, plant(tmp_path / "none", {}), [])) == {}


def test_a_part_that_is_not_in_it_is_an_error_before_anything_is_written(tmp_path: Path, archive: Path) -> None:
    out = plant(tmp_path / "out", {})
    with pytest.raises(ArchiveError, match="has no file 'binance/depth'"):
        unpack(archive, out, ["kraken/x", "binance/depth"])
    assert harvest(out) == {}


def test_what_stands_in_the_folder_stays_as_it_is(tmp_path: Path, archive: Path) -> None:
    out = plant(tmp_path / "out", {"binance/depth/own": b"mine", "more": b"mine"})
    (out / "binance").chmod(0o700)
    unpack(archive, out)
    assert harvest(out) == {**FILES, "binance/depth/own": b"mine", "more": b"mine"}
    assert modes(out)["binance"] == "0o700"
    with pytest.raises(ArchiveError, match=r"'binance/depth/BTC/1\.jsonl' cannot be unpacked there: File exists"):
        unpack(archive, out)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, archive: Path) -> None:
    with pytest.raises(ArchiveError, match=r"'\.' cannot be unpacked there: No such file"):
        unpack(archive, tmp_path / "nowhere")


def test_damage_in_the_data_is_found_while_it_is_unpacked(tmp_path: Path, archive: Path) -> None:
    data = archive.read_bytes()
    changed = io.BytesIO(data.replace(NOISE[1_500_000:1_500_032], bytes(32)))
    with pytest.raises(DamagedArchive, match="'noise': its bytes do not have the CRC"):
        extract(changed, reading(archive), None, plant(tmp_path / "out", {}))


CALLS = ("open", "mkdir", "fchmod", "write", "sync")


class Killed(BaseException):
    """The process ends here."""


class System:
    """`os`, in which the call number `fatal` and, as a kill does, all that follow do nothing but raise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fatal: int, failure: BaseException, last: bool) -> None:
        self.count, self.fatal, self.failure, self.last = 0, fatal, failure, last
        self.calls: list[str] = []
        for name in CALLS:
            home = extracting if name == "sync" else os
            monkeypatch.setattr(home, name, self.wrapped(name, getattr(home, name)))

    def wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            self.count += 1
            self.calls.append(name)
            if self.count == self.fatal or (self.last and self.count > self.fatal):
                raise self.failure
            if name == "write":  # a disk that takes a little at a time
                args = (args[0], args[1][:700_000])
            return real(*args, **named)

        return call


@pytest.mark.parametrize("last", [False, True], ids=["an error", "a kill"])
def test_a_failure_at_any_step_leaves_only_the_folder(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch, last: bool
) -> None:
    whole = plant(tmp_path / "whole", {})
    with monkeypatch.context() as patch:
        system = System(patch, 10**9, Killed(), last)
        unpack(archive, whole)
    assert set(system.calls) == set(CALLS)
    steps = system.count
    outside = {name: data for name, data in harvest(tmp_path).items() if not name.startswith("whole/")}
    assert steps > 40
    for step in range(1, steps + 1):
        out = plant(tmp_path / "out" / str(step), {})
        checked = reading(archive)
        failure = Killed() if last else OSError(errno.ENOSPC, "No space left on device")
        file = io.BytesIO(archive.read_bytes())
        with monkeypatch.context() as patch, pytest.raises(Killed if last else ArchiveError) as caught:
            System(patch, step, failure, last)
            extract(file, checked, None, out)
        if not last:
            assert "cannot be unpacked there: No space left on device" in str(caught.value)
        assert not any(data != FILES[name][: len(data)] for name, data in harvest(out).items() if name in FILES)
    assert {
        name: data for name, data in harvest(tmp_path).items() if name.split("/")[0] not in ("out", "whole")
    } == outside


def test_all_is_brought_to_the_disk_after_the_last_byte(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = plant(tmp_path / "out", {})
    with monkeypatch.context() as patch:
        system = System(patch, 10**9, Killed(), False)
        unpack(archive, out)
    assert system.calls[-1] == "sync"
    assert system.calls.count("sync") == 1
    descriptor = os.open(tmp_path, os.O_RDONLY)
    os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        syncing.sync(descriptor)


@pytest.mark.parametrize("after", [1, 10, 1_500_000])
def test_a_real_kill_leaves_only_the_folder(tmp_path: Path, archive: Path, after: int) -> None:
    script = (
        "import os, sys; from pathlib import Path\n"
        "from pytest_marketreplay.archive.checking import check\n"
        "from pytest_marketreplay.archive.extracting import extract\n"
        "kill = lambda done, total: os.kill(os.getpid(), 9) if done >= int(sys.argv[3]) else None\n"
        "with open(sys.argv[1], 'rb') as file:\n"
        "    extract(file, check(file, 'archive.zip'), None, Path(sys.argv[2]), kill)"
    )
    out = plant(tmp_path / "out", {})
    before = {name: data for name, data in harvest(tmp_path).items() if not name.startswith("out/")}
    done = subprocess.run([sys.executable, "-c", script, archive, out, str(after)], check=False, timeout=60)
    assert done.returncode == -9
    left = harvest(out)
    assert left
    assert left != FILES
    assert {name: data for name, data in harvest(tmp_path).items() if not name.startswith("out/")} == before
    assert all(path.stat().st_mode & 0o077 in (0, 0o040) for path in out.rglob("*") if path.is_file())
