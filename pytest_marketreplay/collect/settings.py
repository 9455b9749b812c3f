"""What a capture is told to do: flags and a configuration file of the same names, checked."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from pytest_marketreplay.collect import durations, sessions
from pytest_marketreplay.config import Table, find_table
from pytest_marketreplay.documents import default_state_dir
from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.venues.registry import Registry

FEEDS = ("poll", "stream")
SEALS = ("zst", "gz")
SEVERAL = ("venue", "pairs", "storage", "to", "base-url")
"""Settings that can be given several times."""
KEYS = (
    *SEVERAL,
    "interval",
    "duration",
    "feed",
    "metrics-port",
    "metrics-host",
    "retain",
    "rotate-entries",
    "rotate-size",
    "rotate-hours",
    "seal",
    "session-id",
    "state-dir",
)


class CollectSettings(msgspec.Struct, frozen=True):
    """A capture, ready to run."""

    pairs: dict[str, list[str]]
    """By venue."""
    session_id: str
    state_dir: str
    storage: list[str] = msgspec.field(default_factory=lambda: ["local"])
    to: dict[str, str] = {}
    """Folder or URL, by sink."""
    interval_s: float = 1.0
    duration_s: float | None = None
    feed: str = "poll"
    base_urls: dict[str, str] = {}
    """By venue, without a slash at the end."""
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    retain_s: float | None = None
    rotate_entries: int | None = None
    rotate_bytes: int | None = None
    rotate_s: float | None = None
    seal: str | None = None


def _nearest(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    close = difflib.get_close_matches(name, known, 1, 0.5)
    return f"the nearest is {close[0]!r}" if close else f"there are {', '.join(known)}"


def read_file(path: Path | None, folder: Path) -> dict[str, Any]:
    """Return the settings of a configuration file, by the names of the flags; `{}` where there is none.

    Without a path, `marketreplay.toml` of the folder (its table `collect`), then its `pyproject.toml` (the table
    `tool.marketreplay.collect`). Raises UsageMistake for a file that cannot be read and for unknown keys.
    """
    found = find_table(path, folder, "collect")
    return {} if found is None else _checked(found)


def _checked(table: Table) -> dict[str, Any]:
    file = table.file
    out: dict[str, Any] = {}
    for key, value in table.values.items():
        name = key.replace("_", "-")
        if name not in KEYS:
            raise UsageMistake(f"{file}: [{table.name}] has the unknown key {key!r}; {_nearest(name, KEYS)}")
        out[name] = _several(file, key, value) if name in SEVERAL else _single(file, key, value)
    return out


def _several(file: Path, key: str, value: object) -> list[str]:
    """Return one text or many; a table means `name=value`, as the flag does."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [f"{name}={','.join(each) if isinstance(each, list) else each}" for name, each in value.items()]
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    raise UsageMistake(f"{file}: {key} = {value!r} is neither a text, a list of texts nor a table")


def _single(file: Path, key: str, value: object) -> str | int | float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageMistake(f"{file}: {key} = {value!r} is neither a text nor a number")
    return value


def make(given: Mapping[str, Any]) -> CollectSettings:
    """Check settings by the names of the flags, texts or numbers, and return them. Raises UsageMistake."""
    pairs = _pairs(given.get("venue", ()), given.get("pairs", ()))
    state_dir = Path(given["state-dir"]) if given.get("state-dir") else default_state_dir()
    storage = list(dict.fromkeys(given.get("storage") or ["local"]))
    wanted = given.get("session-id")
    retain = given.get("retain")
    duration, size, hours = given.get("duration"), given.get("rotate-size"), given.get("rotate-hours")
    return CollectSettings(
        pairs=pairs,
        session_id=sessions.check_id(str(wanted))
        if wanted
        else sessions.free_id(state_dir, sessions.default_id(pairs)),
        state_dir=str(state_dir.absolute()),
        storage=storage,
        to=_targets(storage, given.get("to", ())),
        interval_s=_number("--interval", given.get("interval", 1.0)),
        duration_s=None if duration is None else durations.seconds(str(duration), "--duration"),
        feed=_one_of("--feed", given.get("feed", "poll"), FEEDS),
        base_urls=_base_urls(given.get("base-url", ()), pairs),
        metrics_port=None if given.get("metrics-port") is None else _port(given["metrics-port"]),
        metrics_host=str(given.get("metrics-host") or "127.0.0.1"),
        retain_s=None if retain is None else durations.seconds(str(retain), "--retain"),
        rotate_entries=_count("--rotate-entries", given.get("rotate-entries")),
        rotate_bytes=None if size is None else durations.size_bytes(str(size), "--rotate-size"),
        rotate_s=None if hours is None else _number("--rotate-hours", hours) * 3600,
        seal=None if given.get("seal") is None else _one_of("--seal", given["seal"], SEALS),
    )


