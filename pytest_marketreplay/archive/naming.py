"""The names of snapshots: whose, when, and the digests of what is in them. A name is all that is believed of a listing.

`LABEL-20261128T081500Z-<32 hex of the manifest's SHA-256>-<64 hex of the archive's SHA-256>.zip`. Both digests are in the
name, so that publishing a snapshot is one move of one file, and the loss of every state file loses nothing.
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from typing import NamedTuple

from pytest_marketreplay.errors import UsageMistake

_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", re.ASCII)
_SNAPSHOT = re.compile(
    r"(?P<label>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?)"
    r"-(?P<time>\d{8}T\d{6}Z)-(?P<manifest>[0-9a-f]{32})-(?P<archive>[0-9a-f]{64})\.zip",
    re.ASCII,
)
_PART = re.compile(r"(?P<name>.+\.zip)\.part-[0-9a-f]{16}", re.ASCII)
_TIME = "%Y%m%dT%H%M%SZ"


class SnapshotName(NamedTuple):
    """A snapshot, as its name tells it. Sorts by time, those of one second by their other parts."""

    created_s: int
    """Unix epoch in seconds, when the backup began."""
    label: str
    manifest: str
    """First 32 hex digits of the SHA-256 of the manifest: equal for trees that are equal."""
    archive: str
    """SHA-256 of the whole file, 64 hex digits."""

    @property
    def file(self) -> str:
        """Return the name of the file."""
        time = datetime.fromtimestamp(self.created_s, UTC).strftime(_TIME)
        return f"{self.label}-{time}-{self.manifest}-{self.archive}.zip"

    @property
    def short(self) -> str:
        """Return what people call it by: `LABEL-TIME-` and 8 digits of the archive's digest."""
        time = datetime.fromtimestamp(self.created_s, UTC).strftime(_TIME)
        return f"{self.label}-{time}-{self.archive[:8]}"

    def part(self) -> str:
        """Return a new name to upload it under, which no listing takes for a snapshot."""
        return f"{self.file}.part-{secrets.token_hex(8)}"


def check_label(label: str) -> str:
    """Return a label where it can be one. Raises UsageMistake."""
    if not _LABEL.fullmatch(label):
        raise UsageMistake(
            f"the label is {label!r}; it can have up to 64 letters, digits, '.', '_' and '-', with a letter or digit at both ends"
        )
    return label


def read_name(file: str) -> SnapshotName | None:
    """Return the snapshot that a file's name tells of; None for a foreign file."""
    match = _SNAPSHOT.fullmatch(file)
    if match is None:
        return None
    try:
        created = datetime.strptime(match["time"], _TIME).replace(tzinfo=UTC)
    except ValueError:  # the 31st of February
        return None
    return SnapshotName(int(created.timestamp()), match["label"], match["manifest"], match["archive"])


def read_part(file: str) -> SnapshotName | None:
    """Return the snapshot whose unfinished upload a file is; None for any other file."""
    match = _PART.fullmatch(file)
    return None if match is None else read_name(match["name"])
