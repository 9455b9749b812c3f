"""Replacing an old recording by a new one, all or nothing, when a test has passed (modes `all` and `rewrite`).

The new files are staged in a hidden folder of the cassette. At the end a plan is written beside them (which file goes
where, which old file goes away) and carried out. A process that dies before the plan leaves the old recording as it
was; one that dies after it leaves a plan, which the next one to open the cassette carries out to its end.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_marketreplay.cassette import files, reader
from pytest_marketreplay.cassette.entry import Head, HeadMeta
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.frame import read_trusted_frame
from pytest_marketreplay.cassette.request import WEBSOCKET
from pytest_marketreplay.cassette.writer import end_torn_line, make_folder, prune

PREFIX = ".recording-"
_PLAN = "plan.json"


@contextmanager
def locked(cassette: Path) -> Iterator[None]:
    """Hold the cassette for one process at a time; the lock file is in the system's temporary folder."""
    from filelock import FileLock

    name = hashlib.sha256(os.path.realpath(cassette).encode("utf-8", "surrogateescape")).hexdigest()[:40]
    folder = Path(tempfile.gettempdir()) / f"marketreplay-locks-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with FileLock(folder / f"{name}.lock"):
        yield


def staging(cassette: Path) -> Path:
    """Make a new hidden folder in a cassette for a recording that will replace files."""
    make_folder(cassette)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=cassette))


def finish(cassette: Path) -> None:
    """Carry out plans that a process left behind when it died."""
    try:
        left = [os.path.join(cassette, name) for name in os.listdir(cassette) if name.startswith(PREFIX)]
    except (FileNotFoundError, NotADirectoryError):
        return
    for path in left:
        if os.path.exists(os.path.join(path, _PLAN)):
            with locked(cassette):
                if os.path.exists(os.path.join(path, _PLAN)):
                    _carry_out(cassette, Path(path))


def commit(
    cassette: Path,
    staged: Path,
    replaced: dict[Place, set[Hashable]] | None,
    at_start: Iterable[str],
    key_of: Callable[[Place], Callable[[Head], Hashable]],
) -> None:
    """Put staged files in place of what they replace.

    `replaced` names the requests whose old answers go (mode `all`); None: the whole old recording goes (`rewrite`).
    Only files in `at_start` (relative paths) are old; what other tests recorded in this run stays.
    """
    with locked(cassette):
        moves: list[tuple[str, str]] = []
        removals: list[str] = []
        # a name of an old file is not given again in this run: the next test to replace would take it for the old one
        taken = {cassette / name for name in at_start}
        for file in files.all_files(staged):
            target = _free(cassette / file.relative_to(staged), taken)
            taken.add(target)
            moves.append((str(file.relative_to(staged)), str(target.relative_to(cassette))))
        for number, name in enumerate(sorted(at_start)):
            old = cassette / name
            if not old.exists():
                continue
            # a sealing that was interrupted leaves both; without the plain file the sealed one would count again
            twins = [name + end for end in files.SEALED if old.with_name(old.name + end).exists()]
            if replaced is None:
                removals += [name, *twins]
                continue
            place = Place(*Path(name).parts[:3])
            gone = replaced.get(place)
            kept = staged / f".kept-{number}"
            left = _without(old, gone, key_of(place), kept) if gone else None
            if left is None:
                continue
            if left:  # what stays is written plain, also where the old file was sealed
                moves.append((kept.name, name.removesuffix(old.suffix) if old.suffix in files.SEALED else name))
            removals += [name, *twins]
        targets = {target for _, target in moves}
        plan = {"moves": moves, "removals": [name for name in removals if name not in targets]}
        temporary = staged / f".{_PLAN}"
        with temporary.open("w", encoding="utf-8") as out:
            json.dump(plan, out)
            out.flush()
            os.fsync(out.fileno())
        temporary.rename(staged / _PLAN)
        _carry_out(cassette, staged)


def _without(old: Path, gone: set[Hashable], key_of: Callable[[Head], Hashable], out: Path) -> int | None:
    """Write a file without the answers to some requests; returns how many lines stay, None: all of them."""
    stay = dropped = 0
    if old.suffix not in files.SEALED:
        end_torn_line(old)  # the torn bytes are kept aside, in a file of their own
    connections: set[str] = set()
    with out.open("wb") as new:
        for line, head in reader.heads(old):
            if head.meta.dir is None:
                goes = key_of(head) in gone
            else:
                goes = _goes(line.data, connections, key_of, gone)
            if goes:
                dropped += 1
            else:
                new.write(line.data + b"\n")
                stay += 1
    if not dropped:
        out.unlink()
        return None
    return stay


def _goes(line: bytes, connections: set[str], key_of: Callable[[Head], Hashable], gone: set[Hashable]) -> bool:
    """Tell whether a frame goes: one of a connection whose `open` line is replaced; `connections` collects them."""
    try:
        frame = read_trusted_frame(line)
    except ValueError:  # no frame: what cannot be read is not thrown away
        return False
    if frame.meta.dir == "open":
        opening = Head(frame.timestamp, frame.endpoint, frame.params, frame.response, HeadMeta(method=WEBSOCKET))
        connections.discard(frame.meta.conn)
        if key_of(opening) in gone:
            connections.add(frame.meta.conn)
    return frame.meta.conn in connections


def _free(path: Path, taken: set[Path]) -> Path:
    """Return the first name `<start>.jsonl`, `<start>-1.jsonl`, ... that nobody has."""
    stem = re.sub(r"(T\d\d-\d\d-\d\d)-\d+$", r"\1", path.name.removesuffix(".jsonl"))
    number = 0
    while path in taken or any(path.with_name(path.name + end).exists() for end in ("", *files.SEALED)):
        number += 1
        path = path.with_name(f"{stem}-{number}.jsonl")
    return path


def drop(staged: Path, cassette: Path) -> None:
    """Remove a staged recording that will not be kept."""
    if staged.exists():  # a recording that was discarded has removed it with its last file
        shutil.rmtree(staged)
    prune(cassette, cassette)


def _carry_out(cassette: Path, staged: Path) -> None:
    plan = json.loads((staged / _PLAN).read_bytes())
    for source, target in plan["moves"]:
        if (staged / source).exists():  # a plan that was begun before has moved some
            make_folder((cassette / target).parent)
            os.replace(staged / source, cassette / target)
    for name in plan["removals"]:
        (cassette / name).unlink(missing_ok=True)
        prune((cassette / name).parent, cassette)
    shutil.rmtree(staged)
    prune(cassette, cassette)
