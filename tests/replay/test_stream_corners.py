"""Rare ways through a recorded connection: odd files, odd frames, clients that do things in another order."""

from __future__ import annotations

import json

import pytest

from pytest_marketreplay import use_cassette
from pytest_marketreplay.errors import (
    DamagedCassette,
    RecordingError,
    StreamStalled,
    TapeEnded,
    UnrecordedRequest,
    UsageMistake,
)
from pytest_marketreplay.replay.starting import first_ns
from pytest_marketreplay.replay.stream.messages import renumbered

from .wire import Client, lines, record, said, session

TOKEN = "4f0e8d3e0a4c6d7b1f22aa"


def only_file(folder):
    (file,) = folder.rglob("*.jsonl")
    return file


# ---------------------------------------------------------------- which connection, and when


def test_a_client_that_subscribes_in_another_order_gets_the_connection_that_did(tmp_path):
    record(
        tmp_path,
        said("/ws", ("send", b'{"a":1}'), ("send", b'{"a":2}'), b"A"),
        said("/ws", ("send", b'{"b":1}'), ("send", b'{"b":2}'), b"B"),
    )
    client = Client(session(tmp_path), "/ws")
    client.send(b'{"b":2}')
    assert client.all() == []
    client.send(b'{"b":1}')
    assert client.all() == [b"B"]


def test_a_client_that_never_told_which_it_is_hears_what_each_began_with(tmp_path):
    record(tmp_path, said("/ws", ("send", b'{"a":1}'), b"A"), said("/ws", ("send", b'{"b":1}'), b"B"))
    client = Client(session(tmp_path, patience=0.05), "/ws")
    with pytest.raises(StreamStalled, match=r'(?s)one of:.*"a":1.*"b":1'):
        client.next()


def test_a_connection_that_has_ended_gives_nothing_and_takes_anything(tmp_path):
    record(tmp_path, said("/ws", b"one", ("send", b'{"a":1}')))
    client = Client(session(tmp_path), "/ws")
    client.player.lost()
    client.send(b"what nobody recorded")
    assert client.player.head() is None
    assert client.next() is None


# ---------------------------------------------------------------- files


def test_a_file_that_is_cut_off_while_it_is_played_is_told_again_and_again(tmp_path):
    record(tmp_path, said("/ws", b"one", b"two"))
    playing = session(tmp_path)
    client = Client(playing, "/ws")
    file = only_file(tmp_path)
    with file.open("r+b") as out:
        out.truncate(len(file.read_bytes().splitlines()[0]) + 20)
    assert client.driver.is_ready()
    for _ in range(2):
        with pytest.raises(DamagedCassette, match="cut off while it was played"):
            client.next()
    assert [type(error) for error in playing.refusals] == [DamagedCassette]
    playing.refusals.clear()


def test_a_last_line_without_its_end_plays(tmp_path):
    record(tmp_path, said("/ws", b"one", b"two"))
    file = only_file(tmp_path)
    file.write_bytes(file.read_bytes().rstrip(b"\n"))
    assert Client(session(tmp_path), "/ws").all() == [b"one", b"two"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b'"one"', b'"\xff\xfe"', "line 2"),
        (b'"dir":"open"', b'"dir":"open","status":"one hundred"', "line 1"),
        (b'"dir":"recv"', b'"dir":"received"', "line 2"),
    ],
)
def test_a_line_that_is_no_frame_is_named(tmp_path, old, new, told):
    record(tmp_path, said("/ws", b'"one"', b'"two"'))
    file = only_file(tmp_path)
    data = file.read_bytes()
    assert old in data
    file.write_bytes(data.replace(old, new, 1))
    playing = session(tmp_path)
    with pytest.raises(DamagedCassette, match=told):
        Client(playing, "/ws").all()
    playing.refusals.clear()


def test_a_connection_in_many_files_plays_on_from_file_to_file(tmp_path):
    frames = [b'{"u":%d}' % number for number in range(70)]
    record(tmp_path, said("/ws", *frames))
    file = only_file(tmp_path)
    parts = file.read_bytes().splitlines(keepends=True)
    file.unlink()
    for number, line in enumerate(parts):
        file.with_name(f"2025-10-02T10-{number // 60:02}-{number % 60:02}.jsonl").write_bytes(line)
    assert Client(session(tmp_path), "/ws").all() == frames


def test_a_connection_without_its_handshake_is_shown_as_such(tmp_path):
    record(tmp_path, said("/ws/btcusdt@depth", b"one"))
    file = only_file(tmp_path)
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[1:]))
    playing = session(tmp_path)
    with pytest.raises(UnrecordedRequest, match="without its handshake"):
        playing.connect("ws://127.0.0.1:9/ws/ethusdt@depth")


def test_the_clock_begins_with_the_first_file_that_holds_anything(tmp_path):
    assert first_ns([tmp_path / "nothing"]) is None
    record(tmp_path / "full", said("/ws", b"one"))
    file = only_file(tmp_path / "full")
    file.with_name("2000-01-01T00-00-00.jsonl").touch()
    empty = tmp_path / "empty" / "binance" / "api_v3_depth" / "BTCUSDT"
    empty.mkdir(parents=True)
    (empty / "2000-01-01T00-00-00.jsonl").touch()
    first = json.loads(file.read_text().splitlines()[0])["timestamp"]
    assert first_ns([tmp_path / "empty", tmp_path / "full"]) == first * 1_000_000


