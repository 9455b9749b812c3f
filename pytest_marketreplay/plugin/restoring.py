"""`pytest --restore-cassettes`: the cassettes come from a remote, once, before anything is collected."""

from __future__ import annotations

import pytest

from pytest_marketreplay.errors import MarketReplayError


def restore_cassettes(config: pytest.Config) -> str:
    """Restore the cassettes of a run, where the folder does not hold the snapshot yet; return a line for the header.

    Raises pytest.UsageError with one line for whatever goes wrong.
    """
    from pytest_marketreplay.archive.rclone import RcloneRemote
    from pytest_marketreplay.archive.restore import Wanted, restore
    from pytest_marketreplay.archive.selecting import LATEST

    spec = str(config.getini("marketreplay_restore"))
    if not spec:
        raise pytest.UsageError(
            "--restore-cassettes needs a place for snapshots: set the ini key marketreplay_restore, as in gdrive:backups"
        )
    wanted = Wanted(
        snapshot=str(config.getini("marketreplay_restore_snapshot")) or LATEST,
        label=str(config.getini("marketreplay_restore_label")) or None,
        if_changed=True,
    )
    target = config.rootpath / str(config.getini("marketreplay_dir"))
    try:
        # a relative folder is meant from the root folder, as that of the cassettes is
        local = config.rootpath / spec
        done = restore(RcloneRemote(str(local) if local.is_dir() else spec), target, wanted)
    except MarketReplayError as error:
        raise pytest.UsageError(f"--restore-cassettes: {error}") from error
    if done.action == "unchanged":
        return f"cassettes: {done.snapshot} is there already"
    return f"cassettes: {done.files} files restored from {done.snapshot}"
