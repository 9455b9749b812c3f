"""The parts that play cassettes: a request's cost, opening, and peak memory."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path

import measure
from measure import Result
from peers import FLOOR, OURS, TOOLS
from play import WARM
from tables import Table, Verdict

CLIENTS = ("requests", "aiohttp")


class Cassettes:
    """Cassettes of every tool, built when first asked for, in processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._built: dict[Path, str | None] = {}

    def path(self, tool: str, count: int, case: str) -> tuple[Path, str | None]:
        """Return where a cassette is, and why it could not be built."""
        path = self.folder / f"{tool}-{count}-{case}"
        if path not in self._built:
            measure.say(f"build {path.name}")
            order = {"do": "build", "tool": tool, "path": str(path), "count": count, "case": case}
            self._built[path] = measure.child("play.py", order).get("error")
        return path, self._built[path]

    def play(
        self, tool: str, client: str, count: int, case: str, order: str, budget: float = 60, timeout: float = 120
    ) -> Result:
        """Measure one replay."""
        path, error = self.path(tool, count, case)
        warm, _ = self.path(tool, WARM, case)
        if error:
            return {"error": error}
        return measure.child(
            "play.py",
            {
                "do": "play", "tool": tool, "client": client, "count": count, "case": case, "order": order,
                "path": str(path), "warm": str(warm), "budget": budget,
            },
            timeout,
        )  # fmt: skip


def replay(cassettes: Cassettes, tools: list[str], quick: bool) -> tuple[list[Table], list[Verdict]]:
    """Measure what one request costs, distinct and polled."""
    counts = (10, 100, 1000) if quick else (10, 100, 1000, 10_000)
    runs: dict[tuple[str, str, int, str], list[Result]] = {}
    for count in counts:
        times = 3 if quick else {10: 5, 100: 5, 1000: 5, 10_000: 3}[count]
        for repetition in range(times):
            for case in ("distinct", "polled"):
                for client in CLIENTS:
                    for tool in measure.rotated(tools, repetition):
                        if client not in TOOLS[tool].clients or not _is_due(tool, count, case, repetition, quick):
                            continue
                        measure.say(f"replay {case} {client} N={count} {tool} ({repetition + 1}/{times})")
                        order = "probe" if TOOLS[tool].scans and count > 100 and case == "distinct" else "all"
                        budget = 60 if tool in (OURS, FLOOR) or order == "probe" else 2 if quick else 4
                        result = cassettes.play(tool, client, count, case, order, budget)
                        runs.setdefault((case, client, count, tool), []).append(result)
    tables = [_replay_table(runs, case, client, counts, tools) for client in CLIENTS for case in ("distinct", "polled")]
    return tables, _replay_verdicts(runs, counts)


def _is_due(tool: str, count: int, case: str, repetition: int, quick: bool) -> bool:
    """Tell whether a peer is measured in this repetition; what takes long is measured less often."""
    if tool in (OURS, FLOOR):
        return True
    if tool == "vcrpy-yaml" and count == 10_000:
        return False  # matching is vcrpy-json's, and parsing takes 13 s each time
    if tool == "cassetter-yaml" and count > 100:
        return repetition == 0 and count == 1000  # for the error that it gives
    if quick:
        return repetition == 0
    slow = count == 10_000 or (count == 1000 and TOOLS[tool].scans and case == "polled")
    return repetition < (1 if slow else 2)


def _replay_table(
    runs: dict[tuple[str, str, int, str], list[Result]], case: str, client: str, counts: Iterable[int], tools: list[str]
) -> Table:
    rows = []
    for tool in tools:
        row: list[object] = [tool]
        known = [(count, runs[case, client, count, tool]) for count in counts if (case, client, count, tool) in runs]
        by_count = dict(known)
        for count in counts:
            if count not in by_count:
                row += ["", ""]
                continue
            result = measure.median(by_count[count])
            if "error" in result:
                row += [f"fails: {result['error'][:60]}", ""]
                continue
            cut = f" (stopped after {result['done']:.0f})" if result["done"] < result["asked"] else ""
            wrong = f" **{result['wrong']:.0f} wrong answers**" if result["wrong"] else ""
            wrong += ", bytes changed" if result["changed"] else ""
            ratio = measure.ratio(by_count[count], runs[case, client, count, FLOOR], "us")
            places = ""
            if count == max(counts):
                places = " / ".join(f"{result[place]:,.0f}" for place in ("early_us", "middle_us", "late_us"))
                places = f" ({places})"
            row += [f"{result['us']:,.1f}{places}{cut}{wrong}", f"{ratio:.2f}" if ratio is not None else ""]
        if known:
            rows.append(row)
    columns = ["tool", *(text for count in counts for text in (f"N={count:,} us", "x floor"))]
    return Table(
        f"Replay, {client}, {case}: one request",
        columns,
        rows,
        f"Median over the requests of a process; at N={max(counts):,} in brackets: early / middle / late in the cassette.",
    )


