"""Restore: pick a snapshot, prove it, make its tree beside the target, and put it there in one step.

Needs nothing but the remote: no collector, no service, no state of a backup.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import close
from pathlib import Path
from typing import NamedTuple

import msgspec

from pytest_marketreplay import clock
from pytest_marketreplay.archive import holding, merging, placing
from pytest_marketreplay.archive.manifest import Manifest, Member
from pytest_marketreplay.archive.obtaining import Source
from pytest_marketreplay.archive.packing import survey
from pytest_marketreplay.archive.placing import Standing, Workplace
from pytest_marketreplay.archive.remote import Progress, Remote
from pytest_marketreplay.archive.restored import RestoreRecord, contents_digest, record_document
from pytest_marketreplay.archive.selecting import (
    LATEST,
    Parts,
    Snapshot,
    choose,
    foreign,
    is_ahead,
    is_meant,
    snapshots,
)
from pytest_marketreplay.errors import ArchiveError, DocumentError, RestoreRefused, UsageMistake


class Wanted(NamedTuple):
    """What is to be restored, and what may become of what stands there."""

    snapshot: str = LATEST
    """Or a file name, a short name, 6 digits or more of the archive's or the manifest's digest."""
    at_ns: int | None = None
    """The newest snapshot that is not later."""
    label: str | None = None
    parts: Parts = Parts()
    merge: bool = False
    overwrite: bool = False
    if_changed: bool = False
    dry_run: bool = False


class Restored(msgspec.Struct, frozen=True):
    """What a restore did. Sizes are in bytes, of unpacked files."""

    action: str
    """`restored`, `unchanged` (nothing was to be done), `planned` (a dry run) or `verified`."""
    snapshot: str
    """The file's name."""
    target: str | None = None
    files: int | None = None
    """Of the snapshot, those that are wanted; None where a dry run cannot know without downloading."""
    size_bytes: int | None = None
    archive_bytes: int = 0
    fetched_bytes: int | None = None
    """What was read of an archive of which not all was needed; None where all was downloaded."""
    kept: int = 0
    """Of a merge: files that were there with the same bytes."""
    replaced: int = 0
    """Of a merge: files that were there with other bytes."""
    foreign: tuple[str, ...] = ()
    """Files that are no cassette files by place and name."""
    from_the_future: tuple[str, ...] = ()
    """Short names of snapshots that were passed over since they are later than now."""
    left: str | None = None
    """A hidden folder that could not be removed, and is to be by hand."""


def listing(remote: Remote, label: str | None = None) -> list[Snapshot]:
    """Return the snapshots on a remote, of one label or of all, oldest first. Raises RemoteError."""
    return snapshots(remote.list(), label)


def restore(remote: Remote, target: Path, wanted: Wanted, progress: Progress | None = None) -> Restored:
    """Restore a snapshot, or a part of it, to a folder; whatever fails, what stood there is as it was.

    Raises UsageMistake and RestoreRefused (exit code 2), Busy where a collector writes the tree (3), and RemoteError,
    DamagedArchive, ArchiveError (1).
    """
    _check(wanted)
    return _Restore(remote, placing.resolve(target), wanted, progress).run()


def verify(remote: Remote, wanted: Wanted, progress: Progress | None = None) -> Restored:
    """Read a snapshot back, whole, and check it as a restore does; writes nothing. Raises as `restore` does."""
    _check(wanted)
    found = listing(remote, wanted.label)
    snapshot = choose(found, remote.name, asked=wanted.snapshot, at_ns=wanted.at_ns, label=wanted.label)
    manifest = Source(remote, snapshot).verify(progress)
    return Restored(
        action="verified",
        snapshot=snapshot.name.file,
        files=len(manifest.members),
        size_bytes=manifest.size_bytes,
        archive_bytes=snapshot.size_bytes,
        foreign=tuple(foreign(each.path for each in manifest.members)),
        from_the_future=_ahead(found),
    )


