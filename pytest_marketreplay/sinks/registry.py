"""Sinks by name: those of this package, and those that other packages add by an entry point.

A package adds a sink in the entry-point group `marketreplay_sinks`: the name is what `--storage` says, the object is called
with the options (a mapping, see `OPTIONS`) and returns a `Sink`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, cast

from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.sinks.items import Sink

GROUP = "marketreplay_sinks"
OPTIONS = {
    "to": "folder or URL that the capture goes to",
    "rotate_entries": "entries after which a file is closed, or None",
    "rotate_bytes": "bytes after which a file is closed, or None",
    "rotate_s": "seconds after which a file is closed, or None",
    "seal": "`zst`, `gz` or None",
    "retain_s": "seconds for which files are kept, or None for ever",
    "wal": "folder of the log of a sink that has one, or None for its own choice",
    "decimals": "whether Parquet holds decimal128(38, 18) instead of strings",
    "durability": "`kill` (in the kernel) or `fsync` (on the disk)",
    "meter": "a `pytest_marketreplay.metrics.Meter` that closed files and what is read back are told to, or None",
}
"""What every maker of sinks is given; a key that a sink has no use for is not an error."""

Options = Mapping[str, Any]


def make(name: str, options: Options) -> Sink:
    """Make the sink that `--storage` names; nothing is opened yet. `s3://...` as the name is the sink `s3` to there.

    Raises UsageMistake for a name that no sink has, MissingExtra.
    """
    if name.startswith("s3://"):
        name, options = "s3", {**options, "to": name}
    maker = _BUILT_IN.get(name) or _added(name)
    if maker is None:
        raise UsageMistake(f"no sink is called {name!r}; there are {', '.join(known())}")
    return maker(options)


def known() -> list[str]:
    """Return the names of all sinks that are installed, sorted."""
    return sorted({*_BUILT_IN, *(each.name for each in entry_points(group=GROUP))})


def _added(name: str) -> Callable[[Options], Sink] | None:
    for point in entry_points(group=GROUP, name=name):
        return cast("Callable[[Options], Sink]", point.load())
    return None


def _local(options: Options) -> Sink:
    from pytest_marketreplay.sinks.local import LocalSink, Rotation

    seconds = options.get("rotate_s")
    default = Rotation()
    return LocalSink(
        options["to"],
        rotation=Rotation(
            options.get("rotate_entries"),
            options.get("rotate_bytes") or default.max_bytes,
            default.hours if seconds is None else seconds / 3600,
        ),
        seal=options.get("seal"),
        retain_s=options.get("retain_s"),
        durability=options.get("durability") or "kill",
        meter=options.get("meter"),
    )


def _parquet(options: Options) -> Sink:
    from pytest_marketreplay.sinks.parquet import ParquetSink

    return ParquetSink(options["to"], **_parquet_options(options))


def _s3(options: Options) -> Sink:
    from pytest_marketreplay.sinks.parquet import S3Sink

    if not str(options["to"]).startswith("s3://"):
        raise UsageMistake(f"the sink 's3' writes to s3://bucket/prefix, not to {str(options['to'])!r}")
    return S3Sink(options["to"], **_parquet_options(options))


def _parquet_options(options: Options) -> dict[str, Any]:
    keys = ("rotate_entries", "rotate_s", "wal", "decimals", "meter")
    return {key: options[key] for key in keys if options.get(key) is not None}


_BUILT_IN: dict[str, Callable[[Options], Sink]] = {"local": _local, "parquet": _parquet, "s3": _s3}
