"""What the guard leaves open, what it refuses although it is on loopback, and connections that were there before."""

from __future__ import annotations

import _socket
import asyncio
import contextlib
import http.client
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.errors import NetworkRefused, UnrecordedRequest

from .test_guard import ADDRESS, WAYS, refused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cassette"


@contextlib.contextmanager
def listening(family: int, address: Any) -> Iterator[socket.socket]:
    with socket.socket(family) as listener:
        listener.bind(address)
        listener.listen()
        yield listener


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.8.9.10", "0.0.0.0"])
def test_loopback_stays_open(host: str, folder: Path) -> None:
    with listening(socket.AF_INET, ("0.0.0.0", 0)) as listener, use_cassette(folder) as session:
        with socket.create_connection((host, listener.getsockname()[1]), 5) as connection:
            connection.sendall(b"x")
        assert session.refusals == []


@pytest.mark.parametrize("host", ["::1", "::ffff:127.0.0.1"])
def test_loopback_of_ipv6_stays_open(host: str, folder: Path) -> None:
    try:
        probe = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    probe.close()
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener,
        use_cassette(folder) as session,
    ):
        with socket.socket(socket.AF_INET6) as connection:
            connection.connect((host, listener.getsockname()[1], 0, 0))
            connection.sendall(b"x")
        assert session.refusals == []


def test_unix_sockets_and_socket_pairs_stay_open(folder: Path, tmp_path: Path) -> None:
    with listening(socket.AF_UNIX, str(tmp_path / "s")), use_cassette(folder), socket.socket(socket.AF_UNIX) as one:
        one.connect(str(tmp_path / "s"))
        one.sendall(b"x")
        left, right = socket.socketpair()
        with left, right:
            left.send(b"x")
            left.sendmsg([b"y"])
            assert right.recv(2) in (b"x", b"xy")


def test_an_event_loop_and_a_server_of_the_test_run_in_a_session(folder: Path) -> None:
    async def main() -> bytes:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "localhost", 0)
        async with server:
            reader, writer = await asyncio.open_connection("localhost", server.sockets[0].getsockname()[1])
            writer.write(b"hello\n")
            answer = await reader.readline()
            writer.close()
        return answer

    with use_cassette(folder):
        assert asyncio.run(main()) == b"hello\n"


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_loopback_host_that_is_a_venue_is_refused(loop: str, folder: Path) -> None:
    """An unsupported library that asks the exchange on loopback would be a live request."""
    factory = pytest.importorskip("uvloop").new_event_loop if loop == "uvloop" else None
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with use_cassette(folder, hosts={f"127.0.0.1:{port}": "binance"}) as session:
            for way in (
                lambda: socket.create_connection(("127.0.0.1", port), 5),
                lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5),
            ):
                with pytest.raises(NetworkRefused):
                    way()
            with asyncio.Runner(loop_factory=factory) as runner, pytest.raises(NetworkRefused):
                runner.run(asyncio.open_connection("127.0.0.1", port))
            session.refusals.clear()
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


async def ws_connect(host: str) -> None:
    async with aiohttp.ClientSession() as session:
        await session.ws_connect(f"ws://{host}/ws")


def test_a_websocket_to_a_venue_on_loopback_is_refused(folder: Path) -> None:
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        with use_cassette(folder, hosts={host: "binance"}) as session:
            with pytest.raises(UnrecordedRequest, match=f"WebSocket ws://{host}/ws"):
                asyncio.run(ws_connect(host))
            session.refusals.clear()
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_websocket_to_an_unknown_host_is_refused_before_its_name_is_resolved(folder: Path) -> None:
    with use_cassette(folder) as session:
        with pytest.raises(UnrecordedRequest, match=r"WebSocket ws://api\.exchange\.example/ws"):
            asyncio.run(ws_connect("api.exchange.example"))
        session.refusals.clear()


def test_allow_hosts_opens_a_host(folder: Path) -> None:
    with use_cassette(folder, allow_hosts=["*.example", "192.0.2.*"]) as session:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect((ADDRESS, 9))  # a datagram socket connects without a packet
        assert session.refusals == []
        with pytest.raises(NetworkRefused):
            socket.getaddrinfo("api.exchange.test", 443)
        session.refusals.clear()


