"""Which snapshots go: a pure function of a listing, the time and what is known to be whole. In doubt, nothing goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

from pytest_marketreplay.archive.naming import SnapshotName, read_name
from pytest_marketreplay.archive.remote import Listed
from pytest_marketreplay.errors import UsageMistake

KEEP = 7
KEEP_MIN = 2
FUTURE_S = 300
"""How far ahead a name may be, by the difference of two machines' clocks."""


class Plan(NamedTuple):
    """What is to be done with the snapshots of one label; file names, newest first."""

    keep: tuple[str, ...]
    delete: tuple[str, ...]
    unverified: tuple[str, ...]
    """What has to be read back before anything may be deleted, newest first: as many as are whole, of `missing`."""
    missing: int
    """How many verified snapshots there are too few."""
    notes: tuple[str, ...]
    """What is strange, one sentence each."""


def check_keep(keep: int, keep_min: int) -> None:
    """Raise UsageMistake where so many cannot be kept."""
    if keep < 1 or keep_min < 1:
        raise UsageMistake(f"--keep is {keep} and --keep-min {keep_min}; at least one snapshot is always kept")


def ours(listing: Iterable[Listed], label: str) -> list[SnapshotName]:
    """Return the snapshots of a label in a listing, newest first, each once."""
    names = {name for each in listing if (name := read_name(each.name)) is not None and name.label == label}
    return sorted(names, reverse=True)


def plan(
    listing: Collection[Listed],
    label: str,
    now_s: float,
    verified: Collection[str],
    *,
    keep: int = KEEP,
    keep_min: int = KEEP_MIN,
    published: str | None = None,
) -> Plan:
    """Return what to keep and what to delete of a label's snapshots.

    The newest `keep` stay, and with them the newest `keep_min` of those that are verified. Nothing goes where the listing
    has none, or not the one just `published`, or where fewer than `keep_min` are verified. A name from the future, and one
    that is listed twice, is neither counted nor deleted. Raises UsageMistake.
    """
    check_keep(keep, keep_min)
    names = ours(listing, label)
    times = Counter(each.name for each in listing)
    notes, counted = [], []
    for name in names:
        if name.created_s > now_s + FUTURE_S:
            notes.append(f"{name.file} is from the future: it is neither counted nor deleted; is a clock wrong?")
        elif times[name.file] > 1:
            notes.append(f"{name.file} is listed {times[name.file]} times: it is neither counted nor deleted")
        else:
            counted.append(name.file)
    whole = [file for file in counted if file in verified]
    staying = {*counted[:keep], *whole[:keep_min]}
    going = tuple(file for file in counted if file not in staying)
    missing = max(0, keep_min - len(whole)) if going else 0
    if published is not None and published not in times:
        notes.append(f"the listing has not {published}, which was just published: nothing is deleted")
        going, missing = (), 0
    if missing:
        notes.append(f"{len(whole)} of these snapshots are verified, and {keep_min} have to be: nothing is deleted")
        unverified = tuple(file for file in counted if file not in verified)
        return Plan(tuple(name.file for name in names), (), unverified, missing, tuple(notes))
    kept = tuple(name.file for name in names if name.file not in set(going))
    return Plan(kept, going, (), 0, tuple(notes))
