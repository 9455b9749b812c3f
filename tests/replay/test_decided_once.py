"""What a run decides once holds for all of its tests, threads and processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pytest_marketreplay.replay.run import Run

FILE = Path("binance") / "api_v3_depth" / "BTCUSDT" / "2025-10-02T10-00-00.jsonl"

WORKER = """
import sys
from pathlib import Path
from pytest_marketreplay.replay.run import Run
run, cassettes, worker = Run(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
print("ready", flush=True)
sys.stdin.readline()
for number in range(30):
    cassette = cassettes / f"test_{number}"
    answer = run.existed(cassette), sorted(run.files_at_start(cassette))
    folder = cassette / "binance" / "api_v3_depth" / "BTCUSDT"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"worker-{worker}.jsonl").write_bytes(b"")
    print(number, *answer)
"""


def record(cassette: Path, file: Path = FILE) -> None:
    (cassette / file).parent.mkdir(parents=True, exist_ok=True)
    (cassette / file).write_bytes(b"")


@pytest.mark.parametrize("shared", [True, False])
def test_whether_a_cassette_exists_is_decided_by_the_first_who_asks(shared, tmp_path):
    cassette = tmp_path / "cassette"
    run = Run(tmp_path / "run" if shared else None)
    assert not run.existed(cassette)
    record(cassette)
    assert not run.existed(cassette)
    assert run.files_at_start(cassette) == {str(FILE)}
    (cassette / FILE).unlink()
    assert run.files_at_start(cassette) == {str(FILE)}
    assert Run(tmp_path / "run" if shared else None).existed(tmp_path / "cassette") is False
    assert Run().files_at_start(cassette) == frozenset()


def test_another_worker_of_the_run_hears_the_same(tmp_path):
    cassette = tmp_path / "cassette"
    assert not Run(tmp_path / "run").existed(cassette)
    record(cassette)
    assert not Run(tmp_path / "run").existed(cassette)
    assert Run(tmp_path / "next run").existed(cassette)
    assert len(list((tmp_path / "run").iterdir())) == 1


def test_one_cassette_by_two_paths_is_one(tmp_path):
    record(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    run = Run()
    assert run.existed(tmp_path / "link")
    (tmp_path / "real" / FILE).unlink()
    assert run.existed(tmp_path / "real")
    assert not run.existed(tmp_path / "other")


def test_the_loser_of_a_race_takes_the_winners_decision(tmp_path, monkeypatch):
    cassette = tmp_path / "cassette"
    loser, winner = Run(tmp_path / "run"), Run(tmp_path / "run")
    from pytest_marketreplay.replay import run as module

    real = module.files.exists

    def race(root: Path) -> bool:
        found = real(root)
        if not found:
            monkeypatch.setattr(module.files, "exists", real)
            record(cassette)
            assert winner.existed(cassette)
        return found

    monkeypatch.setattr(module.files, "exists", race)
    assert loser.existed(cassette)
    assert len(list((tmp_path / "run").iterdir())) == 1


def test_threads_decide_once(tmp_path):
    runs = [Run(tmp_path / "run"), Run(tmp_path / "run")]
    start = threading.Barrier(8)
    answers = []

    def ask(worker: int) -> None:
        start.wait(10)
        for number in range(20):
            cassette = tmp_path / str(number)
            answers.append((number, runs[worker % 2].existed(cassette)))
            record(cassette)

    threads = [threading.Thread(target=ask, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 160
    assert len(set(answers)) == 20


def test_processes_decide_once(tmp_path):
    """The first creates the cassette right after its decision; nobody else may see it as one that existed."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path / "run"), str(tmp_path / "cassettes"), str(number)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        )
        for number in range(4)
    ]  # fmt: skip
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        answers = [worker.communicate(timeout=60)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait(10)
    assert answers[0].count("False") == 30
    assert len(set(answers)) == 1
    assert not [path for path in (tmp_path / "run").iterdir() if path.suffix != ".json"]
