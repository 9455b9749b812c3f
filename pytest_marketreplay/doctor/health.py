"""What an examination says: findings, what was mended, and figures; and the notebook they are collected in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from pytest_marketreplay.doctor.codes import CODES, NOTE
from pytest_marketreplay.errors import MarketReplayError

MOST = 200
"""Findings of one code that are kept; the others are counted."""
DAY_S = 86_400.0


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """From where on something is a finding. Lengths are seconds."""

    max_age_s: float | None = None
    """Of a tree's newest entry; None: its age is told, and is no finding."""
    max_backup_age_s: float = 2 * DAY_S
    max_verified_age_s: float = 14 * DAY_S
    min_free_share: float = 0.10
    """Of the disk, 0 to 1."""
    min_free_bytes: int = 0
    min_days: float = 7.0
    """Until the disk is full."""
    size_factor: float = 10.0
    """How many times more or less than the median of its neighbours a day or file may have."""
    retain_s: float | None = None
    max_session_age_s: float = 30 * DAY_S
    """Since a session ended, until its folder is called stale."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong, or worth knowing."""

    code: str
    severity: str
    """`error`, `warning` or `note`."""
    where: str
    """A path, the name of a session, or a file on a remote."""
    what: str
    cure: str
    """A command or a sentence."""
    fixable: bool = False
    """Whether `fix` mends it."""


class Fix(msgspec.Struct, frozen=True):
    """One thing that was mended."""

    code: str
    where: str
    what: str
    """What was done."""


class TreeHealth(msgspec.Struct, frozen=True):
    """Figures of one tree."""

    path: str
    files: int = 0
    entries: int = 0
    size_bytes: int = 0
    """On the disk, sealed as it is."""
    newest_ms: int | None = None
    """Unix epoch in milliseconds, of the newest entry."""
    growth_bytes_per_day: float = 0.0
    """Over the last week; 0 where nothing was added in the last two days."""
    free_bytes: int = 0
    disk_bytes: int = 0
    days_until_full: float | None = None
    is_written: bool = False
    """Whether a collector holds its lock."""


class BackupHealth(msgspec.Struct, frozen=True):
    """Figures of one label's backups. Times are Unix epoch in milliseconds."""

    label: str
    remote: str
    tree: str = ""
    last_backup_ms: int | None = None
    last_verified_ms: int | None = None
    failures: int = 0
    snapshots: int | None = None
    """On the remote; None where it was not asked."""


class Health(msgspec.Struct, frozen=True):
    """Everything that an examination says."""

    time_ms: int
    findings: tuple[Finding, ...]
    counts: dict[str, dict[str, int]]
    """How many findings, by code and severity; more than in `findings` where there are more than 200 of a code."""
    fixes: tuple[Fix, ...] = ()
    fixed: dict[str, int] = {}
    """How many things were mended, by code."""
    trees: tuple[TreeHealth, ...] = ()
    sessions: dict[str, int] = {}
    """How many sessions, by how they are."""
    backups: tuple[BackupHealth, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether nothing but notes was found."""
        return all(severity == NOTE for each in self.counts.values() for severity in each)

    @property
    def left_out(self) -> int:
        """How many findings are counted only."""
        return sum(sum(each.values()) for each in self.counts.values()) - len(self.findings)


def printable(text: str) -> str:
    """Return a text in which a file's name can do no harm: on one line, without control characters or surrogates."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


class Notebook:
    """Collects findings, a bounded number of each code, and mends at once what can be mended where that is wanted."""

    def __init__(self, *, fix: bool = False) -> None:
        self.fix = fix
        self.findings: list[Finding] = []
        self.counts: dict[str, Counter[str]] = {}
        self.fixes: list[Fix] = []
        self.fixed: Counter[str] = Counter()

    def add(
        self,
        code: str,
        where: object,
        what: str,
        cure: str,
        *,
        severity: str | None = None,
        mend: Callable[[], str] | None = None,
    ) -> bool:
        """Note a finding; the severity is the code's first unless told. Returns whether it was mended.

        `mend` does it and returns what it did; it raises OSError or MarketReplayError where it cannot, or must not now.
        """
        place = printable(str(where))
        if self.fix and mend is not None:
            try:
                done = mend()
            except (OSError, MarketReplayError) as error:
                what = f"{what}; it is not mended: {error}"
            else:
                self.fixed[code] += 1
                if self.fixed[code] <= MOST:
                    self.fixes.append(Fix(code, place, printable(done)))
                return True
        level = severity or CODES[code][0][0]
        counted = self.counts.setdefault(code, Counter())
        counted[level] += 1
        if counted.total() <= MOST:
            self.findings.append(Finding(code, level, place, printable(what), printable(cure), mend is not None))
        return False
