"""The format as data: every file of `tests/format_cases` is read as `cases.json` says, by each of the readers."""

from __future__ import annotations

import base64
import json
import warnings
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_marketreplay.cassette import reader
from pytest_marketreplay.cassette.entry import Entry
from pytest_marketreplay.cassette.frame import Frame
from pytest_marketreplay.cassette.index import Index
from pytest_marketreplay.cassette.reader import Damage, TornTail
from pytest_marketreplay.errors import DamagedCassette
from pytest_marketreplay.replay.matching import Matcher
from pytest_marketreplay.replay.stream.recorded import Lines
from pytest_marketreplay.venues.registry import Registry

FOLDER = Path(__file__).parent.parent / "format_cases"
CASES = json.loads((FOLDER / "cases.json").read_text(encoding="utf-8"))


def cases(kind: str) -> list[Any]:
    return [pytest.param(case, id=case["file"]) for case in CASES[kind]]


def spelled(value: Any) -> Any:
    """A parameter as text, numbers as they are spelled."""
    return value if isinstance(value, str) else str(value)


def body_of(line: Entry | Frame) -> bytes:
    return line.body() if isinstance(line, Entry) else line.data()


def test_every_file_of_the_folder_is_a_case_and_every_case_a_file():
    files = {f"{kind}/{path.name}" for kind in ("valid", "invalid") for path in (FOLDER / kind).iterdir()}
    assert files == {case["file"] for case in CASES["valid"] + CASES["invalid"]}
    assert len(files) == len(CASES["valid"]) + len(CASES["invalid"])


@pytest.mark.parametrize("case", cases("valid"))
def test_a_valid_file_reads_as_its_case_says(case):
    entries = list(reader.read(FOLDER / case["file"]))
    assert len(entries) == case["entries"]
    for line, body in case.get("bodies", {}).items():
        assert body_of(entries[int(line) - 1]) == base64.b64decode(body)
    for line, meta in case.get("meta", {}).items():
        found = json.loads(msgspec.json.encode(entries[int(line) - 1].meta))
        assert {key: found[key] for key in meta} == meta
    for line, params in case.get("params", {}).items():
        assert {name: spelled(value) for name, value in entries[int(line) - 1].params.items()} == params
    if "timestamps" in case:
        assert [entry.timestamp for entry in entries] == case["timestamps"]


@pytest.mark.parametrize("case", cases("valid"))
def test_check_finds_nothing_in_a_valid_file(case):
    found = list(reader.check(FOLDER / case["file"]))
    assert all(isinstance(item, Entry | Frame) for item in found)
    assert len(found) == case["entries"]


@pytest.mark.parametrize("case", cases("valid"))
def test_the_index_gives_the_same_payloads(case):
    index = Index(lambda head: head.endpoint)
    index.load([FOLDER / case["file"]])
    whole = list(reader.read(FOLDER / case["file"]))
    expected = whole[-case["rest"] :] if "rest" in case else whole
    assert len(index) == len(expected)
    for slot, entry in enumerate(expected):
        assert index.answer(slot) == (entry.meta, entry.body())
    index.close()


def is_right(case: dict[str, Any], line: int, byte: int, reason: str) -> bool:
    where = case["byte"] is None or byte == case["byte"]
    return line == case["line"] and where and case["reason"] in reason


@pytest.mark.parametrize("case", cases("invalid"))
def test_an_invalid_file_is_refused_at_its_line_and_byte(case):
    path = FOLDER / case["file"]
    if case.get("torn"):
        with pytest.warns(TornTail, match=f"line {case['line']}"):
            assert len(list(reader.read(path))) == case["line"] - 1
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TornTail)
        with pytest.raises(DamagedCassette) as caught:
            list(reader.read(path))
    error = caught.value
    assert is_right(case, error.line, error.byte, error.reason), (error.line, error.byte, error.reason)
    for part in (str(path), f"line {error.line}", f"byte {error.byte}", error.reason, "cassette repair"):
        assert part in str(error)


@pytest.mark.parametrize("case", cases("invalid"))
def test_check_names_the_damage_and_goes_on_behind_it(case):
    found = list(reader.check(FOLDER / case["file"]))
    damage = [item for item in found if isinstance(item, Damage)]
    assert len(damage) == 1
    assert is_right(case, damage[0].line, damage[0].byte, damage[0].reason), damage[0]
    assert damage[0].torn == case.get("torn", False)
    if not case.get("packed"):
        lines = len((FOLDER / case["file"]).read_bytes().splitlines()) if case["file"].endswith(".jsonl") else 2
        assert len(found) >= min(lines, case["line"])


@pytest.mark.parametrize("case", [case for case in cases("invalid") if not {"torn", "frame"} & case.values[0].keys()])
def test_the_index_refuses_an_invalid_file(case):
    index = Index(lambda head: head.endpoint)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TornTail)
        with pytest.raises(DamagedCassette) as caught:
            index.load([FOLDER / case["file"]])
            assert case.get("index") is False, "an index has to see this when it loads"
            for slot in range(len(index)):
                index.answer(slot)
    assert caught.value.line == case["line"]
    index.close()


@pytest.mark.parametrize(
    "case",
    [case for case in cases("invalid") if not case.values[0].get("packed") and case.values[0]["file"][-1] == "l"],
)
def test_repair_keeps_what_is_good_and_the_old_file(case, tmp_path):
    source = FOLDER / case["file"]
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes())
    good = [body_of(item) for item in reader.check(source) if not isinstance(item, Damage)]

    kept, dropped, old = reader.repair(path)

    assert (kept, dropped) == (len(good), 1)
    assert old is not None
    assert old.read_bytes() == source.read_bytes()
    assert [body_of(entry) for entry in reader.read(path)] == good
    assert sorted(tmp_path.iterdir()) == sorted([path, old])


@pytest.mark.parametrize("case", [case for case in cases("invalid") if case.values[0].get("frame")])
def test_the_index_of_connections_refuses_what_is_no_frame(case):
    registry = Registry()
    lines = Lines([FOLDER / case["file"]], Matcher(registry.by_folder("binance")))
    with pytest.raises(DamagedCassette) as caught:
        lines.load()
        assert case["file"].endswith("not_a_string.jsonl"), "only reading the payload finds this"
        for connection in lines.connections:
            list(connection.frames())
    lines.close()
    assert caught.value.line == case["line"]