def _replay_verdicts(runs: dict[tuple[str, str, int, str], list[Result]], counts: tuple[int, ...]) -> list[Verdict]:
    out = []
    for case in ("distinct", "polled"):
        ratios = {
            count: measure.ratio(runs[case, "requests", count, OURS], runs[case, "requests", count, FLOOR], "us")
            for count in counts
        }
        worst = max((ratio for ratio in ratios.values() if ratio is not None), default=None)
        out.append(
            Verdict(
                f"requests, {case}: times the floor, at the worst N",
                worst,
                1.10,
                "x",
                remark="(" + ", ".join(f"N={n:,}: {r:.2f}" for n, r in ratios.items() if r is not None) + ")",
            )
        )
    for client in CLIENTS:
        for case in ("distinct", "polled"):
            many = [run for run in runs[case, client, max(counts), OURS] if "error" not in run]
            few = [run for run in runs[case, client, 100, OURS] if "error" not in run]
            if client == "aiohttp":
                medians = [measure.median(runs[case, client, count, OURS]) for count in counts]
                slowest = max((median["us"] for median in medians if "error" not in median), default=None)
                out.append(Verdict(f"aiohttp, {case}: a request, at the slowest N", slowest, 100.0, "us"))
            growth = statistics.median(run["late_us"] / run["early_us"] for run in many) if many and few else None
            out.append(
                Verdict(
                    f"{client}, {case}: flat: late / early in N={max(counts):,}",
                    growth,
                    1.10,
                    "x",
                    remark="(10 % for noise)",
                )
            )
    return out


def load(cassettes: Cassettes, tools: list[str], quick: bool) -> tuple[list[Table], list[Verdict]]:
    """Measure opening a cassette up to the first answer; a tool that reads lazily pays in the answer."""
    counts = (100, 1000) if quick else (10, 100, 1000, 10_000)
    runs: dict[tuple[int, str], list[Result]] = {}
    for count in counts:
        times = 3 if quick else {10: 5, 100: 5, 1000: 5, 10_000: 3}[count]
        for repetition in range(times):
            for tool in measure.rotated(tools, repetition):
                if "requests" not in TOOLS[tool].clients:
                    continue
                if tool not in (OURS, FLOOR) and repetition > (0 if count == 10_000 else 2 if count == 1000 else 1):
                    continue
                measure.say(f"load N={count} {tool} ({repetition + 1}/{times})")
                runs.setdefault((count, tool), []).append(cassettes.play(tool, "requests", count, "distinct", "first"))
    rows = []
    for tool in tools:
        row: list[object] = [tool]
        for count in counts:
            result = measure.median(runs[count, tool])
            if "error" in result:
                row += [f"fails: {result['error'][:60]}", "", ""]
                continue
            ratio = measure.ratio(runs[count, tool], runs[count, OURS], "load_ms")
            row += [f"{result['open_ms']:,.2f} + {result['first_ms']:,.2f}", result["load_ms"], ratio]
        rows.append(row)
    columns = [
        "tool",
        *(text for count in counts for text in (f"N={count:,} open + first answer, ms", "sum", "x ours")),
    ]
    table = Table(
        "Load: opening a cassette of order books, and its first answer (requests, distinct)",
        columns,
        rows,
        f"Imports and first requests of the process are done before, with a cassette of {WARM} entries.",
    )
    found = []
    for tool, limit in (("vcrpy-yaml", 50.0), ("vcrpy-json", 8.0), ("cassetter-toml", 8.0)):
        faster = measure.ratio(runs.get((1000, tool), []), runs[1000, OURS], "load_ms")
        found.append(Verdict(f"load, N=1,000: faster than {tool}", faster, limit, "x", at_least=True))
    return [table], found


def memory(cassettes: Cassettes, tools: list[str], quick: bool) -> tuple[list[Table], list[Verdict]]:
    """Measure the peak memory of a process that plays a long cassette."""
    count = 1000 if quick else 10_000
    times = 1 if quick else 3
    runs: dict[tuple[str, str], list[Result]] = {}
    for repetition in range(times):
        for tool in measure.rotated(tools, repetition):
            if "requests" not in TOOLS[tool].clients or (tool not in (OURS, FLOOR) and repetition):
                continue
            if tool == "cassetter-yaml" or (tool == "vcrpy-yaml" and quick):
                continue
            order = "all" if tool in (OURS, FLOOR) else "probe"
            budget = 60
            measure.say(f"memory N={count} {tool} ({repetition + 1}/{times})")
            runs.setdefault((tool, "one symbol, all played"), []).append(
                cassettes.play(tool, "requests", count, "distinct", order, budget)
            )
        for tool in (OURS,):
            measure.say(f"memory N={count} {tool}, ten symbols ({repetition + 1}/{times})")
            runs.setdefault((tool, "ten symbols, one asked"), []).append(
                cassettes.play(tool, "requests", count, "symbols", "one symbol")
            )
            runs.setdefault((tool, "polled, all played"), []).append(
                cassettes.play(tool, "requests", count, "polled", "all")
            )
    rows = []
    for (tool, what), results in runs.items():
        result = measure.median(results)
        if "error" in result:
            rows.append([tool, what, f"fails: {result['error'][:60]}", "", ""])
        else:
            rows.append([tool, what, result["base_mb"], result["peak_mb"], f"{result['done']:.0f}"])
    title = f"Peak memory of the whole process (VmHWM), N={count:,}, requests"
    columns = ["tool", "case", "MB before opening", "MB at the end", "answers played"]
    note = (
        "The floor holds all bodies before it starts. Peers are asked for the first, middle and last entries only; they "
        "have loaded all of them."
    )
    whole = measure.median(runs[OURS, "one symbol, all played"]).get("peak_mb")
    one = measure.median(runs[OURS, "ten symbols, one asked"]).get("peak_mb")
    found = [Verdict(f"peak memory, N={count:,}, all played", whole, 110.0, "MB")]
    if whole is not None:
        found.append(Verdict("peak memory, one of ten symbols asked: less than all played", one, whole, "MB"))
    return [Table(title, columns, sorted(rows, key=lambda row: str(row[1])), note)], found
