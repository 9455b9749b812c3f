"""Importing cassettes of vcrpy, pytest-recording and pytest-vcr: exact bodies, the same redaction as a live recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pytest_marketreplay.bridge import sources as sources_
from pytest_marketreplay.bridge.interaction import interaction_of
from pytest_marketreplay.bridge.sources import Skipped, Unusable
from pytest_marketreplay.bridge.writing import Told, Writer, tell, times
from pytest_marketreplay.cassette import files
from pytest_marketreplay.cassette.writer import Recording
from pytest_marketreplay.errors import CassetteError, UsageMistake
from pytest_marketreplay.replay import replace
from pytest_marketreplay.venues.registry import Registry

_SHOWN = 5


@dataclass(frozen=True)
class ImportReport:
    """What an import did; nothing is left out in silence."""

    files: int
    """Cassettes that were read."""
    entries: int
    """Interactions that were written."""
    redacted: int
    """Entries of which a secret was removed: of the request's headers and parameters, or of the answer."""
    left_encoded: int
    """Entries whose body stays compressed, because it is cut off, or nothing installed undoes it; clients still can."""
    skipped: tuple[Skipped, ...]
    """Files and interactions that were not imported, and why."""
    others: tuple[Path, ...]
    """Files in the source folders that are not named like a cassette, and were not read."""

    def __str__(self) -> str:
        """Tell it in a few lines for people."""
        lines = [
            f"{self.entries} entries imported from {self.files} cassettes; secrets were removed from {self.redacted}"
        ]
        if self.left_encoded:
            lines.append(
                f"{self.left_encoded} bodies stay compressed: they are cut off, or nothing installed undoes them"
            )
        if self.others:
            lines.append(f"{len(self.others)} files are not named like a cassette and were not read")
        if self.skipped:
            lines.append(f"{len(self.skipped)} could not be imported:")
        return "\n".join([*lines, *map(_told, self.skipped)])


def _told(item: Skipped) -> str:
    return f"  {item.path}{f', interaction {item.interaction}' if item.interaction else ''}: {item.reason}"


class NothingImported(CassetteError):
    """None of the sources holds anything that could be imported."""

    def __init__(self, skipped: Iterable[Skipped]) -> None:
        self.skipped = tuple(skipped)
        lines = [_told(item) for item in self.skipped[:_SHOWN]]
        if len(self.skipped) > _SHOWN:
            lines.append(f"  ... and {len(self.skipped) - _SHOWN} more")
        super().__init__("\n".join(["nothing could be imported:", *(lines or ["  there is no cassette"])]))


def import_cassettes(
    sources: Iterable[Path],
    to: Path,
    *,
    registry: Registry | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    add: bool = False,
) -> ImportReport:
    """Write what vcrpy recorded into one cassette of ours.

    `sources` are files or folders (see `sources.find`), `to` is the cassette's folder. Equal requests keep their order,
    within a file and from file to file. An entry's time is what the answer's `Date` says, else when the file was
    saved; it is always later than that of the entry before, by a millisecond where nothing else is known. Files of
    vcrpy's are read as data only: a tag that would make another object is refused.

    `on_progress` is told how many of how many files are done. `add=True` writes beside what the cassette holds.
    Raises UsageMistake where a source does not exist or the cassette has files, NothingImported, RecordingError; what
    was written is taken back then.
    """
    to = Path(to)
    replace.finish(to)
    if not add and files.exists(to):
        raise UsageMistake(
            f"the cassette {str(to)!r} has recorded files already: import into another one, or add to it "
            "(add=True, on the command line --add)"
        )
    paths, others = sources_.find(sources)
    skipped: list[Skipped] = []
    registry = registry or Registry()
    recording = Recording(to)
    read = redacted = left_encoded = 0
    try:
        for number, path in enumerate(paths):
            if on_progress is not None:
                on_progress(number, len(paths))
            try:
                raws = sources_.read(path)
            except (Unusable, OSError) as error:
                skipped.append(Skipped(path, None, str(error)))
                continue
            read += 1
            told: list[Told] = []
            for count, raw in enumerate(raws, 1):
                try:
                    told.append(tell(interaction_of(raw), registry))
                except Unusable as error:
                    skipped.append(Skipped(path, count, str(error)))
            writer = Writer(told)
            saved_ms = path.stat().st_mtime_ns // 1_000_000
            for one, timestamp_ms in zip(
                told, times([one.interaction.moment_ms for one in told], saved_ms), strict=True
            ):
                written = writer.write(one, timestamp_ms)
                recording.append(written.place, written.line)
                redacted += written.redacted
                left_encoded += one.interaction.left_encoded is not None
        if on_progress is not None:
            on_progress(len(paths), len(paths))
        entries = sum(recording.written.values())
        if not entries and (skipped or not paths):
            raise NothingImported(skipped)
    except BaseException:
        recording.discard()
        raise
    recording.close()
    return ImportReport(read, entries, redacted, left_encoded, tuple(skipped), tuple(others))
