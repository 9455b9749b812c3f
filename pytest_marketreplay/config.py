"""Settings: the modes, what a marker may say, and where cassettes are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast, get_args

from pytest_marketreplay.errors import UsageMistake

Mode = Literal["none", "once", "new_episodes", "all", "rewrite"]
Exhausted = Literal["error", "last", "loop"]
Unplayed = Literal["ignore", "warn", "fail"]
Clock = Literal["system", "recording"]
Order = Literal["sequence", "time"]
EndOfTape = Literal["error", "close", "loop"]

MODES: tuple[Mode, ...] = get_args(Mode)
EXHAUSTED: tuple[Exhausted, ...] = get_args(Exhausted)
UNPLAYED: tuple[Unplayed, ...] = get_args(Unplayed)
CLOCKS: tuple[Clock, ...] = get_args(Clock)
ORDERS: tuple[Order, ...] = get_args(Order)
ENDS: tuple[EndOfTape, ...] = get_args(EndOfTape)
PACES = ("virtual", "realtime", "step")
PATIENCE_S = 0.7

Moment = datetime | str | int | float
"""A `datetime` or ISO 8601 text (without a zone: UTC), or Unix epoch in milliseconds."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LOOPBACK = frozenset(
    ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "::1", "[::1]", "0.0.0.0", "::")
)


def one_of(what: str, value: object, allowed: tuple[str, ...]) -> str:
    """Return the value where it is allowed; raises UsageMistake that names what is."""
    if value not in allowed:
        raise UsageMistake(f"{what} is {value!r}; it can be {', '.join(allowed)}")
    return str(value)


