"""Four workers record into one cassette at once: nothing is lost, mixed or damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_marketreplay.cassette import files, reader

STORM = """
import os
import pytest
import requests

@pytest.mark.marketreplay("storm")
@pytest.mark.parametrize("part", range({parts}))
def test_part(part):
    with requests.Session() as session:
        for number in range({each}):
            answer = session.get({url!r} + f"/part{{part}}?number={{number}}&symbol=S{{number % 7}}", timeout=30)
            assert answer.json()["you"] == f"/part{{part}}?number={{number}}&symbol=S{{number % 7}}"
    with open({workers!r}, "a") as out:
        out.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


@pytest.mark.parametrize("entries", [800, pytest.param(10_000, marks=pytest.mark.slow)])
def test_four_workers_record_into_one_cassette(suite, entries, log_server):
    parts, workers = 20, suite.path / "workers.txt"
    suite.ini()
    (suite.path / "pytest.ini").write_text(
        f"[pytest]\nmarketreplay_hosts =\n    {log_server.host} = storm\nfilterwarnings = error\n"
    )
    suite.write(
        "test_it.py", STORM.format(parts=parts, each=entries // parts, url=log_server.url, workers=str(workers))
    )
    suite.spawn("-n", "4", mode="once").assert_outcomes(passed=parts)
    assert len(set(workers.read_text().split())) > 1, "one worker did it all: the test shows nothing"
    assert len(log_server.log) == entries

    found = []
    for file in files.all_files(suite.path / "cassettes" / "storm"):
        assert file.read_bytes().endswith(b"\n")
        for entry in reader.check(file):
            assert not isinstance(entry, reader.Damage), entry
            target = json.loads(entry.body())["you"]
            assert f"{entry.endpoint}?number={entry.params['number']}&symbol={entry.params['symbol']}" == target
            assert Path(file).parent.name == entry.params["symbol"]
            found.append(target)
    assert sorted(found) == sorted(log_server.log)

    log_server.log.clear()
    suite.spawn("-n", "4").assert_outcomes(passed=parts)
    assert log_server.log == []
