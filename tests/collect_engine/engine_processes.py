"""The command line as processes of their own, against the exchange in the box."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pytest_marketreplay.cassette import entry, files
from pytest_marketreplay.collect import control, sessions
from pytest_marketreplay.collect.sessions import SessionFolder, SessionState
from pytest_marketreplay.exchange import SimulatedExchange

PATIENCE_S = 20.0
_CODE = "from pytest_marketreplay.cli import main; main()"


def until(what: Callable[[], Any], patience: float = PATIENCE_S) -> Any:
    """Ask, again and again, until the answer is yes; for what another process does and nobody tells."""
    end = time.monotonic() + patience
    while not (answer := what()):
        assert time.monotonic() < end, "it did not happen in time"
        select.select([], [], [], 0.02)
    return answer


class Cli:
    """The commands, with a state folder and a current folder of their own."""

    def __init__(self, tmp_path: Path, exchange: SimulatedExchange) -> None:
        self.state_dir = tmp_path / "state"
        self.here = tmp_path / "here"
        self.here.mkdir()
        self.captures = self.here / "captures"
        self.exchange = exchange
        self.children: list[subprocess.Popen[str]] = []

    def arguments(self, *more: str, pairs: str = "BTC-USDT,ETH-USDT", interval: str = "0.05") -> list[str]:
        """A capture of the exchange in the box."""
        url = self.exchange.url("binance")
        start = ["start", "--venue", "binance", "--pairs", pairs, "--interval", interval, "--session-id", "s"]
        return [*start, "--base-url", f"binance={url}", *more]

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-c", _CODE, "collect", *arguments, "--state-dir", str(self.state_dir)]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*arguments), cwd=self.here, capture_output=True, text=True, timeout=60, check=False
        )

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command; it goes on."""
        child = subprocess.Popen(
            self.command(*arguments), cwd=self.here, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.children.append(child)
        return child

    @property
    def folder(self) -> SessionFolder:
        return SessionFolder(self.state_dir, "s")

    def now(self) -> dict[str, Any]:
        """The state, asked of the session itself."""
        state: dict[str, Any] = control.ask(self.folder.socket, {"do": "status"})["state"]
        return state

    def captured(self, number: int) -> SessionState:
        """Wait until so many snapshots were written."""
        until(lambda: self.folder.socket.exists())
        until(lambda: self.now()["counts"]["written"] >= number)
        return self.folder.load()

    def timestamps(self) -> list[int]:
        """The times of all good entries; every line must be one, but a torn last one."""
        out = []
        for file in files.all_files(self.captures):
            with files.open_binary(file) as stream:
                out.extend(entry.read_head(line.data).timestamp for line in files.lines(stream) if line.ended)
        return out

    def end(self) -> None:
        """End what a test left running."""
        with contextlib.suppress(Exception):
            state = self.folder.load()
            if sessions.is_alive(state) and state.pid != os.getpid():
                os.kill(state.pid, signal.SIGKILL)
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.communicate()


@contextlib.contextmanager
def commands(tmp_path: Path) -> Iterator[Cli]:
    """Give the commands and an exchange that answers them."""
    with SimulatedExchange(seed=3, step_every=0.05) as exchange:
        cli = Cli(tmp_path, exchange)
        try:
            yield cli
        finally:
            cli.end()
