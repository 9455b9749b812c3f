"""Whole sessions: in the venue's own JSON, in order of time, and replayed by this package from a cassette."""

from __future__ import annotations

import asyncio
import json
import zlib
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.cassette import files
from pytest_marketreplay.cassette.frame import Frame, read_frame
from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.strategies import MarketSession, from_cassette, sessions, write_answers, write_session

from .shrinking import smallest

VENUES = ("binance", "binance_us", "binance_futures", "kraken")
REST = {
    "binance": "https://api.binance.com",
    "binance_us": "https://api.binance.us",
    "binance_futures": "https://fapi.binance.com",
    "kraken": "https://api.kraken.com",
}
few = settings(max_examples=60, derandomize=True, database=None, deadline=None)
in_every_venue = pytest.mark.parametrize("venue", VENUES)


def change(side: dict[Decimal, Decimal], rows: list[list[str]]) -> None:
    for price, size, *_ in rows:
        if Decimal(size) == 0:
            side.pop(Decimal(price), None)
        else:
            side[Decimal(price)] = Decimal(size)


def received(session: MarketSession) -> list[Any]:
    return [json.loads(frame.data) for frame in session.frames if frame.direction == "recv"]


def sides(bids: list[list[str]], asks: list[list[str]]) -> tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]]:
    out: tuple[dict[Decimal, Decimal], dict[Decimal, Decimal]] = ({}, {})
    change(out[0], bids)
    change(out[1], asks)
    return out


# ---------------------------------------------------------------- on the wire


@in_every_venue
def test_frames_and_answers_come_in_order_of_time(venue: str) -> None:
    @few
    @given(sessions(venue))
    def look(session: MarketSession) -> None:
        times = [frame.time_ns for frame in session.frames]
        assert times == sorted(times)
        assert session.start_ns % 1_000_000 == 0
        assert all(session.start_ns <= time_ns < session.end_ns for time_ns in times)
        depth, trades = session.answers
        assert session.start_ns < depth.time_ns < trades.time_ns == session.end_ns
        taken = session.snapshot_after
        assert all(diff.time_ns < depth.time_ns for diff in session.diffs[:taken])
        assert all(diff.time_ns > depth.time_ns for diff in session.diffs[taken:])
        for before, trade in pairwise(session.trades):
            assert before.time_ns < trade.time_ns
            assert int(before.trade_id or 0) < int(trade.trade_id or 0)

    look()


@pytest.mark.parametrize("venue", ["binance", "binance_us"])
def test_spot_diffs_join_the_snapshot_by_the_rule_of_the_venue(venue: str) -> None:
    @few
    @given(sessions(venue, "ETHUSDT", tick=Decimal("0.1")))
    def look(session: MarketSession) -> None:
        snapshot = json.loads(session.answers[0].body)
        assert list(snapshot) == ["lastUpdateId", "bids", "asks"]
        bids, asks = sides(snapshot["bids"], snapshot["asks"])
        last = snapshot["lastUpdateId"]
        data = [frame["data"] for frame in received(session) if frame["stream"] == "ethusdt@depth@100ms"]
        assert len(data) == len(session.diffs)
        for diff in data:
            assert list(diff) == ["e", "E", "s", "U", "u", "b", "a"]
            if diff["u"] <= last:
                continue
            assert diff["U"] == last + 1
            last = diff["u"]
            change(bids, diff["b"])
            change(asks, diff["a"])
            assert max(bids) < min(asks)
        for frame in received(session):
            if frame["stream"] == "ethusdt@trade":
                assert list(frame["data"]) == ["e", "E", "s", "t", "p", "q", "T", "m", "M"]

    look()


@few
@given(sessions("binance_futures"))
def test_futures_diffs_join_the_snapshot_by_the_rule_of_the_venue(session: MarketSession) -> None:
    snapshot = json.loads(session.answers[0].body)
    assert list(snapshot) == ["lastUpdateId", "E", "T", "bids", "asks"]
    last, joined, before = snapshot["lastUpdateId"], False, None
    for frame in received(session):
        diff = frame["data"]
        if diff["e"] != "depthUpdate" or diff["u"] < last:
            continue
        assert list(diff) == ["e", "E", "T", "s", "U", "u", "pu", "b", "a"]
        if joined:
            assert diff["pu"] == before
        else:
            assert diff["U"] <= last <= diff["u"]
        joined, before = True, diff["u"]


@few
@given(sessions("kraken", "ETH-EUR", tick=Decimal("0.1"), lot=Decimal("0.001"), levels=(1, 12)))
def test_kraken_sends_what_it_is_asked_for_and_its_checksums_hold(session: MarketSession) -> None:
    sent = [json.loads(frame.data) for frame in session.frames if frame.direction == "send"]
    assert [each["subscription"]["name"] for each in sent] == ["book", "trade"]
    assert {name for each in sent for name in each["pair"]} == {"ETH/EUR"}
    depth = sent[0]["subscription"]["depth"]
    bids: dict[Decimal, Decimal] = {}
    asks: dict[Decimal, Decimal] = {}
    for frame in received(session):
        if isinstance(frame, dict) or frame[-2] == "trade":
            continue
        for part in frame[1:-2]:
            change(bids, part.get("b", part.get("bs", [])))
            change(asks, part.get("a", part.get("as", [])))
        assert max(len(bids), len(asks)) <= depth
        assert max(bids) < min(asks)
        if (checksum := frame[-3].get("c")) is not None:
            text = "".join(
                f"{price:.1f}".replace(".", "").lstrip("0") + f"{size:.8f}".replace(".", "").lstrip("0")
                for rows in (sorted(asks.items())[:10], sorted(bids.items(), reverse=True)[:10])
                for price, size in rows
            )
            assert checksum == str(zlib.crc32(text.encode()))
    result = json.loads(session.answers[0].body)["result"]
    assert list(result) == ["XETHZEUR"]


