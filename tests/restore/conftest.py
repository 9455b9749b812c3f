"""A tree, a folder for snapshots, and the command line as a function."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import restore_lab
from restore_lab import Run, Served

from pytest_marketreplay.cli import main


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RCLONE_CONFIG", os.devnull)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return restore_lab.make_tree(tmp_path / "captures")


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    return tmp_path / "place" / "tree"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `marketreplay restore` and give its exit code, what it prints, and its errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        with monkeypatch.context() as patched, pytest.raises(SystemExit) as exited:
            patched.setattr(sys, "argv", ["marketreplay", "restore", *map(str, arguments)])
            main()
        out, err = capfd.readouterr()
        return int(exited.value.code or 0), out, err

    return call


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Path], Served]]:
    """Serve a folder over WebDAV or S3, as the remote `bk:` of the environment."""
    servers = []

    def start(kind: str, folder: Path) -> Served:
        server = Served(kind, folder, tmp_path / f"{kind}.log")
        servers.append(server)
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        return server

    yield start
    for server in servers:
        server.stop()
