"""What an examination says as metrics, in a file for the node exporter's textfile collector."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from pytest_marketreplay.doctor.codes import CODES
from pytest_marketreplay.doctor.health import Health
from pytest_marketreplay.errors import MarketReplayError, UsageMistake

MODE = 0o644
"""The exporter is another user; no more is in the file than names and numbers."""


def exposition(health: Health) -> str:
    """Return Prometheus' text format. Every code has a sample, 0 where nothing was found, so that alerts can rely on it."""
    return "\n".join(_lines(health)) + "\n"


def _lines(health: Health) -> Iterator[str]:
    yield from _family("marketreplay_doctor_findings", "Findings of the last examination.")
    for code, (severities, _) in CODES.items():
        for severity in severities:
            count = health.counts.get(code, {}).get(severity, 0)
            yield f'marketreplay_doctor_findings{{severity="{severity}",code="{code}"}} {count}'
    yield from _family("marketreplay_doctor_last_run_timestamp_seconds", "When the last examination began.")
    yield f"marketreplay_doctor_last_run_timestamp_seconds {health.time_ms / 1000:.3f}"
    trees = [(_quoted(tree.path), tree) for tree in health.trees]
    for name, what, values in (
        ("newest_entry_timestamp_seconds", "Time of the newest entry.", [(p, _s(t.newest_ms)) for p, t in trees]),
        ("tree_size_bytes", "What a tree takes on the disk.", [(p, str(t.size_bytes)) for p, t in trees]),
        ("disk_free_bytes", "What is free on the disk of a tree.", [(p, str(t.free_bytes)) for p, t in trees]),
        ("tree_growth_bytes_per_day", "How a tree grows.", [(p, f"{t.growth_bytes_per_day:.0f}") for p, t in trees]),
    ):
        if shown := [(path, value) for path, value in values if value]:
            yield from _family(f"marketreplay_doctor_{name}", what)
            for path, value in shown:
                yield f'marketreplay_doctor_{name}{{tree="{path}"}} {value}'


def _family(name: str, what: str) -> Iterator[str]:
    yield f"# HELP {name} {what}"
    yield f"# TYPE {name} gauge"


def _s(time_ms: int | None) -> str:
    return "" if time_ms is None else f"{time_ms / 1000:.3f}"


def _quoted(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def write(health: Health, path: Path) -> None:
    """Replace a file of metrics whole, as the exporter may read it at any moment. Raises UsageMistake, MarketReplayError."""
    if path.suffix != ".prom":
        raise UsageMistake(f"--metrics-file is {path}; the exporter reads files that end in .prom")
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        try:
            fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
            with open(fd, "w", encoding="utf-8") as file:
                os.fchmod(fd, MODE)
                file.write(exposition(health))
            os.rename(aside, path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise MarketReplayError(f"the metrics cannot be written to {path}: {error}") from error
