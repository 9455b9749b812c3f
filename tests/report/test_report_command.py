"""`marketreplay report`: exit codes, JSON, the terminal, and a capture that was really made."""

from __future__ import annotations

import io
import json
import re
import sys
import time
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests
from capture_trees import START_MS, book, gap, place, walk, write
from rich.console import Console

from pytest_marketreplay.cassette.entry import Meta, write_line
from pytest_marketreplay.cassette.payload import encode
from pytest_marketreplay.cli import main
from pytest_marketreplay.exchange import SimulatedExchange
from pytest_marketreplay.report import terminal
from pytest_marketreplay.report.capture import read_capture
from pytest_marketreplay.report.result import VERSION, Cell, Report, Series, Totals

_PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "judge-a-capture.md"


class Ran:
    """What a command did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def command(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["marketreplay", "report", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            main()
        out, err = capsys.readouterr()
        return Ran(int(exited.value.code or 0), out, err)

    return command


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clean")
    walk(root, "BTCUSDT", seconds=120)
    return root


@pytest.fixture(scope="module")
def holey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("holey")
    for number in range(12):
        walk(root, f"C{number:02}USDT", seconds=60, seed=number + 1, missing=range(20, 50, 4), declared=[20])
    return root


def test_a_good_capture_exits_0_and_prints_plain_text_where_nobody_looks(run: Any, clean: Path) -> None:
    ran = run(clean, "--interval", "1")
    assert ran.code == 0
    assert ran.err == ""
    assert "\x1b" not in ran.out
    assert "1 pairs, 120 of 120 ticks, 0 declared missing, 0 missing undeclared" in ran.out
    assert "OK      at least 99.5 % of the grid is there: met, lowest 100 %" in ran.out
    assert "MISSED" not in ran.out
    row = next(line for line in ran.out.splitlines() if line.startswith("binance BTCUSDT"))
    assert row.split()[:4] == ["binance", "BTCUSDT", "█" * 16, "1"]


def test_a_missed_goal_exits_1_and_says_which_pairs(run: Any, holey: Path) -> None:
    ran = run(holey, "--interval", 1)
    assert ran.code == 1
    assert "MISSED  every missing tick is declared by a gap entry: missed by 12 of 12 pairs, most 7" in ran.out
    assert "and 2 more" in ran.out
    assert "Declared gaps" in ran.out
    assert "Undeclared holes" in ran.out
    assert "!" in ran.out


def test_goals_are_moved_by_flags(run: Any, holey: Path) -> None:
    assert run(holey, "--interval", 1, "--min-completeness", 80, "--max-undeclared", 7).code == 0
    ran = run(holey, "--interval", 1, "--min-completeness", 80, "--max-undeclared", 6)
    assert ran.code == 1
    assert "declared by a gap entry, but for 6 a pair: missed by" in ran.out
    ran = run(holey, "--interval", 1, "--min-completeness", 80, "--max-undeclared", 7, "--max-latency", 1)
    assert ran.code == 1
    assert "is below 1 ms: missed by 12 of 12 pairs" in ran.out


def test_sequence_faults_can_be_allowed(run: Any, tmp_path: Path) -> None:
    write(place(tmp_path, "BTCUSDT"), [book(START_MS, sequence=1), book(START_MS + 1000, sequence=3)])
    assert run(tmp_path).code == 1
    assert run(tmp_path, "--max-sequence-faults", 1).code == 0


def test_an_estimated_interval_is_said_to_be(run: Any, clean: Path) -> None:
    ran = run(clean)
    assert "1 s~" in ran.out
    assert "~ estimated as the median step" in ran.out


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["nowhere"], "does not exist"),
        (["CLEAN", "--interval", "1s"], "is not a valid float"),
        (["CLEAN", "--interval", "0"], "is not in the range"),
        (["CLEAN", "--min-completeness", "101"], "is not in the range"),
        (["FILE"], "is a file; a capture is a folder"),
        (["BOTH"], "holds 2 captures; name one of them"),
        (["CLEAN", "--html", "no/such/folder/page.html"], "cannot be written: No such file or directory"),
    ],
)
def test_misuse_exits_2_and_says_why(
    run: Any, clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write(place(tmp_path / "both" / name, "BTCUSDT"), [book(START_MS)])
    known = {"CLEAN": clean, "FILE": next(clean.rglob("*.jsonl")), "BOTH": tmp_path / "both"}
    ran = run(*(known.get(argument, argument) for argument in arguments))
    assert ran.code == 2
    assert said in " ".join(ran.err.split())


def test_an_empty_folder_exits_1(run: Any, tmp_path: Path) -> None:
    ran = run(tmp_path)
    assert ran.code == 1
    assert "marketreplay:" in ran.err


def test_json_is_the_whole_report_and_nothing_else(run: Any, holey: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    ran = run(holey, "--interval", 1, "--json", "--html", page)
    assert ran.code == 1
    report = msgspec.json.decode(ran.out.encode(), type=Report)
    assert report == read_capture(holey, interval_ms=1000)
    assert report.version == VERSION
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert f"the page: {page}" in run(holey, "--html", page).out


def test_json_can_hold_names_that_are_no_text(run: Any, tmp_path: Path) -> None:
    write(place(tmp_path, "A\ud800B"), [book(START_MS), "x\n"])
    found = json.loads(run(tmp_path, "--json").out)
    assert found["series"][0]["symbol"] == "A?B"


def test_the_documentation_lists_every_field_of_the_json() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", _PAGE.read_text(encoding="utf-8"), re.M)
    fields = [name for struct in (Report, Totals, Series) for name in struct.__struct_fields__]
    assert sorted(listed) == sorted(fields)


# The terminal -----------------------------------------------------------------------------------------------------


def _shown(report: Report, width: int = 220) -> str:
    out = io.StringIO()
    terminal.show(report, Console(width=width, file=out))
    return out.getvalue()


def test_names_cannot_steer_the_terminal(tmp_path: Path) -> None:
    evil = "[red]x[/red]\x1b[2J"
    write(place(tmp_path, evil), [book(START_MS), gap(evil, START_MS, START_MS + 1000), *["\x1b\n"] * 25])
    text = _shown(read_capture(tmp_path))
    assert "\x1b" not in text
    assert "[red]x[/red]\ufffd[2J" in text
    assert "and 5 more damaged lines" in text
    assert "remark: 25 damaged" in text


def test_a_capture_without_books_or_times_is_shown(tmp_path: Path) -> None:
    write(place(tmp_path, None), ["x\n"])
    text = _shown(read_capture(tmp_path))
    assert "- to - UTC" in text
    assert "no order book was found" in text


def test_holes_beyond_the_longest_are_counted(tmp_path: Path) -> None:
    walk(tmp_path, "BTCUSDT", seconds=100, missing=range(1, 90, 3))
    walk(tmp_path, "ETHUSDT", seconds=100, missing=[50])
    assert "and 25 more" in _shown(read_capture(tmp_path, interval_ms=1000))


def test_a_sparkline_goes_from_the_lowest_value_to_the_highest() -> None:
    assert terminal.sparkline([(n, float(n)) for n in range(8)], 8) == "▁▂▃▄▅▆▇█"
    assert terminal.sparkline([(0, 1.0), (100, 1.0)], 4) == "▁  ▁"
    assert terminal.sparkline([(5, 3.0)]) == "▁"
    assert terminal.sparkline([]) == ""


def test_a_timeline_shows_what_is_missing() -> None:
    cells = [Cell(0, 10, 10, 0, 0), Cell(10, 20, 5, 5, 0), Cell(20, 30, 9, 0, 1), Cell(30, 40, 0, 10, 0)]
    assert terminal.timeline(cells, 4) == "█▄!▁"
    assert terminal.timeline([]) == ""
    assert terminal.timeline([Cell(0, 10, 1, 0, 0), Cell(10, 20, 1, 0, 0)], 4) == "████"
    assert terminal.timeline([Cell(0, 10, 1, 0, 0), Cell(30, 40, 1, 0, 0)], 4) == "█  █"


# A capture that was really made -----------------------------------------------------------------------------------


def _poll(url: str, folder: Path, symbol: str, ticks: int, interval_ms: int) -> list[dict[str, Any]]:
    """Poll as the collector does, by hand: what is late is left out and said to be missing."""
    answers, lines, first_ms, last = [], [], 0, -1
    start = time.monotonic()
    with requests.Session() as session:
        for tick in range(ticks):
            time.sleep(max(0.0, start + tick * interval_ms / 1000 - time.monotonic()))
            asked_ms = time.time_ns() // 1_000_000
            first_ms = first_ms or asked_ms
            now = (2 * (asked_ms - first_ms) + interval_ms) // (2 * interval_ms)
            if now <= last:
                continue
            if now > last + 1:
                span = first_ms + (last + 1) * interval_ms, first_ms + (now - 1) * interval_ms
                lines.append(gap("missed", *span, now - last - 1).encode())
            last = now
            began = time.perf_counter()
            answer = session.get(f"{url}/api/v3/depth", params={"symbol": symbol, "limit": "100"}, timeout=10)
            latency_ms = (time.perf_counter() - began) * 1000
            answers.append({**answer.json(), "latency": latency_ms})
            params = json.dumps({"symbol": symbol, "limit": "100"}).encode()
            told = b'"sequence_number":%d,"capture_latency_ms":%f,' % (len(answers), latency_ms)
            line = write_line(asked_ms, "/api/v3/depth", params, Meta(latency_ms=latency_ms), encode(answer.content))
            lines.append(line.replace(b'"meta":{', b'"meta":{' + told, 1))
    (folder / "2025-10-02T10-00-00.jsonl").write_bytes(b"".join(lines))
    return answers


def test_a_capture_of_the_exchange_in_the_box_is_judged_as_a_naive_reading_of_its_answers(
    run: Any, tmp_path: Path
) -> None:
    ticks, interval_ms = 40, 25
    with SimulatedExchange(seed=5, step_every=0.01) as exchange:
        answers = _poll(exchange.url("binance"), place(tmp_path, "BTCUSDT"), "BTCUSDT", ticks, interval_ms)
    arguments = ("--interval", interval_ms / 1000, "--min-completeness", 1, "--max-latency", 60_000)
    ran = run(tmp_path, *arguments, "--json")
    assert ran.code == 0, ran.out
    found = msgspec.json.decode(ran.out.encode(), type=Report).series[0]
    assert found.stored == found.snapshots == len(answers)
    assert found.undeclared == 0
    assert found.expected == found.stored + sum(kind.missing for kind in found.gaps)
    assert (found.crossed, found.empty, found.update_ids_backwards, found.sequence_holes) == (0, 0, 0, 0)
    ids = [answer["lastUpdateId"] for answer in answers]
    assert found.same_update_ids == sum(a == b for a, b in pairwise(ids))
    spreads, values = [], []
    for answer in answers:
        bid, ask = Decimal(answer["bids"][0][0]), Decimal(answer["asks"][0][0])
        spreads.append(float((ask - bid) / ((ask + bid) / 2) * 10_000))
        levels = [*answer["bids"][:10], *answer["asks"][:10]]
        values.append(float(sum(Decimal(price) * Decimal(size) for price, size in levels)))
    assert found.spread_bp.mean == pytest.approx(sum(spreads) / len(spreads))
    assert found.spread_bp.max == pytest.approx(max(spreads))
    assert found.depth_quote.mean == pytest.approx(sum(values) / len(values))
    latencies = sorted(answer["latency"] for answer in answers)
    assert found.latency_ms.p50 == pytest.approx(latencies[(len(latencies) + 1) // 2 - 1], rel=1e-3)
    assert found.latency_ms.max == pytest.approx(latencies[-1], rel=1e-6)
