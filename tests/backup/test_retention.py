"""Which snapshots go: the rules by example, and over generated histories against what must never happen."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from doubles import FolderRemote, snapshots
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_marketreplay import clock
from pytest_marketreplay.archive import retention
from pytest_marketreplay.archive.backup import Backup
from pytest_marketreplay.archive.naming import SnapshotName, read_name
from pytest_marketreplay.archive.remote import Listed
from pytest_marketreplay.errors import MarketReplayError, RemoteError, UsageMistake

NOW_S = 1_790_000_000
DAY_S = 86_400
LABEL = "host-captures"


def named(days_ago: float, label: str = LABEL) -> str:
    created_s = NOW_S - int(days_ago * DAY_S)
    archive = hashlib.sha256(f"{label}{days_ago}".encode()).hexdigest()
    return SnapshotName(created_s, label, archive[:32], archive).file


def listed(*files: str) -> list[Listed]:
    return [Listed(file, 100) for file in files]


def test_the_newest_are_kept_and_the_rest_goes() -> None:
    files = [named(day) for day in range(10)]
    made = retention.plan(listed(*reversed(files)), LABEL, NOW_S, files)
    assert made == retention.Plan(tuple(files[:7]), tuple(files[7:]), (), 0, ())


def test_verified_ones_stay_however_old_they_are() -> None:
    files = [named(day) for day in range(10)]
    made = retention.plan(listed(*files), LABEL, NOW_S, [files[8], files[9]], keep=3)
    assert made.delete == tuple(files[3:8])
    assert made.keep == (*files[:3], files[8], files[9])


def test_too_few_verified_ones_keep_everything_and_say_what_is_to_be_read_back() -> None:
    files = [named(day) for day in range(9)]
    made = retention.plan(listed(*files), LABEL, NOW_S, [files[4]])
    assert (made.delete, made.missing, made.unverified) == ((), 1, (*files[:4], *files[5:]))
    assert "1 of these snapshots are verified, and 2 have to be" in made.notes[0]


def test_nothing_is_read_back_where_nothing_would_go() -> None:
    made = retention.plan(listed(named(0)), LABEL, NOW_S, [])
    assert (made.delete, made.missing, made.unverified, made.notes) == ((), 0, (), ())


def test_a_listing_without_what_was_just_published_deletes_nothing() -> None:
    files = [named(day) for day in range(10)]
    made = retention.plan(listed(*files[1:]), LABEL, NOW_S, files, published=files[0])
    assert made.delete == ()
    assert "has not " + files[0] in made.notes[0]


@pytest.mark.parametrize("listing", [[], listed("notes.txt", "other.zip", named(1, "another-label"))])
def test_an_empty_or_foreign_listing_deletes_nothing(listing: list[Listed]) -> None:
    made = retention.plan(listing, LABEL, NOW_S, [each.name for each in listing])
    assert (made.keep, made.delete) == ((), ())


def test_names_from_the_future_are_neither_counted_nor_deleted_and_told() -> None:
    future, files = named(-1), [named(day) for day in range(9)]
    made = retention.plan(listed(future, *files), LABEL, NOW_S, [future, *files])
    assert made.delete == tuple(files[7:])
    assert "from the future" in made.notes[0]
    soon = named(-290 / DAY_S)
    assert retention.plan(listed(soon, *files), LABEL, NOW_S, files).delete == tuple(files[6:])


def test_a_name_that_is_listed_twice_is_neither_counted_nor_deleted_and_told() -> None:
    files = [named(day) for day in range(9)]
    made = retention.plan(listed(*files, files[8]), LABEL, NOW_S, files)
    assert made.delete == (files[7],)
    assert "listed 2 times" in made.notes[0]


@pytest.mark.parametrize(("keep", "keep_min"), [(0, 1), (1, 0), (-1, 2)])
def test_keeping_nothing_is_refused(keep: int, keep_min: int) -> None:
    with pytest.raises(UsageMistake, match="at least one snapshot is always kept"):
        retention.plan([], LABEL, NOW_S, [], keep=keep, keep_min=keep_min)


# ---------------------------------------------------------------- generated histories


class Step(NamedTuple):
    """What happens next: hours go by, and something is done, on a remote that is in some mood."""

    hours: int
    do: str
    mood: str
    which: int


steps = st.builds(
    Step,
    st.sampled_from([0, 1, 24, 24, 24, 25, 72, -1, -30, 2000]),
    st.sampled_from(["backup", "backup", "backup", "prune", "dry run", "rot", "lose state", "foreign", "future"]),
    st.sampled_from(["well", "well", "well", "empty", "partial", "down", "twice", "damages", "fails later"]),
    st.integers(0, 40),
)


class MoodyRemote(FolderRemote):
    """A remote that lists too little, nothing or twice, damages what it takes, or fails after some calls."""

    mood = "well"
    left = 0

    def list(self) -> list[Listed]:
        found = super().list()
        if self.mood == "down":
            raise RemoteError(self.name, "list", "down", "down", "")
        if self.mood == "empty":
            return []
        if self.mood == "partial":
            return found[: self.left % (len(found) + 1)]
        if self.mood == "twice":
            return [*found, *found[self.left % (len(found) + 1) :]]
        return found

    def upload(self, source: Path, file: str, progress: object = None) -> None:
        super().upload(source, file)
        if self.mood == "damages":
            (self.folder / file).write_bytes(b"X" + source.read_bytes()[1:])

    def failing(self, operation: str, file: str) -> None:
        if self.mood == "fails later":
            self.left -= 1
            if self.left < 0:
                raise RemoteError(self.name, operation, "down", "it went away", "")


def is_whole(path: Path) -> bool:
    name = read_name(path.name)
    return name is not None and hashlib.sha256(path.read_bytes()).hexdigest() == name.archive


class History:
    """A label's backups over time, in a folder, and what must never happen to them."""

    def __init__(self, folder: Path, keep: int, keep_min: int) -> None:
        self.remote = MoodyRemote(folder / "remote")
        self.remote.before = self.remote.failing
        tree = folder / "tree"
        tree.mkdir()
        self.file = tree / "a.jsonl"
        self.keep, self.keep_min = keep, keep_min
        self.backup = Backup(self.remote, LABEL, tree, keep=keep, keep_min=keep_min, state_dir=folder / "state")
        self.now_s, self.count = float(NOW_S), 0
        self.rotten: set[str] = set()
        self.strangers = {named(3, "other"), "holiday.jpg"}
        for file in self.strangers:
            (self.remote.folder / file).write_bytes(b"foreign")

    def verified(self) -> list[str]:
        """Return what is known to be whole and is there, oldest first, without the future's."""
        state = self.backup.known()
        there = [
            name
            for file in snapshots(self.remote.folder, LABEL)
            if (name := read_name(file)) is not None and name.created_s <= self.now_s + retention.FUTURE_S
        ]
        return [name.file for name in sorted(there) if state is not None and name.file in state.verified]

    def step(self, step: Step) -> None:
        self.now_s += step.hours * 3600
        remote, folder = self.remote, self.remote.folder
        remote.mood, remote.left = step.mood, step.which
        before, deleted = self.verified(), len(remote.deleted)
        files = snapshots(folder, LABEL)
        try:
            if step.do == "backup":
                self.count += 1
                self.file.write_text(f"{self.count}\n")
                self.backup.run()
            elif step.do == "prune":
                twin = remote.mood
                told = self.backup.prune(dry_run=True)
                remote.mood, remote.left = twin, step.which
                assert self.backup.prune().deleted == told.plan.delete
            elif step.do == "dry run":
                self.backup.prune(dry_run=True)
                assert len(remote.deleted) == deleted
        except MarketReplayError:
            pass
        if step.do == "rot" and files:
            self.rotten.add(files[step.which % len(files)])
            (folder / files[step.which % len(files)]).write_bytes(b"rotten")
        elif step.do == "lose state":
            self.backup.document.remove()
        elif step.do in ("foreign", "future"):
            name = named(
                -step.which - 9000 if step.do == "future" else step.which / 7, LABEL if step.do == "future" else "other"
            )
            (folder / name).write_bytes(b"foreign")
            self.strangers.add(name)
        self.check(before, [file for file in remote.deleted[deleted:] if read_name(file) is not None], step)

    def check(self, before: list[str], gone: list[str], step: Step) -> None:
        folder = self.remote.folder
        there = {path.name for path in folder.iterdir()}
        assert self.strangers <= there
        assert all(is_whole(folder / file) for file in {*snapshots(folder, LABEL)} - self.rotten - self.strangers)
        assert not gone or step.do in ("backup", "prune")
        if step.mood in ("empty", "down"):
            assert not gone
        if gone:
            state = self.backup.known()
            assert state is not None
            assert not {file for file in gone if (name := read_name(file)) is not None and name.label != LABEL}
            whole = self.verified()
            assert len(whole) >= self.keep_min  # at least so many, after whatever was deleted
            newest = [*before, *whole]
            assert max(newest, key=lambda file: read_name(file) or 0) in there  # type: ignore[type-var,return-value]


