"""Kraken's names of pairs that look like the old ones and are none."""

from __future__ import annotations

import pytest

from pytest_marketreplay.venues.kraken import pair_name


@pytest.mark.parametrize(
    ("spelling", "common"),
    [("XABCZUSD", "XABC-USD"), ("XABCXXBT", "XABC-BTC"), ("XXBTZABC", "XXBTZABC"), ("XXBTZUSD", "BTC-USD")],
)
def test_an_x_before_a_name_that_is_no_old_asset_belongs_to_the_name(spelling: str, common: str) -> None:
    assert pair_name(spelling) == common
