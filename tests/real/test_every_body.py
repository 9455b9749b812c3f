"""Every real answer, recorded by every client and replayed with the server down, has the SHA-256 that its index names."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.cassette.payload import encode
from pytest_marketreplay.errors import UnrecordedRequest

from . import recorded_data
from .clients import CLIENTS, Call, Client
from .conftest import Recorded, play_all
from .recorded_data import COMES_SECOND, NOT_SERVED, Asked
from .server import RealExchange, plain_server


def all_entries() -> list[Asked]:
    return list(recorded_data.asked())


def expected() -> dict[str, tuple[int, str]]:
    return {asked.entry.id: (asked.entry.status, asked.entry.sha256) for asked in all_entries()}


def test_an_entry_replays_byte_for_byte(recorded: Recorded, client: Client, asked: Asked) -> None:
    entry = asked.entry
    live = recorded.got[entry.id]
    assert (live.status, live.sha256, live.headers["x-recorded-id"]) == (entry.status, entry.sha256, entry.id)

    replayed = recorded.replay(client, asked)

    assert (replayed.status, replayed.sha256) == (entry.status, entry.sha256)
    assert replayed.headers == live.headers


def test_only_six_entries_are_beyond_what_the_server_can_give(exchange: RealExchange) -> None:
    everything = {entry.id for entry in recorded_data.entries()}
    assert len(everything) == 102
    assert len(all_entries()) == 96
    assert everything - {asked.entry.id for asked in all_entries()} == set(NOT_SERVED)
    assert len(NOT_SERVED) == 6
    assert set(COMES_SECOND) < everything
    for entry in recorded_data.entries():
        if entry.id in NOT_SERVED:  # had the server learned to give it, it would belong to the others
            given = CLIENTS["requests"]([Call(exchange.url + entry.path, entry.query, entry.host)] * 3)
            assert entry.sha256 not in {one.sha256 for one in given}, entry.id


def test_those_six_replay_from_a_plain_server(client: Client, tmp_path: Path) -> None:
    left_out = [entry for entry in recorded_data.entries() if entry.id in NOT_SERVED]
    with plain_server() as address:

        def play(mode: str) -> dict[str, tuple[int, str]]:
            out = {}
            for entry in left_out:
                with use_cassette(tmp_path / entry.venue, mode=mode, hosts={address: entry.venue}):
                    got = client([Call(f"http://{address}{entry.path}", entry.query, entry.host)])[0]
                    out[entry.id] = got.status, got.sha256
            return out

        recorded = play("new_episodes")
    assert recorded == play("none") == {entry.id: (entry.status, entry.sha256) for entry in left_out}


@pytest.mark.parametrize("player", CLIENTS)
def test_what_one_client_recorded_every_other_plays(recorded: Recorded, player: str) -> None:
    played = play_all(recorded.server, CLIENTS[player], recorded.cassette, mode="none")
    assert {name: (got.status, got.sha256) for name, got in played.items()} == expected()


def test_a_body_that_is_one_line_of_json_stands_verbatim_in_the_file(recorded: Recorded) -> None:
    lines = [line for file in recorded.cassette.rglob("*.jsonl") for line in file.read_bytes().splitlines()]
    by_id = {}
    for line in lines:
        for asked in all_entries():
            if b'"%s"' % asked.entry.id.encode() in line[:4000]:
                by_id[asked.entry.id] = line
    verbatim = 0
    for asked in all_entries():
        payload = encode(asked.entry.body())
        if payload.encoding == "json" and payload.space is None:
            verbatim += 1
            assert by_id[asked.entry.id].endswith(b'"response":' + asked.entry.body() + b"}"), asked.entry.id
    assert verbatim > 60
    assert len(lines) == len(all_entries()) + len(COMES_SECOND)


@pytest.mark.parametrize("form", [{"named": True}, {"form": True}], ids=["venue-in-url", "post-form"])
def test_the_other_forms_of_asking_replay(
    exchange: RealExchange, client: Client, tmp_path: Path, form: dict[str, bool]
) -> None:
    play_all(exchange, client, tmp_path / "c", **form)
    seen = exchange.asked()
    replayed = play_all(exchange, client, tmp_path / "c", mode="none", **form)
    assert {name: (got.status, got.sha256) for name, got in replayed.items()} == expected()
    assert exchange.asked() == seen


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_answers_are_stored_plain_and_replay_the_same(
    exchange: RealExchange, client: Client, tmp_path: Path, encoding: str
) -> None:
    exchange.set(gzip=1)
    live = play_all(exchange, client, tmp_path / "c", encoding=encoding)
    seen = exchange.asked()
    replayed = play_all(exchange, client, tmp_path / "c", mode="none", encoding=encoding)

    assert exchange.asked() == seen
    assert {got.headers.get("content-encoding") for got in live.values()} == {encoding}
    lines = [line for file in (tmp_path / "c").rglob("*.jsonl") for line in file.read_bytes().splitlines()]
    assert all(b'"content_encoding":"%s"' % encoding.encode() in line for line in lines)
    assert {name: (got.status, got.sha256) for name, got in replayed.items()} == expected()
    for asked in all_entries():
        headers = replayed[asked.entry.id].headers
        assert "content-encoding" not in headers
        assert headers.get("content-length") in (None, str(asked.entry.size_bytes))


def test_a_polled_url_plays_its_answers_in_the_order_of_the_recording(recorded: Recorded, client: Client) -> None:
    products = [asked for asked in all_entries() if asked.entry.path == "/products"]
    assert [asked.nth for asked in products] == [1, 2]
    with use_cassette(recorded.cassette, hosts={recorded.server.address: "coinbase_exchange"}):
        got = client(recorded.calls(products[1]))
    assert [one.sha256 for one in got] == [asked.entry.sha256 for asked in products]


def test_what_was_not_recorded_is_refused_with_the_nearest_symbol(recorded: Recorded, client: Client) -> None:
    address = recorded.server.address
    missing = Call(f"http://{address}/api/v3/depth", {"symbol": "BTCUSDT", "limit": "11"}, "api.binance.com")
    with (
        pytest.raises(UnrecordedRequest) as refused,
        use_cassette(recorded.cassette, hosts={address: "binance"}),
    ):
        client([missing])
    text = str(refused.value)
    assert "symbol=BTCUSDT" in text
    assert "limit: '11' asked, '10' recorded" in text
    assert 'mode="new_episodes"' in text
