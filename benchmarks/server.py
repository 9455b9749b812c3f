"""A loopback exchange that costs as little as can be: every request gets the next of 64 ready-made order books.

`python server.py` prints its port and serves until its standard input is closed, so it never outlives its parent.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from types import TracebackType

import measure
import payloads


def _answers() -> list[bytes]:
    out = []
    for body in payloads.books(64):
        headers = "".join(f"{name}: {value}\r\n" for name, value in payloads.headers_for(body).items())
        out.append(b"HTTP/1.1 200 OK\r\n" + headers.encode() + b"\r\n" + body)
    return out


class Exchange(asyncio.Protocol):
    """One connection: a GET request ends with an empty line, and there is never a body."""

    answers = itertools.cycle(_answers())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.seen = b""

    def data_received(self, data: bytes) -> None:
        self.seen += data
        while b"\r\n\r\n" in self.seen:
            self.seen = self.seen.partition(b"\r\n\r\n")[2]
            assert isinstance(self.transport, asyncio.Transport)
            self.transport.write(next(self.answers))


async def serve() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Exchange, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


class Server:
    """The exchange in a process of its own; entering gives its host and port."""

    def __enter__(self) -> str:
        self.process = subprocess.Popen(
            [sys.executable, str(measure.HERE / "server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        return f"127.0.0.1:{int(self.process.stdout.readline())}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.communicate(timeout=10)


if __name__ == "__main__":
    asyncio.run(serve())