def test_trades_happen_at_the_best_price_of_their_moment() -> None:
    @few
    @given(sessions("binance", trades=(1, 5)))
    def look(session: MarketSession) -> None:
        for trade in session.trades:
            bids, asks = dict(session.book.bids), dict(session.book.asks)
            for diff in session.diffs:
                if diff.time_ns < trade.time_ns:
                    for side, levels in ((bids, diff.bids), (asks, diff.asks)):
                        for price, size in levels:
                            side.pop(price, None)
                            if size:
                                side[price] = size
            assert trade.price == (min(asks) if trade.side == "buy" else max(bids))

    look()


@in_every_venue
def test_a_failure_shrinks_to_a_snapshot_and_one_diff(venue: str) -> None:
    session = smallest(sessions(venue), lambda session: bool(session.diffs))
    assert (len(session.diffs), len(session.trades), session.snapshot_after) == (1, 0, 0)
    assert (len(session.book.bids), len(session.book.asks)) == (1, 1)
    assert len(session.diffs[0].bids) + len(session.diffs[0].asks) == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"venue": "bybit"}, "bybit"),
        ({"venue": "kraken", "symbol": "XBTUSD"}, "BTC-USD"),
        ({"venue": "kraken", "levels": 1000}, "1000"),
        ({"length": (2, 1)}, "length"),
        ({"changes": 0}, "changes"),
    ],
)
def test_a_session_that_no_venue_sends_is_a_mistake(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageMistake, match=why):
        sessions(**arguments)


# ---------------------------------------------------------------- as a cassette


def lines(folder: Path) -> list[Frame]:
    place = next(place for place in files.places(folder) if place.endpoint.startswith("ws_"))
    (file,) = files.files_in(place.within(folder))
    return [read_frame(line) for line in file.read_bytes().splitlines()]


@in_every_venue
def test_a_written_session_replays_to_the_same_bytes(venue: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    @settings(few, max_examples=15)
    @given(sessions(venue))
    def look(session: MarketSession) -> None:
        folder = write_session(tmp_path_factory.mktemp("session"), session)
        with use_cassette(folder):
            for answer in session.answers:
                got = requests.get(REST[venue] + answer.path, params=dict(answer.params))
                assert (got.status_code, got.content) == (200, answer.body)

    look()


@few
@given(st.sampled_from(VENUES).flatmap(sessions))
def test_a_written_connection_holds_every_frame(
    tmp_path_factory: pytest.TempPathFactory, session: MarketSession
) -> None:
    opened, *frames, ended = lines(write_session(tmp_path_factory.mktemp("session"), session))
    assert (opened.meta.dir, opened.meta.status, ended.meta.dir) == ("open", 101, "end")
    assert opened.params == dict(session.query)
    assert [frame.meta.seq for frame in (opened, *frames, ended)] == list(range(len(frames) + 2))
    assert [(frame.meta.dir, frame.time_ns, frame.data()) for frame in frames] == [
        (frame.direction, frame.time_ns, frame.data) for frame in session.frames
    ]


def test_frames_of_a_written_session_can_be_drawn_again(tmp_path: Path) -> None:
    session = smallest(sessions("binance"), lambda session: bool(session.diffs))
    folder = write_session(tmp_path, session)
    answer = smallest(from_cassette(folder, endpoint="/stream"), lambda answer: True)
    assert (answer.status, answer.body) == (None, session.frames[0].data)
    with pytest.raises(UsageMistake, match="single frame"):
        write_answers(tmp_path / "again", [answer])


def test_a_session_can_be_shown_whole() -> None:
    session = smallest(sessions(), lambda session: True)
    assert msgspec.structs.asdict(session)["frames"] == ()
    assert session.book == msgspec.structs.replace(session.snapshot, time_ns=session.book.time_ns)


async def _played(session: MarketSession) -> list[bytes]:
    """Do what a client does: send what was sent, and return what comes."""
    out = []
    url = f"wss://{session.host}{session.path}"
    async with aiohttp.ClientSession() as client, client.ws_connect(url, params=dict(session.query)) as socket:
        for frame in session.frames:
            if frame.direction == "send":
                await socket.send_str(frame.data.decode())
            else:
                out.append((await socket.receive_str()).encode())
    return out


@in_every_venue
def test_a_written_connection_replays_frame_by_frame(venue: str, tmp_path: Path) -> None:
    session = smallest(sessions(venue), lambda session: len(session.diffs) > 1 and len(session.trades) > 1)
    with use_cassette(write_session(tmp_path, session)):
        played = asyncio.run(_played(session))
    assert played == [frame.data for frame in session.frames if frame.direction == "recv"]
