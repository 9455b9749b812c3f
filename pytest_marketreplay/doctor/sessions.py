"""Sessions: how each is, its documents, permissions and leftovers, and the stretch that a crash left without a gap."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pytest_marketreplay import clock, logs
from pytest_marketreplay.collect import durations
from pytest_marketreplay.collect.sessions import ALIVE, SessionFolder, SessionState, is_alive, verdict
from pytest_marketreplay.doctor import leftovers, modes
from pytest_marketreplay.doctor.health import DAY_S, Limits, Notebook
from pytest_marketreplay.doctor.holding import is_locked
from pytest_marketreplay.doctor.modes import Modes
from pytest_marketreplay.doctor.records import examine_document
from pytest_marketreplay.errors import Busy


def examine_sessions(state_dir: Path, notebook: Notebook, limits: Limits) -> dict[str, int]:
    """Look at every session of a state folder; returns how many there are, by how they are."""
    root = state_dir / "sessions"
    permissions = Modes(notebook, root, locks=False)
    states: dict[Path, SessionState] = {}
    try:
        found = sorted(each for each in root.iterdir() if each.is_dir() and not each.is_symlink())
    except FileNotFoundError:
        return {}
    except OSError as error:
        notebook.add("unreadable", root, str(error), f"give access to {root}")
        return {}
    for path in found:
        if not permissions.check(path, modes.FOLDER):
            continue
        state = _examine(path, notebook, permissions, limits)
        if state is not None:
            states[path] = state
    counts = Counter(verdict(state) for state in states.values())
    for path, state in states.items():
        if verdict(state) == "crashed":
            _judge_end(state, list(states.values()), path, notebook)
    return dict(counts)


def _examine(path: Path, notebook: Notebook, permissions: Modes, limits: Limits) -> SessionState | None:
    try:
        listed = sorted(each.name for each in os.scandir(path) if each.is_file(follow_symlinks=False))
    except OSError as error:
        notebook.add("unreadable", path, str(error), f"give access to {path}")
        return None
    for name in listed:
        if leftovers.is_leftover(name):
            leftovers.check(path / name, notebook, root=path, locks=False)
        else:
            permissions.check(path / name, modes.LOG if name.startswith("log.txt") else modes.DATA)
    folder = SessionFolder(path.parent.parent, path.name)
    state = examine_document(folder.document, notebook, lambda: _still(folder))
    now_ms = clock.now_ns() // 1_000_000
    if state is None:
        if "state.json" not in listed and now_ms - path.stat().st_mtime * 1000 > DAY_S * 1000:
            notebook.add(
                "session-stale", path, "there is no document in it, and it is older than a day", f"rm -r {path}"
            )
        return None
    _judge(state, path, notebook)
    if state.ended_ms is not None and now_ms - state.ended_ms > limits.max_session_age_s * 1000:
        age = durations.spoken((now_ms - state.ended_ms) / 1000)
        notebook.add(
            "session-stale", path, f"it ended {age} ago", f"where its log is not wanted any more: rm -r {path}"
        )
    return state


def _judge(state: SessionState, path: Path, notebook: Notebook) -> None:
    name, now_ms = state.session_id, clock.now_ns() // 1_000_000
    error = f" Its last error: {logs.redact(state.last_error)}" if state.last_error else ""
    how = verdict(state)
    if how == "crashed":
        notebook.add(
            "session-crashed",
            name,
            f"process {state.pid} is gone and did not end in order; its last heartbeat was at {_utc(state.heartbeat_ms)}.{error}",
            f"start it again (marketreplay collect start --session-id {name} ...), "
            f"or where it is not wanted any more: rm -r {path}",
        )
    elif how == "silent":
        since = durations.spoken((now_ms - state.heartbeat_ms) / 1000)
        notebook.add(
            "session-silent",
            name,
            f"process {state.pid} is there, and has given no heartbeat for {since}.{error}",
            f"look into {state.log}; then marketreplay collect stop --session-id {name}, and start it again",
        )
    elif how == "failed":
        notebook.add(
            "session-failed",
            name,
            f"it ended at {_utc(state.ended_ms or state.heartbeat_ms)}.{error}",
            f"look into {state.log}, mend that, and start it again (marketreplay collect start --session-id {name} ...), "
            f"or where it is not wanted any more: rm -r {path}",
        )


def _judge_end(state: SessionState, states: list[SessionState], path: Path, notebook: Notebook) -> None:
    """Say from when to when a crashed session's pairs were not captured; a kill leaves no time to declare that."""
    pairs = {(venue, pair) for venue, of_venue in state.pairs.items() for pair in of_venue}
    later = [
        other.started_ms
        for other in states
        if other.started_ms > state.heartbeat_ms
        and pairs <= {(venue, pair) for venue, of_venue in other.pairs.items() for pair in of_venue}
    ]
    until_ms = min(later, default=clock.now_ns() // 1_000_000)
    length = durations.spoken((until_ms - state.heartbeat_ms) / 1000)
    until = f"to {_utc(until_ms)}" if later else "until now"
    notebook.add(
        "gap-undeclared",
        path,
        f"from {_utc(state.heartbeat_ms)} {until} ({length}) its pairs were not captured, and no gap says so",
        "start it again, and tell who uses the capture; marketreplay report counts what is missing",
    )


@contextlib.contextmanager
def _still(folder: SessionFolder) -> Iterator[None]:
    """Hold a session's lock, so that none starts. Raises Busy where it runs, CollectError."""
    lock = folder.path / "lock"
    if lock.exists() and is_locked(lock):
        raise Busy(f"the session {folder.session_id} runs, and saves its document itself")
    held = folder.lock()
    try:
        state = folder.document.load()
        if state is not None and state.status in ALIVE and is_alive(state):
            raise Busy(f"the session {folder.session_id} runs, and saves its document itself")
        yield
    finally:
        held.release()


def _utc(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
