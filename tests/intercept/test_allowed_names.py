"""`allow_hosts` opens a name: the client connects to the address that it was resolved to, not to the name."""

from __future__ import annotations

import _socket
import socket
from pathlib import Path
from typing import Any

import pytest

from pytest_marketreplay import use_cassette
from pytest_marketreplay.errors import NetworkRefused

ADDRESS = "192.0.2.7"  # of a network that is reserved for documentation, so nothing is reached


@pytest.fixture(autouse=True)
def _one_known_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(host: Any, port: Any, *args: Any, **more: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ADDRESS, port))]

    def refused_by_the_network(self: socket.socket, address: Any) -> None:
        raise ConnectionRefusedError(address)

    monkeypatch.setattr(_socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket.socket, "connect", refused_by_the_network)


def test_a_connection_to_an_open_name_reaches_its_address(tmp_path: Path) -> None:
    """As a database driver connects: look up, then connect to the address."""
    with use_cassette(tmp_path, allow_hosts=["db.example"]), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("db.example", 5432), timeout=1)


def test_the_same_address_is_closed_where_its_name_is_not_open(tmp_path: Path) -> None:
    """Neither the name nor, in another session, the address that was open before."""
    with use_cassette(tmp_path, allow_hosts=["db.example"]), pytest.raises(ConnectionRefusedError):
        socket.create_connection(("db.example", 5432), timeout=1)
    with pytest.raises(NetworkRefused), use_cassette(tmp_path):
        socket.create_connection((ADDRESS, 5432), timeout=1)
    with pytest.raises(NetworkRefused), use_cassette(tmp_path, allow_hosts=["db.example"]):
        socket.create_connection(("other.example", 5432), timeout=1)
