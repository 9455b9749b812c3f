"""What vcrpy itself recorded, with every client and both serializers, imports and replays to the same bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import vcr
from bridge_server import Answers, Asked, Server, calls, with_requests

from pytest_marketreplay import use_cassette
from pytest_marketreplay.bridge.importing import import_cassettes
from pytest_marketreplay.cassette import files, reader

Client = Callable[[list[Asked]], Answers]


@pytest.mark.parametrize("serializer", ["yaml", "json"])
@pytest.mark.parametrize("decode", [False, True], ids=["as_sent", "decode_compressed_response"])
def test_a_recording_of_vcrpy_replays_byte_for_byte(
    server: Server, client: Client, serializer: str, decode: bool, tmp_path: Path
) -> None:
    asked = calls(server.url, binary=serializer == "yaml")
    old = tmp_path / f"old.{serializer}"
    with vcr.VCR(serializer=serializer, decode_compressed_response=decode).use_cassette(str(old)):
        live = client(asked)
    server.stop()

    report = import_cassettes([old], tmp_path / "new")

    assert report.skipped == ()
    assert (report.files, report.left_encoded) == (1, 0)
    assert report.entries == len(asked) + 1  # the redirect's second hop
    with use_cassette(tmp_path / "new", hosts={server.host: server.host}) as session:
        assert client(asked) == live
    assert session.replayed == report.entries
    assert session.unplayed() == []


def test_equal_requests_keep_their_order_from_file_to_file(server: Server, tmp_path: Path) -> None:
    asked: list[Asked] = [("GET", f"{server.url}/count", {})] * 3
    tree = tmp_path / "old"
    live: Answers = []
    for name in ("test_a/test_one.yaml", "test_a/test_two.yaml", "test_b.json"):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with vcr.VCR(serializer=path.suffix[1:]).use_cassette(str(path)):
            live += with_requests(asked)
    (tree / "README.md").write_text("not a cassette")
    (tree / ".hidden").mkdir()
    (tree / ".hidden" / "x.yaml").write_text("nonsense")
    server.stop()
    steps: list[tuple[int, int]] = []

    report = import_cassettes([tree], tmp_path / "new", on_progress=lambda done, total: steps.append((done, total)))

    assert (report.files, report.entries, report.others) == (3, 9, (tree / "README.md",))
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert "9 entries imported from 3 cassettes" in str(report)
    assert "1 files are not named like a cassette" in str(report)
    with use_cassette(tmp_path / "new", hosts={server.host: server.host}):
        assert with_requests(asked * 3) == live


SECRETS = {
    "header": "hdr-4c7e1f0a9b8d",
    "signature": "sig-77aa88bb99cc00dd",
    "form": "pwd-form-5555aaaa",
    "json": "sec-json-6666bbbb",
    "cookie": "cok-12ab34cd56ef",
    "user": "usr-name-77",
    "password": "usr-pass-0987654321",
    "token": "tok-9f8e7d6c5b4a",
    "set-cookie": "abcdefgh12345",
}


def test_no_secret_is_in_the_imported_tree(server: Server, tmp_path: Path) -> None:
    old = tmp_path / "old.yaml"
    headers = {"X-MBX-APIKEY": SECRETS["header"]}
    asked: list[Asked] = [
        ("GET", f"{server.url}/json?symbol=BTCUSDT&timestamp=1&signature={SECRETS['signature']}", {"headers": headers}),
        ("POST", f"{server.url}/echo", {"data": {"password": SECRETS["form"]}, "headers": headers}),
        ("POST", f"{server.url}/echo", {"json": {"auth": {"apiSecret": SECRETS["json"]}}}),
        ("GET", f"{server.url}/login", {"auth": (SECRETS["user"], SECRETS["password"])}),
        ("GET", f"{server.url}/count", {"headers": {"Authorization": f"Bearer {SECRETS['token']}"}}),
        ("GET", f"{server.url}/count", {"cookies": {"sid": SECRETS["cookie"]}}),
    ]
    with vcr.VCR().use_cassette(str(old)):
        with_requests(asked)
    server.stop()
    written = old.read_text()
    assert SECRETS["signature"] in written
    assert SECRETS["token"] in written  # the answer of the login, before any request carried it

    report = import_cassettes([old], tmp_path / "new")

    assert report.redacted >= 6
    everything = b"".join(path.read_bytes() for path in files.all_files(tmp_path / "new"))
    everything += "\n".join(map(str, (tmp_path / "new").rglob("*"))).encode()
    assert [name for name, secret in SECRETS.items() if secret.encode() in everything] == []
    # another signature, time and key: the same request
    again: list[Asked] = [
        ("GET", f"{server.url}/json?symbol=BTCUSDT&timestamp=2&signature=other", {"headers": {"X-MBX-APIKEY": "k"}})
    ]
    with use_cassette(tmp_path / "new", hosts={server.host: server.host}):
        assert with_requests(again)[0][0] == 200


def test_times_come_from_the_answers_and_are_in_order(server: Server, tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    with vcr.VCR(serializer="json").use_cassette(str(old)):
        with_requests([("GET", f"{server.url}/count", {})] * 5)
    content: dict[str, Any] = json.loads(old.read_text())
    for item in content["interactions"]:
        item["response"]["headers"]["Date"] = ["Thu, 02 Oct 2025 10:00:00 GMT"]
    del content["interactions"][0]["response"]["headers"]["Date"]
    old.write_text(json.dumps(content))

    import_cassettes([old], tmp_path / "new")

    (file,) = files.all_files(tmp_path / "new")
    at = 1759399200000
    assert [entry.timestamp for entry in reader.read(file)] == [at - 1, at, at + 1, at + 2, at + 3]
