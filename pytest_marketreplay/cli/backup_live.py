"""How a backup looks on the terminal: a bar for each step, and plain lines for what came of it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pytest_marketreplay import clock

if TYPE_CHECKING:
    from rich.progress import TaskID

    from pytest_marketreplay.archive.backup import Made, Pruned
    from pytest_marketreplay.archive.state import BackupState

_UNITS = ("bytes", "KB", "MB", "GB", "TB")


def utc(time_s: float) -> str:
    """Return a moment as text."""
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%dT%H:%M:%SZ}"


def size(count: float) -> str:
    """Return a number of bytes as people say it: `512 bytes`, `1.5 MB`."""
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.1f} {_UNITS[unit]}" if unit else f"{count:.0f} bytes"


class Bars:
    """One bar for each step, on standard error, where that is a terminal. `watch` is what a backup tells its progress to."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description:>10}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._doing = ""
        self._task: TaskID | None = None

    def watch(self, doing: str, done: int, total: int) -> None:
        """Show how many bytes of how many are done of a step."""
        if self._task is None or doing != self._doing:
            self._doing, self._task = doing, self._progress.add_task(doing, total=None)
        self._progress.update(self._task, completed=done, total=total or None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()


def made_lines(made: Made) -> list[str]:
    """Return what there is to say of a backup that was made."""
    out = [
        f"{made.name.short}: {made.files} files, {size(made.unpacked_bytes)}, packed {size(made.size_bytes)}, "
        f"read back and published in {made.duration_s:.1f} s",
        f"  file      {made.name.file}",
    ]
    out += [f"  left out  {path}" for path in made.skipped]
    out += [f"  removed   {part}, an upload that was cut off" for part in made.parts]
    return out + pruned_lines(made.pruned)


def pruned_lines(pruned: Pruned, *, dry_run: bool = False) -> list[str]:
    """Return what there is to say of a retention."""
    out = [f"  verified  {file}" for file in pruned.verified]
    out += [f"  damaged   {file}: it does not count, and is not deleted" for file in pruned.damaged]
    if dry_run:
        out += [f"  would go  {file}" for file in pruned.plan.delete]
    out += [f"  deleted   {file}" for file in pruned.deleted]
    out += [f"  note      {note}" for note in pruned.plan.notes]
    return [*out, f"  kept      {len(pruned.plan.keep)}"]


def made_plain(made: Made) -> dict[str, Any]:
    """Return a backup as JSON has it."""
    return {
        "file": made.name.file,
        "label": made.name.label,
        "created_s": made.name.created_s,
        "size_bytes": made.size_bytes,
        "unpacked_bytes": made.unpacked_bytes,
        "files": made.files,
        "skipped": list(made.skipped),
        "duration_s": made.duration_s,
        "parts_removed": list(made.parts),
        "pruned": pruned_plain(made.pruned),
    }


def pruned_plain(pruned: Pruned) -> dict[str, Any]:
    """Return a retention as JSON has it."""
    return {
        "keep": list(pruned.plan.keep),
        "delete": list(pruned.plan.delete),
        "deleted": list(pruned.deleted),
        "verified": list(pruned.verified),
        "damaged": list(pruned.damaged),
        "notes": list(pruned.plan.notes),
    }


def state_lines(state: BackupState) -> list[str]:
    """Return what is known of a label's backups, as lines."""
    now_s = clock.now_ns() / 1e9

    def when(time_ms: int | None) -> str:
        if time_ms is None:
            return "never"
        from pytest_marketreplay.collect import durations

        return f"{utc(time_ms / 1000)}, {durations.spoken(now_s - time_ms / 1000)} ago"

    out = [
        f"{state.label}: {'fails' if state.last_error else 'ok'}",
        f"  tree      {state.tree or 'not known'}",
        f"  remote    {state.remote}",
        f"  backup    {when(state.last_backup_ms)}",
        f"  verified  {when(max(state.verified.values(), default=None))}",
    ]
    if state.last_file:
        out.append(f"  file      {state.last_file}, {size(state.last_size_bytes)}")
    if state.last_error:
        out.append(f"  failed    {state.failures} times in a row; {state.last_error}")
    return out
