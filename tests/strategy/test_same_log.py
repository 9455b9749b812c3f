"""Determinism: the same strategy on the same recording writes the same log, whatever else the machine does."""

from __future__ import annotations

import random

import pytest

from .story import PLAIN, WORKERS, Story

PARTS = ("start", "diff", "trade", "no trade in time", "book", "price", "thinks of", "nothing to think of", "end")


def check(story: Story, name: str, runs: int) -> str:
    logs = story.told(name)
    assert len(logs) == runs
    assert len(set(logs)) == 1
    return logs[0]


def test_the_log_is_the_same_in_every_process_in_workers_and_in_any_order(story: Story) -> None:
    story.record(1.5)
    story.run("-k", "plays", *PLAIN)
    story.run("-k", "plays", "-p", "no:randomly", "-n", "2")
    story.run("-k", "plays", "-p", "randomly", "-p", "no:xdist", "-p", "no:cacheprovider")
    log = check(story, "plain", 12)
    check(story, "threads", 6)
    for part in PARTS:
        assert f" {part}" in log, part


@pytest.mark.slow
def test_the_log_is_the_same_in_30_runs_in_4_workers_in_random_order_and_under_load(
    story: Story, request: pytest.FixtureRequest
) -> None:
    story.record(12.0)
    for _ in range(10):
        story.run("-k", "plays", *PLAIN)
    quiet = sorted(story.took("plain"))
    for _ in range(3):
        story.run("-k", "plays", *WORKERS)
    for seed in random.Random(7).sample(range(1000), 5):
        story.run("-k", "plays", "-p", "randomly", "-p", "no:xdist", f"--randomly-seed={seed}")
    request.getfixturevalue("busy")
    for _ in range(12):
        story.run("-k", "plays", *PLAIN)
    log = check(story, "plain", 30 * 4)
    check(story, "threads", 30 * 2)
    for part in PARTS:
        assert f" {part}" in log, part
    threads = sorted(story.took("threads"))
    print(f"12 s of tape, {len(log.splitlines())} lines of log: best {quiet[0]:.3f} s, median {quiet[20]:.3f} s")
    print(f"with polls in threads: best {threads[0]:.3f} s, median {threads[30]:.3f} s")
    assert quiet[0] < 0.1
