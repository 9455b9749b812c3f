"""The part about WebSocket: frames per second through the clients, beside a bare loopback server and cassetter; loading."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import measure
from measure import Result
from peers import OURS
from tables import Table, Verdict

BARE = "bare loopback server"
CLOCKED = f"{OURS}, recording clock"
PEER = "cassetter"
GOALS = {"aiohttp": 100_000.0, "websockets": 60_000.0}
_PEER_FRAMES = 10_000
"""cassetter cannot load more than some 10,800 frames (a limit of nodes in its YAML reader)."""


@contextmanager
def _server() -> Iterator[int]:
    command = [sys.executable, str(measure.HERE / "frames.py"), json.dumps({"do": "serve"})]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=measure.environment()) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield int(process.stdout.readline())
        process.stdin.close()


def streaming(folder: Path, quick: bool) -> tuple[list[Table], list[Verdict]]:
    """Measure the replay of WebSocket frames."""
    count, long, times = (20_000, 200_000, 3) if quick else (100_000, 1_000_000, 5)
    cassette, longer = folder / "frames", folder / "frames-long"
    size = measure.child("frames.py", {"do": "write", "folder": str(cassette), "count": count})
    measure.child("frames.py", {"do": "write", "folder": str(longer), "count": long})
    runs: dict[tuple[str, str], list[Result]] = {}
    with _server() as port:
        for repetition in range(times):
            for library in GOALS:
                tools = [OURS, CLOCKED, BARE]
                if library == "websockets" and find_spec("cassetter") is not None:
                    tools.append(PEER)
                for tool in measure.rotated(tools, repetition):
                    measure.say(f"frames {library} {tool} ({repetition + 1}/{times})")
                    order = {
                        "do": "play", "library": library, "tool": tool, "port": port, "folder": str(cassette),
                        "count": min(count, _PEER_FRAMES) if tool == PEER else count,
                    }  # fmt: skip
                    if tool == PEER:
                        order["folder"] = str(folder)
                    runs.setdefault((library, tool), []).append(measure.child("frames.py", order))
    tables, found = [], []
    for library, goal in GOALS.items():
        rows = []
        for (of, tool), results in runs.items():
            if of != library:
                continue
            result = measure.median(results)
            if "error" in result:
                rows.append([tool, f"fails: {result['error'][:60]}", "", "", "", ""])
                continue
            beside = measure.ratio(results, runs[library, BARE], "frames_per_s")
            rows.append(
                [
                    tool,
                    result["frames_per_s"],
                    result["with_load_per_s"],
                    result["first_ms"],
                    beside,
                    f"{result['wrong']:.0f}",
                ]
            )
        columns = ["tool", "frames/s", "with loading, frames/s", "first frame after ms", f"x {BARE}", "wrong frames"]
        note = f"{count:,} frames of 230 bytes received one by one ({min(count, _PEER_FRAMES):,} with {PEER}); every frame is compared."
        tables.append(Table(f"WebSocket replay, {library}", columns, rows, note))
        ours = measure.median(runs[library, OURS])
        found.append(Verdict(f"frames, {library}", ours.get("frames_per_s"), goal, "frames/s", at_least=True))
    loads = [measure.child("frames.py", {"do": "load", "folder": str(longer)}) for _ in range(times)]
    loaded = measure.median(loads)
    if "error" in loaded:
        tables.append(Table("Loading frames", ["fails"], [[loaded["error"]]]))
        return tables, found
    names = ("frames", "load_s", "read_us", "load_adds_mb", "all_adds_mb")
    columns = ["frames", "load s", "reading, us a frame", "loading adds MB", "playing all adds MB"]
    note = f"One connection; the smaller file above is {size.get('bytes', 0) / 1e6:,.0f} MB for {count:,} frames."
    tables.append(Table("Loading frames", columns, [[loaded[name] for name in names]], note))
    limit = 3.0 * long / 1_000_000
    found.append(Verdict(f"loading {long:,} frames", loaded["load_s"], limit, "s"))
    found.append(Verdict(f"memory of {long:,} frames while they play", loaded["all_adds_mb"], 30.0, "MB"))
    return tables, found
