"""What the tests of backups share: servers that run for the length of a module, a folder of each for each test, and a tree."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import places
from places import Where


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        # AWS_CA_BUNDLE: with it rclone 1.60 reaches no S3 at all
        if name.startswith(("RCLONE_", "AWS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RCLONE_CONFIG", str(tmp_path / "no-rclone.conf"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg-state"))


@pytest.fixture(scope="module")
def webdav_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[places.Server]:
    server = places.webdav(tmp_path_factory.mktemp("webdav"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[places.Server]:
    server = places.s3(tmp_path_factory.mktemp("s3"))
    yield server
    server.close()


@pytest.fixture
def dav(webdav_server: places.Server, monkeypatch: pytest.MonkeyPatch) -> Where:
    for name, value in places.webdav_environment(webdav_server.port).items():
        monkeypatch.setenv(name, value)
    name = uuid.uuid4().hex
    (webdav_server.folder / name).mkdir()
    return Where(f"dav:{name}", webdav_server.folder / name)


@pytest.fixture
def bucket(s3_server: places.Server, monkeypatch: pytest.MonkeyPatch) -> Where:
    for name, value in places.s3_environment(s3_server.port).items():
        monkeypatch.setenv(name, value)
    name = uuid.uuid4().hex
    (s3_server.folder / name).mkdir()
    return Where(f"bucket:{name}/deep", s3_server.folder / name / "deep")


@pytest.fixture
def a_folder(tmp_path: Path) -> Where:
    return Where(str(tmp_path / "share" / "deep"), tmp_path / "share" / "deep")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a small tree as a collector writes it."""
    folder = tmp_path / "captures"
    (folder / "binance" / "api_v3_depth" / "BTCUSDT").mkdir(parents=True)
    (folder / "binance" / "api_v3_depth" / "BTCUSDT" / "0001.jsonl").write_text('{"a":1}\n' * 500)
    (folder / "kraken").mkdir()
    return folder
