"""A backup of a tree, from the lock to the retention; and what else is asked of a label's snapshots.

At whatever step it is killed, the next run begins anew and ends well: names and the kernel's lock are all that it relies on.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import shutil
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from pytest_marketreplay import clock
from pytest_marketreplay.archive import publishing, retention
from pytest_marketreplay.archive.naming import SnapshotName, check_label, read_name
from pytest_marketreplay.archive.packing import pack
from pytest_marketreplay.archive.publishing import Watch
from pytest_marketreplay.archive.remote import Listed, Remote
from pytest_marketreplay.archive.state import BackupState, state_document, state_path
from pytest_marketreplay.documents import Document, make_folder
from pytest_marketreplay.errors import Busy, DocumentError, MarketReplayError, RemoteError, UsageMistake
from pytest_marketreplay.metrics.backups import BackupMeter, NoBackupMetrics

_NOTES = logging.getLogger(__name__)


class Pruned(NamedTuple):
    """What a retention did, or would do; file names."""

    plan: retention.Plan
    deleted: tuple[str, ...]
    verified: tuple[str, ...]
    """What was read back for it, and found whole."""
    damaged: tuple[str, ...]
    """What was read back for it, and found damaged."""


class Made(NamedTuple):
    """A backup that was made."""

    name: SnapshotName
    size_bytes: int
    unpacked_bytes: int
    files: int
    skipped: tuple[str, ...]
    """Paths of the tree that are no files and no folders."""
    duration_s: float
    parts: tuple[str, ...]
    """Unfinished uploads that were removed."""
    pruned: Pruned


def default_label(tree: Path) -> str:
    """Return `HOST-FOLDER`, with what a label cannot have left out."""
    raw = f"{socket.gethostname().split('.')[0]}-{tree.absolute().name}"
    return check_label(re.sub(r"[^A-Za-z0-9._-]+", "-", raw).strip("-._")[:64].rstrip("-._") or "tree")


class Backup:
    """The backups of one label on one remote.

    `tree` is None where only snapshots are looked at. Raises UsageMistake for settings that cannot be.
    """

    def __init__(
        self,
        remote: Remote,
        label: str,
        tree: Path | None = None,
        *,
        keep: int = retention.KEEP,
        keep_min: int = retention.KEEP_MIN,
        state_dir: Path | None = None,
        meter: BackupMeter | None = None,
    ) -> None:
        retention.check_keep(keep, keep_min)
        self.remote, self.label = remote, check_label(label)
        self.tree = None if tree is None else tree.absolute()
        self.keep, self.keep_min = keep, keep_min
        self.path = state_path(label, remote.name, state_dir)
        self.meter: BackupMeter = meter or NoBackupMetrics()

    @property
    def document(self) -> Document[BackupState]:
        """Return where the state is kept."""
        return state_document(self.path)

    # ------------------------------------------------------------ what is asked of it

    def state(self) -> BackupState:
        """Return what is known; what was lost is made anew from the names on the remote. Raises RemoteError."""
        return self.known() or self._rebuilt(self.remote.list())

    def known(self) -> BackupState | None:
        """Return what the document says, without the remote; None where it is lost or damaged."""
        try:
            return self.document.load()
        except DocumentError as error:
            _NOTES.warning("the state of backups is made anew: %s", error)
            return None

    def run(self, watch: Watch | None = None) -> Made:
        """Pack the tree, publish it, and let old snapshots go.

        Raises Busy where another process is at it, ArchiveError, RemoteError, DocumentError; where only the retention
        failed, the state has the new backup all the same.
        """
        if self.tree is None or not self.tree.is_dir():
            raise UsageMistake(f"there is no folder {str(self.tree)!r} to back up; name the tree that is written to")
        with self._locked(), self._noted("backup"):
            began_ns, counter = clock.now_ns(), clock.counter_ns()
            state = msgspec.structs.replace(self.state(), tree=str(self.tree), last_attempt_ms=began_ns // 1_000_000)
            self.document.save(state)
            with self._work() as work:
                target = work / "archive.zip"
                packed = pack(self.tree, target, progress=publishing.named(watch, "pack"))
                name = SnapshotName(began_ns // 10**9, self.label, packed.manifest.digest()[:32], packed.archive_sha256)
                parts = self._clean(began_ns / 1e9)
                publishing.publish(self.remote, target, name, watch)
            duration_s = (clock.counter_ns() - counter) / 1e9
            self.document.save(
                msgspec.structs.replace(
                    state,
                    last_backup_ms=began_ns // 1_000_000,
                    last_file=name.file,
                    last_size_bytes=packed.size_bytes,
                    last_duration_s=duration_s,
                    last_error="",
                    failures=0,
                    verified={**state.verified, name.file: clock.now_ns() // 1_000_000},
                    rebuilt=False,
                )
            )
            self.meter.backed_up(self.label, began_ns / 1e9, packed.size_bytes, duration_s)
            self.meter.verified(self.label, clock.now_ns() / 1e9)
            pruned = self._prune(published=name.file, watch=watch)
        return Made(
            name,
            packed.size_bytes,
            packed.manifest.size_bytes,
            len(packed.manifest.members),
            packed.skipped,
            duration_s,
            tuple(parts),
            pruned,
        )

    def verify(self, names: Collection[SnapshotName], watch: Watch | None = None) -> dict[str, str]:
        """Read snapshots back; return by file name what is wrong with each, "" where nothing is. Raises Busy."""
        out = {}
        with self._locked(), self._noted("verify"):
            for name in names:
                out[name.file] = self._verify(name, watch)
        return out

    def prune(self, *, dry_run: bool = False, watch: Watch | None = None) -> Pruned:
        """Let old snapshots go, or tell which would. Raises Busy, RemoteError, DocumentError."""
        with self._locked(), self._noted("prune"):
            return self._prune(dry_run=dry_run, watch=watch)

    # ------------------------------------------------------------ how it is done

    def _prune(self, *, published: str | None = None, dry_run: bool = False, watch: Watch | None = None) -> Pruned:
        whole, damaged = list[str](), list[str]()
        while True:
            listing = self.remote.list()
            state = self.state()
            plan = retention.plan(
                [each for each in listing if each.name not in damaged],
                self.label,
                clock.now_ns() / 1e9,
                state.verified,
                keep=self.keep,
                keep_min=self.keep_min,
                published=published,
            )
            next_up = [file for file in plan.unverified if file not in damaged]
            if not plan.missing or not next_up:
                break
            name = read_name(next_up[0])
            assert name is not None  # it came from a listing of such names
            (damaged if self._verify(name, watch) else whole).append(name.file)
        for note in plan.notes:
            _NOTES.warning("%s: %s", self.remote.name, note)
        deleted = () if dry_run else plan.delete
        for file in deleted:
            self.remote.delete(file)
        present = {each.name for each in listing} - set(deleted)
        if not dry_run and listing:
            kept = {file: at for file, at in state.verified.items() if file in present}
            self.document.save(msgspec.structs.replace(state, verified=kept))
        return Pruned(plan, deleted, tuple(whole), tuple(damaged))

    def _verify(self, name: SnapshotName, watch: Watch | None) -> str:
        """Read one back and note it; return what is wrong with it. Raises RemoteError where the remote cannot tell."""
        state = self.state()
        now_ms = clock.now_ns() // 1_000_000
        try:
            publishing.verify(self.remote, name, watch=watch)
        except RemoteError as error:
            if error.kind not in ("lost", "missing"):
                raise
            known = {file: at for file, at in state.verified.items() if file != name.file}
            self.document.save(msgspec.structs.replace(state, verified=known))
            return str(error)
        self.document.save(msgspec.structs.replace(state, verified={**state.verified, name.file: now_ms}))
        self.meter.verified(self.label, now_ms / 1000)
        return ""

    def _clean(self, now_s: float) -> list[str]:
        """Remove what killed uploads left."""
        parts = publishing.stale_parts(self.remote.list(), self.label, now_s)
        for part in parts:
            self.remote.delete(part)
        return parts

    def _rebuilt(self, listing: Collection[Listed]) -> BackupState:
        now_s = clock.now_ns() / 1e9
        names = [each for each in retention.ours(listing, self.label) if each.created_s <= now_s + retention.FUTURE_S]
        sizes = {each.name: each.size_bytes for each in listing}
        newest = names[0] if names else None
        return BackupState(
            self.label,
            str(self.tree or ""),
            self.remote.name,
            last_backup_ms=newest.created_s * 1000 if newest else None,
            last_file=newest.file if newest else "",
            last_size_bytes=sizes[newest.file] if newest else 0,
            rebuilt=True,
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the kernel's lock, which no killed process keeps. Raises Busy."""
        folder = self.path.parent
        lock = self.path.with_name(self.path.name + ".lock")
        try:
            make_folder(folder)
            file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise DocumentError(
                f"{lock} cannot be made: {error}. Grant access to it, or name another folder: --state-dir"
            ) from error
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(
                    f"another process is at the backups of {self.label} on {self.remote.name}. Wait for it, or end it"
                ) from None
            yield
        finally:
            os.close(file)

    @contextmanager
    def _work(self) -> Iterator[Path]:
        """Give an empty folder for the archive; what a killed run left in it is removed first."""
        work = self.path.with_name(self.path.name + ".work")
        shutil.rmtree(work, ignore_errors=True)
        try:
            try:
                work.mkdir(0o700)
            except OSError as error:
                raise DocumentError(
                    f"{work} cannot be made: {error}. Make room, or name another folder: --state-dir"
                ) from error
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    @contextmanager
    def _noted(self, operation: str) -> Iterator[None]:
        """Count an operation and how it ended, and keep the error in the state."""
        try:
            yield
        except MarketReplayError as error:
            self.meter.failed(self.label, operation, getattr(error, "kind", type(error).__name__))
            self._keep_error(operation, error)
            raise
        self.meter.done(self.label, operation)
        known = self.known()
        if known is not None and known.last_error.startswith(f"{operation}: "):
            self.document.save(msgspec.structs.replace(known, last_error="", failures=0))

    def _keep_error(self, operation: str, error: MarketReplayError) -> None:
        try:
            state = self.document.load()
            if state is not None:
                said = f"{operation}: {error}"
                self.document.save(msgspec.structs.replace(state, last_error=said, failures=state.failures + 1))
        except DocumentError as other:
            _NOTES.warning("the error could not be kept: %s", other)
