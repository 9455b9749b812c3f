"""Rules that nearly fit: answers without a body, memory that is full, clocks that say nothing, frames that are served."""

from __future__ import annotations

import json

import pytest
import requests

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.replay.faults import Fault, Faults, injector
from pytest_marketreplay.replay.faults.served import ServedFaults
from pytest_marketreplay.venues.registry import Registry

from .stories import DEPTH, answers, book

ETH = DEPTH.replace("BTC", "ETH")


def test_an_answer_without_a_body_cannot_be_cut_short(tmp_path):
    answers(tmp_path, b'""', encoding="text")
    faults = Faults([Fault("truncated")])
    with use_cassette(tmp_path) as session:
        session.faults = faults
        assert requests.get(DEPTH).content == b""
    assert [rule.kind for rule in faults.unused] == ["truncated"]


def test_an_answer_that_is_forgotten_is_not_given_again(tmp_path, monkeypatch):
    monkeypatch.setattr(injector, "_MOST_BEFORE", 1)
    answers(tmp_path, book(1), book(2))
    answers(tmp_path, book(7), symbol="ETHUSDT")
    with use_cassette(tmp_path) as session:
        session.faults = faults = Faults([Fault("stale", at=3)])
        got = [requests.get(url).json()["lastUpdateId"] for url in (DEPTH, ETH, DEPTH)]
    assert got == [1, 7, 2]
    assert faults.unused


def test_who_is_banned_at_one_endpoint_is_not_at_another(tmp_path):
    answers(tmp_path, book(1), book(2))
    answers(tmp_path, b'{"p":1}', endpoint="/api/v3/avgPrice")
    with use_cassette(tmp_path) as session:
        session.faults = Faults(
            [Fault("429", endpoint="/api/v3/depth", at=1, arguments={"retry_after": 60, "strict": True})]
        )
        status = [requests.get(url).status_code for url in (DEPTH, DEPTH.replace("depth", "avgPrice"), DEPTH)]
    assert status == [429, 200, 429]


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("duplicate", b'{"u":1}', [("text", b'{"u":1}')] * 2),
        ("gap", b'{"u":1}', []),
        ("disconnect", b'{"u":1}', [("close", b"\x03\xf4")]),
    ],
)
def test_served_frames_have_their_faults_and_pings_none(kind, data, expected):
    served = ServedFaults(Faults([Fault(kind)]), Registry())
    assert list(served.frames("binance", "/ws", "ping", b"beat")) == [("ping", b"beat")]
    assert list(served.frames("binance", "/ws", "text", data)) == expected
    assert list(served.frames("binance", "/ws", "text", data)) == [("text", data)]


def test_a_served_book_can_be_crossed():
    served = ServedFaults(Faults([Fault("crossed")]), Registry())
    ((_, data),) = served.frames("binance", "/ws", "text", b'{"b":[["99.0","1"]],"a":[["101.0","2"]]}')
    crossed = json.loads(data)
    assert float(crossed["b"][0][0]) >= float(crossed["a"][0][0])
