"""Faults of frames: with each at each position of a session, nothing is lost that was not dropped."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from replay.wire import Client, record, said, session

from pytest_marketreplay.replay.faults import Fault, Faults
from pytest_marketreplay.replay.stream.capture import Capture
from pytest_marketreplay.strategies import fault_plans

from .stories import ACKS, BYE, DIFFS, FIRST, HELLO, MESSAGES, SECOND, Follower, stream

POSITIONS = range(1, len(MESSAGES) + 1)


def played(folder, *rules: Fault, **settings):
    playing = session(folder, **settings)
    playing.faults = Faults(rules)
    return playing


def crossed(data: bytes) -> bytes:
    value = json.loads(data)
    value["b"][0], value["a"][0] = value["a"][0], value["b"][0]
    return value


def expected(kind: str, at: int) -> list[bytes]:
    """Tell what a client gets, in the simplest words."""
    told = list(MESSAGES)
    if kind == "gap":
        del told[at - 1]
    elif kind == "duplicate":
        told.insert(at, told[at - 1])
    elif kind == "reorder" and at < len(told):
        told[at - 1], told[at] = told[at], told[at - 1]
    elif kind == "disconnect":
        told = told[: at - 1] + [each for each in told[: at - 1] if each in (HELLO, *ACKS)] + told[at - 1 :]
    return told


@pytest.mark.parametrize("kind", ["gap", "duplicate", "reorder", "disconnect"])
@pytest.mark.parametrize("at", POSITIONS)
def test_each_fault_at_each_position_changes_this_and_nothing_else(tmp_path, kind, at):
    stream(tmp_path)
    playing = played(tmp_path, Fault(kind, at=at))
    follower = Follower(playing)
    assert follower.got == expected(kind, at)
    assert follower.pings == 1
    assert follower.ends == (["reset", BYE] if kind == "disconnect" else [BYE])
    happened = not (kind == "reorder" and at == len(MESSAGES))
    assert [(each.kind, each.number) for each in playing.faults.injected] == [(kind, at)] * happened
    assert playing.unplayed() == []
    assert playing.refusals == []


@pytest.mark.parametrize("at", POSITIONS)
def test_a_connection_that_a_fault_closes_with_a_code_goes_on_too(tmp_path, at):
    stream(tmp_path)
    follower = Follower(played(tmp_path, Fault("disconnect", at=at, arguments={"code": 1012})))
    assert follower.got == expected("disconnect", at)
    assert follower.ends == [b"\x03\xf4", BYE]


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("at", POSITIONS)
def test_a_connection_may_be_cut_again_and_again_at_one_frame(tmp_path, at, times):
    stream(tmp_path)
    follower = Follower(played(tmp_path, Fault("disconnect", at=at, times=times)))
    assert [each for each in follower.got if each in DIFFS] == DIFFS
    assert follower.ends == ["reset"] * times + [BYE]


@pytest.mark.parametrize("at", range(1, 4))
def test_a_stale_frame_is_an_older_one_that_comes_again_before(tmp_path, at):
    stream(tmp_path)
    follower = Follower(played(tmp_path, Fault("stale", at=at)))
    # the first diff has nothing older; of the frames after it, each may come after an older one
    after = [DIFFS[1], ACKS[1], DIFFS[2], DIFFS[3]][at - 1]
    told = list(MESSAGES)
    older = [each for each in told[: told.index(after)] if each in DIFFS][-2:][0]
    told.insert(told.index(after), older)
    assert follower.got == told


@pytest.mark.parametrize("at", range(1, 5))
def test_a_crossed_book_has_its_best_levels_exchanged_and_acknowledgements_are_passed_over(tmp_path, at):
    stream(tmp_path)
    follower = Follower(played(tmp_path, Fault("crossed", at=at)))
    diffs = [each for each in follower.got if each not in (HELLO, *ACKS)]
    assert json.loads(diffs[at - 1]) == crossed(DIFFS[at - 1])
    assert [*diffs[: at - 1], *diffs[at:]] == [*DIFFS[: at - 1], *DIFFS[at:]]
    assert diffs[at - 1].startswith(b'{"u":%d, "b"' % at)  # and is spelt as it was


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rules=fault_plans(kinds=("disconnect", "gap", "duplicate", "reorder", "stale"), positions=(1, 12), length=(1, 5))
)
def test_whatever_is_injected_together_nothing_is_lost_that_was_not_dropped(tmp_path, rules):
    if not any(tmp_path.iterdir()):
        stream(tmp_path)
    playing = played(tmp_path, *rules)
    follower = Follower(playing, most=40, patient=False)
    kinds = [each.kind for each in playing.faults.injected]
    missing = [diff for diff in MESSAGES if diff not in follower.got]
    assert len(missing) <= kinds.count("gap")
    diffs = [each for each in follower.got if each in DIFFS]
    added = kinds.count("duplicate") + kinds.count("stale")
    assert len(DIFFS) - kinds.count("gap") <= len(diffs) <= len(DIFFS) + added
    assert follower.ends[-1] == BYE
    # and with exactly these, it happens again
    again = played(tmp_path, *playing.faults.exactly())
    assert Follower(again, most=40, patient=False).got == follower.got
    assert [(each.kind, each.number) for each in again.faults.injected] == [
        (each.kind, each.number) for each in playing.faults.injected
    ]
    playing.close()
    again.close()


# ---------------------------------------------------------------- at the edges of a connection


def test_a_frame_that_is_held_back_comes_before_the_tape_ends(tmp_path):
    stream(tmp_path, ending=None)
    playing = played(tmp_path, Fault("reorder", at=7))
    client = Client(playing, "/ws")
    client.send(FIRST)
    client.send(SECOND)
    assert client.all() == [*MESSAGES[:3], b"beat", *MESSAGES[3:]]
    assert playing.faults.injected == []


@pytest.mark.parametrize("ending", [("close", BYE), ("lost", b"")])
def test_a_frame_that_is_held_back_comes_before_the_connection_ends(tmp_path, ending):
    stream(tmp_path, ending=ending)
    client = Client(played(tmp_path, Fault("reorder", at=7)), "/ws")
    client.send(FIRST)
    client.send(SECOND)
    assert [client.next().data for _ in range(8)] == [*MESSAGES[:3], b"beat", *MESSAGES[3:]]
    assert client.next().opcode in ("close", None)


def test_a_frame_that_is_held_back_comes_before_the_recording_waits_for_the_client(tmp_path):
    record(tmp_path, said("/ws", b"one", ("send", b'{"a":1}'), b"two"))
    client = Client(played(tmp_path, Fault("reorder", at=1)), "/ws")
    assert client.all() == [b"one"]
    client.send(b'{"a":1}')
    assert client.all() == [b"two"]


def test_a_frame_that_is_held_back_is_not_lost_where_its_successor_is_cut_off(tmp_path):
    stream(tmp_path)
    follower = Follower(played(tmp_path, Fault("reorder", number=6), Fault("disconnect", number=7)))
    assert follower.got == [*MESSAGES[:6], HELLO, *ACKS, MESSAGES[6]]


def test_a_frame_that_is_held_back_waits_beyond_one_that_is_dropped(tmp_path):
    stream(tmp_path)
    follower = Follower(played(tmp_path, Fault("reorder", number=3), Fault("gap", number=4)), patient=False)
    assert follower.got == [HELLO, ACKS[0], ACKS[1], DIFFS[0], *DIFFS[2:]]


def test_a_client_that_never_got_the_cut_is_not_continued(tmp_path):
    record(tmp_path, said("/ws", b"one", b"two"), said("/ws", b"other"))
    playing = played(tmp_path, Fault("disconnect", at=2))
    first = Client(playing, "/ws")
    assert first.next().data == b"one"
    assert first.driver.is_ready()  # the cut is next, but the client closes before
    first.player.sent("close", b"")
    assert Client(playing, "/ws").all() == [b"other"]
    assert playing.faults.injected == []


def test_a_greeting_before_it_is_known_which_connection_it_is_may_be_cut(tmp_path):
    record(tmp_path, *(said("/ws", b"hello", ("send", b'{"sub":"%b"}' % name), name) for name in (b"a", b"b")))
    playing = played(tmp_path, Fault("disconnect", at=1))
    assert Client(playing, "/ws").next().error == "reset"
    for name in (b"b", b"a"):
        client = Client(playing, "/ws")
        assert client.all() == [b"hello"]
        client.send(b'{"sub":"%b"}' % name)
        assert client.all() == [name]
    assert playing.unplayed() == []


def test_a_greeting_that_comes_twice_costs_no_frame_of_the_connection_that_it_turns_out_to_be(tmp_path):
    record(tmp_path, *(said("/ws", b"hello", ("send", b'{"sub":"%b"}' % name), name) for name in (b"a", b"b")))
    client = Client(played(tmp_path, Fault("duplicate", at=1)), "/ws")
    assert client.all() == [b"hello", b"hello"]
    client.send(b'{"sub":"b"}')
    assert client.all() == [b"b"]


def test_after_a_cut_a_client_need_not_repeat_what_it_asked_once(tmp_path):
    unsubscribe = b'{"method":"UNSUBSCRIBE","params":["a"],"id":3}'
    asked = b'{"method":"ticker.price","id":4}'
    record(
        tmp_path,
        said("/ws", ("send", FIRST), ACKS[0], b"1", ("send", SECOND), ACKS[1], b"2", ("send", unsubscribe),
             b'{"result":null,"id":3}', ("send", asked), b'{"result":"9.0","id":4}', b"3", b"4"),
    )  # fmt: skip
    playing = played(tmp_path, Fault("disconnect", at=8))
    client = Client(playing, "/ws")
    for message in (FIRST, SECOND, unsubscribe, asked):
        client.send(message)
    assert [client.next().data for _ in range(7)][-1] == b"3"
    assert client.next().error == "reset"
    again = Client(playing, "/ws")
    again.send(FIRST)
    assert again.all() == [ACKS[0], b"4"]
    again.send(unsubscribe)  # what it does repeat is welcome
    assert playing.refusals == []


@pytest.mark.parametrize("pace", ["virtual", 200.0])
def test_a_cut_in_a_later_round_of_the_tape_goes_on_in_that_round(tmp_path, pace):
    record(tmp_path, said("/ws", ("send", FIRST), ACKS[0], b"1", b"2", b"3"))
    playing = played(tmp_path, Fault("disconnect", at=6), end_of_tape="loop", pace=pace)
    client = Client(playing, "/ws")
    client.send(FIRST)
    before = [client.next() for _ in range(5)]
    assert [event.data for event in before] == [ACKS[0], b"1", b"2", b"3", b"1"]
    assert client.next().error == "reset"
    again = Client(playing, "/ws")
    again.send(FIRST)
    after = [again.next() for _ in range(6)]
    assert [event.data for event in after] == [ACKS[0], b"2", b"3", b"1", b"2", b"3"]
    times = [event.time_ns for event in (*before, *after[1:])]
    assert times == sorted(times)


def test_step_by_step_the_frames_that_faults_make_are_steps_too(tmp_path):
    record(tmp_path, said("/ws", b"1", b"2", b"3"))
    playing = played(tmp_path, Fault("duplicate", at=1), Fault("reorder", at=2), pace="step")
    client = Client(playing, "/ws")
    told = []
    for _ in range(4):
        playing.streams.timeline.step()
        told += client.all()
    assert told == [b"1", b"1", b"3", b"2"]


def test_in_real_time_a_client_that_connects_again_does_not_wait_for_what_it_had_already(tmp_path):
    place = tmp_path / "binance" / "ws_ws" / "_all"
    place.mkdir(parents=True)
    line = '{"timestamp":%d,"endpoint":"/ws","params":{},"meta":{"dir":"recv"},"response":%d}\n'
    rows = [line % (1759399200000 + number * 20_000, number) for number in range(3)]
    (place / "hand.jsonl").write_text("".join(rows))
    client = Client(playing := played(tmp_path, Fault("disconnect", at=2), pace=200.0), "/ws")
    assert [client.next().data, client.next().error] == [b"0", "reset"]
    again = Client(playing, "/ws")
    assert again.driver.ready_in() == 0
    assert again.next().data == b"1"
    assert 0 < again.driver.ready_in() <= 0.1


def test_the_upgrade_of_a_connection_that_goes_live_is_left_alone(tmp_path):
    record(tmp_path, said("/ws", b"one"))
    playing = played(tmp_path, Fault("503", times=9), mode="new_episodes")
    assert playing.connect("ws://127.0.0.1:9/ws").status == 503
    playing.faults.clear()
    assert Client(playing, "/ws").all() == [b"one"]
    playing.faults.inject("503", every=1)
    assert isinstance(playing.connect("ws://127.0.0.1:9/ws"), Capture)
    assert len(playing.faults.injected) == 1


@pytest.mark.parametrize("exhausted", ["last", "loop"])
def test_upgrades_may_fail_where_connections_come_again(tmp_path, exhausted):
    record(tmp_path, said("/ws", b"one"))
    playing = played(tmp_path, Fault("503", at=2), exhausted=exhausted)
    assert Client(playing, "/ws").all() == [b"one"]
    assert playing.connect("ws://127.0.0.1:9/ws").status == 503
    assert Client(playing, "/ws").all() == [b"one"]
