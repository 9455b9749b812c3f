"""A WebSocket server of raw sockets: it sends exactly the bytes that a test asks for, and breaks off as it is told to."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from pytest_marketreplay.cassette.frame import Opcode, close_payload
from pytest_marketreplay.intercept.websocket_wire import ClientFrames, frame, handshake

LONGEST_S = 20.0
_NO_LINGER = struct.pack("ii", 1, 0)


class Gone(Exception):
    """The client has closed the connection."""


class Line:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.settimeout(LONGEST_S)
        self._came: list[tuple[Opcode, bytes]] = []
        self._frames = ClientFrames(lambda opcode, data: self._came.append((opcode, data)))
        self.path = ""
        self.headers: dict[str, str] = {}

    def read_request(self) -> None:
        """Read the request of the handshake."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._sock.recv(1 << 16) or _gone()
        head, _, rest = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.path = first.split(" ")[1]
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self._frames.feed(rest)

    def accept(self, *first: tuple[Opcode, bytes], headers: Any = (), subprotocol: str | None = None) -> None:
        """Answer 101, in one packet with the first frames."""
        key = self.headers["sec-websocket-key"]
        answer = handshake(key, reason="Switching Protocols", headers=headers, subprotocol=subprotocol)
        self._sock.sendall(answer + b"".join(frame(*each) for each in first))

    def refuse(self, status: int, reason: str, body: bytes = b"", *headers: tuple[str, str]) -> None:
        """Answer another status."""
        self._sock.sendall(handshake("", status=status, reason=reason, headers=headers, body=body))

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._sock.sendall(data)

    def send(self, data: str | bytes, opcode: Opcode | None = None) -> None:
        """Send a message or a control frame."""
        kind = opcode or ("text" if isinstance(data, str) else "binary")
        self._sock.sendall(frame(kind, data.encode() if isinstance(data, str) else data))

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Send a close frame and wait for the client's."""
        self.send(close_payload(code, reason.encode()), "close")
        while self.recv()[0] != "close":
            pass

    def reset(self) -> None:
        """Break off with a reset."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._sock.close()

    def recv(self) -> tuple[Opcode, bytes]:
        """Return the client's next frame, whole messages only; raises Gone."""
        while not self._came:
            self._frames.feed(self._sock.recv(1 << 16) or _gone())
        return self._came.pop(0)

    def subscribed(self) -> Any:
        """Return the client's next message as JSON."""
        opcode, data = self.recv()
        while opcode not in ("text", "binary"):
            opcode, data = self.recv()
        return json.loads(data)

    def until_closed(self) -> None:
        """Answer pings until the client closes, and echo its close frame."""
        while True:
            opcode, data = self.recv()
            if opcode == "ping":
                self.send(data, "pong")
            elif opcode == "close":
                self.send(data, "close")
                return

    def end(self) -> None:
        """Close the socket."""
        self._sock.close()


def _gone() -> bytes:
    raise Gone


Script = Callable[[Line], None]


class WireServer:
    """Plays a script for each connection; `paths` names other scripts for URLs that match."""

    def __init__(self, script: Script, **paths: Script) -> None:
        self._scripts = [(re.compile(pattern), each) for pattern, each in paths.items()]
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.errors: list[BaseException] = []
        self.opened = 0
        """Connections that came in."""
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"ws://{self.address}"

    def _listen(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.opened += 1
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        line = Line(sock)
        try:
            line.read_request()
            script = next((each for pattern, each in self._scripts if pattern.search(line.path)), self._script)
            script(line)
        except (Gone, ConnectionError):
            pass  # the client went away, as it may
        except BaseException as error:
            self.errors.append(error)
        finally:
            line.end()

    def stop(self) -> None:
        """Accept no more, and wait for what still runs. Raises what went wrong in a script."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(LONGEST_S)
        for thread in self._threads:
            thread.join(LONGEST_S)
            assert not thread.is_alive()
        if self.errors:
            raise self.errors[0]

    def __enter__(self) -> WireServer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._listener.fileno() >= 0:
            self.stop()
