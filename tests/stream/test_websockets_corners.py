"""What programs seldom do with `websockets`: Unix sockets, sockets of their own, handshakes given up, odd failures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.sync.client import unix_connect
from websockets.sync.server import unix_serve

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.errors import TapeEnded
from pytest_marketreplay.intercept.websockets_protocol import Recorder

from .conftest import Open
from .websockets_stage import AsyncClient, Client, Stage, SyncClient, answering, each_client, subscribe_and_stop
from .wire_server import Line, WireServer


@pytest.fixture(params=["asyncio", "sync", "legacy"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    yield from each_client(request.param)


@pytest.fixture(params=["asyncio", "legacy"])
def tasks(request: pytest.FixtureRequest) -> Iterator[Client]:
    yield from each_client(request.param)


@pytest.fixture
def unix(tmp_path: Path) -> Iterator[str]:
    """The path of a Unix socket with a server behind it that says one word."""

    def serve(connection: Any) -> None:
        connection.send("local")

    path = str(tmp_path / "unix.sock")
    with unix_serve(serve, path) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield path
        server.shutdown()
        thread.join(10)


@pytest.mark.parametrize("name", ["asyncio", "sync", "legacy"])
def test_a_unix_socket_is_nobodys_exchange(tmp_path: Path, unix: str, name: str) -> None:
    async def ask() -> Any:
        opening = connect("ws://localhost/", unix=True, path=unix) if name == "asyncio" else by_legacy()
        async with opening as connection:
            return await connection.recv()

    def by_legacy() -> Any:
        from websockets.legacy.client import unix_connect as legacy_unix_connect

        return legacy_unix_connect(unix)

    with use_cassette(tmp_path / "cassette") as session:
        if name == "sync":
            with unix_connect(unix) as connection:
                said = connection.recv(5)
        else:
            said = asyncio.run(ask())
    assert said == "local"
    assert session.refusals == []


def test_a_socket_that_the_client_brings_is_used_live_and_closed_on_replay(stage: Stage, client: Client) -> None:
    host, _, port = stage.exchange.host.partition(":")
    url = stage.url("subscription")
    with stage.play("all"):
        line = client.connect(url, sock=socket.create_connection((host, int(port))))
        recorded = line.recv()
        line.close()
    stage.exchange.stop()
    mine, other = socket.socketpair()
    with other, stage.play():
        line = client.connect(url, sock=mine)
        assert line.recv() == recorded == '{"hello":"trader"}'
        line.close()
    assert mine.fileno() == -1


def test_a_login_in_the_url_reaches_the_exchange_and_no_file(stage: Stage, client: Client) -> None:
    url = stage.url("subscription").replace("ws://", "ws://trader:4f0e8d3e0a4c6d7b1f22@")
    with stage.play("all"):
        recorded = subscribe_and_stop(client, url)
    assert any(name.lower() == "authorization" for name in stage.exchange.headers[0])
    assert "4f0e8d3e0a4c6d7b1f22" not in stage.text()
    with stage.play():
        assert subscribe_and_stop(client, url) == recorded


@pytest.mark.parametrize(
    ("stored", "kind"),
    [("dns", socket.gaierror), ("tls", ssl.SSLError), ("connect_timeout", TimeoutError), ("connect", OSError)],
)
def test_each_stored_failure_to_connect_is_the_librarys_own_exception(
    stage: Stage, client: Client, stored: str, kind: type[OSError]
) -> None:
    url = stage.url("subscription")
    with stage.play("all"):
        subscribe_and_stop(client, url)
    stage.exchange.stop()
    (file,) = stage.folder.rglob("*.jsonl")
    opening = json.loads(file.read_text().splitlines()[0])
    opening["meta"] |= {"status": 0, "error": stored}
    file.write_text(json.dumps(opening) + "\n")
    with stage.play(), pytest.raises(kind):
        client.connect(url)


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """Give a port whose queue is full: who connects gets no answer."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_a_connection_that_nobody_answers_times_out_again_at_once(tmp_path: Path, client: Client) -> None:
    with silent_port() as port:
        hosts = {f"127.0.0.1:{port}": "binance"}
        url = f"ws://127.0.0.1:{port}/ws"
        with use_cassette(tmp_path, mode="all", hosts=hosts), pytest.raises(TimeoutError):
            client.connect(url, open_timeout=0.3)
    (file,) = tmp_path.rglob("*.jsonl")
    assert json.loads(file.read_text())["meta"]["error"] == "connect_timeout"
    with use_cassette(tmp_path, hosts=hosts), pytest.raises(TimeoutError):
        client.connect(url, open_timeout=30)


