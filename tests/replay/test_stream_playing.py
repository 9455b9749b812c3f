"""A recorded connection as it is played: what comes when, and which of several it is."""

from __future__ import annotations

import re
import time

import pytest

from pytest_marketreplay.errors import (
    RecordingExhausted,
    StreamStalled,
    TapeEnded,
    UnrecordedFrame,
    UnrecordedRequest,
)

from .wire import Client, record, said, session

STREAM = "/stream?streams=btcusdt@depth"


def test_frames_come_in_the_order_and_the_bytes_they_were_recorded_in(tmp_path):
    frames = [b'{"u":1, "p":"0.10000000"}', b'{"u":2,"u":2}', b" not json ", "ü\u2028".encode(), b""]
    record(tmp_path, said(STREAM, *frames, ("binary", b"\x00\xff\n")))
    client = Client(session(tmp_path), STREAM)
    assert client.all() == [*frames, b"\x00\xff\n"]


def test_no_frame_comes_before_the_message_that_it_answers(tmp_path):
    record(tmp_path, said("/ws", b"hello", ("send", b'{"a":1}'), b"one", ("send", b'{"b":1}'), b"two"))
    client = Client(session(tmp_path), "/ws")
    assert client.all() == [b"hello"]
    client.send(b'{ "a" : 1 }')
    assert client.all() == [b"one"]
    client.send(b'{"b":1}')
    assert client.all() == [b"two"]


def test_messages_may_be_sent_in_another_order_than_they_were(tmp_path):
    record(tmp_path, said("/ws", ("send", b'{"a":1}'), ("send", b'{"b":1}'), b"one"))
    client = Client(session(tmp_path), "/ws")
    client.send(b'{"b":1}')
    assert client.all() == []
    client.send(b'{"a":1}')
    assert client.all() == [b"one"]


def test_the_acknowledgement_follows_the_number_of_the_client_and_nothing_else_changes(tmp_path):
    subscribe = b'{"method":"SUBSCRIBE","params":["b","a"],"id":1}'
    data = b'{"e":"trade","id":1,"x":{"id": 1}}'
    record(tmp_path, said("/ws", ("send", subscribe), b'{"result":null, "id": 1}', b'{"x":{"id": 1},"id":1}', data))
    client = Client(session(tmp_path), "/ws")
    client.send(b'{"method":"SUBSCRIBE","params":["a","b"],"id":77}')
    assert client.all() == [
        b'{"result":null, "id": 77}',
        b'{"x":{"id": 1},"id":77}',
        b'{"e":"trade","id":77,"x":{"id": 1}}',
    ]


def test_several_connections_to_one_url_are_told_apart_by_what_the_client_sends(tmp_path):
    record(
        tmp_path,
        said("/ws", b"hello", ("send", b'{"sub":"a"}'), b"a"),
        said("/ws", b"hello", ("send", b'{"sub":"b"}'), b"b"),
    )
    playing = session(tmp_path)
    second, first = Client(playing, "/ws"), Client(playing, "/ws")
    assert second.all() == first.all() == [b"hello"]
    second.send(b'{"sub":"b"}')
    first.send(b'{"sub":"a"}')
    assert (first.all(), second.all()) == ([b"a"], [b"b"])


def test_two_clients_that_subscribe_to_the_same_at_once_get_a_recorded_connection_each(tmp_path):
    subscribe = ("send", b'{"sub":"a"}')
    record(tmp_path, said("/ws", b"hello", subscribe, b"one"), said("/ws", b"hello", subscribe, b"two"))
    playing = session(tmp_path)
    first, second = Client(playing, "/ws"), Client(playing, "/ws")
    assert first.all() == second.all() == [b"hello"]
    first.send(b'{"sub":"a"}')
    second.send(b'{"sub":"a"}')
    assert (first.all(), second.all()) == ([b"one"], [b"two"])
    assert playing.unplayed() == []


@pytest.mark.parametrize(
    ("recorded", "sent"),
    [
        (b'[0,"oc",null,{"id":7}]', b'[0,"oc",null,{"id":8}]'),
        (b'{"method":"cancel","params":{"id":"7"},"id":1}', b'{"method":"cancel","params":{"id":"8"},"id":1}'),
        (b'{"params":["BTCUSDT","10","20"]}', b'{"params":["BTCUSDT","20","10"]}'),
    ],
)
def test_what_names_an_order_or_stands_for_a_price_is_no_number_of_the_message(tmp_path, recorded, sent):
    record(tmp_path, said("/ws", ("send", recorded), b"one"))
    client = Client(session(tmp_path), "/ws")
    with pytest.raises(UnrecordedFrame):
        client.send(sent)


def test_an_order_of_bybit_has_its_time_in_a_header_of_its_own(tmp_path):
    order = b'{"reqId":"%b","header":{"X-BAPI-TIMESTAMP":"%b"},"op":"order.create","args":[{"qty":"1"}]}'
    record(tmp_path, said("/v5/trade", ("send", order % (b"a", b"1")), b"one"), venue="bybit")
    client = Client(session(tmp_path, "bybit"), "/v5/trade")
    client.send(order % (b"b", b"2"))
    assert client.all() == [b"one"]


