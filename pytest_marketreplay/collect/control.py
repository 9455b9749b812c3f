"""Speaking with a running session: one line of JSON there, one back, over a Unix socket of mode 600 in its folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from pytest_marketreplay.errors import CollectError, MarketReplayError

Handle = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
ANSWER_S = 5.0
_LONGEST_LINE = 1 << 20


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give a name of the socket that fits into the 108 bytes of an address, however deep its folder is (Linux)."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class ControlServer:
    """The side of the session."""

    def __init__(self, path: Path, handle: Handle) -> None:
        """Answer each request with what `handle` returns, or with the message of the MarketReplayError that it raises."""
        self._path, self._handle = path, handle
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; a socket that a killed process left is replaced: only the holder of the session's lock comes here."""
        self._path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.setblocking(False)
        before = os.umask(0o177)
        try:
            with _short(self._path) as name:
                listening.bind(name)
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=_LONGEST_LINE)

    async def stop(self) -> None:
        """Listen no longer."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                line = await reader.readline()
            try:
                asked = orjson.loads(line)
                if not isinstance(asked, dict):
                    raise CollectError("a request is a JSON object")
                answer = {"ok": True, **await self._handle(asked)}
            except (MarketReplayError, orjson.JSONDecodeError) as error:
                answer = {"ok": False, "error": str(error)}
            writer.write(orjson.dumps(answer) + b"\n")
            await writer.drain()
        except (OSError, TimeoutError, ValueError):
            return  # whoever asked went away, or said no line: there is nobody to answer
        finally:
            writer.close()


def ask(path: Path, request: dict[str, Any], timeout: float = ANSWER_S) -> dict[str, Any]:
    """Send a request to a running session and return the answer.

    Raises CollectError where nobody answers within `timeout` seconds, or the session refuses.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout)
        try:
            with _short(path) as name:
                client.connect(name)
            client.sendall(orjson.dumps(request) + b"\n")
            with client.makefile("rb") as stream:
                line = stream.readline()
        except OSError as error:
            raise CollectError(f"the session does not answer at {path}: {error.strerror or error}") from error
    if not line:
        raise CollectError(f"the session at {path} ended before it answered")
    answer: dict[str, Any] = orjson.loads(line)
    if not answer.pop("ok"):
        raise CollectError(answer["error"])
    return answer
