"""Measurements in fresh processes, interleaved over the tools, and their medians."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
Result = dict[str, Any]


def peak_mb() -> float:
    """Return this process's peak memory in MiB. VmHWM is its own; `ru_maxrss` would keep the parent's over a fork."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child: it measures the checkout that these files stand in."""
    path = os.pathsep.join(filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH"))))
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "PYTHONPATH": path, "PYTHONHASHSEED": "0", **(more or {})}


def child(script: str, order: Result, timeout: float = 300, more: dict[str, str] | None = None) -> Result:
    """Run a script of this folder in a fresh process; its last line of output is its result."""
    command = [sys.executable, str(HERE / script), json.dumps(order)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, env=environment(more), check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {timeout:.0f} s"}
    if done.returncode:
        said = [
            line for line in done.stderr.splitlines() if re.match(r"[\w.]+(Error|Exception|Exhausted|Request)\b", line)
        ]
        return {"error": said[-1][:160] if said else f"exit code {done.returncode}"}
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def rotated(items: list[Any], by: int) -> list[Any]:
    """Return the items, begun elsewhere: no tool is always the first or always after the same other one."""
    by %= max(1, len(items))
    return items[by:] + items[:by]


def median(results: list[Result]) -> Result:
    """Return the median of every number over repetitions, or the first error where all failed."""
    good = [result for result in results if "error" not in result]
    if not good:
        return results[0]
    out: Result = {"repetitions": len(good)}
    for name, value in good[0].items():
        values = [result[name] for result in good]
        out[name] = statistics.median(values) if isinstance(value, int | float) else value
    return out


def ratio(results: list[Result], others: list[Result], name: str) -> float | None:
    """Return the median of the ratios of what was measured side by side; None where a side has nothing.

    Pairs of one repetition ran one after the other: what the machine did meanwhile hits both.
    """
    pairs = [
        result[name] / other[name]
        for result, other in zip(results, others, strict=False)
        if "error" not in result and "error" not in other and other[name]
    ]
    return statistics.median(pairs) if pairs else None


def say(text: str) -> None:
    """Show on standard error what is being done; tables alone go to standard output."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)
