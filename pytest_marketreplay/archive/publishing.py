"""How a snapshot comes to a remote: under a name of its own, read back, and moved to the name that listings show.

At every moment a file under a snapshot's name is whole. What a killed upload left is removed a day later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from pytest_marketreplay.archive.naming import SnapshotName, read_part
from pytest_marketreplay.archive.remote import Listed, Remote
from pytest_marketreplay.errors import RemoteError

PART_AGE_S = 24 * 3600
"""Seconds after which an unfinished upload is nobody's."""

Watch = Callable[[str, int, int], None]
"""Takes what is being done, and how many bytes of how many are."""

_NOTES = logging.getLogger(__name__)


def publish(remote: Remote, archive: Path, name: SnapshotName, watch: Watch | None = None) -> None:
    """Upload an archive, read it back, and give it its name; the part is removed where that fails. Raises RemoteError."""
    part = name.part()
    try:
        _publish(remote, archive, name, part, watch)
    except RemoteError:
        try:
            remote.delete(part)
        except RemoteError as error:
            _NOTES.warning("%s stays until it is a day old: %s", part, error)
        raise


def _publish(remote: Remote, archive: Path, name: SnapshotName, part: str, watch: Watch | None) -> None:
    size = archive.stat().st_size
    remote.upload(archive, part, named(watch, "upload"))
    _same_size(remote, part, size)
    verify(remote, name, part, watch)
    try:
        remote.move(part, name.file)
    except RemoteError as error:
        if error.kind != "taken":
            raise
        # by a run of the same second, which was killed: the name says what is in it, and that is what we have
        verify(remote, name, watch=watch)
        remote.delete(part)
    _same_size(remote, name.file, size)


def verify(remote: Remote, name: SnapshotName, file: str | None = None, watch: Watch | None = None) -> None:
    """Read a snapshot back, whole, and compare its digest with that of its name. Raises RemoteError of kind `lost`."""
    file = file or name.file
    found = remote.digest(file, named(watch, "read back"))
    if found != name.archive:
        raise RemoteError(
            remote.name,
            f"read back {file}",
            "lost",
            f"its SHA-256 is {found}, not what was packed",
            "What is stored there is damaged; it does not count as a backup, and is not restored. Run the backup again",
        )


def stale_parts(listing: Iterable[Listed], label: str, now_s: float) -> list[str]:
    """Return the unfinished uploads of a label that are older than a day, by the time in their names."""
    out = []
    for each in listing:
        name = read_part(each.name)
        if name is not None and name.label == label and name.created_s < now_s - PART_AGE_S:
            out.append(each.name)
    return out


def named(watch: Watch | None, what: str) -> Callable[[int, int], None] | None:
    """Return a `watch` that knows what is being done."""
    return None if watch is None else partial(watch, what)


def _same_size(remote: Remote, file: str, size: int) -> None:
    found = remote.stat(file)
    if found is None or found.size_bytes != size:
        there = "it is not there" if found is None else f"{found.size_bytes} of {size} bytes are there"
        raise RemoteError(
            remote.name,
            f"look at {file}",
            "lost",
            f"{there}, though the remote said that all went well",
            "Is it full, or is there something between that cuts? Run the backup again",
        )
