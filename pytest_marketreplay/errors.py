"""The tree of all errors; each takes facts, keeps them as attributes and says what happened, where, and how to mend it.

MarketReplayError
├── UsageMistake                a user's mistake: pytest.UsageError in a test run, exit code 2 on the command line
│   ├── MissingExtra            an optional dependency is not installed
│   └── RestoreRefused          a restore would touch what stands there
├── CassetteError
│   ├── CassetteNotFound        a named cassette has no files
│   └── DamagedCassette         a line of a file is not an entry
├── MarketError                 what is recorded cannot be read as market data
│   ├── BookGap                 the diffs of an order book do not follow from what came before
│   └── UnreadablePayload       a payload is not in the shape that its venue documents
├── RecordingError              an answer could not be written
├── SinkError                   a sink could not store what was captured
├── DocumentError               a document and its backup cannot be read, or are of another kind
├── CollectError                a capture cannot start, or a session is not there
├── ArchiveError                a tree cannot be archived
│   └── DamagedArchive          an archive is not what its name, its directory and its manifest say
├── RemoteError                 a remote could not be asked, or did not do what it was asked for
├── Busy                        another process is at it: exit code 3 on the command line
└── ReplayError
    ├── UnrecordedRequest       no recorded answer fits
    │   └── RecordingExhausted  the recorded answers are all played
    ├── ClockStuck              everything waits, and nothing will happen on the recording's clock
    ├── StreamError             a WebSocket connection cannot go on
    │   ├── UnrecordedFrame     the client sent what is not in the recording
    │   ├── TapeEnded           the client waits for a frame, and the recording has no more
    │   └── StreamStalled       the recording waits for the client, and the client for the recording
    └── NetworkRefused          something beneath the supported clients reached for the network
"""

from __future__ import annotations

from pathlib import Path


class MarketReplayError(Exception):
    """Whatever this package raises on purpose."""


class UsageMistake(MarketReplayError):
    """A setting, name or argument that cannot be what was meant."""


class MissingExtra(UsageMistake):
    """An optional dependency is not installed."""

    def __init__(self, what: str, package: str) -> None:
        self.what, self.package = what, package
        super().__init__(f"{what} needs {package!r}, which is not installed: pip install {package}")


class CassetteError(MarketReplayError):
    """Something about a cassette's files."""


class CassetteNotFound(CassetteError):
    """A named cassette has no recorded files."""

    def __init__(self, path: Path, command: str = "") -> None:
        self.path, self.command = path, command
        cure = f" Record it: {command}" if command else ""
        super().__init__(f"the cassette {str(path)!r} has no recorded files.{cure}")


class DamagedCassette(CassetteError):
    """A line of a cassette file is not an entry (docs/reference/format.md, "Damage")."""

    def __init__(self, path: Path, line: int, byte: int, reason: str) -> None:
        self.path, self.line, self.byte, self.reason = path, line, byte, reason
        super().__init__(
            f"{path}, line {line}, byte {byte}: {reason}. "
            f"Nothing of this file is played. List all damage: marketreplay cassette check {path}; "
            f"keep what is good: marketreplay cassette repair {path}"
        )


class MarketError(MarketReplayError):
    """What is recorded cannot be read as market data."""


class BookGap(MarketError):
    """The diffs of an order book do not follow from what came before, or its checksum is not the venue's.

    `kind` is `chain` (update ids), `order` (an id that goes backwards), `checksum`, or `join` (no snapshot that the diffs
    follow); `expected` and `found` are the ids or checksums, `path` and `line` where it shows.
    """

    def __init__(
        self,
        venue: str,
        symbol: str,
        kind: str,
        expected: int | None,
        found: int | None,
        *,
        path: Path,
        line: int,
        time_ns: int,
    ) -> None:
        self.venue, self.symbol, self.kind = venue, symbol, kind
        self.expected, self.found = expected, found
        self.path, self.line, self.time_ns = path, line, time_ns
        what = {
            "chain": f"the update ids do not chain: {expected} was expected, and {found} came",
            "order": f"an update goes backwards: {expected} or later was expected, and {found} came",
            "checksum": f"the venue's checksum is {expected}, and that of the rebuilt book {found}",
            "join": f"there is no snapshot that the diffs follow, the first of which has the id {found}",
        }[kind]
        super().__init__(
            f"{path}, line {line}: the order book of {symbol} at {venue} cannot be rebuilt: {what}. "
            'With gaps="report" what can be rebuilt is, from the next snapshot on, and each gap is listed'
        )


