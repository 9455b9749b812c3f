"""`kill -9` in the middle of a recording: at most the last line is lost, and what was recorded before is whole."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys

import pytest
from inner_suite import LIGHT, QUIET, loading

from pytest_marketreplay.cassette import files, reader
from pytest_marketreplay.replay import replace

TEST = """
import pytest
import requests

@pytest.mark.marketreplay("tape")
@pytest.mark.parametrize("part", range({parts}))
def test_part(part):
    with requests.Session() as session:
        for number in range({each}):
            assert session.get(f"{url}/part{{part}}?number={{number}}&size=3000", timeout=30).ok
"""
PARTS, EACH = 5, 16
EVERY = PARTS * EACH
MOMENTS = [pytest.param(6, id="6"), pytest.param(200, id="200", marks=pytest.mark.slow)]


@pytest.fixture
def storm(suite, log_server):
    (suite.path / "pytest.ini").write_text(
        f"[pytest]\nmarketreplay_hosts =\n    {log_server.host} = storm\nfilterwarnings = error\n"
    )
    suite.write("test_it.py", TEST.format(url=log_server.url, parts=PARTS, each=EACH))
    return suite


def kill_at(suite, log_server, mode: str, moment: int, after_us: int) -> int:
    """Record in a process and kill it so many microseconds after the server's n-th answer; returns its exit code."""
    log_server.log.clear()
    arguments = [*QUIET, *LIGHT, *loading(), "-q", "-p", "no:cacheprovider", f"--record-mode={mode}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=suite.path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log_server.kill(process, moment, after_us / 1e6)
    return process.wait(timeout=120)


def whole(suite) -> tuple[list[str], int]:
    """Return what the tape holds, in order, and how many torn last lines it has; any other damage fails."""
    found, torn = [], 0
    for file in files.all_files(suite.path / "cassettes" / "tape"):
        for entry in reader.check(file):
            if isinstance(entry, reader.Damage):
                assert entry.torn, entry
                torn += 1
            else:
                found.append(json.loads(entry.body())["you"])
    return found, torn


@pytest.mark.parametrize("moments", MOMENTS)
def test_a_killed_recording_has_lost_at_most_its_last_line(storm, log_server, moments):
    chance = random.Random(2)
    killed = 0
    for turn in range(moments):
        mode = ("once", "new_episodes")[turn % 2]
        code = kill_at(storm, log_server, mode, chance.randrange(1, EVERY), chance.randrange(0, 3_000))
        killed += code == -signal.SIGKILL
        answered = list(log_server.log)
        found, torn = whole(storm)
        assert torn <= 1
        assert found == answered[: len(found)], "an entry is missing, twice there, or out of order"
        # the last answer may have been on its way, and none was asked before the one in front was written
        assert len(found) >= len(answered) - 1, (mode, turn)
        # the rest plays, and new_episodes completes it
        if turn % 10 == 0:
            log_server.log.clear()
            result = storm.spawn("-W", "ignore::pytest_marketreplay.cassette.reader.TornTail", mode="new_episodes")
            result.assert_outcomes(passed=PARTS)
            assert len(log_server.log) == EVERY - len(found)
            log_server.log.clear()
            storm.spawn("-W", "ignore::pytest_marketreplay.cassette.reader.TornTail").assert_outcomes(passed=PARTS)
            assert log_server.log == []
        remove(storm)
    assert killed >= moments * 0.6, "most runs ended before they were killed: the test shows little"


@pytest.mark.parametrize("moments", MOMENTS)
def test_a_killed_replacement_leaves_each_answer_old_or_new_and_never_a_mix(storm, log_server, moments):
    chance = random.Random(3)
    log_server.generation = 0
    storm.spawn(mode="once").assert_outcomes(passed=PARTS)
    log_server.generation = 1
    killed = 0
    for turn in range(moments):
        before = generations(storm)
        mode = ("all", "all", "rewrite")[turn % 3]
        # half of the kills fall into the end of a test, where files are replaced
        moment = chance.randrange(1, EVERY) if turn % 2 else EACH * chance.randrange(1, PARTS + 1)
        killed += kill_at(storm, log_server, mode, moment, chance.randrange(0, 12_000)) == -signal.SIGKILL
        log_server.generation += 1
        replace.finish(storm.path / "cassettes" / "tape")  # as the next test that opens it does
        after = generations(storm)
        for part in range(PARTS):
            # a test's answers are all of one recording: of this run where its test had passed, else as they were
            assert len(after.get(part, ())) <= 1, (mode, turn, part, after)
        if mode == "all":
            assert after.keys() == before.keys()
        for part, seen in after.items():
            assert seen <= before.get(part, set()) | {log_server.generation - 1}, (mode, turn, part)
        if mode == "rewrite":  # a shared tape starts anew with the first test that passes
            log_server.generation += 1
            storm.spawn(mode="rewrite").assert_outcomes(passed=PARTS)
            log_server.generation += 1
        found, torn = whole(storm)
        assert torn == 0
        assert len(found) == EVERY, (mode, turn)
    assert killed >= moments * 0.6, "most runs ended before they were killed: the test shows little"


def generations(suite) -> dict[int, set[int]]:
    """Return, for each part, the generations of its answers."""
    out: dict[int, set[int]] = {}
    counts: dict[int, int] = {}
    for file in files.all_files(suite.path / "cassettes" / "tape"):
        for entry in reader.read(file):
            body = json.loads(entry.body())
            part = int(body["you"].partition("?")[0].removeprefix("/part"))
            out.setdefault(part, set()).add(body["generation"])
            counts[part] = counts.get(part, 0) + 1
    assert set(counts.values()) <= {EACH}, counts
    return out


def remove(suite) -> None:
    """Remove the tape."""
    import shutil

    shutil.rmtree(suite.path / "cassettes", ignore_errors=True)
    assert not os.path.exists(suite.path / "cassettes")
