"""What is written of a live connection: every frame, and no secret."""

from __future__ import annotations

import json
import warnings

import pytest

from pytest_marketreplay.cassette import reader
from pytest_marketreplay.cassette.frame import FrameMeta, read_frame, write_frame
from pytest_marketreplay.cassette.payload import encode
from pytest_marketreplay.cli import survey
from pytest_marketreplay.errors import DamagedCassette, UnrecordedFrame
from pytest_marketreplay.replay.stream.recorded import MissingFrames
from pytest_marketreplay.venues.registry import Registry

from .wire import Client, lines, record, said, session

STREAM = "/stream?streams=btcusdt@depth"
KEY = "pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81va65sdf19v8a65a1"


def written(folder) -> list[dict]:
    return [json.loads(line) for line in lines(folder).splitlines()]


def test_each_line_says_direction_connection_opcode_number_and_offset(tmp_path):
    record(tmp_path, said(STREAM, ("send", b'{"id":1}'), b'{"u":1}', ("ping", b"x"), ("close", b"\x03\xe8ok")))
    metas = [line["meta"] for line in written(tmp_path)]
    assert [(meta["dir"], meta.get("opcode"), meta["seq"]) for meta in metas] == [
        ("open", None, 0),
        ("send", "text", 1),
        ("recv", "text", 2),
        ("recv", "ping", 3),
        ("recv", "close", 4),
    ]
    assert len({meta["conn"] for meta in metas}) == 1
    offsets = [meta["offset_ns"] for meta in metas]
    assert offsets == sorted(offsets)
    assert metas[0]["status"] == 101
    assert metas[4]["code"] == 1000


def test_the_time_of_a_frame_is_that_of_the_handshake_and_its_offset(tmp_path):
    record(tmp_path, said(STREAM, b"1", b"2"))
    (file,) = tmp_path.rglob("*.jsonl")
    for frame in reader.read(file):
        assert frame.time_ns // 1_000_000 == frame.timestamp
        assert frame.time_ns % 1_000_000 == frame.meta.offset_ns % 1_000_000


def test_streams_of_one_symbol_stand_under_it_and_others_under_all(tmp_path):
    paths = [STREAM, "/ws/ethusdt@trade/ethusdt@depth", "/stream?streams=a@x/b@x", "/ws/!ticker@arr", "/ws"]
    record(tmp_path, *(said(path, b"1") for path in paths))
    found = {"/".join(file.relative_to(tmp_path).parts[1:3]) for file in tmp_path.rglob("*.jsonl")}
    assert found == {
        "ws_stream/BTCUSDT",
        "ws_ws_ethusdt%40trade_ethusdt%40depth/ETHUSDT",
        "ws_stream/_all",
        "ws_ws_%21ticker%40arr/_all",
        "ws_ws/_all",
    }


@pytest.mark.parametrize(
    ("venue", "login", "again", "secrets"),
    [
        ("okx", b'{"op":"login","args":[{"apiKey":"KEYKEYKEY1","passphrase":"PASSPASS","timestamp":"17","sign":"SIGNSIGN"}]}',
         b'{"op":"login","args":[{"apiKey":"OTHER","passphrase":"OTHER2","timestamp":"18","sign":"OTHER3"}]}',
         (b"KEYKEYKEY1", b"PASSPASS", b"SIGNSIGN")),
        ("bybit", b'{"op":"auth","args":["KEYKEYKEY1",1662350400000,"SIGNSIGN"],"req_id":"a"}',
         b'{"op":"auth","args":["OTHER",1662350400999,"OTHER2"],"req_id":"b"}', (b"KEYKEYKEY1", b"SIGNSIGN")),
        ("kraken", b'{"event":"subscribe","subscription":{"name":"ownTrades","token":"TOKENTOKEN"}}',
         b'{"event":"subscribe","subscription":{"name":"ownTrades","token":"OTHER"}}', (b"TOKENTOKEN",)),
        ("binance", b'{"method":"SUBSCRIBE","params":["%b"],"id":1}' % KEY.encode(),
         b'{"method":"SUBSCRIBE","params":["%b"],"id":2}' % KEY[::-1].encode(), (KEY.encode(),)),
    ],
)  # fmt: skip
def test_a_login_is_stored_without_its_secrets_and_matches_that_of_another_account(
    tmp_path, venue, login, again, secrets
):
    echo = b'{"arg":"%b"}' % secrets[0]
    record(tmp_path, said("/ws/v5", ("send", login), b'{"event":"login","code":"0"}', echo), venue=venue)
    for secret in secrets:
        assert secret not in lines(tmp_path)
    client = Client(session(tmp_path, venue), "/ws/v5")
    client.send(again)
    assert client.all()[0] == b'{"event":"login","code":"0"}'