class UnreadablePayload(MarketError):
    """A payload is not in the shape that its venue documents."""

    def __init__(self, path: Path, line: int, venue: str, endpoint: str, reason: str) -> None:
        self.path, self.line, self.venue, self.endpoint, self.reason = path, line, venue, endpoint, reason
        super().__init__(
            f"{path}, line {line}: the payload of {endpoint} is not what {venue} documents: {reason}. "
            'With damaged="skip" it is passed over and counted'
        )


class RecordingError(MarketReplayError):
    """An answer could not be written; the test must not pass as if it had been."""


class ReplayError(MarketReplayError):
    """The client asked for something that the cassette cannot give."""


class SinkError(MarketReplayError):
    """A sink could not store what was captured; the same items may be written again."""


class DocumentError(MarketReplayError):
    """A document cannot be read, and neither can its backup; or it is of another kind or a later version."""


class CollectError(MarketReplayError):
    """A capture cannot start or go on, or a session is not there."""


class RestoreRefused(UsageMistake):
    """A restore would touch what stands in its target."""

    def __init__(self, target: Path, reason: str, cure: str) -> None:
        self.target, self.reason = target, reason
        super().__init__(f"nothing is restored to {target}: {reason}. {cure}")


class ArchiveError(MarketReplayError):
    """A tree cannot be archived, or an archive cannot be read."""


class DamagedArchive(ArchiveError):
    """An archive is not what its name, its directory and its manifest say; nothing of it is used."""

    def __init__(self, archive: str, reason: str, member: str = "") -> None:
        self.archive, self.reason, self.member = archive, reason, member
        where = f", member {member!r}" if member else ""
        super().__init__(f"{archive}{where}: {reason}. Nothing of this archive is used; take another snapshot")


class RemoteError(MarketReplayError):
    """A remote could not be asked, or did not do what it was asked for.

    `kind` is `down`, `auth`, `missing`, `full`, `timeout`, `taken` (a name is there already), `lost` (what was uploaded is
    not there, or not what was sent) or `other`.
    """

    def __init__(self, remote: str, doing: str, kind: str, reason: str, cure: str) -> None:
        self.remote, self.doing, self.kind, self.reason = remote, doing, kind, reason
        super().__init__(f"{remote}: {doing}: {reason}. {cure}")


class Busy(MarketReplayError):
    """Another process is at it."""


class UnrecordedRequest(ReplayError):
    """No recorded answer fits the request; `str()` tells the nearest ones. Secrets never stand in it."""

    def __init__(self, asked: str, explanation: str) -> None:
        self.asked, self.explanation = asked, explanation
        super().__init__(f"no recorded answer for {asked}\n{explanation}")


class RecordingExhausted(UnrecordedRequest):
    """Every recorded answer to this request has been played (`exhausted="last"` or `"loop"` go on)."""


class NetworkRefused(ReplayError):
    """A library reached for the network while a cassette that does not record was in play."""

    def __init__(self, what: str, test: str, explanation: str) -> None:
        self.what, self.test, self.explanation = what, test, explanation
        super().__init__(f"{what} was refused: {test} replays and nothing may reach the network\n{explanation}")


class ClockStuck(ReplayError):
    """A test with the recording's clock waits for what will never happen."""

    def __init__(self, waiting: list[str], seconds: float = 0.0) -> None:
        """`waiting` names the tasks that wait, and where; `seconds` is how far the clock ran with nothing played."""
        self.waiting, self.seconds = waiting, seconds
        why = "no timer is set, nothing more is played, and no thread works for the loop"
        if seconds:
            why = f"only timers fire: the clock ran on by {seconds:.0f} s, and nothing was played meanwhile"
        tasks = "\n".join(f"  {task}" for task in waiting)
        super().__init__(f"the test waits for what will not happen: {why}. These tasks wait:\n{tasks}")


class StreamError(ReplayError):
    """A WebSocket connection that is replayed cannot go on; `url` and `cassette` say which."""

    def __init__(self, url: str, cassette: str, explanation: str) -> None:
        self.url, self.cassette, self.explanation = url, cassette, explanation
        super().__init__(f"{self.what} on {url}\n{explanation}\ncassette: {cassette}")

    what = "the replay cannot go on"


class UnrecordedFrame(StreamError):
    """The client sent a message that the recorded connection does not hold. Secrets never stand in it."""

    what = "the client sent what is not in the recording,"


class TapeEnded(StreamError):
    """The client waits for another frame, and everything that was recorded has been played."""

    what = "the recording has ended, and the client still waits for a frame"


class StreamStalled(StreamError):
    """The next recorded frame answers something that the client has not sent, and the client waits for a frame."""

    what = "the client waits for a frame, and the recording for the client,"
