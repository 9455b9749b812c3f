"""Recorded WebSocket connections for tests, without a network: what a session would have written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_marketreplay.config import Settings
from pytest_marketreplay.replay.session import Session

HOST = "127.0.0.1:9"
"""The discard port: nothing listens there, and no test connects to it."""
URL = f"ws://{HOST}"
OPEN: list[Session] = []
"""Sessions that `conftest` closes after the test."""


def session(folder: Path, venue: str = "binance", **settings: Any) -> Session:
    OPEN.append(Session([folder], Settings.of(hosts={HOST: venue}, **settings)))
    return OPEN[-1]


def record(
    folder: Path, *connections: Callable[[Session], None], venue: str = "binance", mode: str = "once", **more: Any
):
    """Record connections into a cassette, each made by a function of the session; returns what was written."""
    recording = session(folder, venue, mode=mode, **more)
    for connection in connections:
        connection(recording)
    recording.close()
    return recording


def said(path: str, *frames: bytes | tuple[str, bytes], headers: tuple[tuple[str, str], ...] = ()):
    """Make one connection: bytes come from the exchange as text; a pair is ("send", data) or (opcode, data)."""

    def run(recording: Session) -> None:
        capture = recording.connect(f"{URL}{path}", headers)
        capture.opened([("server", "test")])
        for frame in frames:
            if isinstance(frame, bytes):
                capture.received("text", frame)
            elif frame[0] == "send":
                capture.sent("text", frame[1])
            elif frame[0] == "send close":
                capture.sent("close", frame[1])
            elif frame[0] == "lost":
                capture.ended("disconnected")
            else:
                capture.received(frame[0], frame[1])

    return run


class Client:
    """A client that blocks: it sends and takes what comes."""

    def __init__(self, playing: Session, path: str) -> None:
        self.player = playing.connect(f"{URL}{path}")
        self.driver = playing.streams.timeline.blocking(self.player)

    def send(self, data: bytes) -> None:
        self.player.sent("text", data)

    def next(self, timeout: float | None = None):
        return self.driver.next(timeout)

    def all(self) -> list[bytes]:
        """Take what comes without waiting."""
        out = []
        while self.driver.is_ready() and (event := self.driver.next()) is not None:
            out.append(event.data)
        return out


def lines(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*.jsonl")))