@pytest.mark.parametrize("path", ["/ws/{}", "/stream?streams={}", "/stream?streams=btcusdt@trade/{}"])
def test_a_listen_key_in_a_url_is_not_stored_and_another_one_matches(tmp_path, path):
    record(tmp_path, said(path.format(KEY), b'{"e":"executionReport"}'))
    assert KEY.encode() not in lines(tmp_path)
    assert not any(KEY in str(file) for file in tmp_path.rglob("*"))
    assert Client(session(tmp_path), path.format(KEY[::-1])).all() == [b'{"e":"executionReport"}']


def test_no_error_text_shows_a_listen_key(tmp_path):
    record(tmp_path, said(STREAM, b"1"))
    playing = session(tmp_path)
    with pytest.raises(Exception, match="REDACTED") as refused:
        Client(playing, f"/ws/{KEY}")
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    ("limit", "count"), [({"max_frames": 3}, 3), ({"max_bytes": 25}, 2), ({"max_seconds": 3600.0}, 10)]
)
def test_a_limit_stops_the_recording_and_says_which(tmp_path, limit, count):
    record(tmp_path, said(STREAM, *[b"0123456789"] * 10), **limit)
    frames = written(tmp_path)
    assert sum(frame["meta"]["dir"] == "recv" for frame in frames) == count
    if count < 10:
        assert frames[-1]["meta"]["error"] == "limit"
        ((name, value),) = limit.items()
        assert frames[-1]["meta"]["reason"] == f"{name}={value}"
    client = Client(session(tmp_path, patience=0.01), STREAM)
    assert len(client.all()) == count


def test_all_replaces_the_connections_that_were_opened_and_keeps_the_others(tmp_path):
    record(tmp_path, said("/ws", ("send", b'{"a":1}'), b"old a"), said(STREAM, b"old"), said("/ws/x@y", b"stays"))
    record(tmp_path, said("/ws", ("send", b'{"a":1}'), b"new a"), said(STREAM, b"new"), mode="all")
    text = lines(tmp_path)
    assert b'"old' not in text
    for kept in (b'"new a"', b'"new"', b'"stays"'):
        assert text.count(kept) == 1


def test_rewrite_replaces_everything(tmp_path):
    record(tmp_path, said(STREAM, b"old"), said("/ws/x@y", b"goes"))
    record(tmp_path, said(STREAM, b"new"), mode="rewrite")
    assert [line["response"] for line in written(tmp_path)] == [None, "new"]


def test_a_recording_that_is_not_kept_leaves_nothing(tmp_path):
    recording = session(tmp_path / "cassette", mode="once")
    capture = recording.connect("ws://127.0.0.1:9/ws/a@b")
    capture.opened([])
    capture.received("text", b"1")
    recording.close(keep=False)
    assert list(tmp_path.iterdir()) == []


def test_new_episodes_plays_what_is_there_and_records_the_rest(tmp_path):
    record(tmp_path, said(STREAM, b"old"))
    both = session(tmp_path, mode="new_episodes")
    assert Client(both, STREAM).all() == [b"old"]
    capture = both.connect("ws://127.0.0.1:9/ws/a@b")
    capture.opened([])
    capture.received("text", b"new")
    both.close()
    playing = session(tmp_path)
    assert Client(playing, STREAM).all() == [b"old"]
    assert Client(playing, "/ws/a@b").all() == [b"new"]