def split_pairs(text: str) -> list[str]:
    """Return the pairs of `BTC-USDT,ETH-USDT`. Raises UsageMistake for what is no pair."""
    out = [each.strip() for each in text.split(",") if each.strip()]
    for pair in out:
        base, dash, quote = pair.partition("-")
        if not (dash and base.isalnum() and quote.isalnum()):
            raise UsageMistake(f"--pairs has {pair!r}; a pair is written BASE-QUOTE, as in BTC-USDT")
    return [pair.upper() for pair in out]


def known_venue(name: str) -> str:
    """Return a venue's name where it is known. Raises UsageMistake that tells the nearest."""
    known = Registry().venues
    if name not in known:
        raise UsageMistake(f"the venue {name!r} is unknown; {_nearest(name, known)}")
    return name


def _pairs(venues: Sequence[str], given: Sequence[str]) -> dict[str, list[str]]:
    """Join `--venue` and `--pairs`: pairs without a venue are for every venue that has none of its own."""
    common: list[str] = []
    own: dict[str, list[str]] = {}
    for text in given:
        venue, equals, rest = text.rpartition("=")
        (own.setdefault(venue.strip().lower(), []) if equals else common).extend(split_pairs(rest))
    names = list(dict.fromkeys([*(venue.strip().lower() for venue in venues), *own]))
    if not names:
        raise UsageMistake("no venue is given: --venue binance --pairs BTC-USDT, or in the configuration file")
    out = {}
    for name in names:
        out[known_venue(name)] = list(dict.fromkeys(own.get(name) or common))
        if not out[name]:
            raise UsageMistake(f"no pairs are given for {name}: --pairs BTC-USDT,ETH-USDT, or --pairs {name}=BTC-USDT")
    return out


def _targets(storage: Sequence[str], given: Iterable[str]) -> dict[str, str]:
    """Return where each sink writes: `captures`, or `captures-parquet`; what `--to` says for all, or for one by its name."""
    out = {name: "captures" if name == "local" else f"captures-{name}" for name in storage}
    for text in given:
        name, equals, target = text.partition("=")
        if equals and name not in storage:
            raise UsageMistake(f"--to names {name!r}, which is no sink of this capture; {_nearest(name, storage)}")
        out |= {name: target} if equals else dict.fromkeys(storage, text)
    whole = {name: to if "://" in to else str(Path(to).absolute()) for name, to in out.items()}
    if len(set(whole.values())) < len(whole):
        raise UsageMistake(f"several sinks cannot write to one place; say --to {storage[-1]}=ANOTHER")
    return whole


def _base_urls(given: Iterable[str], pairs: Mapping[str, object]) -> dict[str, str]:
    out = {}
    for text in given:
        venue, equals, url = (part.strip() for part in text.partition("="))
        parts = urlsplit(url)
        if not equals or parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageMistake(f"--base-url is {text!r}; it can be binance=http://127.0.0.1:8080")
        if venue not in pairs:
            raise UsageMistake(f"--base-url names {venue!r}, which is not captured; {_nearest(venue, pairs)}")
        out[venue] = url.rstrip("/")
    return out


def _number(what: str, value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        raise UsageMistake(f"{what} is {value!r}; it is a number, without a unit") from None
    if not 0 < number < float("inf"):
        raise UsageMistake(f"{what} is {value!r}; it must be above 0")
    return number


def _count(what: str, value: object) -> int | None:
    if value is None:
        return None
    if not str(value).isdigit() or int(str(value)) < 1:
        raise UsageMistake(f"{what} is {value!r}; it is a whole number from 1 up")
    return int(str(value))


def _port(value: object) -> int:
    if not str(value).isdigit() or int(str(value)) > 65_535:
        raise UsageMistake(f"--metrics-port is {value!r}; a port is 0 (any free one) to 65535")
    return int(str(value))


def _one_of(what: str, value: object, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise UsageMistake(f"{what} is {value!r}; it can be {', '.join(allowed)}")
    return str(value)
