"""One cassette file, read to its end: damage, credentials, times and sizes, line by line."""

from __future__ import annotations

import errno
from pathlib import Path

from pytest_marketreplay import clock
from pytest_marketreplay.cassette import files, reader
from pytest_marketreplay.cassette.entry import NotAnEntry
from pytest_marketreplay.cassette.files import Line
from pytest_marketreplay.cassette.writer import FILE_MODE, end_torn_line
from pytest_marketreplay.doctor.health import Notebook
from pytest_marketreplay.doctor.holding import held, is_written
from pytest_marketreplay.doctor.secrets import SecretScan
from pytest_marketreplay.errors import Busy, DamagedCassette, MissingExtra

DAY_MS = 86_400_000
_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_NS = 10**9
FRESH_S = 10
"""A file that a collector writes may end in the middle of a line for a moment."""
QUIET_S = 60
"""How long a file must not have been written before its end is mended: a recorder holds no lock."""


class FileFacts:
    """What was read of files, added up."""

    def __init__(self) -> None:
        self.entries = 0
        self.newest_ms: int | None = None
        self.days: dict[int, int] = {}
        """Unpacked bytes by day since 1970, of the entries' own times."""


def read(path: Path, root: Path, scan: SecretScan, notebook: Notebook, into: FileFacts) -> int | None:
    """Read a file whole, and note what is wrong with it; returns its unpacked bytes, None where it could not be read.

    One finding of damage and one of a credential for each file, with the first line and how many there are.
    """
    try:
        stream = files.open_binary(path)
    except FileNotFoundError:  # sealed, or removed for its age, since the folder was listed
        return None
    except MissingExtra as error:
        notebook.add("not-checked", path.parent, str(error), f"pip install {error.package}")
        return None
    except DamagedCassette as error:
        notebook.add(
            "sealed-damaged",
            path,
            f"{error.reason}, after {error.byte} unpacked bytes",
            "take the file from a backup (marketreplay restore); what it gives until there cannot be told apart",
        )
        return None
    except OSError as error:
        if error.errno in _NO_ROOM:
            notebook.add("not-checked", path, f"no room to unpack it: {error}", "make room in the temporary folder")
        else:
            notebook.add("unreadable", path, str(error), f"give access to {path}")
        return None
    before, size = into.entries, 0
    damage: list[tuple[Line, NotAnEntry]] = []
    secrets: list[tuple[int, str, str]] = []
    damaged = told = 0
    with stream:
        try:
            for line in files.lines(stream):
                size = line.offset + len(line.data) + line.ended
                try:
                    entry = reader.read_line(line.data)
                except NotAnEntry as error:
                    if line.ended:
                        damaged += 1
                        damage = damage or [(line, error)]
                    else:
                        _torn(path, root, line, notebook)
                    continue
                into.entries += 1
                into.newest_ms = max(into.newest_ms or 0, entry.timestamp)
                day = entry.timestamp // DAY_MS
                into.days[day] = into.days.get(day, 0) + len(line.data) + 1
                if (found := scan.find(entry)) is not None:
                    told += 1
                    secrets = secrets or [(line.number, *found)]
        except FileNotFoundError:  # it ends in the middle of a line, and is gone
            return None
        except OSError as error:  # the disk cannot give it back
            notebook.add("unreadable", path, str(error), "look at the disk, and take the file from a backup")
    for line, reason in damage:
        notebook.add(
            "damaged-line",
            path,
            f"{damaged} lines are no entries, the first is line {line.number}, byte {line.offset + reason.byte}: {reason.reason}",
            f"take the file from a backup, or keep what is good ({into.entries - before} entries): "
            f"marketreplay cassette repair {path}",
        )
    for number, place, severity in secrets:
        notebook.add(
            "secret",
            path,
            f"{place} looks like a credential in {told} entries, first in line {number}",
            "take the credential back where it was issued, and record anew; "
            "marketreplay_secret_params and Rules teach recording such names",
            severity=severity,
        )
    return size


def _torn(path: Path, root: Path, line: Line, notebook: Notebook) -> None:
    age_s = (clock.now_ns() - path.stat().st_mtime_ns) / _NS
    if age_s < FRESH_S and is_written(path.parent, root):
        return
    sealed = path.suffix in files.SEALED

    def mend() -> str:
        with held(path.parent, root):
            if (clock.now_ns() - path.stat().st_mtime_ns) / _NS < QUIET_S:
                raise Busy(f"it was written less than {QUIET_S} s ago")
            count = end_torn_line(path)
            aside = path.with_name(path.name + ".torn")
            aside.chmod(FILE_MODE)
            return f"{count} bytes of a torn last line are kept aside in {aside.name}"

    notebook.add(
        "torn-tail",
        path,
        f"line {line.number} was cut off while it was written ({len(line.data)} bytes); readers pass over it",
        f"marketreplay cassette repair {path}" if sealed else f"marketreplay doctor --fix {path.parent}",
        mend=None if sealed else mend,
    )