def test_the_recordings_clock_needs_a_recording(tmp_path):
    with pytest.raises(UsageMistake, match="record one first"), use_cassette(tmp_path, clock="recording"):
        pass


def test_all_replaces_the_connections_that_were_made_and_keeps_their_neighbours(tmp_path):
    first, second = "/stream?streams=a@x/b@x", "/stream?streams=c@x/d@x"
    record(tmp_path, said(first, b"old"), said(second, b"stays"))
    only_file(tmp_path)  # both in one
    record(tmp_path, said(first, b"new"), mode="all")
    playing = session(tmp_path)
    assert Client(playing, first).all() == [b"new"]
    assert Client(playing, second).all() == [b"stays"]


# ---------------------------------------------------------------- recording


def test_a_field_that_a_venue_names_is_replaced_in_frames(tmp_path):
    record(tmp_path, said("/v2", b'{"token":"%b","price":0.10}' % TOKEN.encode()), venue="kraken")
    (frame,) = [line for line in lines(tmp_path).splitlines() if b'"recv"' in line]
    assert TOKEN.encode() not in frame
    assert json.loads(frame)["meta"]["redacted"] == ["token"]
    assert b'"price":0.10}' in frame


@pytest.mark.parametrize("how", ["header", "login"])
def test_a_secret_that_is_learnt_after_its_frame_is_not_in_the_file(tmp_path, how):
    late = TOKEN[::-1] + how  # known to no other test: it is learnt here
    recording = session(tmp_path, mode="once")
    said("/ws", b'{"hello":"%b","p":"0.10"}' % late.encode(), b'{"p":"0.20"}')(recording)
    if how == "header":
        said("/ws", b"welcome", headers=(("Authorization", f"Bearer {late}"),))(recording)
    else:
        said("/ws", ("send", b'{"op":"auth","args":["%b"]}' % late.encode()), b"welcome")(recording)
    recording.close()
    stored = lines(tmp_path)
    assert late.encode() not in stored
    (line,) = [line for line in stored.splitlines() if b"hello" in line]
    assert json.loads(line)["meta"]["redacted"] == ["echo"]
    assert b'"p":"0.10"}' in line


def test_what_is_neither_text_nor_json_is_sent_as_it_is(tmp_path):
    def binary(recording):
        capture = recording.connect("ws://127.0.0.1:9/ws")
        capture.opened([])
        capture.sent("binary", b"\xff\xfe\x00")
        capture.received("text", b"one")

    record(tmp_path, binary)
    client = Client(session(tmp_path), "/ws")
    client.player.sent("binary", b"\xff\xfe\x00")
    assert client.all() == [b"one"]


def test_a_recording_of_no_time_holds_the_handshake_and_why_it_ends(tmp_path):
    record(tmp_path, said("/ws", b"one", b"two"), max_seconds=1e-9)
    metas = [json.loads(line)["meta"] for line in lines(tmp_path).splitlines()]
    assert [meta["dir"] for meta in metas] == ["open", "end"]
    assert (metas[1]["error"], metas[1]["reason"]) == ("limit", "max_seconds=1e-09")


def test_a_line_that_cannot_be_written_does_not_reach_the_client_and_fails_the_test(tmp_path):
    (tmp_path / "cassette").write_text("a file, where a folder should be")
    recording = session(tmp_path / "cassette", mode="once")
    said("/ws", b"one", b"two")(recording)
    assert [type(error) for error in recording.refusals] == [RecordingError]
    recording.refusals.clear()


# ---------------------------------------------------------------- acknowledgements


@pytest.mark.parametrize(
    "data",
    [b'"id" is no JSON', b'["id", 1]', b'{"\\u0069d":1,"e":"id"}', b'{"id":2}', b'{"e":{"id":1},"x":1}'],
)
def test_what_is_no_acknowledgement_of_this_number_keeps_its_bytes(data):
    assert renumbered(data, {("id", b"1"): b"77"}) == data


# ---------------------------------------------------------------- waiting in vain


def test_a_verdict_is_forgotten_once_something_was_played_again(tmp_path):
    record(tmp_path, said("/ws", b"one"), said("/ws", b"two"))
    playing = session(tmp_path, patience=0.05)
    timeline = playing.streams.timeline
    first = Client(playing, "/ws")
    assert first.all() == [b"one"]
    with pytest.raises(TapeEnded) as caught:
        first.next()
    timeline.judged(caught.value, late=False)
    assert Client(playing, "/ws").all() == [b"two"]
    assert timeline.in_vain(0.01) is None
    assert timeline.in_vain(0.01) is None
    playing.refusals.clear()


def test_a_sleep_of_no_time_holds_no_verdict_up(tmp_path):
    record(tmp_path, said("/ws", b"one"))
    timeline = session(tmp_path).streams.timeline
    before = timeline.asleep_until
    timeline.sleeping(0)
    assert timeline.asleep_until == before
