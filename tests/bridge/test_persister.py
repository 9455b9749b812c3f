"""A suite on vcrpy keeps its recordings in our tree: records, replays, replaces, and loses nothing when it fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import vcr
from bridge_server import Answers, Asked, Server, calls, with_requests
from hypothesis import given, settings
from hypothesis import strategies as st
from vcr.errors import CannotOverwriteExistingCassetteException
from vcr.persisters.filesystem import CassetteNotFoundError
from vcr.request import Request
from vcr.serializers import jsonserializer, yamlserializer

from pytest_marketreplay import use_cassette
from pytest_marketreplay.bridge.importing import import_cassettes
from pytest_marketreplay.bridge.persister import METADATA, MarketReplayPersister, folder_of
from pytest_marketreplay.cassette import files, reader
from pytest_marketreplay.errors import CassetteError, DamagedCassette, RecordingError
from pytest_marketreplay.replay import replace
from pytest_marketreplay.venues.registry import Registry

Client = Callable[[list[Asked]], Answers]


def recorder(**settings: Any) -> vcr.VCR:
    made = vcr.VCR(**settings)
    MarketReplayPersister.register(made)
    return made


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("serializer", ["yaml", "json"])
def test_what_vcrpy_records_into_the_tree_replays_byte_for_byte(
    server: Server, client: Client, serializer: str, tmp_path: Path
) -> None:
    asked = calls(server.url)  # binary bodies too, whatever the serializer
    path = tmp_path / f"test_it.{serializer}"
    with recorder(serializer=serializer).use_cassette(str(path)):
        live = client(asked)
    server.stop()

    with recorder(serializer=serializer, record_mode="none").use_cassette(str(path)) as cassette:
        assert client(asked) == live
    assert cassette.all_played
    assert not path.exists()
    # and our own plugin plays the same tree
    with use_cassette(tmp_path / "test_it", hosts={server.host: server.host}):
        assert client(asked) == live


def test_new_episodes_keep_what_was_recorded_its_order_and_its_times(server: Server, tmp_path: Path) -> None:
    path = str(tmp_path / "test_it.yaml")
    first: list[Asked] = [("GET", f"{server.url}{path}", {}) for path in ("/count", "/json", "/count", "/missing")]
    more: list[Asked] = [("GET", f"{server.url}/text", {})]
    with recorder().use_cassette(path):
        live = with_requests(first)
    before = entries(tmp_path / "test_it")
    with recorder(record_mode="new_episodes").use_cassette(path):
        assert with_requests(first) == live
        live += with_requests(more)
    server.stop()

    after = entries(tmp_path / "test_it")
    assert after.items() >= before.items()
    assert len(after) == 5
    with recorder(record_mode="none").use_cassette(path) as cassette:
        assert [request.path for request in cassette.requests] == ["/count", "/json", "/count", "/missing", "/text"]
        assert with_requests(first + more) == live


def entries(cassette: Path) -> dict[int, tuple[str, bytes]]:
    return {
        entry.timestamp: (entry.endpoint, entry.body())
        for file in files.all_files(cassette)
        for entry in reader.read(file)
    }


def test_a_save_that_changes_nothing_writes_nothing(server: Server, tmp_path: Path) -> None:
    path = str(tmp_path / "test_it.yaml")
    asked: list[Asked] = [("GET", f"{server.url}/json", {})]
    with recorder().use_cassette(path):
        with_requests(asked)
    before = tree(tmp_path)
    with recorder().use_cassette(path):
        with_requests(asked)
    assert tree(tmp_path) == before


SECRETS = ("hdr-4c7e1f0a9b8d", "sig-77aa88bb99cc00dd", "pwd-form-5555aaaa", "sec-json-6666bbbb", "bin-0011223344")


def signed(server: Server, number: int) -> list[Asked]:
    headers = {"X-MBX-APIKEY": SECRETS[0]}
    signature = f"{SECRETS[1]}{number}"
    return [
        ("GET", f"{server.url}/json?symbol=BTCUSDT&timestamp={number}&signature={signature}", {"headers": headers}),
        ("GET", f"{server.url}/json?api%5Fkey={SECRETS[0]}&b=%20", {}),
        ("POST", f"{server.url}/echo", {"data": {"password": SECRETS[2], "note": "a b"}, "headers": headers}),
        ("POST", f"{server.url}/echo?x=1", {"json": {"auth": {"apiSecret": SECRETS[3]}, "n": 1}}),
        ("POST", f"{server.url}/echo?x=1", {"json": [{"apiSecret": SECRETS[3]}]}),
        ("POST", f"{server.url}/json?api_key={SECRETS[4]}", {"data": b"\xff" + SECRETS[4].encode()}),
    ]


def test_no_secret_is_in_the_tree_and_signed_requests_match_by_our_matcher(server: Server, tmp_path: Path) -> None:
    path = str(tmp_path / "test_it.yaml")
    with recorder().use_cassette(path):
        live = with_requests(signed(server, 1))
    server.stop()

    everything = b"".join(tree(tmp_path).values())
    assert [secret for secret in SECRETS if secret.encode() in everything] == []
    with recorder(record_mode="none").use_cassette(path), pytest.raises(CannotOverwriteExistingCassetteException):
        with_requests(signed(server, 2))  # vcrpy compares the query, signature included
    with recorder(record_mode="none", match_on=["marketreplay"]).use_cassette(path):
        again = with_requests(signed(server, 2)[:-1])  # a secret inside binary data leaves nothing to match by
    assert [status for status, _ in again] == [status for status, _ in live[:-1]]
    assert again[0] == live[0]


def test_our_matcher_still_tells_requests_apart(server: Server, tmp_path: Path) -> None:
    path = str(tmp_path / "test_it.yaml")
    with recorder().use_cassette(path):
        with_requests([("GET", f"{server.url}/json?symbol=BTCUSDT", {})])
    for url in (f"{server.url}/json?symbol=ETHUSDT", "http://localhost:1/json?symbol=BTCUSDT"):
        with (
            recorder(record_mode="none", match_on=["marketreplay"]).use_cassette(path),
            pytest.raises(CannotOverwriteExistingCassetteException),
        ):
            with_requests([("GET", url, {})])


def test_bodies_match_by_their_meaning_after_a_reload(server: Server, client: Client, tmp_path: Path) -> None:
    path = str(tmp_path / "test_it.yaml")
    settings: dict[str, Any] = {"match_on": ["method", "path", "query", "body"]}
    asked: list[Asked] = [
        ("POST", f"{server.url}/echo", {"data": {"b": "x y", "a": "ü"}}),
        ("POST", f"{server.url}/echo", {"json": {"b": 1, "a": [1.5]}}),
        (
            "POST",
            f"{server.url}/json",
            {"data": b"\x00\xff"} if client.__name__ != "with_httpx" else {"content": b"plain"},
        ),
    ]
    with recorder(**settings).use_cassette(path):
        live = client(asked)
    server.stop()
    with recorder(record_mode="none", **settings).use_cassette(path):
        assert client(asked) == live


def test_a_cassette_of_vcrpys_is_read_until_it_is_saved_as_a_tree(server: Server, tmp_path: Path) -> None:
    path = str(tmp_path / "test_it.yaml")
    asked: list[Asked] = [("GET", f"{server.url}/count", {})]
    more: list[Asked] = [("GET", f"{server.url}/json", {})]
    with vcr.VCR().use_cassette(path):
        live = with_requests(asked)
    with recorder(record_mode="none").use_cassette(path):
        assert with_requests(asked) == live
    assert not (tmp_path / "test_it").exists()
    with recorder(record_mode="new_episodes").use_cassette(path):
        assert with_requests(asked) == live
        live += with_requests(more)
    (tmp_path / "test_it.yaml").unlink()
    with recorder(record_mode="none").use_cassette(path):
        assert with_requests(asked + more) == live


def test_a_tree_of_our_own_plays_in_vcrpy(server: Server, tmp_path: Path) -> None:
    asked = [call for call in calls(server.url) if call[0] != "POST"]
    asked += [
        ("POST", f"{server.url}/echo", {"data": {"a": "1 2"}}),
        ("POST", f"{server.url}/echo", {"json": {"a": 1}}),
        ("POST", f"{server.url}/echo", {"json": [1]}),
        ("POST", f"{server.url}/echo", {"data": "plain"}),
        ("POST", f"{server.url}/json", {"data": b"\xff\xfe"}),
    ]
    with use_cassette(tmp_path / "ours", mode="once", hosts={server.host: "mine"}):
        live = with_requests(asked)
    server.stop()
    made = vcr.VCR(record_mode="none", match_on=["method", "scheme", "host", "port", "path", "query", "body"])
    MarketReplayPersister.register(made, registry=Registry(hosts={server.host: "mine"}))
    with made.use_cassette(str(tmp_path / "ours")):
        assert with_requests(asked) == live


def test_an_imported_cassette_of_a_known_venue_has_its_first_host(tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    item = {
        "request": {"method": "GET", "uri": "https://api.binance.com/api/v3/time", "headers": {}, "body": None},
        "response": {"status": {"code": 200, "message": "Fine"}, "headers": {}, "body": {"string": "{}"}},
    }
    old.write_text(json.dumps({"interactions": [item], "version": 1}))
    import_cassettes([old], tmp_path / "new")
    (request,), (response,) = MarketReplayPersister().load_cassette(tmp_path / "new", yamlserializer)
    assert (request.method, request.uri, request.body) == ("GET", "https://api.binance.com/api/v3/time", None)
    assert response["status"] == {"code": 200, "message": "Fine"}


def test_nothing_at_all_is_a_cassette_that_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(CassetteNotFoundError):
        MarketReplayPersister().load_cassette(tmp_path / "nothing.yaml", yamlserializer)


def saved(persister: MarketReplayPersister, path: Path, *bodies: bytes, **more: Any) -> None:
    requests = [Request("GET", "https://api.binance.com/api/v3/time", None, {}) for _ in bodies]
    responses = [{"status": {"code": 200, "message": "OK"}, "headers": {}, "body": {"string": b}} for b in bodies]
    persister.save_cassette(str(path), {"requests": requests, "responses": responses, **more}, yamlserializer)


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=200), max_size=4))
def test_any_bytes_are_saved_and_loaded_as_they_are(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("any") / "test_it.yaml"
    persister = MarketReplayPersister()
    saved(persister, path, b"before")
    saved(persister, path, *bodies)
    if not bodies:
        assert not path.with_suffix("").exists()
        return
    _, responses = persister.load_cassette(str(path), yamlserializer)
    assert [response["body"]["string"] for response in responses] == bodies


@pytest.mark.parametrize("serializer", [yamlserializer, jsonserializer])
def test_metadata_is_kept_beside_the_tree(serializer: Any, tmp_path: Path) -> None:
    persister = MarketReplayPersister()
    path = str(tmp_path / "test_it.yaml")
    empty: dict[str, Any] = {"requests": [], "responses": []}
    persister.save_cassette(path, {**empty, "metadata": {"now": "2025-10-02", "seed": 5}}, serializer)
    assert persister.load_cassette(path, serializer) == ([], [], {"now": "2025-10-02", "seed": 5})
    persister.save_cassette(path, empty, serializer)
    assert not (tmp_path / "test_it" / METADATA).exists()


def test_the_old_recording_stays_where_saving_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    persister = MarketReplayPersister()
    path = tmp_path / "test_it.yaml"
    saved(persister, path, b"good", metadata={"a": 1})
    before = tree(tmp_path)

    request = Request("GET", "https://api.binance.com/api/v3/time", None, {})
    with pytest.raises(RecordingError, match="no status"):
        persister.save_cassette(path, {"requests": [request], "responses": [{"body": {}}]}, yamlserializer)
    assert tree(tmp_path) == before

    with pytest.raises(TypeError, match="different serializer"):
        cassette = {"requests": [], "responses": [], "metadata": {"a": b"bytes"}}
        persister.save_cassette(path, cassette, jsonserializer)
    assert tree(tmp_path) == before

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(replace, "commit", full)
    with pytest.raises(OSError, match="No space"):
        saved(persister, path, b"new")
    assert tree(tmp_path) == before


def test_a_save_that_was_killed_in_its_last_step_is_finished_by_the_next_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    persister = MarketReplayPersister()
    path = tmp_path / "test_it.yaml"
    saved(persister, path, b"old")
    carry_out = replace._carry_out

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(replace, "_carry_out", killed)
    with pytest.raises(KeyboardInterrupt):
        saved(persister, path, b"new")
    monkeypatch.setattr(replace, "_carry_out", carry_out)
    _, responses = persister.load_cassette(path, yamlserializer)
    assert [response["body"]["string"] for response in responses] == [b"new"]


def test_a_damaged_tree_is_an_error_and_is_not_recorded_over(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "test_it.yaml"
    saved(MarketReplayPersister(), path, b"good")
    (file,) = files.all_files(tmp_path / "test_it")
    file.write_bytes(b"{broken\n" + file.read_bytes())
    before = tree(tmp_path)
    with pytest.raises(DamagedCassette, match="line 1"), recorder().use_cassette(str(path)):
        pytest.fail("the block must not be entered: opening it reads the damaged tree")
    assert tree(tmp_path) == before


def test_meta_that_vcrpy_cannot_be_given_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "test_it.yaml"
    saved(MarketReplayPersister(), path, b"good")
    (file,) = files.all_files(tmp_path / "test_it")
    file.write_bytes(file.read_bytes().replace(b'"uri":"', b'"uri":5,"x":"'))
    with pytest.raises(DamagedCassette, match="vcr"):
        MarketReplayPersister().load_cassette(path, yamlserializer)


def test_a_recorded_failure_is_said_to_be_none_of_vcrpys(tmp_path: Path) -> None:
    folder = tmp_path / "binance" / "api_v3_time" / "_all"
    folder.mkdir(parents=True)
    line = (
        '{"timestamp":1,"endpoint":"/api/v3/time","params":{},"meta":{"status":0,"error":"connect"},"response":null}\n'
    )
    (folder / "2025-10-02T10-00-00.jsonl").write_text(line)
    with pytest.raises(CassetteError, match=r"line 1: .*connect.*marketreplay"):
        MarketReplayPersister().load_cassette(tmp_path, yamlserializer)


def test_websocket_recordings_are_passed_over_and_stay(tmp_path: Path) -> None:
    path = tmp_path / "test_it.yaml"
    saved(MarketReplayPersister(), path, b"old")
    folder = tmp_path / "test_it" / "binance" / "ws_stream" / "BTCUSDT"
    folder.mkdir(parents=True)
    frame = folder / "2025-10-02T10-00-00.jsonl"
    frame.write_text('{"timestamp":1,"endpoint":"/stream","params":{},"meta":{"dir":"in"},"response":{}}\n')
    assert len(MarketReplayPersister().load_cassette(path, yamlserializer)[0]) == 1
    saved(MarketReplayPersister(), path, b"new")
    assert frame.exists()
    assert len(files.all_files(tmp_path / "test_it")) == 2


@pytest.mark.parametrize(
    "path, folder",
    [
        ("a/Test.test_b.yaml", "a/Test.test_b"),
        ("a/b.YML", "a/b"),
        ("b.json", "b"),
        ("v1.2", "v1.2"),
        ("plain", "plain"),
    ],
)
def test_the_folder_is_the_path_without_its_ending(path: str, folder: str) -> None:
    assert folder_of(path) == Path(folder)
