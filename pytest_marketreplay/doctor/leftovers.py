"""What killed processes leave: files in the making, which go only while what they are a part of stands beside them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from pytest_marketreplay import clock
from pytest_marketreplay.cassette import files
from pytest_marketreplay.doctor.codes import NOTE, WARNING
from pytest_marketreplay.doctor.health import DAY_S, Notebook
from pytest_marketreplay.doctor.holding import held, is_written
from pytest_marketreplay.errors import Busy, DamagedCassette, MissingExtra
from pytest_marketreplay.replay import replace
from pytest_marketreplay.sinks.parquet import WAL

_SEALING = re.compile(r"\.(?P<of>.+\.jsonl)\.sealing\.(?:zst|gz)")
_REPAIR = re.compile(r"\.(?P<of>.+\.jsonl)\.repair")
_PARQUET = re.compile(r"\.(?P<of>orderbook_snapshots_(?P<stamp>\d{8}_\d{6}).*\.parquet)\.tmp")
_DOCUMENT = re.compile(r"\.(?P<of>.+\.json)\.[0-9a-f]{16}\.tmp")
_RESTORING = re.compile(r"\.(?P<of>.+)\.(?:restoring|replaced)-[0-9a-f]+")
_PACKING = re.compile(r"(?P<of>.+\.json)\.work")
_ANY = re.compile(r".+\.(?:tmp|part|part-[0-9a-f]+)")
_DAY_NS = int(DAY_S * 10**9)
FRESH_S = 10
"""A collector that seals has both files for a moment."""


def is_leftover(name: str) -> bool:
    """Tell whether a name is one of something in the making."""
    return name.startswith(replace.PREFIX) or any(
        pattern.fullmatch(name) for pattern in (_SEALING, _REPAIR, _PARQUET, _DOCUMENT, _RESTORING, _PACKING, _ANY)
    )


def check(path: Path, notebook: Notebook, *, root: Path, locks: bool = True) -> None:
    """Note a leftover; one that is younger than a day may be somebody's who still works, and is a note only."""
    try:
        age_ns = clock.now_ns() - path.lstat().st_mtime_ns
    except FileNotFoundError:  # it was somebody's who has just ended
        return
    is_old = age_ns > _DAY_NS
    what, cure, remove = _about(path, root)
    mend: Callable[[], str] | None = None
    if is_old and remove is not None:
        take = remove

        def mend() -> str:
            if not locks:
                return take()
            with held(path.parent, root):
                return take()

    if not is_old:
        cure = f"nothing, where its process still works; else: {cure}"
    notebook.add("leftover", path, what, cure, severity=WARNING if is_old else NOTE, mend=mend)


def _about(path: Path, root: Path) -> tuple[str, str, Callable[[], str] | None]:
    name = path.name
    if name.startswith(replace.PREFIX):
        return _recording(path)
    if match := _RESTORING.fullmatch(name):
        return (
            f"a restore of {match['of']} was killed; where the tree itself is not there, this may be it",
            f"restore {match['of']} again (marketreplay restore), which clears it",
            None,
        )
    if match := _PACKING.fullmatch(name):
        return "a backup was killed while it made an archive in it", "the next backup run removes it", None
    beside: list[Path] = []
    what = "a file in the making that its process left"
    if match := _SEALING.fullmatch(name):
        what = f"{match['of']} was being sealed"
        beside = [path.with_name(match["of"] + end) for end in ("", *files.SEALED)]
    elif match := _REPAIR.fullmatch(name):
        what = f"{match['of']} was being repaired"
        beside = [path.with_name(match["of"] + end) for end in ("", *files.SEALED)]
    elif match := _PARQUET.fullmatch(name):
        what = f"{match['of']} was being written"
        beside = [path.with_name(match["of"]), *(root / WAL).glob(f"{match['stamp']}-*.jsonl")]
    elif match := _DOCUMENT.fullmatch(name):
        what = f"{match['of']} was being saved"
        beside = [path.with_name(match["of"]), path.with_name(match["of"] + ".bak")]
    if any(os.path.exists(each) for each in beside):

        def remove() -> str:
            path.unlink()
            return "removed; what it was a part of is there"

        return what, f"marketreplay doctor --fix {root}, once it is a day old", remove
    return what, f"look what is in it; where nothing is: rm {path}", None


def _recording(path: Path) -> tuple[str, str, Callable[[], str] | None]:
    if os.path.exists(path / "plan.json"):

        def finish() -> str:
            replace.finish(path.parent)
            return "its recording had passed, and was put in its place"

        return (
            "a recording that passed was killed before its files were in their place",
            "open the cassette once",
            finish,
        )
    if not any(each.is_file() for each in path.rglob("*")):

        def clear() -> str:
            for folder in sorted((each for each in path.rglob("*")), reverse=True):
                folder.rmdir()  # fails where a file has come meanwhile
            path.rmdir()
            return "an empty folder was removed"

        return "a recording was killed before its first answer", f"rm -r {path}", clear
    return (
        "a recording was killed before its test passed; it is not played",
        f"record again, then: rm -r {path}",
        None,
    )


def twins(path: Path, sealed: Path, notebook: Notebook, root: Path) -> None:
    """Note a file and its sealed copy: a sealing that was not finished, or two different files."""
    try:
        if (clock.now_ns() - sealed.stat().st_mtime_ns) / 1e9 < FRESH_S and is_written(path.parent, root):
            return
        same = _same(path, sealed)
    except (OSError, MissingExtra):  # finished just now; or it cannot be read, which is told where it is
        return
    if same is False:
        notebook.add(
            "twins-differ",
            path,
            f"it is not what {sealed.name} holds, which no reader looks at",
            "compare them, and move one away",
        )
        return

    def mend() -> str:
        with held(path.parent, root):
            if not _same(path, sealed):
                raise Busy(f"{sealed.name} is not the same any more")
            if clock.now_ns() - path.stat().st_mtime_ns < _DAY_NS:
                raise Busy("it is younger than a day")
            path.unlink()
        return f"removed; {sealed.name} holds the same bytes"

    if same:
        what, cure = f"{sealed.name} holds the same: its sealing was not finished", "marketreplay doctor --fix"
    else:
        what, cure = f"{sealed.name} cannot be unpacked: its sealing was not finished", f"rm {sealed}"
    notebook.add("sealing-unfinished", path, what, cure, mend=mend if same else None)


def _same(path: Path, sealed: Path) -> bool | None:
    """Tell whether two files hold the same; None where the sealed one cannot be unpacked. Raises OSError, MissingExtra."""
    with path.open("rb") as plain:
        try:
            unpacked = files.open_binary(sealed)
        except DamagedCassette:
            return None
        with unpacked:
            unpacked.seek(0)  # what was unpacked stands at its end
            while chunk := plain.read(files.CHUNK):
                if unpacked.read(files.CHUNK) != chunk:
                    return False
            return not unpacked.read(1)
