"""What the code under test swallows is raised at the end of the block: damage as well as refusals."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import requests

from pytest_marketreplay import use_cassette
from pytest_marketreplay.cassette import entry, payload
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.writer import Recording
from pytest_marketreplay.errors import DamagedCassette, UnrecordedRequest

URL = "https://api.binance.com/api/v3/{}?symbol=BTCUSDT"


@pytest.fixture
def cassette(tmp_path: Path) -> Path:
    """A cassette with a good place and a damaged one."""
    recording = Recording(tmp_path / "cassette")
    for endpoint in ("depth", "trades"):
        line = entry.write_line(
            1, f"/api/v3/{endpoint}", b'{"symbol":"BTCUSDT"}', entry.Meta(), payload.encode(b'{"price":"4.00"}')
        )
        recording.append(Place("binance", f"api_v3_{endpoint}", "BTCUSDT"), line)
    recording.close()
    damaged = next((tmp_path / "cassette/binance/api_v3_trades/BTCUSDT").iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-10] + b"\n")
    return tmp_path / "cassette"


def test_damage_that_the_code_swallows_is_raised_at_the_end(cassette: Path) -> None:
    with pytest.raises(DamagedCassette, match="line 1"), use_cassette(cassette), contextlib.suppress(Exception):
        requests.get(URL.format("trades"))


def test_damage_in_a_place_that_nobody_asks_for_stops_nothing(cassette: Path) -> None:
    with use_cassette(cassette):
        assert requests.get(URL.format("depth")).content == b'{"price":"4.00"}'


def test_a_miss_is_explained_although_another_place_is_damaged(cassette: Path) -> None:
    with pytest.raises(UnrecordedRequest, match=r"symbol=BTCUSDT&limit=5"), use_cassette(cassette):
        requests.get(URL.format("depth") + "&limit=5")