def test_a_failed_upgrade_is_recorded_with_its_status_and_body(tmp_path):
    def refused(recording):
        recording.connect("ws://127.0.0.1:9/ws/a@b").refused(503, "Busy", [("retry-after", "3")], b'{"code":-1}')

    record(tmp_path, refused)
    player = session(tmp_path).connect("ws://127.0.0.1:9/ws/a@b")
    assert (player.status, player.reason, player.headers, player.body) == (
        503, "Busy", [("retry-after", "3")], b'{"code":-1}',
    )  # fmt: skip


def test_a_handshake_that_nobody_answered_is_recorded(tmp_path):
    record(tmp_path, lambda recording: recording.connect("ws://127.0.0.1:9/ws/a@b").failed("connect"))
    player = session(tmp_path).connect("ws://127.0.0.1:9/ws/a@b")
    assert (player.status, player.error) == (0, "connect")


# ---------------------------------------------------------------- files made by hand, and damaged ones


def by_hand(folder, *rows: str):
    place = folder / "binance" / "ws_ws" / "_all"
    place.mkdir(parents=True, exist_ok=True)
    (place / "hand.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def hand(number: int, meta: str = '"dir":"recv"') -> str:
    return f'{{"timestamp":{1759399200000 + number},"endpoint":"/ws","params":{{}},"meta":{{{meta}}},"response":"{number}"}}'


def test_a_file_made_by_hand_needs_nothing_but_the_direction(tmp_path):
    by_hand(tmp_path, hand(1), hand(2, '"dir":"send"'), hand(3))
    client = Client(session(tmp_path), "/ws")
    assert client.all() == [b'"1"']
    client.send(b'"2"')
    assert client.all() == [b'"3"']


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (hand(2)[:-3], "cut off"),
        (hand(2, ""), "not a frame"),
        (hand(2, '"dir":"sideways"'), "not a frame"),
        (hand(2, '"dir":"send"').replace('"/ws"', "5"), "not a frame"),
        ("", "an empty line"),
        (hand(2, '"dir":"recv","seq":3'), "frame 3 after 4"),
    ],
)
def test_a_damaged_line_fails_the_connection_with_file_and_line(tmp_path, row, reason):
    by_hand(tmp_path, hand(1, '"dir":"recv","seq":4'), row, hand(3))
    playing = session(tmp_path)
    with pytest.raises(DamagedCassette) as damaged:
        playing.connect("ws://127.0.0.1:9/ws")
    assert damaged.value.line == 2
    assert reason in damaged.value.reason
    assert playing.refusals == [damaged.value]


def test_frames_that_are_missing_in_the_middle_are_told(tmp_path):
    by_hand(tmp_path, *(hand(number, f'"dir":"recv","seq":{number}') for number in (0, 1, 4)))
    with pytest.warns(MissingFrames, match="frames 2 to 3"):
        Client(session(tmp_path), "/ws")


def test_a_torn_last_frame_is_passed_over_with_a_warning(tmp_path):
    by_hand(tmp_path, hand(1))
    (file,) = tmp_path.rglob("*.jsonl")
    file.write_bytes(file.read_bytes() + hand(2)[:40].encode())
    with pytest.warns(reader.TornTail):
        client = Client(session(tmp_path), "/ws")
    assert client.all() == [b'"1"']


def test_check_and_repair_know_frames(tmp_path):
    by_hand(tmp_path, hand(1), hand(2, '"dir":"sideways"'), hand(3))
    (file,) = tmp_path.rglob("*.jsonl")
    found = list(reader.check(file))
    assert [isinstance(item, reader.Damage) for item in found] == [False, True, False]
    assert reader.repair(file)[:2] == (2, 1)
    assert Client(session(tmp_path), "/ws").all() == [b'"1"', b'"3"']


def test_a_sealed_file_plays_the_same(tmp_path):
    import gzip

    record(tmp_path, said(STREAM, b"1", b"2"))
    (file,) = tmp_path.rglob("*.jsonl")
    file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    assert Client(session(tmp_path), STREAM).all() == [b"1", b"2"]