def test_a_connection_that_says_nothing_plays_beside_one_that_subscribes(tmp_path):
    record(tmp_path, said("/ws", b"quiet"), said("/ws", ("send", b'{"sub":"b"}'), b"b"))
    playing = session(tmp_path)
    first, second = Client(playing, "/ws"), Client(playing, "/ws")
    assert first.all() == [b"quiet"]
    second.send(b'{"sub":"b"}')
    assert second.all() == [b"b"]


def test_a_message_that_only_keeps_the_connection_open_is_neither_awaited_nor_refused(tmp_path):
    record(tmp_path, said("/ws", ("send", b'{"op":"ping"}'), b"one", ("send", b"ping"), b"two"))
    client = Client(session(tmp_path), "/ws")
    assert client.all() == [b"one", b"two"]
    client.send(b'{"op":"ping"}')
    client.send(b'{"event":"ping","reqid":9}')


def test_a_message_that_is_not_recorded_is_refused_and_the_text_shows_both(tmp_path):
    record(tmp_path, said("/ws", ("send", b'{"sub":"a"}'), b"one"))
    playing = session(tmp_path)
    client = Client(playing, "/ws")
    with pytest.raises(UnrecordedFrame) as refused:
        client.send(b'{"sub":"c"}')
    assert '{"sub":"c"}' in str(refused.value)
    assert '{"sub":"a"}' in str(refused.value)
    assert playing.refusals == [refused.value]


def test_a_client_that_does_not_subscribe_is_told_what_the_recording_waits_for(tmp_path):
    record(tmp_path, said("/ws", ("send", b'{"sub":"a"}'), b"one"))
    playing = session(tmp_path, patience=0.05)
    client = Client(playing, "/ws")
    with pytest.raises(StreamStalled, match=re.escape('{"sub":"a"}')):
        client.next()
    assert len(playing.refusals) == 1


def test_at_the_end_of_the_tape_a_client_that_waits_is_told_so(tmp_path):
    record(tmp_path, said(STREAM, b"one"))
    client = Client(session(tmp_path, patience=0.05), STREAM)
    assert client.next().data == b"one"
    with pytest.raises(TapeEnded):
        client.next()
    assert client.next() is None


def test_the_end_of_the_tape_may_be_a_close_frame(tmp_path):
    record(tmp_path, said(STREAM, b"one"))
    playing = session(tmp_path, end_of_tape="close")
    client = Client(playing, STREAM)
    assert client.next().data == b"one"
    event = client.next()
    assert (event.opcode, event.data) == ("close", b"\x03\xe9the recording has ended")
    assert playing.refusals == []


def test_the_end_of_the_tape_may_be_its_beginning_without_what_answers_the_client(tmp_path):
    record(tmp_path, said("/ws", ("send", b'{"sub":"a","id":3}'), b'{"id":3}', b"one", b"two"))
    client = Client(session(tmp_path, end_of_tape="loop"), "/ws")
    client.send(b'{"sub":"a","id":4}')
    assert client.next().data == b'{"id":4}'
    events = [client.next() for _ in range(5)]
    assert [event.data for event in events] == [b"one", b"two", b"one", b"two", b"one"]
    times = [event.time_ns for event in events]
    assert times == sorted(times)
    assert times[2] > times[1]


def test_a_close_frame_of_the_exchange_ends_the_connection_with_code_and_reason(tmp_path):
    record(tmp_path, said(STREAM, b"one", ("close", b"\x03\xe9bye")))
    client = Client(session(tmp_path), STREAM)
    assert client.next().data == b"one"
    event = client.next()
    assert (event.opcode, event.data) == ("close", b"\x03\xe9bye")
    assert client.next() is None


def test_a_lost_connection_is_lost_again(tmp_path):
    record(tmp_path, said(STREAM, b"one", ("lost", b"")))
    client = Client(session(tmp_path), STREAM)
    client.next()
    event = client.next()
    assert (event.opcode, event.error) == (None, "disconnected")


def test_pings_of_the_exchange_come_and_pongs_do_not(tmp_path):
    record(tmp_path, said(STREAM, ("ping", b"1"), ("pong", b"2"), ("ping", b""), b"x"))
    client = Client(session(tmp_path), STREAM)
    assert [(client.next().opcode) for _ in range(3)] == ["ping", "ping", "text"]


def test_each_recorded_connection_is_played_once_unless_the_marker_says_otherwise(tmp_path):
    record(tmp_path, said(STREAM, b"one"), said(STREAM, b"two"))
    playing = session(tmp_path)
    assert [Client(playing, STREAM).all() for _ in range(2)] == [[b"one"], [b"two"]]
    with pytest.raises(RecordingExhausted, match="2 times"):
        Client(playing, STREAM)
    last = session(tmp_path, exhausted="last")
    assert [Client(last, STREAM).all() for _ in range(4)] == [[b"one"], [b"two"], [b"two"], [b"two"]]
    loop = session(tmp_path, exhausted="loop")
    assert [Client(loop, STREAM).all() for _ in range(4)] == [[b"one"], [b"two"], [b"one"], [b"two"]]


