"""What programs seldom do with `websocket-client`, and what its socket and its parser answer then."""

from __future__ import annotations

import json
import socket
import ssl
import zlib
from pathlib import Path
from typing import Any

import pytest
import websocket

from pytest_marketreplay.cassette.frame import Opcode
from pytest_marketreplay.intercept.websocket_wire import ClientFrames, frame

from .conftest import Open
from .websocket_clients import connect
from .wire_server import Line, WireServer


def greet(line: Line) -> None:
    line.accept(("text", b'{"hello":"first"}'))
    line.until_closed()


def stored(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in folder.rglob("*.jsonl") for line in file.read_text().splitlines()]


def test_a_patch_that_stays_under_somebody_elses_passes_the_connection_on(cassette: Open) -> None:
    before = websocket.WebSocket.connect
    with WireServer(greet) as server:
        try:
            with cassette(server) as session:
                ours: Any = websocket.WebSocket.connect
                assert ours is not before
                websocket.WebSocket.connect = lambda *args, **options: ours(*args, **options)  # type: ignore[method-assign]
            connection = connect(server.url + "/ws")
            assert connection.recv() == '{"hello":"first"}'
            connection.close()
        finally:
            websocket.WebSocket.connect = before  # type: ignore[method-assign]
    assert server.opened == 1
    assert session.refusals == []


def test_a_mistake_of_the_program_is_no_failure_of_the_exchange(cassette: Open, tmp_path: Path) -> None:
    with WireServer(greet) as server, cassette(server, "rewrite"), pytest.raises(TypeError):
        connect(server.url.replace("ws:", "wss:") + "/ws", sslopt={"ssl_version": "the newest"})
    assert stored(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("dns", websocket.WebSocketAddressException),
        ("tls", ssl.SSLError),
        ("connect_timeout", TimeoutError),
        ("connect", ConnectionRefusedError),
    ],
)
def test_each_stored_failure_to_connect_is_the_librarys_own_exception(
    cassette: Open, tmp_path: Path, name: str, kind: type[Exception]
) -> None:
    with WireServer(greet) as server, cassette(server, "rewrite"):
        connect(server.url + "/ws").close()
    (file,) = tmp_path.rglob("*.jsonl")
    opening = json.loads(file.read_text().splitlines()[0])
    opening["meta"] |= {"status": 0, "error": name}
    file.write_text(json.dumps(opening) + "\n")
    with cassette(server), pytest.raises(kind):
        connect(server.url + "/ws")


def test_a_timeout_while_recording_ends_nothing_and_errors_after_the_end_are_not_recorded(
    cassette: Open, tmp_path: Path
) -> None:
    def slow(line: Line) -> None:
        line.accept()
        assert line.recv() == ("text", b'"go on"')
        line.send('{"at":"last"}')
        line.close(4001, "enough")

    def story(url: str) -> list[Any]:
        connection = connect(url + "/ws", timeout=0.05)
        seen: list[Any] = []
        with pytest.raises(websocket.WebSocketTimeoutException):
            connection.recv()
        connection.settimeout(20)
        connection.send('"go on"')
        seen.append(connection.recv())
        seen.append(connection.recv_data_frame(True)[0])
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            connection.recv()
        connection.shutdown()
        with pytest.raises(websocket.WebSocketConnectionClosedException):
            connection.recv()
        return seen

    with WireServer(slow) as server, cassette(server, "rewrite"):
        recorded = story(server.url)
    assert recorded == ['{"at":"last"}', 8]
    assert [line["meta"]["dir"] for line in stored(tmp_path)] == ["open", "send", "recv", "recv", "send"]
    with cassette(server):
        assert story(server.url) == recorded


def test_a_refusal_in_chunks_replays_with_its_length(cassette: Open, tmp_path: Path) -> None:
    body = b'{"code":-2015}'
    with (
        WireServer(lambda line: line.refuse(503, "Down", body)) as server,
        cassette(server, "rewrite"),
        pytest.raises(websocket.WebSocketBadStatusException),
    ):
        connect(server.url + "/ws")
    (file,) = tmp_path.rglob("*.jsonl")
    opening = json.loads(file.read_text())  # as another client records it, whose library reads chunks
    opening["meta"]["headers"] = {"Transfer-Encoding": "chunked", "Retry-After": "7"}
    file.write_text(json.dumps(opening) + "\n")
    with cassette(server), pytest.raises(websocket.WebSocketBadStatusException) as caught:
        connect(server.url + "/ws")
    assert caught.value.resp_headers == {
        "retry-after": "7",
        "content-length": str(len(json.dumps(opening["response"]))),
    }
    assert json.loads(caught.value.resp_body) == {"code": -2015}


def test_a_replayed_socket_answers_as_a_socket_does(cassette: Open) -> None:
    with WireServer(greet) as server, cassette(server, "rewrite"):
        connection = connect(server.url + "/ws")
        connection.recv()
        connection.close()
    with cassette(server):
        connection = connect(server.url + "/ws")
        sock = connection.sock
        assert sock.getpeername() == sock.getsockname() == ("127.0.0.1", 0)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert sock.wait(5)
        whole = len(frame("text", b'{"hello":"first"}'))
        assert (len(sock.recv(1)), sock.pending()) == (1, whole - 1)
        assert sock.recv(1000)[-8:] == b'"first"}'
        sock.sendall(b"\x8a\x80\0\0\0\0")  # a pong
        sock.close()
        sock.close()
        assert sock.fileno() == -1
        for call in (lambda: sock.recv(1), lambda: sock.send(b"x"), lambda: sock.shutdown(socket.SHUT_RDWR)):
            with pytest.raises(OSError, match="Bad file descriptor"):
                call()


def test_frames_that_come_byte_by_byte_are_the_same() -> None:
    came: list[tuple[Opcode, bytes]] = []
    frames = ClientFrames(lambda opcode, data: came.append((opcode, data)))
    sizes = (0, 125, 126, 65_535, 65_536)
    for size in sizes:
        whole = frame("binary", b"x" * size)
        for at in range(12):
            frames.feed(whole[at : at + 1])
        frames.feed(whole[12:])
    assert came == [("binary", b"x" * size) for size in sizes]


def test_a_compressed_message_may_end_its_stream() -> None:
    came: list[bytes] = []
    frames = ClientFrames(lambda opcode, data: came.append(data))
    for text in (b"first" * 10, b"second" * 10):
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        squeezed = deflater.compress(text) + deflater.flush()  # with a final block, as some clients have it
        frames.feed(bytes([0xC1, len(squeezed)]) + squeezed)
    assert came == [b"first" * 10, b"second" * 10]
