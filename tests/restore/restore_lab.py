"""Trees, their snapshots, and real servers for them, all made here."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from pytest_marketreplay.archive.manifest import Manifest
from pytest_marketreplay.archive.naming import SnapshotName
from pytest_marketreplay.archive.packing import pack, survey
from pytest_marketreplay.archive.restored import FILE, contents_digest

RCLONE = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or "rclone"
Run = Callable[..., tuple[int, str, str]]
USER, PASSWORD = "team", "canary-Pa55word-8271"
KEY, SECRET = "AKTEST123", "canary-SKTEST12345"
EIGHT = 1764316800  # 2025-11-28T08:00:00Z
PLACES = (
    ("binance", "api_v3_depth", "BTCUSDT"),
    ("binance", "api_v3_depth", "ETHUSDT"),
    ("binance", "ws_stream", "BTCUSDT"),
    ("kraken", "public_Depth", "BTC-USD"),
)


def line(symbol: str, number: int) -> bytes:
    """Return an entry as a cassette holds it."""
    levels = [[f"{100 + number / 8:.8f}", "1.00000000"]]
    entry = {
        "timestamp": 1764316800000 + number,
        "endpoint": "/api/v3/depth",
        "params": {"symbol": symbol, "limit": "5"},
        "meta": {"method": "GET", "status": 200},
        "response": {"lastUpdateId": number, "bids": levels, "asks": []},
    }
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


def make_tree(root: Path, *, seed: int = 0, lines: int = 3) -> Path:
    """Make a tree of four places, with the permissions that a restore gives."""
    for place in PLACES:
        folder = root.joinpath(*place)
        folder.mkdir(parents=True)
        file = folder / "2025-11-28T08-00-00.jsonl"
        file.write_bytes(b"".join(line(place[2], seed * 1000 + number) for number in range(lines)))
    return settle(root)


def settle(root: Path) -> Path:
    """Give a tree the permissions of a restored one."""
    for folder, _, files in os.walk(root):
        os.chmod(folder, 0o750)
        for file in files:
            os.chmod(Path(folder, file), 0o640)
    return root


def noise(path: Path, count: int, seed: int = 1) -> None:
    """Write bytes that do not pack."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(seed).randbytes(count))


def publish(tree: Path, remote: Path, *, label: str = "desk", created_s: int = EIGHT) -> SnapshotName:
    """Put a snapshot of a tree on a remote, as a backup does."""
    remote.mkdir(parents=True, exist_ok=True)
    new = remote / "new"
    packed = pack(tree, new)
    name = SnapshotName(created_s, label, packed.manifest.digest()[:32], packed.archive_sha256)
    new.rename(remote / name.file)
    return name


def contents(tree: Path) -> str:
    """Return the digest of names and bytes of a tree, hidden ones not counted."""
    return contents_digest(survey(tree).members)


def state(folder: Path) -> dict[str, tuple[str, int, bytes]]:
    """Return all there is below a folder: kind, permissions, bytes."""
    out = {}
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        kind = stat.filemode(about.st_mode)
        data = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        out[str(path.relative_to(folder))] = (kind, about.st_size if path.is_file() else 0, data)
    return out


def without_record(found: dict[str, tuple[str, int, bytes]]) -> dict[str, tuple[str, int, bytes]]:
    """Leave out what a restored tree says of itself."""
    return {path: what for path, what in found.items() if FILE not in path}


def manifest_of(tree: Path) -> Manifest:
    """Return the manifest of a tree, permissions included."""
    return survey(tree)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Served:
    """`rclone serve` over a folder: WebDAV with user and password, or S3 with keys."""

    def __init__(self, kind: str, folder: Path, log: Path) -> None:
        self.kind, self.folder, self.port = kind, folder, free_port()
        secret = {
            "webdav": {"RCLONE_USER": USER, "RCLONE_PASS": PASSWORD},
            "s3": {"RCLONE_AUTH_KEY": f'"{KEY},{SECRET}"'},
        }[kind]
        self._log = log.open("wb")
        self.process = subprocess.Popen(
            [RCLONE, "serve", kind, "--addr", f"127.0.0.1:{self.port}", str(folder)],
            env={**os.environ, **secret, "RCLONE_CONFIG": os.devnull},
            stdout=self._log,
            stderr=self._log,
        )
        for _ in range(600):
            assert self.process.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5).close()
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.05)  # until it listens
        raise AssertionError("the server does not answer")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self._log.close()

    def environment(self) -> dict[str, str]:
        """Return what makes `bk:` this server for rclone; no password is in any command line."""
        address = f"http://127.0.0.1:{self.port}"
        if self.kind == "s3":
            return {
                "RCLONE_CONFIG": os.devnull,
                "RCLONE_CONFIG_BK_TYPE": "s3",
                "RCLONE_CONFIG_BK_PROVIDER": "Other",
                "RCLONE_CONFIG_BK_ENDPOINT": address,
                "RCLONE_CONFIG_BK_ACCESS_KEY_ID": KEY,
                "RCLONE_CONFIG_BK_SECRET_ACCESS_KEY": SECRET,
            }
        hidden = subprocess.run([RCLONE, "obscure", "-"], input=PASSWORD, capture_output=True, text=True, check=True)
        return {
            "RCLONE_CONFIG": os.devnull,
            "RCLONE_CONFIG_BK_TYPE": "webdav",
            "RCLONE_CONFIG_BK_URL": address,
            "RCLONE_CONFIG_BK_VENDOR": "other",
            "RCLONE_CONFIG_BK_USER": USER,
            "RCLONE_CONFIG_BK_PASS": hidden.stdout.strip(),
        }
