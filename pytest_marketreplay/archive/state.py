"""What a backup remembers between runs: one document for each pair of tree and remote, never inside an archive."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from pytest_marketreplay.documents import Document, default_state_dir

KIND = "marketreplay backup state"


class BackupState(msgspec.Struct, frozen=True):
    """What is known of the backups of one tree on one remote. Times are Unix epoch in milliseconds."""

    label: str
    tree: str
    """Absolute path."""
    remote: str
    """Without credentials."""
    last_attempt_ms: int | None = None
    last_backup_ms: int | None = None
    """When the last backup that was read back and published began."""
    last_file: str = ""
    last_size_bytes: int = 0
    last_duration_s: float = 0.0
    last_error: str = ""
    """Of the last attempt; empty where it succeeded."""
    failures: int = 0
    """Since the last success."""
    verified: dict[str, int] = {}
    """By file name: when it was last read back and found whole."""
    rebuilt: bool = False
    """Whether this was rebuilt from a listing, after the loss of the document."""


def state_path(label: str, remote: str, folder: Path | None = None) -> Path:
    """Return where the document of a label's backups on a remote is kept: `backups/LABEL-<digest of the remote>.json`."""
    digest = hashlib.sha256(remote.encode()).hexdigest()[:12]
    return (folder or default_state_dir()) / "backups" / f"{label}-{digest}.json"


def state_document(path: Path) -> Document[BackupState]:
    """Return the document at a path; `load` gives None where there is none yet."""
    return Document(path, BackupState, kind=KIND)
