"""A server on loopback that sends exactly the bytes it is told to, and breaks off where it is told to."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
from collections import Counter
from typing import Self

CLOSE, RESET, WAIT = "close", "reset", "wait"
Step = bytes | str


def plain(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None, http: str = "1.1") -> bytes:
    """Return an HTTP answer with a Content-Length."""
    size = len(body) if length is None else length
    lines = (f"HTTP/{http} {status}", f"Content-Length: {size}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


def chunked(*chunks: bytes, headers: tuple[str, ...] = (), end: bytes = b"0\r\n\r\n") -> bytes:
    """Return an HTTP answer in chunks."""
    head = "\r\n".join(("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *headers, "", "")).encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


JSON = "Content-Type: application/json"
BOOK = b'{"lastUpdateId":1027024,"bids":[["4.00000000","431.00000000"]],"asks":[]}'
LINES = b"".join(b"%05d,4.00000000,431.00000000\n" % number for number in range(100))
SQUEEZED = gzip.compress(BOOK, mtime=0)

SCRIPT: dict[str, tuple[Step, ...]] = {
    "/book": (plain(BOOK, JSON),),
    "/lines": (plain(LINES, "Content-Type: text/csv"),),
    "/chunks": (chunked(LINES[:1000], LINES[1000:1700], LINES[1700:], headers=("Content-Type: text/csv",)),),
    "/large": (plain(BOOK * 4000, JSON),),
    "/http10": (b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + BOOK, CLOSE),
    "/until-close": (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + BOOK, CLOSE),
    "/reason": (plain(BOOK, JSON, status="200 Fine By Me"),),
    "/no-reason": (plain(BOOK, JSON, status="200 "),),
    "/odd-status": (plain(BOOK, JSON, status="299 Odd"),),
    "/duplicates": (plain(BOOK, JSON, "X-Weight: 1", "X-Other: a", "X-Weight: 2", "x-weight: 3"),),
    "/case": (plain(BOOK, "CONTENT-TYPE: application/json", "x-mbx-used-weight: 7"),),
    "/utf8-header": (plain(BOOK, JSON, "X-Name: Zürich"),),
    "/empty-header": (plain(BOOK, JSON, "X-Empty:", "Link: </next>; rel=next"),),
    "/no-type": (plain(BOOK),),
    "/html": (plain(b"<html>maintenance</html>", "Content-Type: text/html; charset=utf-8"),),
    "/squeezed": (plain(SQUEEZED, JSON, "Content-Encoding: gzip"),),
    "/squeezed-chunks": (chunked(SQUEEZED[:20], SQUEEZED[20:], headers=(JSON, "Content-Encoding: gzip")),),
    "/twice-squeezed": (plain(gzip.compress(SQUEEZED, mtime=0), JSON, "Content-Encoding: gzip, gzip"),),
    "/not-squeezed": (plain(BOOK, JSON, "Content-Encoding: gzip"),),
    "/unknown-encoding": (plain(BOOK, JSON, "Content-Encoding: x-own"),),
    "/range": (plain(BOOK[:10], JSON, f"Content-Range: bytes 0-9/{len(BOOK)}", status="206 Partial Content"),),
    "/limited": (plain(b'{"code":-1003}', JSON, "Retry-After: 0", status="429 Too Many Requests"),),
    "/banned": (plain(b'{"code":-1003}', JSON, "Retry-After: 2", status="418 I'm a teapot"),),
    "/broken": (plain(b"oops", status="502 Bad Gateway"),),
    "/login": (plain(b"{}", JSON, "Set-Cookie: theme=dark; Path=/", "Set-Cookie: lang=de; Path=/"),),
    "/loop": (plain(b"", "Location: /loop", status="302 Found"),),
    "/away": (plain(b"", "Location: /book", status="301 Moved Permanently"),),
    "/see-other": (plain(b"", "Location: /book", status="303 See Other"),),
    "/silent": (WAIT,),
    "/stalls": (plain(BOOK, JSON, length=2 * len(BOOK)), WAIT),
    "/gone": (CLOSE,),
    "/reset": (RESET,),
    "/half": (plain(BOOK, JSON, length=2 * len(BOOK)), CLOSE),
    "/half-chunked": (chunked(BOOK, headers=(JSON,), end=b"40\r\n{"), CLOSE),
    "/half-reset": (plain(BOOK, JSON, length=2 * len(BOOK)), RESET),
    "/garbage": (b"SSH-2.0-OpenSSH_9.6\r\n", CLOSE),
}
"""Path -> what is sent, and how it ends; without an end the connection stays open for the next request."""

BUSY = (plain(b'{"code":-1003}', JSON, "Retry-After: 0", status="429 Too Many Requests"), SCRIPT["/book"][0])
"""`/busy` answers 429 to the first two requests, then 200."""


class Wire:
    """Serve SCRIPT on a free port of 127.0.0.1 until `stop`; answers HEAD and unknown paths (404) as well."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        """Path -> requests that arrived."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End every connection; the port refuses from now on."""
        self._stopped.set()
        with self._lock:
            self._listener.close()
            for connection in self._open:
                _shut(connection)
        self._threads[0].join(10)  # no connection is accepted any more
        for thread in self._threads[1:]:
            thread.join(10)

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with self._lock:
                self._open.add(connection)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as stream:
                connection.settimeout(30)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if connection.recv(1, socket.MSG_PEEK) == b"\x16":  # a TLS handshake
                    connection.sendall(plain(b"", status="400 Bad Request"))
                    return
                while not self._stopped.is_set() and (line := stream.readline()):
                    method, _, rest = line.decode("latin-1").partition(" ")
                    _read_rest(stream)
                    if not self._answer(connection, method, rest.partition(" ")[0].partition("?")[0]):
                        return
        except (OSError, ValueError):
            return  # the client went away, or stop() closed the connection under us
        finally:
            with self._lock:
                self._open.discard(connection)

    def _answer(self, connection: socket.socket, method: str, path: str) -> bool:
        with self._lock:
            self.seen[path] += 1
            busy = self.seen["/busy"] <= 2
        if path == "/busy":
            steps: tuple[Step, ...] = (BUSY[0] if busy else BUSY[1],)
        else:
            steps = SCRIPT.get(path, (plain(b"{}", JSON, status="404 Not Found"),))
        for step in steps:
            if isinstance(step, bytes):
                connection.sendall(step.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else step)
            elif step == WAIT:
                self._stopped.wait(30)
            else:
                if step == RESET:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    _shut(connection)
                return False
        return True


def _read_rest(stream: object) -> None:
    """Read headers and body of a request."""
    length, in_chunks = 0, False
    while (line := stream.readline()) not in (b"\r\n", b""):  # type: ignore[attr-defined]
        name, _, value = line.decode("latin-1").partition(":")
        if name.lower() == "content-length":
            length = int(value)
        in_chunks |= name.lower() == "transfer-encoding"
    if in_chunks:
        while (size := int(stream.readline(), 16)) > 0:  # type: ignore[attr-defined]
            stream.read(size + 2)  # type: ignore[attr-defined]
        stream.readline()  # type: ignore[attr-defined]
    else:
        stream.read(length)  # type: ignore[attr-defined]


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # already closed by the other side
