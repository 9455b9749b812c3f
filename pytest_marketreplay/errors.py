"""The tree of all errors; each takes facts, keeps them as attributes and says what happened, where, and how to mend it.

MarketReplayError
├── UsageMistake                a user's mistake: pytest.UsageError in a test run, exit code 2 on the command line
│   └── MissingExtra            an optional dependency is not installed
├── CassetteError
│   ├── CassetteNotFound        a named cassette has no files
│   └── DamagedCassette         a line of a file is not an entry
├── RecordingError              an answer could not be written
└── ReplayError
    ├── UnrecordedRequest       no recorded answer fits
    │   └── RecordingExhausted  the recorded answers are all played
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


class RecordingError(MarketReplayError):
    """An answer could not be written; the test must not pass as if it had been."""


class ReplayError(MarketReplayError):
    """The client asked for something that the cassette cannot give."""


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
