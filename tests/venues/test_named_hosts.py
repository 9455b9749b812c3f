"""Hosts that a user names: with a port, without one, and what is no host at all."""

from __future__ import annotations

import pytest

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.venues.registry import Registry


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "localhost:80"])
def test_a_host_without_a_port_is_named_on_all_ports(host: str) -> None:
    registry = Registry(hosts={"localhost": "kraken"})
    assert registry.is_named(host)
    assert registry.of(host).name == "kraken"


def test_a_host_with_a_port_goes_before_the_same_host_without() -> None:
    registry = Registry(hosts={"[::1]": "kraken", "[::1]:8080": "binance"})
    assert registry.of("[::1]:8080").name == "binance"
    assert registry.of("[::1]:8081").name == "kraken"
    assert not registry.is_named("[::2]:8080")


@pytest.mark.parametrize("host", ["http://127.0.0.1:8080", "127.0.0.1:8080/api"])
def test_a_url_is_refused_where_a_host_is_meant(host: str) -> None:
    with pytest.raises(UsageMistake, match="is no host"):
        Registry(hosts={host: "binance"})


def test_a_block_without_a_cassette_says_what_is_missing() -> None:
    with pytest.raises(UsageMistake, match="needs the folder"), use_cassette():
        pass