def _is_above_0(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def parse_hosts(lines: Iterable[str]) -> dict[str, str]:
    """Read `marketreplay_hosts`: lines `127.0.0.1:8080 = binance`. Raises UsageMistake."""
    out = {}
    for line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        host, equals, venue = (part.strip() for part in text.rpartition("="))
        if not equals or not host or not venue:
            raise UsageMistake(f"marketreplay_hosts: {line!r} is not 'host = venue', as in '127.0.0.1:8080 = binance'")
        out[host.lower()] = venue
    return out


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address, without its port, is this machine's loopback."""
    name = host.lower().rstrip(".")
    if name in LOOPBACK or name.endswith(".localhost"):
        return True
    parts = name.split(".")
    return len(parts) == 4 and parts[0] == "127" and all(part.isdigit() for part in parts)


def moment_ns(value: Moment, what: str = "time") -> int:
    """Return a time as Unix epoch in nanoseconds. Raises UsageMistake for what is no time."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise UsageMistake(f"{what} is {value!r}; it can be an ISO time such as '2025-10-02T10:00:00Z'") from None
    if isinstance(value, datetime):
        delta = (value if value.tzinfo else value.replace(tzinfo=UTC)) - _EPOCH
        return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * 1000
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageMistake(f"{what} is {value!r}; it can be a datetime, an ISO text, or milliseconds since 1970")
    if isinstance(value, float):
        if not value == value or abs(value) > 1e16:
            raise UsageMistake(f"{what} is {value!r}; it can be milliseconds since 1970")
        return round(value * 1_000_000)
    return value * 1_000_000


@dataclass(frozen=True)
class Settings:
    """How one session matches and plays."""

    mode: Mode = "none"
    exhausted: Exhausted = "error"
    unplayed: Unplayed = "ignore"
    ignore_params: frozenset[str] = frozenset()
    """Lower-case names that are left out of a match, on top of the venue's."""
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Host or pattern -> venue."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts (or patterns) that stay open and are neither recorded nor replayed."""
    reference: Path | None = None
    """The shared layer of reference data."""
    clock: Clock = "system"
    """`recording`: wall clock and asyncio clock tell the recording's time."""
    order: Order = "sequence"
    """`time`: REST answers are the newest recorded not later than the clock's now."""
    pace: str | float = "virtual"
    """How frames come: `virtual`, `realtime`, `step`, or a factor of real time."""
    end_of_tape: EndOfTape = "error"
    """What comes after a connection's last recorded frame."""
    patience: float = PATIENCE_S
    """Real seconds in which nothing happens before a client that waits for a frame gets its verdict."""
    max_frames: int | None = None
    """After how many frames of a connection its recording stops."""
    max_seconds: float | None = None
    max_bytes: int | None = None
    command: Callable[[], str] = str
    """Tells what would record an unrecorded request, up to the mode: `pytest tests/test_a.py::test_b --record-mode=`."""

    @classmethod
    def of(
        cls,
        *,
        mode: str = "none",
        exhausted: str = "error",
        unplayed: str = "ignore",
        ignore_params: Iterable[str] = (),
        hosts: Mapping[str, str] | None = None,
        allow_hosts: Iterable[str] = (),
        reference: Path | None = None,
        clock: str = "system",
        order: str = "sequence",
        pace: str | float = "virtual",
        end_of_tape: str = "error",
        patience: float = PATIENCE_S,
        max_frames: int | None = None,
        max_seconds: float | None = None,
        max_bytes: int | None = None,
        command: Callable[[], str] = str,
    ) -> Settings:
        """Check what a user gave; raises UsageMistake."""
        one_of("clock", clock, CLOCKS)
        if order == "time" and clock != "recording":
            raise UsageMistake('order="time" plays by the clock of the recording: give clock="recording" too')
        if isinstance(pace, str | bool):
            one_of("pace", pace, PACES)
        elif not _is_above_0(pace):
            raise UsageMistake(f"pace is {pace!r}; a factor of real time is above 0, and it can be {', '.join(PACES)}")
        if clock == "recording" and pace not in ("virtual", "step"):
            raise UsageMistake(f'pace={pace!r} is real time, which clock="recording" does not wait for; leave one out')
        for name, limit in (("max_frames", max_frames), ("max_seconds", max_seconds), ("max_bytes", max_bytes)):
            if limit is not None and not _is_above_0(limit):
                raise UsageMistake(f"{name} is {limit!r}; a limit is above 0")
        if not _is_above_0(patience):
            raise UsageMistake(f"patience is {patience!r}; it is a number of seconds above 0")
        if isinstance(ignore_params, str):
            raise UsageMistake(f"ignore_params is the text {ignore_params!r}; give a tuple: ({ignore_params!r},)")
        return cls(
            mode=cast(Mode, one_of("the record mode", mode, MODES)),
            exhausted=cast(Exhausted, one_of("exhausted", exhausted, EXHAUSTED)),
            unplayed=cast(Unplayed, one_of("unplayed", unplayed, UNPLAYED)),
            ignore_params=frozenset(name.lower() for name in ignore_params),
            hosts={host.lower(): venue for host, venue in (hosts or {}).items()},
            allow_hosts=tuple(host.lower() for host in allow_hosts),
            reference=reference,
            clock=cast(Clock, clock),
            order=cast(Order, one_of("order", order, ORDERS)),
            pace=pace,
            end_of_tape=cast(EndOfTape, one_of("end_of_tape", end_of_tape, ENDS)),
            patience=patience,
            max_frames=max_frames,
            max_seconds=max_seconds,
            max_bytes=max_bytes,
            command=command,
        )


class Table(NamedTuple):
    """A table of a configuration file."""

    file: Path
    name: str
    """As it stands in the file, `tool.marketreplay.collect`."""
    values: dict[str, Any]


def find_table(path: Path | None, folder: Path, table: str) -> Table | None:
    """Return the settings of a command in a configuration file; None where there are none.

    Without a path, the table of that name in the folder's `marketreplay.toml`, then `tool.marketreplay.<table>` in its
    `pyproject.toml`. Raises UsageMistake for a file that cannot be read, and for one that is named and has none.
    """
    import tomllib  # nobody but the command line needs it

    for file in [path] if path is not None else [folder / "marketreplay.toml", folder / "pyproject.toml"]:
        try:
            whole: Any = tomllib.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            if path is not None:
                raise UsageMistake(f"--config {file}: there is no such file") from None
            continue
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageMistake(f"{file} cannot be read: {error}") from error
        names = ("tool", "marketreplay", table) if file.name == "pyproject.toml" else (table,)
        for name in names:
            whole = whole.get(name) if isinstance(whole, dict) else None
        full = ".".join(names)
        if whole is not None:
            if not isinstance(whole, dict):
                raise UsageMistake(f"{file}: {full} is not a table")
            return Table(file, full, whole)
        if path is not None:
            raise UsageMistake(f"{file} has no table [{full}]")
    return None