class _Restore:
    def __init__(self, remote: Remote, target: Path, wanted: Wanted, progress: Progress | None) -> None:
        self._remote, self._target, self._wanted, self._progress = remote, target, wanted, progress
        self._ahead: tuple[str, ...] = ()

    def run(self) -> Restored:
        wanted = self._wanted
        if not wanted.dry_run:
            with placing.untouched(self._target):
                placing.sweep(self._target)
        record = self._record() if wanted.if_changed else None
        is_ours = record is not None and self._is_as_restored(record)
        if record is not None and is_ours and record.name is not None and is_meant(wanted.snapshot, record.name):
            return self._unchanged(record)
        snapshot = self._choose()
        if record is not None and is_ours and record.manifest.startswith(snapshot.name.manifest):
            return self._unchanged(record)
        with self._held():
            with placing.untouched(self._target):
                found = placing.standing(self._target)
            replaces = wanted.overwrite or (is_ours and record is not None and not record.merged)
            self._refuse_full(found, replaces, record)
            return self._restore(snapshot, found)

    # ------------------------------------------------------------ before anything is downloaded

    def _record(self) -> RestoreRecord | None:
        """Return what the tree says of itself, where that is of the parts that are wanted."""
        try:
            record = record_document(self._target).load()
        except DocumentError:
            if not self._wanted.overwrite:
                raise
            return None  # to be replaced with all else
        if record is None or Parts(record.venues, record.endpoints, record.symbols) != self._wanted.parts:
            return None
        return record

    def _is_as_restored(self, record: RestoreRecord) -> bool:
        return contents_digest(survey(self._target, self._progress).members) == record.contents

    def _unchanged(self, record: RestoreRecord) -> Restored:
        return Restored(
            action="unchanged", snapshot=record.snapshot, target=str(self._target), from_the_future=self._ahead
        )

    def _choose(self) -> Snapshot:
        wanted = self._wanted
        found = listing(self._remote, wanted.label)
        self._ahead = _ahead(found)
        return choose(found, self._remote.name, asked=wanted.snapshot, at_ns=wanted.at_ns, label=wanted.label)

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the target, where there is one, so that no collector begins to write it."""
        with placing.untouched(self._target):
            lock = holding.hold(self._target)
        try:
            with placing.untouched(self._target):
                holding.refuse_written(self._target)
            yield
        finally:
            if lock is not None:
                close(lock)

    def _refuse_full(self, found: Standing, replaces: bool, record: RestoreRecord | None) -> None:
        if found is not Standing.FULL or replaces or self._wanted.merge:
            return
        if record is not None and record.merged:
            reason = "it was merged with what stood there"
        elif record is not None:
            reason = f"its files were changed since {record.snapshot} was restored there"
        else:
            reason = "it is not empty"
        raise RestoreRefused(
            self._target, reason, "Add --merge to keep what is there, --overwrite to replace it, or name another folder"
        )

    # ------------------------------------------------------------ doing it

    def _restore(self, snapshot: Snapshot, found: Standing) -> Restored:
        wanted = self._wanted
        source = Source(self._remote, snapshot)
        early = None if source.manifest is None else self._plan(source.manifest, found)
        in_parts = early is not None and early.paths is not None
        self._check_space(0 if in_parts else snapshot.size_bytes, early)
        if wanted.dry_run:
            return self._result("planned", source, early)
        with placing.untouched(self._target), Workplace(self._target) as work:
            if early is not None and early.paths is not None and source.extract(early.paths, work, self._progress):
                plan = early
            else:
                self._check_space(snapshot.size_bytes, early)
                with source.download(work, self._progress) as obtained:
                    plan = self._plan(obtained.checked.manifest, found)
                    self._check_space(0, plan)
                    obtained.extract(plan.paths, work, self._progress)
            if found is Standing.FULL and wanted.merge:
                merging.link_in(self._target, work.tree, set(plan.extracted))
            self._write_record(snapshot, plan, work, merged=found is Standing.FULL and wanted.merge)
            work.publish(found)
        return self._result("restored", source, plan, left=work.left)

    def _plan(self, manifest: Manifest, found: Standing) -> _Plan:
        """Decide on each file, by the manifest. Raises UsageMistake where none is wanted, RestoreRefused for conflicts."""
        wanted = self._wanted
        paths = wanted.parts.paths(manifest)
        chosen = None if paths is None else frozenset(paths)
        members = [each for each in manifest.members if chosen is None or each.path in chosen]
        if found is not Standing.FULL or not wanted.merge:
            return _Plan(manifest, members, paths, None)
        with placing.untouched(self._target):
            merge = merging.compare(self._target, members)
        if not wanted.overwrite:
            merging.refuse_different(self._target, merge)
        return _Plan(manifest, members, sorted((*merge.missing, *merge.different)), merge)

    def _check_space(self, archive_bytes: int, plan: _Plan | None) -> None:
        """Raise ArchiveError where an archive, and what is unpacked of it, do not fit."""
        needed = archive_bytes + (0 if plan is None else plan.written_bytes)
        with placing.untouched(self._target):
            free = placing.free_bytes(self._target)
        if needed > free:
            raise ArchiveError(
                f"nothing is restored to {self._target}: that needs {needed} bytes, and {free} are free there. "
                "Make room, restore to another disk, or a part of it (--venue, --endpoint, --symbol)"
            )

    def _write_record(self, snapshot: Snapshot, plan: _Plan, work: Workplace, *, merged: bool) -> None:
        members = survey(work.tree, self._progress).members if merged else plan.members
        parts = self._wanted.parts
        record_document(work.tree).save(
            RestoreRecord(
                snapshot=snapshot.name.file,
                manifest=plan.manifest.digest(),
                contents=contents_digest(members),
                restored_ms=clock.now_ns() // 1_000_000,
                venues=parts.venues,
                endpoints=parts.endpoints,
                symbols=parts.symbols,
                merged=merged,
            )
        )

    def _result(self, action: str, source: Source, plan: _Plan | None, *, left: Path | None = None) -> Restored:
        said = Restored(
            action=action,
            snapshot=source.snapshot.name.file,
            target=str(self._target),
            archive_bytes=source.snapshot.size_bytes,
            fetched_bytes=source.fetched_bytes,
            from_the_future=self._ahead,
            left=None if left is None else str(left),
        )
        if plan is None:
            return said
        return msgspec.structs.replace(
            said,
            files=len(plan.members),
            size_bytes=sum(each.size for each in plan.members),
            kept=0 if plan.merge is None else len(plan.merge.equal),
            replaced=0 if plan.merge is None else len(plan.merge.different),
            foreign=tuple(foreign(each.path for each in plan.members)),
        )


class _Plan(NamedTuple):
    manifest: Manifest
    members: list[Member]
    """What is wanted."""
    paths: list[str] | None
    """What is to be written; None for all."""
    merge: merging.Merge | None

    @property
    def extracted(self) -> list[str]:
        return [each.path for each in self.members] if self.paths is None else self.paths

    @property
    def written_bytes(self) -> int:
        written = frozenset(self.extracted)
        return sum(each.size for each in self.members if each.path in written)


def _check(wanted: Wanted) -> None:
    if wanted.at_ns is not None and wanted.snapshot != LATEST:
        raise UsageMistake(f"the snapshot {wanted.snapshot!r} and --at say two things: leave one of them out")


def _ahead(found: list[Snapshot]) -> tuple[str, ...]:
    return tuple(each.name.short for each in found if is_ahead(each.name))