def test_a_connection_that_goes_on_in_a_later_file_is_one(tmp_path):
    record(tmp_path, said(STREAM, b"1", b"2", b"3"))
    (file,) = tmp_path.rglob("*.jsonl")
    rows = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(rows[:2]))
    file.with_name("2099-01-01T00-00-00.jsonl").write_bytes(b"".join(rows[2:]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Client(session(tmp_path), STREAM).all() == [b"1", b"2", b"3"]


def test_a_written_frame_reads_as_it_was(tmp_path):
    for body in (b"", b"{}", b' {"a":1}\n', b"\xff\x00", "é\u2028".encode(), b'"x"'):
        meta = FrameMeta(dir="recv", conn="c", seq=3, offset_ns=5_000_001, opcode="binary")
        frame = read_frame(write_frame(7, "/ws", b"{}", meta, encode(body)).rstrip(b"\n"))
        assert frame.data() == body
        assert frame.time_ns == 7_000_001
        assert frame.meta.opcode == "binary"


@pytest.mark.parametrize(
    "login",
    [
        '{"op":"authKeyExpires","args":["%(key)s",%(time)d,"%(sign)s"]}',  # BitMEX
        '{"method":"user.auth","params":["API","%(key)s","%(sign)s",%(time)d],"id":1}',  # Phemex
        '{"method":"server.sign","params":["%(key)s","%(sign)s",%(time)d],"id":1}',  # CoinEx
        '{"method":"authorize","params":["%(key)s","public"],"id":1}',  # WhiteBIT
        '{"event":"auth","apiKey":"%(key)s","authSig":"%(sign)s","authNonce":%(time)d,"authPayload":"AUTH%(time)d"}',
        '{"op":"login","args":{"key":"%(key)s","sign":"%(sign)s","time":%(time)d}}',
        '{"op":"auth","t":%(time)d,"key":"%(key)s","sig":"%(sign)s"}',  # AscendEX
        '{"action":"auth","key":"%(key)s","secret":"%(sign)s"}',  # Alpaca
    ],
)
def test_a_login_of_an_exchange_without_a_profile_is_not_stored_and_that_of_another_day_matches(tmp_path, login):
    first = {"key": "k3yOfTheFirstAccount", "sign": "s1gnatureOfTheFirst", "time": 1759399200123}
    other = {"key": "k3yOfTheOtherAccount", "sign": "s1gnatureOfTheOther", "time": 1790000000456}
    record(tmp_path, said("/ws", ("send", (login % first).encode()), b"welcome"), venue="binance")
    stored = lines(tmp_path)
    assert b"welcome" in stored
    assert first["key"].encode() not in stored
    assert first["sign"].encode() not in stored
    client = Client(session(tmp_path), "/ws")
    client.send((login % other).encode())
    assert client.all() == [b"welcome"]


def test_what_is_no_login_is_compared_by_its_values(tmp_path):
    record(tmp_path, said("/ws", ("send", b'{"op":"signal","args":["long"]}'), b"one"))
    client = Client(session(tmp_path), "/ws")
    with pytest.raises(UnrecordedFrame):
        client.send(b'{"op":"signal","args":["short"]}')


def test_the_time_of_a_login_is_no_secret_that_is_looked_for_in_the_market(tmp_path):
    login = b'{"op":"auth","args":["k3yOfTheFirstAccount",1662350400000,"s1gnatureOfTheFirst"]}'
    frame = b'{"ts":1662350400000,"data":["1662350400000"]}'
    record(tmp_path, said("/ws", ("send", login), frame))
    client = Client(session(tmp_path), "/ws")
    client.send(login.replace(b"1662350400000", b"1790000000456"))
    assert client.all() == [frame]


def test_a_frame_that_only_names_a_secret_field_stays_as_it_came(tmp_path):
    record(tmp_path, said(STREAM, b'{"note":"listenKey"}'))
    assert Client(session(tmp_path), STREAM).all() == [b'{"note":"listenKey"}']


def test_an_upgrade_that_was_refused_is_a_problem_of_its_entry(tmp_path):
    def refused(recording):
        recording.connect("ws://127.0.0.1:9/ws/a@b").refused(503, None, [], b"")

    record(tmp_path, refused)
    (file,) = tmp_path.rglob("*.jsonl")
    (frame,) = reader.read(file)
    assert survey.problem_of(Registry(), "binance", frame) == "HTTP 503"
