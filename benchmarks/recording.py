"""The part that records: what is added to a live request of a 6.4 KB answer, what grows, and the save step."""

from __future__ import annotations

import tempfile
from pathlib import Path

import measure
from measure import Result
from peers import FLOOR, OURS, TOOLS
from server import Server
from tables import Table, Verdict

CLIENTS = ("requests", "aiohttp")


def recording(folder: Path, tools: list[str], quick: bool) -> tuple[list[Table], list[Verdict]]:
    """Measure recording against a loopback server."""
    times = 3 if quick else 5
    runs: dict[tuple[str, str], list[Result]] = {}
    with Server() as host:
        for repetition in range(times):
            for client in CLIENTS:
                for tool in measure.rotated(tools, repetition):
                    ours = tool in (OURS, FLOOR)
                    if client not in TOOLS[tool].clients or (not ours and repetition >= 1):
                        continue
                    measure.say(f"record {client} {tool} ({repetition + 1}/{times})")
                    with tempfile.TemporaryDirectory(dir=folder) as place:
                        order = {
                            "tool": tool, "client": client, "host": host, "folder": place,
                            "pairs": (4 if quick else 8) if ours else 2, "count": 300 if quick else 1000, "budget": 2 if quick else 5,
                        }  # fmt: skip
                        runs.setdefault((client, tool), []).append(measure.child("record.py", order, 120))
    tables, found = [], []
    for client in CLIENTS:
        rows = []
        for tool in tools:
            if (client, tool) not in runs:
                continue
            result = measure.median(runs[client, tool])
            if "error" in result:
                rows.append([tool, f"fails: {result['error'][:60]}", *[""] * 7])
                continue
            row = [result[name] for name in ("live_us", "recorded_us", "adds_us", "adds_cpu_us", "early_us", "late_us")]
            rows.append([tool, *row, result["save_ms"], f"{result['done']:.0f}", _readable(result["readable"])])
        columns = [
            "tool", "live us", "recorded us", "adds us", "of it CPU us", "early us", "late us", "save ms", "recorded",
            "of them readable (and the first)",
        ]  # fmt: skip
        note = (
            "Live and recorded in turn, 100 requests each, every time into a new cassette: `adds` is the difference. Early and "
            "late: the first and last requests of one long cassette (a peer that scans is stopped after some seconds)."
        )
        tables.append(Table(f"Recording, {client}: one response of 6.4 KB", columns, rows, note))
        ours_result = measure.median(runs[client, OURS])
        cpu = ours_result.get("adds_cpu_us")
        remark = f"(CPU {cpu:.0f} us)" if cpu is not None else ""
        found.append(
            Verdict(f"recording, {client}: adds to a response", ours_result.get("adds_us"), 60.0, "us", remark=remark)
        )
        found.append(
            Verdict(
                f"recording, {client}: save step", ours_result.get("save_ms"), 1.0, "ms", remark="(closing the files)"
            )
        )
    return tables, found


def _readable(value: object) -> str:
    return f"{value:.0f}" if isinstance(value, int | float) else str(value)