def run_history(keep: int, keep_min: int, history: list[Step]) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        made = History(Path(folder), keep, keep_min)
        patch.setattr(clock, "now_ns", lambda: int(made.now_s * 1e9))
        patch.setattr("os.fsync", lambda file: None)  # thousands of histories, and none of them is about power cuts
        for step in history:
            made.step(step)


histories = given(st.integers(1, 7), st.integers(1, 3), st.lists(steps, min_size=1, max_size=25))


@settings(max_examples=100)
@histories
def test_in_every_history_what_is_verified_stays_and_what_is_foreign_too(
    keep: int, keep_min: int, history: list[Step]
) -> None:
    run_history(keep, keep_min, history)


@pytest.mark.slow
@settings(max_examples=5_000)
@histories
def test_in_five_thousand_histories_what_is_verified_stays_and_what_is_foreign_too(
    keep: int, keep_min: int, history: list[Step]
) -> None:
    run_history(keep, keep_min, history)


def test_the_tests_of_histories_would_see_a_retention_that_trusts_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A retention that takes whatever is listed for whole, after the state was lost, is found by the same checks."""
    honest = retention.plan

    def trusting(listing: list[Listed], label: str, now_s: float, verified: object, **more: Any) -> retention.Plan:
        return honest(listing, label, now_s, [each.name for each in listing], **more)

    days = [Step(24, "backup", "well", 0) for _ in range(4)]
    history = [*days, Step(1, "lose state", "well", 0), Step(24, "backup", "well", 0)]
    run_history(1, 3, history)
    monkeypatch.setattr(retention, "plan", trusting)
    with pytest.raises(AssertionError):
        run_history(1, 3, history)