def test_a_connection_that_is_not_recorded_is_refused_with_what_is(tmp_path):
    record(tmp_path, said(STREAM, b"one"))
    playing = session(tmp_path)
    with pytest.raises(UnrecordedRequest) as refused:
        Client(playing, "/stream?streams=ethusdt@depth")
    assert "streams=ethusdt@depth" in str(refused.value)
    assert "streams=btcusdt@depth" in str(refused.value)
    assert playing.refusals == [refused.value]


def test_frames_of_several_connections_come_to_each_in_its_own_order(tmp_path):
    def both(recording):
        left = recording.connect("ws://127.0.0.1:9/ws/a@x")
        right = recording.connect("ws://127.0.0.1:9/ws/a@x")
        left.opened([])
        right.opened([])
        for number in range(50):
            (left if number % 3 else right).received("text", b"%d" % number)

    record(tmp_path, both)
    playing = session(tmp_path)
    left, right = Client(playing, "/ws/a@x"), Client(playing, "/ws/a@x")
    assert left.all() == [b"%d" % number for number in range(50) if number % 3]
    assert right.all() == [b"%d" % number for number in range(50) if not number % 3]


def test_a_step_lets_one_frame_come_and_run_until_all_up_to_a_moment(tmp_path):
    record(tmp_path, said(STREAM, *(b"%d" % number for number in range(6))))
    playing = session(tmp_path, pace="step", patience=0.05)
    client = Client(playing, STREAM)
    assert client.all() == []
    assert playing.streams.timeline.step().data == b"0"
    assert client.all() == [b"0"]
    playing.streams.timeline.step(2)
    assert client.all() == [b"1", b"2"]
    fourth = client.player.head()
    playing.streams.timeline.run_until(fourth.time_ns)
    assert client.all() == [b"3"]
    with pytest.raises(StreamStalled, match=r"market_replay\.step"):
        client.next()


def test_frames_that_were_not_played_and_connections_that_were_not_opened_are_told(tmp_path):
    record(tmp_path, said(STREAM, b"one"), said("/ws", b"two"))
    playing = session(tmp_path)
    Client(playing, STREAM).all()
    assert [(path.parent.parent.name, line, endpoint) for path, line, endpoint in playing.unplayed()] == [
        ("ws_ws", 1, "/ws")
    ]


def test_a_message_that_no_client_sent_is_told_with_its_line(tmp_path):
    record(
        tmp_path, said("/ws", ("send", b'{"sub":"a"}'), b"one", ("send", b'{"order":1}'), ("send", b'{"op":"ping"}'))
    )
    playing = session(tmp_path)
    client = Client(playing, "/ws")
    client.send(b'{"sub":"a"}')
    assert client.all() == [b"one"]
    assert [(line, endpoint) for _, line, endpoint in playing.unplayed()] == [(4, "/ws")]
    client.send(b'{"order":1}')
    assert playing.unplayed() == []


def test_a_reader_that_waits_after_what_the_recorded_client_closed_is_told_and_does_not_fail_the_test(tmp_path):
    record(tmp_path, said(STREAM, b"one", ("send close", b"\x03\xe8")))
    playing = session(tmp_path, patience=0.05)
    client = Client(playing, STREAM)
    client.next()
    with pytest.raises(TapeEnded) as told:
        client.next()
    assert playing.refusals == []
    assert playing.late_verdicts == [told.value]


@pytest.mark.parametrize("left", [True, False])
def test_a_test_that_looks_for_a_frame_between_short_sleeps_gets_the_verdict(tmp_path, left):
    record(tmp_path, said(STREAM, b"one", *([("send close", b"\x03\xe8")] if left else [])))
    playing = session(tmp_path, patience=0.05)
    client = Client(playing, STREAM)
    client.next()
    with pytest.raises(TapeEnded) as told:
        client.next()
    started = time.monotonic()
    with pytest.raises(TapeEnded) as again:
        while time.monotonic() - started < 10:
            playing.sleeps(0.01)
            time.sleep(0.01)
    assert again.value is told.value
    assert playing.refusals == [told.value]
    playing.sleeps(5)  # one long sleep is no look for a frame


def test_a_first_message_that_fits_no_recorded_connection_is_refused_with_what_each_begins_with(tmp_path):
    record(tmp_path, said("/ws", ("send", b'{"sub":"a"}'), b"a"), said("/ws", ("send", b'{"sub":"b"}'), b"b"))
    client = Client(session(tmp_path), "/ws")
    with pytest.raises(UnrecordedFrame) as refused:
        client.send(b'{"sub":"c"}')
    assert '{"sub":"a"}' in str(refused.value)
    assert '{"sub":"b"}' in str(refused.value)
