"""Settings: the modes, what a marker may say, and where cassettes are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from pytest_marketreplay.errors import UsageMistake

Mode = Literal["none", "once", "new_episodes", "all", "rewrite"]
Exhausted = Literal["error", "last", "loop"]
Unplayed = Literal["ignore", "warn", "fail"]

MODES: tuple[Mode, ...] = get_args(Mode)
EXHAUSTED: tuple[Exhausted, ...] = get_args(Exhausted)
UNPLAYED: tuple[Unplayed, ...] = get_args(Unplayed)

LOOPBACK = frozenset(
    ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "::1", "[::1]", "0.0.0.0", "::")
)


def one_of(what: str, value: object, allowed: tuple[str, ...]) -> str:
    """Return the value where it is allowed; raises UsageMistake that names what is."""
    if value not in allowed:
        raise UsageMistake(f"{what} is {value!r}; it can be {', '.join(allowed)}")
    return str(value)


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
        command: Callable[[], str] = str,
    ) -> Settings:
        """Check what a user gave; raises UsageMistake."""
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
            command=command,
        )