@pytest.mark.parametrize("resolve", ["getaddrinfo", "gethostbyname", "gethostbyname_ex"])
def test_the_address_of_an_open_name_is_open(resolve: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client connects to the address, not to the name; the resolver of this machine is not asked."""
    answers = {
        "getaddrinfo": [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ADDRESS, 443))],
        "gethostbyname": ADDRESS,
        "gethostbyname_ex": ("db.internal", [], [ADDRESS]),
    }
    module = socket if resolve != "getaddrinfo" else _socket
    monkeypatch.setattr(module, resolve, lambda *args: answers[resolve])
    with use_cassette(folder, allow_hosts=["db.internal"]) as session:
        asked = getattr(socket, resolve)
        asked("db.internal", 443) if resolve == "getaddrinfo" else asked("db.internal")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect((ADDRESS, 443))
        assert session.refusals == []
    with use_cassette(folder) as session, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        with pytest.raises(NetworkRefused):
            sender.connect((ADDRESS, 443))
        session.refusals.clear()


@pytest.mark.parametrize("mode", ["new_episodes", "all", "rewrite", "once"])
def test_nothing_is_refused_while_recording(mode: str, folder: Path) -> None:
    with use_cassette(folder, mode=mode) as session, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect((ADDRESS, 9))
        assert session.refusals == []


def test_a_refusing_session_inside_a_recording_one_refuses(folder: Path) -> None:
    with use_cassette(folder, mode="rewrite"):
        refused(folder.with_name("inner"), WAYS["socket.connect"])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect((ADDRESS, 9))


@pytest.mark.parametrize("way", ["send", "sendall", "sendmsg"])
def test_a_connection_that_was_open_before_is_not_used_by_the_test(way: str, folder: Path) -> None:
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as connection, listener.accept()[0] as server:
            with use_cassette(folder, hosts={f"127.0.0.1:{port}": "binance"}) as session:
                with pytest.raises(NetworkRefused, match="sending on a connection"):
                    getattr(connection, way)([b"x"] if way == "sendmsg" else b"x")
                thread = threading.Thread(target=lambda: server.sendall(b"from elsewhere"))
                thread.start()
                thread.join()
                session.refusals.clear()
            server.settimeout(0)
            with pytest.raises(BlockingIOError):
                server.recv(1)


def test_a_kept_connection_of_http_client_is_not_used_by_the_test(folder: Path) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.handle_request)
    thread.start()
    client = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=5)
    client.request("GET", "/before")
    client.getresponse().read()
    with use_cassette(folder, hosts={f"127.0.0.1:{server.server_address[1]}": "binance"}) as session:
        with pytest.raises(NetworkRefused):
            client.request("GET", "/inside")
        session.refusals.clear()
    client.close()
    thread.join()
    server.server_close()


def test_a_connection_of_another_thread_is_left_alone(folder: Path) -> None:
    """A debugger's, a metrics exporter's: the test did not start it, and cutting it would help nobody."""
    begin, done = threading.Event(), threading.Event()
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as connection, listener.accept()[0] as server:

            def work() -> None:
                begin.wait(10)
                connection.sendall(b"still here")
                done.set()

            thread = threading.Thread(target=work)
            thread.start()
            with use_cassette(folder, hosts={f"127.0.0.1:{port}": "binance"}) as session:
                begin.set()
                assert done.wait(10)
                assert session.refusals == []
            thread.join()
            assert server.recv(20) == b"still here"


@pytest.mark.parametrize("named", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_venue_on_loopback_is_refused_by_whatever_name_it_is_reached(named: str, host: str, folder: Path) -> None:
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(NetworkRefused), use_cassette(folder, hosts={f"{named}:{port}": "binance"}):
            http.client.HTTPConnection(host, port, timeout=5).request("GET", "/")


def test_a_socket_that_is_no_network_stays_open(folder: Path) -> None:
    """Netlink's addresses are tuples too: a process and its groups."""
    if not hasattr(socket, "AF_NETLINK"):
        pytest.skip("only Linux has netlink")
    with use_cassette(folder) as session, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.connect((0, 0))
        assert kernel.getpeername() == (0, 0)
        assert session.refusals == []


def test_sending_on_a_socket_that_is_not_connected_fails_by_itself(folder: Path) -> None:
    with use_cassette(folder) as session, socket.socket() as alone:
        with pytest.raises(OSError, match=r"not connected|[Bb]roken pipe"):
            alone.send(b"x")
        assert session.refusals == []


def test_a_datagram_to_loopback_arrives(folder: Path) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        with use_cassette(folder):
            sender.sendto(b"one", receiver.getsockname())
            sender.sendmsg([b"two"], [], 0, receiver.getsockname())
        assert [receiver.recv(9), receiver.recv(9)] == [b"one", b"two"]


def test_the_numbers_of_an_address_are_no_look_up(folder: Path) -> None:
    with use_cassette(folder) as session:
        flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        assert socket.getnameinfo((ADDRESS, 443), flags) == (ADDRESS, "443")
        assert session.refusals == []


def test_loopback_stays_open_in_uvloop(folder: Path) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> tuple[bytes, bytes, Any]:
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[bytes] = loop.create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()

        class Receiver(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                arrived.set_result(data)

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection("localhost", server.sockets[0].getsockname()[1])
            writer.write(b"hello\n")
            answer = await reader.readline()
            writer.close()
            connection = socket.create_connection(server.sockets[0].getsockname())
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=connection)
            transport.close()
        receiver, _ = await loop.create_datagram_endpoint(Receiver, ("127.0.0.1", 0))
        address = receiver.get_extra_info("sockname")
        sender, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=address)
        sender.sendto(b"datagram")
        datagram = await asyncio.wait_for(arrived, 10)
        sender.close()
        receiver.close()
        flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        return answer, datagram, await loop.getnameinfo((ADDRESS, 443), flags)

    with use_cassette(folder) as session, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == (b"hello\n", b"datagram", (ADDRESS, "443"))
        assert session.refusals == []
