"""Tapes: every answer once, in recorded order over files and layers, and what comes after the last."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette.entry import Meta
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.payload import Payload
from pytest_marketreplay.cassette.request import parse
from pytest_marketreplay.errors import DamagedCassette
from pytest_marketreplay.replay import explain
from pytest_marketreplay.replay.answer import Answer
from pytest_marketreplay.replay.matching import Matcher
from pytest_marketreplay.replay.tape import Tape
from pytest_marketreplay.venues.registry import Registry

REGISTRY = Registry()
DEPTH = Place("binance", "api_v3_depth", "BTCUSDT")


def matcher_of(folder: str) -> Matcher:
    return Matcher(REGISTRY.by_folder(folder))


def write(root: Path, place: Place, stem: str, *recorded: tuple[int, str, str]) -> Path:
    """Write entries (timestamp, query, response) of `/api/v3/depth` into one file."""
    path = place.within(root) / f"{stem}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as out:
        for timestamp, limit, body in recorded:
            params = b'{"limit":"%b"}' % limit.encode()
            out.write(entries.write_line(timestamp, "/api/v3/depth", params, Meta(), Payload(body.encode())))
    return path


def key_of(limit: str):
    return matcher_of("binance").of_request(parse("GET", f"https://api.binance.com/api/v3/depth?limit={limit}"))


def play(tape: Tape, limit: str, exhausted: str, times: int) -> list[bytes | None]:
    out: list[bytes | None] = []
    for _ in range(times):
        slot = tape.take(DEPTH, key_of(limit), exhausted)
        out.append(None if slot is None else tape.answer(slot)[1])
    return out


@pytest.mark.parametrize(
    ("exhausted", "played"),
    [
        ("error", [b"1", b"2", b"3", None, None, None, None]),
        ("last", [b"1", b"2", b"3", b"3", b"3", b"3", b"3"]),
        ("loop", [b"1", b"2", b"3", b"1", b"2", b"3", b"1"]),
    ],
)
def test_what_comes_after_the_last_answer(exhausted, played, tmp_path):
    write(tmp_path, DEPTH, "2025-10-02T10-00-00", (1, "5", "1"), (2, "9", "0"), (3, "5", "2"), (4, "5", "3"))
    tape = Tape([tmp_path], matcher_of)
    assert play(tape, "5", exhausted, 7) == played
    assert play(tape, "9", exhausted, 2) == [b"0", None if exhausted == "error" else b"0"]
    assert play(tape, "none", exhausted, 2) == [None, None]
    tape.close()


@given(
    layers=st.lists(st.lists(st.sampled_from(["5", "9"]), max_size=5), min_size=1, max_size=3),
    asked=st.lists(st.sampled_from(["5", "9", "7"]), max_size=12),
    exhausted=st.sampled_from(["error", "last", "loop"]),
)
def test_a_tape_plays_what_a_list_would(layers, asked, exhausted, tmp_path_factory):
    roots, model = [], {"5": [], "9": [], "7": []}
    for number, layer in enumerate(layers):
        root = tmp_path_factory.mktemp("layer")
        for line, limit in enumerate(layer):
            body = str(number * 100 + line)
            write(root, DEPTH, "2025-10-02T10-00-00", (line, limit, body))
            model[limit].append(body.encode())
        roots.append(root)
    tape = Tape(roots, matcher_of)
    position = dict.fromkeys(model, 0)
    played = set()
    for limit in asked:
        answers, at = model[limit], position[limit]
        if at < len(answers):
            expected = answers[at]
        elif not answers or exhausted == "error":
            expected = None
        else:
            expected = answers[-1] if exhausted == "last" else answers[at % len(answers)]
        position[limit] += 1
        assert play(tape, limit, exhausted, 1) == [expected]
        played.add(expected)
    played.discard(None)
    assert tape.count_played() == len(played)
    left = [line for layer in range(len(roots)) for _, line, _ in tape.unplayed(layer)]
    assert len(left) == sum(map(len, model.values())) - len(played)
    tape.close()


def test_a_queue_has_its_answers_by_number_over_all_layers(tmp_path):
    for layer in ("a", "b"):
        write(tmp_path / layer, DEPTH, "2025-10-02T10-00-00", (1, "5", f'"{layer}1"'), (2, "5", f'"{layer}2"'))
    tape = Tape([tmp_path / "a", tmp_path / "b"], matcher_of)
    queue = tape.queue(DEPTH, key_of("5"))
    assert [tape.answer(queue[number])[1] for number in range(queue.length)] == [b'"a1"', b'"a2"', b'"b1"', b'"b2"']
    with pytest.raises(IndexError):
        queue[4]
    tape.close()


def test_files_of_several_workers_play_by_time(tmp_path):
    write(tmp_path, DEPTH, "2025-10-02T10-00-00", (10, "5", "1"), (30, "5", "3"))
    write(tmp_path, DEPTH, "2025-10-02T10-00-00-1", (20, "5", "2"), (30, "5", "4"))
    tape = Tape([tmp_path], matcher_of)
    assert play(tape, "5", "error", 4) == [b"1", b"2", b"3", b"4"]
    tape.close()


def test_a_place_that_nobody_asks_for_is_not_read(tmp_path):
    other = DEPTH._replace(symbol="ETHUSDT")
    write(tmp_path, DEPTH, "2025-10-02T10-00-00", (1, "5", "1"))
    damaged = write(tmp_path, other, "2025-10-02T10-00-00", (1, "5", "1"))
    damaged.write_bytes(b"{}\n")
    tape = Tape([tmp_path], matcher_of)
    assert play(tape, "5", "error", 1) == [b"1"]
    for _ in range(2):
        with pytest.raises(DamagedCassette):
            tape.take(other, key_of("5"), "error")
    tape.close()


def test_what_was_not_played_is_named_by_file_and_line(tmp_path):
    file = write(tmp_path, DEPTH, "2025-10-02T10-00-00", (1, "5", "1"), (2, "9", "2"), (3, "5", "3"))
    eth = write(tmp_path, DEPTH._replace(symbol="ETHUSDT"), "2025-10-02T10-00-00", (1, "5", "1"))
    shared = tmp_path / "shared"
    write(shared, DEPTH, "2025-10-02T10-00-00", (1, "5", "7"))
    tape = Tape([tmp_path, shared], matcher_of)
    play(tape, "5", "error", 1)
    assert tape.unplayed(0) == [(file, 2, "/api/v3/depth"), (file, 3, "/api/v3/depth"), (eth, 1, "/api/v3/depth")]
    assert len(tape.unplayed(1)) == 1
    assert tape.count_played() == 1
    tape.close()


# ---------------------------------------------------------------- a miss explains itself


def explained(tape: Tape, url: str, command: str = "") -> str:
    venue = REGISTRY.of(url.split("/")[2])
    asked = parse("GET", url)
    location = venue.locate(asked)
    place = Place(*explain.place_of(venue.name, location.endpoint, location.symbol))
    return explain.explain(tape, place, Matcher(venue).of_request(asked), command, "none")


def test_a_miss_names_the_nearest_first_and_what_differs(tmp_path):
    write(tmp_path, DEPTH, "2025-10-02T10-00-00", (1, "5", "1"), (2, "5", "1"), (3, "500", "1"))
    write(tmp_path, Place("binance", "api_v3_time", "_all"), "2025-10-02T10-00-00", (1, "x", "1"))
    write(tmp_path, Place("kraken", "public_Depth", "BTC-USD"), "2025-10-02T10-00-00", (1, "x", "1"))
    tape = Tape([tmp_path], matcher_of)
    text = explained(tape, "https://api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=5", "pytest x --record-mode=")
    lines = text.splitlines()
    assert lines[0] == f"cassette: {tmp_path}, mode none, place binance/api_v3_depth/BTCUSDT"
    assert lines[2:4] == ["  GET /api/v3/depth?limit=5 (2 times)", "    symbol: 'BTCUSDT' asked, not in the recording"]
    assert lines[4] == "  GET /api/v3/depth?limit=500"
    assert lines[-1] == "to record it: pytest x --record-mode=new_episodes"
    assert "kraken" not in text
    tape.close()


def test_a_miss_tells_another_method_and_endpoint(tmp_path):
    path = write(tmp_path, DEPTH, "2025-10-02T10-00-00")
    path.write_bytes(entries.write_line(1, "/api/v3/order", b"{}", Meta(method="POST"), Payload(b"1")))
    tape = Tape([tmp_path], matcher_of)
    text = explained(tape, "https://api.binance.com/api/v3/depth")
    assert "    method: GET asked, POST recorded\n    endpoint: /api/v3/depth asked, /api/v3/order recorded" in text
    assert text.endswith('to record it: open the cassette with mode="new_episodes"')
    tape.close()


def test_a_miss_at_another_venue_names_the_venues_that_are_there(tmp_path):
    write(tmp_path, DEPTH, "2025-10-02T10-00-00", (1, "5", "1"))
    tape = Tape([tmp_path], matcher_of)
    assert "nothing of 'kraken' is recorded, only of: binance" in explained(
        tape, "https://api.kraken.com/0/public/Time"
    )
    tape.close()


def test_a_miss_in_an_empty_cassette_says_so(tmp_path):
    assert "the cassette is empty" in explained(Tape([tmp_path / "none"], matcher_of), "https://api.binance.com/x")
    assert explained(Tape([], matcher_of), "https://api.binance.com/x").startswith("cassette: (none), mode none")


def test_a_miss_in_a_large_archive_looks_at_a_bounded_number_of_places(tmp_path, monkeypatch):
    for number in range(8):
        place = Place("binance", "api_v3_depth", f"S{number}")
        write(tmp_path, place, "2025-10-02T10-00-00", *((1, str(limit), "1") for limit in range(3)))
    monkeypatch.setattr(explain, "_MOST_PLACES", 4)
    tape = Tape([tmp_path], matcher_of)
    assert explained(tape, "https://api.binance.com/api/v3/depth?symbol=S7&limit=1").count("GET /api") == 3
    assert len(tape._indexes) == 4
    assert (0, Place("binance", "api_v3_depth", "S7")) in tape._indexes
    tape.close()
    monkeypatch.setattr(explain, "_MOST_KEYS", 2)
    tape = Tape([tmp_path], matcher_of)
    explained(tape, "https://api.binance.com/api/v3/depth?symbol=S7&limit=1")
    assert len(tape._indexes) == 1
    tape.close()


@pytest.mark.parametrize(("count", "times"), [(1, "recorded once,"), (3, "recorded 3 times,")])
def test_a_request_that_is_exhausted_says_how_to_go_on(count, times):
    text = explain.exhausted(Tape([Path("c")], matcher_of), DEPTH, count, "", "none")
    for part in (times, "cassette: c", 'exhausted="last"', 'exhausted="loop"', "new_episodes", "/".join(DEPTH)):
        assert part in text


# ---------------------------------------------------------------- answers


def test_a_line_without_headers_is_json_of_its_length():
    answer = Answer(Meta(), b"[1]")
    assert answer.headers == [("content-type", "application/json"), ("content-length", "3")]
    assert answer.headers is answer.headers
    assert (answer.status, answer.reason, answer.fails, answer.breaks_off) == (200, "OK", False, False)


def test_an_answer_has_the_recorded_headers_and_reason():
    answer = Answer(Meta(status=429, reason="Slow Down", headers={"a": ["1", "2"]}), b"")
    assert (answer.headers, answer.reason) == ([("a", "1"), ("a", "2")], "Slow Down")
    assert Answer(Meta(headers={}, reason=""), b"").headers == []
    assert Answer(Meta(reason=""), b"").reason == ""


@pytest.mark.parametrize(
    ("error", "fails", "breaks_off"), [("connect", True, False), ("incomplete", False, True), (None, False, False)]
)
def test_a_failure_is_no_answer_and_a_broken_body_is_one(error, fails, breaks_off):
    answer = Answer(Meta(error=error), b"x")
    assert (answer.fails, answer.breaks_off) == (fails, breaks_off)
