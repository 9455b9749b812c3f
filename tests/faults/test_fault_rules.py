"""Rules of faults: what is a mistake, what fits, and what a book is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.replay.faults import KINDS, Fault, Faults, bodies
from pytest_marketreplay.replay.faults.plan import Place

from .stories import answers

SIGNED = "https://api.binance.com/api/v3/account?timestamp={}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"kind": "404"}, "no fault is named '404'"),
        ({"kind": "429", "at": 0}, "counts from 1: at=0"),
        ({"kind": "429", "at": True}, "counts from 1: at=True"),
        ({"kind": "429", "times": None}, "counts from 1: times=None"),
        ({"kind": "429", "every": -1}, "counts from 1: every=-1"),
        ({"kind": "429", "number": 0}, "counts from 1: number=0"),
        ({"kind": "429", "times": 3, "every": 2}, "that is always"),
        ({"kind": "429", "rate": 1.5}, "no probability"),
        ({"kind": "429", "rate": "often"}, "no probability"),
        ({"kind": "429", "endpoint": "api/v3/depth"}, "begins with a slash"),
        ({"kind": "429", "symbol": ""}, "None means all"),
        ({"kind": "429", "retry_after": 0.5}, "whole seconds"),
        ({"kind": "429", "retry_after": "1"}, "whole seconds"),
        ({"kind": "429", "strict": 1}, "True or False"),
        ({"kind": "500", "retry_after": 1}, "it has no arguments"),
        ({"kind": "gap", "seconds": 1}, "no argument 'seconds'"),
        ({"kind": "timeout", "seconds": 0}, "seconds above 0"),
        ({"kind": "truncated", "keep": -1}, "a number of bytes"),
        ({"kind": "disconnect", "code": 1006}, "a close code that is sent"),
        ({"kind": "skew", "seconds": "late"}, "below 0 for a clock that is behind"),
        ({"kind": "skew", "seconds": 3}, 'clock="recording"'),
    ],
)
def test_a_rule_that_is_wrong_says_what_is_wrong(arguments, said):
    kind = arguments.pop("kind")
    with pytest.raises(UsageMistake) as mistake:
        Faults().inject(kind, **arguments)
    assert said in str(mistake.value)


def test_a_fault_is_injected_as_it_is():
    with pytest.raises(UsageMistake, match="as it is"):
        Faults().inject(Fault("gap"), at=3)
    with pytest.raises(UsageMistake, match="give a tuple"):
        Faults().random(0.1, kinds="gap")


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (Fault("429"), True),
        (Fault("429", "kraken", "/public/Depth", "BTC-USD"), True),
        (Fault("429", endpoint="/0/public/Depth"), True),
        (Fault("429", symbol="btc-usd"), True),
        (Fault("429", venue="binance"), False),
        (Fault("429", endpoint="/public"), False),
        (Fault("429", symbol="_all"), False),
    ],
)
def test_a_rule_fits_by_venue_endpoint_and_symbol(rule, fits):
    assert rule.fits(Place("request", "kraken", "/public/Depth", "BTC-USD", "/0/public/Depth")) is fits


@pytest.mark.parametrize("kinds", [None, ("429", "gap", "crossed"), ("timeout",)])
def test_random_faults_have_about_the_rate_they_were_given(kinds):
    faults = Faults()
    rules = faults.random(0.2, seed=3, kinds=kinds)
    assert {rule.kind for rule in rules} == set(kinds or KINDS.keys() - {"418", "skew"})
    place = Place("request", "binance", "/api/v3/depth", "BTCUSDT", "/api/v3/depth")
    drawn = sum(
        faults.acting(place, lambda rule: rule.kind in ("429", "500", "502", "503", "504", "timeout", "refused", "reset", "truncated", "stale", "crossed"), "") is not None
        for _ in range(3000)
    )  # fmt: skip
    assert 400 < drawn < 800
    assert len({each.number for each in faults.injected}) == drawn


def test_cleared_rules_do_nothing_more_and_what_happened_is_still_told():
    faults = Faults([Fault("429", times=5)])
    place = Place("request", "binance", "/", "_all", "/")
    assert faults.acting(place, lambda rule: True, "x")
    faults.clear()
    assert faults.acting(place, lambda rule: True, "x") is None
    assert len(faults.injected) == 1


# ---------------------------------------------------------------- books


@pytest.mark.parametrize(
    ("data", "swapped"),
    [
        (b'{"bids":[["1","2"],["0","1"]],"asks":[["3","4"]]}', b'{"bids":[["3","4"],["0","1"]],"asks":[["1","2"]]}'),
        (b'{"asks": [[3, 4]], "bids": [[1, 2]]}', b'{"asks": [[1, 2]], "bids": [[3, 4]]}'),
        (b'{"b":"1.0","B":"9","a":"2.00","A":"8"}', b'{"b":"2.00","B":"9","a":"1.0","A":"8"}'),
        (b'{"bidPrice":"1","bidQty":"5","askPrice":"2"}', b'{"bidPrice":"2","bidQty":"5","askPrice":"1"}'),
        (b'{"bid":1.5,"ask":1.75}', b'{"bid":1.75,"ask":1.5}'),
        (b'[0,{"as":[["3","1","9"]],"bs":[["1","1","9"]]},"book-10"]', b'[0,{"as":[["1","1","9"]],"bs":[["3","1","9"]]},"book-10"]'),
        (b'{"data":[{"bids":[{"price":1,"qty":2}],"asks":[{"price":3,"qty":4}]}]}', b'{"data":[{"bids":[{"price":3,"qty":4}],"asks":[{"price":1,"qty":2}]}]}'),
        (b'{"XBT":{"a":["3.0","1","1"],"b":["1.0","1","1"]}}', b'{"XBT":{"a":["1.0","1","1"],"b":["3.0","1","1"]}}'),
        (b'[{"bids":[],"asks":[["9","9"]]},{"bids":[["1","1"]],"asks":[["2","2"]]}]', b'[{"bids":[],"asks":[["9","9"]]},{"bids":[["2","2"]],"asks":[["1","1"]]}]'),
        (b'{"bids":[["1","2"]],"asks":[]}', None),
        (b'[{"bids":[["1","2"]]},{"asks":[["3","4"]]}]', None),
        (b'{"e":"trade","b":88,"a":50}', None),
        (b'{"result":null,"id":1}', None),
        (b"\xff\x00 no text", None),
        (b"", None),
    ],
)  # fmt: skip
def test_a_book_is_crossed_as_it_is_written(data, swapped):
    assert bodies.crossed(data) == swapped


def test_every_venue_has_its_own_error_and_its_own_word_for_a_clock_that_is_off():
    from pytest_marketreplay.venues.registry import Registry

    for venue in Registry().venues.values():
        for status in (418, 429, 500, 503):
            assert json.dumps(venue.error_body(status))
        status, body = venue.clock_error()
        assert status >= 200
        assert venue.problem(status, body)


# ---------------------------------------------------------------- skew


@pytest.mark.parametrize(("seconds", "refused"), [(-4, False), (-6, True), (0.5, False), (1.5, True)])
def test_a_clock_that_is_off_is_seen_by_the_code_and_refused_beyond_the_window(tmp_path, seconds, refused):
    import time

    answers(tmp_path, b'{"balances":[]}', endpoint="/api/v3/account", symbol="_all")
    with use_cassette(tmp_path, clock="recording") as session:
        session.faults = Faults(clock=session.clock)
        session.faults.inject("skew", seconds=seconds)
        assert time.time() - session.clock.time() == pytest.approx(seconds, abs=0.001)
        stamp = int(time.time() * 1000)
        response = requests.get(SIGNED.format(stamp), timeout=5)
        assert response.json().get("code") == (-1021 if refused else None)
        # a client that asks the exchange for its time and corrects its own gets the answer
        stamp = int((time.time() - seconds) * 1000)
        if refused:
            assert requests.get(SIGNED.format(stamp), timeout=5).json() == {"balances": []}
        before = time.time()
        time.sleep(2)
        assert time.time() - before == pytest.approx(2, abs=0.001)
        session.faults.clear()
        assert time.time() == pytest.approx(session.clock.time(), abs=0.001)
        assert "market_faults.inject('skew', seconds=" in session.faults.report()


def test_by_count_a_skewed_clock_hits_requests_that_carry_a_time(tmp_path):
    answers(tmp_path, b"{}", b"{}", endpoint="/api/v3/account", symbol="_all")
    answers(tmp_path, b"{}", endpoint="/api/v3/time", symbol="_all")
    with use_cassette(tmp_path) as session:
        session.faults = Faults([Fault("skew")])
        assert requests.get("https://api.binance.com/api/v3/time", timeout=5).json() == {}
        said = [requests.get(SIGNED.format(number), timeout=5) for number in range(3)]
    assert [each.status_code for each in said] == [400, 200, 200]
    assert said[0].json()["code"] == -1021


def test_while_a_cassette_is_recorded_nothing_is_injected(tmp_path: Path):
    faults = Faults(is_recording=True)
    faults.inject("skew", seconds=9)
    assert faults.injected == []
