"""Recorded answers, drawn and mutated: the shape holds, the order holds, and what fails shrinks to what was recorded."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from functools import cache
from itertools import groupby, pairwise
from pathlib import Path

import pytest
import requests
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from real import recorded_data

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.cassette import entry, reader
from pytest_marketreplay.cassette.payload import encode
from pytest_marketreplay.errors import CassetteNotFound, DamagedCassette, UsageMistake
from pytest_marketreplay.strategies import AnswerServer, RecordedAnswer, from_cassette, write_answers

from . import shapes
from .shrinking import smallest

SAMPLES = sorted((Path(__file__).parents[2] / "cassettes/tests/test_samples").iterdir())
DEPTH = "/api/v3/depth"
few = settings(max_examples=80, derandomize=True, database=None)


def cassette(root: Path, *bodies: str | bytes, endpoint: str = "/api/v3/x", **meta: object) -> Path:
    """Write a cassette of one endpoint."""
    folder = root / "binance" / endpoint.strip("/").replace("/", "_") / "BTCUSDT"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "2025-10-02T10-00-00.jsonl").open("wb") as file:
        for number, body in enumerate(bodies):
            data = body if isinstance(body, bytes) else body.encode()
            params = b'{"symbol":"BTCUSDT"}'
            file.write(entry.write_line(1_759_399_200_000 + number, endpoint, params, entry.Meta(**meta), encode(data)))  # type: ignore[arg-type]
    return root


def recorded_bodies(*folders: Path) -> dict[tuple[str, str], list[bytes]]:
    """Return the bodies of cassettes by venue and endpoint folder."""
    out: dict[tuple[str, str], list[bytes]] = {}
    for folder in folders:
        for file in sorted(folder.rglob("*.jsonl")):
            for each in reader.read(file):
                out.setdefault((file.parts[-4], file.parts[-3]), []).append(each.body())
    return out


# ---------------------------------------------------------------- the shape


@cache
def recorded_shapes() -> dict[tuple[str, str], tuple[list[bytes], shapes.Seen]]:
    """Return the bodies of all samples and their shapes, by venue and endpoint folder."""
    return {
        place: (bodies, shapes.Seen(map(shapes.read, bodies))) for place, bodies in recorded_bodies(*SAMPLES).items()
    }


@settings(max_examples=400, derandomize=True, database=None)
@given(from_cassette(*SAMPLES))
def test_a_mutated_sample_has_the_shape_of_the_recorded_ones(answer: RecordedAnswer) -> None:
    bodies, shape = recorded_shapes()[answer.venue, answer.place.endpoint]
    assert shapes.misfits(shape, shapes.read(answer.body)) == []
    assert answer.mutated is (answer.body not in bodies)
    lengths = [value for name, value in answer.headers if name.lower() == "content-length"]
    assert lengths == [str(len(answer.body))]
    assert b"\n" not in answer.body


@few
@given(from_cassette(*SAMPLES, endpoint=DEPTH, symbol="BTCUSDT"))
def test_a_mutated_book_is_still_a_book(answer: RecordedAnswer) -> None:
    bids, asks = answer.value["bids"], answer.value["asks"]
    falling, rising = shapes.numbers(bids, 0), shapes.numbers(asks, 0)
    assert all(upper > lower for upper, lower in pairwise(falling))
    assert all(lower < upper for lower, upper in pairwise(rising))
    assert falling[-1] > 0
    assert falling[0] < rising[0]
    assert all(re.fullmatch(r"\d+\.\d{8}", cell) for row in (*bids, *asks) for cell in row)


@few
@given(from_cassette(*SAMPLES, endpoint="/api/v3/trades"))
def test_ids_and_times_of_mutated_trades_still_ascend(answer: RecordedAnswer) -> None:
    for before, trade in pairwise(answer.value):
        assert before["id"] < trade["id"]
        assert before["time"] <= trade["time"]


@few
@given(st.data())
def test_numbers_keep_their_spelling_and_their_neighbours(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "spelled"
    if not folder.exists():
        cassette(
            folder,
            '{ "U": 100, "u": 105, "E": 1633998512068, "tiny": "1.0E-8", "gone": "-0.50", "big": 18239578009413566319,\n'
            '"low": "0.35130000", "high": "0.36", "flat": "7", "same": "7", "id": "007", "none": null, "yes": true}',
        )
    answer = data.draw(from_cassette(folder))
    value = answer.value
    assert value["U"] < value["u"]
    assert isinstance(value["U"], int)
    assert Decimal(value["low"]) < Decimal(value["high"])
    assert len(value["low"].partition(".")[2]) == 8
    assert len(value["high"].partition(".")[2]) == 2
    assert re.fullmatch(r"[1-9]\.\dE-8", value["tiny"])
    assert Decimal("-5") <= Decimal(value["gone"]) < 0
    assert value["flat"] == value["same"] == "7"
    assert 0 < value["big"] < 2**64
    assert (value["id"], value["none"], value["yes"]) == ("007", None, True)
    assert answer.body.startswith(b'{ "U": ')  # what is not changed is written as it was
    assert b',\n"low": "0.' in answer.body


def test_words_come_from_those_that_repeat_at_their_path(tmp_path: Path) -> None:
    rows = [("A", "buy"), ("B", "sell"), ("C", "buy"), ("D", "sell")]
    folder = cassette(tmp_path, json.dumps([{"name": name, "side": side} for name, side in rows]))
    answer = smallest(from_cassette(folder), lambda answer: answer.value[0]["side"] == "sell")
    assert answer.value == [{"name": "A", "side": "sell"}]
    sides = set()

    @few
    @given(from_cassette(folder))
    def look(answer: RecordedAnswer) -> None:
        assert [row["name"] for row in answer.value] == list("ABCD")[: len(answer.value)]  # named items: never more
        sides.update(row["side"] for row in answer.value)

    look()
    assert sides == {"buy", "sell"}


def test_a_list_grows_in_its_order(tmp_path: Path) -> None:
    folder = cassette(tmp_path, '{"bids":[["4.00","1"],["3.99","3"],["3.98","2"]],"asks":[["4.01","1"]]}')
    answer = smallest(from_cassette(folder), lambda answer: len(answer.value["bids"]) > 4)
    assert (
        answer.body
        == b'{"bids":[["4.00","1"],["3.99","3"],["3.98","2"],["3.97","1"],["3.96","3"]],"asks":[["4.01","1"]]}'
    )


def test_a_list_is_empty_only_where_one_was(tmp_path: Path) -> None:
    folder = cassette(tmp_path, '{"b":[["4.00","1"],["3.99","1"]],"a":[]}', '{"b":[["4.00","1"]],"a":[["5.00","1"]]}')
    answer = smallest(from_cassette(folder), lambda answer: answer.mutated and not answer.value["a"])
    assert answer.value["b"] == [["4.00", "1"]]

    @few
    @given(from_cassette(folder))
    def look(answer: RecordedAnswer) -> None:
        assert answer.value["b"]

    look()


# ---------------------------------------------------------------- shrinking


def test_the_simplest_answer_is_the_first_recorded_one() -> None:
    first = next(body for body in recorded_bodies(SAMPLES[0]).values())[0]
    answer = smallest(from_cassette(SAMPLES[0]), lambda answer: True)
    assert not answer.mutated
    assert answer.body == first


def test_a_failure_shrinks_to_few_levels_of_recorded_values() -> None:
    sample = next(folder for folder in SAMPLES if "poller" in folder.name)
    recorded = json.loads(recorded_bodies(sample)["binance", "api_v3_depth"][0])
    price, size = recorded["bids"][0]
    wanted = Decimal(size) * 2
    answer = smallest(from_cassette(sample, limit=1), lambda answer: Decimal(answer.value["bids"][0][1]) >= wanted)
    assert answer.mutated
    assert answer.value["bids"] == [[price, f"{wanted:.8f}"]]
    assert answer.value["asks"] == recorded["asks"][:1]
    assert answer.value["lastUpdateId"] == recorded["lastUpdateId"]


def test_every_run_sees_the_same() -> None:
    def seen() -> list[bytes]:
        out: list[bytes] = []

        @settings(max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=())
        @given(from_cassette(*SAMPLES))
        def look(answer: RecordedAnswer) -> None:
            out.append(answer.body)

        look()
        return out

    first = seen()
    assert first == seen()
    assert len(first) == 60
    assert len(set(first)) > 30


# ---------------------------------------------------------------- what is chosen


def test_without_mutation_every_answer_is_one_that_was_recorded() -> None:
    bodies = {body for group in recorded_bodies(*SAMPLES).values() for body in group}

    @few
    @given(from_cassette(*SAMPLES, mutate=False))
    def look(answer: RecordedAnswer) -> None:
        assert answer.body in bodies
        assert not answer.mutated

    look()


def test_venue_endpoint_and_symbol_choose() -> None:
    def chosen(**wanted: str) -> set[tuple[str, str, str | None]]:
        out = set()

        @few
        @given(from_cassette(*SAMPLES, mutate=False, **wanted))
        def look(answer: RecordedAnswer) -> None:
            out.add((answer.venue, answer.endpoint, answer.symbol))

        look()
        return out

    assert chosen(venue="kraken", endpoint="/0/public/Ticker") == {("kraken", "/0/public/Ticker", "BTC-USD")}
    assert chosen(endpoint="/public/Ticker") == chosen(symbol="BTC-USD")
    assert chosen(endpoint=DEPTH, symbol="NOSUCHCOIN") == {("binance", DEPTH, "NOSUCHCOIN")}


def test_a_wrong_choice_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageMistake, match="folder of a cassette"):
        from_cassette()
    with pytest.raises(UsageMistake, match="venue='bybit'"):
        from_cassette(*SAMPLES, venue="bybit")
    with pytest.raises(UsageMistake, match="limit"):
        from_cassette(*SAMPLES, limit=0)
    with pytest.raises(CassetteNotFound):
        from_cassette(tmp_path)
    damaged = cassette(tmp_path, "[1]")
    next(damaged.rglob("*.jsonl")).write_bytes(b"{\n")
    with pytest.raises(DamagedCassette):
        from_cassette(damaged)


def test_what_is_no_json_is_drawn_as_it_is(tmp_path: Path) -> None:
    deep = ["[" * depth + "]" * depth for depth in (65, 5_000)]
    folder = cassette(tmp_path, "<html>503</html>", "1" * 5_000, *deep, "7e", '"word"', status=503)
    bodies = set()

    @few
    @given(from_cassette(folder))
    def look(answer: RecordedAnswer) -> None:
        assert answer.status == 503
        assert not answer.mutated
        bodies.add(answer.body)

    look()
    assert len(bodies) == 6


def test_failures_of_the_connection_are_no_answers(tmp_path: Path) -> None:
    folder = cassette(tmp_path, "", status=0, error="connect")
    with pytest.raises(UsageMistake, match="no answer is recorded"):
        from_cassette(folder)


def test_a_limit_holds_for_each_place(tmp_path: Path) -> None:
    folder = cassette(tmp_path, *(f"[{number}]" for number in range(9)))
    seen = set()

    @few
    @given(from_cassette(folder, mutate=False, limit=3))
    def look(answer: RecordedAnswer) -> None:
        seen.add(answer.body)

    look()
    assert seen == {b"[0]", b"[1]", b"[2]"}


# ---------------------------------------------------------------- handing them to a client


@settings(max_examples=40, derandomize=True, database=None, deadline=None)
@given(st.lists(from_cassette(*SAMPLES, endpoint=DEPTH), min_size=1, max_size=3))
def test_written_answers_replay_to_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, answers: list[RecordedAnswer]
) -> None:
    folder = write_answers(tmp_path_factory.mktemp("drawn"), answers)
    with use_cassette(folder):
        for _, alike in groupby(sorted(answers, key=lambda answer: str(answer.params)), lambda answer: answer.params):
            for answer in alike:
                got = requests.get("https://api.binance.com" + answer.endpoint, params=answer.params)
                assert (got.status_code, got.content) == (answer.status, answer.body)
                assert got.headers["content-length"] == str(len(answer.body))


def test_a_server_gives_what_was_put(tmp_path: Path) -> None:
    with AnswerServer() as server, requests.Session() as session:

        @settings(max_examples=30, derandomize=True, database=None, deadline=None)
        @given(from_cassette(*SAMPLES))
        def ask(answer: RecordedAnswer) -> None:
            server.put(answer)
            got = session.request(
                answer.method, server.url + answer.endpoint, data="x" if answer.method == "POST" else None
            )
            assert (got.status_code, got.content) == (answer.status, answer.body)
            for name, value in answer.headers:
                if name.lower() not in ("date", "server"):
                    assert got.headers[name] == value
            assert server.asked == [f"{answer.method} {answer.endpoint}"]

        ask()
        server.put()
        assert session.get(server.url + "/more").status_code == 599
        assert server.host in server.url


# ---------------------------------------------------------------- real answers


REAL = [
    pytest.param(each, marks=[pytest.mark.slow] if each.size_bytes > 20_000 else [], id=each.id)
    for each in recorded_data.entries()
]
straight = settings(  # a failure in a large answer takes minutes to shrink
    max_examples=12, derandomize=True, database=None, deadline=None, phases=[Phase.generate]
)


@pytest.mark.skipif(bool(recorded_data.missing()), reason=str(recorded_data.missing()))
@pytest.mark.parametrize("recorded", REAL or [pytest.param(None, id="no-data")])
def test_a_real_answer_keeps_its_shape(recorded: recorded_data.Entry, tmp_path: Path) -> None:
    body = recorded.body()
    strategy = from_cassette(cassette(tmp_path, body, status=recorded.status))
    try:
        shape = shapes.Seen([shapes.read(body)])
    except ValueError:
        shape = shapes.Seen([])
    mutated = 0

    @straight
    @given(strategy)
    def look(answer: RecordedAnswer) -> None:
        nonlocal mutated
        mutated += answer.mutated
        if answer.mutated:
            assert shapes.misfits(shape, shapes.read(answer.body)) == []
        else:
            assert answer.body == body

    look()
    if recorded.path.endswith("/depth") and recorded.status == 200:
        assert mutated
