"""Backups: what their documents say, how old the last one and the last verified one are, and what the remote has."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pytest_marketreplay import clock, logs
from pytest_marketreplay.archive.naming import SnapshotName, check_label, read_name, read_part
from pytest_marketreplay.archive.remote import Listed, Remote
from pytest_marketreplay.archive.state import BackupState, state_document, state_path
from pytest_marketreplay.collect import durations
from pytest_marketreplay.doctor import leftovers, modes
from pytest_marketreplay.doctor.codes import ERROR, WARNING
from pytest_marketreplay.doctor.health import DAY_S, BackupHealth, Limits, Notebook
from pytest_marketreplay.doctor.modes import Modes
from pytest_marketreplay.doctor.records import examine_document
from pytest_marketreplay.errors import Busy, RemoteError

_AHEAD_S = 300
"""How much later than now a name may be: clocks differ."""
_MANY = 3
"""Failures in a row from where on they are an error."""


def examine_backups(
    state_dir: Path, notebook: Notebook, limits: Limits, remote: Remote | None, label: str | None
) -> tuple[BackupHealth, ...]:
    """Look at the documents of all backups, and with a remote at what it has of one label. Raises UsageMistake."""
    wanted = None
    if remote is not None and label is not None:
        wanted = state_path(check_label(label), remote.name, state_dir)
    out = []
    root = state_dir / "backups"
    permissions = Modes(notebook, root, locks=False)
    paths: list[Path] = []
    try:
        paths = sorted(root.iterdir())
    except FileNotFoundError:
        pass
    except OSError as error:
        notebook.add("unreadable", root, str(error), f"give access to {root}")
    else:
        permissions.check(root, modes.FOLDER)
    documents = {
        path.with_name(path.name.removesuffix(".bak")) for path in paths if path.name.endswith((".json", ".json.bak"))
    }
    for path in paths:
        if leftovers.is_leftover(path.name):
            leftovers.check(path, notebook, root=root, locks=False)
        elif path.is_file() and not path.is_symlink():
            permissions.check(path, modes.DATA)
    for path in sorted(documents):
        state = examine_document(state_document(path), notebook, lambda path=path: _still(path))  # type: ignore[misc]
        if state is not None:
            is_asked = path == wanted
            out.append(_examine(state, path, notebook, limits, remote if is_asked else None))
    if (
        wanted is not None
        and remote is not None
        and label is not None
        and not any(each.label == label and each.snapshots is not None for each in out)
    ):
        out.append(_examine(BackupState(label, "", remote.name), wanted, notebook, limits, remote))
    return tuple(out)


def _examine(state: BackupState, path: Path, notebook: Notebook, limits: Limits, remote: Remote | None) -> BackupHealth:
    listing: list[Listed] | None = None
    if remote is not None:
        try:
            listing = remote.list()
        except RemoteError as error:
            notebook.add("remote-failed", remote.name, str(error), "look at the remote; backups fail too meanwhile")
    where = f"{state.label} on {state.remote}"
    named = None if listing is None else _look(listing, state, where, notebook)
    last_ms = state.last_backup_ms
    if named:
        last_ms = max(last_ms or 0, max(each.created_s for each in named) * 1000)
    verified_ms = max(state.verified.values(), default=None)
    run = f"marketreplay backup run {state.tree or 'TREE'} --to {state.remote} --label {state.label}"
    if last_ms is None or named == []:
        notebook.add("backup-never", where, "no backup was published", run)
    else:
        _judge_age("backup-old", where, "the last backup", last_ms, limits.max_backup_age_s, run, notebook)
        verify = f"marketreplay backup verify --to {state.remote} --label {state.label}"
        if verified_ms is None:
            notebook.add("backup-unverified", where, "none was ever read back, as far as this machine knows", verify)
        else:
            _judge_age(
                "backup-unverified",
                where,
                "the last read back",
                verified_ms,
                limits.max_verified_age_s,
                verify,
                notebook,
            )
    if state.failures:
        notebook.add(
            "backup-failing",
            where,
            f"{state.failures} in a row failed, the last with: {logs.redact(state.last_error)}",
            f"mend that; then {run}",
            severity=ERROR if state.failures >= _MANY else WARNING,
        )
    return BackupHealth(
        label=state.label,
        remote=state.remote,
        tree=state.tree,
        last_backup_ms=last_ms,
        last_verified_ms=verified_ms,
        failures=state.failures,
        snapshots=None if named is None else len(named),
    )


def _judge_age(code: str, where: str, what: str, time_ms: int, limit_s: float, cure: str, notebook: Notebook) -> None:
    age_s = clock.now_ns() / 1e9 - time_ms / 1000
    if age_s > limit_s:
        moment = datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        notebook.add(code, where, f"{what} is of {moment}, {durations.spoken(age_s)} ago", cure)


def _look(listing: list[Listed], state: BackupState, where: str, notebook: Notebook) -> list[SnapshotName]:
    """Note what is wrong with a listing; returns the snapshots of the label that are not of the future."""
    now_s = clock.now_ns() / 1e9
    ours: list[SnapshotName] = []
    sizes = {each.name: each.size_bytes for each in listing}
    for file, times in sorted(Counter(each.name for each in listing).items()):
        snapshot, part = read_name(file), read_part(file)
        if part is not None:
            if part.label == state.label and now_s - part.created_s > DAY_S:
                notebook.add(
                    "part-orphaned",
                    file,
                    f"an upload to {state.remote} that never ended",
                    "the next backup run removes it",
                )
        elif snapshot is None:
            notebook.add(
                "foreign-file", file, f"it is no snapshot, and is on {state.remote}", "nothing: backups never touch it"
            )
        elif snapshot.label == state.label:
            if times > 1:
                notebook.add(
                    "snapshot-duplicate",
                    file,
                    f"{state.remote} has {times} files of this name",
                    "keep one of them (Google Drive: rclone dedupe); backups delete neither",
                )
            if snapshot.created_s > now_s + _AHEAD_S:
                notebook.add(
                    "snapshot-future",
                    file,
                    "its name tells a time that is still to come; it is neither counted nor deleted",
                    "set the clock of the machine that made it; delete it by hand where it is not wanted",
                )
            else:
                ours.append(snapshot)
    if state.last_file:
        run = "look who deleted it; then marketreplay backup run"
        if state.last_file not in sizes:
            notebook.add("snapshot-missing", state.last_file, f"the last snapshot is not on {state.remote}", run)
        elif state.last_size_bytes and sizes[state.last_file] != state.last_size_bytes:
            notebook.add(
                "snapshot-size",
                state.last_file,
                f"{sizes[state.last_file]} bytes are on {state.remote}, and {state.last_size_bytes} were published",
                "marketreplay backup verify; then marketreplay backup run",
            )
    return ours


@contextlib.contextmanager
def _still(path: Path) -> Iterator[None]:
    """Hold the lock of a backup's document. Raises Busy where a backup runs, OSError."""
    fd = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, modes.DATA)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Busy(f"a backup runs that holds {path.name}") from None
    finally:
        os.close(fd)
