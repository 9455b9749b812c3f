"""Tapes and servers for one test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets

from pytest_marketreplay.serve import CassetteServer

from .tapes import Tape


@pytest.fixture
def tape(tmp_path: Path) -> Iterator[Tape]:
    writing = Tape(tmp_path / "tape")
    yield writing
    writing.close()


@pytest.fixture
def serve(tape: Tape) -> Iterator[Callable[..., CassetteServer]]:
    """Serve the tape (or another); every server ends with the test."""
    running: list[CassetteServer] = []

    def start(*cassettes: Path, **options: Any) -> CassetteServer:
        tape.close()
        running.append(CassetteServer(cassettes or [tape.root], **options).start())
        return running[-1]

    yield start
    for server in running:
        server.stop()


class Heard:
    """What a client got until the connection ended."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.code: int | None = None
        self.reason = ""


async def listen(url: str, *said: str | bytes, until: int | None = None) -> Heard:
    """Connect, say something, and read until the server closes or so many messages came."""
    heard = Heard()
    async with asyncio.timeout(20), websockets.connect(url, max_size=None, max_queue=None, compression=None) as socket:
        for text in said:
            await socket.send(text)
        try:
            while until is None or len(heard.messages) < until:
                message = await socket.recv()
                heard.messages.append(message if isinstance(message, str) else message.decode("latin-1"))
        except websockets.ConnectionClosed as closed:
            if closed.rcvd is not None:
                heard.code, heard.reason = closed.rcvd.code, closed.rcvd.reason
    return heard


def hear(url: str, *said: str | bytes, until: int | None = None) -> Heard:
    return asyncio.run(listen(url, *said, until=until))
