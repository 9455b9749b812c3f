"""The examination: trees, sessions and backups, one after the other, into one result."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pytest_marketreplay import clock
from pytest_marketreplay.archive.remote import Remote
from pytest_marketreplay.doctor import modes, sinks
from pytest_marketreplay.doctor.backups import examine_backups
from pytest_marketreplay.doctor.health import Health, Limits, Notebook
from pytest_marketreplay.doctor.modes import Modes
from pytest_marketreplay.doctor.sessions import examine_sessions
from pytest_marketreplay.doctor.trees import Advance, examine_tree
from pytest_marketreplay.documents import default_state_dir
from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.venues.registry import Registry


def examine(
    trees: Iterable[Path | str] = (),
    *,
    state_dir: Path | None = None,
    remote: Remote | str | None = None,
    label: str | None = None,
    limits: Limits | None = None,
    fix: bool = False,
    advance: Advance | None = None,
) -> Health:
    """Examine trees, and the sessions and backups of a state folder (None: the user's).

    With `remote`, as rclone names it, also what it has of the snapshots of `label`. Only with `fix` is anything changed, and
    only what can be repaired without the loss of a byte. Raises UsageMistake.
    """
    limits = limits or Limits()
    if (remote is None) != (label is None):
        raise UsageMistake("--remote and --label go together: whose backups are to be looked for, and where")
    if isinstance(remote, str):
        from pytest_marketreplay.archive.rclone import RcloneRemote

        remote = RcloneRemote(remote)
    time_ms = clock.now_ns() // 1_000_000
    notebook = Notebook(fix=fix)
    registry = Registry()
    looked = tuple(
        examine_tree(Path(tree), notebook, limits, registry, advance or _nobody)
        for tree in dict.fromkeys(os.fspath(each) for each in trees)
    )
    folder = state_dir or default_state_dir()
    sessions = examine_sessions(folder, notebook, limits)
    _logs_of_buckets(folder, notebook)
    if remote is not None:
        _remote_secrets(notebook)
    backups = examine_backups(folder, notebook, limits, remote, label)
    return Health(
        time_ms=time_ms,
        findings=tuple(notebook.findings),
        counts={code: dict(each) for code, each in notebook.counts.items()},
        fixes=tuple(notebook.fixes),
        fixed=dict(notebook.fixed),
        trees=looked,
        sessions=sessions,
        backups=backups,
    )


def _nobody(_count: int) -> None:
    pass


def _logs_of_buckets(state_dir: Path, notebook: Notebook) -> None:
    """Look at the logs of sinks that write to buckets, which are in the state folder."""
    root = state_dir / "wal"
    if not os.path.isdir(root):
        return
    permissions = Modes(notebook, root, locks=False)
    try:
        logs = sorted(each for each in root.iterdir() if each.is_dir())
    except OSError as error:
        notebook.add("unreadable", root, str(error), f"give access to {root}")
        return
    for wal in logs:
        sinks.check_log(wal, notebook, permissions, wal)


def _remote_secrets(notebook: Notebook) -> None:
    """Look at the permissions of rclone's configuration, which has the keys of remotes."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    path = Path(os.environ.get("RCLONE_CONFIG") or Path(home) / "rclone" / "rclone.conf")
    if os.path.isfile(path):
        Modes(notebook, path, locks=False).check(path, modes.SECRET)
