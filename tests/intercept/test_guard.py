"""The guard: in a session that replays, nothing reaches the network by any way that Python code has."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import smtplib
import socket
import ssl
import threading
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from socket import getaddrinfo as getaddrinfo_by_name
from typing import Any

import pytest

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.errors import NetworkRefused

NAME = "api.exchange.example"
ADDRESS = "192.0.2.1"  # TEST-NET-1 (RFC 5737): nobody is there, and nothing must try
ADDRESS_6 = "2001:db8::1"  # documentation (RFC 3849)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cassette"


def connect_raw(family: int, address: Any) -> None:
    with socket.socket(family) as connection:
        connection.settimeout(5)
        connection.connect(address)


def connect_ex() -> None:
    with socket.socket() as connection:
        connection.settimeout(5)
        connection.connect_ex((ADDRESS, 443))


def datagram(way: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if way == "sendto":
            sender.sendto(b"x", (ADDRESS, 53))
        elif way == "sendto with flags":
            sender.sendto(b"x", 0, (ADDRESS, 53))
        elif way == "broadcast":
            sender.sendto(b"x", ("<broadcast>", 9))
        else:
            sender.sendmsg([b"x"], [], 0, (ADDRESS, 53))


def nonblocking() -> None:
    with socket.socket() as connection:
        connection.setblocking(False)
        connection.connect((ADDRESS, 443))


def subclassed() -> None:
    class Own(socket.socket):
        """As PySocks and others have."""

    with Own() as connection:
        connection.connect((ADDRESS, 443))


def tls_before_connect() -> None:
    context = ssl.create_default_context()
    with context.wrap_socket(socket.socket(), server_hostname=NAME) as connection:
        connection.connect((ADDRESS, 443))


WAYS: dict[str, Callable[[], Any]] = {
    "http.client": lambda: http.client.HTTPConnection(NAME, timeout=5).request("GET", "/"),
    "http.client with TLS": lambda: http.client.HTTPSConnection(ADDRESS, timeout=5).request("GET", "/"),
    "urllib.request": lambda: urllib.request.urlopen(f"http://{NAME}/", timeout=5),
    "smtplib": lambda: smtplib.SMTP(ADDRESS, 25, timeout=5),
    "socket.create_connection to a name": lambda: socket.create_connection((NAME, 443), 5),
    "socket.create_connection to an address": lambda: socket.create_connection((ADDRESS, 443), 5),
    "socket.connect": lambda: connect_raw(socket.AF_INET, (ADDRESS, 443)),
    "socket.connect to a name": lambda: connect_raw(socket.AF_INET, (NAME, 443)),
    "socket.connect, IPv6": lambda: connect_raw(socket.AF_INET6, (ADDRESS_6, 443, 0, 0)),
    "socket.connect, mapped IPv4": lambda: connect_raw(socket.AF_INET6, (f"::ffff:{ADDRESS}", 443, 0, 0)),
    "socket.connect_ex": connect_ex,
    "socket.connect without blocking": nonblocking,
    "a subclass of socket": subclassed,
    "ssl.wrap_socket, then connect": tls_before_connect,
    "sendto": lambda: datagram("sendto"),
    "sendto with flags": lambda: datagram("sendto with flags"),
    "sendto, broadcast": lambda: datagram("broadcast"),
    "sendmsg": lambda: datagram("sendmsg"),
    "getaddrinfo": lambda: socket.getaddrinfo(NAME, 443),
    "getaddrinfo, imported by name": lambda: getaddrinfo_by_name(NAME, 443),
    "getaddrinfo of bytes": lambda: socket.getaddrinfo(NAME.encode(), 443),
    "gethostbyname": lambda: socket.gethostbyname(NAME),
    "gethostbyname_ex": lambda: socket.gethostbyname_ex(NAME),
    "gethostbyaddr": lambda: socket.gethostbyaddr(ADDRESS),
    "getnameinfo": lambda: socket.getnameinfo((ADDRESS, 443), 0),
    "getfqdn": lambda: socket.getfqdn(NAME),
}


async def datagram_endpoint() -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(ADDRESS, 53))
    transport.close()


async def datagram_to() -> None:
    loop = asyncio.get_running_loop()
    errors: list[BaseException] = []

    class Protocol(asyncio.DatagramProtocol):
        def error_received(self, exc: Exception) -> None:
            errors.append(exc)

    transport, _ = await loop.create_datagram_endpoint(Protocol, local_addr=("127.0.0.1", 0))
    loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
    transport.sendto(b"x", (ADDRESS, 53))
    transport.close()
    await asyncio.sleep(0)
    if errors:
        raise errors[0]


async def sock_connect() -> None:
    with socket.socket() as connection:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (ADDRESS, 443))


async def sock_sendto() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        await asyncio.get_running_loop().sock_sendto(sender, b"x", (ADDRESS, 53))


async def loop_getaddrinfo() -> None:
    await asyncio.get_running_loop().getaddrinfo(NAME, 443)


async def loop_getnameinfo() -> None:
    await asyncio.get_running_loop().getnameinfo((ADDRESS, 443))


async def in_thread() -> None:
    await asyncio.to_thread(socket.gethostbyname, NAME)


async def open_connection() -> None:
    await asyncio.open_connection(NAME, 443)


async def open_connection_to_address() -> None:
    await asyncio.open_connection(ADDRESS, 443)


ASYNC_WAYS: dict[str, Callable[[], Awaitable[Any]]] = {
    "asyncio.open_connection": open_connection,
    "asyncio.open_connection to an address": open_connection_to_address,
    "loop.create_datagram_endpoint": datagram_endpoint,
    "loop.sock_connect": sock_connect,
    "loop.getaddrinfo": loop_getaddrinfo,
    "loop.getnameinfo": loop_getnameinfo,
    "asyncio.to_thread": in_thread,
}
ASYNCIO_ONLY = {"loop.sock_sendto": sock_sendto, "a datagram transport": datagram_to}


def refused(folder: Path, way: Callable[[], Any]) -> NetworkRefused:
    """Have a way refused, in a session that replays; the refusal is remembered too."""
    with use_cassette(folder) as session:
        with pytest.raises(NetworkRefused) as caught:
            way()
        assert session.refusals
        session.refusals.clear()
    return caught.value


@pytest.mark.parametrize("way", WAYS)
def test_a_way_to_the_network_is_refused(way: str, folder: Path) -> None:
    error = refused(folder, WAYS[way])
    assert "marketreplay_allow_hosts" in str(error)
    assert any(host in str(error) for host in (NAME, ADDRESS, ADDRESS_6, "<broadcast>"))


@pytest.mark.parametrize("way", [*ASYNC_WAYS, *ASYNCIO_ONLY])
def test_a_way_of_asyncio_is_refused(way: str, folder: Path) -> None:
    asked = (ASYNC_WAYS | ASYNCIO_ONLY)[way]
    refused(folder, lambda: asyncio.run(asked()))


@pytest.mark.parametrize("way", ASYNC_WAYS)
def test_a_way_of_uvloop_is_refused(way: str, folder: Path) -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        refused(folder, lambda: runner.run(ASYNC_WAYS[way]()))


@pytest.mark.parametrize("way", ["http.client", "socket.connect", "getaddrinfo", "sendto"])
def test_a_way_is_refused_in_a_thread_that_was_there_before(way: str, folder: Path) -> None:
    begin = threading.Event()
    errors: list[BaseException] = []

    def work() -> None:
        begin.wait(10)
        try:
            WAYS[way]()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    with use_cassette(folder) as session:
        begin.set()
        thread.join()
        session.refusals.clear()
    assert [type(error) for error in errors] == [NetworkRefused]


def test_a_refusal_that_was_swallowed_is_raised_at_the_end(folder: Path) -> None:
    with pytest.raises(NetworkRefused, match=NAME) as caught, use_cassette(folder):
        for _ in range(3):
            with contextlib.suppress(Exception):
                socket.create_connection((NAME, 443))
    assert caught.value.__notes__ == ["... and 2 more refusals"]


def test_a_refusal_says_what_to_do_and_for_which_test(folder: Path) -> None:
    error = refused(folder, WAYS["http.client"])
    assert str(error).startswith(f"the name look-up of {NAME} was refused: {folder} replays")
    assert f"marketreplay_allow_hosts = {NAME}" in str(error)
    assert "docs/reference/clients.md" in str(error)
