"""Sessions: one document each with a heartbeat, one lock each, and what can be told of them from outside.

A session has a folder in the state folder: `state.json`, `lock`, `control.sock`, `log.txt`. The kernel gives the lock back
when the process ends, however it ends, so a stale one cannot be.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from pytest_marketreplay import clock
from pytest_marketreplay.collect.queueing import QueueStats
from pytest_marketreplay.documents import Document, make_folder
from pytest_marketreplay.errors import CollectError, DocumentError, UsageMistake

HEARTBEAT_S = 2.0
SILENT_S = 10.0
"""Five missed heartbeats."""
_LONGEST_ID = 100
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}")
ALIVE = ("starting", "running", "stopping")


class SessionState(msgspec.Struct, frozen=True):
    """What a session says of itself, at its last heartbeat."""

    session_id: str
    pid: int
    pid_started: int
    """When the process began, in ticks since boot: another process that got the same number began at another time."""
    started_ms: int
    """Unix epoch in milliseconds, like all times here."""
    heartbeat_ms: int
    status: str
    """`starting`, `running`, `stopping`, `ended`, `failed`."""
    pairs: dict[str, list[str]]
    """By venue."""
    interval_s: float
    storage: list[str]
    feed: str = "poll"
    log: str = ""
    metrics: str = ""
    """Base URL of the metrics, where they are served."""
    ended_ms: int | None = None
    counts: dict[str, int] = {}
    """`items`, `snapshots`, `gaps`, `feed_restarts`, `unwritten`, and what the feeds count, `<venue>.<name>`."""
    gaps: dict[str, int] = {}
    """How many gaps were declared, by kind."""
    places: dict[str, int] = {}
    """When the last item of each place came, by `venue/endpoint/symbol`: what a killed session leaves open begins there."""
    queues: list[QueueStats] = []
    lag_p99_ms: float = 0.0
    """Of the event loop, over the last minute."""
    last_error: str = ""

    @property
    def venues(self) -> list[str]:
        """Return the names of the venues."""
        return list(self.pairs)


def process_started(pid: int) -> int | None:
    """Return when a process began, in ticks since boot (proc(5), `starttime`); None where it is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything, blanks and parentheses too
    return None if fields[0] in "ZX" else int(fields[19])


def is_alive(state: SessionState) -> bool:
    """Tell whether the very process that wrote a state still runs."""
    return process_started(state.pid) == state.pid_started


def verdict(state: SessionState) -> str:
    """Return how a session really is: its own word, `crashed` where its process is gone, `silent` where it hangs."""
    if state.status not in ALIVE:
        return state.status
    if not is_alive(state):
        return "crashed"
    silent_ms = clock.now_ns() // 1_000_000 - state.heartbeat_ms
    return "silent" if silent_ms > SILENT_S * 1000 else state.status


def check_id(session_id: str) -> str:
    """Return a session's name where it can be one: it is a folder's name too. Raises UsageMistake."""
    if not _ID.fullmatch(session_id):
        raise UsageMistake(
            f"--session-id is {session_id!r}; it can have up to 120 letters, digits, '.', '_' and '-', and no '.' first"
        )
    return session_id


def default_id(pairs: Mapping[str, Sequence[str]]) -> str:
    """Return `binance_BTC-USDT_ETH-USDT`; a long one is cut and ends in a digest of the whole."""
    whole = "_".join("_".join((venue, *of_venue)) for venue, of_venue in pairs.items())
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", whole)
    if plain == whole and len(plain) <= _LONGEST_ID:
        return plain
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{plain[:_LONGEST_ID]}_{digest}"


class SessionFolder:
    """The folder of one session."""

    def __init__(self, state_dir: Path, session_id: str) -> None:
        """Name it; nothing is made yet."""
        self.session_id = session_id
        self.path = state_dir / "sessions" / session_id
        self.document = Document(self.path / "state.json", SessionState, kind="marketreplay-session")

    @property
    def socket(self) -> Path:
        """Return where a running session listens."""
        return self.path / "control.sock"

    @property
    def log(self) -> Path:
        """Return the session's log file."""
        return self.path / "log.txt"

    def load(self) -> SessionState:
        """Return the state. Raises CollectError where there is no such session, DocumentError where it is unreadable."""
        state = self.document.load()
        if state is None:
            raise CollectError(
                f"there is no session {self.session_id!r}; marketreplay collect list names those there are"
            )
        return state

    def is_running(self) -> bool:
        """Tell whether the session's process is there, by its document: asking for the lock could refuse a start to another."""
        state = self.document.load()
        return state is not None and state.status in ALIVE and is_alive(state)

    def lock(self) -> Lock:
        """Take the session's lock, and make its folder. Raises CollectError where another process holds it."""
        return Lock(self)


class Lock:
    """The lock of a session, held until `release` or the end of the process."""

    def __init__(self, folder: SessionFolder) -> None:
        """Take it. Raises CollectError where another process holds it, or the folder cannot be made."""
        try:
            make_folder(folder.path)
            self._file = os.open(folder.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise CollectError(f"the state folder cannot be used: {error}. Choose another with --state-dir") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            name = folder.session_id
            raise CollectError(
                f"the session {name!r} runs already. Stop it: marketreplay collect stop --session-id {name}; "
                "or give another --session-id"
            ) from None

    def release(self) -> None:
        """Give it back."""
        os.close(self._file)


def free_id(state_dir: Path, wanted: str) -> str:
    """Return a session's name that no running session has: `wanted`, or with the time (UTC) behind it."""
    if not SessionFolder(state_dir, wanted).is_running():
        return wanted
    stem = f"{wanted}_{datetime.fromtimestamp(clock.now_ns() / 1e9, UTC):%Y%m%dT%H%M%S}"
    name, number = stem, 1
    while SessionFolder(state_dir, name).is_running():
        number += 1
        name = f"{stem}-{number}"
    return name


def all_sessions(state_dir: Path) -> Iterator[SessionState | DocumentError]:
    """Yield the state of every session, by name; the error in place of one that cannot be read."""
    root = state_dir / "sessions"
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        folder = SessionFolder(state_dir, path.name)
        try:
            state = folder.document.load() if path.is_dir() else None
        except DocumentError as error:
            yield error
            continue
        if state is not None:
            yield state
