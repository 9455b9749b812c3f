"""One tree, walked once: what each file and folder is, and what is wrong with it. Memory is that of one folder."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pytest_marketreplay import clock
from pytest_marketreplay.cassette import files, names
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.doctor import leftovers, lines, modes, sinks, sizes
from pytest_marketreplay.doctor.health import Limits, Notebook, TreeHealth
from pytest_marketreplay.doctor.holding import is_written
from pytest_marketreplay.doctor.lines import DAY_MS, FileFacts
from pytest_marketreplay.doctor.secrets import SecretScan
from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.sinks.parquet import WAL
from pytest_marketreplay.venues.registry import Registry

Advance = Callable[[int], None]
"""Told how many bytes on the disk were looked at since the last time."""
_FUTURE_MS = 300_000
_ASIDE = (".torn", ".damaged")
_STAMP = re.compile(r"orderbook_snapshots_(\d{4})(\d\d)(\d\d)_\d{6}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def examine_tree(root: Path, notebook: Notebook, limits: Limits, registry: Registry, advance: Advance) -> TreeHealth:
    """Look at a tree, a folder of cassettes, or the folder of Parquet files. Raises UsageMistake for a file."""
    if os.path.isfile(root):
        raise UsageMistake(f"{root} is a file; the doctor looks at folders. For one file: marketreplay cassette check")
    if not os.path.isdir(root):
        notebook.add(
            "tree-missing", root, "there is no such folder", "name another, or restore it: marketreplay restore"
        )
        return TreeHealth(str(root))
    return _Tree(root, notebook, limits, registry, advance).health()


class _Tree:
    def __init__(self, root: Path, notebook: Notebook, limits: Limits, registry: Registry, advance: Advance) -> None:
        self._root, self._notebook, self._limits = root, notebook, limits
        self._registry, self._advance = registry, advance
        self._modes = modes.Modes(notebook, root)
        self._parquet = sinks.ParquetFiles(notebook)
        self._facts = FileFacts()
        self._size = self._files = 0
        self._stored_days: dict[int, int] = {}
        """Bytes on the disk by the day that a file's name tells."""
        self._now_ms = clock.now_ns() // 1_000_000

    def health(self) -> TreeHealth:
        found = self._folder(self._root)
        for staging in sorted(self._root.parent.glob(f".{glob.escape(self._root.name)}.re*-*")):
            if leftovers.is_leftover(staging.name):
                leftovers.check(staging, self._notebook, root=self._root)
        if not found:
            self._notebook.add("tree-empty", self._root, "nothing is stored in it", "name another, or begin a capture")
        self._parquet.conclude(self._root)
        self._judge_age()
        return self._with_disk()

    # ---------------------------------------------------------------- walking

    def _folder(self, folder: Path) -> bool:
        """Look at a folder and all below it; returns whether anything of ours is in it."""
        listed = self._listed(folder)
        if listed is None:
            return True
        is_ours = False
        recorded: list[str] = []
        for each in listed:
            path = folder / each.name
            if leftovers.is_leftover(each.name):
                leftovers.check(path, self._notebook, root=self._root)
                is_ours = True
            elif each.is_symlink():
                self._link(path)
            elif each.is_dir(follow_symlinks=False):
                if each.name == WAL:
                    sinks.check_log(path, self._notebook, self._modes, self._root)
                    is_ours = True
                elif not each.name.startswith("."):
                    is_ours |= self._folder(path)
            elif each.is_file(follow_symlinks=False):
                kind = self._kind(path)
                if kind == "recorded":
                    recorded.append(each.name)
                elif kind is not None:
                    self._file(path, kind)
                is_ours |= kind is not None
        if recorded:
            self._place(folder, recorded)
        if is_ours:
            self._modes.check(folder, modes.FOLDER)
        return is_ours

    def _listed(self, folder: Path) -> list[os.DirEntry[str]] | None:
        """Return what is in a folder; None, which is told, where it cannot be read."""
        try:
            return _sorted(folder)
        except FileNotFoundError:  # moved away since the one above it was listed
            return []
        except OSError:
            if not self._modes.check(folder, modes.FOLDER):
                return None
        try:  # as its permissions are now
            return _sorted(folder)
        except OSError as error:
            self._unreadable(folder, error)
            return None

    def _unreadable(self, path: Path, error: OSError) -> None:
        self._notebook.add("unreadable", path, str(error), f"give access to {path}, or run as the user who captures")

    def _link(self, path: Path) -> None:
        self._notebook.add(
            "symlink", path, "it is neither looked at nor backed up", "name its target too, or move that into the tree"
        )

    def _kind(self, path: Path) -> str | None:
        if path.name.endswith(_ASIDE):
            return "aside"
        if path.suffix == ".parquet":
            return "parquet"
        is_deep = len(path.relative_to(self._root).parts) > 3
        return "recorded" if is_deep and names.file_order(path.name) is not None else None

    def _file(self, path: Path, kind: str) -> None:
        is_readable = self._modes.check(path, modes.DATA)
        if kind == "aside":
            self._notebook.add(
                "kept-aside",
                path,
                "a repair kept it",
                f"look whether they are wanted; then: rm {path}",
            )
            return
        size = self._count(path)
        match = _STAMP.match(path.name)
        if match:
            self._stored(f"{match[1]}-{match[2]}-{match[3]}", size)
        if is_readable:
            self._parquet.check(path)
        self._advance(size)

    # ---------------------------------------------------------------- places

    def _place(self, folder: Path, recorded: list[str]) -> None:
        place = Place(*folder.parts[-3:])
        scan = SecretScan(self._registry, place)
        counted = FileFacts()
        unpacked: list[tuple[Path, int]] = []
        old: list[Path] = []
        read_by_all = set(files.names_in(str(folder)))
        ordered = sorted(recorded, key=lambda name: names.file_order(name) or ("~", 0, name))
        for name in ordered:
            path = folder / name
            is_readable = self._modes.check(path, modes.DATA)
            size = self._count(path)
            order = names.file_order(name)
            day = order[0][:10] if order else "~"
            self._stored(day, size)
            if name not in read_by_all:  # the sealed one of two
                leftovers.twins(folder / name.removesuffix(path.suffix), path, self._notebook, self._root)
            elif is_readable:
                read = lines.read(path, self._root, scan, self._notebook, counted)
                if read is not None:
                    unpacked.append((path, read))
            if self._limits.retain_s is not None and name != ordered[-1] and self._is_over(path, day):
                old.append(path)
            self._advance(size)
        self._judge_sizes(folder, counted, unpacked)
        if old:
            self._notebook.add(
                "retention",
                folder,
                f"{len(old)} files are older than they are to be kept, the oldest is {old[0].name}",
                "a capture with --retain removes them; is one running?",
            )
        total = self._facts
        total.entries += counted.entries
        if counted.newest_ms is not None:
            total.newest_ms = max(total.newest_ms or 0, counted.newest_ms)
            if counted.newest_ms > self._now_ms + _FUTURE_MS:
                self._notebook.add(
                    "future-entry",
                    folder,
                    f"its newest entry is of {_utc(counted.newest_ms)}",
                    "look at the clock of the machine that captured",
                )

    def _is_over(self, path: Path, day: str) -> bool:
        assert self._limits.retain_s is not None
        # a day of grace: a sink looks at the whole second at which a segment began, and once a minute
        before_s = self._now_ms / 1000 - self._limits.retain_s - 86_400
        try:
            return day != "~" and _day_of(day) * 86_400 < before_s and path.stat().st_mtime < before_s
        except (OSError, ValueError):
            return False

    def _judge_sizes(self, folder: Path, counted: FileFacts, unpacked: list[tuple[Path, int]]) -> None:
        factor = self._limits.size_factor
        cure = "look at it: marketreplay report, marketreplay cassette ls; --size-factor sets what is told"
        for jump in sizes.day_jumps(counted.days, factor):
            day = _utc(jump.at * DAY_MS)[:10]
            self._notebook.add(
                "size-jump", folder, f"{day} has {jump.size} bytes, and the days around it {jump.usual:.0f}", cure
            )
        for jump in sizes.file_jumps([size for _, size in unpacked], factor):
            self._notebook.add(
                "size-jump",
                unpacked[jump.at][0],
                f"{jump.size} bytes unpacked, and the files around it {jump.usual:.0f}",
                cure,
            )

    def _count(self, path: Path) -> int:
        try:
            size = path.stat().st_size
        except OSError:
            return 0
        self._files += 1
        self._size += size
        return size

    def _stored(self, day: str, size: int) -> None:
        try:
            number = _day_of(day)
        except ValueError:  # a name without a time
            return
        self._stored_days[number] = self._stored_days.get(number, 0) + size

    # ---------------------------------------------------------------- the whole

    def _judge_age(self) -> None:
        limit, newest = self._limits.max_age_s, self._facts.newest_ms
        if limit is None or newest is None:
            return
        age_s = self._now_ms / 1000 - newest / 1000
        if age_s > limit:
            self._notebook.add(
                "tree-stale",
                self._root,
                f"its newest entry is of {_utc(newest)}, {age_s / 3600:.1f} hours ago",
                "is a capture running? marketreplay collect status",
            )

    def _with_disk(self) -> TreeHealth:
        disk = os.statvfs(self._root)
        free, whole = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        growth = sizes.growth(self._stored_days, self._now_ms // DAY_MS)
        days = free / growth if growth else None
        if free < max(whole * self._limits.min_free_share, self._limits.min_free_bytes):
            self._notebook.add(
                "disk-low",
                self._root,
                f"{free / 1e9:.1f} GB of {whole / 1e9:.1f} GB are free ({free / max(whole, 1):.1%})",
                "make room, seal (collect start --seal zst), or keep less (--retain)",
            )
        if days is not None and days < self._limits.min_days:
            self._notebook.add(
                "disk-filling",
                self._root,
                f"it grows by {growth / 1e9:.3f} GB a day, and {free / 1e9:.1f} GB are free: {days:.1f} days",
                "make room, seal (collect start --seal zst), or keep less (--retain)",
            )
        return TreeHealth(
            path=str(self._root),
            files=self._files,
            entries=self._facts.entries,
            size_bytes=self._size,
            newest_ms=self._facts.newest_ms,
            growth_bytes_per_day=growth,
            free_bytes=free,
            disk_bytes=whole,
            days_until_full=days,
            is_written=is_written(self._root, self._root),
        )


def _sorted(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda each: each.name)


def _day_of(day: str) -> int:
    """Return the day since 1970. Raises ValueError."""
    return (datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC) - _EPOCH).days


def _utc(time_ms: int) -> str:
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{time_ms} ms"
