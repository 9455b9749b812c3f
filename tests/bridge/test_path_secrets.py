"""A secret in a path names a folder: neither a live recording nor an import may write it."""

from __future__ import annotations

from pathlib import Path

import vcr
from bridge_server import BODIES, Asked, Server, with_requests

from pytest_marketreplay import use_cassette
from pytest_marketreplay.bridge.importing import import_cassettes

KEY = "lk-abcdef1234567890"


def everything(folder: Path) -> bytes:
    paths = list(folder.rglob("*"))
    return "\n".join(map(str, paths)).encode() + b"".join(path.read_bytes() for path in paths if path.is_file())


def asked(server: Server) -> list[Asked]:
    BODIES[f"/stream/{KEY}"] = b"{}"
    return [
        ("GET", f"{server.url}/stream/{KEY}", {}),
        ("GET", f"{server.url}/json", {"headers": {"X-MBX-APIKEY": KEY}}),
        ("GET", f"{server.url}/stream/{KEY}?n=2", {}),
    ]


def test_a_live_recording_writes_no_folder_with_a_secret_it_knows(server: Server, tmp_path: Path) -> None:
    with use_cassette(tmp_path / "new", mode="once", hosts={server.host: "mine"}):
        with_requests(asked(server)[1:])
    assert KEY.encode() not in everything(tmp_path)


def test_an_import_knows_the_secret_also_where_it_comes_later(server: Server, tmp_path: Path) -> None:
    with vcr.VCR().use_cassette(str(tmp_path / "old.yaml")):
        with_requests(asked(server))
    import_cassettes([tmp_path / "old.yaml"], tmp_path / "new")
    assert KEY.encode() not in everything(tmp_path / "new")