def test_a_handshake_that_the_test_gives_up_is_not_recorded(stage: Stage, tasks: AsyncClient) -> None:
    @answering
    async def script(request: Any) -> Any:
        await asyncio.sleep(30)

    stage.exchange.scripts["slow"] = script

    async def impatient() -> None:
        await asyncio.wait_for(tasks._connect(stage.url("slow"), open_timeout=None), 0.3)

    with stage.play("all"), pytest.raises(TimeoutError):
        tasks.loop.run_until_complete(impatient())
    assert stage.exchange.opened == 1
    assert stage.lines() == []


def test_a_mistake_of_the_program_is_no_failure_of_the_exchange(stage: Stage, tasks: AsyncClient) -> None:
    with stage.play("all"), pytest.raises(TypeError):
        tasks.connect(stage.url("subscription"), no_such_argument=1)
    assert stage.lines() == []


def test_a_handshake_with_a_wrong_key_fails_again(cassette: Open, client: Client) -> None:
    def wrong(line: Line) -> None:
        line.headers["sec-websocket-key"] = "AAAAAAAAAAAAAAAAAAAAAA=="
        line.accept()

    def fails(url: str) -> BaseException:
        with pytest.raises(Exception) as caught:
            client.connect(url + "/ws")
        return caught.value

    with WireServer(wrong) as server, cassette(server, "rewrite"):
        recorded = fails(server.url)
    assert re.search(r"(?i)sec-websocket-accept|HTTP response", str(recorded))
    with cassette(server) as session:
        replayed = fails(server.url)
        assert session.refusals == []
    # before version 14 the library lets the ValueError of its parser through
    with WireServer(lambda line: line.raw(b"not HTTP\r\n\r\n")) as server:
        assert type(replayed) is type(fails(server.url))


def test_who_only_waits_for_the_end_is_told_that_none_was_recorded(stage: Stage, tasks: AsyncClient) -> None:
    with stage.play("all"):
        line = tasks.connect(stage.url("subscription"))
        line.recv()
        line.ws.transport.abort()
        tasks.wait(line.ws.wait_closed())
    file = next(stage.folder.rglob("*.jsonl"))
    kept = [each for each in file.read_text().splitlines() if json.loads(each)["meta"]["dir"] in ("open", "recv")]
    file.write_text("\n".join(kept) + "\n")

    async def waits(url: str) -> None:
        ws = await tasks._connect(url)
        assert await ws.recv() == '{"hello":"trader"}'
        await asyncio.wait_for(ws.wait_closed(), 5)

    with stage.play(patience=0.2) as session:
        tasks.loop.run_until_complete(waits(stage.url("subscription")))
        (refusal,) = session.refusals
        session.refusals.clear()
    assert isinstance(refusal, TapeEnded)


def test_a_replayed_connection_answers_what_is_asked_of_a_transport(stage: Stage, tasks: AsyncClient) -> None:
    with stage.play("all"):
        recorded = subscribe_and_stop(tasks, stage.url("subscription"))
    stage.exchange.stop()
    with stage.play():
        line = tasks.connect(stage.url("subscription"))
        transport = line.ws.transport
        assert line.ws.remote_address == line.ws.local_address == ("127.0.0.1", 0)
        assert transport.get_extra_info("ssl_object") is None
        assert transport.get_write_buffer_size() == 0
        assert transport.is_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        transport.resume_reading()
        assert line.recv() == recorded[0]
        transport.writelines([b"\x89\x80\0\0\0\0", b"\x8a\x80\0\0\0\0"])  # a ping and a pong, which move nothing on
        assert not transport.is_closing()
        transport.abort()
        transport.write(b"what nobody hears")
        assert transport.is_closing()
        tasks.wait(line.ws.wait_closed())


def test_sync_sockets_have_an_address_and_one_reader(stage: Stage) -> None:
    client = SyncClient()
    with stage.play("all"):
        subscribe_and_stop(client, stage.url("subscription"))
    with stage.play():
        line = client.connect(stage.url("subscription"))
        assert line.ws.remote_address == line.ws.local_address == ("127.0.0.1", 0)
        assert line.recv() == '{"hello":"trader"}'
        raised: list[BaseException] = []

        def wait() -> None:
            try:
                line.recv(20)
            except Exception as error:
                raised.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        blocking = line.ws.socket._receiving
        while not blocking.locked():
            pass
        with pytest.raises(RuntimeError, match="cannot call recv"):
            line.recv(1)
        line.close()
        thread.join(10)
    client.close()
    assert not thread.is_alive()
    assert [type(error).__name__ for error in raised] == ["ConnectionClosedOK"]


def test_what_comes_after_a_handshake_that_was_given_up_is_not_noted() -> None:
    noted: list[str] = []

    class Capture:
        def __getattr__(self, name: str) -> Any:
            return lambda *args, **more: noted.append(name)

    recorder = Recorder(Capture())  # type: ignore[arg-type]
    recorder.dropped()
    recorder.opened([], None)
    recorder.answered(503, None, [], b"")
    recorder.failed("reset")
    recorder.received(1, True, b"late")
    recorder.sent(1, True, b"late")
    assert noted == []
